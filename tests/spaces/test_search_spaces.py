"""What every file in search_spaces/ promises, and what `blocks` offers besides."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import random
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import optuna
import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.budget import Limits
from nas.candidates.candidate import Candidate
from nas.candidates.layers import BatchNorm, Conv, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool
from nas.candidates.recipe import Recipe
from nas.errors import InvalidCandidateError
from nas.spaces.draws import draw
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task

PATHS = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.py"))
LISTS = {"references"}  # a choice of given networks; the other spaces are ranges to search in
TASKS = [
    Task((1, 28, 28), 10, 20_000),
    Task((3, 32, 32), 10, 20_000, flips=True),
    Task((1, 8, 8), 10, 20_000),
    Task((1, 8, 8), 2, 20_000, epochs=3),
]


# For tests of what a mere list of networks does not promise.
of_ranges = pytest.mark.parametrize(
    "space",
    [path for path in PATHS if path.stem not in LISTS],
    indirect=True,
    ids=lambda path: path.stem,
)


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def space(request):
    return load_space(str(request.param))


@pytest.fixture(params=TASKS, ids=lambda task: f"{task.input_shape}-{task.num_classes}")
def task(request):
    return request.param


@functools.cache
def draws(path, task):
    """The first 50, from the space in that file."""
    return list(islice(draw(load_space(str(path)), task, seed=0), 50))


@pytest.fixture
def candidates(space, task):
    """Every one of 50 draws that can exist."""
    drawn = draws(space.path, task)
    assert {type(d) for d in drawn} <= {Candidate, InvalidCandidateError}
    return [d for d in drawn if isinstance(d, Candidate)]


def test_there_are_spaces_to_test():
    assert {path.stem for path in PATHS} >= {"blocks", *LISTS}


# Every space


# Of the fingerprints of 30 draws for 28x28 images: studies of such go on when the text has changed.
# A text that draws others is another space: `_BEFORE` in nas/spaces/loader.py must not name it.
DRAWN = {
    "blocks": "2ac866c18146035f", "residual": "5b2cc94633febf36",
    "separable": "68ec9df874ba2ae1",
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_draws_for_small_images_are_those_of_earlier_texts(name):
    space = load_space(name)
    drawn = islice(draw(space, TASKS[0], seed=0), 30)
    prints = "".join(d.fingerprint for d in drawn if isinstance(d, Candidate))
    assert hashlib.sha256(prints.encode()).hexdigest()[:16] == DRAWN[name]
    assert space.earlier_sha256((1, 28, 28)) is not None
    assert space.earlier_sha256((1, 48, 48)) is None


@of_ranges
def test_large_images_may_be_halved_by_the_first_convolution(space):
    def strides(shape):
        layers = (
            d.architecture.layers
            for d in islice(draw(space, Task(shape, 10, 20_000), seed=0), 12)
            if isinstance(d, Candidate)
        )
        return [tuple(x.stride for x in found if isinstance(x, Conv)) for found in layers]

    assert {first for first, *_ in strides((3, 48, 64))} == {1, 2}
    assert {rest for _, *others in strides((3, 48, 64)) for rest in others} <= {1}
    assert {stride for found in strides((3, 47, 64)) for stride in found} == {1}


def test_file_says_what_it_is(space):
    docstring = ast.get_docstring(ast.parse(space.source))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 100


@pytest.mark.slow
@of_ranges
def test_most_draws_can_exist(candidates):
    assert len(candidates) >= 40


@of_ranges
def test_draws_differ(candidates):
    assert len({candidate.fingerprint for candidate in candidates}) >= len(candidates) // 2


def test_candidates_fit_the_task(candidates, task):
    for candidate in candidates:
        assert candidate.architecture.input_shape == task.input_shape
        assert candidate.architecture.num_classes == task.num_classes
        assert candidate.recipe.epochs <= task.epochs
        assert task.flips or not candidate.recipe.flip


def test_some_draws_fit_the_budget_and_use_half_of_it(candidates, task):
    counts = [c.architecture.num_params for c in candidates]
    assert [n for n in counts if task.max_params / 2 <= n < task.max_params]


@of_ranges
@pytest.mark.parametrize("budget", [1_000, 2_000, 5_000, 20_000, 100_000])
def test_starts_are_proposals_that_fit_and_use_most_of_the_budget(space, task, budget):
    if space.start is None:
        pytest.skip("this space does not say where to begin")
    task = replace(task, max_params=budget)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for first in space.first_proposals(task):
        study.enqueue_trial(first)
        trial = study.ask()
        candidate = space.propose(trial, task)
        asked = {name: value for name, value in trial.params.items() if name in first}
        assert asked == {name: first[name] for name in asked}
        assert len(asked) >= len(first) - 4  # where the image is small, some questions fall away
        assert budget / 2 <= candidate.architecture.num_params < budget


def test_candidates_survive_json(candidates):
    for candidate in candidates:
        architecture = json.loads(json.dumps(candidate.architecture.to_json()))
        recipe = json.loads(json.dumps(candidate.recipe.to_json()))
        again = Candidate(Architecture.from_json(architecture), Recipe.from_json(recipe))
        assert again == candidate
        assert again.fingerprint == candidate.fingerprint


@pytest.mark.slow
def test_networks_are_built_with_the_parameters_that_were_counted(candidates, task):
    torch.manual_seed(0)
    for candidate in candidates[::10]:
        model = candidate.architecture.build().eval()
        counted = candidate.architecture.num_params
        assert sum(p.numel() for p in model.parameters()) == counted
        scores = model(torch.rand(2, *task.input_shape))
        assert scores.shape == (2, task.num_classes)
        assert scores.isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")  # such as Optuna's, of ranges that their steps do not divide
def test_optuna_proposes_from_it_and_its_parameters_say_it_all(space, task):
    """One study for all trials: Optuna refuses a parameter whose choices change."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    num_built = 0
    for _ in range(30):
        trial = study.ask()
        try:
            candidate = space.propose(trial, task)
        except InvalidCandidateError:
            continue
        num_built += 1
        for again in (optuna.trial.FixedTrial(trial.params), RandomTrial(fixed=trial.params)):
            assert space.propose(again, task).fingerprint == candidate.fingerprint
    assert num_built >= (1 if space.name in LISTS else 20)


