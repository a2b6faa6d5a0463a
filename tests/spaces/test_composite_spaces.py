"""What is special to the search spaces with skip connections and tied convolutions."""

from __future__ import annotations

import functools
import random

import pytest
import torch

from nas.candidates.layers import (
    Conv,
    DepthwiseConv,
    Dropout,
    GlobalAvgPool,
    LearnedPool,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.spaces.draws import check_start
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task

NAMES = ["residual", "separable", "tied"]
IMAGES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]
BUDGETS = [1_000, 5_000, 20_000, 100_000]

each_space = pytest.mark.parametrize("name", NAMES)
each_image = pytest.mark.parametrize("shape", IMAGES, ids=str)
each_budget = pytest.mark.parametrize("budget", BUDGETS)


@functools.cache
def draws(name, shape, budget, num=40):
    """Parameter values, each with the network that the space makes of them."""
    space, rng, made = load_space(name), random.Random(5), []
    for _ in range(num):
        trial = RandomTrial(rng)
        made.append((trial, space.propose(trial, Task(shape, 10, budget)).architecture))
    return made


@pytest.mark.slow
@each_budget
@each_image
@each_space
def test_no_draw_is_over_budget_or_cannot_exist(name, shape, budget):
    over = [a.num_params for _, a in draws(name, shape, budget) if a.num_params >= budget]
    assert over == []


@each_image
@each_space
def test_draws_use_the_share_of_the_budget_that_was_drawn(name, shape):
    for budget, most in ((5_000, 0.15), (100_000, 0.1)):
        errors = sorted(
            abs(architecture.num_params / (budget - 1) - trial.params["share"])
            for trial, architecture in draws(name, shape, budget, num=20)
        )
        assert errors[int(0.9 * len(errors))] < most


@each_budget
@each_image
@each_space
def test_start_fits_and_uses_most_of_the_budget(name, shape, budget):
    space, task = load_space(name), Task(shape, 10, budget)
    check_start(space, task)
    for params in space.first_proposals(task):
        num_params = space.propose(RandomTrial(fixed=params), task).architecture.num_params
        assert 0.6 * budget < num_params < budget


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 2, 30), (2, 30, 2), (1, 3, 3), (3, 4, 4)], ids=str
)
@each_space
def test_tiny_and_long_images_get_networks_that_run(name, shape):
    space, rng, task = load_space(name), random.Random(1), Task(shape, 10, 5_000)
    check_start(space, task)
    for _ in range(10):
        architecture = space.propose(RandomTrial(rng), task).architecture
        assert architecture.num_params < 5_000
        assert architecture.build().eval()(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("side", "stages"), [(1, 1), (3, 1), (4, 2), (7, 2), (8, 3), (32, 3), (512, 3)]
)
@each_space
def test_no_more_stages_than_the_image_can_be_halved_between(name, side, stages):
    for shape in ((1, side, 600), (1, 600, side)):
        trial = RandomTrial()
        load_space(name).propose(trial, Task(shape, 10, 20_000))
        assert trial.options["num_stages"] == (1, stages)
        for _, architecture in draws(name, shape, 20_000, num=8) if side < 10 else []:
            pooled = [row for row in architecture.rows if isinstance(row.layer, MaxPool)]
            assert all(min(row.out_shape[1:]) >= 2 for row in pooled)


@pytest.mark.slow
@each_image
@each_space
def test_learned_pooling_takes_no_more_than_half_of_the_budget_of_a_few_channels(name, shape):
    seen = set()
    for budget in BUDGETS:
        for trial, architecture in draws(name, shape, budget):
            (pool,) = (
                r for r in architecture.rows if isinstance(r.layer, GlobalAvgPool | LearnedPool)
            )
            seen.add(type(pool.layer))
            is_learned = isinstance(pool.layer, LearnedPool)
            assert is_learned == (trial.params.get("head") == "learned")
            assert not is_learned or 4 * pool.in_shape[1] * pool.in_shape[2] < budget / 2
    assert seen == {GlobalAvgPool, LearnedPool}


def layers_of(name, kind, budget=20_000):
    """For each draw for 28x28 images its parameter values and its layers of a kind."""
    return [
        (trial.params, [layer for layer in architecture.layers if isinstance(layer, kind)])
        for trial, architecture in draws(name, (1, 28, 28), budget)
    ]


