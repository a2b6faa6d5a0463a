"""Where a search may begin: with the best of another study of the same space."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.errors import StudyError
from nas.searching.config import SearchConfig
from nas.searching.warm_start import MOST, proposals_from
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.database import open_storage
from nas.storage.ranking import best_trials
from nas.storage.studies import DataFacts, StudyFacts, open_or_create_study
from tests.fakes import FakePool, search_in

TINY = Task((1, 8, 8), 4, 300)  # of the widths, those up to 22 fit


def suggest(trial, task):
    """Up to as many channels as there are tens in the budget."""
    layers = [Conv(trial.suggest_int("width", 1, task.max_params // 10)), GlobalAvgPool()]
    layers += [Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))


@pytest.fixture
def make_space(tmp_path):
    """Makes a space of one parameter."""

    def make(name="toy", **functions):
        return SearchSpace(name, tmp_path / f"{name}.py", f"# {name}", suggest, **functions)

    return make


@pytest.fixture
def storage():
    return open_storage("sqlite://")  # a real database, in memory


@pytest.fixture
def make_study(storage, tiny_data, tmp_path):
    """Makes a study of a space with so many trained candidates."""

    def make(name, space, trials, task=TINY, score=None, begin=()):
        facts = StudyFacts(space.name, space.sha256, task.max_params, "tiny", "b", "c", 19, 0)
        data = DataFacts("tiny", None, "1/4", 0, (1, 8, 8), ("a", "b"), (0.5,), (0.5,), 180, 60)
        study = open_or_create_study(storage, name, facts, data, space.source)
        search = search_in(
            study, space, replace(task, epochs=1), tiny_data,
            SearchConfig(budget=1, trials=max(trials, 1), sampler="random", pruner="none"),
            FakePool(1, score),
            tmp_path / "weights",
        )  # fmt: skip
        search.begin_with(list(begin))
        if trials:
            search.run()
        return study

    return make


def refused(source, space, task, storage):
    """The one line that says why."""
    with pytest.raises(StudyError) as error:
        proposals_from(source, space, task, storage)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_best_of_a_study_of_the_same_space_come_as_they_were(make_study, make_space, storage):
    space = make_space()
    study = make_study("old", space, trials=MOST + 3)
    best = best_trials(study)
    assert len(best) == MOST + 3
    assert proposals_from("old", space, TINY, storage) == [r.params for r in best[:MOST]]


def test_best_of_a_study_come_best_first(make_study, make_space, storage):
    make_study("old", make_space(), trials=5, score=lambda num_params: 1 / num_params)
    widths = [p["width"] for p in proposals_from("old", make_space(), TINY, storage)]
    assert widths == sorted(widths)  # the smallest network had the best score
    assert len(set(widths)) == 5


def test_study_of_another_space_is_refused_with_what_to_give(make_study, make_space, storage):
    make_study("old", make_space("other"), trials=1)
    line = refused("old", make_space(), TINY, storage)
    assert line == (
        "warm_start 'old': that study searched space other, whose parameters mean nothing in "
        "toy: name a study of toy, or give space='other'"
    )


@pytest.mark.slow
def test_values_that_a_smaller_budget_does_not_offer_are_left_out(make_study, make_space, storage):
    study = make_study("old", make_space(), trials=10)
    widths = [r.params["width"] for r in best_trials(study)]
    assert min(widths) <= 10 < max(widths)
    proposals = proposals_from("old", make_space(), replace(TINY, max_params=100), storage)
    assert [p["width"] for p in proposals] == [width for width in widths if width <= 10]


def test_study_of_which_nothing_is_offered_is_refused(make_study, make_space, storage):
    make_study("old", make_space(), trials=2, begin=[{"width": 5}, {"width": 9}])
    task = replace(TINY, max_params=40)
    line = refused("old", make_space(), task, storage)
    assert line.startswith("warm_start 'old': space toy offers none of its best here: ")
    assert line.endswith("width = 5 is not within 1 to 4")


def test_study_without_a_trained_network_is_refused(make_study, make_space, storage):
    make_study("new", make_space(), trials=0)
    line = refused("new", make_space(), TINY, storage)
    assert line == "warm_start 'new': that study has no trained network yet"


def test_study_that_is_not_there_is_refused_with_those_there_are(make_study, make_space, storage):
    make_study("mine", make_space(), trials=0)
    line = refused("yours", make_space(), TINY, storage)
    assert line == "no study 'yours' in the storage: there are mine"


def test_study_of_another_program_is_refused(make_space, storage):
    study = optuna.create_study(study_name="theirs", storage=storage)
    study.tell(study.ask(), 0.5)
    assert "not made by nas" in refused("theirs", make_space(), TINY, storage)


def test_search_begins_with_the_best_of_another_study_then_with_its_own_start(
    make_study, make_space, storage
):
    make_study("old", make_space(), trials=4)
    space = make_space(start=lambda task: {"width": 30})
    proposals = proposals_from("old", space, TINY, storage)
    for trials in (2, 6):
        study = make_study("new", space, trials, begin=proposals)
    assert [t.params for t in study.trials[:5]] == [*proposals, {"width": 30}]
    assert sum("fixed_params" in t.system_attrs for t in study.trials) == 5
