"""The usual questions about training, and good answers to them."""

from __future__ import annotations

import random
from dataclasses import replace

import optuna
import pytest

from nas.candidates.recipe import Recipe
from nas.spaces.random_trial import RandomTrial
from nas.spaces.recipes import GOOD_RECIPE, suggest_recipe
from nas.spaces.task import Task

TASK = Task((1, 8, 8), 10, 20_000, epochs=7)


def drawn(num=200, task=TASK):
    rng = random.Random(0)
    return [suggest_recipe(RandomTrial(rng), task) for _ in range(num)]


def test_recipe_trains_for_the_epochs_of_the_task():
    assert {recipe.epochs for recipe in drawn()} == {7}


@pytest.mark.parametrize("flips", [True, False])
def test_images_are_mirrored_exactly_where_the_task_says_so(flips):
    assert {r.flip for r in drawn(20, replace(TASK, flips=flips))} == {flips}


def test_every_choice_is_offered():
    recipes = drawn()
    assert {r.optimizer for r in recipes} == {"sgd", "adamw"}
    assert {r.schedule for r in recipes} == {"one-cycle", "cosine"}
    assert {r.batch_size for r in recipes} == {64, 128}
    assert sorted({round(r.augmentation, 9) for r in recipes}) == [i / 10 for i in range(11)]


@pytest.mark.parametrize(
    ("optimizer", "low", "high", "weight_decay"),
    [("sgd", 0.03, 0.3, 5e-4), ("adamw", 0.002, 0.02, 1e-2)],
)
def test_each_optimiser_has_rates_and_a_weight_decay_of_its_own(optimizer, low, high, weight_decay):
    recipes = [r for r in drawn() if r.optimizer == optimizer]
    rates = sorted(r.learning_rate for r in recipes)
    assert low <= rates[0] < 1.2 * low
    assert high / 1.2 < rates[-1] <= high
    middle = (low * high) ** 0.5  # on a log scale
    assert middle / 1.4 < rates[len(rates) // 2] < 1.4 * middle
    assert {r.weight_decay for r in recipes} == {weight_decay}


def test_nothing_is_asked_of_the_other_optimiser():
    for optimizer, other in (("sgd", "adamw"), ("adamw", "sgd")):
        trial = RandomTrial(fixed={"optimizer": optimizer})
        suggest_recipe(trial, TASK)
        assert f"{optimizer}_learning_rate" in trial.params
        assert f"{other}_learning_rate" not in trial.params


def test_good_recipe_answers_every_question():
    trial = RandomTrial(fixed=GOOD_RECIPE)
    recipe = suggest_recipe(trial, TASK)
    assert trial.params == GOOD_RECIPE
    assert recipe == Recipe(
        optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, schedule="one-cycle",
        batch_size=64, augmentation=0.5, epochs=7,
    )  # fmt: skip


def test_good_recipe_can_be_enqueued():
    study = optuna.create_study()
    study.enqueue_trial(GOOD_RECIPE)
    trial = study.ask()
    suggest_recipe(trial, TASK)
    assert trial.params == GOOD_RECIPE
