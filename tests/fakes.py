"""Stand-ins for the tests of a search: a space of one parameter, workers that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.errors import DivergedError, one_line
from nas.metrics import EpochMetrics
from nas.searching.config import SearchConfig
from nas.searching.events import Callback
from nas.searching.ledger import Ledger
from nas.searching.pruners import make_pruner
from nas.searching.search import Search
from nas.searching.stop import StopRequest
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.trials import record_candidate, record_training
from nas.training import EndAfter, TrainResult, train
from nas.training.messages import EpochDone, Failed, Job, Message, Trained

LIMIT = 150  # of parameters: widths 1 to 10 of `suggest` fit, 11 to 30 do not


def suggest(trial: Any, task: Task) -> Candidate:
    """A network of `width` channels: 9*C*width + width*classes + classes parameters."""
    width = trial.suggest_int("width", 1, 30)
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))


def make_space(function: Callable[[Any, Task], Any] = suggest) -> SearchSpace:
    return SearchSpace("toy", Path(__file__), "# toy", function)


def fixed_space(width):
    """A space that proposes one width for ever, with another learning rate each time."""

    def propose(trial, task):
        learning_rate = trial.suggest_float("learning_rate", 0.01, 0.1)
        layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        recipe = Recipe(epochs=task.epochs, learning_rate=learning_rate)
        return Candidate(Architecture(task.input_shape, layers), recipe)

    return make_space(propose)


def one_network_space():
    """A space that proposes one network and recipe for ever."""

    def propose(trial, task):
        trial.suggest_float("no_effect", 0, 1)
        layers = [Conv(4), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))

    return make_space(propose)


def add_trial(
    study: optuna.Study, candidate: Candidate, accuracy: float, loss: float = 0.5
) -> None:
    """A completed trial, as if a search had trained it for one epoch."""
    trial = study.ask()
    record_candidate(trial, candidate, trial.number, "cpu, fp32", versions={}, pruner="none")
    record_training(trial, [EpochMetrics(1, 1.0, loss, accuracy, 0.1)], 0.1)
    study.tell(trial, accuracy)


def search_in(
    study: optuna.Study,
    space: SearchSpace,
    task: Task,
    data: Dataset,
    settings: SearchConfig,
    pool: Any,
    folder: Path,
    callback: Callback = lambda event: None,
    stop: StopRequest | None = None,
) -> Search:
    """A search as the command line makes one."""
    pool.num_train, pool.num_valid = len(data.train_index), len(data.valid_index)
    pruner = make_pruner(settings.pruner, task.epochs, pool.num_train)
    ledger = Ledger(study, settings, pruner, folder)
    return Search(ledger, space, task, data, pool, callback, stop or StopRequest())


class FakePool:
    """In place of `nas.training.pool.WorkerPool`: scores a network by its size, at no cost.

    It remembers every job. `score` gives the last epoch's accuracy for a number of parameters; what
    it raises is what the worker reports. Each call of `wait` lets every job say one thing.
    """

    device = torch.device("cpu")
    precision = torch.float32
    engine = "eager"
    num_train, num_valid = 1_600, 197  # see `search_in`
    peak: float | None = None  # it takes no time, and so reaches no share of one

    def __init__(self, num_workers: int = 1, score: Callable[[int], float] | None = None) -> None:
        self.num_workers = num_workers
        self.score = score or (lambda num_params: 1 - 1 / (1 + num_params))
        self.jobs: list[Job] = []
        self.most_at_once = 0
        self._talks: dict[int, Generator[Message, bool | EndAfter, None]] = {}
        self._answers: dict[int, bool | EndAfter] = {}
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
        self._is_stopped = False
        self.jobs.append(job)
        self._talks[job.number] = self._train(job)
        self.most_at_once = max(self.most_at_once, len(self._talks))

    def stop(self) -> None:
        self._is_stopped = True

    def answer(self, number: int, stop: bool | EndAfter) -> None:
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

    def _train(self, job: Job) -> Generator[Message, bool | EndAfter, None]:
        history: list[EpochMetrics] = []
        is_stopped = False
        epoch, epochs = 0, job.recipe.epochs
        while epoch < epochs:
            epoch += 1
            if self._is_stopped:
                is_stopped = True
                break
            try:
                score = self.score(job.architecture.num_params)
            except DivergedError as error:
                yield Failed(job.number, str(error), has_diverged=True, history=tuple(history))
                return
            except Exception as error:
                yield Failed(job.number, one_line(error), history=tuple(history))
                return
            accuracy = score * epoch / epochs
            history.append(EpochMetrics(epoch, 1.0, 1.0 - accuracy, accuracy, 0.01))
            answer = yield EpochDone(job.number, history[-1])
            if isinstance(answer, EndAfter):
                epochs = answer.epochs
            elif answer and epoch < epochs:
                is_stopped = True
                break
        weights = {"0.weight": torch.full((2,), float(job.number))}
        yield Trained(job.number, TrainResult(tuple(history), weights, 0.1, not is_stopped))


class ClockPool(FakePool):
    """A pool on a clock of its own, which moves as long as its trainings would take.

    Every epoch of all images takes `epoch_seconds`, a part of the images its share; `slower`
    is by how many times the machine is slower than before. Longer schedules have better scores.
    """

    def __init__(self, num_train: int, epoch_seconds: float, num_workers: int = 1) -> None:
        super().__init__(num_workers, lambda _: 1 - 0.5 / (1 + self.epochs_of(self.current)))
        self.current: Any = None  # the job that has its turn
        self.num_train = num_train
        self.epoch_seconds = epoch_seconds
        self.slower = 1.0
        self.now = 1000.0
        self._ends: dict[int, float] = {}  # of the epoch that a job is in
        self._epochs_left: dict[int, int] = {}

    def monotonic(self) -> float:
        return self.now

    def epochs_of(self, job: Job) -> float:
        return job.recipe.epochs * (job.num_images or self.num_train) / self.num_train

    def seconds_of(self, job: Job) -> float:
        """Of one of its epochs."""
        return self.epochs_of(job) / job.recipe.epochs * self.epoch_seconds * self.slower

    def start(self, job: Job) -> None:
        super().start(job)
        self._epochs_left[job.number] = job.recipe.epochs
        self._ends[job.number] = self.now + self.seconds_of(job)

    def answer(self, number: int, stop: bool | EndAfter) -> None:
        super().answer(number, stop)
        job = self._job(number)
        self._epochs_left[number] -= 1
        if isinstance(stop, EndAfter):
            num_done = job.recipe.epochs - self._epochs_left[number]
            self._epochs_left[number] = stop.epochs - num_done
            stop = False
        is_last = stop or not self._epochs_left[number]
        self._ends[number] = self.now + (0 if is_last else self.seconds_of(job))

    def wait(self, timeout_seconds: float) -> list[Message]:
        """Whoever ends its epoch first says so."""
        number = min(self._talks, key=lambda number: self._ends[number])
        self.now = max(self.now, self._ends[number])
        talk, self.current = self._talks[number], self._job(number)
        has_answer = number in self._answers
        message = talk.send(self._answers.pop(number)) if has_answer else next(talk)
        seconds = self.seconds_of(self.current)
        if isinstance(message, EpochDone):
            return [EpochDone(number, replace(message.metrics, seconds=seconds))]
        del self._talks[number]
        if isinstance(message, Trained):
            history = [replace(m, seconds=seconds) for m in message.result.history]
            result = replace(
                message.result, history=tuple(history), train_seconds=seconds * len(history)
            )
            return [Trained(number, result)]
        return [message]

    def _job(self, number: int) -> Job:
        return next(job for job in reversed(self.jobs) if job.number == number)


def train_alone(
    architecture: Architecture, recipe: Recipe, data: Dataset, seed: int, **how: Any
) -> TrainResult:
    """What a worker on a CPU does, done in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(architecture, recipe, data, seed=seed, precision=torch.float32, **how)
    finally:
        torch.set_num_threads(threads)


