"""Standing: how far a study has come, with all processes that search in it."""

from __future__ import annotations

import time

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.searching.planning import Step
from nas.searching.pruners import SqueezedPruner
from nas.searching.timetable import Timetable
from nas.storage.database import FileGuard
from nas.storage.leases import Owner, is_retry
from nas.storage.tally import count_trained, take_tally
from nas.storage.trials import CONTINUES, TRAINED, was_shortened

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
        self.timetable: Timetable | None = None  # where there is a time limit
        self.is_exhausted = False
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
        self.step: Step | None = None  # what the timetable says comes next
        if self.timetable is not None:
            trials = self.study.get_trials(deepcopy=False)
            num_new = max(self.num_trials - self._num_begun, 0) if not self.is_exhausted else 0
            self.step = self.timetable.next_step(num_new)
            number = self.step.number if self.step else None
            self.next_up = None if number is None else trials[number]
        else:
            self.next_up = self._next_up()
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

    def _next_up(self) -> FrozenTrial | None:
        """The stopped trial that is to be taken up again, if there is one."""
        pruner = self.study.pruner
        if not isinstance(pruner, SqueezedPruner):
            return None
        trials = self.study.get_trials(deepcopy=False)
        is_retry_waiting = any(t.state == TrialState.WAITING and is_retry(t) for t in trials)
        if is_retry_waiting and self._wants_new:  # it comes first
            return None
        # More than are asked for had only short trainings: of those in work, some will not go on.
        num_finishing = self.tally.counts[TRAINED] + sum(
            CONTINUES in trials[number].user_attrs for number in self.tally.running
        )
        num_finishing -= sum(
            number in self.tally.scores and was_shortened(trials[number])
            for number in self.tally.trained
        )
        is_last = num_finishing < pruner.finished and not self._wants_new
        return pruner.next_up(trials, is_last)

    def exhaust(self) -> None:
        """No more candidates will come: the space has no other that fits."""
        if not self.is_exhausted:
            self.is_exhausted = True
            self.refresh()

    @property
    def wants_more(self) -> bool:
        """Whether something is to be begun beside what is in work."""
        if self.timetable is not None:
            return self.step is not None
        return self.next_up is not None or self._wants_new

    @property
    def _num_begun(self) -> int:
        return count_trained(self.tally.counts) + self.tally.num_running

    @property
    def _wants_new(self) -> bool:
        """Whether a candidate is to be proposed that had no training yet."""
        return self._num_begun < self.num_trials and not self.is_exhausted

    def ask(self) -> optuna.Trial:
        """The next trial: a stopped one that goes on, one from the queue, or a new one.

        What other processes begin at the same moment is not known yet: so many processes may
        together train as many candidates too many, less one.
        """
        stopped = self.next_up
        trial = self.owner.ask() if stopped is None else self.owner.take_up(stopped)
        self.refresh()
        return trial
