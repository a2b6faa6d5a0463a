"""Nothing of nas calls anybody, unless it is asked to download a data set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Loaded by every Python process that finds it, children too.
GUARD = """
import sys

def refuse(event, args):
    calls = event == "socket.getaddrinfo" or (
        event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)
    )
    if calls:
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{args}} {{sys.argv}}\\n")
        raise OSError("no network here")

sys.addaudithook(refuse)
"""


@pytest.fixture
def run(tmp_path):
    """Runs Python in a folder where no connection is let through; tells of those tried."""
    log = tmp_path / "calls"
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run_python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, log.read_text() if log.exists() else ""

    return run_python


@pytest.mark.slow
def test_a_whole_search_calls_nobody(run):
    search = ["search", "--budget", "3k", "--dataset", "digits", "--epochs", "2", "--trials", "2"]
    for command in (search, ["show"], ["export"], ["certify", "--seeds", "2", "--top", "1"]):
        done, calls = run("-m", "nas", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert calls == ""


def test_the_guard_of_this_test_sees_a_call(run):
    done, calls = run("-c", "import socket; socket.create_connection(('127.0.0.1', 9))")
    assert done.returncode == 1
    assert "getaddrinfo" in calls
