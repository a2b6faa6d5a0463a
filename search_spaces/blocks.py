"""Blocks of convolutions with transitions between them, as people build small CNNs by hand.

A network is two or three blocks. A block is one to three convolutions of one kernel size, each
followed by batch norm, ReLU and perhaps dropout. Between two blocks may stand a transition: max
pooling that halves the image, with or without a 1x1 convolution that changes the channels. The
head turns what is left into one score for each class. Of a large image the first convolution may
have a stride of 2.

Widths are drawn as ratios, and a share of the budget to use: the channels follow from both, so that
one of 1,000 parameters can be searched as well as one of 100,000. Nothing is asked that has no
effect, and nothing is proposed that cannot be built or does not fit: a choice is offered only where
image and budget are large enough for it.
"""

from nas import (
    GOOD_RECIPE,
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
    Width,
    fit,
    suggest_recipe,
)

MAX_BLOCKS = 3
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side; a 2x2 image is the smallest that a block still works on
NARROWEST = 0.1  # beside the widest
LEAST_SHARE = 0.6  # of the budget; the largest network that fits is often not the best
LARGE = 48  # pixels a side, from which on the first convolution may halve the image


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
    if min(task.input_shape[1:]) >= LARGE:
        params["stem_stride"] = 2
    return params | {"head": "pool", "share": 1.0} | GOOD_RECIPE


Relative = tuple[float, int, str, int]  # a convolution's ratio, kernel size, padding and stride


def suggest(trial: Trial, task: Task) -> Candidate:
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    noise: list[Layer] = [Dropout(dropout)] if dropout else []
    _, height, width = task.input_shape
    stride = 1  # of the first convolution
    if min(height, width) >= LARGE:
        stride = trial.suggest_categorical("stem_stride", [1, 2])
        height, width = -(-height // stride), -(-width // stride)
    plan: list[Layer | Relative] = []

    num_blocks = trial.suggest_int("num_blocks", 2, MAX_BLOCKS)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, MAX_CONVS)
        padding = "same"
        # What 'valid' takes off the image must leave something to work on.
        shrink = (num_convs - 1) * (kernel_size - 1) + (kernel_size - 1) // stride
        if min(height, width) - shrink >= 2:
            padding = trial.suggest_categorical(f"block{block}_padding", ["same", "valid"])
        if padding == "valid":
            height, width = height - shrink, width - shrink
        for conv in range(num_convs):
            ratio = suggest_ratio(trial, f"block{block}_conv{conv}_ratio")
            plan += [(ratio, kernel_size, padding, stride), *noise]
            stride = 1

        if block < num_blocks - 1 and min(height, width) >= SMALLEST_TO_HALVE:
            choices = ["pool-conv", "pool", "none"]
            transition = trial.suggest_categorical(f"transition{block}", choices)
            if transition != "none":
                height, width = height // 2, width // 2
                plan.append(MaxPool(2))
            if transition == "pool-conv":
                plan.append((suggest_ratio(trial, f"transition{block}_ratio"), 1, "same", 1))

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
                ratio, kernel_size, padding, stride = part
                conv = Conv(width(ratio), kernel_size, padding, stride=stride)
                layers += [conv, BatchNorm(), ReLU()]
        return Architecture(task.input_shape, layers)

    share = trial.suggest_float("share", LEAST_SHARE, 1.0)
    return Candidate(fit(make, share, task), suggest_recipe(trial, task))


def suggest_ratio(trial: Trial, name: str) -> float:
    """How wide a convolution is beside the widest that can be."""
    return trial.suggest_float(name, NARROWEST, 1.0, log=True)