@pytest.mark.parametrize("name", ["residual", "separable"])
def test_there_are_as_many_residual_blocks_as_were_asked_for(name):
    for params, blocks in layers_of(name, Residual):
        counts = [params[f"stage{stage}_num_blocks"] for stage in range(params["num_stages"])]
        assert len(blocks) == sum(counts)
    assert {len(blocks) for _, blocks in layers_of(name, Residual)} >= {1, 2, 3, 4, 5, 6, 7}


def test_residual_blocks_are_two_dense_convolutions_before_a_relu():
    for _, architecture in draws("residual", (1, 28, 28), 20_000):
        for block, after in zip(architecture.layers, architecture.layers[1:], strict=False):
            if isinstance(block, Residual):
                convs = [layer for layer in block.layers if isinstance(layer, Conv)]
                assert [conv.kernel_size for conv in convs] == [3, 3]
                assert isinstance(after, ReLU)


def test_separable_blocks_are_a_depthwise_convolution_of_the_size_asked_for_and_a_1x1():
    sizes = set()
    for params, blocks in layers_of("separable", Residual):
        wanted = [
            params[f"stage{stage}_kernel_size"]
            for stage in range(params["num_stages"])
            for _ in range(params[f"stage{stage}_num_blocks"])
        ]
        inner = [
            [layer for layer in b.layers if isinstance(layer, Conv | DepthwiseConv)] for b in blocks
        ]
        assert [depthwise.kernel_size for depthwise, _ in inner] == wanted
        assert all(isinstance(depthwise, DepthwiseConv) for depthwise, _ in inner)
        assert all(point.kernel_size == 1 for _, point in inner)
        sizes.update(wanted)
    assert sizes == {3, 5}


def test_tied_convolutions_are_used_as_often_as_asked_for():
    for params, tied in layers_of("tied", Tied):
        stages = range(params["num_stages"])
        assert [layer.times for layer in tied] == [params[f"stage{s}_times"] for s in stages]
    assert {layer.times for _, tied in layers_of("tied", Tied) for layer in tied} == {1, 2, 3, 4, 5}


def test_tied_networks_are_pooled_and_end_with_a_valid_convolution_where_asked_for():
    for params, layers in layers_of("tied", Conv | MaxPool):
        num_pools = sum(isinstance(layer, MaxPool) for layer in layers)
        asked = params.get("pooled_first", False) + params.get("num_last_pools", 0)
        assert num_pools == params["num_stages"] - 1 + asked
        valid = [layer for layer in layers if isinstance(layer, Conv) and layer.padding == "valid"]
        assert len(valid) == params.get("last_conv", False)
    draws_ = [params for params, _ in layers_of("tied", Conv)]
    assert {params.get("num_last_pools") for params in draws_} >= {0, 1, 2}
    assert {params.get("pooled_first") for params in draws_} >= {True, False}


def test_tied_convolutions_are_of_the_kind_that_was_asked_for():
    kinds = {"3x3": (3, False), "separable 3x3": (3, True), "separable 5x5": (5, True)}
    for params, layers in layers_of("tied", Tied):
        for stage, layer in enumerate(layers):
            asked = kinds[params[f"stage{stage}_tied"]]
            assert (layer.kernel_size, layer.separable) == asked


@each_space
def test_dropout_of_nothing_is_left_out(name):
    for params, dropouts in layers_of(name, Dropout):
        assert len(dropouts) == (params["num_stages"] if params["dropout"] else 0)
        assert all(layer.p == pytest.approx(params["dropout"]) for layer in dropouts)


@each_space
def test_ratios_say_how_wide_a_stage_is_beside_another(name):
    """Of all widths that the scale is applied to, up to the rounding of each."""
    for trial, architecture in draws(name, (1, 28, 28), 100_000):
        ratios = [v for n, v in trial.params.items() if n.endswith("_ratio")]
        widths = [layer.out_channels for layer in architecture.layers if isinstance(layer, Conv)]
        assert len(widths) == len(ratios)
        scale = max(widths) / max(ratios)
        for width, ratio in zip(widths, ratios, strict=True):
            assert abs(width - ratio * scale) <= 1 + ratio / max(ratios)