@pytest.mark.parametrize("max_params", [1, 1000, 10**9])
def test_any_budget_can_be_asked_for(space, max_params):
    for drawn in islice(draw(space, Task((1, 8, 8), 10, max_params), seed=0), 15):
        assert isinstance(drawn, Candidate | InvalidCandidateError)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 30), (4, 5, 3)])
def test_images_of_any_size_can_be_asked_for(space, shape):
    for drawn in islice(draw(space, Task(shape, 10, 20_000), seed=0), 15):
        assert isinstance(drawn, Candidate | InvalidCandidateError)


# blocks


@pytest.fixture(params=TASKS, ids=lambda task: f"{task.input_shape}-{task.num_classes}")
def networks(request):
    """The layers of 50 draws from `blocks`."""
    drawn = draws(load_space("blocks").path, request.param)
    assert [d for d in drawn if not isinstance(d, Candidate)] == []  # nothing is ever invalid
    return [candidate.architecture.layers for candidate in drawn]


def test_blocks_norm_every_convolution(networks):
    for layers in networks:
        followers = {type(after) for before, after in pairwise(layers) if isinstance(before, Conv)}
        assert followers == {BatchNorm}


def test_blocks_end_in_one_of_two_heads(networks):
    ends = {tuple(type(layer) for layer in layers[-2:]) for layers in networks}
    assert ends == {(Flatten, Linear)}
    assert {isinstance(layers[-3], GlobalAvgPool) for layers in networks} == {True, False}
    assert all(GlobalAvgPool not in map(type, layers[:-3]) for layers in networks)


def test_blocks_offer_every_choice(networks):
    convs = [layer for layers in networks for layer in layers if isinstance(layer, Conv)]
    assert {(conv.kernel_size, conv.padding) for conv in convs} == {
        (1, "same"), (3, "same"), (3, "valid"), (5, "same"), (5, "valid"),
    }  # fmt: skip
    assert {any(isinstance(layer, Dropout) for layer in layers) for layers in networks} == {
        True,
        False,
    }
    assert {sum(isinstance(layer, MaxPool) for layer in layers) for layers in networks} >= {0, 1, 2}


def test_blocks_never_ask_for_dropout_of_nothing(networks):
    assert all(layer != Dropout(0) for layers in networks for layer in layers)


IMAGES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]
# Kind to the narrowest networks, and below what many of the widest cost.
LIMITS = [
    Limits(),
    Limits(max_macs=1_000_000),
    Limits(max_activation_bytes=16_384, bits=8),
    Limits(max_weight_bytes=60_000, max_macs=500_000, max_activation_bytes=50_000),
    Limits(max_flash=16_000, max_ram=16_000),
]


@pytest.fixture(scope="module")
def blocks():
    return load_space("blocks")


