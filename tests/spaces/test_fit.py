"""Networks of one shape, made as large as is wanted and under every limit."""

from __future__ import annotations

import functools
from dataclasses import replace
from itertools import pairwise

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.budget import Limits
from nas.candidates.device import device_bytes
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, MaxPool, ReLU
from nas.errors import InvalidCandidateError, OverBudgetError
from nas.spaces.fit import Width, fit
from nas.spaces.task import Task

SHAPE = (1, 12, 12)
TASK = Task(SHAPE, 10, 3000)
SHARES = [0.01, 0.1, 0.2, 0.33, 0.5, 0.618, 0.75, 0.9, 0.97, 1.0]


def pyramid(width):
    layers = [Conv(width(0.5)), BatchNorm(), ReLU(), MaxPool(2), Conv(width(1.0)), BatchNorm()]
    return Architecture(SHAPE, [*layers, ReLU(), GlobalAvgPool(), Flatten(), Linear(10)])


def uneven(width):
    convs = [Conv(width(ratio), 3, "valid") for ratio in (0.13, 1.0, 0.1, 0.71)]
    return Architecture(SHAPE, [*convs, Flatten(), Linear(10)])


def equal(width):
    return Architecture(
        SHAPE, [*(Conv(width(1)) for _ in range(4)), GlobalAvgPool(), Flatten(), Linear(10)]
    )


def with_floor(width):
    layers = [Conv(width(0.25, at_least=4)), MaxPool(2), Conv(width(2.5, at_least=3))]
    return Architecture(SHAPE, [*layers, GlobalAvgPool(), Flatten(), Linear(10)])


def hidden(width):
    return Architecture(SHAPE, [MaxPool(3), Flatten(), Linear(width(30)), ReLU(), Linear(10)])


MAKES = [pyramid, uneven, equal, with_floor, hidden]
LIMITS = [
    Limits(),
    Limits(max_macs=60_000),
    Limits(max_weight_bytes=2_000, bits=8),
    Limits(max_activation_bytes=1_500, bits=16),
    Limits(max_macs=100_000, max_weight_bytes=9_000, max_activation_bytes=5_000),
    Limits(max_flash=4_500),
    Limits(max_ram=2_800),
]

each_shape = pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
each_limit = pytest.mark.parametrize(
    "limits", LIMITS, ids=["none", "macs", "weights", "activations", "all", "flash", "ram"]
)


def channels(architecture):
    """Of each layer that has a width."""
    return [getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0)
            for layer in architecture.layers if isinstance(layer, Conv | Linear)]  # fmt: skip


@functools.cache
def all_sizes(make):
    """The networks of a shape, at every scale of a fine grid: far beyond the largest that fits."""
    networks = {make(Width(i / 250)) for i in range(7_500)}
    return sorted(networks, key=lambda architecture: architecture.num_params)


# Widths


def test_width_at_scale_zero_is_the_least_that_was_asked_for():
    width = Width(0)
    assert [width(1.0), width(100.0), width(0.1, at_least=5), width(1e9)] == [1, 1, 5, 1]


@pytest.mark.parametrize("ratio", [0.1, 0.45, 1.0, 3.0])
def test_width_is_its_share_of_the_scale_in_whole_channels(ratio):
    for scale in (3.7, 20.0, 33.3, 1000.0):
        width = Width(scale)
        for _ in range(20):
            assert abs(width(ratio) - max(scale * ratio, 1)) < 1


def test_width_never_falls_below_what_it_must_have_at_least():
    for scale in (0.0, 1.0, 3.9, 4.0, 9.0):
        assert Width(scale)(1.0, at_least=4) >= 4
    assert Width(9.0)(1.0, at_least=4) == 9


def test_width_that_a_whole_number_of_channels_asks_for_is_that_number():
    """Or a network could not be found again from its own ratios."""
    for widest in (*range(1, 65), 100, 333, 1000):
        width = Width(float(widest))
        for channels in range(1, widest + 1):
            assert width(channels / widest) == channels
            assert Width(float(widest))(channels / widest) == channels  # the first that is asked


def test_equal_widths_grow_one_after_another():
    totals = []
    for scale in range(800, 1000):
        width = Width(scale / 100)
        totals.append(sum(width(1.0) for _ in range(6)))
    steps = [after - before for before, after in pairwise(totals)]
    assert set(steps) == {0, 1}


# Fits


@each_limit
@each_shape
def test_network_is_as_near_to_the_share_as_whole_channels_and_the_limits_allow(make, limits):
    task = replace(TASK, limits=limits)
    possible = [a.num_params for a in all_sizes(make) if task.budget.fits(a)]
    assert 5 < len(possible) < len(all_sizes(make))
    for share in SHARES:
        wanted = round(share * task.budget.most_params)
        found = fit(make, share, task)
        assert task.budget.fits(found)
        nearest = min(abs(num_params - wanted) for num_params in possible)
        assert abs(found.num_params - wanted) <= nearest


