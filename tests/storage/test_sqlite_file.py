"""The file of a database: made whole or not at all, locked, and watched."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import sqlite3
import tempfile
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import StorageFailedError, StudyError
from nas.storage import sqlite_file as module
from nas.storage.database import open_storage, storage_errors
from nas.storage.sqlite_file import FileGuard, database_file
from nas.storage.studies import study_names


def test_half_written_database_is_removed_also_where_there_is_a_whole_one(tmp_path, dead_pid):
    """Its process was killed when it had moved the whole one out."""
    url = f"sqlite:///{tmp_path}/s.db"
    open_storage(url, create=True)
    part = tmp_path / f".part-{socket.gethostname()}@{dead_pid}-abc"
    part.mkdir()
    open_storage(url)  # to read: nothing is written
    assert part.exists()
    open_storage(url, create=True)
    assert not part.exists()


def test_what_was_left_half_made_is_removed_before_a_new_database_is_made(tmp_path, dead_pid):
    part = tmp_path / f".part-{socket.gethostname()}@{dead_pid}-abc"
    part.mkdir()
    (part / "s.db").write_bytes(b"SQLite format 3\x00 and then nothing")
    assert study_names(open_storage(f"sqlite:///{tmp_path}/s.db", create=True)) == []
    assert os.listdir(tmp_path) == ["s.db"]


@pytest.mark.parametrize("name", ["link", "replace"])
def test_new_database_appears_whole(tmp_path, monkeypatch, name):
    """Whoever is killed before leaves nothing that bears its name."""
    path, appear, seen = tmp_path / "s.db", getattr(os, name), []

    def look(source, target):
        assert not path.exists()
        with sqlite3.connect(source) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        seen.extend(name for (name,) in tables)
        appear(source, target)

    if name == "replace":
        monkeypatch.setattr(module.os, "link", fail)
    monkeypatch.setattr(module.os, name, look)
    open_storage(f"sqlite:///{path}", create=True)
    assert {"studies", "trials", "alembic_version"} <= set(seen)
    assert os.listdir(tmp_path) == ["s.db"]


def fail(*args):
    raise OSError("No space left on device")


def test_new_database_that_could_not_be_made_whole_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "link", fail)
        patch.setattr(module.os, "replace", fail)
        with pytest.raises(StudyError, match="cannot be opened: No space left"):
            open_storage(f"sqlite:///{path}", create=True)
    assert not path.exists()
    assert study_names(open_storage(f"sqlite:///{path}", create=True)) == []


def test_database_that_another_process_has_just_made_is_never_replaced(tmp_path):
    """As where the file system knows no locks, so that both make one."""
    path = tmp_path / "s.db"
    optuna.create_study(study_name="theirs", storage=open_storage(f"sqlite:///{path}", create=True))
    module.make_file(path)
    assert study_names(open_storage(f"sqlite:///{path}")) == ["theirs"]
    assert os.listdir(tmp_path) == ["s.db"]


def begin_study(url, barrier, results):
    barrier.wait(60)
    try:
        storage = open_storage(url, create=True)
        optuna.create_study(study_name=str(os.getpid()), storage=storage)
        results.put(None)
    except Exception as error:
        results.put(repr(error))


@pytest.mark.filterwarnings("ignore")  # of forks
def test_processes_that_begin_at_once_all_have_the_new_database(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(4), fork.Queue()
    children = [fork.Process(target=begin_study, args=(url, barrier, results)) for _ in range(4)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [None] * 4
    for child in children:
        child.join(60)
    assert sorted(study_names(open_storage(url))) == sorted(str(child.pid) for child in children)
    assert os.listdir(tmp_path) == ["s.db"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder."""
    folder = tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_one_who_makes_tables_is_waited_for_and_leaves_no_file(tmp_path, temporary):
    temporary.mkdir()
    (tmp_path / "place").mkdir()
    url, begun = f"sqlite:///{tmp_path}/place/s.db", time.monotonic()
    with module.one_at_a_time(tmp_path / "place"):
        assert len(os.listdir(temporary)) == 1
        thread = threading.Thread(target=open_storage, args=(url,), kwargs={"create": True})
        thread.start()
        time.sleep(0.3)
        assert os.listdir(tmp_path / "place") == []
    thread.join(60)
    assert time.monotonic() - begun < 30
    assert os.listdir(tmp_path / "place") == ["s.db"]
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("place", ["missing", "a folder stands there", "no locks"])
def test_database_is_opened_where_nothing_can_be_locked(tmp_path, temporary, monkeypatch, place):
    if place != "missing":
        temporary.mkdir()
    with contextlib.nullcontext() if place == "missing" else module.one_at_a_time(tmp_path):
        names = [] if place == "missing" else os.listdir(temporary)
    if place == "a folder stands there":
        (temporary / names[0]).mkdir()
    if place == "no locks":
        monkeypatch.setattr(module.FileLock, "acquire", refuse_lock)
    assert study_names(open_storage(f"sqlite:///{tmp_path}/s.db", create=True)) == []


