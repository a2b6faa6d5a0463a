"""The ways to train one network that `engine.py` compares; each runs in a process of its own."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from recorded_space import RandomTrial, suggest
from torch.utils.data import DataLoader, Subset
from torchvision import datasets as torchvision_datasets
from torchvision import transforms

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.data import Dataset, source_of, split
from nas.metrics import epoch_flops
from nas.spaces.task import Task
from nas.training import TrainResult, engine, step, train
from nas.training.augmentation import augment
from nas.training.cpu import fusion
from nas.training.cpu.max_pool import MaxPool2x2
from nas.training.cpu.stage import Stage
from nas.training.device import PRECISIONS, default_workers
from nas.training.messages import Failed, Job
from nas.training.peak import convolution_speed
from nas.training.pool import WorkerPool, train_all


def networks(number: int) -> list[Architecture]:
    """Networks of the recorded space under 20,000 parameters, evenly spread over
    multiply-accumulates."""
    task, rng = Task((1, 28, 28), 10, 20_000), random.Random(0)
    drawn = [suggest(RandomTrial(rng), task).architecture for _ in range(1000)]
    fitting = [architecture for architecture in drawn if task.budget.fits(architecture)]
    fitting.sort(key=lambda architecture: architecture.num_macs)
    return [fitting[(2 * i + 1) * len(fitting) // (2 * number)] for i in range(number)]


def load(data_dir: Path, num_images: int) -> Dataset:
    """MNIST with an epoch of that many images, and validation images in proportion."""
    images = source_of("mnist", data_dir=data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    return replace(
        data,
        train_index=data.train_index[:num_images],
        valid_index=data.valid_index[: num_images // 11],
    )


def measure(
    arm: str,
    architecture: Architecture,
    data_dir: Path,
    num_images: int,
    epochs: int,
    batch_size: int,
    device_name: str,
    precision_name: str,
) -> dict[str, float]:
    """Seconds for one training in the arm, the accuracy it came to, and how fast it computed."""
    recipe = Recipe(epochs=epochs, batch_size=batch_size, augmentation=1.0)
    data, device = load(data_dir, num_images), torch.device(device_name)
    precision = torch.float32
    if arm.startswith(("nas", "without")) and arm != "without bf16":
        precision = PRECISIONS[precision_name]
    if arm == "nas-all":
        figure = all_workers(architecture, recipe, data, device, precision)
    elif arm == "naive":
        figure = naive(architecture, recipe, data, data_dir, device)
    else:
        data = data.to(device)
        if device_name != "cpu":
            torch.zeros((), device=device)  # CUDA itself starts before the clock, in all arms
        if arm == "peer":
            figure = peer(architecture, recipe, data)
        else:
            figure = one_worker(arm, architecture, recipe, data, precision)
    images = len(data.train_index), len(data.valid_index)
    flops = epochs * epoch_flops(architecture.num_macs, *images, batch_size)
    figure["gflops"] = flops / figure["seconds"] / 1e9
    if "peak_gflops" not in figure:
        figure["peak_gflops"] = convolution_speed(device, precision) / 1e9
    return figure


def one_worker(
    arm: str,
    architecture: Architecture,
    recipe: Recipe,
    data: Dataset,
    precision: torch.dtype,
) -> dict[str, float]:
    """The engine as it is, or without the techniques that the arm leaves out."""
    torch.set_num_threads(1)
    leave_out(arm)
    # The loops of `nas.training.cpu` are compiled once for a machine, not for each network.
    first = replace(recipe, epochs=1)
    train(architecture, first, few(data, recipe.batch_size), seed=0, precision=precision)
    inside = count_inside() if data.images.device.type == "cpu" else None
    started = time.perf_counter()
    result = train(architecture, recipe, data, seed=0, precision=precision)
    seconds = time.perf_counter() - started
    figure = {"seconds": seconds, "accuracy": result.history[-1].valid_accuracy}
    if inside is not None:
        figure["share_outside"] = 1 - inside.seconds / seconds
    return figure


def few(data: Dataset, num: int) -> Dataset:
    return replace(data, train_index=data.train_index[:num], valid_index=data.valid_index[:500])


def leave_out(arm: str) -> None:
    """Switch off one technique of the engine, or two."""
    techniques = arm.removeprefix("without ").split(" and ")
    if "fused-passes" in techniques or "channels-last" in techniques:
        engine.fuse = lambda model, seed: model
    if "pooled-stage" in techniques:

        def in_two_steps(norm, has_relu):  # type: ignore[no-untyped-def]
            return torch.nn.Sequential(
                Stage(norm, False, has_relu, 0.0, random.Random(0)), MaxPool2x2()
            )

        fusion.PooledStage = in_two_steps  # type: ignore[assignment, misc]
    if "channels-last" in techniques:
        engine.MEMORY_FORMAT = step.MEMORY_FORMAT = torch.contiguous_format
    if "fused-optimizer" in techniques:
        make = engine.make_optimizer

        def unfused(parameters, recipe):  # type: ignore[no-untyped-def]
            optimizer = make(parameters, recipe)
            for group in optimizer.param_groups:
                group["fused"] = False
            return optimizer

        engine.make_optimizer = unfused


class Stopwatch:
    """Sums the seconds spent inside the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function):  # type: ignore[no-untyped-def]
        def timed(*args, **kwargs):  # type: ignore[no-untyped-def]
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def count_inside() -> Stopwatch:
    """Time the forward passes (validation too), the backward passes and the optimiser."""
    watch = Stopwatch()
    make_step, make = engine.Step, engine.make_optimizer

    def make_timed(parameters, recipe):  # type: ignore[no-untyped-def]
        optimizer = make(parameters, recipe)
        optimizer.step = watch.wrap(optimizer.step)
        return optimizer

    engine.Step = lambda network, *others: make_step(watch.wrap(network), *others)  # type: ignore[misc,assignment]
    engine.make_optimizer = make_timed
    torch.Tensor.backward = watch.wrap(torch.Tensor.backward)  # type: ignore[method-assign]
    engine.Engine.evaluate = watch.wrap(engine.Engine.evaluate)  # type: ignore[method-assign]
    return watch


