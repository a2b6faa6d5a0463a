"""Bring a search from another database into the one of this repository, with its weights.

    python benchmarks/bring_home.py sqlite:////where/champions.db mnist-5k [--to sqlite:///studies.db]

Trials, certificates and the weights that are left are copied. What says on which machines the
search ran (names, process numbers) is left behind.
"""

from __future__ import annotations

import argparse
import shutil

import optuna

from nas.storage.artifacts import default_artifact_dir
from nas.storage.database import open_storage
from nas.storage.internals import set_study_system_attr, study_system_attrs

PRIVATE = "process:"  # how attributes begin that name a machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("storage", help="URL of the database with the study")
    parser.add_argument("study", help="its name")
    parser.add_argument("--to", default="sqlite:///studies.db", help="URL of the other database")
    options = parser.parse_args()
    num_files = bring(options.storage, options.study, options.to)
    print(f"brought {options.study} to {options.to}, with {num_files} files of weights")


def bring(source: str, name: str, target: str) -> int:
    """Copy a study; returns how many files came with it."""
    study = optuna.load_study(study_name=name, storage=open_storage(source))
    copy = optuna.create_study(
        study_name=name, storage=open_storage(target, create=True), directions=study.directions
    )
    attributes = study_system_attrs(study)
    for key, value in attributes.items():
        set_study_system_attr(copy, key, value)
    for key, value in study.user_attrs.items():
        if not key.startswith(PRIVATE):
            copy.set_user_attr(key, value)
    copy.add_trials(study.get_trials(deepcopy=False))
    folders = [default_artifact_dir(url) for url in (source, target)]
    folders[1].mkdir(parents=True, exist_ok=True)
    marks = repr([attributes, [trial.system_attrs for trial in study.get_trials(deepcopy=False)]])
    files = [path for path in folders[0].glob("*") if path.is_file() and path.name in marks]
    for path in files:
        shutil.copy2(path, folders[1] / path.name)
    return len(files)


if __name__ == "__main__":
    main()
