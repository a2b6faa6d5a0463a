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
COUNTS_ON_A_SERVER = {"together": 2, "churn": 4, "resume": 2}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks")


def check(fault, count, storage=None):
    """Nothing is lost, nothing is trained twice, nobody is left behind."""
    environment = {k: v for k, v in os.environ.items() if k != "NAS_FAULTS_STORAGE"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if storage is not None:
        environment["NAS_FAULTS_STORAGE"] = storage
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "faults.py", fault,
         "--count", str(count)],
        env=environment, capture_output=True, text=True, timeout=300 + 60 * count,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    row = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("| ").split("|")]
    assert row[0] == fault
    assert int(row[1]) >= 1
    assert row[3:] == ["0"] * 5


@pytest.mark.parametrize("fault", COUNTS)
def test_nothing_is_lost(fault):
    check(fault, COUNTS[fault])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a PostgreSQL server that is there for these tests."""
    for name in ("pgserver", "psycopg2"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    import pgserver

    try:
        postgres = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"no PostgreSQL server can be started here: {error}")
    yield postgres.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
    postgres.cleanup()


@pytest.mark.skipif(HOW_MANY == "few", reason="minutes: set NAS_FAULTS=some")
@pytest.mark.filterwarnings("ignore")  # of platformdirs, that there is no folder for sockets
@pytest.mark.parametrize("fault", COUNTS_ON_A_SERVER)
def test_nothing_is_lost_on_a_server(fault, server):
    check(fault, COUNTS_ON_A_SERVER[fault], server)
