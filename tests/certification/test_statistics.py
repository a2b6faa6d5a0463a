"""How sure a comparison is: intervals worked out by hand, and against truths that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.certification.statistics import (
    accuracy_of,
    accuracy_of_folds,
    compare,
    compare_folds,
    errors_in_common,
    mean_of,
)


def table(*rows):
    """Answers from rows of 1 (right) and 0 (wrong), a row for each seed."""
    return np.array([[letter == "1" for letter in row] for row in rows])


def random_answers(chances, num_seeds, rng):
    """Answers (S, N) where image i is right with `chances[i]`."""
    return rng.random((num_seeds, len(chances))) < chances


# Means


def test_interval_of_a_mean_is_students():
    summary = mean_of([0.90, 0.92, 0.97])
    # Deviations -0.03, -0.01, 0.04: their squares sum to 0.0026, shared by two.
    std = math.sqrt(0.0013)
    reach = 4.302653 * std / math.sqrt(3)  # t of 97.5 % with two degrees of freedom
    assert summary.mean == pytest.approx(0.93)
    assert summary.std == pytest.approx(std)
    assert (summary.low, summary.high) == pytest.approx((0.93 - reach, 0.93 + reach), rel=1e-6)
    assert summary.num_seeds == 3


def test_one_seed_has_a_mean_and_no_spread():
    summary = mean_of([0.9])
    assert (summary.mean, summary.num_seeds) == (0.9, 1)
    assert all(math.isnan(value) for value in (summary.std, summary.low, summary.high))


def test_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    drawn = [mean_of(rng.normal(0.99, 0.001, 3)) for _ in range(2000)]
    share = np.mean([summary.low <= 0.99 <= summary.high for summary in drawn])
    assert share == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("num_right", "bound"), [(0, 0), (150, None), (300, 1)])
@pytest.mark.parametrize("num_seeds", [2, 5])
def test_seeds_that_are_alike_leave_the_doubt_of_their_images(num_right, bound, num_seeds):
    """Agresti and Coull: as if two more images were right and two wrong."""
    answers = np.tile(np.arange(300) < num_right, (num_seeds, 1))
    summary = accuracy_of(answers)
    assert (summary.mean, summary.std) == (num_right / 300, 0)
    centre = (num_right + 2) / 304
    reach = 1.968 * math.sqrt(centre * (1 - centre) / 304)  # t with 303 degrees of freedom
    expected = [centre - reach, centre + reach]
    if bound is not None:
        expected[bound] = bound
    assert (summary.low, summary.high) == pytest.approx(expected, abs=1e-5)
    assert summary.low <= summary.mean <= summary.high
    assert summary.high - summary.low > 0.005


def test_seeds_that_make_whole_trainings_better_widen_the_interval_of_an_accuracy():
    alike = np.tile(np.arange(1000) < 900, (3, 1))
    unlike = np.stack([np.arange(1000) < num for num in (850, 900, 950)])
    narrow, wide = accuracy_of(alike), accuracy_of(unlike)
    assert narrow.mean == wide.mean == pytest.approx(0.9)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_accuracy_of_one_seed_has_no_interval():
    summary = accuracy_of(table("1101"))
    assert summary.mean == 0.75
    assert math.isnan(summary.low)
    assert math.isnan(accuracy_of_folds([np.array([True, False])]).low)


@pytest.mark.parametrize("num_seeds", [2, 5])
@pytest.mark.parametrize(("level", "seed_effect"), [(0.9, 0.0), (0.9, 0.05), (0.99, 0.0)])
def test_interval_of_an_accuracy_holds_the_truth_about_as_often_as_it_says(
    num_seeds, level, seed_effect
):
    """New images and new seeds in each repeat; what is right in truth is known."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        chances = np.where(rng.random(250) < 0.9, level, 1 - 2 * (1 - level))
        answers = [
            random_answers(chances + rng.normal(0, seed_effect), 1, rng) for _ in range(num_seeds)
        ]
        found = accuracy_of(np.concatenate(answers))
        hits.append(found.low <= 0.9 * level + 0.1 * (1 - 2 * (1 - level)) <= found.high)
    # Two seeds cannot show well how much seeds differ; near 100 % an interval is wide.
    assert (0.85 if seed_effect and num_seeds == 2 else 0.91) <= np.mean(hits)
    assert np.mean(hits) <= 0.995


