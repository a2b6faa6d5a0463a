"""How weak candidates are stopped: with short schedules first, by the median, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from nas.searching.config import PrunerName
from nas.storage.reasons import Reason, reason_of, was_broken_off
from nas.storage.trials import PROMOTED_FROM, stored, was_shortened

FIRST_RUNG = 15_000  # images that a squeezed schedule must see for its score to be no noise
LOWEST_KEPT = 8  # of so many candidates on the lowest rung one goes on to the next
KEPT = 4  # and on a higher one; each rung is so many times as long as the one below
FIRST = 2  # so many go on at once from the lowest rung, so that the first full training is no lot
FINISHED = 3  # so many had their full training when a search ends, so that one can compare


class Pruner(BasePruner):
    """What a search asks of a pruner, beside Optuna's `prune`. This one stops nothing."""

    reports_every_epoch = True
    """Whether it is told of each epoch; else of what each schedule came to."""
    finished = 0
    """Of so many candidates a search sees to it that they have their full training, at its end."""

    def rung_epochs(self, epochs: int) -> tuple[int, ...]:
        """Epochs of each training of one candidate, one after another, as far as it gets.

        Args:
            epochs: of its full schedule, the last.
        """
        return (epochs,)

    def next_promotion(self, trials: Sequence[FrozenTrial], is_last: bool) -> FrozenTrial | None:
        """The stopped trial that goes on next, if there is one.

        Args:
            trials: all of a study.
            is_last: no more candidates will come.
        """
        return None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return False


class MedianPruner(Pruner):
    """Optuna's, which is told of each epoch. It decides nothing in the first third of them, where
    scores are noise.

    Args:
        epochs: of the full schedule.
    """

    def __init__(self, epochs: int) -> None:
        self._median = optuna.pruners.MedianPruner(
            n_startup_trials=5, n_warmup_steps=epochs // 3 + 1, n_min_trials=5
        )

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self._median.prune(study, trial)


class SqueezedPruner(Pruner):
    """Successive halving as trials come (Li et al. 2020, arXiv:1810.05934), of squeezed schedules.

    A trial that reports at a rung goes on if it is among the best of those that reported there so
    far, one in `kept`; while there are fewer, if it is the best. Nobody goes on from the lowest
    rung before there are enough for `first` to go on, and from the second before these have come.
    None is lost that was stopped: it is promoted once there are enough that are worse. A full
    training costs as much as many of the lowest rung: begun early, it is spent on the best of few
    (see benchmarks/replay.py). Optuna's own pruner also counts trials that were broken off, once
    for each time.

    Args:
        rungs: epochs of the squeezed schedules, the lowest first.
        lowest_kept: as `kept`, on the lowest rung.
        kept: of so many on a rung one goes on.
        first: so many go on at once from the lowest rung.
        finished: see `Pruner`.
    """

    reports_every_epoch = False

    def __init__(
        self,
        rungs: Sequence[float],
        lowest_kept: int = LOWEST_KEPT,
        kept: int = KEPT,
        first: int = FIRST,
        finished: int = FINISHED,
    ) -> None:
        self.rungs = tuple(rungs)
        self.lowest_kept = lowest_kept
        self.kept = kept
        self.first = first
        self.finished = finished

    def rung_epochs(self, epochs: int) -> tuple[int, ...]:
        return (*(int(rung) for rung in self.rungs if 2 * rung <= epochs), epochs)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step not in self.rungs:
            return False
        values = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if self._is_there(other, step) or other.number == trial.number
        ]
        mine = trial.intermediate_values[step]
        return sum(value > mine for value in values) >= self.num_going_on(step, len(values))

    def num_going_on(self, rung: float, num_there: int) -> int:
        """How many of those that have come to a rung may go on."""
        if rung == self.rungs[0]:
            most = num_there // self.lowest_kept
            return most if most >= self.first else 0
        if rung == self.rungs[1] and num_there < self.first:
            return 0
        return max(num_there // self.kept, 1)

    def _is_there(self, trial: FrozenTrial, rung: float) -> bool:
        """Whether it came to a rung, with its whole schedule, and has not failed since."""
        has_failed = trial.state == TrialState.FAIL or reason_of(trial) == Reason.DIVERGED
        if rung not in trial.intermediate_values or has_failed:
            return False
        pruner = stored(trial, "pruner")
        if pruner is not None:
            return bool(pruner == "squeezed")
        # Studies from before it was stored. Other pruners are told of more epochs than the rungs'
        # and the last: of the first epochs of a long schedule.
        return sum(step not in self.rungs for step in trial.intermediate_values) <= 1

    def next_promotion(self, trials: Sequence[FrozenTrial], is_last: bool) -> FrozenTrial | None:
        """From the highest rung there is one. At the end the best of a rung goes on in any case."""
        gone_on = promoted(trials)
        left = [trial for trial in trials if trial.number not in gone_on]
        stopped = [trial for trial in left if reason_of(trial) == Reason.STOPPED_BY_PRUNER]
        if is_last:
            # What a search with a time limit has trained for as long as it could.
            shortened = [
                trial for trial in left if trial.value is not None and was_shortened(trial)
            ]
            if shortened:
                return max(shortened, key=lambda trial: (trial.value, -trial.number))
        for rung in reversed(self.rungs):
            there = [trial for trial in trials if self._is_there(trial, rung)]
            there.sort(key=lambda trial: (-trial.intermediate_values[int(rung)], trial.number))
            going_on = there if is_last else there[: self.num_going_on(rung, len(there))]
            for trial in going_on:
                if trial in stopped and trial.last_step == rung:
                    return trial
        # Such a search also stops candidates below the lowest rung: that is where they go on to.
        return next(
            (t for t in stopped if was_shortened(t) and t.last_step not in self.rungs), None
        )


def promoted(trials: Sequence[FrozenTrial]) -> set[int]:
    """Stopped trials that another has gone on with, or that twice ended the process that did."""
    found, num_lost = set(), dict[int, int]()
    for trial in trials:
        number = trial.user_attrs.get(PROMOTED_FROM)
        if number is None or reason_of(trial) in (Reason.DUPLICATE, Reason.SURPLUS):
            continue
        if not was_broken_off(trial):
            found.add(number)
        elif reason_of(trial) == Reason.LOST:
            num_lost[number] = num_lost.get(number, 0) + 1
    return found | {number for number, count in num_lost.items() if count > 1}


def rungs_of(num_train: int, epochs: int) -> tuple[int, ...]:
    """Epochs of the squeezed schedules.

    The whole schedule of the learning rate is run through in one epoch, then by those that are kept
    in a few, then in all. That ranks candidates far better than the first epochs of the long
    schedule do, whose rate is still high (see benchmarks/replay.py). Where the data set is so small
    that a rung would take more than half of the epochs, there is none.

    Args:
        num_train: images in an epoch.
        epochs: of the full schedule.
    """
    rungs = []
    rung = math.ceil(FIRST_RUNG / num_train)
    while 2 * rung <= epochs:
        rungs.append(rung)
        rung *= KEPT
    return tuple(rungs)


def make_pruner(name: PrunerName, epochs: int, num_train: int) -> Pruner:
    """The pruner of that name.

    Args:
        epochs: of the full schedule.
        num_train: images in an epoch.
    """
    match name:
        case "squeezed":
            return SqueezedPruner(rungs_of(num_train, epochs))
        case "median":
            return MedianPruner(epochs)
        case "none":
            return Pruner()
