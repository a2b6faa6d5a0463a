"""Folders for what is half written."""

from __future__ import annotations

import os
import shutil

import pytest

from nas.storage.atomic import part_folder, remove_dead_parts


@pytest.fixture
def half_written(tmp_path, monkeypatch):
    """A folder as a process leaves it that is killed while it writes, on machine `host`."""

    def make(pid, host="here"):
        monkeypatch.setattr("socket.gethostname", lambda: host)
        monkeypatch.setattr(os, "getpid", lambda: pid)
        monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with part_folder(tmp_path) as folder:
            (folder / "file").touch()
        monkeypatch.undo()
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        return folder

    return make


def test_folder_is_made_where_it_is_wanted_and_gone_at_the_end(tmp_path):
    with part_folder(tmp_path / "a" / "b") as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_folder_is_gone_after_an_error_as_well(tmp_path):
    def fail():
        with part_folder(tmp_path) as folder:
            (folder / "file").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_two_have_folders_of_their_own(tmp_path):
    with part_folder(tmp_path) as one, part_folder(tmp_path) as other:
        assert one != other


def test_folder_of_a_dead_process_is_removed(tmp_path, half_written, dead_pid):
    folder = half_written(dead_pid)
    assert list(folder.iterdir())
    remove_dead_parts(tmp_path)
    assert not folder.exists()


def test_folders_of_live_processes_are_left(tmp_path, half_written):
    folders = [half_written(os.getpid()), half_written(os.getppid())]
    remove_dead_parts(tmp_path)
    assert all(folder.exists() for folder in folders)


@pytest.mark.parametrize("host", ["elsewhere", "here-{pid}"])
def test_folder_of_another_machine_is_left(tmp_path, half_written, dead_pid, host):
    folder = half_written(dead_pid, host.format(pid=os.getpid()))
    remove_dead_parts(tmp_path)
    assert folder.exists()


def test_other_things_in_the_folder_are_left(tmp_path, dead_pid):
    names = ["weights", f"part-here-{dead_pid}-x", ".part-", ".part-here-x", "s.unsaved.json"]
    for name in names:
        (tmp_path / name).mkdir()
    remove_dead_parts(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_folder_that_is_not_there_has_nothing_to_remove(tmp_path):
    remove_dead_parts(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