class LocalPool:
    """In place of `nas.training.pool.WorkerPool`: trains for real, but one job after another, here.

    It needs no processes, which take seconds to start.
    """

    device = torch.device("cpu")
    precision = torch.float32
    engine = "eager"
    num_workers = 1
    peak: float | None = 1e10

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.num_train, self.num_valid = len(data.train_index), len(data.valid_index)
        self._job: Job | None = None
        self._is_stopped = False

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def num_idle(self) -> int:
        return 0 if self._job else 1

    def start(self, job: Job) -> None:
        assert self._job is None
        self._job, self._is_stopped = job, False

    def stop(self) -> None:
        self._is_stopped = True

    def answer(self, number: int, stop: bool | EndAfter) -> None:
        assert not stop  # the training is over by now

    def wait(self, timeout_seconds: float) -> list[Message]:
        """All that a worker would say of the job."""
        assert self._job is not None
        job, self._job = self._job, None
        data = replace(self.data, train_index=self.data.train_index[: job.num_images])
        try:
            result = train_alone(
                job.architecture, job.recipe, data, job.seed,
                should_stop=lambda: self._is_stopped,
            )  # fmt: skip
        except DivergedError as error:
            return [Failed(job.number, str(error), has_diverged=True)]
        epochs = [EpochDone(job.number, metrics) for metrics in result.history]
        return [*epochs, Trained(job.number, result)]
