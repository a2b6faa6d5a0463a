"""What is private in Optuna: one file names it, and it means what that file says."""

from __future__ import annotations

import ast
import contextlib
import math
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial
from optuna_dashboard import get_note, save_note

from nas.storage import internals
from nas.storage.database import open_storage

PACKAGE = Path(__file__).parents[2] / "nas"
OWNER = PACKAGE / "storage" / "internals.py"
# They have Optuna's own interface of storages.
DELEGATES = {PACKAGE / "storage" / name for name in ("retry.py", "shown.py")}
KEYS = ("fixed_params", "artifacts:")
OF_OTHERS = {"os._exit"}


def private_names(source, is_delegate=False):
    """Line and text of each private name of another object, and of each of Optuna's."""
    for node in ast.walk(ast.parse(source)):
        text = None
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            is_private = node.attr.startswith("_") and not node.attr.endswith("__")
            is_storages = node.attr in BaseStorage.__abstractmethods__ and not is_delegate
            if (is_private and not is_own) or is_storages:
                text = ast.unparse(node)
        elif isinstance(node, ast.Import):
            text = next((a.name for a in node.names if is_private_module(a.name)), None)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            text = next((name for name in names if is_private_module(name)), None)
        elif isinstance(node, ast.Constant) and node.value in KEYS:
            text = repr(node.value)
        if text is not None and text not in OF_OTHERS:
            yield node.lineno, text


def is_private_module(name):
    return name.startswith("optuna") and "._" in name


def test_no_other_file_touches_what_is_private():
    found = {
        path.relative_to(PACKAGE): list(private_names(path.read_text("utf-8"), path in DELEGATES))
        for path in PACKAGE.rglob("*.py")
        if path != OWNER
    }
    assert {path: names for path, names in found.items() if names} == {}


def test_the_rule_finds_what_breaks_it():
    source = (
        "import optuna.storages._rdb\nfrom optuna import _typing\nfrom optuna._typing import X\n"
        "study._storage\nself.study._study_id\nself._mine\ncls._mine\nx.__dict__\nos._exit(1)\n"
        "x.create_new_trial\nattrs['fixed_params']\n'fixed_params are private'\n"
    )
    assert {line for line, _ in private_names(source)} == {1, 2, 3, 4, 5, 10, 11}


# Studies and trials


