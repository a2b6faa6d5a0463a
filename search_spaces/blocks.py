"""Blocks of convolutions with transitions between them, as people build small CNNs by hand.

A network is one to four blocks. A block is one to three convolutions, each followed by batch norm,
ReLU and perhaps dropout. Between two blocks may stand a transition: max pooling that halves the
image, and a 1x1 convolution that narrows the channels. The head turns what is left into one score
for each class. Nothing is asked that has no effect, and nothing is proposed that cannot be built:
a choice is offered only where the image is still large enough for it.
"""

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

MAX_BLOCKS = 4
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side; a 2x2 image is the smallest that a block still works on


def suggest(trial: Trial, task: Task) -> Candidate:
    dropout = trial.suggest_float("dropout", 0.0, 0.15, step=0.01)
    size = min(task.input_shape[1:])
    layers: list[Layer] = []

    num_blocks = trial.suggest_int("num_blocks", 1, MAX_BLOCKS)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, MAX_CONVS)
        # What 'valid' takes off the image must leave something to work on.
        size_after = size - num_convs * (kernel_size - 1)
        padding = "same"
        if size_after >= 2:
            padding = trial.suggest_categorical(f"block{block}_padding", ["same", "valid"])
        size = size_after if padding == "valid" else size
        for conv in range(num_convs):
            channels = trial.suggest_int(f"block{block}_conv{conv}_channels", 4, 64, log=True)
            layers += convolution(channels, kernel_size, padding, dropout)

        is_last = block == num_blocks - 1
        if (
            not is_last
            and size >= SMALLEST_TO_HALVE
            and trial.suggest_categorical(f"transition{block}", [True, False])
        ):
            size //= 2
            channels = trial.suggest_int(f"transition{block}_channels", 4, 32, log=True)
            layers += [MaxPool(2), *convolution(channels, 1, "same", dropout=0.0)]

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
        learning_rate = trial.suggest_float("sgd_learning_rate", 0.01, 0.3, log=True)
        weight_decay = 5e-4
    else:
        learning_rate = trial.suggest_float("adamw_learning_rate", 1e-3, 3e-2, log=True)
        weight_decay = 1e-2
    return Recipe(
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=trial.suggest_categorical("schedule", ["one-cycle", "cosine"]),
        batch_size=trial.suggest_categorical("batch_size", [64, 128, 256]),
        augmentation=trial.suggest_float("augmentation", 0.0, 1.5, step=0.1),
        flip=task.flips,
        epochs=task.epochs,
    )
