"""Tied convolutions: one convolution used several times, each time with a norm of its own.

Why: under a few thousand parameters weights are scarcer than depth. A convolution that is used four
times over, with a skip connection around it, sees as far as four and costs the weights of one; a
separable one costs even fewer, so that more channels fit. A learned pooling at the end weighs each
place of each channel, where a mean would forget them.

A stem, then one to three stages: pooling, a convolution that sets the width, a tied convolution.
The stem, which is the convolution of the first stage, may halve a large image, and may be pooled
before its tied convolution; the last stage may be pooled once or twice before the head.
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
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Task,
    Tied,
    Trial,
    Width,
    fit,
    suggest_recipe,
)

MAX_STAGES = 3
MAX_TIMES = 5
SMALLEST_TO_HALVE = 4  # pixels a side, between stages
SMALLEST_TO_POOL_FIRST = 16
SMALLEST_TO_POOL_LAST = 6, 12  # once, and twice
NARROWEST = 0.2  # beside the widest
LEAST_SHARE = 0.6  # of the budget
KINDS = {"3x3": (3, False), "separable 3x3": (3, True), "separable 5x5": (5, True)}
LARGE = 48  # pixels a side, from which on the first convolution may halve the image


def start(task: Task) -> list[dict[str, object]]:
    """Two stages of three passes and a valid convolution; then one of separable passes, pooled
    first, as wide as it can be. Both with learned pooling."""
    side = min(task.input_shape[1:])
    common: dict[str, object] = {"dropout": 0.0, "head": "learned", "share": 1.0} | GOOD_RECIPE
    if side >= LARGE:
        common["stem_stride"], side = 2, -(-side // 2)
    stages = min(2, most_stages(side))
    deep: dict[str, object] = {
        "pooled_first": False, "num_stages": stages, "last_conv": True, "last_ratio": 1.0,
        "num_last_pools": min(1, most_last_pools(side // 2 ** (stages - 1))),
    }  # fmt: skip
    for stage in range(stages):
        deep |= stage_params(stage, 1.0 if stage else 0.75, "3x3")
    after_first = side // 2 if side >= SMALLEST_TO_POOL_FIRST else side
    wide: dict[str, object] = {
        "pooled_first": True, "num_stages": 1, "last_conv": False,
        "num_last_pools": most_last_pools(after_first),
    }  # fmt: skip
    return [common | deep, common | wide | stage_params(0, 1.0, "separable 3x3")]


def stage_params(stage: int, ratio: float, kind: str) -> dict[str, object]:
    values = {"ratio": ratio, "kernel_size": 3, "tied": kind, "times": 3}
    return {f"stage{stage}_{name}": value for name, value in values.items()}


def most_stages(size: int) -> int:
    """As many as the image of that side can be halved between them."""
    stages = 1
    while size >= SMALLEST_TO_HALVE and stages < MAX_STAGES:
        size, stages = size // 2, stages + 1
    return stages


def most_last_pools(size: int) -> int:
    """Behind the last stage, whose output has that side."""
    return sum(size >= least for least in SMALLEST_TO_POOL_LAST)


def suggest(trial: Trial, task: Task) -> Candidate:
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    _, height, width = task.input_shape
    stem_stride = 1
    if min(height, width) >= LARGE:
        stem_stride = trial.suggest_categorical("stem_stride", [1, 2])
        height, width = -(-height // stem_stride), -(-width // stem_stride)
    is_pooled_first = min(height, width) >= SMALLEST_TO_POOL_FIRST and trial.suggest_categorical(
        "pooled_first", [True, False]
    )
    if is_pooled_first:
        height, width = height // 2, width // 2
    stages: list[tuple[float, int, Tied]] = []
    for stage in range(trial.suggest_int("num_stages", 1, most_stages(min(height, width)))):
        ratio = suggest_ratio(trial, f"stage{stage}_ratio")
        kernel_size = trial.suggest_categorical(f"stage{stage}_kernel_size", [1, 3, 5])
        kind = trial.suggest_categorical(f"stage{stage}_tied", list(KINDS))
        times = trial.suggest_int(f"stage{stage}_times", 1, MAX_TIMES)
        stages.append((ratio, kernel_size, Tied(times, *KINDS[kind])))
        if stage:
            height, width = height // 2, width // 2

    # At the end, where the image is still large enough for it.
    most_pools = most_last_pools(min(height, width))
    num_last_pools = trial.suggest_int("num_last_pools", 0, most_pools) if most_pools else 0
    height, width = height // 2**num_last_pools, width // 2**num_last_pools
    last_ratio = None
    if min(height, width) >= 3 and trial.suggest_categorical("last_conv", [True, False]):
        height, width = height - 2, width - 2
        last_ratio = suggest_ratio(trial, "last_ratio")
    # Weights for each place of a few channels must not take more than half of the budget.
    head = "mean"
    if 4 * height * width < task.budget.most_params / 2:
        head = trial.suggest_categorical("head", ["learned", "mean"])
    share = trial.suggest_float("share", LEAST_SHARE, 1.0)

    def make(width: Width) -> Architecture:
        layers: list[Layer] = []
        for stage, (ratio, kernel_size, tied) in enumerate(stages):
            stride = 1 if stage else stem_stride
            layers += [MaxPool(2)] if stage else []
            layers.append(Conv(width(ratio), kernel_size, stride=stride))
            layers += [BatchNorm(), ReLU()]
            layers += [MaxPool(2)] if is_pooled_first and not stage else []
            layers.append(tied)
            layers += [Dropout(dropout)] if dropout else []
        layers += [MaxPool(2)] * num_last_pools
        if last_ratio is not None:
            layers += [Conv(width(last_ratio), 3, "valid"), BatchNorm(), ReLU()]
        layers += [LearnedPool() if head == "learned" else GlobalAvgPool()]
        return Architecture(task.input_shape, [*layers, Flatten(), Linear(task.num_classes)])

    return Candidate(fit(make, share, task), suggest_recipe(trial, task))


def suggest_ratio(trial: Trial, name: str) -> float:
    """How wide a convolution is beside the widest that can be."""
    return trial.suggest_float(name, NARROWEST, 1.0, log=True)
