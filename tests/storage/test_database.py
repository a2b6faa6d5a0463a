"""Opening databases, and refusing what is none."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import make_url

from nas.errors import StorageFailedError, StudyError
from nas.storage import database as module
from nas.storage.database import (
    FileGuard,
    database_file,
    open_storage,
    sqlite_path,
    storage_errors,
)
from nas.storage.studies import study_names


def test_new_file_is_made_only_when_asked(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(StudyError, match="does not exist"):
        open_storage(url)
    assert not (tmp_path / "s.db").exists()
    assert study_names(open_storage(url, create=True)) == []
    assert study_names(open_storage(url)) == []


def test_storage_can_be_named_by_the_environment(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/named.db"
    monkeypatch.setenv("NAS_STORAGE", url)
    assert sqlite_path(None) == tmp_path / "named.db"
    open_storage(None, create=True)
    assert (tmp_path / "named.db").exists()
    other = f"sqlite:///{tmp_path}/other.db"
    open_storage(other, create=True)
    assert sqlite_path(other) == tmp_path / "other.db"  # an option counts more
    monkeypatch.setenv("NAS_STORAGE", "")
    assert sqlite_path(None) == Path("studies.db")


def test_home_folder_in_a_url_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    open_storage("sqlite:///~/s.db", create=True)
    assert (tmp_path / "s.db").exists()
    assert study_names(open_storage("sqlite:///~/s.db")) == []


def test_path_with_braces_and_percent_is_taken_as_it_is(tmp_path):
    (tmp_path / "{x}").mkdir()
    open_storage(f"sqlite:///{tmp_path}/{{x}}/s.db", create=True)
    assert (tmp_path / "{x}" / "s.db").stat().st_size > 0


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"SQLite"])
def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=r"is empty|is no SQLite database"):
        open_storage(f"sqlite:///{path}", create=True)
    assert path.read_bytes() == content


def test_damaged_database_is_refused_in_one_line(tmp_path):
    path = tmp_path / "s.db"
    open_storage(f"sqlite:///{path}", create=True)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StudyError) as error:
        study_names(open_storage(f"sqlite:///{path}"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("version", "way_out"), [("v3.0.0.d", "upgrade"), ("v99.0.0.a", "pip")])
@pytest.mark.parametrize("create", [True, False])
def test_tables_of_another_version_are_refused_with_the_way_out(tmp_path, create, version, way_out):
    path = tmp_path / "s.db"
    open_storage(f"sqlite:///{path}", create=True)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
    before = path.read_bytes()
    with pytest.raises(StudyError, match=way_out) as error:
        open_storage(f"sqlite:///{path}", create=create)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before


def test_folder_and_missing_folder_are_refused(tmp_path):
    with pytest.raises(StudyError, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}", create=True)
    with pytest.raises(StudyError, match="which is no folder"):
        open_storage(f"sqlite:///{tmp_path}/missing/s.db", create=True)


def test_what_is_no_url_is_refused():
    with pytest.raises(StudyError, match="is no URL"):
        open_storage("studies.db")


@pytest.mark.parametrize("password", ["a/b", "a?b", "a#b", "a:b", "a b", "a%40b", "***"])
def test_login_is_with_the_whole_password(monkeypatch, password):
    given = []
    monkeypatch.setattr("nas.storage.database.ReadingStorage", lambda url, **_: given.append(url))
    open_storage(f"postgresql://me:{password}@host/x")
    assert make_url(given[0]).password == password.replace("%40", "@")


def test_password_never_appears_when_a_server_cannot_be_reached():
    for url in ("postgresql://me:hunter2@127.0.0.1:1/x", "mysql://me:hunter2@127.0.0.1:1/x"):
        with pytest.raises(StudyError) as error:
            open_storage(url)
        assert "hunter2" not in str(error.value)
        assert "me:***@127.0.0.1" in str(error.value)
        assert error.value.__cause__ is None


@pytest.mark.parametrize(("create", "milliseconds"), [(False, 300_000), (True, 5_000)])
def test_locked_database_is_waited_for(tmp_path, create, milliseconds):
    """By a search in many short tries, see tests/storage/test_retry.py."""
    open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=create)
    with storage.engine.connect() as connection:
        timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert timeout == milliseconds


def test_sqlite_path_knows_its_own_urls():
    assert str(sqlite_path("sqlite:///a/b.db")) == "a/b.db"
    assert sqlite_path("postgresql://host/x") is None


def test_database_can_be_read_by_sqlite_itself(tmp_path):
    open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# After a process was killed

HALF_WRITTEN = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 2")
database.execute("BEGIN IMMEDIATE")
database.execute("DELETE FROM studies")
for number in range(500):
    name = f"half {number} " + "x" * 300
    database.execute("INSERT INTO studies (study_name) VALUES (?)", (name,))
print("written", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("create", [False, True], ids=["to look", "to search"])
def test_database_of_a_process_that_was_killed_while_it_wrote_is_as_it_was_before(tmp_path, create):
    path = tmp_path / "s.db"
    url = f"sqlite:///{path}"
    optuna.create_study(study_name="mine", storage=open_storage(url, create=True))
    size = path.stat().st_size
    process = subprocess.Popen(
        [sys.executable, "-c", HALF_WRITTEN, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "written\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert (tmp_path / "s.db-journal").stat().st_size > 0  # and much of it is in the file itself
    assert path.stat().st_size > size
    assert study_names(open_storage(url, create=create)) == ["mine"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


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
    module._make_database(path)
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
    with module._one_at_a_time(tmp_path / "place"):
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
    with contextlib.nullcontext() if place == "missing" else module._one_at_a_time(tmp_path):
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
