"""Separable blocks: a convolution of each channel by itself, then a 1x1 across channels.

Why: a 5x5 convolution of 32 to 32 channels costs 25,600 weights; a depthwise 5x5 and a 1x1 cost
1,824 and see as far (Howard et al. 2017, arXiv:1704.04861). So wide layers and large kernels fit
a small budget. They need more steps in memory for each weight: training them is slower.

A stem, which may halve a large image, then one to three stages of one to three blocks with skip
connections. Between two stages max pooling halves the image and a 1x1 convolution sets the width.
The head takes a mean of each channel, or weighs its places as learned.
"""

from nas import (
    GOOD_RECIPE,
    Architecture,
    BatchNorm,
    Candidate,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Task,
    Trial,
    Width,
    fit,
    suggest_recipe,
)

MAX_STAGES = 3
MAX_BLOCKS = 3  # in a stage
SMALLEST_TO_HALVE = 4  # pixels a side
NARROWEST = 0.2  # beside the widest
LEAST_SHARE = 0.6  # of the budget
LARGE = 48  # pixels a side, from which on the stem may halve the image


def start(task: Task) -> dict[str, object]:
    """Each stage but the first half as wide again as the one before."""
    stages = most_stages(task)
    params: dict[str, object] = {"dropout": 0.0, "stem_kernel_size": 5, "num_stages": stages}
    for stage in range(stages):
        params |= {
            f"stage{stage}_ratio": 1.5 ** (stage + 1 - stages),
            f"stage{stage}_num_blocks": 1,
            f"stage{stage}_kernel_size": 5,
        }
    if min(task.input_shape[1:]) >= LARGE:
        params["stem_stride"] = 2
    return params | {"head": "mean", "share": 1.0} | GOOD_RECIPE


def most_stages(task: Task) -> int:
    """As many as the image can be halved between them."""
    size, stages = min(task.input_shape[1:]), 1
    while size >= SMALLEST_TO_HALVE and stages < MAX_STAGES:
        size, stages = size // 2, stages + 1
    return stages


def suggest(trial: Trial, task: Task) -> Candidate:
    _, height, width = task.input_shape
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    stem_kernel_size = trial.suggest_categorical("stem_kernel_size", [3, 5])
    stem_stride = 1
    if min(height, width) >= LARGE:
        stem_stride = trial.suggest_categorical("stem_stride", [1, 2])
        height, width = -(-height // stem_stride), -(-width // stem_stride)
    stages: list[tuple[float, int, int]] = []
    for stage in range(trial.suggest_int("num_stages", 1, most_stages(task))):
        ratio = trial.suggest_float(f"stage{stage}_ratio", NARROWEST, 1.0, log=True)
        num_blocks = trial.suggest_int(f"stage{stage}_num_blocks", 1, MAX_BLOCKS)
        kernel_size = trial.suggest_categorical(f"stage{stage}_kernel_size", [3, 5])
        stages.append((ratio, num_blocks, kernel_size))
    num_places = height * width // 4 ** (len(stages) - 1)
    # Weights for each place of a few channels must not take more than half of the budget.
    head = "mean"
    if 4 * num_places < task.budget.most_params / 2:
        head = trial.suggest_categorical("head", ["mean", "learned"])
    share = trial.suggest_float("share", LEAST_SHARE, 1.0)

    def make(width: Width) -> Architecture:
        layers: list[Layer] = []
        for stage, (ratio, num_blocks, kernel_size) in enumerate(stages):
            channels = width(ratio)
            if stage == 0:
                layers.append(Conv(channels, stem_kernel_size, stride=stem_stride))
            else:
                layers += [MaxPool(2), Conv(channels, 1)]
            layers += [BatchNorm(), ReLU()]
            for _ in range(num_blocks):
                layers += [block(channels, kernel_size)]
            layers += [Dropout(dropout)] if dropout else []
        layers.append(GlobalAvgPool() if head == "mean" else LearnedPool())
        return Architecture(task.input_shape, [*layers, Flatten(), Linear(task.num_classes)])

    return Candidate(fit(make, share, task), suggest_recipe(trial, task))


def block(channels: int, kernel_size: int) -> Residual:
    """A depthwise and a pointwise convolution, to be added to what they were given."""
    return Residual(
        [DepthwiseConv(kernel_size), BatchNorm(), Conv(channels, 1), BatchNorm(), ReLU()]
    )
