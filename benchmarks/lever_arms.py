"""The networks and recipes that `levers.py` compares under each budget, all made by hand."""

from __future__ import annotations

from dataclasses import replace

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Tied,
)
from nas.candidates.recipe import Recipe

SHAPE, CLASSES = (1, 28, 28), 10
POOL: list[Layer] = [MaxPool(2)]


def conv(width: int, kernel_size: int = 3, padding: str = "same") -> list[Layer]:
    return [Conv(width, kernel_size, padding=padding), BatchNorm(), ReLU()]


def network(*layers: Layer) -> Architecture:
    return Architecture(SHAPE, [*layers, Flatten(), Linear(CLASSES)])


def tied(
    first: int, second: int, last: int, times: int = 3, learned: bool = True, late: bool = False
) -> Architecture:
    """A stem, tied convolutions, pooling, tied ones again, pooling, a valid one, the scores.

    Args:
        late: the first tied convolutions before any pooling, the second after the first pooling.
    """
    stem = [*conv(first), Tied(times)] if late else [*conv(first), *POOL, Tied(times)]
    between = POOL if late else []
    rest = [*between, *conv(second), Tied(times), *POOL, *conv(last, padding="valid")]
    return network(*stem, *rest, LearnedPool() if learned else GlobalAvgPool())


def places(first: int, second: int, last: int | None, times: int = 3) -> Architecture:
    """The body of `tied`, then a map for each class, whose places are weighed as learned.

    Args:
        last: channels of a valid convolution in front of the maps; None: pooled to 3x3 instead.
    """
    body: list[Layer] = [*conv(first), Tied(times), *POOL, *conv(second), Tied(times), *POOL]
    body += POOL if last is None else conv(last, padding="valid")
    return Architecture(SHAPE, [*body, Conv(CLASSES, 1), BatchNorm(), LearnedPool(), Flatten()])


def separable(first: int, second: int | None = None) -> Architecture:
    """A stem, tied separable convolutions, pooling, tied ones again, a mean, the scores.

    Args:
        second: channels after the pooling, by a 1x1 convolution; None: as many, without one.
    """
    run = Tied(3, separable=True)
    between = conv(second, 1) if second else []
    return network(*conv(first), run, *POOL, *between, run, GlobalAvgPool())


def separable_learned(width: int, times: tuple[int, ...], num_last_pools: int = 2) -> Architecture:
    """A stem, tied separable convolutions before each pooling, places weighed as learned.

    Args:
        times: passes at 28x28, if there is more than one number, and at 14x14.
        num_last_pools: behind these; two leave 3x3 places, one 7x7.
    """
    runs: list[Layer] = []
    for number, passes in enumerate(times):
        runs += [*(POOL if number else []), Tied(passes, separable=True)]
    before = POOL if len(times) == 1 else []
    return network(*conv(width), *before, *runs, *(num_last_pools * POOL), LearnedPool())


def two_stages(
    first: int,
    second: int,
    times: tuple[int, int] = (2, 3),
    separable: bool = True,
    num_last_pools: int = 2,
) -> Architecture:
    """A stem, tied convolutions, pooling, a 1x1 convolution that widens, tied separable ones,
    places weighed as learned.

    Args:
        separable: the first tied convolutions, too.
    """
    stem = [*conv(first), Tied(times[0], separable=separable), *POOL]
    body = [*conv(second, 1), Tied(times[1], separable=True), *(num_last_pools * POOL)]
    return network(*stem, *body, LearnedPool())


SMALL = Recipe(batch_size=64, augmentation=0.5)
FIVE = Recipe(batch_size=64, augmentation=0.7)
SMALL_ADAMW = replace(SMALL, optimizer="adamw", learning_rate=0.01, weight_decay=1e-2)

