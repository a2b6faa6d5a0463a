"""Figures in Plotly's JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import optuna
import pytest

from nas.reports.figures import MOST_GREY, figures_of
from nas.storage.ranking import best_trials
from nas.storage.studies import open_or_create_study
from nas.storage.trials import read_trials
from tests.reports.studies import make_study
from tests.storage.test_studies import DATA, FACTS


def figures(study):
    return {name: json.loads(figure.to_json()) for name, figure in figures_of(study).items()}


def traces(figure):
    return {trace["name"]: trace for trace in figure["data"]}


@pytest.fixture(scope="module")
def study():
    return make_study(40)


def test_study_without_a_network_has_no_figures():
    storage = optuna.storages.InMemoryStorage()
    assert figures_of(open_or_create_study(storage, "s", FACTS, DATA, "text")) == {}
    assert figures_of(make_study(1)).keys() == {"nas-accuracy", "nas-curves", "nas-trials"}


def test_accuracies_have_the_digits_that_their_images_can_tell():
    study = make_study(6, data=replace(DATA, num_valid=124))
    best = best_trials(study, 1)[0]
    made = figures(study)
    texts = [text for trace in made["nas-accuracy"]["data"] for text in trace.get("text", [])]
    score = f"trial {best.number}: {best.valid_accuracy:.1%}"
    assert any(text.startswith(f"{score}, ") for text in texts)
    assert score in traces(made["nas-curves"])


def test_scores_of_short_schedules_stand_apart_from_whole_ones(study):
    made = figures(study)
    whole = [r for r in read_trials(study) if not r.is_short]
    short = [r for r in read_trials(study) if r.is_short]
    assert whole
    assert short
    drawn = traces(made["nas-trials"])
    assert drawn["whole schedule"]["x"] == [r.number for r in whole]
    assert drawn["short schedule"]["x"] == [r.number for r in short]
    assert drawn["whole schedule"]["y"] == [
        pytest.approx(1 - r.valid_accuracy, abs=1e-6) for r in whole
    ]
    steps = drawn["best so far"]["y"]
    assert all(a >= b for a, b in pairwise(steps))
    assert steps[-1] == min(drawn["whole schedule"]["y"])
    assert made["nas-trials"]["layout"]["yaxis"]["type"] == "log"


def test_accuracy_over_parameters_has_every_network_and_the_budget(study):
    figure = figures(study)["nas-accuracy"]
    drawn = traces(figure)
    xs = drawn["whole schedule"]["x"] + drawn["short schedule"]["x"]
    assert sorted(xs) == sorted(r.num_params for r in best_trials(study))
    assert figure["layout"]["shapes"][0]["x0"] == FACTS.budget
    front = drawn["nothing smaller is better"]["y"]
    assert all(a > b for a, b in pairwise(front))


def test_curves_show_the_best_in_colours_and_some_of_the_others_in_grey(study):
    large = make_study(100, stop=0.1)
    figure = figures(large)["nas-curves"]
    *_, first = figure["data"]
    best = best_trials(large, 1)[0]
    assert first["name"] == f"trial {best.number}: {best.valid_accuracy:.2%}"
    assert first["x"] == [m.epoch for m in best.history]
    grey = traces(figure)["others"]
    assert MOST_GREY / 2 < grey["y"].count(None) <= MOST_GREY
    assert len(figures_of(study)["nas-curves"].data) == 6


def test_figures_of_a_large_study_stay_small():
    for name, figure in figures_of(make_study(700, stop=0.5)).items():
        assert len(figure.to_json()) < 100_000, name