def all_workers(
    architecture: Architecture,
    recipe: Recipe,
    data: Dataset,
    device: torch.device,
    precision: torch.dtype,
) -> dict[str, float]:
    """As many trainings at once as there are workers; seconds for each, on the average."""
    with WorkerPool(data, device, precision, default_workers(device)) as pool:

        def run(recipe: Recipe) -> list[TrainResult]:
            jobs = [Job(n, architecture, recipe, seed=n) for n in range(pool.num_workers)]
            results = []
            for message in train_all(pool, jobs):
                if isinstance(message, Failed):
                    raise SystemExit(message.detail)
                results.append(message.result)
            return results

        # Workers live as long as a search: their start, like the imports of the other arms, is not
        # part of a training. One step of one large batch makes sure that they are there.
        run(replace(recipe, epochs=1, batch_size=len(data.train_index)))
        started = time.perf_counter()
        results = run(recipe)
        seconds = (time.perf_counter() - started) / pool.num_workers
        peak = (pool.peak or 0) * pool.num_workers / 1e9
    accuracy = results[0].history[-1].valid_accuracy
    return {"seconds": seconds, "accuracy": accuracy, "peak_gflops": peak}


def naive(
    architecture: Architecture,
    recipe: Recipe,
    data: Dataset,
    data_dir: Path,
    device: torch.device,
) -> dict[str, float]:
    """The loop of a notebook."""
    normalise = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    affine = transforms.RandomAffine(10, translate=(0.07, 0.07), scale=(0.88, 1.12), shear=8.5)
    started = time.perf_counter()
    train_set = torchvision_datasets.MNIST(
        data_dir, train=True, transform=transforms.Compose([affine, *normalise])
    )
    valid_set = torchvision_datasets.MNIST(
        data_dir, train=True, transform=transforms.Compose(normalise)
    )
    train_loader = DataLoader(
        Subset(train_set, data.train_index.tolist()), recipe.batch_size, shuffle=True, num_workers=1
    )
    valid_loader = DataLoader(
        Subset(valid_set, data.valid_index.tolist()), recipe.batch_size, num_workers=1
    )
    torch.manual_seed(0)
    model = architecture.build().to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, 0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=len(train_loader) * recipe.epochs,
        cycle_momentum=False,
    )
    losses = []
    for _ in range(recipe.epochs):
        model.train()
        for images, labels in train_loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        num_right = 0
        with torch.no_grad():
            for images, labels in valid_loader:
                images, labels = images.to(device), labels.to(device)
                num_right += (model(images).argmax(1) == labels).sum().item()
    return {
        "seconds": time.perf_counter() - started,
        "accuracy": num_right / len(data.valid_index),
    }


def peer(architecture: Architecture, recipe: Recipe, data: Dataset) -> dict[str, float]:
    """What a careful person writes: tensors on the device, no loader, eager float32."""
    device = data.images.device
    started = time.perf_counter()
    torch.manual_seed(0)
    generator = torch.Generator(device).manual_seed(0)
    model = architecture.build().to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, 0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    num_batches = -(-len(data.train_index) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=num_batches * recipe.epochs,
        cycle_momentum=False,
    )  # fmt: skip
    mean, std = data.mean[0], data.std[0]
    for _ in range(recipe.epochs):
        model.train()
        order = torch.randperm(len(data.train_index), generator=generator, device=device)
        for batch in data.train_index[order].split(recipe.batch_size):
            images = augment(data.images[batch].float() / 255, recipe, generator)
            loss = F.cross_entropy(model((images - mean) / std), data.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            num_right = torch.zeros((), dtype=torch.int64, device=device)
            for batch in data.valid_index.split(500):
                scores = model((data.images[batch].float() / 255 - mean) / std)
                num_right += (scores.argmax(1) == data.labels[batch]).sum()
        accuracy = num_right.item() / len(data.valid_index)
    return {"seconds": time.perf_counter() - started, "accuracy": accuracy}