# Differences


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_equal_answers_are_a_tie(num_seeds):
    answers = random_answers(np.full(200, 0.9), num_seeds, np.random.default_rng(0))
    difference = compare(answers, answers.copy())
    assert difference.mean == 0
    assert difference.low <= 0 <= difference.high
    assert difference.probability == pytest.approx(0.5, abs=0.02)
    assert difference.errors_in_common == 1


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_equal_answers_leave_the_doubt_of_their_images(num_seeds):
    answers = np.tile(
        random_answers(np.full(200, 0.9), 1, np.random.default_rng(0)), (num_seeds, 1)
    )
    difference = compare(answers, answers)
    # Agresti and Min: as if half an image more were right for the first alone, half for the second.
    reach = 1.972 * 1 / 202
    assert (difference.low, difference.high) == pytest.approx((-reach, reach), rel=1e-3)
    assert difference.probability == 0.5


def test_candidate_that_is_right_where_another_is_wrong_is_not_certainly_ahead():
    difference = compare(table("1" * 50), table("0" * 50))
    assert (difference.mean, difference.high) == (1, 1)
    assert 0.8 < difference.low < 1
    assert difference.probability > 0.99


def test_clearly_better_candidate_is_surely_ahead():
    rng = np.random.default_rng(0)
    better, worse = (random_answers(np.full(1000, p), 3, rng) for p in (0.99, 0.9))
    difference = compare(better, worse)
    assert difference.probability > 0.999
    assert 0.05 < difference.low < difference.mean < difference.high < 0.13


def test_interval_over_images_is_that_of_the_paired_difference():
    rng = np.random.default_rng(0)
    first, second = (random_answers(np.full(800, p), 1, rng) for p in (0.9, 0.8))
    difference = compare(first, second)
    per_image = first[0].astype(float) - second[0]
    reach = 1.96 * per_image.std() / math.sqrt(800)
    assert difference.mean == pytest.approx(per_image.mean())
    assert difference.low == pytest.approx(per_image.mean() - reach, abs=0.1 * reach)
    assert difference.high == pytest.approx(per_image.mean() + reach, abs=0.1 * reach)


def test_candidate_that_is_never_wrong_alone_is_never_behind():
    """Images drawn for each by itself would put it behind about as often as not."""
    shared = random_answers(np.full(400, 0.7), 1, np.random.default_rng(0))
    second = shared.copy()
    second[0, shared[0].nonzero()[0][:3]] = False  # three more errors, and no other ones
    difference = compare(shared, second)
    assert difference.low > -0.003
    assert difference.probability > 0.9


def test_seeds_that_make_whole_trainings_better_or_worse_widen_the_interval():
    # Three of the four seeds of the first are right on every image, one on none: 75 %, and with
    # three degrees of freedom for whole trainings this may as well be chance.
    first, second = table(*["1" * 50] * 3, "0" * 50), table("0" * 50)
    difference = compare(first, second)
    assert difference.mean == 0.75
    # Variance over seeds 0.25, of which 0.25 / 50 are what the images alone would give; the images
    # themselves, with two that are added, hardly count.
    reach = 3.182446 * math.sqrt((0.25 - 0.005) / 4)
    assert difference.high == 1
    assert difference.low == pytest.approx(0.75 * 50 / 52 - reach, abs=0.01)
    assert 0.9 < difference.probability < 0.98


def test_seeds_that_change_other_images_each_time_do_not_count_twice():
    rng = np.random.default_rng(0)
    first, second = (random_answers(np.full(2000, p), 5, rng) for p in (0.95, 0.9))
    difference = compare(first, second)
    true_error = math.sqrt((0.95 * 0.05 + 0.9 * 0.1) / 5 / 2000)
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * true_error, rel=0.1)


def test_comparison_the_other_way_round_has_the_other_sign():
    rng = np.random.default_rng(0)
    chances = rng.random(300)
    for num_seeds in (1, 4):
        first, second = (random_answers(chances, num_seeds, rng) for _ in range(2))
        there, back = compare(first, second), compare(second, first)
        assert there.mean == -back.mean
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert there.probability == pytest.approx(1 - back.probability)
        assert there.errors_in_common == back.errors_in_common


