"""Five published networks: `search_spaces/references.py` against what their makers say of them."""

from __future__ import annotations

import itertools

import optuna
import pytest
import torch

from nas.candidates.candidate import Candidate
from nas.candidates.layers import (
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
from nas.errors import InvalidCandidateError
from nas.searching.config import SearchConfig
from nas.spaces.draws import check_start
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task
from nas.storage.reasons import Reason
from nas.storage.trials import read_trials
from tests.fakes import FakePool, search_in

TASK = Task((1, 28, 28), 10, 20_000)

# The published tables: parameters of each convolution or linear layer, then of its batch norm.
COUNTS = {
    "three-blocks": [
        72, 16, 1152, 32, 4608, 64, 256, 16, 1152, 32, 4608, 64, 256, 16, 1152, 32, 4608, 64, 320,
    ],
    "slim": [40, 8, 148, 8, 296, 16, 876, 24, 1308, 24, 1744, 32, 2900, 40, 1810],
    "two-blocks": [
        160, 32, 2900, 40, 4344, 48, 250, 20, 1456, 32, 2900, 40, 4344, 48, 400, 32, 170,
    ],
    "one-cycle": [72, 16, 1152, 32, 128, 720, 20, 1440, 32, 2592, 36, 288, 32, 160],
    "wide-stem": [320, 64, 9248, 64, 264, 16, 6432, 64, 528, 32, 2570],
}  # fmt: skip
TOTALS = {
    "three-blocks": 18_520,
    "slim": 9_274,
    "two-blocks": 17_216,
    "one-cycle": 6_720,
    "wide-stem": 19_602,
}
NAMES = list(TOTALS)
# 1, 3, 5: convolutions of that size; Relu, Norm, Dropout, max Pool, Average pool, Flatten, Linear
ORDERS = {
    "three-blocks": "3RN 3RN 3RN P 1RN D 3RN 3RN P 1RN D 3RN 3RN P 1 A F",
    "slim": "3RN 3RN 3RN P 3RN 3RN 3RN P 3RN 3 A F",
    "two-blocks": "3RND 3RND 3RN P 1RN 3RND 3RND 3RND 1RN A F L",
    "one-cycle": "3RND 3RND P 1 3RND 3RND 3RND A 1RND 1 F",
    "wide-stem": "3N 3N P R D 1N 5N P R D 1N F L",
}
LETTERS = {
    ReLU: "R", BatchNorm: "N", Dropout: "D", MaxPool: "P", AvgPool: "A", GlobalAvgPool: "A",
    Flatten: "F", Linear: "L",
}  # fmt: skip


@pytest.fixture(scope="module")
def space():
    return load_space("references")


@pytest.fixture
def make(space):
    """Makes the candidate of a name, as the space itself says it."""

    def make_candidate(name, task=TASK):
        return space.suggest(RandomTrial(fixed={"reference": name}), task)

    return make_candidate


def test_there_are_five_and_all_are_where_a_search_begins(space):
    assert space.first_proposals(TASK) == [{"reference": name} for name in NAMES]
    check_start(space, TASK)


# Networks


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_published_layer_by_layer(make, name):
    architecture = make(name).architecture
    assert [row.num_params for row in architecture.rows if row.num_params] == COUNTS[name]
    assert architecture.num_params == TOTALS[name]


@pytest.mark.parametrize("name", NAMES)
def test_torch_builds_the_published_parameters_layer_by_layer(make, name):
    model = make(name).architecture.build()
    counts = [sum(p.numel() for p in module.parameters()) for module in model]
    assert [count for count in counts if count] == COUNTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_score_for_each_class_comes_out(make, name):
    model = make(name).architecture.build().eval()
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", NAMES)
def test_layers_stand_in_the_published_order(make, name):
    letters = [
        str(layer.kernel_size) if isinstance(layer, Conv) else LETTERS[type(layer)]
        for layer in make(name).architecture.layers
    ]
    assert "".join(letters) == ORDERS[name].replace(" ", "")


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("three-blocks", [28, 14, 7, 3, 1]),
        ("slim", [28, 14, 12, 6, 4, 1]),
        ("two-blocks", [28, 26, 24, 22, 11, 9, 7, 5, 1]),
        ("one-cycle", [28, 26, 24, 12, 10, 8, 6, 1]),
        ("wide-stem", [28, 26, 24, 12, 8, 4]),
    ],
)
def test_images_shrink_as_published(make, name, sides):
    shapes = [row.in_shape for row in make(name).architecture.rows]
    images = [shape[1] for shape in shapes if len(shape) == 3]
    assert [side for side, _ in itertools.groupby(images)] == sides


@pytest.mark.parametrize(
    ("name", "has_bias", "dropout"),
    [
        ("three-blocks", False, {0.01}),
        ("slim", True, set()),
        ("two-blocks", True, {0.05}),
        ("one-cycle", False, {0.03}),
        ("wide-stem", True, {0.1}),
    ],
)
def test_biases_and_dropout_are_as_published(make, name, has_bias, dropout):
    layers = make(name).architecture.layers
    assert {layer.bias for layer in layers if isinstance(layer, Conv)} == {has_bias}
    assert {layer.p for layer in layers if isinstance(layer, Dropout)} == dropout


