"""What every file in search_spaces/ promises, and what `blocks` offers besides."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import optuna
import pytest
import torch

from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe
from nas.errors import InvalidCandidateError
from nas.layers import BatchNorm, Conv, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool
from nas.search_space import load_space
from nas.survey import DrawnTrial, draw
from nas.task import Task

PATHS = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.py"))
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


@pytest.fixture
def candidates(space, task):
    """Every one of 300 draws that can exist."""
    drawn = list(islice(draw(space, task, seed=0), 300))
    assert {type(d) for d in drawn} <= {Candidate, InvalidCandidateError}
    return [d for d in drawn if isinstance(d, Candidate)]


def test_there_are_spaces_to_test():
    assert {path.stem for path in PATHS} >= {"blocks", *LISTS}


# Every space


def test_file_says_what_it_is(space):
    docstring = ast.get_docstring(ast.parse(space.source))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 100


@of_ranges
def test_most_draws_can_exist(candidates):
    assert len(candidates) >= 250


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
def test_start_is_a_proposal_that_fits_and_uses_most_of_the_budget(space, task, budget):
    if space.start is None:
        pytest.skip("this space does not say where to begin")
    task = replace(task, max_params=budget)
    (first,) = space.first_proposals(task)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
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


def test_networks_are_built_with_the_parameters_that_were_counted(candidates, task):
    torch.manual_seed(0)
    for candidate in candidates[::60]:
        model = candidate.architecture.build().eval()
        counted = candidate.architecture.num_params
        assert sum(p.numel() for p in model.parameters()) == counted
        scores = model(torch.rand(2, *task.input_shape))
        assert scores.shape == (2, task.num_classes)
        assert scores.isfinite().all()


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
        for again in (optuna.trial.FixedTrial(trial.params), DrawnTrial(fixed=trial.params)):
            assert space.propose(again, task).fingerprint == candidate.fingerprint
    assert num_built >= (1 if space.name in LISTS else 20)


@pytest.mark.parametrize("max_params", [1, 1000, 10**9])
def test_any_budget_can_be_asked_for(space, max_params):
    for drawn in islice(draw(space, Task((1, 8, 8), 10, max_params), seed=0), 50):
        assert isinstance(drawn, Candidate | InvalidCandidateError)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 30), (4, 5, 3)])
def test_images_of_any_size_can_be_asked_for(space, shape):
    for drawn in islice(draw(space, Task(shape, 10, 20_000), seed=0), 50):
        assert isinstance(drawn, Candidate | InvalidCandidateError)


# blocks


@pytest.fixture(params=TASKS, ids=lambda task: f"{task.input_shape}-{task.num_classes}")
def networks(request):
    """The layers of 300 draws from `blocks`."""
    drawn = list(islice(draw(load_space("blocks"), request.param, seed=0), 300))
    assert [d for d in drawn if not isinstance(d, Candidate)] == []  # nothing is ever invalid
    return [candidate.architecture.layers for candidate in drawn]


def test_blocks_norm_every_convolution_but_that_of_the_head(networks):
    for layers in networks:
        body = layers[:-2] if isinstance(layers[-2], Conv) else layers
        followers = {type(after) for before, after in pairwise(body) if isinstance(before, Conv)}
        assert followers == {BatchNorm}
        assert not isinstance(body[-1], Conv)


def test_blocks_end_in_one_of_three_heads(networks):
    ends = {
        tuple(type(layer) for layer in layers[-3:])
        if isinstance(layers[-3], GlobalAvgPool)
        else tuple(type(layer) for layer in layers[-2:])
        for layers in networks
    }
    assert ends == {
        (GlobalAvgPool, Conv, Flatten),
        (GlobalAvgPool, Flatten, Linear),
        (Flatten, Linear),
    }


def test_blocks_offer_every_choice(networks):
    convs = [layer for layers in networks for layer in layers[:-2] if isinstance(layer, Conv)]
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
