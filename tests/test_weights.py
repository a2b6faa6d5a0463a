"""Weights of the best trials, and of no others."""

from __future__ import annotations

import optuna
import pytest
import torch

from nas.errors import StudyError
from nas.studies import best_trials, rank_key, read_trials
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
    for record in best_trials(read_trials(store.study))[:NUM_KEPT]:
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
