"""Timetable: the plan of one search, with the clock, the study and the pace that it is made of."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.candidates.candidate import Candidate
from nas.searching.pace import Pace
from nas.searching.planning import Known, Outlook, Step, TimePlan
from nas.searching.pruners import promoted
from nas.searching.stop import StopRequest
from nas.storage.ranking import find_trial, ranked
from nas.storage.trials import PROMOTED_FROM, result_of, stored


class Timetable:
    """What comes next in a search with a time limit.

    Args:
        plan: decides.
        pace: has measured at least one epoch.
        stop: says how much time is left.
        has_start: the space says where to begin.
    """

    def __init__(
        self,
        plan: TimePlan,
        pace: Pace,
        stop: StopRequest,
        *,
        has_start: bool,
    ) -> None:
        self.plan = plan
        self.pace = pace
        self.stop = stop
        self.has_start = has_start
        self._candidates: dict[int, Candidate | None] = {}  # by the number of the trial
        self._is_open = False

    def next_step(self, study: optuna.Study, num_new: int) -> Step | None:
        """What an idle worker trains now, of the study's candidates and so many new ones."""
        known = self._known(study)
        if not self._is_open:
            self.plan.opening = known[0].number if known else None
            self._is_open = True
        return self.plan.next_step(
            self._seconds_left, self._image_seconds, known, num_new, has_start=self.has_start
        )

    def fitted(self, step: Step, candidate: Candidate) -> Step | None:
        """The step for its candidate, which may be slower than was thought; None: it cannot end."""
        self.plan.begun(step, self._seconds_left)
        longest = self.plan.longest(self._seconds_left, self._of(candidate))
        return replace(step, epochs=min(step.epochs, longest)) if longest else None

    def end_of(self, epochs_done: int, epochs: float, epoch_seconds: float) -> int:
        """Epochs after which a running schedule is to end, see `TimePlan.end_of`."""
        return self.plan.end_of(epochs_done, int(epochs), self._seconds_left, epoch_seconds)

    def outlook(self, num_workers: int, num_new: int) -> Outlook:
        """What the search is likely to come to."""
        return self.plan.outlook(
            self._image_seconds, num_workers, num_new, has_start=self.has_start
        )

    @property
    def least_seconds(self) -> float:
        """The least time that a search must have left to train anything."""
        return self.plan.least_seconds(self._image_seconds)

    @property
    def _seconds_left(self) -> float:
        left = self.stop.seconds_left
        assert left is not None  # or there was no timetable
        return left

    @property
    def _image_seconds(self) -> float:
        usual = self.pace.image_seconds
        assert usual is not None
        return usual

    def _of(self, candidate: Candidate | None) -> float:
        measured = None if candidate is None else self.pace.of(candidate)
        return measured or self._image_seconds

    def _known(self, study: optuna.Study) -> list[Known]:
        """The study's candidates, the best first, behind them those in their first schedule."""
        trials = study.get_trials(deepcopy=False)
        in_work: dict[str, tuple[int, float]] = {}
        longest: dict[str, tuple[float, int]] = {}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                before = trials[trial.user_attrs.get(PROMOTED_FROM, trial.number)]
                in_work[_mark(before)] = trial.number, stored(trial, "schedule", 0.0)
            elif (result := result_of(trial)) is not None:
                mark = _mark(trial)
                longest[mark] = max(longest.get(mark, (0.0, -1)), (result.epochs, trial.number))
        gone_on = promoted(trials)
        known = []
        for trial, _ in ranked(study):
            mark = _mark(trial)
            epochs, number = longest.get(mark, (0.0, trial.number))
            is_taken, running = number in gone_on, in_work.pop(mark, None)
            if running is not None:
                epochs, is_taken = max(epochs, running[1]), True
            image_seconds = self._of(self._candidate(study, number))
            known.append(Known(number, epochs, image_seconds, is_taken))
        for number, epochs in in_work.values():
            known.append(Known(number, epochs, self._image_seconds, is_taken=True))
        return known

    def _candidate(self, study: optuna.Study, number: int) -> Candidate | None:
        if number not in self._candidates:
            self._candidates[number] = find_trial(study, number).candidate
        return self._candidates[number]


def _mark(trial: FrozenTrial) -> str:
    """What trials with the same candidate have in common."""
    return str(trial.user_attrs.get("fingerprint", f"trial {trial.number}"))
