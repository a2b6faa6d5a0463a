"""Weights of the best trials, and of no others."""

from __future__ import annotations

import socket
import subprocess
import sys

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.errors import StudyError
from nas.trials import best_trials, rank_key
from nas.weights import NUM_KEPT, WeightsStore, default_artifact_dir


@pytest.fixture
def store(tmp_path):
    return WeightsStore(optuna.create_study(direction="maximize"), tmp_path / "artifacts")


def complete(store, value, num_params=100):
    trial = store.study.ask()
    trial.set_user_attr("num_params", num_params)
    rank = rank_key(value, num_params, trial.number)
    store.keep(trial, {"w": torch.full((3,), value), "n": torch.tensor(7)}, rank)
    store.study.tell(trial, value)
    return trial.number


def test_weights_come_back_as_they_were(store):
    number = complete(store, 0.5)
    weights = store.load(number)
    assert torch.equal(weights["w"], torch.full((3,), 0.5))
    assert weights["n"].dtype == torch.int64


def test_only_the_best_are_kept_and_the_files_of_others_deleted(store):
    values = [0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.6, 0.4]
    numbers = {value: complete(store, value) for value in values}
    for value in sorted(values)[-NUM_KEPT:]:
        assert store.load(numbers[value])["w"][0] == torch.tensor(value)
    for value in sorted(values)[:-NUM_KEPT]:
        with pytest.raises(StudyError, match=f"only those of the best {NUM_KEPT}"):
            store.load(numbers[value])
    assert len(list(store.artifact_dir.iterdir())) == NUM_KEPT


def test_trial_that_does_not_rank_writes_nothing(store):
    for _ in range(NUM_KEPT):
        complete(store, 0.9)
    before = sorted(store.artifact_dir.iterdir())
    complete(store, 0.9)
    complete(store, 0.1)
    assert sorted(store.artifact_dir.iterdir()) == before


def test_weights_of_the_best_trial_are_always_there_also_among_equals(store):
    for num_params in (100, 90, 80, 70, 60, 50):
        complete(store, 0.99, num_params)
    for record in best_trials(store.study)[:NUM_KEPT]:
        assert store.load(record.number)


def test_refusal_names_the_trials_whose_weights_are_there(store):
    for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        complete(store, value)
    with pytest.raises(StudyError, match=r"\(1, 2, 3, 4, 5\)"):
        store.load(0)


def test_damaged_weights_are_refused_and_not_loaded(store):
    number = complete(store, 0.5)
    (path,) = store.artifact_dir.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StudyError, match="are damaged"):
        store.load(number)


def test_store_lies_beside_a_sqlite_file():
    assert str(default_artifact_dir("sqlite:///a/b.db")) == "a/b-artifacts"
    assert str(default_artifact_dir(None)) == "studies-artifacts"
    assert str(default_artifact_dir("postgresql://host/x")) == "nas-artifacts"


# Weights of no trial


def test_saved_weights_come_back_as_they_were(store):
    name = store.save({"w": torch.full((3,), 0.1), "n": torch.tensor(7)})
    other = store.save({"w": torch.full((3,), 0.2)})
    weights = store.read(name)
    assert torch.equal(weights["w"], torch.full((3,), 0.1))
    assert weights["n"].dtype == torch.int64
    assert torch.equal(store.read(other)["w"], torch.full((3,), 0.2))


def test_saved_weights_are_found_by_another_process(store):
    name = store.save({"w": torch.ones(3)})
    again = WeightsStore(store.study, store.artifact_dir)
    assert again.has(name)
    assert torch.equal(again.read(name)["w"], torch.ones(3))


def test_saved_weights_push_no_trial_out_and_are_pushed_out_by_none(store):
    saved = [store.save({"w": torch.tensor(float(i))}) for i in range(3)]
    numbers = [complete(store, value) for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    for number in numbers[1:]:
        assert store.load(number)
    assert [store.read(name)["w"].item() for name in saved] == [0, 1, 2]


def test_store_has_what_was_saved_and_is_still_there(store):
    assert not store.has(None)
    assert not store.has("nothing")
    name = store.save({"w": torch.ones(3)})
    assert store.has(name)
    (store.artifact_dir / name).unlink()
    assert not store.has(name)


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "damaged"])
def test_saved_weights_that_cannot_be_read_are_refused(store, is_gone):
    name = store.save({"w": torch.ones(3)})
    path = store.artifact_dir / name
    if is_gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StudyError, match=f"weights {name} in .* are gone or damaged"):
        store.read(name)


# What killed processes have left


def test_half_written_weights_of_dead_processes_are_removed(store):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = store.artifact_dir / f".part-{socket.gethostname()}@{process.pid}-x"
    folder.mkdir(parents=True)
    store.tidy_up()
    assert not folder.exists()


def test_weights_that_another_process_has_just_deleted_are_no_fault(store, monkeypatch):
    trial = store.study.ask()
    store.keep(trial, {"w": torch.ones(3)}, rank_key(0.5, 100, trial.number))
    store.study.tell(trial, state=TrialState.FAIL)
    remove = store._store.remove

    def slow(artifact_id):
        remove(artifact_id)
        remove(artifact_id)

    monkeypatch.setattr(store._store, "remove", slow)
    store.tidy_up()
    assert list(store.artifact_dir.iterdir()) == []


def test_weights_of_trials_that_were_never_told_are_removed(store):
    best = complete(store, 0.9)
    trials = [store.study.ask() for _ in range(2)]
    for trial in trials:
        store.keep(trial, {"w": torch.ones(3)}, rank_key(0.5, 100, trial.number))
    store.study.tell(trials[0], state=TrialState.FAIL)
    store.tidy_up()
    assert store.load(best)
    assert store.load(trials[1].number)  # it is still in work
    with pytest.raises(StudyError, match="only those of the best"):
        store.load(trials[0].number)
    assert len(list(store.artifact_dir.iterdir())) == 2
    store.tidy_up()
    assert len(list(store.artifact_dir.iterdir())) == 2


def test_there_is_nothing_to_tidy_up_before_the_first_weights(store):
    store.study.tell(store.study.ask(), state=TrialState.FAIL)
    store.tidy_up()
    assert not store.artifact_dir.exists()
