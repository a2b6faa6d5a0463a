"""What Optuna asks of every storage, of ours: a file, and a proxy in front of one."""

from __future__ import annotations

import shutil
import socket
import threading

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import InMemoryStorage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import create_trial

from nas.storage.database import open_storage


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "s.db"
    open_storage(f"sqlite:///{path}", create=True)
    return path


class TestFile(StorageTestCase):
    @pytest.fixture
    def storage(self, empty_file, tmp_path):
        shutil.copy(empty_file, tmp_path)
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
        yield storage
        storage.engine.dispose()


@pytest.fixture(scope="module")
def proxy_url():
    """Served until the tests end."""
    pytest.importorskip("grpc")
    pytest.importorskip("google.protobuf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threading.Thread(
        target=optuna.storages.run_grpc_proxy_server,
        args=(InMemoryStorage(),),
        kwargs={"host": "127.0.0.1", "port": port},
        daemon=True,
    ).start()
    return f"grpc://127.0.0.1:{port}"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestProxy(StorageTestCase):
    test_get_all_trials_params_order = None  # parameters lose their order in Optuna's messages

    @pytest.fixture
    def storage(self, proxy_url):
        storage = open_storage(proxy_url)
        yield storage
        for study in storage.get_all_studies():
            optuna.delete_study(study_name=study.study_name, storage=storage)


@pytest.fixture
def storage(empty_file, tmp_path):
    shutil.copy(empty_file, tmp_path)
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


def test_functions_of_optuna_take_it(storage, tmp_path):
    study = optuna.create_study(study_name="a", storage=storage, direction="maximize")
    for value in (0.5, 0.75, 0.25):
        study.add_trial(create_trial(value=value, user_attrs={"list": [value]}))
    other = f"sqlite:///{tmp_path}/other.db"
    optuna.copy_study(from_study_name="a", from_storage=storage, to_storage=other)
    optuna.copy_study(
        from_study_name="a", from_storage=other, to_storage=storage, to_study_name="b"
    )
    assert optuna.get_all_study_names(storage) == ["a", "b"]
    assert [s.n_trials for s in optuna.get_all_study_summaries(storage)] == [3, 3]
    copied = optuna.load_study(study_name="b", storage=storage)
    assert copied.best_trial.user_attrs == {"list": [0.75]}
    (tmp_path / "file").write_bytes(b"x")
    upload_artifact(
        artifact_store=FileSystemArtifactStore(str(tmp_path)), file_path=str(tmp_path / "file"),
        study_or_trial=copied,
    )  # fmt: skip
    assert len(get_all_artifact_meta(copied)) == 1
    assert get_all_artifact_meta(copied.best_trial, storage=storage) == []
    optuna.delete_study(study_name="a", storage=storage)
    assert optuna.get_all_study_names(storage) == ["b"]
    with pytest.raises(KeyError):
        study.get_trials()


def test_trials_that_have_ended_are_read_once_for_all_who_load_the_study(storage):
    study = optuna.create_study(study_name="a", storage=storage)
    for value in range(3):
        study.add_trial(create_trial(value=value))
    running = study.ask()
    before = study.get_trials(deepcopy=False)
    running.set_user_attr("key", "value")
    after = optuna.load_study(study_name="a", storage=storage).get_trials(deepcopy=False)
    assert [mine is theirs for mine, theirs in zip(before, after, strict=True)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert after[-1].user_attrs == {"key": "value"}
