"""Train one network, and measure it on the validation images after each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.candidate import Recipe
from nas.datasets import Dataset
from nas.errors import DivergedError
from nas.training.augmentation import augment
from nas.training.device import has_fast_bf16
from nas.training.dropout import pool_dropout
from nas.training.optimizers import learning_rates, make_optimizer

EVALUATION_BATCH = 500  # images; small enough to stay in a CPU's cache
MEMORY_FORMAT = torch.channels_last  # what the fast convolutions of CPUs and GPUs work on


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to."""

    epoch: int  # from 1
    train_loss: float  # mean cross-entropy while training, with augmentation and dropout
    valid_loss: float  # mean cross-entropy on the validation images
    valid_accuracy: float  # share of the validation images classified rightly, 0..1
    seconds: float  # of this epoch, training and validation


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
    on_epoch_end: Callable[[EpochMetrics], bool] = lambda metrics: False,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train a new network on `data`, on the device where `data` lives.

    The same arguments on the same CPU with the same number of threads give the same result.

    Args:
        architecture: the network to build.
        recipe: how to train it. The last, smaller batch of an epoch is left out.
        data: train and validation images.
        seed: of initial weights, order of images, augmentation and dropout.
        on_epoch_end: called after each epoch; True stops the training there.
        should_stop: asked before each step; True stops at once, in the middle of an epoch.

    Raises:
        DivergedError: loss or weights are no longer finite.
        CountMismatchError: the built network has another size than was counted.
    """
    started = time.perf_counter()
    device = data.images.device
    torch.manual_seed(seed)  # initial weights and dropout
    generator = torch.Generator(device).manual_seed(seed)  # order and augmentation
    model = architecture.build().to(device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    if device.type == "cpu":
        pool_dropout(model, generator)
    optimizer = make_optimizer(model.parameters(), recipe)
    batch_size = min(recipe.batch_size, len(data.train_index))
    num_batches = len(data.train_index) // batch_size
    rates = iter(learning_rates(recipe, num_batches * recipe.epochs))
    normalise = _Normalise(data)
    history: list[EpochMetrics] = []
    is_stopped = False

    for epoch in range(1, recipe.epochs + 1):
        epoch_started = time.perf_counter()
        model.train()
        # Summed on the device: reading a loss would wait for the device at each step.
        loss_sum = torch.zeros((), device=device)
        order = torch.randperm(len(data.train_index), generator=generator, device=device)
        for index in data.train_index[order][: num_batches * batch_size].split(batch_size):
            if should_stop():
                is_stopped = True
                break
            images = augment(
                data.images[index].float() / 255, recipe.augmentation, recipe.flip, generator
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device)):
                scores = model(normalise(images))
            loss = F.cross_entropy(
                scores.float(), data.labels[index], label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = next(rates)
            optimizer.step()
            loss_sum += loss.detach()
        if is_stopped:
            break

        valid_loss, valid_accuracy = evaluate(model, data)
        train_loss = loss_sum.item() / num_batches
        if not _is_finite(train_loss + valid_loss, model):
            raise DivergedError(epoch)
        seconds = time.perf_counter() - epoch_started
        history.append(EpochMetrics(epoch, train_loss, valid_loss, valid_accuracy, seconds))
        if on_epoch_end(history[-1]) and epoch < recipe.epochs:
            is_stopped = True
            break

    return TrainResult(
        tuple(history),
        {name: value.cpu().contiguous().clone() for name, value in model.state_dict().items()},
        time.perf_counter() - started,
        not is_stopped,
    )


@torch.inference_mode()
def evaluate(model: nn.Module, data: Dataset) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (0..1) on the validation images, in float32."""
    model.eval()
    normalise = _Normalise(data)
    loss_sum = torch.zeros((), device=data.images.device)
    num_right = torch.zeros((), device=data.images.device, dtype=torch.int64)
    for index in data.valid_index.split(EVALUATION_BATCH):
        scores = model(normalise(data.images[index].float() / 255))  # (N, classes)
        labels = data.labels[index]
        loss_sum += F.cross_entropy(scores, labels, reduction="sum")
        num_right += (scores.argmax(1) == labels).sum()
    num_images = len(data.valid_index)
    return loss_sum.item() / num_images, num_right.item() / num_images


class _Normalise:
    """Images in 0..1 to mean 0 and standard deviation 1 for each channel of the train images."""

    def __init__(self, data: Dataset) -> None:
        device = data.images.device
        self.mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(data.std, device=device).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean) / self.std
        return normalised.contiguous(memory_format=MEMORY_FORMAT)


def _is_finite(loss: float, model: nn.Module) -> bool:
    if not torch.tensor(loss).isfinite():
        return False
    return all(bool(p.isfinite().all()) for p in model.state_dict().values())
