"""Searches that are killed, locked out, robbed of their database and run side by side.

The harness is that of benchmarks/faults.py. NAS_FAULTS says how many injections there are: few as
it is, which takes most of a minute; `some`, with several processes and a PostgreSQL server, takes
minutes; `many` takes most of an hour.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOW_MANY = os.environ.get("NAS_FAULTS", "few")
COUNTS = {
    "few": {"kill": 1, "resume": 1, "gone": 1},
    "some": {"resume": 3, "kill": 5, "locked": 3, "gone": 2, "together": 1, "churn": 4},
    "many": {"resume": 40, "kill": 60, "interrupt": 30, "locked": 60, "gone": 20, "together": 10,
             "churn": 60},
}[HOW_MANY]  # fmt: skip
COUNTS_ON_A_SERVER = {"together": 2, "churn": 4, "resume": 2, "stopped": 1}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")


def check(fault, count, *options):
    """Nothing is lost, nothing is trained twice, nobody is left behind."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "faults.py", fault,
         "--count", str(count), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300 + 60 * count,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    row = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("| ").split("|")]
    assert row[0] == fault
    assert int(row[1]) >= 1
    assert row[3:] == ["0"] * 5


@pytest.mark.parametrize("fault", COUNTS)
def test_nothing_is_lost(fault):
    check(fault, COUNTS[fault])


@pytest.mark.skipif(HOW_MANY == "few", reason="minutes: set NAS_FAULTS=some")
@pytest.mark.skipif(importlib.util.find_spec("pgserver") is None, reason="pgserver is missing")
@pytest.mark.parametrize("fault", COUNTS_ON_A_SERVER)
def test_nothing_is_lost_on_a_server(fault):
    check(fault, COUNTS_ON_A_SERVER[fault], "--server")
