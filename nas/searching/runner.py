"""The runner: candidates are given to the workers, and what these say is told to the ledger."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from nas.candidates.candidate import Candidate
from nas.errors import SearchError, StorageFailedError
from nas.metrics import EpochMetrics, Speed, epoch_flops
from nas.searching.events import (
    Callback,
    EpochEnded,
    EpochProgress,
    Note,
    ScheduleEnded,
    SpeedMeasured,
    TrialEnded,
    TrialStarted,
)
from nas.searching.foresight import Foresight
from nas.searching.ledger import STORAGE_FAILURES, Ledger
from nas.searching.pace import Pace
from nas.searching.planning import Step
from nas.searching.running import RunningTrial
from nas.searching.stop import StopRequest
from nas.storage.reasons import SQUEEZED_INTO, Reason
from nas.storage.trials import epochs_number
from nas.training import EndAfter, TrainResult
from nas.training.device import device_name
from nas.training.messages import EpochDone, Failed, Message, Restarted, StepsDone, Trained
from nas.training.pool import POLL_SECONDS, WorkerPool

MAX_ERRORS_IN_A_ROW = 3
DRAIN_SECONDS = 10.0  # that workers behind their last step are given to say so, before all ends


class TrialRunner:
    """The candidates in work.

    Args:
        ledger: told what became of each.
        pool: the workers that train.
        callback: told of everything that happens.
        stop: why a training that was stopped has ended.
    """

    def __init__(
        self, ledger: Ledger, pool: WorkerPool, callback: Callback, stop: StopRequest
    ) -> None:
        self.ledger = ledger
        self.pool = pool
        self.callback = callback
        self.stop = stop
        self.pace = Pace(pool.num_valid)  # of every epoch
        self.running: dict[int, RunningTrial] = {}  # by the number of the trial
        self.foresight = Foresight(ledger, self.pace, pool, stop)
        self.num_errors = 0  # in a row
        self._has_told_speed = False
        self._unheard: deque[Message] = deque()

    @property
    def device(self) -> str:
        """What trains: not the same engine throughout where one had to give way."""
        return device_name(self.pool.device, self.pool.precision, self.pool.engine)

    @property
    def is_busy(self) -> bool:
        """Whether a worker trains, be it a trial that was dropped."""
        return self.pool.num_idle < self.pool.num_workers

    def start(self, trial: optuna.Trial, candidate: Candidate, step: Step | None = None) -> None:
        """Give a candidate to an idle worker.

        Args:
            step: its schedule, where a time limit has chosen it.
        """
        running = self.ledger.prepare(trial, candidate, step)
        if running.continues is not None:
            what = f"trial {trial.number} goes on with trial {running.continues}"
            self.callback(Note(f"{what}, one of the best by now"))
        if (first := self.ledger.retries(trial)) is not None:
            self.callback(Note(f"trial {trial.number} is trial {first} again"))
        self.running[trial.number] = running  # from here on it is closed whatever happens
        self.ledger.begin(running, self.device, is_planned=step is not None)
        self.callback(
            TrialStarted(
                trial.number,
                candidate.architecture.num_params,
                candidate.architecture.num_macs,
                running.schedules[0],
                candidate.recipe.summary(),
                running.continues,
                trial.params,
            )
        )
        self.pool.start(running.job(self.pool.num_train))

    def poll(self) -> None:
        """Wait a moment for what the workers say, and record it."""
        self._unheard += self.pool.wait(POLL_SECONDS)
        while self._unheard:
            message = self._unheard.popleft()
            try:
                self.handle(message)
            except STORAGE_FAILURES:
                self._unheard.appendleft(message)  # for `save_finished`
                raise

    def handle(self, message: Message) -> None:
        """Record what a worker says of a candidate, and answer."""
        running = self.running.get(message.number)
        if running is None:  # dropped
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
        self.ledger.refresh()
        self.callback(Note(f"trial {number} was given to another process: dropped here"))

    def save_finished(self) -> None:
        """Put what was trained to its end into files, as the database takes it no more.

        What is still in training stays as it is in the database; the next start finds it there.

        Raises:
            StorageFailedError: the files cannot be written either.
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
                        running = self.running.pop(number)
                        if not (result.is_finished and running.is_last):
                            continue
                        try:
                            self.ledger.results.put_aside(running, result)
                        except OSError as error:
                            lost[number] = error
        finally:
            self.running.clear()
        if lost:
            names, why = " and ".join(f"trial {number}" for number in lost), [*lost.values()][-1]
            raise StorageFailedError(
                f"the result of {names} is lost: neither the database takes it, nor "
                f"{self.ledger.results.put_aside_in}: {why.strerror or why}"
            ) from why

    def close_all(self) -> None:
        """Tell the study what has ended already, and that the rest was interrupted."""
        for message in self._unheard:
            if isinstance(message, Trained):
                with suppress(Exception):
                    self.handle(message)
        for running in list(self.running.values()):
            with suppress(Exception):  # each is closed, whatever happens to another
                heard, detail = running.heard, "the search broke off"
                self._end(running, Reason.INTERRUPTED, detail, heard, _seconds(heard))

    def _record(self, running: RunningTrial, message: Message) -> None:
        match message:
            case StepsDone(number, epochs):
                running.came_to(epochs)
                left = self.foresight.seconds_left(self.running.values())
                self.callback(
                    EpochProgress(number, running.clock.epochs, running.schedules[0], left)
                )
            case EpochDone(number, metrics):
                running.ended_epoch(metrics)
                self.pace.add(running.candidate, running.num_images, metrics.seconds)
                rate = running.learning_rate(metrics.epoch)
                self.callback(EpochEnded(number, metrics, running.schedules[0], rate))
                self._tell_speed(running, metrics)
                if self.ledger.pruner.reports_every_epoch:
                    accuracy = metrics.valid_accuracy
                    running.is_pruned = self.ledger.report(running, accuracy, metrics.epoch)
                self.pool.answer(number, running.is_pruned or self._end_in_time(running, metrics))
            case Trained(_, result) if result.is_finished:
                self._end_schedule(running, result)
            case Trained(_, result):
                pruned = Reason.STOPPED_BY_PRUNER if running.is_pruned else None
                reason = pruned or self.stop.reason or Reason.INTERRUPTED
                whole = epochs_number(running.schedules[0])
                detail = f"after {len(result.history)} of {whole} epochs"
                self._end(running, reason, detail, result.history, result.train_seconds)
            case Restarted(number, detail):
                running.begin_again()
                self.callback(Note(f"trial {number} is trained again, alone: {detail}"))
            case Failed(_, detail, has_diverged=True):
                self._fail(running, Reason.DIVERGED, message)
            case Failed(_, detail):
                self._fail(running, Reason.ERROR, message)
                # One bad candidate must not end the search; several in a row are no accident.
                if self.num_errors == MAX_ERRORS_IN_A_ROW:
                    raise SearchError(f"{self.num_errors} candidates in a row failed: {detail}")

    def _tell_speed(self, running: RunningTrial, last: EpochMetrics) -> None:
        """Say how fast the first epoch was, once the pool knows what to compare it with."""
        peak = self.pool.peak
        if self._has_told_speed or peak is None or not last.seconds:
            return
        self._has_told_speed = True
        candidate, images = running.candidate, (running.num_images, self.pool.num_valid)
        flops = epoch_flops(candidate.architecture.num_macs, *images, candidate.recipe.batch_size)
        speed = Speed(flops / last.seconds, peak)
        number, workers = running.trial.number, self.pool.num_workers
        self.callback(SpeedMeasured(number, self.device, workers, speed))

    def _end_in_time(self, running: RunningTrial, last: EpochMetrics) -> EndAfter | bool:
        """Cut a schedule short whose end has moved behind the time limit; False leaves it."""
        table, epochs = self.ledger.timetable, running.schedules[0]
        if table is None or not running.is_full or last.epoch >= epochs:
            return False
        sooner = table.end_of(last.epoch, epochs, last.seconds)
        if sooner >= epochs:
            return False
        running.shorten(last.epoch, sooner)
        end = "is cut off" if sooner == last.epoch else "ends"
        self.callback(
            Note(
                f"trial {running.trial.number} trains more slowly than was forecast: its schedule "
                f"{end} after {sooner} of {epochs:g} epochs"
            )
        )
        return EndAfter(sooner)

    def _end_schedule(self, running: RunningTrial, result: TrainResult) -> None:
        """A schedule has come to its end: go on with the next longer one, or stop there."""
        rung = running.rung(result)
        if running.is_last:
            reason, detail = None, ""
            if rung.epochs < running.candidate.recipe.epochs:
                detail = f"with a schedule of {running.schedule_text}"
        else:
            # Where a time limit decides, the pruner does not.
            is_pruned = self.ledger.report(running, rung.valid_accuracy, rung.epochs)
            reason = Reason.STOPPED_BY_PRUNER if is_pruned or running.is_short else None
            of = "" if running.is_short else f"{rung.epochs:g} of {running.schedules[-1]:g} epochs"
            detail = f"{SQUEEZED_INTO} {of or running.schedule_text}"
        fault = self.ledger.results.keep(running, result)
        if fault is not None:
            self.callback(Note(f"weights of trial {running.trial.number} not kept: {fault}"))
        if running.is_last or reason is not None:
            is_best = running.result == rung and self.ledger.results.is_best(running)
            self._end(
                running, reason, detail, result.history, result.train_seconds, is_best=is_best
            )
            return
        is_best = running.result == rung and self.ledger.results.is_best(running)
        num_params = running.candidate.architecture.num_params
        self.callback(
            ScheduleEnded(
                running.trial.number, rung.epochs, rung.valid_accuracy, num_params, is_best
            )
        )
        running.rungs.append(rung)
        running.seconds += rung.train_seconds
        running.begin(running.schedules[1:])
        self.pool.start(running.job(self.pool.num_train))  # to the worker that has just become idle

    def _fail(self, running: RunningTrial, reason: Reason, message: Failed) -> None:
        history = message.history
        self._end(running, reason, message.detail, history, _seconds(history))

    def _end(
        self,
        running: RunningTrial,
        reason: Reason | None,
        detail: str,
        history: Sequence[EpochMetrics],
        train_seconds: float,
        *,
        is_best: bool = False,
    ) -> None:
        """Tell everyone what became of a trial, and of its last training."""
        number, seconds = running.trial.number, running.seconds + train_seconds
        self.ledger.end(running, reason, detail, history, seconds)
        del self.running[number]
        self.num_errors = self.num_errors + 1 if reason == Reason.ERROR else 0
        self.callback(
            TrialEnded(
                number,
                reason,
                detail,
                running.candidate.architecture.num_params,
                history[-1].valid_accuracy if history else None,
                seconds,
                is_best,
            )
        )


def _seconds(history: Sequence[EpochMetrics]) -> float:
    return sum(metrics.seconds for metrics in history)
