"""Let one search run for hours, and see whether anything grows that should not.

    python benchmarks/soak.py [--hours 2] [--seconds 3]

The search is real but for the training, which sleeps for so many seconds a candidate. Twenty times
an hour its process is looked at from outside: resident memory, open handles, threads, children, and
files that are neither the database nor weights of its best trials. What it must remember grows with
the trials, so memory is also given for each of them. Written to benchmarks/results/soak.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import psutil
import torch
from arena import EPOCHS, arena
from optuna.trial import TrialState

from nas.storage.artifacts import NUM_KEPT

RESULTS = Path(__file__).parent / "results" / "soak.json"
PAUSE = 180.0  # seconds between two looks
WARM_UP = 0.1  # of the time, which is not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a candidate")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pause = min(PAUSE, 3600 * options.hours / 20)
    looks: list[dict[str, Any]] = []
    with arena(0, num_trials=10**6, seconds=options.seconds / EPOCHS) as place:
        process = place.start()
        until = time.monotonic() + 3600 * options.hours
        while time.monotonic() < until and process.is_alive():
            time.sleep(pause)
            looks.append(look(process.pid, place.folder))
            print(f"# {looks[-1]}", file=sys.stderr, flush=True)
        process.terminate()
        process.join(60)
        trials = place.study().get_trials(deepcopy=False)
        done = sum(t.state == TrialState.COMPLETE for t in trials)
        lost = sum(trials[number].value != value for number, value in place.told())
        left = [t.number for t in trials if t.state == TrialState.RUNNING]
    warm = looks[int(WARM_UP * len(looks)) :]
    result = {
        "machine": platform.processor() or platform.machine(),
        "optuna": optuna.__version__,
        "hours": options.hours,
        "exit_code": process.exitcode,
        "trials": len(trials),
        "trained": done,
        "lost": lost,
        "running at the end": left,
        "looks": looks,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    hours = [row["seconds"] / 3600 for row in warm]
    print(f"{len(trials)} trials, {done} trained, {lost} lost, exit code {process.exitcode}")
    print("| | first | last | an hour |\n| --- | --- | --- | --- |")
    for name in ("megabytes", "handles", "threads", "children", "other files"):
        values = [row[name] for row in warm]
        slope = statistics.linear_regression(hours, values).slope
        print(f"| {name} | {values[0]} | {values[-1]} | {slope:+.2f} |")
    grown = warm[-1]["megabytes"] - warm[0]["megabytes"]
    # Those that were stopped early are not told; they come in proportion.
    num = (warm[-1]["trained"] - warm[0]["trained"]) * len(trials) / max(done, 1)
    print(f"memory for each trial: {1000 * grown / max(num, 1):.1f} kB")


def look(pid: int, folder: Path) -> dict[str, Any]:
    """What the process has, and what stands in its folder."""
    process = psutil.Process(pid)
    files = [path for path in folder.rglob("*") if path.is_file()]
    weights = [path for path in files if path.parent.name == "studies-artifacts"]
    told = folder / "told.jsonl"
    known = ("studies.db", "studies.db-journal", "told.jsonl")
    others = [path for path in files if path not in weights and path.name not in known]
    return {
        "seconds": round(time.time() - process.create_time()),
        "trained": len(told.read_text().splitlines()) if told.exists() else 0,
        "megabytes": round(process.memory_info().rss / 2**20, 1),
        "handles": process.num_fds(),
        "threads": process.num_threads(),
        "children": len(process.children()),
        "other files": len(others) + max(0, len(weights) - NUM_KEPT),
    }


if __name__ == "__main__":
    main()
