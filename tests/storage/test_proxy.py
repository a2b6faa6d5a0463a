"""Searching through Optuna's gRPC proxy."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time

import optuna
import pytest

from nas.errors import StudyError
from nas.searching.config import SearchConfig
from nas.spaces.task import Task
from nas.storage import database as module
from nas.storage import retry
from nas.storage.counts import count_trials
from nas.storage.database import open_storage
from nas.storage.internals import storage_of
from nas.storage.retry import RetryingStorage
from tests.fakes import FakePool, make_space, search_in

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")


def serve(url, port):
    storage = optuna.storages.RDBStorage(url)
    optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=port)


class Server:
    """A proxy in a process of its own, in front of a database."""

    def __init__(self, url):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.database = url
        self.url = f"grpc://127.0.0.1:{self.port}"

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(self.database, self.port))
        self.process.start()

    def stop(self):
        self.process.kill()
        self.process.join()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PROXY_TIMEOUT_SECONDS", 60.0)
    server = Server(f"sqlite:///{tmp_path}/s.db")
    server.start()
    yield server
    server.stop()


def run_search(study, data, folder):
    task = Task(data.input_shape, len(data.classes), 150, 3)
    settings = SearchConfig(budget=1, trials=6, pruner="none")
    search_in(study, make_space(), task, data, settings, FakePool(), folder).run()
    return [(t.state, t.params, t.values) for t in study.trials]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_search_through_a_proxy_is_the_one_without(server, tiny_data, tmp_path):
    straight = optuna.create_study(direction="maximize")
    study = optuna.create_study(storage=open_storage(server.url), direction="maximize")
    assert isinstance(storage_of(study), RetryingStorage)
    assert run_search(study, tiny_data, tmp_path / "a") == run_search(
        straight, tiny_data, tmp_path / "b"
    )
    assert count_trials(study).counts["trained"] == 6


@pytest.mark.slow
def test_proxy_that_is_gone_for_a_while_is_waited_for(server, monkeypatch):
    study = optuna.create_study(storage=open_storage(server.url))
    server.stop()
    thread = threading.Timer(1.0, server.start)
    thread.start()
    begun = time.monotonic()
    study.set_user_attr("name", 1)
    assert time.monotonic() - begun > 1.0
    assert study.user_attrs == {"name": 1}
    thread.join()


@pytest.mark.slow
def test_proxy_that_does_not_come_back_is_given_up(server, monkeypatch):
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0.3)
    study = optuna.create_study(storage=open_storage(server.url))
    server.stop()
    with pytest.raises(optuna.exceptions.StorageInternalError):
        study.set_user_attr("name", 1)


@pytest.mark.parametrize("url", ["grpc://", "grpc://x", "grpc://x:y", "grpc://a:b@c:1"])
def test_proxy_without_a_port_is_refused(url):
    with pytest.raises(StudyError, match=r"grpc://host:13000"):
        open_storage(url)


def test_proxy_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_PROXY_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(StudyError, match="cannot be opened"):
        open_storage("grpc://127.0.0.1:1")


def test_proxy_without_grpcio_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StudyError, match="pip install grpcio"):
        open_storage("grpc://127.0.0.1:13000")