@pytest.mark.parametrize("num_seeds", [1, 3, 5])
@pytest.mark.parametrize("seed_effect", [0.0, 0.05])
def test_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says(num_seeds, seed_effect):
    """New images and new seeds in each repeat; what differs in truth is known."""
    if num_seeds == 1 and seed_effect:
        pytest.skip("one seed cannot show how much seeds differ")
    rng = np.random.default_rng(0)
    num_repeats, num_images = 400, 250
    misses = []
    for _ in range(num_repeats):
        # Nine in ten images are easy; the second is right 0.8 to 1 times as often on any.
        first = np.where(rng.random(num_images) < 0.9, 0.9, 0.9 * rng.random(num_images))
        second = first * rng.uniform(0.8, 1, num_images)
        truth = 0.9 * (0.95 - 0.95 * 0.9)
        answers = [
            np.concatenate([
                random_answers(chances + rng.normal(0, seed_effect), 1, rng)
                for _ in range(num_seeds)
            ])
            for chances in (first, second)
        ]  # fmt: skip
        found = compare(*answers)
        misses.append(int(truth < found.low) - int(truth > found.high))
    assert 0.91 <= 1 - np.abs(misses).mean() <= 0.99
    assert abs(sum(misses)) <= 20  # on both sides alike


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (["110100"], ["101100"], 2 / 4),  # wrong: 2, 4, 5 and 1, 4, 5
        (["1111"], ["1111"], 1),  # nobody errs
        (["0000"], ["1111"], 0),
        (["0011"], ["0011"], 1),
        (["0011"], ["1100"], 0),
        # Two seeds of three are most of them; one of two is not.
        (["0111", "0011", "1011"], ["0111", "1011"], 0),
        (["0111", "0011", "1011"], ["0011"], 1),
    ],
)
def test_errors_in_common_are_those_that_most_seeds_of_both_make(first, second, share):
    assert errors_in_common(table(*first), table(*second)) == pytest.approx(share)
    assert compare(table(*first), table(*second)).errors_in_common == pytest.approx(share)


def folds(*texts):
    """Answers of each fold."""
    return [table(text)[0] for text in texts]


def test_folds_have_the_wider_interval_of_their_common_images():
    rng = np.random.default_rng(0)
    levels = [(0.9, 0.7), (0.8, 0.8), (0.85, 0.7), (0.95, 0.7), (0.9, 0.9)]
    both = [[rng.random(200) < level for level in pair] for pair in levels]
    first, second = zip(*both, strict=True)
    found = compare_folds(first, second)
    differences = np.array([a.mean() - b.mean() for a, b in both])
    plain = 2.776 * differences.std(ddof=1) / np.sqrt(5)
    assert found.mean == pytest.approx(differences.mean())
    assert (found.high - found.low) / 2 == pytest.approx(plain * np.sqrt(1 + 5 / 4), rel=1e-3)
    assert 0.5 < found.probability < 0.95
    assert compare_folds(second, first).probability == pytest.approx(1 - found.probability)
    assert found.errors_in_common == errors_in_common(
        np.concatenate(first)[np.newaxis], np.concatenate(second)[np.newaxis]
    )


@pytest.mark.parametrize("num_folds", [1, 2, 5])
def test_folds_that_are_alike_prove_nothing(num_folds):
    same = compare_folds(folds(*["1101"] * num_folds), folds(*["1101"] * num_folds))
    assert (same.mean, same.probability) == (0, 0.5)
    assert same.low < -0.05 < 0.05 < same.high
    ahead = compare_folds(folds(*["1111"] * num_folds), folds(*["1101"] * num_folds))
    assert ahead.mean == 0.25
    assert ahead.low < 0.25 < ahead.high
    assert ahead.probability < 0.99


def test_accuracy_of_folds_that_are_alike_has_the_doubt_of_their_images():
    summary = accuracy_of_folds(folds(*["1" * 20] * 5))
    assert (summary.mean, summary.std, summary.num_seeds, summary.high) == (1, 0, 5, 1)
    assert 0.9 < summary.low < 0.96  # 102 of 104, t with four degrees of freedom