def refuse_lock(*args, **kwargs):
    raise NotImplementedError


# While it is used


@pytest.mark.parametrize("create", [False, True], ids=["to look", "to search"])
def test_database_that_was_moved_away_is_not_made_anew(tmp_path, create):
    url, path = f"sqlite:///{tmp_path}/s.db", tmp_path / "s.db"
    optuna.create_study(study_name="mine", storage=open_storage(url, create=True))
    storage = open_storage(url, create=create)
    assert study_names(storage) == ["mine"]
    storage.engine.dispose()
    path.rename(tmp_path / "elsewhere")
    message = "unable to open database file"
    with pytest.raises(StorageFailedError, match=message) as error, storage_errors(url):
        study_names(storage)
    assert "storage sqlite:///" in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["elsewhere"]
    (tmp_path / "elsewhere").rename(path)
    assert study_names(storage) == ["mine"]


def test_guard_notices_a_database_that_is_not_the_one_it_was(tmp_path):
    path = tmp_path / "s.db"
    storage = open_storage(f"sqlite:///{path}", create=True)
    guard = FileGuard(storage)
    assert guard.path == path == database_file(storage)
    optuna.create_study(storage=storage)
    guard.check()
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with pytest.raises(StorageFailedError, match="deleted or replaced"):
        guard.check()
    path.unlink()
    with pytest.raises(StorageFailedError, match="deleted or replaced"):
        guard.check()


def test_guard_has_nothing_to_notice_where_there_is_no_file():
    storage = optuna.storages.InMemoryStorage()
    assert database_file(storage) is None
    FileGuard(storage).check()


def test_only_one_of_two_that_have_both_seen_a_trial_wait_takes_it(tmp_path):
    """Each reads it, and then each writes."""
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(study_name="s", storage=open_storage(url, create=True))
    for _ in range(30):
        study.enqueue_trial({"x": 1})
    storages = [open_storage(url, create=True) for _ in "ab"]
    barrier, taken = threading.Barrier(2), []

    def take(storage):
        for trial in study.trials:
            barrier.wait(60)
            try:
                is_mine = storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            except Exception as error:  # waiting for the lock in vain would be one
                taken.append(repr(error))
            else:
                taken.extend([trial.number] if is_mine else [])

    threads = [threading.Thread(target=take, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken, key=str) == sorted(range(30), key=str)


def test_search_locks_the_database_when_a_transaction_begins(tmp_path):
    """Two that both had read could not both write."""
    url = f"sqlite:///{tmp_path}/s.db"
    open_storage(url, create=True)
    for create in (True, False):
        storage = open_storage(url, create=create)
        with storage.engine.connect() as reader:
            reader.exec_driver_sql("SELECT * FROM studies").fetchall()
            with sqlite3.connect(tmp_path / "s.db", timeout=0) as writer:
                if create:
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        writer.execute("BEGIN IMMEDIATE")
                else:
                    writer.execute("BEGIN IMMEDIATE")
                    writer.rollback()


def test_database_is_looked_at_where_nothing_can_be_written(tmp_path):
    folder = tmp_path / "read only"
    folder.mkdir()
    url = f"sqlite:///{folder}/s.db"
    optuna.create_study(study_name="mine", storage=open_storage(url, create=True))
    (folder / "s.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("whoever runs the tests may write everywhere")
        assert study_names(open_storage(url)) == ["mine"]
        assert os.listdir(folder) == ["s.db"]
    finally:
        folder.chmod(0o755)
