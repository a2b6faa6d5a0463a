"""Searches that are killed, locked out, robbed of their database and run side by side.

The harness is that of benchmarks/faults.py. NAS_FAULTS says how many injections there are: few as
it is, which takes a few minutes; `some` takes a quarter of an hour, `many` most of a day.
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
    "few": {"kill": 30, "interrupt": 6, "resume": 1, "locked": 3, "gone": 1, "together": 1,
            "churn": 8, "full": 2, "damaged": 10, "halted": 1, "workers": 1, "watched": 5},
    "some": {"kill": 200, "interrupt": 20, "resume": 10, "locked": 10, "gone": 5, "together": 3,
             "churn": 20, "full": 10, "damaged": 100, "halted": 10,
             "workers": 20, "watched": 50},
    "many": {"kill": 2000, "interrupt": 500, "resume": 100, "locked": 200, "gone": 200,
             "together": 50, "churn": 2000, "full": 200, "damaged": 2000, "halted": 200,
             "workers": 200, "watched": 1000},
}[HOW_MANY]  # fmt: skip
COUNTS_ON_A_SERVER = {
    "few": {"churn": 2, "stopped": 1},
    "some": {"together": 2, "churn": 10, "resume": 2, "kill": 10, "stopped": 2},
    "many": {"together": 50, "churn": 500, "resume": 100, "kill": 500, "stopped": 20},
}[HOW_MANY]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks"),
]


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
    assert int(row[2]) >= count
    assert row[3:8] == ["0"] * 5


@pytest.mark.parametrize("fault", COUNTS)
def test_nothing_is_lost(fault):
    check(fault, COUNTS[fault])


@pytest.mark.skipif(importlib.util.find_spec("pgserver") is None, reason="pgserver is missing")
@pytest.mark.parametrize("fault", COUNTS_ON_A_SERVER)
def test_nothing_is_lost_on_a_server(fault):
    check(fault, COUNTS_ON_A_SERVER[fault], "--server")
