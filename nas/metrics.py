"""Metrics: what an epoch comes to, how fast it was, and which candidate is the best by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FAR = 5  # standard errors: even the luckiest of many candidates is not that lucky


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to."""

    epoch: int  # from 1
    train_loss: float  # mean cross-entropy while training, with augmentation and dropout
    valid_loss: float  # mean cross-entropy on the validation images
    valid_accuracy: float  # share of the validation images classified rightly, 0..1
    seconds: float  # of this epoch, training and validation


@dataclass(frozen=True)
class Speed:
    """Floating-point operations in a second; a multiply-accumulate is two of them."""

    flops_per_second: float  # of one training, see `epoch_flops`
    peak: float  # of a wide convolution on the same threads, see `nas.training.peak`

    @property
    def share(self) -> float:
        """How much of the peak the training reached, about 0..1."""
        return self.flops_per_second / self.peak


def epoch_flops(num_macs: int, num_train: int, num_valid: int, batch_size: int) -> float:
    """Floating-point operations of an epoch, those of convolutions and linear layers alone.

    A train image costs 3 * 2 * MACs, as its way back computes two gradients, of inputs and of
    weights; a validation image 2 * MACs. Norms, ReLUs, pooling, augmentation and the optimiser
    count as nothing, so that their time lowers the speed. That the first layer needs no gradient of
    the images is not subtracted.

        epoch_flops(architecture.num_macs, 55_000, 5_000, recipe.batch_size)

    Args:
        num_train: train images; those of a last, smaller batch are left out, as in training.
        batch_size: that of the recipe; a batch has all images where these are fewer.
    """
    batch_size = min(batch_size, num_train)
    num_stepped = num_train // batch_size * batch_size
    return 2.0 * num_macs * (3 * num_stepped + num_valid)


def decimals(num_images: int | None) -> int:
    """Decimals of an accuracy in percent that mean something: a last digit below one image's worth
    does not, and past two the images are never enough.

    >>> decimals(21), decimals(124), decimals(5_000)
    (0, 1, 2)
    """
    return 2 if num_images is None or num_images > 1_000 else int(num_images > 100)


def percent(share: float, num_images: int | None) -> str:
    """A share of so many images; None where it is not known how many.

    >>> percent(20 / 21, 21), percent(0.9962, 5_000)
    ('95%', '99.62%')
    """
    return f"{share:.{decimals(num_images)}%}"


def choice_order(
    accuracies: Sequence[float], losses: Sequence[float], num_images: int
) -> list[int]:
    """Candidates by how likely they are the most accurate, the likeliest first.

    Accuracies of a few thousand images are too coarse to tell good candidates apart; the loss hears
    every image, but recipes differ in how sure they make a network. So candidates are ordered by
    the product of their error and their loss (see benchmarks/replay.py); but one whose accuracy is
    more than `FAR` standard errors below the best is behind all others, by its accuracy.

    Args:
        accuracies, losses: of each candidate, on the validation images.
        num_images: how many those are.
    """
    best = max(accuracies)
    error = math.sqrt(max(best * (1 - best), 1 / num_images) / num_images)

    def key(i: int) -> tuple[bool, float]:
        if accuracies[i] < best - FAR * error:
            return True, -accuracies[i]
        # Half an image more, or one that makes no error would win with any loss.
        return False, (1 - accuracies[i] + 0.5 / num_images) * losses[i]

    return sorted(range(len(accuracies)), key=key)
