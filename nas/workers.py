"""Processes that train candidates and report every epoch. They know nothing of studies.

    parent: start(Job) ... wait() -> EpochDone -> answer(stop?) ... -> Trained or Failed
    worker: one candidate at a time, on one thread, on images that all workers share

One thread each, because a small network keeps one core busy and two threads mostly wait for each
other; and a process each, because a candidate that takes its process down must cost no other.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from nas.architecture import Architecture
from nas.candidate import Recipe
from nas.datasets import Dataset
from nas.errors import DataError, DivergedError, describe
from nas.training import EpochMetrics, TrainResult, train

JOIN_SECONDS = 5  # that a worker is given to end by itself

# glibc reads these when a process starts. By default it hands every large tensor back to the
# system after each step and takes the page faults again in the next one: 1.4 to 2.3 times slower.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}


@dataclass(frozen=True)
class Job:
    """A candidate to train. `number` comes back with every message about it."""

    number: int
    architecture: Architecture
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over; the worker waits for `WorkerPool.answer`."""

    number: int
    metrics: EpochMetrics


@dataclass(frozen=True)
class Trained:
    """A training is over, finished or stopped; the worker is idle again."""

    number: int
    result: TrainResult


@dataclass(frozen=True)
class Failed:
    """A training broke off; the worker is idle again, or has been replaced."""

    number: int
    has_diverged: bool
    detail: str


Message = EpochDone | Trained | Failed


@dataclass
class _Worker:
    process: Any  # of the context that starts it
    connection: Connection
    number: int | None = None  # of the job in work


def default_workers(device: torch.device) -> int:
    """One worker for each core this process may use on a CPU, one on any other device."""
    if device.type != "cpu":
        return 1
    can_tell = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1


class WorkerPool:
    """`num_workers` processes that share one data set.

    As a context manager it starts them, and ends them whatever happens.

    Args:
        data: train and validation images, on the CPU; moved into shared memory once.
        device: where the workers train.
        num_workers: candidates trained at once.

    Raises:
        DataError: the images do not fit into shared memory.
    """

    def __init__(self, data: Dataset, device: torch.device, num_workers: int) -> None:
        # A server that has loaded torch once forks each worker, in milliseconds.
        can_fork = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if can_fork else "spawn")
        if can_fork:
            self._context.set_forkserver_preload(["nas.workers"])
        # Plain shared memory without a lock: a worker that is killed cannot leave it locked.
        self._stop = self._context.RawValue(ctypes.c_bool, False)
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
        self.device = device
        self.num_workers = num_workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerPool:
        self._workers = [self._start_worker() for _ in range(self.num_workers)]
        return self

    def __exit__(self, *error: object) -> None:
        """End every worker; one that is still training is killed."""
        for worker in self._workers:
            if worker.number is None:
                worker.connection.close()  # it ends when there is nobody to hear from
            else:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(JOIN_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
            worker.connection.close()
        self._workers = []

    @property
    def num_idle(self) -> int:
        return sum(worker.number is None for worker in self._workers)

    def start(self, job: Job) -> None:
        """Give a job to an idle worker."""
        worker = next(w for w in self._workers if w.number is None)
        if not worker.process.is_alive():
            self._renew(worker)
        worker.number = job.number
        with suppress(OSError):  # one that dies just now is found by wait(), too
            worker.connection.send(job)

    def stop(self) -> None:
        """Ask every training to stop before its next step; each ends as `Trained`, unfinished."""
        self._stop.value = True

    def answer(self, number: int, stop: bool) -> None:
        """Let the job go on after `EpochDone`, or stop there."""
        worker = next(w for w in self._workers if w.number == number)
        # A worker that died while it waited is found by the next wait().
        with suppress(OSError):
            worker.connection.send(stop)

    def wait(self, timeout_seconds: float) -> list[Message]:
        """What the workers have said; empty when none said anything in time."""
        connections: list[Any] = [w.connection for w in self._workers if w.number is not None]
        ready = wait(connections, timeout_seconds)
        return [self._receive(worker) for worker in self._workers if worker.connection in ready]

    def _receive(self, worker: _Worker) -> Message:
        assert worker.number is not None
        try:
            message: Message = worker.connection.recv()
        except (EOFError, OSError):
            message = self._bury(worker)
        if not isinstance(message, EpochDone):
            worker.number = None
        if isinstance(message, Trained):
            weights = {n: torch.from_numpy(a) for n, a in message.result.state_dict.items()}
            message = Trained(message.number, replace(message.result, state_dict=weights))
        return message

    def _bury(self, worker: _Worker) -> Failed:
        """Say what became of a worker that died, and put a new one in its place."""
        worker.process.join(JOIN_SECONDS)
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        assert worker.number is not None
        self._renew(worker)
        return Failed(
            worker.number, False, f"its process died ({how}); the system may be out of memory"
        )

    def _renew(self, worker: _Worker) -> None:
        worker.connection.close()
        fresh = self._start_worker()
        worker.process, worker.connection = fresh.process, fresh.connection

    def _start_worker(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._data, self.device, self._stop)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        # Without the current folder on its path: a file `token.py` there is none of its business.
        with _environment(ALLOCATOR | {"PYTHONSAFEPATH": "1"}), _signals_held_back():
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _work(connection: Connection, data: Dataset, device: torch.device, stop: Any) -> None:
    """A worker's whole life: train what comes in, until nobody sends any more."""
    # A Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    data = data.to(device)
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        connection.send(_train(job, connection, data, stop))


def _train(job: Job, connection: Connection, data: Dataset, stop: Any) -> Message:
    def on_epoch_end(metrics: EpochMetrics) -> bool:
        connection.send(EpochDone(job.number, metrics))
        return bool(connection.recv())

    try:
        result = train(
            job.architecture,
            job.recipe,
            data,
            seed=job.seed,
            on_epoch_end=on_epoch_end,
            should_stop=lambda: bool(stop.value),
        )
    except DivergedError as error:
        return Failed(job.number, True, str(error))
    except (EOFError, BrokenPipeError):  # the parent is gone, and nobody is left to tell
        os._exit(1)
    except Exception as error:
        return Failed(job.number, False, describe(error))
    # As arrays: a tensor would travel as a handle to memory of this process, which may end first.
    weights: Any = {name: tensor.numpy() for name, tensor in result.state_dict.items()}
    return Trained(job.number, replace(result, state_dict=weights))


def _end_with_parent() -> None:
    """Leave when the parent is gone, however it went, also in the middle of a training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keep a Ctrl-C from what is being started: it could not handle one yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what is not set yet, for the processes that are started meanwhile."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
