"""Standing: how far a study has come, with all processes that search in it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.ownership import Owner, is_retry
from nas.rungs import SqueezedPruner
from nas.stopping import StopRequest
from nas.storage import FileGuard
from nas.tally import count_trained, take_tally
from nas.trials import CONTINUES, TRAINED, Reason, find_trial, record_reason

MARGIN = 1.3  # of the time that finishing the best takes, for a worker to become idle in
REFRESH_SECONDS = 2.0  # after which what other processes have done is read again
RECOVERY_SECONDS = 30.0  # after which their dead are looked for again


class Standing:
    """This process' view of a study, and its hand in it.

    Args:
        num_trials: trained candidates that the study is to hold, whoever trains them.
        stop: how long there is.
    """

    def __init__(
        self, study: optuna.Study, num_trials: int, stop: StopRequest | None = None
    ) -> None:
        self.study = study
        self.num_trials = num_trials
        self.stop = stop or StopRequest()
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
        is_last = num_finishing < pruner.finished and (
            not self._wants_new or self._is_time_to_finish(trials)
        )
        return pruner.next_up(trials, is_last)

    def _is_time_to_finish(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the best that was stopped can be trained in full now, but hardly later."""
        left, pruner = self.stop.seconds_left, self.study.pruner
        assert isinstance(pruner, SqueezedPruner)
        best = None if left is None else pruner.next_up(trials, is_last=True)
        if left is None or best is None:
            return False
        record = find_trial(self.study, best.number)
        if record.candidate is None or not record.history:
            return False
        last = record.last_rung
        longer = sum(rung for rung in pruner.rungs if rung > last.epochs)
        epochs = longer + record.candidate.recipe.epochs
        seconds = epochs * last.train_seconds / last.epochs
        return seconds <= left < MARGIN * seconds

    def exhaust(self) -> None:
        """No more candidates will come: the space has no other that fits."""
        if not self.is_exhausted:
            self.is_exhausted = True
            self.refresh()

    @property
    def wants_more(self) -> bool:
        """Whether something is to be begun beside what is in work."""
        return self.next_up is not None or self._wants_new

    @property
    def _wants_new(self) -> bool:
        """Whether a candidate is to be proposed that had no training yet."""
        num_begun = count_trained(self.tally.counts) + self.tally.num_running
        return num_begun < self.num_trials and not self.is_exhausted

    def ask(self) -> optuna.Trial | None:
        """The next trial; None when other processes began what was missing just before."""
        stopped = self.next_up
        trial = self.owner.ask() if stopped is None else self.owner.take_up(stopped)
        self.refresh()
        is_beyond = (
            stopped is None and self.tally.num_wanted_before(trial.number) >= self.num_trials
        )
        is_surplus = self.owner.is_surplus(trial)
        if not is_beyond and not is_surplus:
            return trial
        if stopped is not None or is_surplus or not self.owner.put_back(trial):
            record_reason(trial, Reason.SURPLUS, "other processes had begun enough")
            self.study.tell(trial, state=TrialState.FAIL)
        self.refresh()
        return None