def drawn_with_shares(blocks, task, num, seed=3):
    """Candidates, each with the share of the budget that was drawn for it."""
    rng = random.Random(seed)
    for _ in range(num):
        trial = RandomTrial(rng)
        candidate = blocks.propose(trial, task)
        yield candidate, trial.params["share"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits", LIMITS, ids=["parameters", "macs", "activations", "all", "device"]
)
@pytest.mark.parametrize("budget", [1_000, 5_000, 20_000, 100_000])
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_blocks_propose_nothing_over_any_limit(blocks, shape, budget, limits):
    task = Task(shape, 10, budget, limits=limits)
    over = [
        candidate
        for candidate, _ in drawn_with_shares(blocks, task, 40)
        if not task.budget.fits(candidate.architecture)
    ]
    assert over == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "most", "nearly_always"),
    [(1_000, 0.35, 0.1), (5_000, 0.15, 0.04), (20_000, 0.1, 0.04), (100_000, 0.1, 0.02)],
)
@pytest.mark.parametrize("shape", IMAGES, ids=str)
def test_blocks_use_the_share_of_the_budget_that_was_drawn(
    blocks, shape, budget, most, nearly_always
):
    task = Task(shape, 10, budget)
    errors = sorted(
        abs(candidate.architecture.num_params / task.budget.most_params - share)
        for candidate, share in drawn_with_shares(blocks, task, 300)
    )
    assert errors[-1] < most
    assert errors[int(0.95 * len(errors))] < nearly_always


def test_blocks_draw_shares_from_more_than_half_to_all_of_the_budget(blocks):
    shares = [share for _, share in drawn_with_shares(blocks, TASKS[0], 200)]
    assert 0.6 <= min(shares) < 0.65
    assert 0.95 < max(shares) <= 1


@pytest.mark.parametrize("limits", LIMITS[1:], ids=["macs", "activations", "all", "device"])
def test_blocks_that_a_limit_binds_come_near_to_it(blocks, limits):
    task = Task((1, 28, 28), 10, 20_000, limits=limits)
    nearest = [
        max(task.budget.excess(candidate.architecture).values())
        for candidate, share in drawn_with_shares(blocks, task, 60)
        if share > 0.9
    ]
    assert all(excess > -0.5 for excess in nearest)  # of one channel more, the image is large
    assert sorted(nearest)[len(nearest) // 2] > -0.15


def test_blocks_are_as_wide_beside_each_other_as_their_ratios_say(blocks):
    rng = random.Random(4)
    for _ in range(50):
        trial = RandomTrial(rng)
        layers = blocks.propose(trial, TASKS[0]).architecture.layers
        widths = [layer.out_channels for layer in layers if isinstance(layer, Conv)]
        ratios = [value for name, value in trial.params.items() if name.endswith("_ratio")]
        assert len(widths) == len(ratios)
        scale = max(widths) / max(ratios)
        for width, ratio in zip(widths, ratios, strict=True):
            assert abs(width - ratio * scale) <= 1 + ratio / max(ratios)


# `RandomTrial()` takes the first of all choices: two blocks of one convolution of 3x3, whose
# padding is 'same', and 'pool-conv' between them.


def asked(blocks, task, **fixed):
    """The parameters that were asked for."""
    trial = RandomTrial(fixed=fixed)
    blocks.propose(trial, task)
    return trial.params.keys()


@pytest.mark.parametrize(("num_classes", "enough"), [(10, 320), (3, 96)])
def test_blocks_offer_a_head_without_pooling_where_four_channels_of_it_take_half_of_the_budget(
    blocks, num_classes, enough
):
    """The image that is left has 2x2 pixels."""
    for shape in ((1, 2, 2), (3, 4, 5)):
        assert "head" in asked(blocks, Task(shape, num_classes, enough))
        assert "head" not in asked(blocks, Task(shape, num_classes, enough - 1))


@pytest.mark.parametrize("shape", [(1, 4, 9), (1, 9, 4)])
def test_blocks_halve_images_of_four_pixels_or_more(blocks, shape):
    task = Task(shape, 10, 20_000)
    assert {"transition0", "transition0_ratio"} <= asked(blocks, task)
    assert "transition0" not in asked(blocks, Task((1, 3, 9), 10, 20_000))
    # After 'valid' two are left.
    assert "transition0" not in asked(blocks, task, block0_padding="valid")
    assert "transition0_ratio" not in asked(blocks, task, transition0="pool")


@pytest.mark.parametrize(
    ("side", "fixed", "is_offered"),
    [
        (4, {}, True),
        (3, {}, False),
        (6, {"block0_kernel_size": 5}, True),
        (5, {"block0_kernel_size": 5}, False),
        (8, {"block0_num_convs": 3}, True),
        (7, {"block0_num_convs": 3}, False),
    ],
)
def test_blocks_offer_valid_where_it_leaves_two_pixels(blocks, side, fixed, is_offered):
    for shape in ((1, side, 20), (1, 20, side)):
        task = Task(shape, 10, 20_000)
        assert ("block0_padding" in asked(blocks, task, **fixed)) == is_offered


def test_blocks_without_pooling_are_drawn_only_where_that_head_is_small(blocks):
    task = Task((1, 28, 28), 10, 1_000)
    for candidate, _ in drawn_with_shares(blocks, task, 200):
        rows = candidate.architecture.rows
        if not any(isinstance(row.layer, GlobalAvgPool) for row in rows):
            _, height, width = rows[-2].in_shape
            assert 4 * height * width * 10 <= 500
