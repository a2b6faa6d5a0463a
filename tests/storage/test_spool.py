"""Finished candidates that the database could not take."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
import torch
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from nas.errors import SearchError, StorageFailedError
from nas.metrics import EpochMetrics
from nas.searching.config import SearchConfig
from nas.searching.events import EpochEnded, Note
from nas.spaces.task import Task
from nas.storage.artifacts import WeightsStore
from nas.storage.counts import count_trials
from nas.storage.leases import Lease
from nas.storage.reasons import Reason
from nas.storage.spool import ResultSpool
from nas.storage.trials import Rung, read_trials, record_reason, record_result
from nas.training.messages import Failed, Trained
from tests.fakes import FakePool, make_space, search_in

HISTORY = [EpochMetrics(1, 1.5, 1.25, 0.25, 0.1), EpochMetrics(2, 1.0, 0.75, 0.625, 0.2)]
RUNGS = [Rung(1, 1.5, 0.25, 0.125)]
WEIGHTS = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(7)}


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


@pytest.fixture
def journal(study, tmp_path):
    return ResultSpool(tmp_path / "artifacts", study.study_name)


def raising(error):
    def function(*arguments, **options):
        raise error

    return function


def begin(study, fingerprint="abc"):
    """A trial that is being trained, by a process that is no more."""
    trial = Lease(study).ask()
    trial.suggest_int("width", 1, 30)
    trial.set_user_attr("fingerprint", fingerprint)
    study._storage.set_trial_user_attr(trial._trial_id, "owner", "nobody")
    return trial


def files(journal):
    """Of the results that wait."""
    return sorted(journal.folder.glob("*.json"))


def weights_of(study, journal, number):
    return WeightsStore(study, journal.folder).load(number)


def add(journal, trial, fingerprint="abc", score=0.625):
    result = Rung(2, 0.75, score, 0.3)
    journal.add(trial.number, fingerprint, result, HISTORY, 0.4251, RUNGS, WEIGHTS)


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
    assert count_trials(study).counts == {"trained": 1}
    assert study.trials[1].intermediate_values == {2: 0.625}


def test_weights_are_the_trials_once_it_is_stored(study, journal):
    trial = begin(study)
    add(journal, trial)
    journal.replay(study)
    weights = weights_of(study, journal, 0)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert len(list(journal.folder.iterdir())) == 1


def test_weights_take_the_place_of_those_of_a_shorter_schedule(study, journal):
    trial = begin(study)
    WeightsStore(study, journal.folder).keep(trial, {"w": torch.ones(1)}, RUNGS[0])
    record_result(trial, RUNGS[0])
    add(journal, trial)
    journal.replay(study)
    assert torch.equal(weights_of(study, journal, 0)["w"], WEIGHTS["w"])
    assert len(list(journal.folder.iterdir())) == 1
    assert read_trials(study)[0].result == Rung(2, 0.75, 0.625, 0.3)


@pytest.mark.parametrize("text", [None, "", "damaged"])
def test_weights_that_are_gone_or_damaged_do_not_cost_the_score(study, journal, text):
    add(journal, begin(study))
    (path,) = journal.folder.glob("*.safetensors")
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert journal.replay(study) == [0]
    assert study.best_value == 0.625
    assert not list(journal.folder.iterdir())


def test_weights_that_find_no_room_do_not_cost_the_score(study, journal, monkeypatch):
    def refuse(state_dict):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.storage.spool.save", refuse)
    add(journal, begin(study))
    assert journal.replay(study) == [0]
    assert study.best_value == 0.625


def test_trial_from_the_journal_is_not_tried_again(study, journal):
    add(journal, begin(study))
    journal.replay(study)
    assert Lease(study).recover() == []


def test_files_are_gone_once_all_is_stored(study, journal):
    for number in range(3):
        add(journal, begin(study, str(number)), str(number), number / 4)
    assert journal.replay(study) == [0, 1, 2]
    assert [t.value for t in study.trials] == [0, 0.25, 0.5]
    assert not files(journal)
    assert journal.replay(study) == []


def test_file_that_cannot_be_removed_is_stored_once(study, journal, monkeypatch):
    add(journal, begin(study))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", raising(PermissionError(13, "Read-only file system")))
        assert journal.replay(study) == [0]
        assert journal.replay(study) == []
    assert files(journal)
    assert journal.replay(study) == []
    assert not files(journal)


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
        study.tell(trial, 0.5, skip_if_finished=True)
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
        Lease(other).ask()
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
        add(ResultSpool(journal.folder, study.study_name), second, "b")

    monkeypatch.setattr(journal, "_store", slow)
    assert journal.replay(study) == [0]
    monkeypatch.undo()
    assert journal.replay(study) == [1]


def test_two_processes_store_an_entry_once(study, journal, monkeypatch):
    add(journal, begin(study))
    other, store = ResultSpool(journal.folder, study.study_name), journal._store

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
    journal = ResultSpool(tmp_path / "artifacts", name)
    add(journal, begin(study))
    paths = list((tmp_path / "artifacts").iterdir())
    assert len(paths) == 2
    for path in paths:
        assert path.name.isascii()
        assert not set(path.name) & set('\\/:*?"<>| ')
    assert journal.replay(study) == [0]


@pytest.mark.parametrize(("one", "other"), [("a b", "a_b"), ("学習", "探索"), ("a", "a-b")])
def test_studies_of_different_names_have_different_files(study, tmp_path, one, other):
    add(ResultSpool(tmp_path, one), begin(study))
    assert ResultSpool(tmp_path, other).replay(study) == []
    assert ResultSpool(tmp_path, one).replay(study) == [0]


def test_files_are_json_that_people_can_read(study, journal):
    add(journal, begin(study))
    entry = json.loads(files(journal)[0].read_text())
    assert (entry["number"], entry["fingerprint"], entry["score"]) == (0, "abc", 0.625)


# In a search


def make_search(study, data, folder, events, pool=None):
    task = Task(data.input_shape, len(data.classes), 150, 3)
    settings = SearchConfig(budget=1, trials=3, sampler="random", pruner="none")
    return search_in(
        study, make_space(), task, data, settings, pool or FakePool(), folder, events.append
    )


def refuse(*args, **kwargs):
    raise StorageInternalError from sqlite3.OperationalError("disk I/O error")


def running(study):
    return [t.number for t in study.trials if t.state == TrialState.RUNNING]


@pytest.mark.parametrize("what", ["what came of it", "weights", "score"])
def test_candidate_that_the_database_could_not_take_is_stored_by_the_next_search(
    study, tiny_data, tmp_path, monkeypatch, what
):
    events = []
    search = make_search(study, tiny_data, tmp_path, events)

    def tell(trial, value=None, state=None):
        if value is not None and state is None:
            refuse()
        return type(study).tell(study, trial, value, state)

    if what == "what came of it":
        monkeypatch.setattr("nas.searching.ledger.record_training", refuse)
    elif what == "weights":
        monkeypatch.setattr(search.ledger.results.weights, "keep", refuse)
    else:
        monkeypatch.setattr(study, "tell", tell)
    with pytest.raises(StorageInternalError):
        search.run()
    monkeypatch.undo()
    (path,) = tmp_path.glob("*.unsaved.json")
    (number,) = running(study)
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
    assert again.ledger.results.weights.load(number)["0.weight"].tolist() == [number] * 2


def test_all_that_were_finished_when_the_database_failed_are_stored_by_the_next_search(
    study, tiny_data, tmp_path, monkeypatch
):
    search = make_search(study, tiny_data, tmp_path, [], FakePool(3))
    monkeypatch.setattr("nas.searching.ledger.record_training", refuse)
    with pytest.raises(StorageInternalError):
        search.run()
    monkeypatch.undo()
    numbers = running(study)
    assert len(numbers) == 3
    again = make_search(study, tiny_data, tmp_path, [])
    assert again.run().counts["trained"] == 3
    assert again.pool.jobs == []
    assert all(again.ledger.results.weights.load(number) for number in numbers)


class UnevenPool(FakePool):
    """One candidate ends one call of `wait` before the other."""

    def wait(self, timeout_seconds):
        self.num_waits = getattr(self, "num_waits", 0) + 1
        if self.num_waits > 1:
            return super().wait(timeout_seconds)
        talks = self._talks
        self._talks = dict(list(talks.items())[:1])
        messages = super().wait(timeout_seconds)
        self._talks = talks
        return messages


def test_candidate_whose_last_epoch_is_over_when_the_database_fails_is_kept(
    study, tiny_data, tmp_path, monkeypatch
):
    pool = UnevenPool(2)
    search = make_search(study, tiny_data, tmp_path, [], pool)
    monkeypatch.setattr("nas.searching.ledger.record_training", refuse)
    with pytest.raises(StorageInternalError):
        search.run()
    monkeypatch.undo()
    assert pool.num_waits == 5  # 3 epochs, the end of the first, and that of the second
    assert len(running(study)) == 2
    assert len(search.ledger.results._spool.replay(study)) == 2


def test_candidate_in_the_midst_of_its_training_does_not_hold_up_the_end(
    study, tiny_data, tmp_path, monkeypatch
):
    pool = FakePool(2)
    search = make_search(study, tiny_data, tmp_path, [], pool)

    def observe(event):
        if isinstance(event, EpochEnded) and event.metrics.epoch == 2:
            refuse()

    search.runner.callback = observe
    with pytest.raises(StorageInternalError):
        search.run()
    assert pool.num_idle == 2
    assert len(running(study)) == 2
    assert search.ledger.results._spool.replay(study) == []


class FailingPool(FakePool):
    """The first candidate fails when the second is done."""

    def wait(self, timeout_seconds):
        messages = super().wait(timeout_seconds)
        if isinstance(messages[-1], Trained):
            messages[0] = Failed(messages[0].number, "broken")
        return messages


def test_what_was_heard_together_with_the_failure_that_ends_a_search_is_stored(
    study, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr("nas.searching.runner.MAX_ERRORS_IN_A_ROW", 1)
    search = make_search(study, tiny_data, tmp_path, [], FailingPool(2))
    with pytest.raises(SearchError):
        search.run()
    assert count_trials(study).counts == {"error": 1, "trained": 1}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_that_nothing_takes_are_named_in_one_line(
    study, tiny_data, tmp_path, monkeypatch, num_workers
):
    search = make_search(study, tiny_data, tmp_path, [], FakePool(num_workers))

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.searching.ledger.record_training", refuse)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFailedError) as raised:
        search.run()
    names = [f"trial {number}" for number in running(study)]
    assert len(names) == num_workers
    assert " and ".join(names) in str(raised.value)
    assert f"{tmp_path}: No space left on device" in str(raised.value)
    assert raised.value.exit_code == 3
