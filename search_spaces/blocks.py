"""Blocks of convolutions with transitions between them, as people build small CNNs by hand.

A network is two or three blocks. A block is one to three convolutions of one kernel size, each
followed by batch norm, ReLU and perhaps dropout. Between two blocks may stand a transition: max
pooling that halves the image, with or without a 1x1 convolution that changes the channels. The
head turns what is left into one score for each class.

Nothing is asked that has no effect, and nothing is proposed that cannot be built: a choice is
offered only where the image is still large enough for it. Widths scale with the budget, so that
one of 1,000 parameters can be searched as well as one of 100,000.
"""

from collections.abc import Sequence
from math import isqrt

from nas import (
    Architecture,
    AvgPool,
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
    Trial,
)

MAX_BLOCKS = 3
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side; a 2x2 image is the smallest that a block still works on


def widths(task: Task) -> tuple[int, int]:
    """The narrowest and the widest convolution."""
    # A 3x3 convolution from this many channels to as many would take the whole budget.
    widest = max(isqrt(task.max_params // 9), 6)
    return max(widest // 12, 2), widest


def start(task: Task) -> dict[str, object]:
    """Three blocks of two 3x3 convolutions, the first network of a search.

    For ten classes it fits any budget from 1,000 on and uses most of it.
    """
    _, widest = widths(task)
    return {
        "dropout": 0.0,
        "num_blocks": 3,
        "block0_kernel_size": 3,
        "block0_num_convs": 2,
        "block0_padding": "same",
        "block0_conv0_channels": max(widest // 5, 2),
        "block0_conv1_channels": widest * 9 // 20,
        "transition0": "pool",
        "block1_kernel_size": 3,
        "block1_num_convs": 2,
        "block1_padding": "same",
        "block1_conv0_channels": widest * 9 // 20,
        "block1_conv1_channels": widest * 9 // 20,
        "transition1": "pool",
        "block2_kernel_size": 3,
        "block2_num_convs": 2,
        "block2_padding": "same",
        "block2_conv0_channels": widest * 9 // 20,
        "block2_conv1_channels": widest * 9 // 20,
        "head": "pool-linear",
        "optimizer": "sgd",
        "sgd_learning_rate": 0.1,
        "schedule": "one-cycle",
        "batch_size": 64,
        "augmentation": 0.5,
    }


def suggest(trial: Trial, task: Task) -> Candidate:
    narrowest, widest = widths(task)
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    size = min(task.input_shape[1:])
    layers: list[Layer] = []

    num_blocks = trial.suggest_int("num_blocks", 2, MAX_BLOCKS)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, MAX_CONVS)
        # What 'valid' takes off the image must leave something to work on.
        size_if_valid = size - num_convs * (kernel_size - 1)
        padding = "same"
        if size_if_valid >= 2:
            padding = trial.suggest_categorical(f"block{block}_padding", ["same", "valid"])
        size = size_if_valid if padding == "valid" else size
        for conv in range(num_convs):
            name = f"block{block}_conv{conv}_channels"
            channels = trial.suggest_int(name, narrowest, widest, log=True)
            layers += convolution(channels, kernel_size, padding, dropout)

        if block < num_blocks - 1 and size >= SMALLEST_TO_HALVE:
            choices = ["pool-conv", "pool", "none"]
            transition = trial.suggest_categorical(f"transition{block}", choices)
            if transition != "none":
                size //= 2
                layers.append(MaxPool(2))
            if transition == "pool-conv":
                name = f"transition{block}_channels"
                channels = trial.suggest_int(name, narrowest, widest, log=True)
                layers += convolution(channels, 1, "same", dropout=0.0)

    head = trial.suggest_categorical("head", ["pool-conv", "pool-linear", "flatten-linear"])
    if head == "pool-conv":
        layers += [GlobalAvgPool(), Conv(task.num_classes, 1, bias=True), Flatten()]
    elif head == "pool-linear":
        layers += [GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    else:
        layers += [Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), suggest_recipe(trial, task))


def convolution(channels: int, kernel_size: int, padding: str, dropout: float) -> list[Layer]:
    layers = [Conv(channels, kernel_size, padding), BatchNorm(), ReLU()]
    return [*layers, Dropout(dropout)] if dropout else layers


def suggest_recipe(trial: Trial, task: Task) -> Recipe:
    # Good rates of the two optimisers are far apart, so each has a range of its own.
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
        weight_decay=weight_decay,
        schedule=trial.suggest_categorical("schedule", ["one-cycle", "cosine"]),
        batch_size=trial.suggest_categorical("batch_size", [64, 128]),
        augmentation=trial.suggest_float("augmentation", 0.0, 1.0, step=0.1),
        flip=task.flips,
        epochs=task.epochs,
    )


def nearest(candidate: Candidate, task: Task) -> dict[str, object]:
    """The parameters of the blocks that come nearest to another network and its recipe.

    A network that was made here comes out as it was. Of others is lost what the blocks cannot
    say: biases, the order of norm and ReLU, 1x1 convolutions that stand beside no pooling.
    """
    layers = candidate.architecture.layers
    blocks, fronts, is_pooled = cut_into_blocks(layers)
    rates = [layer.p for layer in layers if isinstance(layer, Dropout)]
    params: dict[str, object] = {
        "dropout": min(round(sum(rates) / len(rates), 2), 0.1) if rates else 0.0,
        "num_blocks": len(blocks),
    }
    low, high = widths(task)
    for i, (convs, (is_halved, narrow)) in enumerate(zip(blocks, fronts, strict=True)):
        num_large = sum(conv.kernel_size > 3 for conv in convs)
        num_valid = sum(conv.padding == "valid" for conv in convs)
        params |= {
            f"block{i}_kernel_size": 5 if 2 * num_large > len(convs) else 3,
            f"block{i}_num_convs": len(convs),
            f"block{i}_padding": "valid" if 2 * num_valid > len(convs) else "same",
        }
        for j, conv in enumerate(convs):
            params[f"block{i}_conv{j}_channels"] = min(max(conv.out_channels, low), high)
        if i > 0 and is_halved and narrow:
            params[f"transition{i - 1}"] = "pool-conv"
            params[f"transition{i - 1}_channels"] = min(max(narrow.out_channels, low), high)
        elif i > 0:
            params[f"transition{i - 1}"] = "pool" if is_halved else "none"
    has_linear = any(isinstance(layer, Linear) for layer in layers)
    # Flat features that were pooled before are few: the head that pools comes nearer to them.
    linear_head = "pool-linear" if is_pooled else "flatten-linear"
    params["head"] = linear_head if has_linear else "pool-conv"
    return params | nearest_recipe(candidate.recipe)


Front = tuple[bool, Conv | None]  # what stands before a block: is there pooling, and a 1x1?


def cut_into_blocks(layers: Sequence[Layer]) -> tuple[list[list[Conv]], list[Front], bool]:
    """Two or three blocks of one to three convolutions, what is in front of each, and whether
    there is pooling behind the last."""
    is_1x1_all = all(layer.kernel_size == 1 for layer in layers if isinstance(layer, Conv))
    blocks: list[list[Conv]] = []
    fronts: list[Front] = []
    is_halved, narrow = False, None
    for layer in layers:
        if isinstance(layer, MaxPool | AvgPool | GlobalAvgPool):
            is_halved = True
        elif isinstance(layer, Conv) and layer.kernel_size == 1 and not is_1x1_all:
            narrow = layer
        elif isinstance(layer, Conv):
            block = blocks[-1] if blocks else []
            is_like = block and not is_halved and style(layer) == style(block[-1])
            if not is_like or len(block) == MAX_CONVS:
                blocks.append([])
                fronts.append((is_halved, narrow))
            blocks[-1].append(layer)
            is_halved, narrow = False, None

    while len(blocks) > MAX_BLOCKS:
        # Join the two shortest with no pooling between; where there is none, leave out the last.
        lengths = {
            i: len(blocks[i - 1]) + len(blocks[i])
            for i in range(1, len(blocks))
            if not fronts[i][0]
        }
        i = min(lengths, key=lengths.__getitem__, default=len(blocks) - 1)
        fronts.pop(i)
        block = blocks.pop(i)
        if lengths:
            blocks[i - 1] = (blocks[i - 1] + block)[:MAX_CONVS]
        else:
            is_halved = True
    if len(blocks) < 2:
        only = blocks[0] if blocks else [Conv(1)]
        half = (len(only) + 1) // 2
        blocks, fronts = [only[:half], only[half:] or only], [(False, None)] * 2
    return blocks, fronts, is_halved


def style(conv: Conv) -> tuple[bool, str]:
    """What all convolutions of a block have in common."""
    return conv.kernel_size > 3, conv.padding


def nearest_recipe(recipe: Recipe) -> dict[str, object]:
    params: dict[str, object] = {
        "optimizer": "sgd" if recipe.optimizer == "sgd" else "adamw",
        "schedule": "one-cycle" if recipe.schedule == "one-cycle" else "cosine",
        "batch_size": 64 if recipe.batch_size < 96 else 128,
        "augmentation": min(round(recipe.augmentation, 1), 1.0),
    }
    if recipe.optimizer == "sgd":
        params["sgd_learning_rate"] = min(max(recipe.learning_rate, 0.03), 0.3)
    else:
        params["adamw_learning_rate"] = min(max(recipe.learning_rate, 2e-3), 2e-2)
    return params
