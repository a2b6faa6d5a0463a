"""The trainings of a search: each is started, heard and told to the study, whatever happens."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from safetensors import SafetensorError

from nas.candidate import Candidate
from nas.errors import SearchError, StorageFailedError, StudyError
from nas.events import EpochEnded, Note, Observer, TrialEnded, TrialStarted
from nas.journal import Journal
from nas.ownership import index_of
from nas.running import Running, versions
from nas.samplers import derive_seed, schedules
from nas.settings import SearchSettings
from nas.standing import Standing
from nas.stopping import StopRequest
from nas.training import TrainResult
from nas.training.device import device_name
from nas.trials import (
    CONTINUES,
    Reason,
    Rung,
    best_trial,
    find_continued,
    rank_key,
    record_candidate,
    record_reason,
    record_training,
)
from nas.weights import WeightsStore
from nas.worker import EpochDone, Failed, Trained
from nas.workers import POLL_SECONDS, Message, Restarted, WorkerPool

MAX_ERRORS_IN_A_ROW = 3
DRAIN_SECONDS = 10.0  # that workers behind their last step are given to say so, before all ends

STORAGE_FAILURES = (StorageInternalError, StorageFailedError, StudyError)  # it takes nothing more


class Trainings:
    """The candidates in work.

    Args:
        study: told what became of each.
        settings: the search's seed and pruner.
        num_train: images of an epoch.
        pool: the workers that train.
        weights: keeps the weights of the best trials.
        journal: keeps what the database cannot take.
        standing: read again when a trial has been told.
        observer: told of everything that happens.
        stop: why a training that was stopped has ended.
    """

    def __init__(
        self,
        study: optuna.Study,
        settings: SearchSettings,
        num_train: int,
        pool: WorkerPool,
        weights: WeightsStore,
        journal: Journal,
        standing: Standing,
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        self.study = study
        self.settings = settings
        self.num_train = num_train
        self.pool = pool
        self.weights = weights
        self.journal = journal
        self.standing = standing
        self.observer = observer
        self.stop = stop
        self.device = device_name(pool.device, pool.precision)
        self.running: dict[int, Running] = {}  # by the number of the trial
        self.num_errors = 0  # in a row
        self._unheard: deque[Message] = deque()

    def start(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Give a candidate to an idle worker."""
        running = self._prepare(trial, candidate)
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

    def _prepare(self, trial: optuna.Trial, candidate: Candidate) -> Running:
        """A candidate with its schedules and its seed; one taken up again has those it had."""
        epochs = schedules(self.settings.pruner, candidate.recipe.epochs, self.num_train)
        before = find_continued(self.study, trial)
        if before is None or before.seed is None:
            trials = self.study.get_trials(deepcopy=False)
            index = index_of(trials[trial.number], trials)
            seed = derive_seed(self.settings.seed, index, "training")
            return Running(trial, candidate, epochs, seed)
        what = f"trial {trial.number} goes on with trial {before.number}, one of the best by now"
        self.observer(Note(what))
        left = tuple(e for e in epochs if e > len(before.history))
        return Running(trial, candidate, left, before.seed, rungs=[*before.rungs, before.last_rung])

    def listen(self) -> None:
        """Wait a moment for what the workers say, and record it."""
        self._unheard += self.pool.wait(POLL_SECONDS)
        while self._unheard:
            message = self._unheard.popleft()
            try:
                self.hear(message)
            except STORAGE_FAILURES:
                self._unheard.appendleft(message)  # for `save_finished`
                raise

    def save_finished(self) -> None:
        """Put what was trained to its end into the journal, as the database takes it no more.

        What is still in training stays as it is in the database; the next start finds it there.

        Raises:
            StorageFailedError: the journal does not take it either.
        """
        self.pool.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        lost: dict[int, OSError] = {}
        try:
            while self._unheard or (self.is_busy and time.monotonic() < deadline):
                if not self._unheard:
                    self._unheard += self.pool.wait(POLL_SECONDS)
                    continue
                match self._unheard.popleft():
                    case EpochDone(number, _):
                        self.pool.answer(number, stop=False)  # the last one is to end as finished
                    case Trained(number, result) if number in self.running:
                        try:
                            self._save(self.running.pop(number), result)
                        except OSError as error:
                            lost[number] = error
        finally:
            self.running.clear()
        if lost:
            names, why = " and ".join(f"trial {number}" for number in lost), [*lost.values()][-1]
            raise StorageFailedError(
                f"the result of {names} is lost: neither the database takes it, nor "
                f"{self.journal.folder}: {why.strerror or why}"
            ) from why

    @property
    def is_busy(self) -> bool:
        """Whether a worker trains, be it a trial that was dropped."""
        return self.pool.num_idle < self.pool.num_workers

    def _save(self, running: Running, result: TrainResult) -> None:
        """Put a candidate into the journal, if it was trained to its end."""
        if result.is_finished and running.is_full:
            number, fingerprint = running.trial.number, running.candidate.fingerprint
            history, seconds = result.history, running.seconds + result.train_seconds
            score = history[-1].valid_accuracy
            self.journal.add(
                number, fingerprint, score, history, seconds, running.rungs, result.state_dict
            )

    def close_all(self) -> None:
        """Tell the study what has ended already, and that the rest was interrupted."""
        for message in self._unheard:
            if isinstance(message, Trained):
                with suppress(Exception):
                    self.hear(message)
        for running in list(self.running.values()):
            with suppress(Exception):  # each is closed, whatever happens to another
                self._end(running, Reason.INTERRUPTED, "the search broke off")

    def hear(self, message: Message) -> None:
        """Record what a worker says of a candidate, and answer."""
        running = self.running.get(message.number)
        if running is None:  # given up, see below
            if isinstance(message, EpochDone):
                self.pool.answer(message.number, stop=True)
            return
        try:
            self._record(running, message)
        except UpdateFinishedTrialError:
            self.drop(message.number)
            if isinstance(message, EpochDone):
                self.pool.answer(message.number, stop=True)

    def drop(self, number: int) -> None:
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
        self.standing.refresh()
        del self.running[trial.number]
        self.num_errors = self.num_errors + 1 if reason == Reason.ERROR else 0
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, seconds, is_best))

    def _keep_weights(self, running: Running, result: TrainResult, score: float) -> bool:
        """Keep the weights of a good candidate; returns whether it is the best so far."""
        trial = running.trial
        best = best_trial(self.study)
        rank = rank_key(score, running.candidate.architecture.num_params, trial.number)
        try:
            self.weights.keep(trial, result.state_dict, rank)
        except (OSError, SafetensorError) as error:  # a full disk must not cost the score
            self.observer(Note(f"weights of trial {trial.number} not kept: {error}"))
        return best is None or rank < best.rank
