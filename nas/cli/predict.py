"""The verb `predict`."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path

import click

import nas
from nas.cli.command import verb
from nas.cli.options import STORAGE, STUDY, flag, number_of
from nas.cli.values import Folder, Network
from nas.errors import redact, sanitize


@verb(
    "classify files with a trained network",
    [
        click.Argument(
            ["network"], type=Network(), metavar="DIR_OR_TRIAL",
            help="an exported folder, or the number of a trial, or 'best'; what is a folder here "
            "is taken for one without --study and --storage",
        ),
        click.Argument(
            ["images"], type=Folder(), nargs=-1, required=True, metavar="IMAGE...",
            help="files and folders of files, read as those of the training were; a drawing on "
            "white is not inverted for a network that knows white on black",
        ),
        STUDY,
        STORAGE,
        flag("json", "print one JSON array, with every score"),
    ],
    ["nas predict winner photo.jpg", "nas predict best photos/ --study mnist-20k --json"],
)  # fmt: skip
def predict(
    network: int | str, images: tuple[Path, ...], study: str | None, storage: str | None, json: bool
) -> int:
    is_folder = study is None and storage is None and Path(str(network)).is_dir()
    if not is_folder and not isinstance(network, int) and network != "best":
        what = "no trial, as --study and --storage need" if study or storage else "no folder"
        raise click.UsageError(
            f"{redact(network)[:40]!r} is {what}: give a folder that `nas export` has made, or a "
            "trial: its number, or best",
            click.get_current_context(),
        )
    if is_folder:
        done = nas.predict(str(network), images)
    else:
        found = nas.load_study(study, storage=storage).trial(number_of(network))
        done = nas.predict(found, images)
    for line in [
        *(f"{file} could not be read ({why})" for file, why in done.unreadable.items()),
        *done.notes,
    ]:
        print(sanitize(f"nas: {line}"), file=sys.stderr)
    if json:
        print(dumps(done.rows(), indent=1))
    for prediction in () if json else done.predictions:
        (name, share), (second, next_share) = prediction.ranking[:2]
        print(sanitize(f"{prediction.file}: {name} {share:.2%}, then {second} {next_share:.2%}"))
    return 0 if not done.unreadable else 1 if done.predictions else 2
