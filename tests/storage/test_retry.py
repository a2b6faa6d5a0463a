"""Waiting for a database that is locked, or gone for a while."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from nas.errors import StorageFailedError, StudyError
from nas.searching import ledger
from nas.searching.config import SearchConfig
from nas.spaces.task import Task
from nas.storage import leases, retry, sqlite_file
from nas.storage.counts import count_trials
from nas.storage.database import open_storage, storage_errors
from nas.storage.internals import set_state
from nas.storage.retry import RetryingStorage
from nas.training.messages import Trained
from tests.fakes import FakePool, make_space, search_in

LOCKED = sqlite3.OperationalError("database is locked")


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def break_off(monkeypatch, storage, name, when, after=False):
    """Let the database break off now and then: `when(n)` says whether in the n-th call."""
    dialect, calls = storage.engine.dialect, []
    function = getattr(dialect, name)

    def broken(*args):
        calls.append(args)
        is_broken = when(len(calls))
        if is_broken and not after:
            raise LOCKED
        function(*args)
        if is_broken:
            raise LOCKED

    monkeypatch.setattr(dialect, name, broken)
    return calls


def run_search(study, data, folder, pool=None):
    """The study, after a whole search in it."""
    task = Task(data.input_shape, len(data.classes), 150, 3)
    settings = SearchConfig(budget=1, trials=6, sampler="tpe", pruner="none")
    search_in(study, make_space(), task, data, settings, pool or FakePool(), folder).run()
    return study


def results(study):
    return [(t.params, t.values) for t in study.trials if t.state == TrialState.COMPLETE]


@pytest.mark.slow
def test_search_in_a_database_that_breaks_off_before_it_takes_anything_ends_as_it_would_have(
    storage, tiny_data, tmp_path, monkeypatch
):
    straight = run_search(optuna.create_study(direction="maximize"), tiny_data, tmp_path / "o")
    study = optuna.create_study(storage=storage, direction="maximize")
    calls = break_off(monkeypatch, storage, "do_commit", lambda n: n % 3 == 0)
    run_search(study, tiny_data, tmp_path / "a")
    assert len(calls) > 100
    assert [(t.state, t.params, t.values) for t in study.trials] == [
        (t.state, t.params, t.values) for t in straight.trials
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_search_loses_nothing_and_counts_nothing_twice_when_answers_do_not_come_back(
    storage, tiny_data, tmp_path, monkeypatch, seed
):
    """The database has taken what it was given, but nobody learns of it."""
    monkeypatch.setattr(ledger, "RECOVERY_SECONDS", 0.0)
    monkeypatch.setattr(leases, "UNOWNED_SECONDS", 0.0)
    rng = random.Random(seed)
    study = optuna.create_study(storage=storage, direction="maximize")
    calls = break_off(monkeypatch, storage, "do_commit", lambda n: rng.random() < 0.2, after=True)
    run_search(study, tiny_data, tmp_path / "a")
    assert len(calls) > 100
    assert count_trials(study).counts["trained"] == 6
    assert len({str(params) for params, _ in results(study)}) == 6
    assert not [t for t in study.trials if t.state == TrialState.RUNNING]


def test_lock_of_another_program_is_waited_for(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "_TRY_SECONDS", 0)
    storage.engine.dispose()
    study = optuna.create_study(storage=storage)
    other = sqlite3.connect(tmp_path / "s.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    begun = time.monotonic()
    thread = threading.Timer(0.3, other.rollback)
    thread.start()
    study.set_user_attr("name", 1)
    assert time.monotonic() - begun >= 0.29
    thread.join()
    assert study.user_attrs == {"name": 1}


def test_database_that_does_not_come_back_is_given_up(storage, monkeypatch):
    study = optuna.create_study(storage=storage)
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0.1)
    calls = break_off(monkeypatch, storage, "do_commit", lambda n: True)
    with pytest.raises(StorageInternalError):
        study.set_user_attr("name", 1)
    assert len(calls) > 3


def test_it_is_said_once_that_the_database_does_not_answer(storage, monkeypatch, caplog):
    study = optuna.create_study(storage=storage)
    break_off(monkeypatch, storage, "do_commit", lambda n: n <= 12)
    study.set_user_attr("name", 1)
    assert caplog.messages == [
        "the database does not answer ((sqlite3.OperationalError) database is locked): it is "
        "tried again for 300 s"
    ]


def test_nothing_is_said_of_a_moment(storage, monkeypatch, caplog):
    study = optuna.create_study(storage=storage)
    break_off(monkeypatch, storage, "do_commit", lambda n: n < retry.NUM_SILENT)
    study.set_user_attr("name", 1)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "error", ["database or disk is full", "disk I/O error", "unable to open database file"]
)
def test_what_time_does_not_heal_is_raised_at_once(storage, monkeypatch, error):
    study = optuna.create_study(storage=storage)
    calls = []

    def refuse(*args):
        calls.append(args)
        raise sqlite3.OperationalError(error)

    monkeypatch.setattr(storage.engine.dialect, "do_commit", refuse)
    with pytest.raises(StorageInternalError):
        study.set_user_attr("name", 1)
    assert len(calls) == 1


class ServerError(Exception):
    """As the driver of a server would raise it."""


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (OperationalError("", None, ServerError("connection refused")), True),
        (InterfaceError("", None, ServerError("connection already closed")), True),
        (DBAPIError("", None, ServerError("reset"), connection_invalidated=True), True),
        (DBAPIError("", None, ServerError("syntax")), False),
        (IntegrityError("", None, ServerError("duplicate key")), False),
        (OperationalError("", None, LOCKED), True),
        (OperationalError("", None, sqlite3.OperationalError("disk is full")), False),
        (ValueError("locked"), False),
        (None, False),
    ],
)
def test_server_that_does_not_answer_may_come_back_and_a_full_disk_does_not(error, may_pass):
    assert retry._may_pass(error) == may_pass


# What is given to each method of Optuna's interface; the names are the parameters'.
GIVEN = {
    "create_new_study": (["maximize"], "name"),
    "create_new_trial": (1, None),
    "delete_study": (1,),
    "get_all_studies": (),
    "get_all_trials": (1, False, (TrialState.RUNNING,)),
    "get_study_directions": (1,),
    "get_study_id_from_name": ("name",),
    "get_study_name_from_id": (1,),
    "get_study_system_attrs": (1,),
    "get_study_user_attrs": (1,),
    "get_trial": (1,),
    "get_trial_id_from_study_id_trial_number": (1, 2),
    "set_study_system_attr": (1, "key", "value"),
    "set_study_user_attr": (1, "key", "value"),
    "set_trial_intermediate_value": (1, 2, 0.5),
    "set_trial_param": (1, "x", 0.5, optuna.distributions.FloatDistribution(0, 1)),
    "set_trial_state_values": (1, TrialState.COMPLETE, [0.5]),
    "set_trial_system_attr": (1, "key", "value"),
    "set_trial_user_attr": (1, "key", "value"),
}


class Wrapped:
    """A storage that answers each call with an error, as often as it has one, then with itself."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), []

    def __getattr__(self, name):
        def call(*args):
            self.calls.append((name, args))
            if self.errors:
                raise self.errors.pop(0)
            return self

        return call


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_each_method_is_handed_on_and_tried_again(name):
    error = OperationalError("", None, LOCKED)
    wrapped = Wrapped(error, StorageInternalError(), error)
    wrapped.errors[1].__cause__ = error
    answer = getattr(RetryingStorage(wrapped), name)(*GIVEN[name])
    assert wrapped.calls == [(name, GIVEN[name])] * 4
    assert answer in (wrapped, None)
    assert (answer is None) == name.startswith(("set_", "delete_")) - (
        name == "set_trial_state_values"
    )


