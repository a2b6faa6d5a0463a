"""Standing: how far a study has come, with all processes that search in it."""

from __future__ import annotations

import time

import optuna
from optuna.trial import TrialState

from nas.ownership import Owner
from nas.storage import FileGuard
from nas.tally import count_trained, take_tally
from nas.trials import Reason, record_reason

REFRESH_SECONDS = 2.0  # after which what other processes have done is read again
RECOVERY_SECONDS = 30.0  # after which their dead are looked for again


class Standing:
    """This process' view of a study, and its hand in it.

    Args:
        num_trials: trained candidates that the study is to hold, whoever trains them.
    """

    def __init__(self, study: optuna.Study, num_trials: int) -> None:
        self.study = study
        self.num_trials = num_trials
        self.owner = Owner(study)
        self.file = FileGuard(study._storage)
        self._next_recovery = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Read what all processes have done so far.

        Raises:
            StorageFailedError: the database is another one than before.
        """
        self.file.check()
        self.tally = take_tally(self.study)
        self._next_refresh = time.monotonic() + REFRESH_SECONDS

    def look_around(self) -> list[int]:
        """See to the other processes, if it is time; returns trials that are to be tried again."""
        now = time.monotonic()
        found: list[int] = []
        self.owner.keep_alive()
        if now >= self._next_recovery:
            found = self.owner.recover()
            self._next_recovery = now + RECOVERY_SECONDS
            self.refresh()
        elif now >= self._next_refresh:
            self.refresh()
        return found

    @property
    def wants_more(self) -> bool:
        """Whether the candidates in work, once trained, would not be enough."""
        return count_trained(self.tally.counts) + self.tally.num_running < self.num_trials

    def ask(self) -> optuna.Trial | None:
        """The next trial; None when other processes began what was missing just before."""
        trial = self.owner.ask()
        self.refresh()
        is_beyond = self.tally.num_wanted_before(trial.number) >= self.num_trials
        is_surplus = self.owner.is_surplus(trial)
        if not is_beyond and not is_surplus:
            return trial
        if is_surplus or not self.owner.put_back(trial):
            record_reason(trial, Reason.SURPLUS, "other processes had begun enough")
            self.study.tell(trial, state=TrialState.FAIL)
        self.refresh()
        return None
