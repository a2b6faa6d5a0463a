"""The story of a search: ask, gate, train, tell. Read this file first.

ask the sampler for a trial -> the space makes a candidate of it -> count -> gate
    -> train, reporting each epoch -> tell the study -> keep the weights of the best
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from safetensors import SafetensorError

from nas.candidate import Candidate
from nas.datasets import Dataset
from nas.errors import (
    InvalidCandidateError,
    OverBudgetError,
    SearchError,
    StorageFailedError,
    describe,
)
from nas.events import (
    EpochEnded,
    Note,
    Observer,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from nas.journal import Journal
from nas.ownership import index_of
from nas.running import Running, versions
from nas.samplers import (
    PrunerName,
    SamplerName,
    SeededSampler,
    derive_seed,
    make_pruner,
    schedules,
)
from nas.search_space import SearchSpace
from nas.standing import Standing
from nas.stopping import StopRequest
from nas.tally import count_trained
from nas.task import Task
from nas.training import TrainResult
from nas.training.device import device_name
from nas.trials import (
    CONTINUES,
    Reason,
    Rung,
    TrialRecord,
    best_trials,
    find_trial,
    rank_key,
    record_candidate,
    record_reason,
    record_rejection,
    record_training,
)
from nas.weights import WeightsStore
from nas.worker import EpochDone, Failed, Trained
from nas.workers import POLL_SECONDS, Message, Restarted, WorkerPool

MAX_ERRORS_IN_A_ROW = 3


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and how to search."""

    trials: int = 50
    """Trained candidates the study is to hold at the end; those it already has count."""
    max_rejected: int = 500
    """Proposals in a row turned away at the gate before the search gives up."""
    sampler: SamplerName = "auto"
    pruner: PrunerName = "squeezed"
    seed: int = 0


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
        self.budget = task.budget
        self.journal = Journal(weights.artifact_dir, study.study_name)
        self.running: dict[int, Running] = {}
        self.num_rejected = 0  # in a row
        self.num_errors = 0  # in a row
        self.device = device_name(pool.device, pool.precision)
        self.first_proposals = space.first_proposals(task)
        study.sampler = SeededSampler(settings.sampler, settings.seed, index_of)
        study.pruner = make_pruner(settings.pruner, task.epochs, len(data.train_index))
        self.standing = Standing(study, settings.trials)

    def begin_with(self, proposals: list[dict[str, Any]]) -> None:
        """Propose these parameter values next, unless the study has had or awaits them already."""
        for params in proposals:
            before = [
                t.system_attrs.get("fixed_params") for t in self.study.get_trials(deepcopy=False)
            ]
            # Of two, one may leave out what the space does not ask for on these images.
            if not any(
                known and (known.items() <= params.items() or params.items() <= known.items())
                for known in before
            ):
                self.study.enqueue_trial(params)

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
        try:
            while (why := self._why_end()) is None or self.running:
                self._look_around()
                if why is None and self.pool.num_idle and self.standing.wants_more:
                    self._propose()
                    continue
                if self.stop():
                    self.pool.stop()
                if not self.running:  # what is still missing is trained by other processes
                    time.sleep(POLL_SECONDS)
                    continue
                for message in self.pool.wait(POLL_SECONDS):
                    self._hear(message)
        except (StorageInternalError, StorageFailedError):
            self.running.clear()  # cannot be closed now; the next start finds them
            raise
        finally:  # on an error, or the second Ctrl-C: close what is still in work
            for running in list(self.running.values()):
                with suppress(Exception):  # each is closed, whatever happens to another
                    self._end(running, Reason.INTERRUPTED, "the search broke off")
        best = self.best()
        ended = SearchEnded(
            self.study.study_name,
            why,
            dict(self.counts),
            best.number if best else None,
            best.valid_accuracy if best else None,
            best.num_params if best else None,
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
                device=self.device,
                workers=self.pool.num_workers,
                max_params=self.task.max_params,
                budget=self.budget.summary(),
                trials=self.settings.trials,
                epochs=self.task.epochs,
                counts=dict(self.counts),
                best_trial=best.number if best else None,
                best_accuracy=best.valid_accuracy if best else None,
                seconds_left=self.stop.seconds_left,
            )
        )

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
        trial = self.standing.ask()
        if trial is None:
            return
        try:
            self._gate(trial)
        except UpdateFinishedTrialError:
            self._drop(trial.number)

    def _gate(self, trial: optuna.Trial) -> None:
        """Make a candidate of a trial, and start to train it if it fits."""
        try:
            candidate = self.space.propose(trial, self.task)
            before = self._stopped_before(trial)
            candidate = (before and before.candidate) or candidate
            for name, excess in self.budget.excess(candidate.architecture).items():
                trial.set_constraint(name, excess)
            self.budget.check(candidate.architecture)
        except OverBudgetError as error:
            self._reject(trial, Reason.OVER_BUDGET, str(error), error.num_params)
        except InvalidCandidateError as error:
            self._reject(trial, Reason.INVALID, str(error))
        except (UpdateFinishedTrialError, StorageInternalError, StorageFailedError):
            raise  # the storage's: the trial cannot be closed, or is
        except BaseException as error:  # the search cannot go on, but the trial is closed
            is_interrupt = isinstance(error, KeyboardInterrupt)
            reason = Reason.INTERRUPTED if is_interrupt else Reason.ERROR
            record_reason(trial, reason, describe(error))
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            earlier = self.standing.tally.seen.get(candidate.fingerprint)
            if before is not None or earlier is None:
                self._start(self._ready(trial, candidate, before))
            else:
                detail = f"trial {earlier} is the same"
                num_params = candidate.architecture.num_params
                score = self.standing.tally.scores.get(earlier)
                self._reject(trial, Reason.DUPLICATE, detail, num_params, score)

    def _stopped_before(self, trial: optuna.Trial) -> TrialRecord | None:
        """The stopped trial that this one goes on with, if there is one."""
        number = trial.user_attrs.get(CONTINUES)
        return None if number is None else find_trial(self.study, number)

    def _ready(
        self, trial: optuna.Trial, candidate: Candidate, before: TrialRecord | None
    ) -> Running:
        """A candidate with its schedules and its seed."""
        num_train = len(self.data.train_index)
        epochs = schedules(self.settings.pruner, candidate.recipe.epochs, num_train)
        if before is None or before.seed is None:
            trials = self.study.get_trials(deepcopy=False)
            index = index_of(trials[trial.number], trials)
            seed = derive_seed(self.settings.seed, index, "training")
            return Running(trial, candidate, epochs, seed)
        what = f"trial {trial.number} goes on with trial {before.number}, one of the best by now"
        self.observer(Note(what))
        left = tuple(e for e in epochs if e > len(before.history))
        return Running(trial, candidate, left, before.seed, rungs=[*before.rungs, before.last_rung])

    def _reject(
        self,
        trial: optuna.Trial,
        reason: Reason,
        detail: str,
        num_params: int | None = None,
        score: float | None = None,
    ) -> None:
        """Turn a proposal away before training. PRUNED, not FAIL: samplers learn from PRUNED.

        One whose score is known already is told with it, or the sampler would take the best network
        proposed twice for a bad one.
        """
        record_rejection(trial, reason, detail, num_params)
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        self.study.tell(trial, score, state)
        self.standing.refresh()
        self.num_rejected += 1
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, None, False))

    def _start(self, running: Running) -> None:
        """Give a candidate that passed the gate to a worker."""
        self.num_rejected = 0
        trial, candidate = running.trial, running.candidate
        architecture, recipe = candidate.architecture, candidate.recipe
        self.running[trial.number] = running  # from here on it is closed whatever happens
        record_candidate(trial, candidate, running.seed, self.device, versions())
        self.observer(
            TrialStarted(
                trial.number,
                architecture.num_params,
                architecture.num_macs,
                recipe.epochs,
                recipe.summary(),
                trial.user_attrs.get(CONTINUES),
            )
        )
        self.pool.start(running.job)

    def _hear(self, message: Message) -> None:
        """Record what a worker says of a candidate, and answer."""
        running = self.running.get(message.number)
        if running is None:  # given up, see below
            if isinstance(message, EpochDone):
                self.pool.answer(message.number, stop=True)
            return
        try:
            self._record(running, message)
        except UpdateFinishedTrialError:
            self._drop(message.number)
            if isinstance(message, EpochDone):
                self.pool.answer(message.number, stop=True)

    def _drop(self, number: int) -> None:
        """Give up a trial that another process has taken over, as this one stood still so long."""
        self.running.pop(number, None)
        self.standing.refresh()
        self.observer(Note(f"trial {number} was given to another process: dropped here"))

    def _record(self, running: Running, message: Message) -> None:
        match message:
            case EpochDone(number, metrics):
                running.history.append(metrics)
                self.observer(EpochEnded(number, metrics, running.schedules[0]))
                # Rungs are compared by what they come to, not by the epochs on the way there.
                if self.settings.pruner != "squeezed":
                    running.trial.report(metrics.valid_accuracy, metrics.epoch)
                    running.is_pruned = running.trial.should_prune()
                self.pool.answer(number, running.is_pruned)
            case Trained(_, result) if result.is_finished and running.is_full:
                self._end(running, None, "", result)
            case Trained(_, result) if result.is_finished:
                self._climb(running, result)
            case Trained(_, result):
                pruned = Reason.STOPPED_BY_PRUNER if running.is_pruned else None
                reason = pruned or self.stop.reason or Reason.INTERRUPTED
                detail = f"after {len(result.history)} of {running.schedules[0]} epochs"
                self._end(running, reason, detail, result)
            case Restarted(number, detail):
                running.history.clear()
                self.observer(Note(f"trial {number} is trained again, alone: {detail}"))
            case Failed(_, detail, has_diverged=True):
                self._end(running, Reason.DIVERGED, detail)
            case Failed(_, detail):
                self._end(running, Reason.ERROR, detail)
                # One bad candidate must not end the search; several in a row are no accident.
                if self.num_errors == MAX_ERRORS_IN_A_ROW:
                    raise SearchError(f"{self.num_errors} candidates in a row failed: {detail}")

    def _climb(self, running: Running, result: TrainResult) -> None:
        """After a squeezed schedule: train again with the next longer one, or stop there."""
        epochs, last = running.schedules[0], result.history[-1]
        running.trial.report(last.valid_accuracy, epochs)
        if running.trial.should_prune():
            detail = f"its schedule squeezed into {epochs} of {running.schedules[-1]} epochs"
            self._end(running, Reason.STOPPED_BY_PRUNER, detail, result)
            return
        seconds = round(result.train_seconds, 3)
        running.rungs.append(Rung(epochs, last.valid_loss, last.valid_accuracy, seconds))
        running.seconds += seconds
        running.schedules = running.schedules[1:]
        running.history.clear()
        self.pool.start(running.job)  # to the worker that has just become idle

    def _end(
        self,
        running: Running,
        reason: Reason | None,
        detail: str,
        result: TrainResult | None = None,
    ) -> None:
        """Tell the study what became of a training, and keep the weights of a good one."""
        trial, history = running.trial, running.history
        seconds = result.train_seconds if result else sum(m.seconds for m in history)
        seconds += running.seconds
        # The last epoch's score, not the best epoch's: picking an epoch on the validation images
        # would flatter it, and the weights that are kept are those of the last epoch.
        score = history[-1].valid_accuracy if history else None
        num_params = running.candidate.architecture.num_params
        is_best = False
        try:
            record_training(trial, history, seconds, running.rungs)
            if reason is None:
                assert result is not None
                assert score is not None
                is_best = self._keep_weights(running, result, score)
                if running.rungs:
                    trial.report(score, running.schedules[-1])  # for plots, beside the rungs' own
                self.study.tell(trial, score)
            else:
                record_reason(trial, reason, detail)
                was_pruned = reason == Reason.STOPPED_BY_PRUNER
                self.study.tell(trial, state=TrialState.PRUNED if was_pruned else TrialState.FAIL)
            del self.running[trial.number]
            self.standing.refresh()
        except (StorageInternalError, StorageFailedError):
            if reason is None and score is not None:  # what was finished must not be lost
                fingerprint = running.candidate.fingerprint
                self.journal.add(trial.number, fingerprint, score, history, seconds, running.rungs)
                self.running.pop(trial.number, None)
            raise
        self.num_errors = self.num_errors + 1 if reason == Reason.ERROR else 0
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, seconds, is_best))

    def _keep_weights(self, running: Running, result: TrainResult, score: float) -> bool:
        """Keep the weights of a good candidate; returns whether it is the best so far."""
        trial = running.trial
        best = self.best()
        rank = rank_key(score, running.candidate.architecture.num_params, trial.number)
        try:
            self.weights.keep(trial, result.state_dict, rank)
        except (OSError, SafetensorError) as error:  # a full disk must not cost the score
            self.observer(Note(f"weights of trial {trial.number} not kept: {error}"))
        return best is None or rank < best.rank

    def best(self) -> TrialRecord | None:
        """The best completed trial so far, of every process that searches in this study."""
        return next(iter(best_trials(self.study, 1)), None)

    def _why_end(self) -> str | None:
        """Why the search ends here, in a sentence, or None to go on."""
        if self.stop.reason == Reason.INTERRUPTED:
            return "interrupted"
        if self.stop.reason == Reason.TIME_LIMIT:
            return f"the time limit of {self.stop.timeout_seconds:,.0f} s is reached"
        num_trained = count_trained(self.counts)
        if num_trained >= self.settings.trials and self.standing.next_up is None:
            return f"the study holds {num_trained} trained candidates, as asked with --trials"
        if self.num_rejected >= self.settings.max_rejected:
            over = self.counts[Reason.OVER_BUDGET]
            return (
                f"{self.num_rejected} proposals in a row were turned away before training ({over} "
                f"of all so far did not fit {self.budget.summary()}): raise --budget, or change "
                "the space so that more of it fits"
            )
        return None
