"""Running: a candidate that a worker trains, and how far it has come."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, replace

import optuna
import torch

from nas import __version__
from nas.candidate import Candidate
from nas.metrics import EpochMetrics
from nas.trials import Rung
from nas.worker import Job


@dataclass
class Running:
    """A candidate that a worker trains."""

    trial: optuna.Trial
    candidate: Candidate
    schedules: tuple[int, ...]
    """Epochs of this training and of those to follow if it does well; the last is the full one."""
    seed: int
    history: list[EpochMetrics] = field(default_factory=list)  # of this training
    rungs: list[Rung] = field(default_factory=list)  # what came of the trainings before it
    seconds: float = 0.0  # that those took in this trial
    is_pruned: bool = False  # the pruner has stopped it

    @property
    def is_full(self) -> bool:
        """Whether it has its full schedule now."""
        return len(self.schedules) == 1

    @property
    def job(self) -> Job:
        recipe = replace(self.candidate.recipe, epochs=self.schedules[0])
        return Job(self.trial.number, self.candidate.architecture, recipe, self.seed)


def versions() -> dict[str, str]:
    """What made a number, for its record."""
    return {
        "nas": __version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "python": platform.python_version(),
    }
