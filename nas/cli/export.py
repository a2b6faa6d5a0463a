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
    whole,
)
from nas.cli.values import Folder

FORM = "In which form"


@verb(
    "write a trained network as PyTorch or C, and prove it",
    [
        trial_argument("number of a trial, or 'best' (default: best)"),
        Option(
            "--format", type=str, metavar="NAMES", default="pytorch", group=FORM,
            help="pytorch: one file that needs torch alone; c: int8 C99 for small devices; several "
            "with commas; all: what can be written here",
        ),
        whole("calibration", 1, 10**9, 512, "N",
              "how many training images set the ranges of int8", FORM),
        DATA_DIR,
        STUDY,
        STORAGE,
        Option(
            "--out", type=Folder(), metavar="DIR", group=OUTPUT,
            help="folder to make (default: STUDY-trial-NUMBER here)",
        ),
        flag("force", "replace an earlier export"),
    ],
    [
        "nas export --out winner",
        "nas export 17 --study mnist-20k --format pytorch,c --out winner",
    ],
)  # fmt: skip
def export(
    trial: int | str | None,
    format: str,
    calibration: int,
    out: Path | None,
    force: bool,
    study: str | None,
    storage: str | None,
    data_dir: Path | None,
) -> int:
    found = nas.load_study(study, storage=storage).trial(number_of(trial))
    done = nas.export(
        found, out, format=format, calibration=calibration, force=force, data_dir=data_dir,
        callback=lambda line: print(f"nas: {line}", file=sys.stderr),
    )  # fmt: skip
    what = "validation" if done.is_real else "random"
    print(
        f"exported trial {found.number} to {done.folder}: {done.num_params:,} parameters"
        + (f", validation accuracy {done.accuracy:.2%}" if done.accuracy is not None else "")
        + (f", trained for {found.record.schedule_text}" if found.record.is_short else "")
        + f"; measured on {done.num_checked:,} {what} images"
    )
    print("\n".join(done.lines))
    return 0
