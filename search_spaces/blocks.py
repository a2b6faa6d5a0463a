"""Blocks of convolutions with transitions between them, as people build small CNNs by hand.

A network is two or three blocks. A block is one to three convolutions of one kernel size, each
followed by batch norm, ReLU and perhaps dropout. Between two blocks may stand a transition: max
pooling that halves the image, with or without a 1x1 convolution that changes the channels. The
head turns what is left into one score for each class.

Widths are drawn as ratios, and a share of the budget to use: the channels follow from both, so that
one of 1,000 parameters can be searched as well as one of 100,000. Nothing is asked that has no
effect, and nothing is proposed that cannot be built or does not fit: a choice is offered only where
image and budget are large enough for it.
"""

from collections.abc import Sequence
from itertools import chain

from nas import (
    GOOD_RECIPE,
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
    ReLU,
    Task,
    Trial,
    Width,
    fit,
    nearest_recipe,
    suggest_recipe,
)

MAX_BLOCKS = 3
MAX_CONVS = 3
SMALLEST_TO_HALVE = 4  # pixels a side; a 2x2 image is the smallest that a block still works on
NARROWEST = 0.1  # beside the widest
LEAST_SHARE = 0.6  # of the budget; the largest network that fits is often not the best


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


Relative = tuple[float, int, str]  # a convolution's ratio, kernel size and padding


def suggest(trial: Trial, task: Task) -> Candidate:
    dropout = trial.suggest_float("dropout", 0.0, 0.1, step=0.01)
    noise: list[Layer] = [Dropout(dropout)] if dropout else []
    _, height, width = task.input_shape
    plan: list[Layer | Relative] = []

    num_blocks = trial.suggest_int("num_blocks", 2, MAX_BLOCKS)
    for block in range(num_blocks):
        kernel_size = trial.suggest_categorical(f"block{block}_kernel_size", [3, 5])
        num_convs = trial.suggest_int(f"block{block}_num_convs", 1, MAX_CONVS)
        padding = "same"
        # What 'valid' takes off the image must leave something to work on.
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


def suggest_ratio(trial: Trial, name: str) -> float:
    """How wide a convolution is beside the widest that can be."""
    return trial.suggest_float(name, NARROWEST, 1.0, log=True)


def nearest(candidate: Candidate, task: Task) -> dict[str, object]:
    """The parameters of the blocks that come nearest to another network and its recipe.

    A network that was made here for the same limits comes out as it was, but for layers that are
    much narrower than the widest. Of others is lost what the blocks cannot say: biases, the order
    of norm and ReLU, 1x1 convolutions that stand beside no pooling.
    """
    layers = candidate.architecture.layers
    blocks, fronts, is_pooled = cut_into_blocks(layers)
    rates = [layer.p for layer in layers if isinstance(layer, Dropout)]
    share = candidate.architecture.num_params / task.budget.most_params
    params: dict[str, object] = {
        "dropout": min(round(sum(rates) / len(rates), 2), 0.1) if rates else 0.0,
        "num_blocks": len(blocks),
        "share": min(max(share, LEAST_SHARE), 1.0),
    }
    narrows = [narrow for _, narrow in fronts[1:] if narrow]
    widest = max(conv.out_channels for conv in [*chain(*blocks), *narrows])
    for i, (convs, (is_halved, narrow)) in enumerate(zip(blocks, fronts, strict=True)):
        num_large = sum(conv.kernel_size > 3 for conv in convs)
        num_valid = sum(conv.padding == "valid" for conv in convs)
        params |= {
            f"block{i}_kernel_size": 5 if 2 * num_large > len(convs) else 3,
            f"block{i}_num_convs": len(convs),
            f"block{i}_padding": "valid" if 2 * num_valid > len(convs) else "same",
        }
        for j, conv in enumerate(convs):
            params[f"block{i}_conv{j}_ratio"] = max(conv.out_channels / widest, NARROWEST)
        if i > 0 and is_halved and narrow:
            params[f"transition{i - 1}"] = "pool-conv"
            params[f"transition{i - 1}_ratio"] = max(narrow.out_channels / widest, NARROWEST)
        elif i > 0:
            params[f"transition{i - 1}"] = "pool" if is_halved else "none"
    has_linear = any(isinstance(layer, Linear) for layer in layers)
    # Flat features that were pooled before are few: the head that pools comes nearer to them.
    params["head"] = "flatten" if has_linear and not is_pooled else "pool"
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
