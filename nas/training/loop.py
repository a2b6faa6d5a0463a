"""Train one network, and measure it on the validation images after each epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.errors import DivergedError
from nas.metrics import EpochMetrics
from nas.training.cuda import own_stream
from nas.training.device import EngineName, choose_engine, fastest_precision
from nas.training.engine import Engine
from nas.training.graphs import GraphEngine


@dataclass(frozen=True)
class EndAfter:
    """What a callback may answer: the schedule is to end after so many epochs, annealed where these
    are not behind it yet."""

    epochs: int


@dataclass(frozen=True)
class TrainResult:
    """A training, finished or stopped."""

    history: tuple[EpochMetrics, ...]
    state_dict: dict[str, Tensor]  # weights after the last step, on the CPU
    train_seconds: float  # from building the network to the last validation
    is_finished: bool  # False when a callback stopped it


def train(
    architecture: Architecture,
    recipe: Recipe,
    data: Dataset,
    *,
    seed: int,
    precision: torch.dtype | None = None,
    engine_name: EngineName | None = None,
    on_epoch_end: Callable[[EpochMetrics], bool | EndAfter] = lambda metrics: False,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[float], None] = lambda epochs: None,
) -> TrainResult:
    """Train a new network on `data`, on the device where `data` lives.

    The same arguments on the same CPU with the same number of threads give the same result.

    Args:
        architecture: the network to build.
        recipe: how to train it. The last, smaller batch of an epoch is left out.
        data: train and validation images.
        seed: of initial weights, order of images, augmentation and dropout.
        precision: of convolutions and matrix products while training, torch.float32 or
            torch.bfloat16; None is the faster of the two on this device.
        engine_name: `graph` replays captured steps, `eager` launches each; None is what suits the
            device.
        on_epoch_end: called after each epoch; True stops the training there, `EndAfter` lets its
            schedule end sooner, as a finished one.
        should_stop: asked before each step on a CPU, every eight in graphs; True stops soon, in the
            middle of an epoch: on a GPU after what was launched, twice eight steps at most.
        on_step: told before each of those steps how many epochs are done, for example 0.4.

    Raises:
        DivergedError: loss or weights are no longer finite.
        CountMismatchError: the built network has another size than was counted.
        torch.OutOfMemoryError: on a GPU.
        CaptureFailedError: steps cannot be captured; only a new process may train on this GPU.
    """
    started = time.perf_counter()
    device = data.images.device
    is_graph = (engine_name or choose_engine("auto", device)) == "graph"
    make_engine = GraphEngine if is_graph else Engine
    precision = precision or fastest_precision(device)
    history: list[EpochMetrics] = []
    is_stopped = False
    with (
        own_stream(device),
        closing(make_engine(architecture, recipe, data, seed, precision)) as engine,
    ):
        epoch, num_epochs = 0, recipe.epochs

        def is_told_to_stop() -> bool:
            on_step(engine.num_steps / engine.num_batches)
            return should_stop()

        while epoch < num_epochs:
            epoch += 1
            epoch_started = time.perf_counter()
            train_loss = engine.train_epoch(is_told_to_stop)
            if train_loss is None:
                is_stopped = True
                break
            valid_loss, valid_accuracy = engine.evaluate()
            if not math.isfinite(train_loss + valid_loss) or not engine.is_finite():
                raise DivergedError(epoch)
            seconds = time.perf_counter() - epoch_started
            history.append(EpochMetrics(epoch, train_loss, valid_loss, valid_accuracy, seconds))
            answer = on_epoch_end(history[-1])
            if isinstance(answer, EndAfter):
                if epoch <= answer.epochs < num_epochs:
                    num_epochs = answer.epochs
                    engine.shorten(epoch, num_epochs)
            elif answer and epoch < num_epochs:
                is_stopped = True
                break
        weights = engine.weights()
    return TrainResult(
        tuple(history), weights, time.perf_counter() - started, is_finished=not is_stopped
    )
