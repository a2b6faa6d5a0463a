"""How sure a comparison is: intervals worked out by hand, and against truths that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nas.certification.statistics import compare, compare_folds, errors_in_common, mean_of


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


# Differences


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_equal_answers_are_a_tie(num_seeds):
    answers = random_answers(np.full(200, 0.9), num_seeds, np.random.default_rng(0))
    difference = compare(answers, answers.copy())
    assert difference.mean == 0
    assert difference.low <= 0 <= difference.high
    assert difference.probability == pytest.approx(0.5, abs=0.02)
    assert difference.errors_in_common == 1


def test_equal_answers_of_one_seed_leave_no_doubt_that_they_are():
    answers = random_answers(np.full(200, 0.9), 1, np.random.default_rng(0))
    difference = compare(answers, answers)
    assert (difference.low, difference.high, difference.probability) == (0, 0, 0.5)


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
    assert difference.low > -0.001
    assert difference.probability > 0.95


def test_seeds_that_make_whole_trainings_better_or_worse_widen_the_interval():
    # Three of the four seeds of the first are right on every image, one on none: 75 %, and with
    # three degrees of freedom for whole trainings this may as well be chance.
    first, second = table(*["1" * 50] * 3, "0" * 50), table("0" * 50)
    difference = compare(first, second)
    assert difference.mean == 0.75
    # Variance over seeds 0.25, of which 0.25 / 50 are what the images alone would give.
    reach = 3.182446 * math.sqrt((0.25 - 0.005) / 4)
    assert (difference.low, difference.high) == pytest.approx(
        (0.75 - reach, 0.75 + reach), abs=1e-6
    )
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


def test_folds_have_the_wider_interval_of_their_common_images():
    first, second = [0.9, 0.8, 0.85, 0.95, 0.9], [0.85, 0.8, 0.8, 0.85, 0.9]
    low, high, probability = compare_folds(first, second)
    differences = np.subtract(first, second)
    plain = 2.776 * differences.std(ddof=1) / np.sqrt(5)
    assert (low + high) / 2 == pytest.approx(differences.mean())
    assert (high - low) / 2 == pytest.approx(plain * np.sqrt(1 + 5 / 4), rel=1e-3)
    assert 0.5 < probability < 0.95
    assert compare_folds(second, first)[2] == pytest.approx(1 - probability)


def test_folds_that_never_differ_say_nothing():
    assert compare_folds([0.5, 0.75], [0.5, 0.75]) == (0.0, 0.0, 0.5)
