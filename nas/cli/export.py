"""The verb `export`."""

from __future__ import annotations

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
from nas.cli.say import say
from nas.cli.values import Folder, Formats

FORM = "In which form"


@verb(
    "write a trained network as PyTorch, ONNX, C or a page, and prove it",
    [
        trial_argument("number of a trial, or 'best' (default: best)"),
        Option(
            "--format", type=Formats(), metavar="NAMES", default="pytorch", group=FORM,
            help="pytorch: one file that needs torch alone; c: int8 C99 for small devices; onnx, "
            "onnx-int8: for ONNX Runtime; html: a page to draw on, int8 in JavaScript; several "
            "with commas; all: what can be written here",
        ),
        whole("calibration", 1, 10**9, 512, "N",
              "how many training images set the ranges of int8", FORM),
        flag("certified", "take the weights of the certificate's first seed, which were trained on "
             "all training images", FORM),
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
    certified: bool,
    out: Path | None,
    force: bool,
    study: str | None,
    storage: str | None,
    data_dir: Path | None,
) -> int:
    searched = nas.load_study(study, storage=storage)
    number = number_of(trial)
    done = nas.export(
        searched if number is None else searched.trial(number), out, format=format,
        calibration=calibration, certified=certified, force=force, data_dir=data_dir,
        callback=lambda line: say(f"nas: {line}", is_error=True),
    )  # fmt: skip
    what, origin = "validation" if done.is_real else "random", done.provenance
    say(
        f"exported trial {origin.trial} to {done.folder}: {done.num_params:,} parameters"
        + (f", validation accuracy {done.accuracy_text}" if done.accuracy_text else "")
        + (f", {origin.certified.text}" if origin.certified else "")
        + (f", trained for {origin.schedule}" if origin.is_short else "")
        + f"; compared on {done.num_checked:,} {what} images"
    )
    say("\n".join(done.lines))
    return 0