def test_no_method_of_optunas_interface_is_left_out():
    assert set(GIVEN) >= BaseStorage.__abstractmethods__


@pytest.mark.parametrize("name", sorted(GIVEN))
@pytest.mark.parametrize("error", [ValueError("x"), IndexError("x"), TypeError(), AssertionError()])
def test_what_makes_no_sense_is_damage_where_it_is_read_and_bad_input_where_it_is_written(
    name, error
):
    kind = StudyError if name.startswith("get_") else type(error)
    with pytest.raises(kind):
        getattr(RetryingStorage(Wrapped(error)), name)(*GIVEN[name])


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_study_or_trial_that_is_not_there_is_no_damage(name):
    with pytest.raises(KeyError):
        getattr(RetryingStorage(Wrapped(KeyError("x"))), name)(*GIVEN[name])


def test_trial_that_had_ended_before_is_not_told_again(storage):
    study = optuna.create_study(storage=storage)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(UpdateFinishedTrialError):
        set_state(study, study.trials[0], TrialState.COMPLETE, [0.5])


@pytest.mark.parametrize("value", [0.5, 0.6])
def test_trial_that_has_ended_meanwhile_is_told_only_if_the_lost_call_did_it(
    storage, monkeypatch, value
):
    """The other case: while the database was away, another process closed it."""
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    calls = break_off(monkeypatch, storage, "do_commit", lambda n: n == 1, after=True)
    tell = storage.wrapped.set_trial_state_values
    given = [0.5] if value == 0.5 else [0.7]
    monkeypatch.setattr(
        storage.wrapped,
        "set_trial_state_values",
        lambda trial_id, state, values: tell(trial_id, state, [value] if not calls else values),
    )
    if value == 0.5:
        assert set_state(study, study.trials[0], TrialState.COMPLETE, given)
    else:
        with pytest.raises(UpdateFinishedTrialError):
            set_state(study, study.trials[0], TrialState.COMPLETE, given)
    assert study.trials[trial.number].value == value
    assert len(calls) > 1


def test_reading_is_tried_again_as_well(storage):
    study = optuna.create_study(storage=storage)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    calls = []

    @event.listens_for(storage.engine, "before_cursor_execute")
    def refuse(*args):
        calls.append(args)
        if len(calls) < 4:
            raise OperationalError("", None, LOCKED)

    assert optuna.load_study(study_name=study.study_name, storage=storage).best_value == 0.5
    assert len(calls) > 4


def test_lock_that_outlasts_all_tries_ends_the_search_in_one_line_and_nothing_is_lost(
    tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite_file, "_TRY_SECONDS", 0)
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path}/s.db"
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, direction="maximize")
    other = sqlite3.connect(tmp_path / "s.db")

    class LockedPool(FakePool):
        """Somebody takes the database just before the first candidates are done."""

        def wait(self, timeout_seconds):
            messages = super().wait(timeout_seconds)
            if isinstance(messages[0], Trained) and not other.in_transaction:
                other.execute("BEGIN EXCLUSIVE")
            return messages

    message = "database is locked"
    with pytest.raises(StorageFailedError, match=message) as raised, storage_errors(url):
        run_search(study, tiny_data, tmp_path / "a", LockedPool(2))
    assert raised.value.exit_code == 3
    other.close()
    assert [t.state.name for t in study.trials] == ["RUNNING"] * 2
    run_search(study, tiny_data, tmp_path / "a", pool := FakePool())
    assert len(pool.jobs) == 4
    assert count_trials(study).counts["trained"] == 6
    assert [t.state.name for t in study.trials[:2]] == ["COMPLETE"] * 2
