"""The verb `report`."""

from __future__ import annotations

from pathlib import Path

import nas
from nas.cli.command import Option, verb
from nas.cli.options import DATA_DIR, OUTPUT, STORAGE, STUDIES, flag
from nas.cli.say import say
from nas.cli.values import Folder


@verb(
    "write a page with the answer and the pictures of a study",
    [
        DATA_DIR,
        Option(
            "--study", multiple=True, group=STUDIES, metavar="NAME",
            help="name of a study; several times, to see them side by side (default: the one last "
            "searched)",
        ),
        STORAGE,
        Option(
            "--out", type=Folder(), metavar="FILE", default="report.html", group=OUTPUT,
            help="file to write, an earlier report included",
        ),
        flag("force", "replace any file of that name"),
    ],
    ["nas report", "nas report --study mnist-20k --study mnist-20k-example --out both.html"],
)  # fmt: skip
def report(
    study: tuple[str, ...], out: Path, force: bool, storage: str | None, data_dir: Path | None
) -> int:
    path = nas.report(
        *study, out=out, force=force, storage=storage, data_dir=data_dir,
        callback=lambda line: say(f"nas: {line}", is_error=True),
    )  # fmt: skip
    say(f"wrote {path}: {path.stat().st_size / 1000:,.0f} kB, to be opened in any browser")
    return 0
