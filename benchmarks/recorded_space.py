"""The space that the record was drawn from: `blocks` as it was then, for the benchmarks alone.

The spaces of `nas` change; what was recorded must go on meaning the same networks. So this is a
copy of the space, its recipes, its solver of widths and the random draws, that takes nothing from
`nas` but layers, networks, recipes and tasks. It is not to be changed: `tests/test_benchmarks.py`
holds it to the record.

Of it are the networks of `curves.py` and `engine.py`, and the recipes of the rivals in `search.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas import (
    Architecture,
    BatchNorm,
    Candidate,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Recipe,
    ReLU,
    Task,
)

MAX_BLOCKS = 3
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side
NARROWEST = 0.1  # beside the widest
LEAST_SHARE = 0.6  # of the budget
LEAST_DRAWN = 0.3  # share of the record's own draws, so that the least share can be decided too
GOOD_RECIPE: dict[str, object] = {
    "optimizer": "sgd",
    "sgd_learning_rate": 0.1,
    "schedule": "one-cycle",
    "batch_size": 64,
    "augmentation": 0.5,
}

Relative = tuple[float, int, str]  # a convolution's ratio, kernel size and padding


# The space


def start(task: Task) -> dict[str, object]:
    """Three blocks of two 3x3 convolutions, the first network of a search."""
    params: dict[str, object] = {"dropout": 0.0, "num_blocks": 3}
    for block in range(3):
        params |= {
            f"block{block}_kernel_size": 3,
            f"block{block}_num_convs": 2,
            f"block{block}_padding": "same",
            f"block{block}_conv0_ratio": 1.0 if block else 0.45,
            f"block{block}_conv1_ratio": 1.0,
            f"transition{block}": "pool",
        }
    del params["transition2"]
    return params | {"head": "pool", "share": 1.0} | GOOD_RECIPE


def suggest(trial: Any, task: Task) -> Candidate:
    """What an Optuna trial, or a `RandomTrial`, makes of the space."""
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    noise: list[Layer] = [Dropout(dropout)] if dropout else []
    _, height, width = task.input_shape
    plan: list[Layer | Relative] = []

    num_blocks = trial.suggest_int("num_blocks", 2, MAX_BLOCKS)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, MAX_CONVS)
        padding = "same"
        shrink = num_convs * (kernel_size - 1)
        if min(height, width) - shrink >= 2:
            padding = trial.suggest_categorical(f"block{block}_padding", ["same", "valid"])
        if padding == "valid":
            height, width = height - shrink, width - shrink
        for conv in range(num_convs):
            ratio = suggest_ratio(trial, f"block{block}_conv{conv}_ratio")
            plan += [(ratio, kernel_size, padding), *noise]

        if block < num_blocks - 1 and min(height, width) >= SMALLEST_TO_HALVE:
            choices = ["pool-conv", "pool", "none"]
            transition = trial.suggest_categorical(f"transition{block}", choices)
            if transition != "none":
                height, width = height // 2, width // 2
                plan.append(MaxPool(2))
            if transition == "pool-conv":
                plan.append((suggest_ratio(trial, f"transition{block}_ratio"), 1, "same"))

    # A few channels of what is left of the image must not take more than half of the budget.
    if 8 * height * width * task.num_classes > task.budget.most_params + 1:
        head = "pool"
    else:
        head = trial.suggest_categorical("head", ["pool", "flatten"])
    if head == "pool":
        plan.append(GlobalAvgPool())
    plan += [Flatten(), Linear(task.num_classes)]

    def make(width: Width) -> Architecture:
        layers: list[Layer] = []
        for part in plan:
            if isinstance(part, Layer):
                layers.append(part)
            else:
                ratio, kernel_size, padding = part
                layers += [Conv(width(ratio), kernel_size, padding), BatchNorm(), ReLU()]
        return Architecture(task.input_shape, layers)

    share = trial.suggest_float("share", LEAST_SHARE, 1.0)
    return Candidate(fit(make, share, task), suggest_recipe(trial, task))


def suggest_ratio(trial: Any, name: str) -> float:
    """How wide a convolution is beside the widest that can be."""
    return trial.suggest_float(name, NARROWEST, 1.0, log=True)


def suggest_recipe(trial: Any, task: Task) -> Recipe:
    """Optimiser, rate, schedule, batch size and augmentation; nothing is left to defaults."""
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    if optimizer == "sgd":
        learning_rate = trial.suggest_float("sgd_learning_rate", 0.03, 0.3, log=True)
        weight_decay = 5e-4
    else:
        learning_rate = trial.suggest_float("adamw_learning_rate", 2e-3, 2e-2, log=True)
        weight_decay = 1e-2
    return Recipe(
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=weight_decay,
        schedule=trial.suggest_categorical("schedule", ["one-cycle", "cosine"]),
        warmup=0.2,
        milestones=(),
        gamma=0.1,
        batch_size=trial.suggest_categorical("batch_size", [64, 128]),
        epochs=task.epochs,
        augmentation=trial.suggest_float("augmentation", 0.0, 1.0, step=0.1),
        rotation=10.0,
        scale=0.12,
        shear=8.5,
        shift=0.07,
        brightness=0.0,
        contrast=0.0,
        flip=task.flips,
        label_smoothing=0.0,
    )


# The solver of widths

FINEST = 1e-4  # of the scale
LARGEST_SCALE = 2.0**30
GOLDEN = 0.6180339887498949


class Width:
    """Turns ratios into channels, at one scale: a layer of ratio 1 has about `scale` channels."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._num_asked = 0

    def __call__(self, ratio: float) -> int:
        # Each layer is rounded at a place of its own, so that they grow one after another.
        offset = 0.05 + 0.9 * (self._num_asked * GOLDEN % 1)
        self._num_asked += 1
        return max(1, int(self._scale * ratio + offset))


