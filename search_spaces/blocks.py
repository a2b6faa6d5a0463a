"""Blocks of convolutions with transitions between them, as people build small CNNs by hand.

A network is two or three blocks. A block is one to three convolutions of one kernel size, each
followed by batch norm, ReLU and perhaps dropout. Between two blocks may stand a transition: max
pooling that halves the image, with or without a 1x1 convolution that changes the channels. The
head turns what is left into one score for each class.

Nothing is asked that has no effect, and nothing is proposed that cannot be built: a choice is
offered only where the image is still large enough for it. Widths scale with the budget, so that
about the same share of the space fits a budget of 1,000 parameters and one of 100,000.
"""

from math import isqrt

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
    Trial,
)

MAX_BLOCKS = 3
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side; a 2x2 image is the smallest that a block still works on


def widths(task: Task) -> tuple[int, int]:
    """The narrowest and the widest convolution."""
    # A 3x3 convolution from this many channels to as many would take the whole budget.
    widest = max(isqrt(task.max_params // 9), 6)
    return max(widest // 5, 2), widest


def start(task: Task) -> dict[str, object]:
    """Three blocks of two 3x3 convolutions, the first network of a search.

    For ten classes it fits any budget from 1,000 on and uses most of it.
    """
    narrowest, widest = widths(task)
    return {
        "dropout": 0.0,
        "num_blocks": 3,
        "block0_kernel_size": 3,
        "block0_num_convs": 2,
        "block0_padding": "same",
        "block0_conv0_channels": narrowest,
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
