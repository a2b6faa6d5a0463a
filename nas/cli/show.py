"""The verb `show`."""

from __future__ import annotations

import click

import nas
from nas.cli.command import verb
from nas.cli.options import STORAGE, STUDY, flag, number_of, trial_argument, whole


@verb(
    "show the best trials of a study, or one trial",
    [
        trial_argument("number of a trial, or 'best'; without it the leaderboard is shown"),
        STUDY,
        STORAGE,
        whole("top", 1, 10**6, 10, "N", "rows of the leaderboard"),
        flag("json", "print the leaderboard as one JSON array"),
        flag("csv", "print the leaderboard as CSV, with a header"),
    ],
    ["nas show best", "nas show --study mnist-20k --top 20 --csv"],
)
def show(
    trial: int | str | None,
    study: str | None,
    storage: str | None,
    top: int,
    json: bool,
    csv: bool,
) -> int:
    from nas.reports.tables import print_rows, print_study, print_trial

    if json and csv:
        raise click.UsageError("--csv is not allowed with --json", click.get_current_context())
    if trial is not None and (json or csv):
        name = "--json" if json else "--csv"
        text = f"{name} is for the leaderboard: leave out {trial}, or {name}"
        raise click.UsageError(text, click.get_current_context())
    found = nas.load_study(study, storage=storage)
    if json or csv:
        print_rows(found, top, "json" if json else "csv")
    elif trial is None:
        print_study(found, top)
    else:
        print_trial(found.trial(number_of(trial)))
    return 0
