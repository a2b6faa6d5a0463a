"""The verb `verify`."""

from __future__ import annotations

from pathlib import Path

import click

import nas
from nas.cli.command import verb
from nas.cli.say import say
from nas.cli.values import Folder


@verb(
    "prove an export again: its hashes, its counts, its scores",
    [
        click.Argument(
            ["folder"], type=Folder(), metavar="DIR",
            help="a folder that `nas export` has made; its code is run, so it should come from "
            "somebody you trust",
        ),
    ],
    ["nas verify winner", "nas verify mnist-20k-trial-22"],
)  # fmt: skip
def verify(folder: Path) -> int:
    done = nas.verify(folder)
    say("\n".join(done.lines))
    proved = [name for name in done.formats if name not in done.not_run]
    say(
        f"{done.folder} is what was exported: {done.num_params:,} parameters, "
        f"{done.num_files:,} files by their SHA-256"
        + (f", {' and '.join(proved)} on {done.num_vectors:,} stored images" if proved else "")
        + (f"; not run here: {', '.join(done.not_run)}" if done.not_run else "")
    )
    return 0
