"""What the worker processes and their pool say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.metrics import EpochMetrics
from nas.training import TrainResult


@dataclass(frozen=True)
class Job:
    """A candidate to train. `number` comes back with every message about it."""

    number: int
    architecture: Architecture
    recipe: Recipe
    seed: int
    num_images: int | None = None
    """Train images of each epoch, the first of all; None: every one."""


@dataclass(frozen=True)
class Ready:
    """The worker has started, and waits for jobs."""


@dataclass(frozen=True)
class StepsDone:
    """A training goes on, and has come so far; the worker waits for nothing."""

    number: int
    epochs: float  # of this training, for example 0.4


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
    detail: str
    has_diverged: bool = False
    is_out_of_memory: bool = False  # of the device
    is_device_lost: bool = False  # to the process, which ends
    is_capture: bool = False  # steps could not be captured as a graph
    history: tuple[EpochMetrics, ...] = ()  # the epochs before


@dataclass(frozen=True)
class Restarted:
    """A training begins again, because it broke off for what may be another's fault."""

    number: int
    detail: str


Message = StepsDone | EpochDone | Trained | Failed | Restarted