@pytest.fixture(params=["memory", "file"])
def study(request, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    storage = InMemoryStorage() if request.param == "memory" else open_storage(url, create=True)
    return optuna.create_study(storage=storage, sampler=RandomSampler(0))


def test_attributes_of_a_study_that_dashboards_do_not_print_are_read_back(study):
    before = internals.study_system_attrs(study)
    internals.set_study_system_attr(study, "nas:space_source", "text")
    assert internals.study_system_attr(study, "nas:space_source") == "text"
    assert internals.study_system_attr(study, "nas:other") is None
    assert internals.study_system_attrs(study) == before | {"nas:space_source": "text"}


def test_storage_of_a_study_is_the_one_it_was_made_in():
    storage = InMemoryStorage()
    assert internals.storage_of(optuna.create_study(storage=storage)) is storage


def test_trial_that_is_begun_runs_with_the_values_given_and_is_no_longer_in_the_queue(study):
    study.enqueue_trial({"x": 0.75})
    trial = internals.begin_trial(study, {"x": 0.25, "kind": None}, {"owner": "me"})
    assert trial.number == 1
    assert trial.suggest_float("x", 0, 1) == 0.25
    assert trial.suggest_categorical("kind", [None, "a"]) is None
    assert 0 <= trial.suggest_float("y", 0, 1) <= 1
    waits, runs = study.trials
    assert (waits.state, runs.state) == (TrialState.WAITING, TrialState.RUNNING)
    assert runs.user_attrs == {"owner": "me"}
    assert study.ask().number == 0


def test_samplers_hear_of_a_trial_that_is_begun(study):
    study.ask()
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1  # as samplers read them
    internals.begin_trial(study, {}, {})
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 2


def test_fixed_params_are_those_of_the_queue(study):
    study.enqueue_trial({"x": 0.25, "kind": None})
    study.enqueue_trial({})
    study.ask()
    study.ask()
    study.ask()
    internals.begin_trial(study, {"x": 1}, {})
    assert [internals.fixed_params(trial) for trial in study.trials] == [
        {"x": 0.25, "kind": None}, {}, None, {"x": 1},
    ]  # fmt: skip


def test_state_is_set_once_and_no_sampler_hears_of_it(study, monkeypatch):
    monkeypatch.setattr(study.sampler, "after_trial", None)
    study.ask()
    study.ask()
    study.enqueue_trial({})
    first, second, third = study.trials
    assert internals.set_state(study, first, TrialState.COMPLETE, [0.5])
    assert internals.set_state(study, second, TrialState.FAIL)
    assert [internals.set_state(study, third, TrialState.RUNNING) for _ in "ab"] == [True, False]
    for trial in (first, second):
        with pytest.raises(UpdateFinishedTrialError):
            internals.set_state(study, trial, TrialState.FAIL)
    assert [(t.state.name, t.values) for t in study.trials] == [
        ("COMPLETE", [0.5]), ("FAIL", None), ("RUNNING", None),
    ]  # fmt: skip


def test_attributes_and_reports_are_written_while_a_trial_runs(study):
    study.ask()
    trial = study.trials[0]
    internals.set_user_attr(study, trial, "rungs", [[1, 0.5]])
    internals.set_system_attr(study, trial, "nas:begun", {"seed": 1})
    internals.set_report(study, trial, 3, 0.5)
    study.tell(0, 0.5)
    assert study.trials[0].user_attrs == {"rungs": [[1, 0.5]]}
    assert study.trials[0].system_attrs == {"nas:begun": {"seed": 1}}
    assert study.trials[0].intermediate_values == {3: 0.5}
    with pytest.raises(UpdateFinishedTrialError):
        internals.set_user_attr(study, trial, "rungs", [])
    with pytest.raises(UpdateFinishedTrialError):
        internals.set_system_attr(study, trial, "nas:begun", {})
    with pytest.raises(UpdateFinishedTrialError):
        internals.set_report(study, trial, 4, 0.5)


def test_attribute_of_a_study_that_is_no_user_attribute(study):
    assert internals.study_system_attr(study, "nas:source") is None
    internals.set_study_system_attr(study, "nas:source", "text")
    assert internals.study_system_attr(study, "nas:source") == "text"
    assert study.user_attrs == {}


def test_trial_that_has_ended_can_be_noted_and_not_changed(study):
    study.tell(study.ask(), 0.5)
    trial = internals.ended_trial(study, 0)
    assert (trial.number, trial.study) == (0, study)
    save_note(trial, "text")
    assert get_note(internals.ended_trial(study, 0)) == "text"
    with pytest.raises(UpdateFinishedTrialError):
        trial.set_user_attr("a", 1)


def test_trial_knows_that_it_has_artifacts(study, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    study.enqueue_trial({})
    trial = study.ask()
    study.ask()
    upload_artifact(
        artifact_store=FileSystemArtifactStore(str(tmp_path)), file_path=str(tmp_path / "a"),
        study_or_trial=trial,
    )  # fmt: skip
    assert [internals.has_artifacts(t) for t in study.trials] == [True, False]


# Storages


@pytest.fixture
def database(tmp_path):
    return RDBStorage(f"sqlite:///{tmp_path}/s.db")


def test_studies_are_frozen(study):
    assert type(study._storage.get_all_studies()[0]) is internals.FrozenStudy


def test_cache_is_the_one_that_optuna_puts_before_a_database(database):
    cache = internals.with_cache(database)
    assert type(optuna.storages.get_storage(database)) is type(cache)
    study = optuna.create_study(storage=cache)
    assert study._storage is cache
    study.add_trial(create_trial(value=0.5))
    first, second = (study.get_trials(deepcopy=False)[0] for _ in "ab")
    assert first is second


def test_engine_is_that_of_the_database_behind(database):
    for storage in (database, internals.with_cache(database)):
        assert internals.engine_of(storage) is database.engine
    assert internals.engine_of(InMemoryStorage()) is None


def test_database_and_cache_read_many_trials_in_the_way_of_the_class_below(tmp_path):
    calls = []

    class Reader(internals.TrialReader):
        def read_trials(self, study_id, states, included, after):
            calls.append((states, set(included), after))
            return super().read_trials(study_id, states, included, after)

    reader = Reader(f"sqlite:///{tmp_path}/s.db")
    study = optuna.create_study(storage=internals.with_cache(reader))
    study.ask()
    study.add_trial(create_trial(value=0.5))
    calls.clear()
    for _ in range(2):
        assert [trial.number for trial in study.trials] == [0, 1]
    assert calls == [(None, set(), -1), (None, {1}, 2)]
    study.tell(0, 0.5)
    calls.clear()
    states = (TrialState.COMPLETE,)
    assert len(reader.get_all_trials(study._study_id, states=states)) == 2
    assert calls == [(states, set(), -1)]
    with pytest.raises(KeyError):
        reader.read_trials(99, None, set(), -1)


def test_tables_have_the_columns_that_are_read(database):
    columns = {
        "STUDIES": ["study_id", "study_name"],
        "TRIALS": ["trial_id", "number", "study_id", "state", "datetime_start",
                   "datetime_complete"],
        "VALUES": ["trial_value_id", "trial_id", "objective", "value", "value_type"],
        "PARAMS": ["param_id", "trial_id", "param_name", "param_value", "distribution_json"],
        "USER_ATTRS": ["trial_user_attribute_id", "trial_id", "key", "value_json"],
        "SYSTEM_ATTRS": ["trial_system_attribute_id", "trial_id", "key", "value_json"],
        "REPORTS": ["trial_intermediate_value_id", "trial_id", "step", "intermediate_value",
                    "intermediate_value_type"],
    }  # fmt: skip
    assert columns == {name: getattr(internals, name).columns.keys() for name in columns}
    with database.engine.connect() as connection:
        for name in columns:
            assert connection.execute(getattr(internals, name).select()).all() == []


@pytest.mark.parametrize("value", [0.5, math.inf, -math.inf, math.nan])
def test_numbers_are_read_as_they_were_written(database, value):
    study = optuna.create_study(storage=database)
    study.ask().report(value, 1)
    if not math.isnan(value):  # a score may not be
        study.tell(0, value)
    with database.engine.connect() as connection:
        reports = connection.execute(internals.REPORTS.select()).all()
        values = connection.execute(internals.VALUES.select()).all()
    read = [internals.to_report(r.intermediate_value, r.intermediate_value_type) for r in reports]
    read += [internals.to_value(v.value, v.value_type) for v in values]
    assert [repr(number) for number in read] == [repr(value)] * (1 + len(values))


# Errors


def test_error_of_what_is_not_there_is_known(study, tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/other.db", create=True)
    for ask in (storage.get_study_user_attrs, storage.get_trial, storage.get_all_trials):
        with pytest.raises(KeyError) as error:
            ask(99)
        assert error.value.args == internals.not_found().args
        assert internals.is_not_found(error.value)
    assert internals.is_not_found(KeyError())
    assert not internals.is_not_found(KeyError("x"))


@pytest.mark.parametrize(("version", "is_older"), [("v3.0.0.d", True), ("v99.0.0.a", False)])
def test_error_of_tables_of_another_version_is_known(database, tmp_path, version, is_older):
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(RuntimeError) as error:
        RDBStorage(f"sqlite:///{tmp_path}/s.db")
    assert internals.has_other_tables(error.value)
    assert internals.has_older_tables(error.value) == is_older
    for other in (RuntimeError("storage upgrade"), ValueError("table schema, storage upgrade")):
        assert not internals.has_other_tables(other)
        assert not internals.has_older_tables(other)
