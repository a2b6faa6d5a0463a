"""How sure a comparison is: means over seeds, and differences between two candidates.

A candidate that is trained S times and measured on N images gives a table of right and wrong
answers, bool (S, N). Chance comes in twice: with the seed, and with which images were there to
measure on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Answers = NDArray[np.bool_]  # (S, N): seeds, images

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with the interval that holds the true one with `CONFIDENCE`."""

    mean: float
    std: float  # of one training, n - 1 in its denominator; nan for one seed
    low: float
    high: float
    num_seeds: int


@dataclass(frozen=True)
class Difference:
    """How much more accurate a first candidate is than a second one."""

    mean: float
    low: float
    high: float
    probability: float  # that it is above 0, as far as these images and seeds can tell
    errors_in_common: float  # share of the errors of either that both make; 1 when neither errs


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and t-interval of one value for each seed."""
    num, mean = len(values), float(np.mean(values))
    if num < 2:
        return Mean(mean, math.nan, math.nan, math.nan, num)
    std = float(np.std(values, ddof=1))
    reach = _reach(num - 1) * std / math.sqrt(num)
    return Mean(mean, std, mean - reach, mean + reach, num)


def compare(first: Answers, second: Answers) -> Difference:
    """Compare mean accuracies over seeds on the same images.

    The difference of each image is averaged over seeds, and images are paired: for one seed each
    this is McNemar's test ("Note on the sampling error of the difference between correlated
    proportions", 1947). Added to that is how much whole trainings vary beyond what their images
    explain. Degrees of freedom after Welch and Satterthwaite.

    Args:
        first, second: answers to the same images; they may have different numbers of seeds.
    """
    num_images = first.shape[1]
    differences = first.mean(axis=0) - second.mean(axis=0)  # (N,)
    mean = float(differences.mean())
    parts = [(float(differences.var(ddof=1)) / num_images, num_images - 1)]
    parts += [(_seed_variance(answers), len(answers) - 1) for answers in (first, second)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        low = high = mean
        probability = 0.5 + 0.5 * float(np.sign(mean))
    else:
        freedom = variance**2 / sum(part**2 / df for part, df in parts if part > 0)
        error = math.sqrt(variance)
        reach = _reach(freedom) * error
        low, high = mean - reach, mean + reach
        probability = _share_below(freedom, mean / error)
    return Difference(mean, low, high, probability, errors_in_common(first, second))


def compare_folds(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Compare the accuracies of two candidates on the same folds.

    The trainings of two folds have most of their images in common, so a plain t-test is too sure:
    the variance is corrected (Nadeau & Bengio, "Inference for the generalization error", 2003).

    Returns:
        Low and high end of the interval of the difference of the means, and the probability that
        the difference is above 0.
    """
    differences = np.subtract(first, second)
    num, mean = len(differences), float(differences.mean())
    variance = float(differences.var(ddof=1)) * (1 / num + 1 / (num - 1)) if num > 1 else math.nan
    if variance == 0:
        return mean, mean, 0.5 + 0.5 * float(np.sign(mean))
    error = math.sqrt(variance)
    reach = _reach(num - 1) * error
    return mean - reach, mean + reach, _share_below(num - 1, mean / error)


def _reach(freedom: float) -> float:
    """How many standard errors the interval reaches to each side, by Student's t."""
    from scipy.special import stdtrit  # slow to load, and a leaderboard mostly needs it not

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _share_below(freedom: float, value: float) -> float:
    """Of Student's t distribution."""
    from scipy.special import stdtr

    return float(stdtr(freedom, value))


def _seed_variance(answers: Answers) -> float:
    """Variance of the mean accuracy by seeds that make whole trainings better or worse; 0 for one.

    Seeds that change one image here and another there are in the variance of the images already.
    """
    num_seeds, num_images = answers.shape
    if num_seeds < 2:
        return 0.0
    between = float(answers.mean(axis=1).var(ddof=1))
    within = float(answers.var(axis=0, ddof=1).mean()) / num_images
    return float(max(between - within, 0.0) / num_seeds)


def errors_in_common(first: Answers, second: Answers) -> float:
    """Of the images that most seeds of either candidate get wrong, the share both get wrong."""
    wrong = [answers.mean(axis=0) < 0.5 for answers in (first, second)]
    either = (wrong[0] | wrong[1]).sum()
    return float((wrong[0] & wrong[1]).sum() / either) if either else 1.0
