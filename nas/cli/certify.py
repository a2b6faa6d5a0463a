"""The verb `certify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

import nas
from nas.cli.command import Option, verb
from nas.cli.go_on import go_on
from nas.cli.options import DATA_DIR, DEVICE, METHOD, STORAGE, STUDY, whole
from nas.cli.say import say, say_first
from nas.cli.values import Choice, TrialNumber, Whole

if TYPE_CHECKING:  # it loads Optuna
    from nas.searching.events import Event


@verb(
    "train the best again with fresh seeds, and test the winner",
    [
        click.Argument(
            ["trials"], nargs=-1, type=TrialNumber(), metavar="[TRIAL]...",
            help="numbers of trials (default: the --top best of the study)",
        ),
        DATA_DIR,
        whole("top", 1, 100, 3, "K", "how many of the best to compare when no trials are named",
              METHOD),
        whole("seeds", 1, 1000, 5, "N", "trainings of each, with fresh seeds", METHOD),
        Option(
            "--protocol", type=Choice(["honest", "watched"]), default="honest", group=METHOD,
            help="honest: decide on validation images, then train the best on all training images "
            "and open the test images once; watched: test after every epoch, as many published "
            "figures do, which flatters",
        ),
        Option(
            "--folds", type=Whole(2, 100), metavar="K", group=METHOD,
            help="where images are few: decide on K parts of all training images, each measured "
            "once by a network that was trained on the others (default: none, the split of the "
            "search)",
        ),
        *DEVICE,
        STUDY,
        STORAGE,
    ],
    ["nas certify", "nas certify 17 4 --study mnist-20k --seeds 10"],
)  # fmt: skip
def certify(
    trials: tuple[int, ...],
    top: int,
    seeds: int,
    protocol: Literal["honest", "watched"],
    folds: int | None,
    study: str | None,
    storage: str | None,
    data_dir: Path | None,
    device: str,
    precision: str,
    engine: str,
    workers: int | None,
) -> int:
    say_first("certify", f"study {study}" if study else "the study searched last")
    found = nas.load_study(study, storage=storage)
    from nas.reports.live import make_display
    from nas.reports.tables import certificate_report, print_report
    from nas.searching.stop import StopRequest

    has_report = False

    def tell(event: Event) -> None:
        nonlocal has_report
        has_report = True
        show(event)

    stop = StopRequest()
    try:
        with make_display(False, False) as show:
            nas.certify(
                found, trials=trials, top=top, seeds=seeds, protocol=protocol, folds=folds,
                data_dir=data_dir, device=device, precision=precision, engine=engine,
                workers=workers, callback=tell, stop=stop,
            )  # fmt: skip
        has_report = True
    finally:  # on an error, too, what was measured is shown
        if has_report:
            print_report(certificate_report(found.optuna_study))
    if stop.exit_code:
        say(go_on())
    return stop.exit_code
