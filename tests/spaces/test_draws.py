"""Drawing from a search space without a study, and its smallest network."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.budget import Limits
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear, MaxPool
from nas.candidates.recipe import Recipe
from nas.errors import InvalidCandidateError, SpaceError
from nas.spaces.draws import check_params, check_start, draw, smallest
from nas.spaces.loader import SearchSpace, load_space
from nas.spaces.random_trial import NotOfferedError, RandomTrial
from nas.spaces.task import Task

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]


def make_task(shape=(1, 8, 8), max_params=20_000):
    return Task(shape, num_classes=10, max_params=max_params)


def make_space(suggest):
    return SearchSpace("made", Path("made.py"), "", suggest)


@pytest.fixture(scope="module")
def blocks():
    return load_space("blocks")


# Trials


def draws(call, num=300):
    rng = random.Random(0)
    return [call(RandomTrial(rng)) for _ in range(num)]


def test_whole_numbers_cover_their_range_and_no_more():
    assert set(draws(lambda t: t.suggest_int("x", 2, 5))) == {2, 3, 4, 5}
    assert set(draws(lambda t: t.suggest_int("x", 1, 8, step=3))) == {1, 4, 7}
    assert set(draws(lambda t: t.suggest_int("x", 3, 3))) == {3}


def test_whole_numbers_on_a_log_scale_favour_the_small():
    values = draws(lambda t: t.suggest_int("x", 1, 100, log=True), 1000)
    assert (min(values), max(values)) >= (1, 90)
    assert max(values) <= 100
    assert sorted(values)[500] == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.0, 0.15, 0.01), (0.0, 0.3, 0.1), (0.5, 1.0, 0.2), (-1.0, 1.0, 1.0)]
)
def test_floats_keep_to_their_steps_and_range(low, high, step):
    values = set(draws(lambda t: t.suggest_float("x", low, high, step=step)))
    num_steps = int((high - low) / step + 1e-9)
    assert len(values) == num_steps + 1
    assert sorted(values) == pytest.approx([low + step * i for i in range(num_steps + 1)])
    assert min(values) >= low
    assert max(values) <= high


def test_floats_keep_to_their_range():
    values = draws(lambda t: t.suggest_float("x", 2.0, 4.0), 1000)
    assert 2 <= min(values) < 2.1
    assert 3.9 < max(values) <= 4
    assert sorted(values)[500] == pytest.approx(3, abs=0.2)


def test_floats_on_a_log_scale_favour_the_small():
    values = draws(lambda t: t.suggest_float("x", 1e-4, 1.0, log=True), 1000)
    assert 1e-4 <= min(values) < 2e-4
    assert 0.5 < max(values) <= 1
    assert 0.005 < sorted(values)[500] < 0.02


def test_choices_are_all_drawn():
    assert set(draws(lambda t: t.suggest_categorical("x", ["a", "b", None]))) == {"a", "b", None}
    assert set(draws(lambda t: t.suggest_categorical("x", (True, False)))) == {True, False}


def test_fixed_values_are_given_back():
    trial = RandomTrial(random.Random(0), fixed={"i": 7, "f": 0.25, "c": None})
    assert trial.suggest_int("i", 1, 100) == 7
    assert trial.suggest_float("f", 0, 1) == 0.25
    assert trial.suggest_categorical("c", ["a", None]) is None
    assert trial.params == {"i": 7, "f": 0.25, "c": None}


def test_same_name_gives_same_value():
    trial = RandomTrial(random.Random(0))
    assert len({trial.suggest_int("i", 1, 10**6) for _ in range(10)}) == 1
    assert len({trial.suggest_float("f", 0, 1) for _ in range(10)}) == 1
    assert len({trial.suggest_categorical("c", range(1000)) for _ in range(10)}) == 1


def test_without_a_source_of_chance_every_value_is_the_first():
    trial = RandomTrial()
    assert trial.suggest_int("i", 2, 9) == 2
    assert trial.suggest_int("l", 2, 9, log=True) == 2
    assert trial.suggest_float("f", 0.5, 1, step=0.1) == 0.5
    assert trial.suggest_float("g", 1e-3, 1, log=True) == 1e-3
    assert trial.suggest_categorical("c", ["b", "a"]) == "b"


def test_attributes_are_taken_and_forgotten():
    trial = RandomTrial()
    trial.set_user_attr("why", "no reason")
    assert trial.params == {}


# Draws


def test_draws_are_the_same_for_the_same_seed(blocks):
    first, again, other = (
        [c.fingerprint for c in islice(draw(blocks, make_task(), seed), 20)] for seed in (3, 3, 4)
    )
    assert first == again != other
    assert len(set(first)) == 20


def test_draws_number_their_trials():
    numbers = []

    def suggest(trial, task):
        numbers.append(trial.number)
        raise InvalidCandidateError("no")

    list(islice(draw(make_space(suggest), make_task(), 0), 3))
    assert numbers == [0, 1, 2]


def test_draw_that_cannot_exist_is_given_as_its_reason():
    def suggest(trial, task):
        layers = [Conv(trial.suggest_int("channels", 0, 1)), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    kinds = {type(drawn) for drawn in islice(draw(make_space(suggest), make_task(), 0), 50)}
    assert kinds == {Candidate, InvalidCandidateError}


# The smallest


TIGHT = [
    Limits(),
    Limits(max_macs=20_000),
    Limits(max_weight_bytes=100, bits=8),
    Limits(max_activation_bytes=300),
    Limits(max_macs=500, max_activation_bytes=10, bits=4),
]


@pytest.mark.slow
@pytest.mark.parametrize("limits", TIGHT, ids=str)
@pytest.mark.parametrize("max_params", [1, 40, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_drawn_from_blocks_is_nearer_to_tight_limits_than_its_smallest(
    blocks, shape, max_params, limits
):
    task = replace(make_task(shape, max_params), limits=limits)

    def over(candidate):
        return max(*task.budget.excess(candidate.architecture).values(), 0)

    assert over(smallest(blocks, task)) <= min(map(over, islice(draw(blocks, task, 0), 60)))


@pytest.mark.parametrize("max_params", [42, 61])
@pytest.mark.parametrize("shape", SHAPES)
def test_smallest_of_blocks_fits_wherever_it_can(blocks, shape, max_params):
    task = make_task(shape, max_params)
    assert task.budget.fits(smallest(blocks, task).architecture) == (
        max_params > {(1, 28, 28): 42, (3, 32, 32): 60, (1, 8, 8): 42}[shape]
    )


def suggest_cheap_in_one(trial, task):
    """Few parameters at many multiply-accumulates, or the reverse."""
    is_small = trial.suggest_categorical("is_small", [True, False])
    conv = [Conv(4), GlobalAvgPool()] if is_small else [MaxPool(2)]
    layers = [*conv, Flatten(), Linear(task.num_classes)]  # 86 and 170 parameters
    return Candidate(Architecture(task.input_shape, layers), Recipe())


@pytest.mark.parametrize(
    ("max_params", "limits", "num_params"),
    [
        (20_000, Limits(), 86),
        (20_000, Limits(max_macs=200), 170),
        (20_000, Limits(max_activation_bytes=4 * 100), 170),
        (20_000, Limits(max_macs=100), 170),  # neither fits: 1.6 beside 23 times as much
        (2, Limits(max_macs=2), 170),  # 160 times each beside 43 and 1,172
        (2, Limits(max_macs=1000), 86),
        (100, Limits(max_macs=2000), 86),  # 17 % over beside 72 %
        (20_000, Limits(max_weight_bytes=200), 86),
        # Both fit: the one that is further below the limit it is nearest to.
        (171, Limits(max_macs=2400), 86),
        (1000, Limits(max_macs=2400), 170),
    ],
)
def test_smallest_is_the_nearest_to_all_limits(max_params, limits, num_params):
    task = replace(make_task(max_params=max_params), limits=limits)
    found = smallest(make_space(suggest_cheap_in_one), task).architecture
    assert found.num_params == num_params


def test_smallest_of_those_that_cost_as_much_where_it_counts_has_the_fewest_parameters():
    def suggest(trial, task):
        # What comes after the one pixel that is left takes nothing from the largest activation.
        width = 5 - trial.suggest_int("less", 0, 4)
        layers = [Conv(8), GlobalAvgPool(), Conv(width, 1), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    task = replace(make_task(), limits=Limits(max_activation_bytes=100))
    num_params = smallest(make_space(suggest), task).architecture.num_params
    assert num_params == 72 + 8 + 10 + 10


def test_smallest_is_found_where_the_lowest_values_are_not_the_smallest():
    def suggest(trial, task):
        channels = 20 - trial.suggest_int("channels_less", 0, 19)
        layers = [Conv(channels, 1), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    assert smallest(make_space(suggest), make_task()).architecture.num_params == 1 + 640 + 10


def test_smallest_is_found_where_the_lowest_values_cannot_exist():
    def suggest(trial, task):
        kernel_size = trial.suggest_int("kernel_size", 2, 5)  # 'same' needs an odd one
        layers = [Conv(1, kernel_size), Flatten(), Linear(task.num_classes)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    assert smallest(make_space(suggest), make_task()).architecture.num_params == 9 + 640 + 10


def test_space_that_can_build_nothing_is_refused():
    def suggest(trial, task):
        raise InvalidCandidateError("flatten first")

    wanted = r"made\.py: none of \d+ proposals can be built .*; one because: flatten first"
    with pytest.raises(SpaceError, match=wanted):
        smallest(make_space(suggest), make_task())


def test_broken_space_is_refused():
    def suggest(trial, task):
        raise ValueError("no")

    with pytest.raises(SpaceError, match="suggest raised ValueError"):
        smallest(make_space(suggest), make_task())


# Values that are to be proposed


def suggest_kernel(trial, task):
    """Sizes up to 11 are offered; on images of 8x8 those up to 8 can be built."""
    trial.suggest_categorical("shape", ["square", (1, 2)])
    layers = [Conv(1, trial.suggest_int("size", 1, 11), "valid"), Flatten(), Linear(10)]
    recipe = Recipe(learning_rate=trial.suggest_float("rate", 0.1, 0.2))
    return Candidate(Architecture(task.input_shape, layers), recipe)


@pytest.mark.parametrize("params", [{}, {"size": 8}, {"size": 1, "rate": 0.1, "unheard": [1]}])
def test_values_that_are_offered_pass(params):
    check_params(make_space(suggest_kernel), make_task(), params)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"size": 12}, "size = 12 is not within 1 to 11"),
        ({"size": "3"}, "size = '3' is not within 1 to 11"),
        ({"size": None}, "size = None is not within 1 to 11"),
        ({"rate": float("nan")}, "rate = nan is not within 0.1 to 0.2"),
        ({"shape": "round"}, "shape = 'round' is none of"),
        ({"shape": (1, 2)}, "is none of"),  # a database gives it back as a list
        ({"size": {3}}, "not JSON serializable"),
        ({"unheard": b"x"}, "not JSON serializable"),
    ],
)
def test_values_that_are_not_offered_are_refused(params, words):
    with pytest.raises(NotOfferedError, match=words):
        check_params(make_space(suggest_kernel), make_task(), params)


def test_values_of_what_cannot_be_built_are_told_from_those_that_are_not_offered():
    with pytest.raises(InvalidCandidateError, match="does not fit") as error:
        check_params(make_space(suggest_kernel), make_task(), {"size": 9})
    assert error.type is InvalidCandidateError


def start_at(*sizes):
    start = [{"size": size} for size in sizes]
    return replace(make_space(suggest_kernel), start=lambda task: start)


@pytest.mark.parametrize("sizes", [(), (3,), (3, 5), (3, 9), (9, 3)])
def test_start_of_which_something_can_be_built_passes(sizes):
    check_start(start_at(*sizes), make_task())


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((12,), "size = 12 is not within"),
        ((3, 12), "size = 12 is not within"),
        ((9, 12, 3), "size = 12 is not within"),
        ((9,), "does not fit"),
        ((9, 10), "does not fit"),
    ],
)
def test_start_with_a_value_out_of_range_or_nothing_to_build_is_refused(sizes, words):
    with pytest.raises(SpaceError, match=r"made\.py: start\(task\) cannot be proposed: .*" + words):
        check_start(start_at(*sizes), make_task())


def start_with(params):
    return replace(make_space(suggest_kernel), start=lambda task: params)


@pytest.mark.parametrize("name", ["siz", "sizes", "Size"])
def test_start_with_a_misspelt_name_is_refused_with_the_right_one(name):
    with pytest.raises(SpaceError, match=rf"gives '{name}', .* did you mean 'size'\?"):
        check_start(start_with([{"size": 3}, {name: 3}]), make_task())


@pytest.mark.parametrize("params", [{"depth": 3}, {"size": 3, "size2": 5}])
def test_start_may_name_what_is_asked_for_other_images_only(params):
    check_start(start_with(params), make_task())
