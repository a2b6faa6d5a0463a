"""The story of a search: ask, gate, train, tell. Read this file first.

ask the sampler for a trial -> the space makes a candidate of it -> count -> gate
    -> train, reporting each epoch -> tell the study -> keep the weights of the best
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.errors import SearchError
from nas.searching.config import SearchSettings
from nas.searching.events import Note, Observer, PlanMade, SearchEnded, SearchStarted
from nas.searching.gate import Gate
from nas.searching.pace import Pace
from nas.searching.planning import TimePlan
from nas.searching.probe import candidates, probe
from nas.searching.runner import MAX_ERRORS_IN_A_ROW, STORAGE_FAILURES, Trainings
from nas.searching.running import versions
from nas.searching.samplers import SeededSampler, make_pruner
from nas.searching.standing import Standing
from nas.searching.stop import StopRequest
from nas.searching.timetable import Timetable
from nas.spaces.draws import asked
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.artifacts import WeightsStore
from nas.storage.leases import index_of
from nas.storage.spool import Journal
from nas.storage.tally import count_trained
from nas.storage.trials import (
    REJECTED,
    Reason,
    TrialRecord,
    best_trial,
    num_rejected_last,
    reason_of,
)
from nas.training.pool import POLL_SECONDS, WorkerPool


class Search:
    """One search in one study.

    Args:
        study: where every proposal is recorded.
        space: makes a candidate of a trial.
        task: the images' shape and the limits.
        data: train and validation images.
        settings: how long and how to search.
        pool: the workers that train on those images.
        weights: keeps the weights of the best trials.
        observer: told of everything that happens.
        stop: asked before each proposal and each step.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        task: Task,
        data: Dataset,
        settings: SearchSettings,
        pool: WorkerPool,
        weights: WeightsStore,
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        self.study = study
        self.space = space
        self.task = task
        self.data = data
        self.settings = settings
        self.pool = pool
        self.weights = weights
        self.observer = observer
        self.stop = stop
        self.journal = Journal(weights.artifact_dir, study.study_name)
        self.first_proposals = space.first_proposals(task)
        study.sampler = SeededSampler(settings.sampler, settings.seed, index_of)
        num_train = len(data.train_index)
        study.pruner = make_pruner(settings.pruner, task.epochs, num_train)
        self.standing = Standing(study, settings.trials)
        self.gate = Gate(study, space, task, self.standing, observer)
        # A search that was broken off in a row of rejections goes on with it; one that had ended
        # with them tries again.
        num_rejected = num_rejected_last(study)
        self.gate.num_rejected = num_rejected if num_rejected < settings.max_rejected else 0
        self.pace = Pace(len(data.valid_index))
        self.trainings = Trainings(
            study, settings, num_train, pool, weights, self.journal, self.standing, observer, stop,
            self.pace,
        )  # fmt: skip

    def begin_with(self, proposals: list[dict[str, Any]]) -> None:
        """Propose these parameter values next, unless the study has had or awaits them already."""
        trials = self.study.get_trials(deepcopy=False)
        # Of two, one may hold what the space does not ask for on these images.
        before = [
            asked(self.space, self.task, t.system_attrs["fixed_params"])
            for t in trials
            if "fixed_params" in t.system_attrs
        ]
        for params in proposals:
            mine = asked(self.space, self.task, params)
            if mine not in before:
                self.study.enqueue_trial(params)
                before.append(mine)

    def run(self) -> SearchEnded:
        """Search until there are enough trained candidates, or a limit is reached.

        Raises:
            SpaceError: the space file raised an error, or returned no candidate.
            SearchError: several candidates in a row could not be trained.
        """
        self._tell_start()
        self._tell_other_versions()
        for number in self.journal.replay(self.study):
            self.observer(Note(f"trial {number} was finished before: it is stored now"))
        self._look_around()
        self.weights.tidy_up()
        self.begin_with(self.first_proposals)
        self._plan()
        try:
            while (why := self._why_end()) is None or self.trainings.running:
                self._look_around()
                if why is None and self.pool.num_idle and self.standing.wants_more:
                    self._propose()
                    continue
                if self.stop():
                    self.pool.stop()
                if not self.trainings.is_busy:  # others train what is still missing
                    time.sleep(POLL_SECONDS)
                    continue
                self.trainings.listen()
        except STORAGE_FAILURES:
            self.trainings.save_finished()
            raise
        finally:  # on an error, or the second Ctrl-C: close what is still in work
            self.trainings.close_all()
        best = self.best()
        is_timed = self.standing.timetable is not None and why == self._no_time
        ended = SearchEnded(
            self.study.study_name,
            self.stop.reason or (Reason.TIME_LIMIT if is_timed else None),
            why,
            dict(self.counts),
            best.number if best else None,
            best.valid_accuracy if best else None,
            best.num_params if best else None,
            best.schedule_text if best and best.is_short else "",
            self._seconds_needed if best is None and not self.stop.signal_number else None,
        )
        self.observer(ended)
        return ended

    def _tell_start(self) -> None:
        best = self.best()
        self.observer(
            SearchStarted(
                study=self.study.study_name,
                space=self.space.name,
                dataset=self.data.name,
                num_train=len(self.data.train_index),
                num_valid=len(self.data.valid_index),
                device=self.trainings.device,
                workers=self.pool.num_workers,
                max_params=self.task.max_params,
                budget=self.task.budget.summary(),
                trials=self.settings.trials,
                epochs=self.task.epochs,
                counts=dict(self.counts),
                best_trial=best.number if best else None,
                best_accuracy=best.valid_accuracy if best else None,
                seconds_left=self.stop.seconds_left,
            )
        )

    def _plan(self) -> None:
        """With a time limit: measure how fast this machine is, and say what will fit."""
        if self.stop.seconds_left is None:
            return
        num_train, why = len(self.data.train_index), ""
        batch_size = Recipe.batch_size
        tried = candidates(self.space, self.task, self.first_proposals)
        for candidate in islice(tried, MAX_ERRORS_IN_A_ROW):
            why = probe(self.pool, candidate, num_train, self.pace, self.stop)
            if not why or self.stop():
                batch_size = candidate.recipe.batch_size
                break
        left, image_seconds = self.stop.seconds_left, self.pace.image_seconds
        if image_seconds is None:
            if why and not self.stop():
                raise SearchError(f"{MAX_ERRORS_IN_A_ROW} candidates in a row failed: {why}")
            return  # stopped meanwhile; or random draws find nothing, as the gate will say
        plan = TimePlan(
            left, num_train, len(self.data.valid_index), self.task.epochs, batch_size,
            with_rungs=self.settings.pruner == "squeezed",
        )  # fmt: skip
        table = Timetable(
            self.study, plan, self.pace, self.stop, has_start=bool(self.first_proposals)
        )
        self.standing.timetable = table
        self.standing.refresh()
        num_new = max(self.settings.trials - count_trained(self.counts), 0)
        outlook = table.outlook(self.pool.num_workers, num_new)
        self.observer(
            PlanMade(
                left, outlook.num_candidates, outlook.epochs, self.task.epochs,
                plan.seconds(1, image_seconds), table.least_seconds,
            )
        )  # fmt: skip

    @property
    def _no_time(self) -> str:
        """Why the search ends where the timetable has nothing more to train."""
        return (
            f"nothing that could still win would end within the {self.stop.timeout_seconds:,.0f} s "
            "of --timeout"
        )

    @property
    def _seconds_needed(self) -> float | None:
        """A --timeout that suffices, where this one was too short to train anything."""
        limit, table = self.stop.timeout_seconds, self.standing.timetable
        if limit is None:
            return None
        return 2 * max(limit, table.least_seconds if table else 0)

    def _tell_other_versions(self) -> None:
        """Scores of other versions compare, but are not equal to the last digit."""
        mine, others = versions(), set()
        for trial in self.study.get_trials(deepcopy=False):
            for name, version in trial.user_attrs.get("versions", {}).items():
                if mine.get(name) != version:
                    others.add(f"{name} {version}")
        if others:
            self.observer(
                Note(
                    f"parts of this study were made with {', '.join(sorted(others))}: it goes on "
                    "with others, and does not end quite as it would have"
                )
            )

    @property
    def counts(self) -> Counter[str]:
        """Trials of the study by what became of them."""
        return self.standing.tally.counts

    def _look_around(self) -> None:
        for number in self.standing.look_around():
            self.observer(Note(f"trial {number} was broken off: it is tried again"))

    def _propose(self) -> None:
        """Ask for one proposal, or take up a stopped one, and gate it; train what fits."""
        step, table = self.standing.step, self.standing.timetable
        trial = self.standing.ask()
        try:
            candidate = self.gate.admit(trial)
            if candidate is None:
                return
            if step is not None and table is not None:
                step = table.fitted(step, candidate)
                if step is None:
                    self.trainings.give_up(trial, candidate)
                    return
            self.trainings.start(trial, candidate, step)
        except UpdateFinishedTrialError:
            self.trainings.drop(trial.number)

    def best(self) -> TrialRecord | None:
        """The best completed trial so far, of every process that searches in this study."""
        return best_trial(self.study)

    def _why_end(self) -> str | None:
        """Why the search ends here, in a sentence, or None to go on."""
        if self.stop.reason == Reason.INTERRUPTED:
            return "interrupted"
        if self.stop.reason == Reason.TIME_LIMIT:
            return f"the time limit of {self.stop.timeout_seconds:,.0f} s is reached"
        num_trained = count_trained(self.counts)
        if self.standing.timetable is not None and self.standing.wants_more:
            return self._why_exhausted()
        if num_trained >= self.settings.trials and self.standing.next_up is None:
            return f"the study holds {num_trained} trained candidates, as asked with --trials"
        if (why := self._why_exhausted()) is not None:
            return why
        return self._no_time if self.standing.timetable is not None else None

    def _why_exhausted(self) -> str | None:
        """Why there are no more proposals, if that is so and nothing is to be taken up either."""
        if (rejected := self.gate.num_rejected) < self.settings.max_rejected:
            return None
        self.standing.exhaust()
        if self.standing.next_up is not None:
            return None
        return (
            f"{rejected} proposals in a row were turned away before training: "
            f"{self._why_rejected()}, or try for longer with --max-rejected"
        )

    def _why_rejected(self) -> str:
        """What most of the last proposals have in common, and what to do."""
        rejected = [t for t in self.study.get_trials(deepcopy=False) if reason_of(t) in REJECTED]
        last = rejected[-self.settings.max_rejected :]
        ((reason, count),) = Counter(reason_of(trial) for trial in last).most_common(1)
        if reason == Reason.OVER_BUDGET:
            return (
                f"{count} did not fit {self.task.budget.summary()}; raise --budget, or change the "
                "space so that more of it fits"
            )
        if reason == Reason.DUPLICATE:
            return f"{count} had been trained before; make the space larger"
        *_, why = (t.user_attrs["detail"] for t in last if reason_of(t) == reason)
        return f"{count} cannot be built, the last because: {why}; change the space"
