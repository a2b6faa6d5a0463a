"""Stand-ins for the tests of a search: a space of one parameter, workers that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe, Task
from nas.errors import DivergedError, describe
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.search_space import SearchSpace
from nas.training import EpochMetrics, TrainResult
from nas.worker import EpochDone, Failed, Job, Trained
from nas.workers import Message


def suggest(trial: Any, task: Task) -> Candidate:
    """A network of `width` channels: 9*C*width + width*classes + classes parameters."""
    width = trial.suggest_int("width", 1, 30)
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))


def make_space(function: Callable[[Any, Task], Any] = suggest) -> SearchSpace:
    return SearchSpace("toy", Path(__file__), "# toy", function)


class FakePool:
    """In place of `nas.workers.WorkerPool`: scores a network by its size, at no cost.

    It remembers every job. `score` gives the last epoch's accuracy for a number of parameters; what
    it raises is what the worker reports. Each call of `wait` lets every job say one thing.
    """

    device = torch.device("cpu")
    precision = torch.float32

    def __init__(self, num_workers: int = 1, score: Callable[[int], float] | None = None) -> None:
        self.num_workers = num_workers
        self.score = score or (lambda num_params: 1 - 1 / (1 + num_params))
        self.jobs: list[Job] = []
        self.most_at_once = 0
        self._talks: dict[int, Generator[Message, bool, None]] = {}
        self._answers: dict[int, bool] = {}
        self._is_stopped = False

    @property
    def trained(self) -> list[int]:
        """Parameters of each network that came to be trained."""
        return [job.architecture.num_params for job in self.jobs]

    @property
    def num_idle(self) -> int:
        return self.num_workers - len(self._talks)

    def start(self, job: Job) -> None:
        assert self.num_idle > 0
        self.jobs.append(job)
        self._talks[job.number] = self._train(job)
        self.most_at_once = max(self.most_at_once, len(self._talks))

    def stop(self) -> None:
        self._is_stopped = True

    def answer(self, number: int, stop: bool) -> None:
        self._answers[number] = stop

    def wait(self, timeout_seconds: float) -> list[Message]:
        messages = []
        for number, talk in list(self._talks.items()):
            has_answer = number in self._answers
            message = talk.send(self._answers.pop(number)) if has_answer else next(talk)
            if isinstance(message, Trained | Failed):
                del self._talks[number]
            messages.append(message)
        return messages

    def _train(self, job: Job) -> Generator[Message, bool, None]:
        history: list[EpochMetrics] = []
        is_stopped = False
        for epoch in range(1, job.recipe.epochs + 1):
            if self._is_stopped:
                is_stopped = True
                break
            try:
                score = self.score(job.architecture.num_params)
            except DivergedError as error:
                yield Failed(job.number, str(error), has_diverged=True)
                return
            except Exception as error:
                yield Failed(job.number, describe(error))
                return
            accuracy = score * epoch / job.recipe.epochs
            history.append(EpochMetrics(epoch, 1.0, 1.0 - accuracy, accuracy, 0.01))
            if (yield EpochDone(job.number, history[-1])) and epoch < job.recipe.epochs:
                is_stopped = True
                break
        weights = {"0.weight": torch.full((2,), float(job.number))}
        yield Trained(job.number, TrainResult(tuple(history), weights, 0.1, not is_stopped))
