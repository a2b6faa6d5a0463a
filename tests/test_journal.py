"""Finished candidates that the database could not take."""

from __future__ import annotations

import json
import sqlite3

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from nas.events import Note
from nas.journal import Journal
from nas.metrics import EpochMetrics
from nas.ownership import Owner
from nas.search import Search
from nas.settings import SearchSettings
from nas.stopping import StopRequest
from nas.tally import take_tally
from nas.task import Task
from nas.trials import Reason, Rung, read_trials, record_reason
from nas.weights import WeightsStore
from tests.fakes import FakePool, make_space

HISTORY = [EpochMetrics(1, 1.5, 1.25, 0.25, 0.1), EpochMetrics(2, 1.0, 0.75, 0.625, 0.2)]
RUNGS = [Rung(1, 1.5, 0.25, 0.125)]


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


@pytest.fixture
def journal(study, tmp_path):
    return Journal(tmp_path / "artifacts", study.study_name)


def begin(study, fingerprint="abc"):
    """A trial that is being trained, by a process that is no more."""
    trial = Owner(study).ask()
    trial.suggest_int("width", 1, 30)
    trial.set_user_attr("fingerprint", fingerprint)
    study._storage.set_trial_user_attr(trial._trial_id, "owner", "nobody")
    return trial


def files(journal):
    return sorted(journal.folder.glob("*"))


def add(journal, trial, fingerprint="abc", score=0.625):
    journal.add(trial.number, fingerprint, score, HISTORY, 0.4251, RUNGS)


def test_trial_of_a_dead_process_is_complete_with_all_that_came_of_its_training(study, journal):
    begin(study, "other")
    trial = begin(study)
    add(journal, trial)
    assert journal.replay(study) == [1]
    other, record = read_trials(study)
    assert other.state == TrialState.RUNNING
    assert record.is_complete
    assert record.valid_accuracy == 0.625
    assert record.history == tuple(HISTORY)
    assert record.rungs == tuple(RUNGS)
    assert (record.epochs, record.train_seconds) == (2, 0.425)
    assert study.best_value == 0.625
    assert take_tally(study).counts == {"trained": 1}


def test_trial_from_the_journal_is_not_tried_again(study, journal):
    add(journal, begin(study))
    journal.replay(study)
    assert Owner(study).recover() == []


def test_files_are_gone_once_all_is_stored(study, journal):
    for number in range(3):
        add(journal, begin(study, str(number)), str(number), number / 4)
    assert journal.replay(study) == [0, 1, 2]
    assert [t.value for t in study.trials] == [0, 0.25, 0.5]
    assert not files(journal)
    assert journal.replay(study) == []


def test_without_a_file_there_is_nothing_to_store_and_no_folder_is_made(study, journal):
    assert journal.replay(study) == []
    assert not journal.folder.exists()


@pytest.mark.parametrize("how", ["complete", "lost"])
def test_trial_that_another_process_has_closed_stays_as_it_is(study, journal, how):
    trial = begin(study)
    add(journal, trial)
    if how == "complete":
        study.tell(trial, 0.5)
    else:
        record_reason(trial, Reason.LOST, "")
        study.tell(trial, state=TrialState.FAIL)
    before = study.trials
    assert journal.replay(study) == []
    assert study.trials == before
    assert not files(journal)


def test_trial_that_another_process_closes_at_this_moment_stays_as_it_is(
    study, journal, monkeypatch
):
    trial = begin(study)
    add(journal, trial)
    get_trials = study.get_trials

    def slow(*args, **kwargs):
        found = get_trials(deepcopy=True)
        study.tell(trial, 0.5)
        return found

    monkeypatch.setattr(study, "get_trials", slow)
    assert journal.replay(study) == []
    assert get_trials()[0].value == 0.5


@pytest.mark.parametrize("what", ["no trial", "other fingerprint", "no candidate"])
def test_entry_of_another_database_is_kept_until_that_comes_back(study, journal, what):
    trial = begin(study)
    add(journal, trial)
    (path,) = files(journal)
    text = path.read_text()
    other = optuna.create_study(direction="maximize")
    if what == "other fingerprint":
        begin(other, "something else")
    elif what == "no candidate":
        Owner(other).ask()
    states = [t.state for t in other.trials]
    assert journal.replay(other) == []
    assert [t.state for t in other.trials] == states
    assert path.read_text() == text
    assert journal.replay(study) == [0]
    assert not files(journal)


