"""RunningTrial: a candidate that a worker trains, and how far it has come."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, replace

import optuna
import torch

from nas import __version__
from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.metrics import EpochMetrics
from nas.searching.pace import StepClock
from nas.storage.trials import Rung, epochs_text
from nas.training import TrainResult
from nas.training.messages import Job
from nas.training.optimizers import learning_rates, shortened


@dataclass
class RunningTrial:
    """A candidate that a worker trains."""

    trial: optuna.Trial
    candidate: Candidate
    schedules: tuple[float, ...]
    """Epochs of this training and of those to follow if it does well; the last is the longest."""
    seed: int
    continues: int | None = None  # the stopped trial that it goes on with
    rungs: list[Rung] = field(default_factory=list)  # what came of the trainings before it
    seconds: float = 0.0  # that those took in this trial
    is_pruned: bool = False  # the pruner has stopped it
    is_short: bool = False  # a longer schedule is meant to follow, in another trial
    result: Rung | None = None  # of the best schedule that it has ended
    heard: list[EpochMetrics] = field(default_factory=list)
    """Epochs of this training, as they came: where the search breaks off, there is no other record
    of them."""
    clock: StepClock = field(default_factory=StepClock)  # of the first of `schedules`
    rates: list[float] = field(default_factory=list)  # of each step of this training
    num_images: int = 1  # that an epoch of this training is given
    num_batches: int = 1  # in an epoch
    given: tuple[float, ...] = ()  # `schedules` as they were when the worker was given the job

    @property
    def is_full(self) -> bool:
        """Whether it has the last of its schedules now."""
        return len(self.schedules) == 1

    @property
    def is_last(self) -> bool:
        """Whether this training is the last that is meant for it."""
        return self.is_full and not self.is_short

    @property
    def schedule_text(self) -> str:
        """How much of the full schedule this one is, for example `1 of 19 epochs`."""
        return epochs_text(self.schedules[0], self.candidate.recipe.epochs)

    def begin(self, schedules: tuple[float, ...]) -> None:
        """Go on with the next training."""
        self.schedules, self.clock = schedules, StepClock()
        self.heard.clear()

    def begin_again(self) -> None:
        """The worker trains it from its start, with the job that it was given."""
        self.begin(self.given)
        self._set_rates()

    def came_to(self, epochs: float) -> None:
        """The worker says how far the training has come, in epochs of the images it is given."""
        done = epochs * min(self.schedules[0], 1)
        if done < self.clock.epochs:  # another engine took over
            self.begin_again()
        self.clock.heard(done)

    def ended_epoch(self, metrics: EpochMetrics) -> None:
        """The worker says what an epoch came to."""
        if metrics.epoch <= len(self.heard):
            self.begin_again()
        self.heard.append(metrics)
        self.came_to(metrics.epoch)

    def rung(self, result: TrainResult) -> Rung:
        """What a training with its first schedule came to."""
        last, seconds = result.history[-1], round(result.train_seconds, 3)
        return Rung(self.schedules[0], last.valid_loss, last.valid_accuracy, seconds)

    def job(self, num_train: int) -> Job:
        """This training, of so many train images in an epoch."""
        epochs, recipe = self.schedules[0], self._recipe
        num_images = round(epochs * num_train) if epochs < 1 else None
        self.num_images = num_images or num_train
        self.num_batches = self.num_images // min(recipe.batch_size, self.num_images)
        self.given = self.schedules
        self._set_rates()
        return Job(self.trial.number, self.candidate.architecture, recipe, self.seed, num_images)

    @property
    def _recipe(self) -> Recipe:
        """Of this training."""
        return replace(self.candidate.recipe, epochs=max(int(self.schedules[0]), 1))

    def _set_rates(self) -> None:
        self.rates = learning_rates(self._recipe, self.num_batches * self._recipe.epochs)

    def learning_rate(self, epoch: int) -> float:
        """Of the last step of an epoch of this training."""
        return self.rates[epoch * self.num_batches - 1]

    def shorten(self, epoch: int, epochs: int) -> None:
        """After this epoch its schedule is to end sooner than was meant, after so many."""
        self.schedules = (epochs,)
        self.rates = shortened(self.rates, epoch * self.num_batches, epochs * self.num_batches)


def versions() -> dict[str, str]:
    """What made a number, for its record."""
    return {
        "nas": __version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "python": platform.python_version(),
    }
