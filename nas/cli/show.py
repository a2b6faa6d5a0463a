"""The verb `show`."""

from __future__ import annotations

import nas
from nas.cli.command import verb
from nas.cli.options import STORAGE, STUDY, number_of, trial_argument, whole


@verb(
    "show the best trials of a study, or one trial",
    [
        trial_argument("number of a trial, or 'best'; without it the leaderboard is shown"),
        STUDY,
        STORAGE,
        whole("top", 1, 10**6, 10, "N", "rows of the leaderboard"),
    ],
    ["nas show best", "nas show --study mnist-20k --top 20"],
)
def show(trial: int | str | None, study: str | None, storage: str | None, top: int) -> int:
    from nas.reports.tables import print_study, print_trial

    found = nas.load_study(study, storage=storage)
    if trial is None:
        print_study(found, top)
    else:
        print_trial(found.trial(number_of(trial)))
    return 0
