"""A candidate: its fingerprint."""

import json
from dataclasses import fields, replace

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Dropout, Flatten, Linear
from nas.candidates.recipe import Recipe
from tests.candidates.test_recipe import OTHER

ARCHITECTURE = Architecture((1, 8, 8), [Conv(4), Flatten(), Linear(3)])


def test_every_field_of_the_recipe_changes_the_fingerprint():
    candidates = [Candidate(ARCHITECTURE, Recipe())]
    candidates += [
        Candidate(ARCHITECTURE, replace(Recipe(), **{field.name: getattr(OTHER, field.name)}))
        for field in fields(Recipe)
    ]
    assert len({candidate.fingerprint for candidate in candidates}) == 1 + len(fields(Recipe))


def test_the_network_changes_the_fingerprint():
    wider = Architecture((1, 8, 8), [Conv(5), Flatten(), Linear(3)])
    assert Candidate(wider, OTHER).fingerprint != Candidate(ARCHITECTURE, OTHER).fingerprint


def test_the_same_network_and_recipe_have_the_same_fingerprint():
    described = Architecture((1, 8, 8), [Conv(4), Dropout(0), Flatten(), Linear(3)])
    recipe = Recipe.from_json(json.loads(json.dumps(OTHER.to_json())))
    assert Candidate(described, recipe).fingerprint == Candidate(ARCHITECTURE, OTHER).fingerprint


@pytest.mark.parametrize("name", ["learning_rate", "augmentation", "label_smoothing"])
def test_equal_recipes_have_the_same_fingerprint_however_the_number_is_written(name):
    value = 0 if name == "label_smoothing" else 1
    whole, fraction = Recipe(**{name: value}), Recipe(**{name: float(value)})
    assert whole == fraction
    candidates = Candidate(ARCHITECTURE, whole), Candidate(ARCHITECTURE, fraction)
    assert candidates[0].fingerprint == candidates[1].fingerprint