@pytest.mark.parametrize("ratio", [0.1, 1.0, 1000.0])
def test_share_is_met_exactly_where_every_count_can_be_had(ratio):
    def one_parameter_a_channel(width):
        return Architecture((1, 1, 1), [Conv(width(ratio), 1), Flatten()])

    task = Task((1, 1, 1), 10, 501)
    found = [fit(one_parameter_a_channel, n / 500, task).num_params for n in range(1, 501)]
    assert found == list(range(1, 501))


@each_limit
@each_shape
def test_larger_share_never_makes_any_layer_narrower(make, limits):
    task = replace(TASK, limits=limits)
    found = [channels(fit(make, i / 20, task)) for i in range(21)]
    for narrow, wide in pairwise(found):
        assert all(a <= b for a, b in zip(narrow, wide, strict=True))
    assert found[0] != found[-1]


@each_limit
@each_shape
def test_share_of_its_own_count_gives_the_same_network(make, limits):
    task = replace(TASK, limits=limits)
    for share in SHARES:
        found = fit(make, share, task)
        own = found.num_params / task.budget.most_params
        assert fit(make, own, task) == found


@pytest.mark.parametrize("max_params", [200, 1_000, 20_000, 10**6, 10**9])
def test_whole_budget_is_used_but_for_less_than_a_layer_of_one_channel_more(max_params):
    task = replace(TASK, max_params=max_params)
    found = fit(pyramid, 1.0, task)
    assert found.num_params < max_params
    first, last = channels(found)[:2]
    one_more = max(9 * last + 9 + 2, 9 * first + 2 + 10)
    assert found.num_params + one_more >= max_params


def test_limit_beside_parameters_leaves_the_network_smaller_than_its_share():
    free = fit(pyramid, 1.0, TASK)
    limited = fit(pyramid, 1.0, replace(TASK, limits=Limits(max_macs=free.num_macs // 2)))
    assert 0.4 * free.num_macs < limited.num_macs <= free.num_macs // 2
    assert limited.num_params < free.num_params


def test_limit_of_exactly_what_a_network_costs_leaves_it_as_it_is():
    free = fit(pyramid, 0.8, TASK)
    costs = Limits(free.num_macs, 4 * free.num_params, 4 * free.peak_values)
    assert fit(pyramid, 1.0, replace(TASK, limits=costs)) == free


def test_least_widths_are_kept_at_every_share():
    for share in (0.0, 0.1, 0.4, 1.0):
        first, second, _ = channels(fit(with_floor, share, TASK))
        assert first >= 4
        assert second >= 3
    assert channels(fit(with_floor, 0.0, TASK)) == [4, 3, 10]


@each_shape
def test_narrowest_is_given_where_it_is_more_than_the_share_already(make):
    assert fit(make, 0.0, TASK) == make(Width(0))


@each_shape
def test_narrowest_is_given_where_it_is_over_a_limit_and_the_gate_refuses_it(make):
    narrowest = make(Width(0))
    for task in (
        replace(TASK, max_params=narrowest.num_params),
        replace(TASK, limits=Limits(max_macs=narrowest.num_macs - 1)),
        replace(TASK, limits=Limits(max_weight_bytes=4 * narrowest.num_params - 1)),
        replace(TASK, limits=Limits(max_activation_bytes=4 * narrowest.peak_values - 1)),
        replace(TASK, limits=Limits(max_flash=device_bytes(narrowest).flash - 1)),
        replace(TASK, limits=Limits(max_ram=device_bytes(narrowest).ram - 1)),
        replace(TASK, max_params=1),
    ):
        found = fit(make, 1.0, task)
        assert found == narrowest
        with pytest.raises(OverBudgetError):
            task.budget.check(found)


@each_shape
def test_narrowest_is_given_where_it_alone_fits(make):
    narrowest = make(Width(0))
    task = replace(TASK, max_params=narrowest.num_params + 1)
    assert fit(make, 1.0, task) == narrowest


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_shape_that_does_not_grow_is_given_as_it_is(share):
    def fixed(width):
        return Architecture(SHAPE, [Conv(3), GlobalAvgPool(), Flatten(), Linear(10)])

    assert fit(fixed, share, TASK) == fixed(None)


def test_shape_that_grows_only_up_to_a_point_is_given_at_its_widest():
    def capped(width):
        layers = [Conv(min(width(1.0), 5)), GlobalAvgPool(), Flatten(), Linear(10)]
        return Architecture(SHAPE, layers)

    assert channels(fit(capped, 1.0, TASK)) == [5, 10]


@pytest.mark.parametrize("max_params", [200, 3_000, 20_000, 10**9])
def test_shape_is_made_few_times(max_params):
    scales = []

    def counting(width):
        scales.append(width)
        return pyramid(width)

    fit(counting, 1.0, replace(TASK, max_params=max_params))
    assert len(scales) <= 50


def test_shape_that_cannot_exist_is_an_error():
    def too_large_a_kernel(width):
        return Architecture(SHAPE, [Conv(width(1.0), 13, "valid"), Flatten()])

    with pytest.raises(InvalidCandidateError, match="does not fit an input of 12x12"):
        fit(too_large_a_kernel, 0.5, TASK)