def test_what_is_known_is_stored_though_another_entry_must_wait(study, journal):
    first, second = begin(study, "a"), begin(study, "b")
    add(journal, first, "unknown")
    add(journal, second, "b")
    assert journal.replay(study) == [1]
    assert len(files(journal)) == 1
    assert journal.replay(study) == []


@pytest.mark.parametrize("text", ["[1]", "3", "{}", '{"number": 0}', "null", "", '{"numb'])
def test_file_that_is_no_entry_is_passed_over(study, journal, text):
    for fingerprint in "ab":
        add(journal, begin(study, fingerprint), fingerprint)
    files(journal)[0].write_text(text)
    assert journal.replay(study) == [1]
    assert [path.read_text() for path in files(journal)] == [text]


def test_entry_that_was_added_while_others_are_stored_is_kept(study, journal, monkeypatch):
    add(journal, begin(study, "a"), "a")
    second, store = begin(study, "b"), journal._store

    def slow(*args):
        store(*args)
        add(Journal(journal.folder, study.study_name), second, "b")

    monkeypatch.setattr(journal, "_store", slow)
    assert journal.replay(study) == [0]
    monkeypatch.undo()
    assert journal.replay(study) == [1]


def test_two_processes_store_an_entry_once(study, journal, monkeypatch):
    add(journal, begin(study))
    other, store = Journal(journal.folder, study.study_name), journal._store

    def slow(*args):
        assert other.replay(study) == [0]
        store(*args)

    monkeypatch.setattr(journal, "_store", slow)
    assert journal.replay(study) == []
    assert [t.value for t in study.trials] == [0.625]


def test_process_that_was_killed_over_an_entry_leaves_nothing_that_counts(
    study, journal, monkeypatch
):
    trial = begin(study)

    def die(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        add(journal, trial)
    assert files(journal) == []
    assert journal.replay(study) == []
    assert [t.state.name for t in study.trials] == ["RUNNING"]


@pytest.mark.parametrize("name", ["a b", "../up", ".", "ä", "x:y*?", "n" * 128, "Ω" * 128])
def test_odd_study_names_make_names_of_files_in_the_folder(tmp_path, name):
    study = optuna.create_study(direction="maximize", study_name=name)
    journal = Journal(tmp_path / "artifacts", name)
    add(journal, begin(study))
    (path,) = (tmp_path / "artifacts").iterdir()
    assert path.name.isascii()
    assert not set(path.name) & set('\\/:*?"<>| ')
    assert journal.replay(study) == [0]


@pytest.mark.parametrize(("one", "other"), [("a b", "a_b"), ("学習", "探索"), ("a", "a-b")])
def test_studies_of_different_names_have_different_files(study, tmp_path, one, other):
    add(Journal(tmp_path, one), begin(study))
    assert Journal(tmp_path, other).replay(study) == []
    assert Journal(tmp_path, one).replay(study) == [0]


def test_files_are_json_that_people_can_read(study, journal):
    add(journal, begin(study))
    entry = json.loads(files(journal)[0].read_text())
    assert (entry["number"], entry["fingerprint"], entry["score"]) == (0, "abc", 0.625)


# In a search


def make_search(study, data, folder, events):
    task = Task(data.input_shape, len(data.classes), 150, 3)
    settings = SearchSettings(trials=3, sampler="random", pruner="none")
    return Search(study, make_space(), task, data, settings, FakePool(),
                  WeightsStore(study, folder), events.append, StopRequest())  # fmt: skip


def test_candidate_that_the_database_could_not_take_is_stored_by_the_next_search(
    study, tiny_data, tmp_path, monkeypatch
):
    events = []
    search = make_search(study, tiny_data, tmp_path, events)

    def refuse(trial, value=None, state=None):
        if value is not None and state is None:
            raise StorageInternalError from sqlite3.OperationalError("disk I/O error")
        return type(study).tell(study, trial, value, state)

    monkeypatch.setattr(study, "tell", refuse)
    with pytest.raises(StorageInternalError):
        search.run()
    monkeypatch.undo()
    (path,) = tmp_path.glob("*.unsaved.json")
    (number,) = [t.number for t in study.trials if t.state == TrialState.RUNNING]
    score = study.trials[number].intermediate_values[3]

    again = make_search(study, tiny_data, tmp_path, events)
    ended = again.run()
    assert ended.counts["trained"] == 3
    assert len(again.pool.jobs) == 2
    assert study.trials[number].value == score
    assert f"trial {number} was finished before: it is stored now" in [
        event.text for event in events if isinstance(event, Note)
    ]
    assert not path.exists()
    assert again.weights.load(number)
