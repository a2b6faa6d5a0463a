"""Opening databases, and refusing what is none."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from sqlalchemy import make_url

from nas.errors import StudyError
from nas.storage.database import open_storage, sqlite_path
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
