"""Records of studies and trials, in a real SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, replace

import optuna
import pytest

from nas.candidates.budget import Budget, Limits
from nas.errors import StudyError
from nas.storage import studies as module
from nas.storage.database import open_storage
from nas.storage.ranking import find_trial
from nas.storage.studies import (
    DataFacts,
    StudyFacts,
    check_study_name,
    open_or_create_study,
    open_study,
    space_source,
    study_data,
    study_facts,
)

FACTS = StudyFacts("blocks", "a" * 64, 20000, "mnist", "b" * 64, "c" * 64, 19, 0)
DATA = DataFacts("mnist", None, "1/12", 0, (1, 28, 28), ("0", "1"), (0.13,), (0.31,), 55000, 5000)


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def test_study_is_created_once_and_then_continued(storage):
    open_or_create_study(storage, "s", FACTS, DATA, "text").ask()
    study = open_or_create_study(storage, "s", FACTS, DATA, "text")
    assert len(study.trials) == 1
    assert study_facts(study) == FACTS
    assert study_data(study) == DATA
    assert space_source(study) == "text"
    assert study.metric_names == ["valid_accuracy"]


@pytest.mark.parametrize("table", ["trial_user_attributes", "trial_system_attributes"])
def test_study_with_a_damaged_attribute_is_refused_before_anything_is_written(tmp_path, table):
    path = tmp_path / "s.db"
    storage = open_storage(f"sqlite:///{path}", create=True)
    study = open_or_create_study(storage, "s", FACTS, DATA, "text")
    study.enqueue_trial({"width": 3}, user_attrs={"index": 0})
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE {table} SET value_json = '{{\"width\": 3S}}'")
    before = path.read_bytes()
    storage = open_storage(f"sqlite:///{path}", create=True)
    with pytest.raises(StudyError, match="the database is damaged"):
        open_or_create_study(storage, "s", FACTS, DATA, "text")
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": "mine"}, "space was blocks, now it is mine"),
        ({"space_sha256": "d" * 64}, "the text of the space file changed"),
        ({"budget": 10000}, "budget was 20000, now it is 10000"),
        ({"dataset": "kmnist"}, "dataset was mnist, now it is kmnist"),
        ({"data_sha256": "d" * 64}, "the images of dataset changed"),
        ({"split_sha256": "d" * 64}, "valid_share or split_seed changed"),
        ({"epochs": 5}, "epochs was 19, now it is 5"),
        ({"seed": 1}, "seed was 0, now it is 1"),
        ({"max_macs": 7}, "max_macs was "),
        ({"max_weight_bytes": 7}, "max_weight_bytes was "),
        ({"max_activation_bytes": 7}, "max_activation_bytes was "),
        ({"bits": 8}, "bits was 32, now it is 8"),
        ({"max_flash": 7}, "max_flash was "),
        ({"max_ram": 7}, "max_ram was "),
    ],
)
def test_study_that_searched_something_else_is_refused_with_the_difference(storage, change, words):
    open_or_create_study(storage, "s", FACTS, DATA, "text")
    with pytest.raises(StudyError) as error:
        open_or_create_study(storage, "s", replace(FACTS, **change), DATA, "text")
    assert words in str(error.value)
    assert str(error.value).endswith("or start another, such as study='s-2'")
    assert "\n" not in str(error.value)


def test_study_goes_on_with_another_text_of_its_space_that_proposes_the_same(storage):
    open_or_create_study(storage, "s", FACTS, DATA, "text")
    later = replace(FACTS, space_sha256="d" * 64)
    study = open_or_create_study(storage, "s", later, DATA, "new", FACTS.space_sha256[:16])
    assert study_facts(study) == FACTS
    with pytest.raises(StudyError, match="the text of the space file changed"):
        open_or_create_study(storage, "s", later, DATA, "new", "e" * 16)


def test_study_remembers_every_limit(storage):
    limits = {"max_macs": 1, "max_weight_bytes": 2, "max_activation_bytes": 3, "bits": 8}
    facts = replace(FACTS, **limits, max_flash=4, max_ram=5)
    study = open_or_create_study(storage, "s", facts, DATA, "text")
    assert study_facts(study) == facts
    assert facts.limits == Budget(20_000, Limits(1, 2, 3, 8, 4, 5))
    assert FACTS.limits == Budget(20_000)


@pytest.fixture
def old_study(storage):
    """Made before there were limits beside parameters: nothing is stored of them."""
    study = optuna.create_study(study_name="old", storage=storage, direction="maximize")
    for name, value in asdict(FACTS).items():
        if not name.startswith("max_") and name != "bits":
            study.set_user_attr(name, value)
    study.set_user_attr("data", asdict(DATA))
    study.tell(study.ask(), 0.5)
    return study


def test_study_without_limits_beside_parameters_is_read_and_goes_on(storage, old_study):
    assert study_facts(old_study) == FACTS
    assert study_facts(old_study).limits == Budget(20_000)
    assert open_study(storage).study_name == "old"
    study = open_or_create_study(storage, "old", FACTS, DATA, "text")
    study.tell(study.ask(), 0.7)
    assert find_trial(study, None).number == 1


def test_study_without_limits_does_not_go_on_with_some(storage, old_study):
    for change in ({"max_macs": 7}, {"bits": 4}, {"max_ram": 7}):
        with pytest.raises(StudyError, match="study 'old' cannot go on: "):
            open_or_create_study(storage, "old", replace(FACTS, **change), DATA, "text")


def test_study_that_lacks_a_fact_without_a_default_is_of_another_program(storage):
    study = optuna.create_study(study_name="theirs", storage=storage)
    for name, value in asdict(FACTS).items():
        if name != "seed":
            study.set_user_attr(name, value)
    assert study_facts(study) is None


def test_study_of_another_program_is_refused(storage):
    optuna.create_study(study_name="theirs", storage=storage).ask()
    with pytest.raises(StudyError, match="not made by nas"):
        open_or_create_study(storage, "theirs", FACTS, DATA, "text")
    with pytest.raises(StudyError, match="not made by nas"):
        study_data(open_study(storage, "theirs"))


def test_empty_study_with_attributes_of_another_program_is_refused(storage, monkeypatch):
    monkeypatch.setattr(module, "MAKING_SECONDS", 0.1)
    optuna.create_study(study_name="theirs", storage=storage).set_user_attr("colour", "blue")
    with pytest.raises(StudyError, match="not made by nas"):
        open_or_create_study(storage, "theirs", FACTS, DATA, "text")


@pytest.mark.slow
@pytest.mark.parametrize("num_written", [0, 1, 2, 5, 8])
def test_study_whose_maker_was_killed_on_the_way_is_made_to_its_end(storage, num_written):
    whole = open_or_create_study(storage, "whole", FACTS, DATA, "text")
    half = optuna.create_study(study_name="half", storage=storage, direction="maximize")
    for name in list(whole.user_attrs)[:num_written]:
        half.set_user_attr(name, whole.user_attrs[name])
    half = open_or_create_study(storage, "half", FACTS, DATA, "text")
    assert half.user_attrs == whole.user_attrs
    assert half.metric_names == whole.metric_names


def test_study_whose_maker_begins_just_after_it_was_looked_at_is_no_strange_one(
    storage, monkeypatch
):
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    looks = []

    def look(seen):
        looks.append(study_facts(seen))
        if len(looks) == 1:
            module._write_facts(study, FACTS, DATA, "text")
            study.set_user_attr("process:1", {})
            study.ask()
        return looks[-1]

    monkeypatch.setattr(module, "study_facts", look)
    open_or_create_study(storage, "s", FACTS, DATA, "text")
    assert looks == [None, FACTS]


def test_study_without_a_name_is_the_one_last_searched(storage):
    for name in ("old", "new", "empty"):
        open_or_create_study(storage, name, FACTS, DATA, "text")
    open_study(storage, "old").ask()
    open_study(storage, "new").ask()
    assert open_study(storage).study_name == "new"


def test_study_without_a_name_is_one_that_has_a_network_where_there_is_one(storage):
    for name in ("good", "later", "last"):
        open_or_create_study(storage, name, FACTS, DATA, "text")
    for name in ("good", "later"):
        study = open_study(storage, name)
        study.tell(study.ask(), 0.9)
    open_study(storage, "last").ask()
    assert open_study(storage).study_name == "later"


def test_unknown_study_is_answered_with_those_there_are(storage):
    with pytest.raises(StudyError, match="holds no studies"):
        open_study(storage)
    open_or_create_study(storage, "s", FACTS, DATA, "text")
    with pytest.raises(StudyError, match="no study 'x' in the storage: there are s"):
        open_study(storage, "x")


@pytest.mark.parametrize("name", ["a", "blocks-mnist-20000", "Zürich 7", "x" * 128, "日本"])
def test_good_study_names_are_taken(name):
    assert check_study_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "a ", "-a", "a/b", "a\\b", "x" * 129, "a\nb", "a\0b", "a\x1b[31m", "\udcff"],
)
def test_bad_study_names_are_refused(name):
    with pytest.raises(StudyError, match="is no good name"):
        check_study_name(name)


def test_study_names_are_stored_in_composed_form():
    assert check_study_name("u\u0308") == "ü"
