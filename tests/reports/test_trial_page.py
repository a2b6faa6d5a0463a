"""The page of a trial: its network, its recipe, its curve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.device import device_bytes
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, MaxPool, ReLU
from nas.metrics import EpochMetrics
from nas.reports.trial_page import learning_curve, network_table, trial_page
from nas.storage.trials import Rung, read_trials
from tests.reports.test_tables import text_of


@pytest.fixture
def study(make_search, pool):
    search = make_search(trials=4)
    search.run()
    return search.ledger.study


def test_page_of_a_trained_trial_shows_network_recipe_and_curve(study):
    record = next(r for r in read_trials(study) if r.is_complete)
    text = text_of(trial_page(study, record))
    for words in ("conv 3×3", "linear", "receptive field", "recipe: sgd", "epoch", "seed"):
        assert words in text
    assert f"{record.num_params:,} parameters" in text
    device = device_bytes(record.candidate.architecture)
    said = (
        f"{device.flash:,} bytes of flash ({device.weights:,} of weights) and {device.ram:,} of RAM"
    )
    assert said in " ".join(text.split())
    assert "bits each" not in text


def test_page_of_a_trial_that_goes_on_with_another_says_with_which(study):
    record = next(r for r in read_trials(study) if r.is_complete)
    promoted = replace(record, continues=7, rungs=(Rung(1, 0.5, 0.876, 1.0),))
    text = text_of(trial_page(study, promoted))
    assert "goes on with trial 7" in text
    assert "squeezed into 1 of" in text
    assert "87.60%" in text
    assert "goes on with" not in text_of(trial_page(study, record))


def test_page_of_a_rejected_trial_shows_the_reason_and_the_proposal(study):
    record = next(r for r in read_trials(study) if not r.is_complete)
    text = text_of(trial_page(study, record))
    assert "over budget: " in text
    assert f"width = {record.params['width']}" in text


def test_network_table_has_torchinfos_counts_and_the_receptive_field():
    layers = [Conv(4), BatchNorm(), ReLU(), MaxPool(2), Conv(8), GlobalAvgPool(), Flatten()]
    architecture = Architecture((1, 12, 12), [*layers, Linear(10)])
    lines = text_of(network_table(architecture)).splitlines()
    cells = [line.split() for line in lines]
    assert lines[1].startswith("conv 3×3 ")
    assert cells[1][-4:] == ["4x12x12", "36", "5,184", "3x3"]
    assert cells[4][-1] == "4x4"
    assert cells[5][-1] == "8x8"
    assert f"{architecture.num_params:,}" in cells[-1]


def test_learning_curve_bar_runs_from_lowest_to_highest():
    history = [EpochMetrics(i, 1.0, 1.0, a, 0.1) for i, a in enumerate((0.5, 0.75, 1.0), 1)]
    bars = [line.count("█") for line in text_of(learning_curve(history)).splitlines()[1:]]
    assert bars == [1, 15, 30]
    flat = text_of(learning_curve(history[:1]))
    assert flat.count("█") == 30