@pytest.mark.parametrize("name", NAMES)
def test_docstring_tells_the_true_count(space, name):
    function = space.suggest.__globals__["REFERENCES"][name]
    assert function.__doc__.startswith(f"{TOTALS[name]:,} parameters, ")


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 40, 40), (1, 29, 64)])
@pytest.mark.parametrize("name", NAMES)
def test_all_can_be_built_for_larger_images(space, name, shape):
    trial = RandomTrial(fixed={"reference": name})
    assert space.propose(trial, Task(shape, 7, 20_000)).architecture.num_classes == 7


@pytest.mark.parametrize("name", NAMES[1:])
def test_all_but_one_cannot_be_built_for_digits(space, name):
    digits = Task((1, 8, 8), 10, 20_000)
    assert isinstance(space.propose(RandomTrial(fixed={"reference": NAMES[0]}), digits), Candidate)
    with pytest.raises(InvalidCandidateError, match="does not fit"):
        space.propose(RandomTrial(fixed={"reference": name}), digits)


# Recipes


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("three-blocks", {"learning_rate": 0.01, "schedule": "multi-step", "batch_size": 128}),
        ("slim", {"optimizer": "adam", "schedule": "multi-step", "batch_size": 128,
                  "augmentation": 0.5}),
        (
            "two-blocks",
            {"optimizer": "adam", "learning_rate": 0.003, "schedule": "exponential",
             "gamma": 0.85, "batch_size": 128},
        ),
        (
            "one-cycle",
            {"optimizer": "sgd", "momentum": 0.7, "nesterov": False, "schedule": "one-cycle",
             "learning_rate": 0.015, "batch_size": 64, "epochs": 15, "augmentation": 1.0,
             "rotation": 7.0, "shift": 0.1, "shear": 10.0, "scale": 0.2, "brightness": 0.4,
             "contrast": 0.4},
        ),
        ("wide-stem", {}),
    ],
)  # fmt: skip
def test_recipe_is_the_published_one_or_what_was_chosen_in_its_place(make, name, recipe):
    own = make(name).recipe.to_json()
    plain = {"epochs": 19, "augmentation": 0.0, "weight_decay": 0.0, "flip": False}
    expected = plain | recipe
    assert {field: own[field] for field in expected} == expected


@pytest.mark.parametrize("name", ["three-blocks", "slim"])
def test_multi_step_rate_ends_at_a_hundredth_of_its_beginning(make, name):
    recipe = make(name).recipe
    assert recipe.learning_rate * recipe.gamma ** len(recipe.milestones) == pytest.approx(0.0001)


@pytest.mark.parametrize("epochs", [1, 2, 3, 14, 16, 19])
@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_goes_on_beyond_the_epochs_of_the_task(make, name, epochs):
    recipe = make(name, Task((1, 28, 28), 10, 20_000, epochs)).recipe
    assert recipe.epochs == min(epochs, 15 if name == "one-cycle" else 19)
    assert all(1 <= milestone < epochs for milestone in recipe.milestones)


# A search among them


@pytest.fixture
def pool():
    return FakePool()


@pytest.fixture
def make_search(space, tiny_data, tmp_path, pool):
    """Makes a search in one study. The images are never looked at."""
    study = optuna.create_study(direction="maximize")

    def make(budget=20_000, shape=(1, 28, 28), **settings):
        return search_in(
            study, space, Task(shape, 10, budget), tiny_data,
            SearchConfig(budget=1, **{"trials": 5, "pruner": "none", "max_rejected": 8} | settings),
            pool, tmp_path,
        )  # fmt: skip

    return make


def test_search_trains_each_once_and_first(make_search, pool):
    ended = make_search().run()
    assert pool.trained == list(TOTALS.values())
    assert ended.counts == {"trained": 5}


def test_search_that_wants_more_finds_only_duplicates(make_search, pool):
    make_search(trials=3).run()
    ended = make_search(trials=50).run()
    assert pool.trained == list(TOTALS.values())
    assert ended.counts == {"trained": 5, "duplicate": 8}
    assert "8 proposals in a row were turned away" in ended.why


def test_smaller_budget_turns_away_what_does_not_fit(make_search, pool):
    search = make_search(budget=10_000)
    ended = search.run()
    assert pool.trained == [TOTALS["slim"], TOTALS["one-cycle"]]
    rejected = [r for r in read_trials(search.ledger.study) if r.reason == Reason.OVER_BUDGET]
    assert [r.params["reference"] for r in rejected[:3]] == [
        "three-blocks", "two-blocks", "wide-stem",
    ]  # fmt: skip
    assert [r.num_params for r in rejected[:3]] == [18_520, 17_216, 19_602]
    assert ended.counts["trained"] == 2


def test_search_on_small_images_trains_what_can_be_built(make_search, space, pool):
    check_start(space, Task((1, 8, 8), 10, 20_000))
    search = make_search(shape=(1, 8, 8))
    ended = search.run()
    assert pool.trained == [TOTALS["three-blocks"]]
    assert [r.reason for r in read_trials(search.ledger.study)[:5]] == [None] + [Reason.INVALID] * 4
    assert ended.best_trial == 0
