"""Reading many trials: the same as Optuna reads, only faster."""

from __future__ import annotations

import copy
import gc
import json
import math
import sqlite3
from collections.abc import Mapping

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from nas.errors import StudyError
from nas.storage import reading
from nas.storage.database import open_storage
from nas.storage.reading import ReadingStorage

DISTRIBUTIONS = {
    "width": IntDistribution(1, 30),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "pool": CategoricalDistribution(("max", None, 3, True, 0.5)),
}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def ours(url):
    open_storage(url, create=True)
    return ReadingStorage(url)


@pytest.fixture
def study(ours):
    """Trials of every kind, and another study's between them."""
    study = optuna.create_study(storage=ours, study_name="a")
    other = optuna.create_study(storage=ours, study_name="b")
    for number, pool in enumerate(("max", None, 3, True, 0.5)):
        params = {"width": number + 1, "rate": 0.25, "pool": pool}
        study.add_trial(create_trial(
            value=0.5 + number, params=params, distributions=DISTRIBUTIONS,
            user_attrs={"list": [1, {"a": None}], "text": "ä"}, system_attrs={"fixed": {"b": 1}},
            intermediate_values={1: 0.5, 2: math.inf, 0: -math.inf},
        ))  # fmt: skip
        other.add_trial(create_trial(value=1.0))
    study.add_trial(create_trial(value=math.inf))
    study.add_trial(create_trial(value=-math.inf))
    study.add_trial(create_trial(state=TrialState.FAIL))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={3: math.nan}))
    study.enqueue_trial({"width": 3}, user_attrs={"c": 1})
    asked = study.ask()
    asked.suggest_int("width", 1, 30)
    study.ask()
    study.enqueue_trial({"width": 4})
    return study


def same(ours, theirs):
    """Whether two lists of trials are equal, with NaN equal to itself, and parameters in order."""
    return [texts(trial) for trial in ours] == [texts(trial) for trial in theirs]


def texts(trial):
    values = {
        name: sorted(value.items()) if isinstance(value, Mapping) and name != "_params" else value
        for name, value in vars(trial).items()
        if name != "_distributions"
    }
    return {name: repr(value) for name, value in values.items()} | trial.distributions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("included", "after"),
    [(set(), -1), (set(), 8), ({1, 3, 14}, 8), ({12, 13}, -1), (set(range(1, 99)), 10**6),
     (set(), 10**6)],
)  # fmt: skip
@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE,), tuple(TrialState), ()])
@pytest.mark.parametrize("at_once", [1, 5, 500])
def test_trials_are_those_that_optuna_reads(
    study, ours, url, states, included, after, at_once, monkeypatch
):
    monkeypatch.setattr(reading, "NUM_AT_ONCE", at_once)
    number = study._study_id
    theirs = RDBStorage(url)._get_trials(number, states, included, after)
    found = ours.read_trials(number, states, included, after)
    assert same(found, theirs)
    if after == -1 and states is None:
        assert len(found) == 12


def test_study_that_is_not_there_has_no_trials_to_read(study, ours):
    for included, after in ((set(), -1), ({1, 2}, 8), (set(range(1, 999)), 10**6)):
        with pytest.raises(KeyError, match="Record does not exist"):
            ours.read_trials(99, None, included, after)


def test_study_without_trials_has_none(ours):
    study = optuna.create_study(storage=ours)
    assert ours.read_trials(study._study_id, None, set(), -1) == []


def test_many_unfinished_trials_are_read_as_well(study, ours, url, monkeypatch):
    monkeypatch.setattr(reading, "MOST_INCLUDED", 3)
    included = {1, 2, 3, 4, 5, 6}
    theirs = RDBStorage(url)._get_trials(study._study_id, None, included, 8)
    assert same(ours.read_trials(study._study_id, None, included, 8), theirs)


def test_number_of_statements_does_not_grow_with_the_trials(study, ours):
    statements = []
    event.listen(ours.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    ours.read_trials(study._study_id, None, set(), -1)
    assert len(statements) == 6


def test_study_opened_by_us_reads_so(study, url, monkeypatch):
    monkeypatch.setattr(RDBStorage, "_get_trials", None)
    loaded = optuna.load_study(study_name="a", storage=open_storage(url))
    assert [t.number for t in loaded.trials] == list(range(12))


def test_damaged_database_is_an_error_of_optunas(study, url, tmp_path):
    storage = open_storage(url)
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute("DROP TABLE trial_params")
    with pytest.raises(optuna.exceptions.StorageInternalError, match="trial_params"):
        storage.get_all_trials(study._study_id)


def read_all(storage, study):
    for trial in storage.get_all_trials(study._study_id):
        assert dict(trial.user_attrs) is not dict(trial.system_attrs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("trial_params", "distribution_json", '{"typf": "int", "low": 1, "high": 30}'),
        ("trial_params", "distribution_json", '{"name": "IntDistribution", "attributes": {}}'),
        ("trial_params", "distribution_json", '["int"]'),
        ("trial_params", "distribution_json", '{"type'),
        ("trial_user_attributes", "value_json", "{"),
        ("trial_system_attributes", "value_json", ""),
        ("trials", "state", "COMPLETF"),
        ("trial_values", "value_type", "FINITF"),
    ],
)
def test_text_that_was_damaged_is_told_in_one_line(study, url, tmp_path, table, column, value):
    storage = open_storage(url)
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = 1", (value,))
    with pytest.raises(StudyError, match="the database is damaged") as error:
        read_all(storage, study)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("table", ["trial_params", "trial_user_attributes"])
def test_text_that_is_none_any_more_is_an_error_of_optunas(study, url, tmp_path, table):
    storage = open_storage(url)
    column = "distribution_json" if table == "trial_params" else "value_json"
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute(f"UPDATE {table} SET {column} = CAST(x'22FFFE22' AS TEXT)")
    with pytest.raises(optuna.exceptions.StorageInternalError, match="UTF-8"):
        storage.get_all_trials(study._study_id)


def test_attributes_are_what_a_dictionary_of_them_would_be(study, url):
    ours, theirs = (
        storage.get_all_trials(study._study_id)[0].user_attrs
        for storage in (open_storage(url), RDBStorage(url))
    )
    assert isinstance(theirs, dict)
    assert not isinstance(ours, dict)
    assert ours == theirs
    assert theirs == ours
    assert repr(ours) == repr(theirs)
    assert {**ours} == copy.deepcopy(ours) == theirs
    assert ("text" in ours, "none" in ours, len(ours)) == (True, False, 2)
    assert ours.get("none", 7) == 7
    with pytest.raises(KeyError):
        ours["none"]


def test_attribute_is_read_when_it_is_asked_for_and_once(study, url, monkeypatch):
    trial = open_storage(url).get_all_trials(study._study_id, deepcopy=False)[0]
    texts, loads = [], json.loads
    monkeypatch.setattr(reading.json, "loads", lambda text: texts.append(text) or loads(text))
    for _ in range(2):
        assert trial.user_attrs["list"] == [1, {"a": None}]
    assert texts == ['[1, {"a": null}]']


@pytest.mark.parametrize("is_enabled", [True, False])
def test_collection_of_garbage_goes_on_as_it_did(study, ours, is_enabled, monkeypatch):
    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        ours.read_trials(study._study_id, None, set(), -1)
        assert gc.isenabled() == is_enabled
        monkeypatch.setattr(reading, "_trial", None)
        with pytest.raises(TypeError):
            ours.read_trials(study._study_id, None, set(), -1)
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()