def fit(make: Callable[[Width], Architecture], share: float, task: Task) -> Architecture:
    """The network of one shape whose count is nearest to a share of the budget.

    Where even the narrowest is over a limit, it is the narrowest.
    """
    budget = task.budget
    wanted = round(share * budget.most_params)
    below = make(Width(0))
    if not budget.fits(below):
        return below

    def is_small(architecture: Architecture) -> bool:
        return architecture.num_params <= wanted and budget.fits(architecture)

    low, high = 0.0, 8.0
    while is_small(above := make(Width(high))):
        low, below, high = high, above, 2 * high
        if high > LARGEST_SCALE:  # it does not grow
            return below
    while high - low > FINEST:
        middle = (low + high) / 2
        tried = make(Width(middle))
        if is_small(tried):
            low, below = middle, tried
        else:
            high, above = middle, tried
    is_nearer = above.num_params - wanted < wanted - below.num_params
    return above if is_nearer and budget.fits(above) else below


# The draws


class RandomTrial:
    """Stands in for an Optuna trial: draws values, also of smaller networks, or takes given ones.

    Args:
        source: what to draw with, or the values of all parameters that are asked for.
    """

    def __init__(self, source: random.Random | Mapping[str, Any]) -> None:
        self.source = source
        self.params: dict[str, Any] = {}

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return self._take(name, lambda rng: rng.randrange(low, high + 1))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        low = LEAST_DRAWN if name == "share" else low

        def draw(rng: random.Random) -> float:
            if step:
                num_steps = math.floor((high - low) / step + 1e-9)
                return min(low + step * rng.randint(0, num_steps), high)
            if log:
                return math.exp(rng.uniform(math.log(low), math.log(high)))
            return rng.uniform(low, high)

        return self._take(name, draw)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._take(name, lambda rng: rng.choice(choices))

    def _take(self, name: str, draw: Callable[[random.Random], Any]) -> Any:
        source = self.source
        self.params[name] = draw(source) if isinstance(source, random.Random) else source[name]
        return self.params[name]
