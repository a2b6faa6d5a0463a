"""The verb `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nas
from nas.cli.command import verb
from nas.cli.options import search_options, whole
from nas.cli.say import say, say_first
from nas.searching.config import SearchConfig

if TYPE_CHECKING:  # it loads torch
    from nas.searching.estimate import CheckResult


@verb(
    "say what a search would find in a space, and how long it takes",
    [
        *search_options(
            without=("max_rejected", "sampler", "seed", "warm_start", "study", "storage")
        ),
        whole("draws", 10, 10**6, 1000, "N", "candidates to draw at random"),
    ],
    ["nas check --budget 20k --timeout 10m", "nas check --budget 3000 --space tied"],
)
def check(draws: int, **fields: Any) -> int:
    config = SearchConfig(**fields)
    say_first("check", str(config.dataset or "MNIST"))
    from nas.reports.check import forecast_report, stats_report
    from nas.reports.tables import print_report

    num_shown = 0

    def show(found: CheckResult) -> None:
        nonlocal num_shown
        num_shown = len(found.notes)
        for note in found.notes:
            say(note)
        print_report(stats_report(found))

    found = nas.check(config, draws=draws, callback=show)
    if found.forecast is None:
        return 1
    for note in found.notes[num_shown:]:  # of the training
        print(note)
    print_report(forecast_report(found))
    return 0
