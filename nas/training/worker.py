"""A process that trains candidates, one at a time on each of its connections.

parent: Job ...                             bool or EndAfter ...
worker:         StepsDone ... EpochDone ...            ... -> Trained or Failed
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from nas.data import Dataset
from nas.errors import DivergedError, one_line
from nas.metrics import EpochMetrics
from nas.training import EndAfter, train
from nas.training.cuda import release_memory
from nas.training.messages import EpochDone, Failed, Job, Ready, StepsDone, Trained

STEPS_SECONDS = 0.5  # between two words of steps: they are for people, and for the watch on hanging


def work(
    connections: Sequence[Connection],
    data: Dataset,
    device: torch.device,
    precision: torch.dtype,
    stop: Any,
) -> None:
    """The whole life of a process: train what comes in, until nobody sends any more.

    Args:
        connections: to the parent. With several, each has a thread and a CUDA stream.
        data: on the CPU, shared with other processes.
        precision: see `train`.
        stop: shared; every training ends when its value is true.
    """
    # A Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    data = data.to(device)
    threads = [
        threading.Thread(target=_serve, args=(connection, data, precision, stop))
        for connection in connections
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _serve(connection: Connection, data: Dataset, precision: torch.dtype, stop: Any) -> None:
    torch.set_num_threads(1)  # counts for this thread alone
    steps = _StepReporter(connection)
    try:
        connection.send(Ready())
        while True:
            job: Job = connection.recv()
            answer = _train(job, connection, data, precision, stop, steps)
            release_memory(data.images.device)
            connection.send(answer)
    except (EOFError, OSError):  # the parent wants no more, or is gone
        return
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # a thread that ends alone would keep the parent waiting


class _StepReporter:
    """Tells the parent of steps, but not of each: a clock is read, and rarely more."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.next_time = time.monotonic() + STEPS_SECONDS

    def __call__(self, number: int, epochs: float) -> None:
        now = time.monotonic()
        if now >= self.next_time:
            self.connection.send(StepsDone(number, epochs))
            self.next_time = now + STEPS_SECONDS


def _train(
    job: Job,
    connection: Connection,
    data: Dataset,
    precision: torch.dtype,
    stop: Any,
    steps: _StepReporter,
) -> Trained | Failed:
    def on_epoch_end(metrics: EpochMetrics) -> bool | EndAfter:
        connection.send(EpochDone(job.number, metrics))
        answer: bool | EndAfter = connection.recv()
        return answer

    try:
        result = train(
            job.architecture,
            job.recipe,
            replace(data, train_index=data.train_index[: job.num_images]),
            seed=job.seed,
            precision=precision,
            on_epoch_end=on_epoch_end,
            should_stop=lambda: bool(stop.value),
            on_step=lambda epochs: steps(job.number, epochs),
        )
    except DivergedError as error:
        return Failed(job.number, str(error), has_diverged=True)
    except torch.OutOfMemoryError:
        return Failed(job.number, "the GPU is out of memory", is_out_of_memory=True)
    except torch.AcceleratorError:
        os._exit(1)  # after such an error CUDA refuses everything: a new process is needed
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        return Failed(job.number, one_line(error))
    # As arrays: a tensor would travel as a handle to memory of this process, which may end first.
    weights: Any = {name: tensor.numpy() for name, tensor in result.state_dict.items()}
    # The pool has heard of each epoch, and keeps the curve.
    return Trained(job.number, replace(result, state_dict=weights, history=()))


def _end_with_parent() -> None:
    """Leave when the parent is gone, however it went, also in the middle of a training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
