"""The processes that train candidates. They know nothing of studies.

    start(Job) ... wait() -> StepsDone ... EpochDone -> answer(stop?) ... -> Trained or Failed

A worker first says that it is ready: the time that it takes to start is no silence.

On a CPU each worker is a process of one thread: a small network keeps one core busy, and two
threads mostly wait for each other. On a GPU the workers are threads of one process with a stream
each: one process alone would be served at a time. A candidate that takes its process down, or finds
the GPU's memory full, must cost no other: those that were beside it are trained again, alone.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from nas.data import Dataset
from nas.errors import DataError
from nas.metrics import EpochMetrics
from nas.training import EndAfter
from nas.training.device import EngineName, choose_engine
from nas.training.messages import (
    EpochDone,
    Failed,
    Job,
    Message,
    Ready,
    Restarted,
    StepsDone,
    Trained,
)
from nas.training.processes import make_context, start_process
from nas.training.worker import work

JOIN_SECONDS = 5  # that a worker is given to end by itself
POLL_SECONDS = 0.2  # how soon a signal or the time limit is noticed while all workers train
SILENCE_SECONDS = 3600.0  # without a step, after which a training is taken to hang
GAP_SECONDS = 60.0  # between two calls of `wait`: this process stood still, and they perhaps too


@dataclass
class _Worker:
    process: Any  # of the context that starts it; several workers may share one
    connection: Connection
    engine: EngineName  # of the process
    job: Job | None = None  # in work
    is_ready: bool = False  # it has started
    heard: float = 0.0  # when it last said or was told something, by the monotonic clock
    history: list[EpochMetrics] = field(default_factory=list)  # of the job
    is_asking: bool = False  # it waits for the answer to `EpochDone`


class WorkerPool:
    """`num_workers` trainings at once, of processes that share one data set.

    As a context manager it starts them, and ends them whatever happens.

    Args:
        data: train and validation images, on the CPU; moved into shared memory once.
        device: where the workers train.
        precision: of convolutions and matrix products, see `train`.
        num_workers: candidates trained at once; fewer, once the device's memory was too small.
        engine: how steps reach the device, see `train`; None is what suits the device. Where graphs
            cannot be captured, a new process goes on with `eager`.
        on_notice: told in a line for people when the pool goes on in another way.

    Raises:
        DataError: the images do not fit into shared memory.
    """

    def __init__(
        self,
        data: Dataset,
        device: torch.device,
        precision: torch.dtype,
        num_workers: int,
        engine: EngineName | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._context = make_context()
        # Plain shared memory without a lock: a worker that is killed cannot leave it locked.
        self._stop = self._context.RawValue(ctypes.c_bool, False)
        self._peak = self._context.RawValue(ctypes.c_double, 0.0)
        try:
            self._data = replace(
                data,
                images=data.images.share_memory_(),
                labels=data.labels.share_memory_(),
                train_index=data.train_index.share_memory_(),
                valid_index=data.valid_index.share_memory_(),
            )
        except RuntimeError as error:
            num_bytes = data.images.numel()
            raise DataError(
                f"the {num_bytes / 2**20:,.0f} MiB of images do not fit into shared memory: make "
                "/dev/shm larger (in a container with --shm-size)"
            ) from error
        self.num_train, self.num_valid = len(data.train_index), len(data.valid_index)
        self.device = device
        self.precision = precision
        self.num_workers = num_workers
        self.engine: EngineName = engine or choose_engine("auto", device)
        self.on_notice = on_notice
        self._num_full = 0  # times that the device's memory did not suffice for those beside others
        self._workers: list[_Worker] = []
        self._again: deque[Job] = deque()  # to be trained again, each alone
        self._is_alone = False  # one of them is in work
        self._last_wait = time.monotonic()

    def __enter__(self) -> WorkerPool:
        if self.device.type == "cpu":
            self._workers = [self._start_process(1)[0] for _ in range(self.num_workers)]
        else:
            self._workers = self._start_process(self.num_workers)
        return self

    def __exit__(self, *error: object) -> None:
        """End every worker; one that is still training is killed."""
        for worker in self._workers:
            if worker.job is not None:
                worker.process.kill()
            worker.connection.close()  # it ends when there is nobody to hear from
        for process in {id(worker.process): worker.process for worker in self._workers}.values():
            process.join(JOIN_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._workers = []

    @property
    def peak(self) -> float | None:
        """Floating-point operations in a second of a wide convolution on one worker.

        It is measured once, by the worker that first ends an epoch; None before that.
        """
        return self._peak.value or None

    @property
    def num_idle(self) -> int:
        """How many jobs may be started."""
        if self._again or self._is_alone:
            return 0
        return max(0, self.num_workers - sum(worker.job is not None for worker in self._workers))

    def start(self, job: Job) -> None:
        """Give a job to an idle worker; what was asked to stop before does not stop this one."""
        self._stop.value = False
        worker = next(w for w in self._workers if w.job is None)
        if not worker.process.is_alive() and not self._jobs_of(worker):
            self._renew(worker)
        self._give(worker, job)

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job, worker.heard, worker.history = job, time.monotonic(), []
        worker.is_asking = False
        with suppress(OSError):  # one that dies just now is found by wait(), too
            worker.connection.send(job)

    def stop(self) -> None:
        """Ask every training to stop before its next step; each ends as `Trained`, unfinished."""
        self._stop.value = True

    def answer(self, number: int, stop: bool | EndAfter) -> None:
        """Let the job go on after `EpochDone`, stop there, or end its schedule sooner."""
        asking = (w for w in self._workers if w.job and w.job.number == number and w.is_asking)
        worker = next(asking, None)
        if worker is None:  # its process has died since, and the job begins again
            return
        worker.heard, worker.is_asking = time.monotonic(), False
        # A worker that died while it waited is found by the next wait().
        with suppress(OSError):
            worker.connection.send(stop)

    def wait(self, timeout_seconds: float) -> list[Message]:
        """What the workers have said; empty when none said anything in time."""
        if self._again and not any(worker.job for worker in self._workers):
            self.start(self._again.popleft())
            self._is_alone = True
        busy = {worker.connection: worker for worker in self._workers if worker.job}
        ready: list[Any] = wait(list(busy), timeout_seconds)
        messages: list[Message] = []
        for connection in ready:
            worker = busy[connection]
            if worker.connection is connection:  # not replaced meanwhile with its process
                messages += self._receive(worker)
        if ready and not messages:  # one has just started, which is nobody's business
            return self.wait(timeout_seconds)
        return messages + self._end_hung()

    def _end_hung(self) -> list[Message]:
        """End the processes that have been silent for too long."""
        now, before = time.monotonic(), self._last_wait
        self._last_wait = now
        busy = [worker for worker in self._workers if worker.job]
        if now - before > GAP_SECONDS:
            for worker in busy:
                worker.heard = now
        silent = (w for w in busy if w.is_ready and now - w.heard > SILENCE_SECONDS)
        hung = next(silent, None)
        if hung is None:
            return []
        hung.process.kill()
        return self._bury(hung, f"it hung: no step in {SILENCE_SECONDS:,.0f} s")

    def _receive(self, worker: _Worker) -> list[Message]:
        assert worker.job is not None
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        worker.heard = time.monotonic()
        if isinstance(message, Ready):
            worker.is_ready = True
            return []
        if isinstance(message, StepsDone):
            return [message]
        if isinstance(message, EpochDone):
            worker.history.append(message.metrics)
            worker.is_asking = True
            return [message]
        if isinstance(message, Failed) and message.is_device_lost:
            return self._bury(worker, last=message)
        was_beside_others = len(self._jobs_of(worker)) > 1
        job, worker.job, self._is_alone = worker.job, None, False
        history = tuple(worker.history)
        if isinstance(message, Trained):
            weights = {n: torch.from_numpy(a) for n, a in message.result.state_dict.items()}
            result = replace(message.result, state_dict=weights, history=history)
            return [Trained(message.number, result)]
        if message.is_out_of_memory and was_beside_others:
            self._was_full()
            return [self._restart(job, message.detail)]
        return [replace(message, history=history)]

    def _bury(self, worker: _Worker, why: str = "", last: Failed | None = None) -> list[Message]:
        """Say what became of a process that died, and put a new one in its place.

        Args:
            last: what it said of its device.
        """
        process = worker.process
        process.join(JOIN_SECONDS)
        if process.is_alive():  # a driver may hold it back; the new one needs its memory
            process.kill()
            process.join()
        code = process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        last = last or self._last_words(worker)
        if last is not None and last.is_capture and worker.engine == "graph":
            self._go_on_eagerly(worker, last.detail)
            return []
        jobs = self._jobs_of(worker)
        self._is_alone = False
        self._renew(worker)
        said = last.detail if last else ""
        detail = why or said or f"its process died ({how}); the system may be out of memory"
        if len(jobs) > 1:  # whose fault it was shows when each is alone
            if last is not None and last.is_out_of_memory:
                self._was_full()
            return [self._restart(job, detail) for job in jobs]
        return [Failed(job.number, detail, history=tuple(worker.history)) for job in jobs]

    def _last_words(self, worker: _Worker) -> Failed | None:
        """What a process has said of its device before it ended, to whichever of its workers."""
        for shared in self._sharing(worker):
            with suppress(EOFError, OSError):
                while shared.connection.poll():
                    message = shared.connection.recv()
                    if isinstance(message, Failed) and message.is_device_lost:
                        return message
        return None

    def _go_on_eagerly(self, worker: _Worker, detail: str) -> None:
        """Train what was in work from its start in a new process, which captures nothing."""
        if self.engine == "graph":
            self.engine = "eager"
            self.on_notice(
                f"steps cannot be captured as graphs here ({detail}): from here on the eager "
                "engine trains, and begins again with the candidates in work"
            )
        jobs = [(shared, shared.job) for shared in self._sharing(worker)]
        self._renew(worker)
        for shared, job in jobs:
            if job is not None:
                self._give(shared, job)

    def _was_full(self) -> None:
        """The device's memory was too small for so many; the second time there will be fewer."""
        self._num_full += 1
        if self._num_full > 1 and self.num_workers > 1:
            self.num_workers -= 1
            self.on_notice(
                f"the GPU's memory was full {self._num_full} times: from here on "
                f"{self.num_workers} at a time"
            )

    def _restart(self, job: Job, detail: str) -> Restarted:
        self._again.append(job)
        return Restarted(job.number, detail)

    def _jobs_of(self, worker: _Worker) -> list[Job]:
        """What is in work in the worker's process."""
        return [shared.job for shared in self._sharing(worker) if shared.job]

    def _sharing(self, worker: _Worker) -> list[_Worker]:
        """The workers in the process of this one."""
        return [w for w in self._workers if w.process is worker.process]

    def _renew(self, worker: _Worker) -> None:
        """A new process for all workers that shared the one of `worker`; none of them has a job."""
        shared = self._sharing(worker)
        for old, fresh in zip(shared, self._start_process(len(shared)), strict=True):
            old.connection.close()
            old.process, old.connection, old.job = fresh.process, fresh.connection, None
            old.is_ready, old.engine = False, fresh.engine

    def _start_process(self, num_workers: int) -> list[_Worker]:
        pipes = [self._context.Pipe() for _ in range(num_workers)]
        connections = [theirs for _, theirs in pipes]
        arguments = (
            connections, self._data, self.device, self.precision, self._stop, self.engine,
            self._peak,
        )  # fmt: skip
        process = start_process(self._context, work, arguments)
        for connection in connections:
            connection.close()
        return [_Worker(process, ours, self.engine) for ours, _ in pipes]


def train_all(
    pool: WorkerPool,
    jobs: Iterable[Job],
    stop: Callable[[], bool] = lambda: False,
    told: Callable[[StepsDone | EpochDone], None] = lambda message: None,
) -> Iterator[Trained | Failed]:
    """Train every job to its end; yields what became of each when it ends, until told to stop.

    `told` hears how far each has come. After `stop` no job is begun, and those in work end as
    `Trained`, unfinished.
    """
    waiting, num_running = deque(jobs), 0
    while num_running or (waiting and not stop()):
        if waiting and pool.num_idle and not stop():
            pool.start(waiting.popleft())
            num_running += 1
            continue
        if stop():
            pool.stop()
        for message in pool.wait(POLL_SECONDS):
            match message:
                case StepsDone():
                    told(message)
                case EpochDone(number, _):
                    told(message)
                    pool.answer(number, stop=False)
                case Trained() | Failed():
                    num_running -= 1
                    yield message
