"""The shapes of `blocks` with absolute widths, as one would write them first: most are too large.

For `search.py`: what a search does that proposes, throws away what does not fit, and trains the
rest. The recipes are those of `recorded_space.py`, so that this rival stays as it was.
"""

from recorded_space import suggest_recipe

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
    ReLU,
    Task,
    Trial,
)


def suggest(trial: Trial, task: Task) -> Candidate:
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    noise: list[Layer] = [Dropout(dropout)] if dropout else []
    size = min(task.input_shape[1:])
    layers: list[Layer] = []
    num_blocks = trial.suggest_int("num_blocks", 2, 3)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, 3)
        padding = "same"
        shrink = num_convs * (kernel_size - 1)
        if size - shrink >= 2:
            padding = trial.suggest_categorical(f"block{block}_padding", ["same", "valid"])
        size -= shrink if padding == "valid" else 0
        for conv in range(num_convs):
            channels = trial.suggest_int(f"block{block}_conv{conv}_channels", 4, 48, log=True)
            layers += [Conv(channels, kernel_size, padding), BatchNorm(), ReLU(), *noise]
        if block < num_blocks - 1 and size >= 4:
            choices = ["pool-conv", "pool", "none"]
            transition = trial.suggest_categorical(f"transition{block}", choices)
            if transition != "none":
                size //= 2
                layers.append(MaxPool(2))
            if transition == "pool-conv":
                channels = trial.suggest_int(f"transition{block}_channels", 4, 48, log=True)
                layers += [Conv(channels, 1), BatchNorm(), ReLU()]
    if trial.suggest_categorical("head", ["pool", "flatten"]) == "pool":
        layers.append(GlobalAvgPool())
    layers += [Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), suggest_recipe(trial, task))
