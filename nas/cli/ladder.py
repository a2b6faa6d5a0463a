"""The verb `ladder`."""

from __future__ import annotations

from typing import Any

import nas
from nas.cli.command import Option, verb
from nas.cli.go_on import go_on
from nas.cli.options import LIMITS, flag, search_options
from nas.cli.say import say, say_first
from nas.cli.values import Counts
from nas.searching.config import RANGES, parse_seconds


@verb(
    "search under several budgets, and draw accuracy over size",
    [
        Option(
            "--budgets", type=Counts("parameters", RANGES["budget"][1]),
            default="1k,3k,5k,10k,20k", metavar="N,N,...", group=LIMITS,
            help="a study for each; every network counts for each budget it fits",
        ),
        *search_options(without=("budget", "study", "warm_start")),
        flag("quiet", "print the summaries alone"),
    ],
    ["nas ladder --budgets 1k,5k,20k --timeout 1h", "nas ladder --dataset digits --trials 10"],
)  # fmt: skip
def ladder(budgets: tuple[int, ...], quiet: bool, **fields: Any) -> int:
    say_first("ladder", str(fields["dataset"] or "MNIST"))
    from nas.reports.live import make_display
    from nas.reports.tables import ladder_report, print_report
    from nas.searching.stop import StopRequest

    stop = StopRequest(parse_seconds(fields["timeout"]))
    with make_display(False, True) as summary:
        found = nas.ladder(budgets, callback=summary if quiet else None, stop=stop, **fields)
    print_report(ladder_report(found.points, found.budgets))
    if found.is_cut:
        say(go_on())
    if stop.exit_code:
        return stop.exit_code
    return 0 if found.points else 1
