"""Where a search may begin: at the start of another space, or near the best of another study."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe
from nas.errors import NasError, SpaceError, StudyError
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.search import Search
from nas.search_space import SearchSpace, load_space
from nas.settings import SearchSettings
from nas.stopping import StopRequest
from nas.storage import open_storage
from nas.studies import DataFacts, StudyFacts, open_or_create_study
from nas.survey import DrawnTrial
from nas.task import Task
from nas.trials import best_trials
from nas.warm_start import MOST, proposals_from
from nas.weights import WeightsStore
from tests.fakes import FakePool

MNIST = Task((1, 28, 28), 10, 20_000)
DIGITS = Task((1, 8, 8), 10, 20_000)
TINY = Task((1, 8, 8), 4, 300)  # of the widths, those up to 22 fit


def suggest(trial, task):
    """Up to as many channels as there are tens in the budget."""
    layers = [Conv(trial.suggest_int("width", 1, task.max_params // 10)), GlobalAvgPool()]
    layers += [Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))


def nearest(candidate, task):
    width = candidate.architecture.layers[0].out_channels
    return {"width": min(width, task.max_params // 10)}


@pytest.fixture
def make_space(tmp_path):
    """Makes a space of one parameter, which can come near others as far as `nearest` says."""

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
        search = Search(
            study, space, replace(task, epochs=1), tiny_data,
            SearchSettings(trials=trials, sampler="random", pruner="none"), FakePool(1, score),
            WeightsStore(study, tmp_path / "weights"), lambda event: None, StopRequest(),
        )  # fmt: skip
        search.begin_with(list(begin))
        if trials:
            search.run()
        return study

    return make


def refused(source, space, task, storage=None):
    """The one line that says why."""
    with pytest.raises(NasError) as error:
        proposals_from(source, space, task, storage)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert error.type in (SpaceError, StudyError)
    return str(error.value)


# From a space


def test_start_of_a_space_is_brought_into_another():
    blocks, references = load_space("blocks"), load_space("references")
    proposals = proposals_from("references", blocks, MNIST, None)
    assert len(proposals) == 5
    for params, own in zip(proposals, references.first_proposals(MNIST), strict=True):
        candidate = references.propose(DrawnTrial(fixed=own), MNIST)
        assert params == blocks.params_near(candidate, MNIST)


def test_only_what_can_be_built_for_the_images_is_brought_over():
    blocks, references = load_space("blocks"), load_space("references")
    (params,) = proposals_from("references", blocks, DIGITS, None)
    three_blocks = references.propose(DrawnTrial(fixed={"reference": "three-blocks"}), DIGITS)
    assert params == blocks.params_near(three_blocks, DIGITS)


@pytest.mark.parametrize("name", ["blocks", "references"])
def test_space_that_begins_with_its_own_start_changes_nothing_about_it(name):
    space = load_space(name)
    assert proposals_from(name, space, MNIST, None) == space.first_proposals(MNIST)


def test_what_comes_out_the_same_is_proposed_once(make_space):
    space = make_space(nearest=lambda candidate, task: {"width": 7})
    assert proposals_from("references", space, MNIST, None) == [{"width": 7}]


@pytest.mark.parametrize("has_storage", [False, True])
def test_unknown_source_is_refused_with_the_spaces_and_studies_there_are(
    make_study, make_space, storage, has_storage
):
    make_study("mine", make_space(), trials=0)
    line = refused("blokcs", load_space("blocks"), MNIST, storage if has_storage else None)
    assert "--warm-start 'blokcs' is unknown: did you mean blocks?" in line
    assert "references" in line
    assert line.endswith("studies: mine" if has_storage else "studies: none yet")


def test_file_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "gone.py"
    line = refused(str(path), load_space("blocks"), MNIST)
    assert line.startswith(f"--warm-start {path}: no such file")


def test_broken_file_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("\n1 / 0\n")
    assert refused(str(path), load_space("blocks"), MNIST).startswith(f"{path}:2: ZeroDivision")


SPACE = '''\
"""Kernels of one size."""
import nas


def suggest(trial, task):
    layers = [nas.Conv(3, trial.suggest_int("size", 1, 31), "valid"), nas.Flatten()]
    layers.append(nas.Linear(task.num_classes))
    return nas.Candidate(nas.Architecture(task.input_shape, layers), nas.Recipe())
'''


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("", "does not say where to begin"),
        ("def start(task): return []", "does not say where to begin"),
        ("def start(task): return {'size': 99}", "size = 99 is not within 1 to 31"),
        ("def start(task): return [{'size': 3}, {'size': 99}]", "size = 99 is not within 1 to 31"),
        ("def start(task): return [{'size': 29}, {'size': 30}]", "does not fit"),
        ("def start(task): return 1 / 0", "start raised ZeroDivisionError"),
    ],
)
def test_space_without_a_good_start_is_refused(tmp_path, start, words):
    path = tmp_path / "other.py"
    path.write_text(f"{SPACE}\n\n{start}\n")
    line = refused(str(path), load_space("blocks"), MNIST)
    assert str(path) in line
    assert words in line


# From a study


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


def test_best_of_a_study_of_another_space_are_brought_into_this_one(
    make_study, make_space, storage
):
    study = make_study("old", make_space("other"), trials=4)
    space = make_space(nearest=nearest)
    best = best_trials(study)
    assert proposals_from("old", space, TINY, storage) == [
        {"width": record.params["width"]} for record in best
    ]
    blocks = load_space("blocks")
    near = [blocks.params_near(record.candidate, TINY) for record in best]
    assert len({params["share"] for params in near}) > 1
    assert proposals_from("old", blocks, TINY, storage) == [
        params for i, params in enumerate(near) if params not in near[:i]
    ]


def test_values_that_a_smaller_budget_does_not_offer_are_brought_near(
    make_study, make_space, storage
):
    study = make_study("old", make_space(), trials=10)
    task = replace(TINY, max_params=100)
    widths = [r.params["width"] for r in best_trials(study)]
    assert min(widths) <= 10 < max(widths)
    proposals = proposals_from("old", make_space(nearest=nearest), task, storage)
    near = [min(width, 10) for width in widths]
    assert [p["width"] for p in proposals] == list(dict.fromkeys(near))
    line = refused("old", make_space(), task, storage)
    assert "toy.py has no function nearest(candidate, task)" in line


def test_study_comes_before_a_space_of_the_same_name(make_study, make_space, storage):
    make_study("blocks", make_space(), trials=1)
    (params,) = proposals_from("blocks", make_space(), TINY, storage)
    assert params.keys() == {"width"}


def test_study_without_a_completed_trial_is_refused(make_study, make_space, storage):
    make_study("new", make_space(), trials=0)
    line = refused("new", make_space(), TINY, storage)
    assert line == "--warm-start 'new': that study has no completed trial yet"


def test_study_of_another_program_is_refused(make_space, storage):
    study = optuna.create_study(study_name="theirs", storage=storage)
    study.tell(study.ask(), 0.5)
    assert "not made by nas" in refused("theirs", make_space(), TINY, storage)


# Into a space


def test_space_that_cannot_come_near_others_is_refused(make_space, storage, make_study):
    make_study("old", make_space("other"), trials=1)
    for source in ("blocks", "old"):
        line = refused(source, make_space(), TINY, storage)
        assert "toy.py has no function nearest(candidate, task)" in line


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"width": 31}, "width = 31 is not within 1 to 30"),
        ({"width": "3"}, "width = '3' is not within 1 to 30"),
        ({"width": {3}}, "not JSON serializable"),
    ],
)
def test_nearest_that_its_space_does_not_offer_is_refused(make_space, params, words):
    space = make_space(nearest=lambda candidate, task: params)
    line = refused("blocks", space, TINY)
    assert line.startswith(f"{space.path}: nearest(candidate, task) cannot be proposed: ")
    assert words in line


def test_nearest_that_cannot_be_built_is_left_to_the_gate(make_space):
    def too_large(trial, task):
        layers = [Conv(4, trial.suggest_int("size", 1, 99), "valid"), Flatten(), Linear(4)]
        return Candidate(Architecture(task.input_shape, layers), Recipe())

    space = replace(make_space(nearest=lambda candidate, task: {"size": 50}), suggest=too_large)
    assert proposals_from("blocks", space, TINY, None) == [{"size": 50}]


def test_search_begins_with_the_best_of_another_study_then_with_its_own_start(
    make_study, make_space, storage
):
    make_study("old", make_space("other"), trials=4)
    space = make_space(nearest=nearest, start=lambda task: {"width": 30})
    proposals = proposals_from("old", space, TINY, storage)
    for trials in (2, 6):
        study = make_study("new", space, trials, begin=proposals)
    assert [t.params for t in study.trials[:5]] == [*proposals, {"width": 30}]
    assert sum("fixed_params" in t.system_attrs for t in study.trials) == 5
