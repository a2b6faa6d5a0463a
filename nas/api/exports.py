"""`nas.export`, `nas.verify` and `nas.predict`: a network leaves, and is used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nas.api.studies import images_of_study, source_of_study
from nas.certification.records import (
    Run,
    certified_run,
    last_certified,
)
from nas.errors import DataError, NasError, StudyError, option
from nas.exporters.classifier import Classifier, Predicted, list_files
from nas.exporters.export import NUM_CALIBRATION, Exported, export_trial
from nas.exporters.formats import FORMATS, parse_formats
from nas.exporters.provenance import Certified
from nas.exporters.verify import Verified, verify_export
from nas.reports.certificates import certificate_lines
from nas.reports.repetition import repetition
from nas.reports.results import StudyResult, TrialResult
from nas.storage.artifacts import WeightsStore, default_artifact_dir
from nas.storage.database import storage_errors
from nas.storage.studies import (
    DataFacts,
    check_study_name,
    study_data,
)


def export(
    trial: TrialResult | StudyResult,
    out: str | Path | None = None,
    *,
    format: str | Sequence[str] = "pytorch",
    calibration: int = NUM_CALIBRATION,
    certified: bool = False,
    force: bool = False,
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
    callback: Callable[[str], None] = print,
) -> Exported:
    """Write a trained network as code that needs no `nas`, each format proved before it appears.

        nas.export(study.best, "winner", format="pytorch,c")

    Args:
        trial: the trial, or a study, whose best one is taken.
        out: the folder to make; None: STUDY-trial-NUMBER here.
        format: `pytorch` (one file, with weights), `c` (int8 C99 in the folder's `c/`), `onnx`
            and `onnx-int8` (in `onnx/`), `html` (a page with int8 in JavaScript), several of them,
            or "all", which is what can be written here.
        calibration: how many training images, at most, set the ranges of int8.
        certified: not the weights of the search, but those of the certificate's first seed, which
            were trained on all training images; of a study, those of its certified trial.
        force: replace what an earlier export left there.
        dataset, test: as in `certify`; without the images the export is checked on random ones.
        callback: told of that, and of formats that "all" leaves out, in a line each.

    Raises:
        NasError: the folder cannot be made, the weights were not kept, the network or this machine
            has no such format, the trial is not certified, or a check failed.
    """
    names, left_out = parse_formats(format)
    for line in left_out:
        callback(line)
    if isinstance(trial, StudyResult):
        trial = trial.trial(last_certified(trial.optuna_study)) if certified else trial.best
    inside, record = trial.study.optuna_study, trial.record
    if record.candidate is None:
        raise NasError(f"trial {record.number} was never trained: {record.detail}")
    folder = (
        export_folder(inside.study_name, record.number) if out is None else Path(out).expanduser()
    )
    with storage_errors(trial.study.storage):
        facts = study_data(inside)
        store = WeightsStore(inside, default_artifact_dir(trial.study.storage))
        if certified:
            run, num_seeds = certified_run(inside, record.number)
            weights = store.read(run.artifact_id or "")
        else:
            weights = store.load(record.number)
    try:
        data = images_of_study(inside, source_of_study(inside, facts, data_dir, dataset, test))
    except DataError as error:
        if dataset is not None:
            raise
        for name in names:
            if FORMATS[name].NEEDS_IMAGES:
                raise DataError(
                    f"{error}; {option('format', name)} needs the training images, which set its "
                    "ranges"
                ) from error
        callback(f"{error}; the export is checked on random images")
        data = None
    return export_trial(
        record, weights, facts, inside.study_name, data, folder, formats=names,
        calibration=calibration, search=repetition(inside),
        certificate=certificate_lines(inside, record.number), force=force,
        certified=_certified(run, num_seeds, facts) if certified else None,
    )  # fmt: skip


def _certified(run: Run, num_seeds: int, facts: DataFacts) -> Certified:
    """What an export says of the training of a certificate."""
    assert run.accuracy is not None
    assert run.is_right is not None
    return Certified(
        run.accuracy, len(run.is_right), facts.num_train + facts.num_valid, run.seed, num_seeds,
        run.versions,
    )  # fmt: skip


def verify(folder: str | Path) -> Verified:
    """Prove an export again, anywhere: its hashes, its counts, the scores of its stored images.

        nas.verify("winner").lines

    It runs the code in the folder, in processes of its own: verify what comes from people you
    trust. Where no C compiler is found the C code is not run, and a line says so.

    Raises:
        VerifyError: something in the folder is not what was exported; the message says what.
        ExportError: the folder is no export.
    """
    return verify_export(Path(folder))


def predict(
    network: TrialResult | StudyResult | str | Path, images: str | Path | Sequence[str | Path]
) -> Predicted:
    """Classify files as the data set's own loader would have read them.

        nas.predict(study.best, "photos").predictions[0].label
        nas.predict("winner", ["1.jpg", "2.jpg"]).unreadable

    A picture is brought to the size and to the grey or the colours of the training images; whether
    it shows white on black, as MNIST does, or black on white is not guessed.

    Args:
        network: a trial, a study, whose best one is taken, or an exported folder, no code of which
            is run.
        images: a file, a folder, whose pictures are taken with those in the folders below, or
            several of these.

    Raises:
        NasError: the network has no weights, or there is no file to read. Files that cannot be
            read are in `unreadable`, each with the reason.
    """
    given = [images] if isinstance(images, str | Path) else images
    files = list_files([Path(path).expanduser() for path in given])
    if isinstance(network, str | Path):
        return Classifier.of_export(Path(network).expanduser()).predict(files)
    trial = network.best if isinstance(network, StudyResult) else network
    with storage_errors(trial.study.storage):
        facts, model = study_data(trial.study.optuna_study), trial.model()
    return Classifier.of_study(model, facts).predict(files)


def export_folder(study: str, number: int) -> Path:
    """The folder that an export goes to which was given none.

    Raises:
        NasError: no folder can have that name; other programs' studies may have any.
    """
    with contextlib.suppress(StudyError):
        folder = Path(f"{check_study_name(study)}-trial-{number}")
        if len(os.fsencode(folder)) <= 255:
            return folder
    raise NasError(
        f"no folder can be named after study {study[:40]!r}: say with {option('out')} where to "
        "export to"
    )