ARMS: dict[int, dict[str, Candidate]] = {
    20_000: {
        "base": Candidate(tied(18, 25, 24, late=True), FIVE),
        "averaged weights": Candidate(tied(18, 25, 24, late=True), FIVE),  # the same trainings
        "pooled first": Candidate(tied(18, 25, 24), FIVE),
        "mean in place of learned pooling": Candidate(
            tied(18, 24, 28, learned=False, late=True), FIVE
        ),
        "separable, pooled first": Candidate(separable_learned(120, (3,)), FIVE),
        "3x3, then separable": Candidate(two_stages(20, 96, (3, 3), separable=False), FIVE),
        "augmentation 1.0": Candidate(tied(18, 25, 24, late=True), replace(FIVE, augmentation=1.0)),
        "adamw": Candidate(
            tied(18, 25, 24, late=True), replace(FIVE, optimizer="adamw", learning_rate=0.01)
        ),
        "weight decay 1e-4": Candidate(
            tied(18, 25, 24, late=True), replace(FIVE, weight_decay=1e-4)
        ),
    },
    5_000: {
        "base": Candidate(tied(10, 11, 12), FIVE),
        "averaged weights": Candidate(tied(10, 11, 12), FIVE),  # the same trainings
        "later pooling": Candidate(tied(10, 11, 12, late=True), FIVE),
        "two passes": Candidate(tied(10, 11, 12, times=2), FIVE),
        "five passes": Candidate(tied(10, 11, 12, times=5), FIVE),
        "mean in place of learned pooling, wider": Candidate(tied(10, 11, 14, learned=False), FIVE),
        "batch 32": Candidate(tied(10, 11, 12), replace(FIVE, batch_size=32, learning_rate=0.07)),
        "batch 128": Candidate(tied(10, 11, 12), replace(FIVE, batch_size=128)),
        "label smoothing 0.05": Candidate(tied(10, 11, 12), replace(FIVE, label_smoothing=0.05)),
        "augmentation 0.4": Candidate(tied(10, 11, 12), replace(FIVE, augmentation=0.4)),
        "augmentation 1.0": Candidate(tied(10, 11, 12), replace(FIVE, augmentation=1.0)),
        "adamw": Candidate(tied(10, 11, 12), replace(FIVE, optimizer="adamw", learning_rate=0.01)),
        "weight decay 1e-4": Candidate(tied(10, 11, 12), replace(FIVE, weight_decay=1e-4)),
    },
    3_000: {
        "base": Candidate(tied(6, 9, 9, late=True), SMALL),
        "separable, pooled first": Candidate(separable_learned(36, (3,)), SMALL),
        "separable in two stages": Candidate(two_stages(14, 28), SMALL),
        "3x3, then separable": Candidate(two_stages(8, 30, (3, 3), separable=False), SMALL),
        "separable, pooled first, 7x7 places": Candidate(separable_learned(24, (4,), 1), SMALL),
        "separable in two stages, 7x7 places": Candidate(
            two_stages(12, 22, num_last_pools=1), SMALL
        ),
    },
    1_000: {
        "base": Candidate(tied(3, 5, 5, late=True), SMALL),
        "separable": Candidate(separable(12), SMALL),
        "separable, wider behind the pooling": Candidate(separable(8, 14), SMALL),
        "separable, pooled first": Candidate(
            network(*conv(16), *POOL, Tied(4, separable=True), GlobalAvgPool()), SMALL
        ),
        "separable, learned pooling": Candidate(separable_learned(12, (2, 3)), SMALL),
        "separable, pooled first, learned pooling": Candidate(separable_learned(16, (3,)), SMALL),
        "a map for each class, of 3x3 places": Candidate(places(4, 6, None), SMALL),
        "a map for each class, of 5x5 places": Candidate(places(3, 4, 5), SMALL),
        "adamw": Candidate(tied(3, 5, 5, late=True), SMALL_ADAMW),
        "augmentation 0": Candidate(tied(3, 5, 5, late=True), replace(SMALL, augmentation=0.0)),
        "weight decay 1e-4": Candidate(tied(3, 5, 5, late=True), replace(SMALL, weight_decay=1e-4)),
    },
}
MEASURED_WITH = {"averaged weights": "base"}  # an arm that costs no trainings of its own
