"""What `blocks` proposes near networks from elsewhere, and near its own."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import optuna
import pytest

from nas.architecture import Architecture
from nas.budget import Limits
from nas.candidate import Candidate, Recipe
from nas.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
)
from nas.search_space import load_space
from nas.survey import DrawnTrial, draw
from nas.task import Task

PATHS = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.py"))
MNIST = Task((1, 28, 28), 10, 20_000)
TASKS = [
    MNIST,
    Task((3, 32, 32), 10, 20_000, flips=True),
    Task((1, 8, 8), 2, 20_000, epochs=3),
    Task((1, 3, 5), 10, 20_000),
]
BUDGETS = [1_000, 5_000, 20_000, 100_000]
REFERENCES = ["three-blocks", "slim", "two-blocks", "one-cycle", "wide-stem"]


@pytest.fixture(scope="module")
def blocks():
    return load_space("blocks")


@pytest.fixture(params=TASKS, ids=lambda task: f"{task.input_shape}-{task.num_classes}")
def task(request):
    return request.param


@pytest.fixture
def propose_near(blocks):
    """What blocks makes of the nearest parameters: all are in range, and none is missing."""

    def propose(candidate, task):
        params = blocks.params_near(candidate, task)
        trial = DrawnTrial(random.Random(0), fixed=params)
        near = blocks.propose(trial, task)
        assert trial.params.keys() <= params.keys()
        return near

    return propose


def reference(name, task=MNIST):
    return load_space("references").propose(DrawnTrial(fixed={"reference": name}), task)


def candidate(layers, recipe=None, shape=(1, 28, 28)):
    return Candidate(Architecture(shape, layers), recipe or Recipe())


def large_convs(candidate):
    """(channels, kernel size) of each convolution that is not 1x1."""
    convs = [layer for layer in candidate.architecture.layers if isinstance(layer, Conv)]
    return [(conv.out_channels, conv.kernel_size) for conv in convs if conv.kernel_size > 1]


def widths(candidate):
    """Channels of each convolution, in order."""
    layers = candidate.architecture.layers
    return [layer.out_channels for layer in layers if isinstance(layer, Conv)]


def paddings(candidate):
    layers = candidate.architecture.layers
    return [c.padding for c in layers if isinstance(c, Conv) and c.kernel_size > 1]


# The five references


@pytest.mark.parametrize("name", REFERENCES)
def test_convolutions_of_a_reference_come_out_almost_as_they_were(propose_near, name):
    num_params = reference(name).architecture.num_params
    near = propose_near(reference(name), Task((1, 28, 28), 10, round(1.25 * num_params)))
    for (channels, size), (own_channels, own_size) in zip(
        large_convs(near), large_convs(reference(name)), strict=True
    ):
        assert size == own_size
        # As many parameters are to be used, and what blocks cannot say leaves some to others.
        assert abs(channels - own_channels) <= max(1, 0.1 * own_channels)
    # slim alone mixes paddings in a block, which blocks cannot say.
    assert name == "slim" or paddings(near) == paddings(reference(name))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        (
            "three-blocks",
            {"num_blocks": 3, "transition0": "pool-conv", "transition0_ratio": 8 / 32,
             "transition1": "pool-conv", "transition1_ratio": 8 / 32, "head": "pool",
             "block0_conv0_ratio": 8 / 32, "block0_conv1_ratio": 16 / 32,
             "block0_conv2_ratio": 1.0, "share": 18_520 / 19_999, "dropout": 0.01,
             "optimizer": "sgd", "sgd_learning_rate": 0.03, "schedule": "cosine",
             "batch_size": 128, "augmentation": 0.0},
        ),
        (
            "slim",
            {"num_blocks": 3, "transition0": "pool", "transition1": "pool", "head": "pool",
             "dropout": 0.0, "block1_padding": "same", "share": 0.6,
             "block1_conv0_ratio": 12 / 20, "block2_conv0_ratio": 1.0},
        ),
        (
            "two-blocks",
            {"num_blocks": 2, "transition0": "pool-conv", "transition0_ratio": 10 / 24,
             "head": "pool", "dropout": 0.05, "optimizer": "adamw",
             "adamw_learning_rate": 0.003, "batch_size": 128},
        ),
        (
            "one-cycle",
            {"num_blocks": 2, "transition0": "pool-conv", "transition0_ratio": 8 / 18,
             "head": "pool", "dropout": 0.03, "schedule": "one-cycle", "batch_size": 64,
             "augmentation": 1.0},
        ),
        (
            "wide-stem",
            {"num_blocks": 2, "transition0": "pool-conv", "transition0_ratio": 8 / 32,
             "block0_kernel_size": 3, "block1_kernel_size": 5, "head": "pool",
             "dropout": 0.1},
        ),
    ],
)  # fmt: skip
def test_rest_of_a_reference_comes_as_near_as_blocks_can_say(blocks, name, params):
    near = blocks.params_near(reference(name), MNIST)
    assert {param: near[param] for param in params} == params


@pytest.mark.parametrize("name", REFERENCES)
def test_what_is_near_a_reference_is_about_as_large_and_fits_as_well(propose_near, name):
    num_params = reference(name).architecture.num_params
    near = propose_near(reference(name), MNIST).architecture.num_params
    assert 0.8 < near / max(num_params, 0.6 * MNIST.max_params) < 1.1
    assert near < MNIST.max_params


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", REFERENCES)
def test_shape_of_a_reference_is_kept_at_any_budget(propose_near, name, budget):
    task = replace(MNIST, max_params=budget)
    near, own = propose_near(reference(name), task), reference(name)
    convs, own_convs = large_convs(near), large_convs(own)
    assert [size for _, size in convs] == [size for _, size in own_convs]
    scale = max(convs)[0] / max(own_convs)[0]
    for (channels, _), (own_channels, _) in zip(convs, own_convs, strict=True):
        assert abs(channels - own_channels * scale) <= 2
    # No larger than it was or than fits, nor smaller than the least share.
    num_params = min(own.architecture.num_params, budget - 1)
    wanted = max(num_params, 0.6 * budget)
    assert near.architecture.num_params == pytest.approx(wanted, rel=0.06)
    assert near.architecture.num_params < budget


@pytest.mark.filterwarnings("error")  # such as Optuna's, of a value out of range
@pytest.mark.parametrize("budget", BUDGETS)
def test_optuna_proposes_what_is_near_the_references(blocks, propose_near, budget):
    task = replace(MNIST, max_params=budget)
    study = optuna.create_study()
    for name in REFERENCES:
        study.enqueue_trial(blocks.params_near(reference(name), task))
        near = propose_near(reference(name), task)
        assert blocks.propose(study.ask(), task).fingerprint == near.fingerprint


# Its own networks


@pytest.mark.parametrize("budget", BUDGETS)
def test_nearest_to_a_network_of_blocks_is_nearly_always_that_network(
    blocks, propose_near, task, budget
):
    task = replace(task, max_params=budget)
    num_others = 0
    for drawn in islice(draw(blocks, task, seed=1), 150):
        near = propose_near(drawn, task)
        if near.architecture.fingerprint != drawn.architecture.fingerprint:
            # In whole channels a layer, or all of it, came out below the least that can be said.
            is_narrow = min(widths(drawn)) < 0.1 * max(widths(drawn))
            assert is_narrow or drawn.architecture.num_params < 0.6 * task.budget.most_params
            num_others += 1
        # A draw adds up steps of 0.1, and 3 * 0.1 is not 0.3.
        augmentation = round(drawn.recipe.augmentation, 1)
        assert near.recipe == replace(drawn.recipe, augmentation=augmentation)
    assert num_others <= 3


@pytest.mark.parametrize(
    "limits",
    [Limits(max_macs=2_000_000), Limits(max_activation_bytes=20_000, bits=16)],
    ids=["macs", "activations"],
)
def test_nearest_to_a_network_under_other_limits_is_that_network_unless_it_is_too_small(
    blocks, propose_near, limits
):
    task = replace(MNIST, limits=limits)
    num_same = num_limited = 0
    for drawn in islice(draw(blocks, task, seed=1), 150):
        if drawn.architecture.num_params < 0.6 * 20_000:
            num_limited += 1
            continue
        near = propose_near(drawn, task)
        num_same += near.architecture.fingerprint == drawn.architecture.fingerprint
    assert num_limited > 10
    assert num_same >= 0.97 * (150 - num_limited)


@pytest.mark.parametrize("budget", BUDGETS)
def test_nearest_to_where_blocks_begins_is_that(blocks, task, budget):
    task = replace(task, max_params=budget)
    (params,) = blocks.first_proposals(task)
    first = blocks.propose(DrawnTrial(fixed=params), task)
    again = blocks.propose(DrawnTrial(fixed=blocks.params_near(first, task)), task)
    assert again.fingerprint == first.fingerprint


# Any others


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_there_is_a_nearest_to_any_draw_for_other_images_and_budgets(propose_near, path, task):
    space = load_space(str(path))
    for source in TASKS:
        drawn = islice(draw(space, source, seed=2), 15)
        for other in (d for d in drawn if isinstance(d, Candidate)):
            for budget in BUDGETS:
                propose_near(other, replace(task, max_params=budget))


CONV, LARGE, VALID, NARROW = Conv(6), Conv(6, 5), Conv(6, 3, "valid"), Conv(4, 1)
FLAT, POOLED = (Flatten(), Linear(10)), (GlobalAvgPool(), Flatten(), Linear(10))


@pytest.mark.parametrize(
    "layers",
    [
        [Flatten(), Linear(10)],
        [Flatten(), Linear(5), ReLU(), Linear(10), Dropout(0.9)],
        [MaxPool(), *FLAT],
        [Conv(10), GlobalAvgPool(), Flatten()],
        [Conv(10_000, 1), *POOLED],
        [NARROW, NARROW, NARROW, *POOLED],
        [NARROW, MaxPool(), NARROW, MaxPool(), NARROW, AvgPool(), NARROW, MaxPool(), *FLAT],
        [CONV] * 12 + [*POOLED],
        [CONV, LARGE] * 6 + [*FLAT],
        [CONV, VALID, LARGE, MaxPool(), VALID, CONV, MaxPool(), LARGE, CONV, *POOLED],
        [CONV, CONV, MaxPool()] * 4 + [CONV, *FLAT],
        [VALID] * 13 + [*FLAT],
        [Conv(5, 28, "valid"), *FLAT],
        [Conv(5, 2, "valid"), Conv(5, 4, "valid"), Conv(5, 7), *POOLED],
        [MaxPool(), MaxPool(3), CONV, GlobalAvgPool(), CONV, *FLAT],
        [NARROW, CONV, NARROW, CONV, *POOLED],
        [Dropout(0.99), ReLU(), BatchNorm(), CONV, Dropout(0.5), *FLAT],
    ],
    ids=["linear", "hidden", "pooled linear", "one", "wide", "1x1", "pooled 1x1", "deep",
         "alternating", "mixed", "five parts", "valid", "whole", "even", "pools first",
         "bottleneck", "noise"],
)  # fmt: skip
def test_there_is_a_nearest_to_any_network(propose_near, task, layers):
    for budget in BUDGETS:
        propose_near(candidate(layers), replace(task, max_params=budget))


@pytest.mark.parametrize(
    ("layers", "params"),
    [
        ([CONV, MaxPool(), CONV, *POOLED], {"transition0": "pool"}),
        ([CONV, AvgPool(), CONV, *POOLED], {"transition0": "pool"}),
        ([CONV, LARGE, *POOLED], {"transition0": "none", "block1_kernel_size": 5}),
        ([CONV, MaxPool(), NARROW, CONV, *POOLED],
         {"transition0": "pool-conv", "transition0_ratio": 4 / 6, "block1_conv0_ratio": 1.0}),
        ([CONV, NARROW, MaxPool(), CONV, *POOLED],
         {"transition0": "pool-conv", "transition0_ratio": 4 / 6}),
        ([CONV, MaxPool(), Conv(60, 1), CONV, *POOLED],
         {"transition0_ratio": 1.0, "block0_conv0_ratio": 0.1, "block1_conv0_ratio": 0.1}),
        ([CONV, MaxPool(), Conv(1, 1), Conv(20), *POOLED],
         {"transition0_ratio": 0.1, "block0_conv0_ratio": 6 / 20, "block1_conv0_ratio": 1.0}),
        # What stands before the first block is left out.
        ([Conv(60, 1), CONV, MaxPool(), Conv(12), *POOLED],
         {"block0_conv0_ratio": 0.5, "block1_conv0_ratio": 1.0}),
        ([CONV, MaxPool(), CONV, *POOLED], {"share": 0.6}),
        ([CONV, MaxPool(), Conv(500), *POOLED], {"share": 1.0}),
        ([Conv(20), MaxPool(), Conv(80), *POOLED],
         {"share": (9 * 20 + 9 * 20 * 80 + 810) / 19_999}),
        ([CONV, NARROW, CONV, *POOLED], {"transition0": "none"}),
        ([CONV, CONV, CONV, CONV, *POOLED],
         {"num_blocks": 2, "block0_num_convs": 3, "block1_num_convs": 1, "transition0": "none"}),
        ([CONV, MaxPool(), LARGE, MaxPool(), *FLAT], {"head": "pool"}),
        ([CONV, MaxPool(), LARGE, *FLAT], {"head": "flatten"}),
        ([CONV, MaxPool()] * 4 + [CONV, *FLAT], {"num_blocks": 3, "head": "pool"}),
        ([NARROW, MaxPool(), Conv(8, 1), *POOLED],
         {"block0_conv0_ratio": 0.5, "block1_conv0_ratio": 1.0, "transition0": "pool"}),
        ([CONV, MaxPool(), Conv(10), GlobalAvgPool(), Flatten()], {"head": "pool"}),
        ([CONV, MaxPool(), LARGE, Conv(10, 14, "valid"), Flatten()], {"head": "pool"}),
        ([CONV, Dropout(0.02), VALID, Dropout(0.06), *POOLED],
         {"dropout": 0.04, "block0_padding": "same", "block1_padding": "valid"}),
        ([CONV, Dropout(0.5), VALID, *POOLED], {"dropout": 0.1}),
    ],
)  # fmt: skip
def test_parts_of_a_network_become_what_blocks_calls_them(blocks, layers, params):
    near = blocks.params_near(candidate(layers), MNIST)
    assert {name: near[name] for name in params} == params


@pytest.mark.parametrize(
    ("recipe", "params"),
    [
        (Recipe(optimizer="adam", learning_rate=1.0), {"optimizer": "adamw",
                                                       "adamw_learning_rate": 2e-2}),
        (Recipe(optimizer="adamw", learning_rate=1e-6), {"adamw_learning_rate": 2e-3}),
        (Recipe(learning_rate=50.0), {"optimizer": "sgd", "sgd_learning_rate": 0.3}),
        (Recipe(learning_rate=0.0471), {"sgd_learning_rate": 0.0471}),
        (Recipe(schedule="exponential"), {"schedule": "cosine"}),
        (Recipe(batch_size=2, augmentation=3.9), {"batch_size": 64, "augmentation": 1.0}),
        (Recipe(batch_size=4096, augmentation=0.44), {"batch_size": 128, "augmentation": 0.4}),
    ],
)  # fmt: skip
def test_recipe_becomes_the_nearest_that_blocks_offers(blocks, propose_near, recipe, params):
    other = candidate([CONV, CONV, *POOLED], recipe)
    propose_near(other, MNIST)
    near = blocks.params_near(other, MNIST)
    assert {name: near[name] for name in params} == params
