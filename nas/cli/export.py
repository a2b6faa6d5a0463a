"""The verb `export`."""

from __future__ import annotations

import sys
from pathlib import Path

import nas
from nas.cli.command import Option, verb
from nas.cli.options import (
    DATA_DIR,
    OUTPUT,
    STORAGE,
    STUDY,
    flag,
    number_of,
    trial_argument,
)
from nas.cli.values import Folder


@verb(
    "write a trained network as PyTorch code with its weights",
    [
        trial_argument("number of a trial, or 'best' (default: best)"),
        DATA_DIR,
        STUDY,
        STORAGE,
        Option(
            "--out", type=Folder(), metavar="DIR", group=OUTPUT,
            help="folder to make (default: STUDY-trial-NUMBER here)",
        ),
        flag("force", "replace an earlier export"),
    ],
    ["nas export --out winner", "nas export 17 --study mnist-20k --out winner --force"],
)  # fmt: skip
def export(
    trial: int | str | None,
    out: Path | None,
    force: bool,
    study: str | None,
    storage: str | None,
    data_dir: Path | None,
) -> int:
    found = nas.load_study(study, storage=storage).trial(number_of(trial))
    done = nas.export(
        found, out, force=force, data_dir=data_dir,
        callback=lambda line: print(f"nas: {line}", file=sys.stderr),
    )  # fmt: skip
    what = "validation" if done.is_real else "random"
    print(
        f"exported trial {found.number} to {done.folder}: {done.num_params:,} parameters; in a "
        f"process without nas its scores of {done.num_checked:,} {what} images differ by at most "
        f"{done.max_difference:.1g}"
        + (f", validation accuracy {done.accuracy:.2%}" if done.accuracy is not None else "")
        + (f", trained for {found.record.schedule_text}" if found.record.is_short else "")
    )
    return 0
