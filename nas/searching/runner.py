"""The trainings of a search: each is started, heard and told to the study, whatever happens."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from safetensors import SafetensorError

from nas.candidates.candidate import Candidate
from nas.errors import SearchError, StorageFailedError, StudyError
from nas.searching.config import SearchSettings
from nas.searching.events import EpochEnded, Note, Observer, TrialEnded, TrialStarted
from nas.searching.pace import Pace
from nas.searching.planning import Step
from nas.searching.running import Running, versions
from nas.searching.samplers import derive_seed, schedules
from nas.searching.standing import Standing
from nas.searching.stop import StopRequest
from nas.storage.artifacts import WeightsStore
from nas.storage.leases import index_of
from nas.storage.spool import Journal
from nas.storage.trials import (
    CONTINUES,
    SQUEEZED_INTO,
    Reason,
    Rung,
    find_continued,
    is_better,
    ranked,
    record_candidate,
    record_reason,
    record_result,
    record_training,
)
from nas.training import EndAfter, TrainResult
from nas.training.device import device_name
from nas.training.messages import EpochDone, Failed, Message, Restarted, Trained
from nas.training.pool import POLL_SECONDS, WorkerPool

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
        pace: told how long each epoch took.
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
        pace: Pace,
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
        self.pace = pace
        self.device = device_name(pool.device, pool.precision)
        self.running: dict[int, Running] = {}  # by the number of the trial
        self.num_errors = 0  # in a row
        self._unheard: deque[Message] = deque()

    def start(self, trial: optuna.Trial, candidate: Candidate, step: Step | None = None) -> None:
        """Give a candidate to an idle worker.

        Args:
            step: its schedule, where a time limit has chosen it.
        """
        running = self._prepare(trial, candidate, step)
        architecture, recipe = candidate.architecture, candidate.recipe
        self.running[trial.number] = running  # from here on it is closed whatever happens
        schedule = None if step is None else step.epochs
        record_candidate(trial, candidate, running.seed, self.device, versions(), schedule)
        self.observer(
            TrialStarted(
                trial.number,
                architecture.num_params,
                architecture.num_macs,
                running.schedules[0],
                recipe.summary(),
                trial.user_attrs.get(CONTINUES),
            )
        )
        self.pool.start(running.job(self.num_train))

    def _prepare(self, trial: optuna.Trial, candidate: Candidate, step: Step | None) -> Running:
        """A candidate with its schedules and its seed; one taken up again has those it had."""
        epochs: tuple[float, ...] = (
            schedules(self.settings.pruner, candidate.recipe.epochs, self.num_train)
            if step is None
            else (step.epochs,)
        )
        is_short = step is not None and not step.is_longest
        before = find_continued(self.study, trial)
        if before is None or before.seed is None:
            trials = self.study.get_trials(deepcopy=False)
            index = index_of(trials[trial.number], trials)
            seed = derive_seed(self.settings.seed, index, "training")
            return Running(trial, candidate, epochs, seed, is_short=is_short)
        what = f"trial {trial.number} goes on with trial {before.number}, one of the best by now"
        self.observer(Note(what))
        if step is None:
            epochs = tuple(e for e in epochs if e > before.last_rung.epochs)
        rungs = list(dict.fromkeys([*before.rungs, before.last_rung]))
        return Running(trial, candidate, epochs, before.seed, rungs=rungs, is_short=is_short)

    def give_up(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Close a trial whose candidate is too slow to be trained in the time that is left."""
        detail = "no schedule of it would end in time"
        record_reason(trial, Reason.TIME_LIMIT, detail)
        self.study.tell(trial, state=TrialState.FAIL)
        self.standing.refresh()
        num_params = candidate.architecture.num_params
        self.observer(
            TrialEnded(trial.number, Reason.TIME_LIMIT, detail, num_params, None, None, False)
        )

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
        if result.is_finished and running.is_full and not running.is_short:
            number, fingerprint = running.trial.number, running.candidate.fingerprint
            seconds = running.seconds + result.train_seconds
            self.journal.add(
                number, fingerprint, _rung(running, result), result.history, seconds,
                running.rungs, result.state_dict,
            )  # fmt: skip

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
                num_images = round(min(running.schedules[0], 1) * self.num_train)
                self.pace.add(running.candidate, num_images, metrics.seconds)
                self.observer(EpochEnded(number, metrics, running.schedules[0]))
                # Rungs are compared by what they come to, not by the epochs on the way there.
                if self.settings.pruner != "squeezed":
                    running.trial.report(metrics.valid_accuracy, metrics.epoch)
                    running.is_pruned = running.trial.should_prune()
                self.pool.answer(number, running.is_pruned or self._end_in_time(running))
            case Trained(_, result) if result.is_finished and running.is_short:
                last = result.history[-1]
                running.trial.report(last.valid_accuracy, int(running.schedules[0]))
                detail = f"{SQUEEZED_INTO} {running.schedule_text}"
                self._end(running, Reason.STOPPED_BY_PRUNER, detail, result)
            case Trained(_, result) if result.is_finished and running.is_full:
                self._end(running, None, "", result)
            case Trained(_, result) if result.is_finished:
                self._climb(running, result)
            case Trained(_, result):
                pruned = Reason.STOPPED_BY_PRUNER if running.is_pruned else None
                reason = pruned or self.stop.reason or Reason.INTERRUPTED
                detail = f"after {len(result.history)} of {running.schedules[0]:.2g} epochs"
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

    def _end_in_time(self, running: Running) -> EndAfter | bool:
        """Cut a schedule short whose end has moved behind the time limit; False leaves it."""
        table, last, epochs = self.standing.timetable, running.history[-1], running.schedules[0]
        if table is None or not running.is_full or last.epoch >= epochs:
            return False
        sooner = table.end_of(last.epoch, epochs, last.seconds)
        if sooner >= epochs:
            return False
        running.schedules = (sooner,)
        self.observer(
            Note(
                f"trial {running.trial.number} trains more slowly than was forecast: its schedule "
                f"ends after {sooner} of {epochs:g} epochs"
            )
        )
        return EndAfter(sooner)

    def _climb(self, running: Running, result: TrainResult) -> None:
        """After a squeezed schedule: train again with the next longer one, or stop there."""
        epochs, rung = running.schedules[0], _rung(running, result)
        running.trial.report(rung.valid_accuracy, int(epochs))
        if running.trial.should_prune():
            detail = f"{SQUEEZED_INTO} {epochs:g} of {running.schedules[-1]:g} epochs"
            self._end(running, Reason.STOPPED_BY_PRUNER, detail, result)
            return
        self._keep_weights(running, result)
        running.rungs.append(rung)
        running.seconds += rung.train_seconds
        running.schedules = running.schedules[1:]
        running.history.clear()
        self.pool.start(running.job(self.num_train))  # to the worker that has just become idle

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
        if result is not None and result.is_finished:
            is_best = self._keep_weights(running, result)
        if reason is None:
            assert score is not None
            epochs = running.schedules[-1]
            if running.rungs:
                trial.report(score, int(epochs))  # for plots, beside the rungs' own
            if epochs < running.candidate.recipe.epochs:
                detail = f"with a schedule of {running.schedule_text}"
            self.study.tell(trial, score)
        else:
            record_reason(trial, reason, detail)
            was_pruned = reason == Reason.STOPPED_BY_PRUNER
            self.study.tell(trial, state=TrialState.PRUNED if was_pruned else TrialState.FAIL)
        self.standing.refresh()
        del self.running[trial.number]
        self.num_errors = self.num_errors + 1 if reason == Reason.ERROR else 0
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, seconds, is_best))

    def _keep_weights(self, running: Running, result: TrainResult) -> bool:
        """Keep what an ended schedule came to; returns whether it is the best so far."""
        number, rung = running.trial.number, _rung(running, result)
        if not is_better(self.study, rung, running.result):
            return False
        try:
            self.weights.keep(running.trial, result.state_dict, rung)
        except (OSError, SafetensorError) as error:  # a full disk must not cost the score
            self.observer(Note(f"weights of trial {number} not kept: {error}"))
        record_result(running.trial, rung)
        running.result = rung
        return ranked(self.study)[0][0].number == number


def _rung(running: Running, result: TrainResult) -> Rung:
    last = result.history[-1]
    seconds = round(result.train_seconds, 3)
    return Rung(running.schedules[0], last.valid_loss, last.valid_accuracy, seconds)
