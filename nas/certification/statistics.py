"""How sure a comparison is: means over seeds, and differences between two candidates.

A candidate that is trained S times and measured on N images gives a table of right and wrong
answers, bool (S, N). Chance comes in twice: with the seed, and with which images were there to
measure on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


def accuracy_of(answers: Answers) -> Mean:
    """Mean accuracy of one candidate, with its interval over other seeds and other images.

    How much the images say is worked out after Agresti & Coull ("Approximate is better than
    'exact' for interval estimation of binomial proportions", 1998), who add two right answers and
    two wrong ones: so there is an interval where no seed errs, and where all seeds are alike.
    Added to that is how much whole trainings vary beyond what their images explain.

        accuracy_of(np.array([[True, True, False], [True, True, False]])).low
    """
    summary = mean_of(answers.mean(axis=1))
    if summary.num_seeds < 2:
        return summary
    centre, images = _over_images(answers.mean(axis=0), _ANSWERS)
    parts = [images, _Part(_seed_variance(answers), summary.num_seeds - 1)]
    low, high = _together(parts).interval(centre)
    return replace(summary, low=max(low, 0.0), high=min(high, 1.0))


def accuracy_of_folds(folds: Sequence[NDArray[np.bool_]]) -> Mean:
    """The same of one training for each fold, measured on the images of that fold, bool (N,).

    The variance is that of `compare_folds`.
    """
    summary = mean_of([float(answers.mean()) for answers in folds])
    if summary.num_seeds < 2:
        return summary
    centre, images = _over_images(np.concatenate(folds).astype(float), _ANSWERS)
    low, high = _of_folds(summary.std, summary.num_seeds, images).interval(centre)
    return replace(summary, low=max(low, 0.0), high=min(high, 1.0))


def compare(first: Answers, second: Answers) -> Difference:
    """Compare mean accuracies over seeds on the same images.

    The difference of each image is averaged over seeds, and images are paired. For one seed each
    this is McNemar's test ("Note on the sampling error of the difference between correlated
    proportions", 1947) with half an image added for each of the four pairs of answers, so that
    there is an interval where no answer differs (Agresti & Min, "Simple improved confidence
    intervals for comparing matched proportions", 2005). Added to that is how much whole trainings
    vary beyond what their images explain. Degrees of freedom after Welch and Satterthwaite.

    Args:
        first, second: answers to the same images; they may have different numbers of seeds.
    """
    differences = first.mean(axis=0) - second.mean(axis=0)  # (N,)
    centre, images = _over_images(differences, _PAIRS)
    parts = [images]
    parts += [_Part(_seed_variance(answers), len(answers) - 1) for answers in (first, second)]
    in_common = errors_in_common(first, second)
    return _difference(float(differences.mean()), centre, _together(parts), in_common)


def compare_folds(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]
) -> Difference:
    """Compare the mean accuracies of two candidates on the same folds.

    The trainings of two folds have most of their images in common, so a plain t-test is too sure:
    the variance is corrected (Nadeau & Bengio, "Inference for the generalization error", 2003),
    and never below that of the paired images, so that folds that are alike prove nothing.

    Args:
        first, second: answers to the images of each fold, bool (N,).
    """
    by_fold = np.array([a.mean() - b.mean() for a, b in zip(first, second, strict=True)])
    pairs = [np.concatenate(answers).astype(float) for answers in (first, second)]
    centre, images = _over_images(pairs[0] - pairs[1], _PAIRS)
    part = _of_folds(mean_of(by_fold.tolist()).std, len(by_fold), images)
    in_common = errors_in_common(pairs[0][np.newaxis], pairs[1][np.newaxis])
    return _difference(float(by_fold.mean()), centre, part, in_common)


# Answers, and differences of two answers, that are added to those of the images, with weights.
_ANSWERS = {0.0: 2.0, 1.0: 2.0}
_PAIRS = {-1.0: 0.5, 0.0: 1.0, 1.0: 0.5}


@dataclass(frozen=True)
class _Part:
    """A variance of a mean, and its degrees of freedom."""

    variance: float
    freedom: float

    def interval(self, centre: float) -> tuple[float, float]:
        reach = _reach(self.freedom) * math.sqrt(self.variance)
        return centre - reach, centre + reach


def _over_images(values: NDArray[np.float64], added: dict[float, float]) -> tuple[float, _Part]:
    """The mean of values (N,) of images and some that are added, and its variance."""
    weight = len(values) + sum(added.values())
    mean = float(values.sum() + sum(value * n for value, n in added.items())) / weight
    squares = float(np.square(values - mean).sum())
    squares += sum((value - mean) ** 2 * n for value, n in added.items())
    return mean, _Part(squares / weight**2, weight - 1)


def _together(parts: Sequence[_Part]) -> _Part:
    """The sum of variances that are independent of each other."""
    variance = sum(part.variance for part in parts)
    freedom = sum(part.variance**2 / part.freedom for part in parts if part.variance > 0)
    return _Part(variance, variance**2 / freedom)


def _of_folds(std: float, num_folds: int, images: _Part) -> _Part:
    """Of a mean over folds whose values have this standard deviation, after Nadeau and Bengio."""
    if num_folds < 2:
        return images
    corrected = std**2 * (1 / num_folds + 1 / (num_folds - 1))
    return _Part(max(corrected, images.variance), num_folds - 1)


def _difference(mean: float, centre: float, part: _Part, in_common: float) -> Difference:
    low, high = part.interval(centre)
    probability = _share_below(part.freedom, centre / math.sqrt(part.variance))
    return Difference(mean, max(low, -1.0), min(high, 1.0), probability, in_common)


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
