"""Stand-ins for the tests of a search: a space of one parameter, an engine that costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe, Task
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.search_space import SearchSpace
from nas.training import EpochMetrics, TrainResult


def suggest(trial: Any, task: Task) -> Candidate:
    """A network of `width` channels: 9*C*width + width*classes + classes parameters."""
    width = trial.suggest_int("width", 1, 30)
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))


def make_space(function: Callable[[Any, Task], Any] = suggest) -> SearchSpace:
    return SearchSpace("toy", Path(__file__), "# toy", function)


class FakeEngine:
    """In place of `nas.training.train`: scores a network by its size, and remembers every call."""

    def __init__(self, score: Callable[[int], float] | None = None) -> None:
        self.score = score or (lambda num_params: 1 - 1 / (1 + num_params))
        self.trained: list[int] = []  # parameters of each network
        self.seeds: list[int] = []

    def __call__(
        self, architecture: Any, recipe: Any, data: Any, *, seed: int, on_epoch_end: Any,
        should_stop: Any,
    ) -> TrainResult:  # fmt: skip
        self.trained.append(architecture.num_params)
        self.seeds.append(seed)
        history: list[EpochMetrics] = []
        is_stopped = False
        for epoch in range(1, recipe.epochs + 1):
            if should_stop():
                is_stopped = True
                break
            accuracy = self.score(architecture.num_params) * epoch / recipe.epochs
            history.append(EpochMetrics(epoch, 1.0, 1.0 - accuracy, accuracy, 0.01))
            if on_epoch_end(history[-1]) and epoch < recipe.epochs:
                is_stopped = True
                break
        weights = {"0.weight": torch.full((2,), float(len(self.trained)))}
        return TrainResult(tuple(history), weights, 0.1, not is_stopped)
