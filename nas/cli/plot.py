"""The verb `plot`."""

from __future__ import annotations

from pathlib import Path

import nas
from nas.cli.command import Option, verb
from nas.cli.options import DATA_DIR, OUTPUT, STORAGE, STUDY, flag
from nas.cli.say import say
from nas.cli.values import Choice, Folder

KINDS = ("frontier", "curves", "spending", "importance", "network", "confusion")


@verb(
    "draw one picture of a study, as PNG or SVG",
    [
        Option(
            "--kind", type=Choice(KINDS), default="frontier", group=OUTPUT,
            metavar="KIND",
            help="frontier: accuracy over parameters; curves: error over epochs; spending: where "
            "proposals and time went; importance: of the space's parameters; network: the best "
            "one to scale; confusion: what that one takes for what",
        ),
        Option(
            "--out", type=Folder(), metavar="FILE", group=OUTPUT,
            help="file to write, which ends in .png or .svg (default: STUDY-KIND.svg here)",
        ),
        flag("force", "replace a file of that name"),
        DATA_DIR,
        STUDY,
        STORAGE,
    ],
    ["nas plot --kind curves", "nas plot --study mnist-20k --kind network --out network.png"],
)  # fmt: skip
def plot(
    kind: str,
    out: Path | None,
    force: bool,
    study: str | None,
    storage: str | None,
    data_dir: Path | None,
) -> int:
    say(f"wrote {nas.plot(study, kind, out, force=force, storage=storage, data_dir=data_dir)}")
    return 0
