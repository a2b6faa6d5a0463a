"""A recipe, whose values are all in range."""

import json
import math
from dataclasses import fields

import pytest

from nas.candidates.recipe import MAX_EPOCHS, Recipe
from nas.errors import InvalidCandidateError

NO_NUMBERS = [math.nan, math.inf, -math.inf, True, False, "0.1", None, [0.1]]

# For each field: values at the edges of what is allowed, and values just outside.
RANGES = {
    "optimizer": (["sgd", "adam", "adamw"], ["lion", "SGD", "", None, 1, []]),
    "schedule": (
        ["one-cycle", "cosine", "multi-step", "exponential"],
        ["one_cycle", "constant", "", None, 0, []],
    ),
    "learning_rate": ([1e-9, 1, 99.9], [0, 0.0, -0.1, 100, 10**400, *NO_NUMBERS]),
    "momentum": ([0, 0.0, 0.999], [-0.1, 1, 1.0, *NO_NUMBERS]),
    "weight_decay": ([0, 0.0, 0.999], [-1e-9, 1, *NO_NUMBERS]),
    "warmup": ([0, 0.5, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "augmentation": ([0, 1, 3.99], [-0.1, 4, *NO_NUMBERS]),
    "label_smoothing": ([0, 0.1, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "batch_size": ([2, 10**6], [1, 0, -1, 2.0, 64.5, *NO_NUMBERS]),
    "epochs": ([1, 19, 100], [0, -1, 1.0, 2.5, *NO_NUMBERS]),
    "milestones": ([(), (1,), (3, 9)], [(0,), (3, 3), (9, 3), (2.0,), (True,), 3, "12", None]),
    "gamma": ([0, 0.85, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "rotation": ([0, 7, 179], [-1, 180, *NO_NUMBERS]),
    "shear": ([0, 10, 44.9], [-1, 45, *NO_NUMBERS]),
    "scale": ([0, 0.2, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "shift": ([0, 0.1, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "brightness": ([0, 0.4, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "contrast": ([0, 0.4, 0.999], [-0.1, 1, *NO_NUMBERS]),
    "nesterov": ([True, False], [0, 1, "yes", None, 1.0]),
    "flip": ([True, False], [0, 1, "yes", None, 1.0]),
}


def test_table_covers_every_field_of_a_recipe():
    assert RANGES.keys() == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (good, _) in RANGES.items() for value in good]
)
def test_value_in_range_is_accepted(name, value):
    assert getattr(Recipe(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}-{repr(value)[:12]}")
        for name, (_, bad) in RANGES.items()
        for value in bad
    ],
)
def test_value_out_of_range_is_an_error_that_names_the_field(name, value):
    with pytest.raises(InvalidCandidateError, match=f"^recipe: {name} must be .* was "):
        Recipe(**{name: value})


def test_default_recipe_trains_for_fewer_than_20_epochs():
    assert Recipe().epochs == MAX_EPOCHS == 19


OTHER = Recipe(
    optimizer="adamw",
    learning_rate=0.003,
    momentum=0.8,
    weight_decay=0.01,
    nesterov=False,
    schedule="multi-step",
    milestones=(3, 5),
    gamma=0.2,
    warmup=0.1,
    rotation=7.0,
    scale=0.2,
    shear=10.0,
    shift=0.1,
    brightness=0.4,
    contrast=0.3,
    batch_size=64,
    epochs=7,
    augmentation=0.5,
    flip=True,
    label_smoothing=0.1,
)


@pytest.mark.parametrize("recipe", [Recipe(), OTHER], ids=["default", "other"])
def test_json_text_gives_the_recipe_back(recipe):
    data = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(data) == recipe
    assert data.keys() == RANGES.keys()


@pytest.mark.parametrize(
    "data",
    [
        None,
        3,
        "sgd",
        ["sgd"],
        {"optimiser": "sgd"},
        Recipe().to_json() | {"dampening": 0.1},
        {"learning_rate": "0.1"},
        {"epochs": 0},
    ],
    ids=repr,
)
def test_json_of_no_recipe_is_rejected(data):
    with pytest.raises(InvalidCandidateError, match="recipe"):
        Recipe.from_json(data)


def test_recipe_that_was_stored_with_fewer_fields_has_the_defaults():
    assert Recipe.from_json({"learning_rate": 0.2}) == Recipe(learning_rate=0.2)


def test_json_error_names_the_unknown_field():
    with pytest.raises(InvalidCandidateError, match="dampening"):
        Recipe.from_json({"dampening": 0.1})


def test_summary_is_a_few_readable_words():
    assert Recipe().summary() == "sgd 0.1 one-cycle b128 aug 1 19 ep"
    assert OTHER.summary() == "adamw 0.003 multi-step b64 aug 0.5 7 ep"
    assert Recipe(learning_rate=0.0123456, augmentation=1 / 3).summary() == (
        "sgd 0.0123 one-cycle b128 aug 0.33 19 ep"
    )
