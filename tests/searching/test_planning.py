"""Plans as pure arithmetic: what an idle worker trains, by the time that is left."""

from __future__ import annotations

import pytest

from nas.searching.planning import LEAST_STEPS, MARGIN, Known, Step, TimePlan, short_schedules

NUM_TRAIN = 60_000
EPOCHS = 19
RUNG = 0.25  # 15,000 images


def make(seconds, **options):
    """A plan for MNIST, whose epochs take one second each for an `image_seconds` of `SECOND`."""
    return TimePlan(seconds, NUM_TRAIN, 0, EPOCHS, **options)


SECOND = 1 / NUM_TRAIN


def known(*epochs, is_taken=False):
    return [Known(number, value, SECOND, is_taken) for number, value in enumerate(epochs)]


@pytest.mark.parametrize(
    ("num_train", "epochs", "schedules"),
    [
        (60_000, 19, (0.25, 1, 4)),
        (18_333, 19, (1, 4)),
        (15_000, 19, (1, 4)),
        (15_000, 7, (1,)),
        (1_500, 19, ()),
        (1_500, 100, (10, 40)),
        (600_000, 19, (0.025, 0.1, 0.4, 2, 8)),
    ],
)
def test_short_schedules_begin_with_the_images_that_a_score_needs(num_train, epochs, schedules):
    assert short_schedules(num_train, epochs) == pytest.approx(schedules)


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [(1000, 19), (19 * MARGIN, 19), (12, 10), (1.2, 1), (0.6, 0.5), (0.1, 0)],
)
def test_longest_schedule_fits_with_its_margin_in_whole_epochs_or_a_part_of_one(seconds, epochs):
    found = make(1000).longest(seconds + 1e-9, SECOND)
    assert found == pytest.approx(epochs, abs=0.01)
    assert MARGIN * found <= seconds + 1e-6


def test_no_schedule_is_shorter_than_the_least_steps():
    plan = make(1000)
    least = plan.least_seconds(SECOND)
    assert plan.longest(1.001 * least, SECOND) * NUM_TRAIN == pytest.approx(LEAST_STEPS * 64)
    assert plan.longest(0.999 * least, SECOND) == 0


def test_first_proposal_has_the_longest_schedule_at_once():
    step = make(12.001).next_step(12.001, SECOND, [], 9, has_start=True)
    assert step == Step(None, 10, is_longest=True)


def test_without_a_start_candidates_are_tried_for_a_quarter_of_the_time():
    plan, left, trained = make(100), 100.0, []
    plan.epochs = 1000  # no full schedule fits
    plan.rungs = (RUNG,)
    while True:
        step = plan.next_step(left, SECOND, known(*trained), 1000)
        assert step is not None
        if step.is_longest:
            break
        plan.begun(step, left)
        left -= step.epochs
        trained.append(step.epochs)
    assert 100 - left == pytest.approx(25, abs=2)
    assert step == Step(0, plan.longest(left, SECOND), is_longest=True)


def test_long_schedule_begins_only_if_it_fits_with_its_margin():
    for tenths in range(1, 400):
        left = tenths / 10
        step = make(40).next_step(left, SECOND, known(0.25, 0.25), 5)
        assert step is None or MARGIN * step.epochs <= left + 1e-9


def test_worker_beside_a_long_training_begins_nothing_that_could_not_win():
    busy = [Known(0, 16, SECOND, is_taken=True)]
    assert make(20).next_step(5, SECOND, busy, 9) is None


def test_best_candidate_of_an_earlier_search_goes_on_first():
    plan = make(30)
    plan.opening = 3
    earlier = [Known(3, 7, SECOND), Known(1, 0.25, SECOND)]
    assert plan.next_step(30, SECOND, earlier, 9) == Step(3, 19, is_longest=True)


def test_full_schedule_is_never_lengthened():
    plan = make(1000)
    plan.opening = 0
    assert plan.next_step(1000, SECOND, known(19, 19, 19), 0) is None


@pytest.mark.parametrize(("num_full", "goes_on"), [(1, True), (2, True), (3, False)])
def test_three_are_trained_in_full_where_no_more_are_asked_for(num_full, goes_on):
    step = make(1000).next_step(1000, SECOND, known(*[19] * num_full, *[0.25] * 9), 0)
    assert (step == Step(num_full, 19, is_longest=True)) == goes_on


def test_with_much_time_the_best_of_many_climb_as_without_a_limit():
    plan = make(10_000)
    assert plan.next_step(9000, SECOND, known(*[RUNG] * 15), 50).number is None
    assert plan.next_step(9000, SECOND, known(*[RUNG] * 16), 50) == Step(0, 1, is_longest=False)


def test_schedules_are_whole_where_nothing_is_stopped_early():
    plan = make(1000, with_rungs=False)
    assert plan.next_step(1000, SECOND, [], 9) == Step(None, 19, is_longest=True)


def test_nothing_begins_where_nothing_fits():
    assert make(0.1).next_step(0.1, SECOND, [], 9) is None


@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.parametrize("has_start", [True, False])
@pytest.mark.parametrize("seconds", [0.3, 0.5, 1, 2, 5, 10, 20, 50, 100, 400])
def test_every_time_in_which_anything_fits_ends_with_a_network_inside_it(
    seconds, has_start, num_workers
):
    plan = make(seconds)
    outlook = plan.outlook(SECOND, num_workers, 50, has_start=has_start)
    assert outlook.epochs > 0
    assert outlook.num_candidates > 0
    assert outlook.seconds <= seconds


def test_more_time_gives_longer_schedules_to_the_best():
    lengths = [
        make(seconds).outlook(SECOND, 1, 50, has_start=True).epochs for seconds in range(1, 40)
    ]
    assert lengths == sorted(lengths)
    assert lengths[-1] == EPOCHS


def test_pretended_epochs_do_not_end_for_ever():
    outlook = make(1e9).outlook(SECOND, 1, 10**6, has_start=False)
    assert outlook.num_candidates <= 1_000


@pytest.mark.parametrize(
    ("epochs_done", "epochs", "seconds_left", "epoch_seconds", "end"),
    [
        (2, 8, 6.0, 1.0, 8),
        (2, 8, 5.9, 1.0, 7),
        (2, 8, 6.0, 2.0, 4),
        (2, 8, 1.0, 1.0, 3),
        (2, 8, 0.9, 1.0, 2),  # at once: a broken epoch would lose those before
        (7, 8, 0.9, 1.0, 7),
        (7, 8, -5.0, 1.0, 7),
    ],
)
def test_running_schedule_ends_sooner_only_where_it_would_not_end_in_time(
    epochs_done, epochs, seconds_left, epoch_seconds, end
):
    assert make(10).end_of(epochs_done, epochs, seconds_left, epoch_seconds) == end
