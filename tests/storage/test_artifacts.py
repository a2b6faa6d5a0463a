"""Weights of the best trials, and of no others."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys

import optuna
import pytest
import torch
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import TrialState
from safetensors.torch import save
from torch import nn

from nas.errors import StudyError
from nas.storage.artifacts import FILENAME, NUM_KEPT, WeightsStore, default_artifact_dir, fill
from nas.storage.ranking import best_trials
from nas.storage.trials import Rung, record_result


@pytest.fixture
def store(tmp_path):
    return WeightsStore(optuna.create_study(direction="maximize"), tmp_path / "artifacts")


def complete(store, value, num_params=100):
    trial = store.study.ask()
    trial.set_user_attr("num_params", num_params)
    keep(store, trial, value)
    store.study.tell(trial, value)
    return trial.number


def keep(store, trial, value, epochs=19):
    """As a search does when the trial has ended a schedule."""
    result = Rung(epochs, 1 - value, value, 1.0)
    store.keep(trial, {"w": torch.full((3,), value), "n": torch.tensor(7)}, result)
    record_result(trial, result)


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


def test_weights_of_a_longer_schedule_take_the_place_of_those_of_a_shorter_one(store):
    trial = store.study.ask()
    keep(store, trial, 0.25, epochs=1)
    keep(store, trial, 0.5, epochs=4)
    assert store.load(trial.number)["w"][0] == 0.5
    assert len(list(store.artifact_dir.iterdir())) == 1


@pytest.mark.parametrize("epochs", [0.2698, 1.0, 19, 100, 150.0, 10_000])
def test_weights_are_found_however_long_their_schedule(store, epochs):
    trial = store.study.ask()
    keep(store, trial, 0.5, epochs)
    (meta,) = get_all_artifact_meta(trial)
    assert meta.filename == f"trial-0-{round(epochs, 2):g}-epochs.safetensors"
    assert store.load(trial.number)["w"][0] == 0.5


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL])
def test_weights_of_an_ended_schedule_stay_whatever_becomes_of_the_trial(store, state):
    trial = store.study.ask()
    keep(store, trial, 0.5, epochs=1)
    if state != TrialState.RUNNING:
        store.study.tell(trial, state=state)
    store.tidy_up()
    assert store.load(trial.number)["w"][0] == 0.5


def test_of_trials_with_one_candidate_the_best_has_weights_and_no_other(store):
    for value in (0.5, 0.75, 0.25):
        trial = store.study.ask()
        trial.set_user_attr("fingerprint", "abc")
        keep(store, trial, value)
        store.study.tell(trial, state=TrialState.PRUNED)
    assert [record.number for record in best_trials(store.study)] == [1]
    assert store.load(1)
    with pytest.raises(StudyError, match="only those of the best"):
        store.load(2)


def test_weights_of_a_trial_in_work_are_not_deleted_before_its_result_is_there(store):
    """Another process stores the weights, then the result: between the two it looks like nothing"""
    trial = store.study.ask()
    store.keep(trial, {"w": torch.ones(3)}, Rung(19, 0.0, 1.0, 1.0))
    for _ in range(NUM_KEPT + 1):
        complete(store, 0.5)
    record_result(trial, Rung(19, 0.0, 1.0, 1.0))
    assert best_trials(store.study)[0].number == trial.number
    assert store.load(trial.number)
    store.study.tell(trial, 1.0)
    complete(store, 0.75)
    assert len(list(store.artifact_dir.iterdir())) == NUM_KEPT


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


HOSTILE = {
    "empty": b"",
    "a pickle": pickle.dumps({"w": 1.0}),
    "text": b"no weights\n",
    "a huge header": (2**63).to_bytes(8, "little") + b"{}",
    "a header longer than the file": (10_000).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": (4).to_bytes(8, "little") + b"{x:}",
    "an unknown type": (60).to_bytes(8, "little")
    + b'{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'.ljust(60)
    + b"\0",
}


@pytest.mark.parametrize("is_noted", [True, False], ids=["hash", "no hash"])
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_file_that_holds_no_weights_is_refused_in_one_line(store, content, is_noted, monkeypatch):
    if not is_noted:
        without_hashes(monkeypatch)
    number = complete(store, 0.5)
    (path,) = store.artifact_dir.iterdir()
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"^the weights of trial {number} in [^\n]* are damaged"):
        store.load(number)


def without_hashes(monkeypatch):
    """Let weights be kept as they were before their hashes were noted."""

    def upload(**values):
        return upload_artifact(**{k: v for k, v in values.items() if k != "mimetype"})

    monkeypatch.setattr("nas.storage.artifacts.upload_artifact", upload)


def test_weights_of_another_trial_are_refused(store):
    numbers = [complete(store, value) for value in (0.5, 0.6)]
    names = [store._meta(store.study.trials[number]).artifact_id for number in numbers]
    one, other = (store.artifact_dir / name for name in names)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(StudyError, match=r"trial 0 .* is not the file that was kept there"):
        store.load(numbers[0])
    one.write_bytes(kept)
    assert torch.equal(store.load(numbers[0])["w"], torch.full((3,), 0.5))


def test_weights_of_a_study_without_hashes_are_read(store, monkeypatch):
    without_hashes(monkeypatch)
    assert store.load(complete(store, 0.5))["w"][0] == 0.5
    assert store.read(store.save({"w": torch.ones(3)}, "trial-0-honest-0"))["w"][0] == 1


@pytest.mark.parametrize("name", ["../victim", "/tmp/../victim", "..", ".", "", "a/../../victim"])
def test_name_that_leads_out_of_the_folder_is_never_followed(store, name):
    store.artifact_dir.mkdir()
    victim = store.artifact_dir.parent / "victim"
    victim.write_bytes(save({"w": torch.ones(3)}))
    trial = store.study.ask()
    meta = {"artifact_id": name, "filename": FILENAME, "mimetype": "", "encoding": None}
    for storage_id, put in (
        (trial._trial_id, store.study._storage.set_trial_system_attr),
        (store.study._study_id, store.study._storage.set_study_system_attr),
    ):
        put(storage_id, f"artifacts:{name}", json.dumps(meta))
    store.study.tell(trial, state=TrialState.FAIL)
    store.tidy_up()
    assert victim.exists()
    assert not store.has(name)
    with pytest.raises(StudyError):
        store.load(trial.number)
    with pytest.raises(StudyError):
        store.read(name)


@pytest.mark.parametrize(
    "content",
    ['{"artifact_ie": "a"}', "no JSON", "[]", "5", "null",
     '{"artifact_id": 5, "filename": "weights.safetensors", "mimetype": "", "encoding": null}',
     '{"artifact_id": "a", "filename": null, "mimetype": "", "encoding": null}',
     '{"artifact_id": "a", "filename": "weights.safetensors", "mimetype": null, "encoding": null}'],
)  # fmt: skip
def test_damaged_note_of_weights_is_as_if_they_were_gone(store, content):
    number = complete(store, 0.5)
    (store.artifact_dir / "a").write_bytes(save({"w": torch.ones(3)}))
    attrs = store.study.get_trials(deepcopy=False)[number].system_attrs
    (key,) = (key for key in attrs if key.startswith("artifacts:"))
    attrs[key] = content  # a finished trial's cannot be set in another way
    with pytest.raises(StudyError, match=r"the weights of study .* are not in"):
        store.load(number)
    better = complete(store, 0.6)
    assert torch.equal(store.load(better)["w"], torch.full((3,), 0.6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("0.bias"), r"nothing for 0.bias, not shape \(2,\)"),
        (lambda d: d.update(more=torch.ones(1)), r"shape \(1,\) for more, not nothing"),
        (
            lambda d: d.update({"0.bias": torch.ones(3)}),
            r"shape \(3,\) for 0.bias, not shape \(2",
        ),
        (lambda d: d["0.bias"].fill_(float("nan")), "not all numbers of 0.bias are finite"),
        (lambda d: d["0.bias"].fill_(float("inf")), "not all numbers of 0.bias are finite"),
    ],
)
def test_network_is_filled_with_its_own_weights_alone(change, words):
    model = nn.Sequential(nn.Linear(4, 2))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fill(model, weights, "mine")
    change(weights)
    with pytest.raises(StudyError, match=f"^mine are [^\n]*{words}"):
        fill(model, weights, "mine")


def test_store_lies_beside_a_sqlite_file():
    assert str(default_artifact_dir("sqlite:///a/b.db")) == "a/b-artifacts"
    assert str(default_artifact_dir(None)) == "studies-artifacts"
    assert str(default_artifact_dir("postgresql://host/x")) == "nas-artifacts"


def test_link_to_a_database_has_the_weights_of_the_database(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "there" / "a.db")
    url = f"sqlite:///{tmp_path}/link.db"
    assert default_artifact_dir(url) == tmp_path / "there" / "a-artifacts"


def test_weights_are_found_in_the_folder_with_the_old_name_of_a_renamed_database(tmp_path):
    study = optuna.create_study(direction="maximize")
    number = complete(WeightsStore(study, tmp_path / "old-artifacts"), 0.5)
    renamed = WeightsStore(study, tmp_path / "new-artifacts")
    assert renamed.holds(study.trials[number])
    assert renamed.load(number)["w"][0] == 0.5
    complete(renamed, 0.75)
    assert len(list((tmp_path / "new-artifacts").iterdir())) == 1


def test_database_that_was_moved_without_its_folder_is_told_so(tmp_path):
    study = optuna.create_study(direction="maximize", study_name="mine")
    number = complete(WeightsStore(study, tmp_path / "a" / "s-artifacts"), 0.5)
    moved = WeightsStore(study, tmp_path / "b" / "s-artifacts")
    with pytest.raises(StudyError, match=r"'mine' are not in .*: was the database moved or copied"):
        moved.load(number)


# Weights of no trial


def test_saved_weights_come_back_as_they_were(store):
    name = store.save({"w": torch.full((3,), 0.1), "n": torch.tensor(7)}, "trial-0-honest-0")
    other = store.save({"w": torch.full((3,), 0.2)}, "trial-0-honest-0")
    weights = store.read(name)
    assert torch.equal(weights["w"], torch.full((3,), 0.1))
    assert weights["n"].dtype == torch.int64
    assert torch.equal(store.read(other)["w"], torch.full((3,), 0.2))


def test_saved_weights_are_found_by_another_process(store):
    name = store.save({"w": torch.ones(3)}, "trial-0-honest-0")
    again = WeightsStore(store.study, store.artifact_dir)
    assert again.has(name)
    assert torch.equal(again.read(name)["w"], torch.ones(3))


def test_saved_weights_push_no_trial_out_and_are_pushed_out_by_none(store):
    saved = [store.save({"w": torch.tensor(float(i))}, "trial-0-honest-0") for i in range(3)]
    numbers = [complete(store, value) for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    for number in numbers[1:]:
        assert store.load(number)
    assert [store.read(name)["w"].item() for name in saved] == [0, 1, 2]


def test_store_has_what_was_saved_and_is_still_there(store):
    assert not store.has(None)
    assert not store.has("nothing")
    name = store.save({"w": torch.ones(3)}, "trial-0-honest-0")
    assert store.has(name)
    (store.artifact_dir / name).unlink()
    assert not store.has(name)


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "damaged"])
def test_saved_weights_that_cannot_be_read_are_refused(store, is_gone):
    name = store.save({"w": torch.ones(3)}, "trial-0-honest-0")
    path = store.artifact_dir / name
    if is_gone:
        path.unlink()
    else:  # as long as it was
        path.write_bytes(path.read_bytes()[:-4] + bytes(4))
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
    store.keep(trial, {"w": torch.ones(3)}, Rung(19, 0.5, 0.5, 1.0))
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
        store.keep(trial, {"w": torch.ones(3)}, Rung(19, 0.5, 0.5, 1.0))
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


def test_names_of_files_say_whose_weights_they_are(store):
    number = complete(store, 0.9)
    store.save({"w": torch.ones(2)}, "trial-0-honest-1")
    names = [
        meta.filename
        for owner in (store.study.trials[number], store.study)
        for meta in get_all_artifact_meta(owner, storage=store.study._storage)
    ]
    assert names == ["trial-0-19-epochs.safetensors", "trial-0-honest-1.safetensors"]


def test_files_that_people_add_to_a_trial_are_none_of_ours(store, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"mine")
    store.artifact_dir.mkdir()
    files = FileSystemArtifactStore(str(store.artifact_dir))
    trial = store.study.ask()
    upload_artifact(artifact_store=files, file_path=str(path), study_or_trial=trial)
    store.study.tell(trial, state=TrialState.FAIL)
    store.tidy_up()
    assert not store.holds(store.study.trials[0])
    assert len(list(store.artifact_dir.iterdir())) == 1
