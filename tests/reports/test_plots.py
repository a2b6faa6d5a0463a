"""The plots of a study."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import optuna
import pytest

from nas.errors import StudyError
from nas.reports.importance import FEWEST, importance_of
from nas.reports.picture import Dots, Text
from nas.reports.plots import (
    MOST_GREY,
    NARROW,
    WIDE,
    curves_plot,
    frontier_plot,
    importance_plot,
    spending_plot,
)
from nas.storage.ranking import best_trial
from tests.reports.studies import make_study
from tests.storage.test_studies import FACTS


@pytest.fixture(scope="module")
def study():
    return make_study(40)


def texts(picture):
    return [mark.text for mark in picture.marks if isinstance(mark, Text)]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_plot_is_well_formed_described_and_inside(study, width):
    for picture in (
        frontier_plot([study], width), curves_plot(study, width), spending_plot(study, width),
        importance_plot(importance_of(study), width),
    ):  # fmt: skip
        ElementTree.fromstring(picture.svg())
        assert picture.description
        for mark in picture.marks:
            points = [mark.at] if isinstance(mark, Text) else mark.points
            assert all(0 <= x <= width and 0 <= y <= picture.height for x, y in points)


def test_frontier_names_the_best_and_the_networks_made_by_hand_for_mnist(study):
    shown = texts(frontier_plot([study]))
    assert f"trial {best_trial(study).number}" in shown
    assert {"slim", "one-cycle"} <= set(shown)
    assert "budget" in shown
    digits = make_study(5, facts=replace(FACTS, dataset="digits"))
    assert "slim" not in texts(frontier_plot([digits]))


def test_frontier_of_two_studies_tells_them_apart(study):
    shown = texts(frontier_plot([study, make_study(6, "other")]))
    assert {"s", "other"} <= set(shown)


def test_curves_colour_the_best_and_count_the_others(study):
    picture = curves_plot(study)
    shown = texts(picture)
    assert f"trial {best_trial(study).number}: {best_trial(study).valid_accuracy:.2%}" in shown
    assert "35 others" in shown
    assert sum(isinstance(mark, Dots) for mark in picture.marks) > 0  # those of one epoch


def test_of_many_curves_some_are_drawn_and_the_caption_says_so():
    picture = curves_plot(make_study(2 * MOST_GREY))
    assert len(picture.marks) < MOST_GREY + 60
    assert "are drawn, spread evenly" in picture.caption


def test_spending_adds_up_proposals_and_seconds(study):
    shown = texts(spending_plot(study))
    assert "40 proposals" in shown
    assert {"trained to the end", "stopped by pruner"} <= set(shown)


def test_importance_finds_what_matters_and_says_what_it_leaves_out(study):
    found = importance_of(study)
    assert next(iter(found.shares)) == "width"
    assert found.shares.keys() == {"width", "learning_rate"}
    assert found.left_out == 1
    assert found.schedule == "1 of 19 epochs"
    assert found.num_candidates == 40
    picture = importance_plot(found)
    assert "width" in texts(picture)
    assert "1 that not every candidate has" in picture.caption


def test_importance_of_few_candidates_is_refused():
    with pytest.raises(StudyError, match=f"has 19 candidates with .* needs {FEWEST}"):
        importance_of(make_study(FEWEST - 1))


@pytest.mark.parametrize("draw", [lambda s: frontier_plot([s]), curves_plot, spending_plot])
def test_empty_study_has_nothing_to_draw(draw):
    with pytest.raises(StudyError, match="'s' has no"):
        draw(make_study(0))


def test_study_in_work_is_drawn():
    study = make_study(3)
    study.ask()
    assert "in work, or its process died" in texts(spending_plot(study))


def test_one_network_alone_is_drawn():
    study = make_study(1, stop=0)
    assert frontier_plot([study]).height > 0
    assert curves_plot(study).height > 0
    assert isinstance(study, optuna.Study)
