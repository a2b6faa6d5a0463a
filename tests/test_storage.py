"""Opening databases, and refusing what is none."""

from __future__ import annotations

import sqlite3

import pytest

from nas.errors import StudyError
from nas.storage import masked, open_storage, sqlite_path
from nas.studies import study_names


def test_new_file_is_made_only_when_asked(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(StudyError, match="does not exist"):
        open_storage(url)
    assert not (tmp_path / "s.db").exists()
    assert study_names(open_storage(url, create=True)) == []
    assert study_names(open_storage(url)) == []


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


def test_folder_and_missing_folder_are_refused(tmp_path):
    with pytest.raises(StudyError, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}", create=True)
    with pytest.raises(StudyError, match="which is no folder"):
        open_storage(f"sqlite:///{tmp_path}/missing/s.db", create=True)


def test_what_is_no_url_is_refused():
    with pytest.raises(StudyError, match="is no URL"):
        open_storage("studies.db")


def test_password_never_appears_when_a_server_cannot_be_reached():
    for url in ("postgresql://me:hunter2@127.0.0.1:1/x", "mysql://me:hunter2@127.0.0.1:1/x"):
        with pytest.raises(StudyError) as error:
            open_storage(url)
        assert "hunter2" not in str(error.value)
        assert "me:***@127.0.0.1" in str(error.value)
        assert error.value.__cause__ is None


def test_locked_database_is_waited_for(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    with storage.engine.connect() as connection:
        timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert timeout == 300_000


def test_masked_leaves_urls_without_a_password_alone():
    assert masked("sqlite:///a.db") == "sqlite:///a.db"
    assert masked("postgresql://me@host/x") == "postgresql://me@host/x"
    assert masked(None) == "sqlite:///studies.db"


def test_sqlite_path_knows_its_own_urls():
    assert str(sqlite_path("sqlite:///a/b.db")) == "a/b.db"
    assert sqlite_path("postgresql://host/x") is None


def test_database_can_be_read_by_sqlite_itself(tmp_path):
    open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    with sqlite3.connect(tmp_path / "s.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
