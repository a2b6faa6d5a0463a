"""How fast an epoch was, and the choice between candidates by what their last epochs came to."""

from __future__ import annotations

import pytest

from nas.metrics import Speed, choice_order, epoch_flops


def test_candidates_are_ordered_by_error_and_loss_together():
    accuracies, losses = [0.990, 0.991, 0.992, 0.993], [0.020, 0.030, 0.024, 0.040]
    # Products: 0.000200, 0.000270, 0.000192, 0.000280, but for half an image.
    assert choice_order(accuracies, losses, 10_000) == [2, 0, 1, 3]


@pytest.mark.parametrize(
    ("accuracies", "losses"),
    [([0.99, 0.99], [0.04, 0.03]), ([0.989, 0.99], [0.03, 0.03]), ([0.989, 0.99], [0.04, 0.03])],
)
def test_better_in_one_and_no_worse_in_the_other_is_better(accuracies, losses):
    assert choice_order(accuracies, losses, 10_000) == [1, 0]


def test_low_loss_does_not_make_up_for_an_accuracy_far_below_the_best():
    # Five standard errors of 99 % on 10,000 images are 0.4975 %.
    accuracies, losses = [0.9849, 0.9851, 0.99, 0.98], [0.001, 0.001, 0.03, 0.0001]
    assert choice_order(accuracies, losses, 10_000) == [1, 2, 0, 3]


def test_more_images_leave_fewer_candidates_close():
    accuracies, losses = [0.99, 0.97], [0.5, 0.1]
    assert choice_order(accuracies, losses, 50) == [1, 0]
    assert choice_order(accuracies, losses, 5000) == [0, 1]


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_perfect_and_hopeless_accuracies_are_ordered_too(best):
    assert choice_order([best] * 3, [0.2, 0.1, 0.3], 100) == [1, 0, 2]
    assert choice_order([best], [0.1], 1) == [0]


def test_near_perfect_candidate_is_close_to_a_perfect_one():
    """Were the error of 100 % taken as 0, one lucky image would beat any loss."""
    assert choice_order([1.0, 0.9995, 0.9], [0.4, 0.1, 0.0], 1000) == [1, 0, 2]


def test_equal_candidates_keep_their_order():
    assert choice_order([0.5] * 4, [1.0] * 4, 100) == [0, 1, 2, 3]


def test_epoch_costs_three_times_as_much_for_an_image_that_is_trained_on():
    assert epoch_flops(1_000, 600, 0, 60) == 3 * 2 * 1_000 * 600
    assert epoch_flops(1_000, 600, 50, 60) == 2 * 1_000 * 1_850
    assert epoch_flops(1_000, 659, 50, 60) == epoch_flops(1_000, 600, 50, 60), "a smaller batch"
    assert epoch_flops(1_000, 600, 50, 800) == epoch_flops(1_000, 600, 50, 60), "one batch of all"


def test_share_is_the_part_of_the_peak_that_was_reached():
    assert Speed(1.4e10, 1e11).share == pytest.approx(0.14)
