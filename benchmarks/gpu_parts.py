"""What the commands of `gpu.py` share: images, networks, and one training of an engine."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import torch

# nas.data reads pictures with Pillow; none is read here, and a card's machine may lack it.
if importlib.util.find_spec("PIL") is None:
    sys.modules["PIL"] = MagicMock()
    sys.modules["PIL"].__version__ = "none"

from nas.candidates.architecture import Architecture
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, MaxPool, ReLU
from nas.candidates.recipe import Recipe
from nas.data.dataset import Dataset
from nas.training.cuda import own_stream
from nas.training.engine import Engine
from nas.training.graphs import GraphEngine

Figures = dict[str, Any]

SHAPE, CLASSES = (1, 28, 28), 10
BLOCK = [Conv(16, 3), BatchNorm(), ReLU()]
END = [GlobalAvgPool(), Flatten(), Linear(CLASSES)]
FIRST = [Conv(12, 3), BatchNorm(), ReLU(), *BLOCK, MaxPool(2)]
USUAL = Architecture(SHAPE, [*FIRST, *BLOCK, *BLOCK, MaxPool(2), *BLOCK, *END])
SGD = Recipe(batch_size=64, epochs=1, learning_rate=0.05)
ADAMW = replace(SGD, optimizer="adamw", learning_rate=0.003)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
ENGINES: dict[str, type[Engine]] = {"eager": Engine, "graph": GraphEngine}


def engine_for(device: str) -> type[Engine]:
    return Engine if device == "cpu" else GraphEngine


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def card(device: str) -> Figures:
    """What trains, and what this torch was built for."""
    figures: Figures = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cpu":
        return figures
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return figures | {
        "name": properties.name, "capability": torch.cuda.get_device_capability(device),
        "architectures": torch.cuda.get_arch_list(), "free": free, "total": total,
        "processors": properties.multi_processor_count, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


def images(
    num_train: int, device: str, num_valid: int = 1000, shape: tuple[int, int, int] = SHAPE
) -> Dataset:
    """Random images whose mean brightness says the class, so that something can be learned."""
    generator = torch.Generator().manual_seed(0)
    num = num_train + num_valid
    labels = torch.randint(0, CLASSES, (num,), generator=generator)
    noise = torch.randint(0, 80, (num, *shape), generator=generator)
    pixels = (noise + 17 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    data = Dataset(
        name="random", images=pixels, labels=labels, train_index=torch.arange(num_train),
        valid_index=torch.arange(num_train, num), classes=tuple("0123456789"), flips=False,
        mean=(0.45,), std=(0.2,), sha256="", split_sha256="",
    )  # fmt: skip
    return data.to(torch.device(device))


def train(
    kind: type[Engine], architecture: Architecture, recipe: Recipe, data: Dataset, seed: int = 0,
    precision: torch.dtype = torch.float32,
) -> list[list[float]]:  # fmt: skip
    """Training loss, validation loss and accuracy of each epoch."""
    rows = []
    with (
        own_stream(data.images.device),
        closing(kind(architecture, recipe, data, seed, precision)) as engine,
    ):
        for _ in range(recipe.epochs):
            loss = engine.train_epoch(lambda: False)
            assert loss is not None
            rows.append([loss, *engine.evaluate()])
        assert engine.is_finite()
    return rows
