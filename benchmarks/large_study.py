"""Go on with a study of ten thousand trials, and show it: seconds and memory.

    python benchmarks/large_study.py [--trials 10000]

The study is begun by `nas search` on the bundled digits, and filled with trials as a search writes
them: drawn from `blocks`, with learning curves that are made up. Then `nas search` goes on with it,
and `nas show` shows it, each in a process of its own. It all is kept in
benchmarks/results/large-study.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import TrialState

from nas.errors import NasError
from nas.metrics import EpochMetrics
from nas.searching.running import versions
from nas.spaces.loader import load_space
from nas.spaces.task import Task
from nas.storage.database import open_storage
from nas.storage.reasons import Reason
from nas.storage.studies import open_study
from nas.storage.trials import record_candidate, record_reason, record_training

RESULTS = Path(__file__).parent / "results" / "large-study.json"
EPOCHS = 19
TASK = Task((1, 8, 8), 10, 20_000, EPOCHS)
SEARCH = ["search", "--dataset", "digits", "--budget", "20000", "--json", "--storage"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.db"
        watch([*SEARCH, url, "--trials", "1"], "search_ended")
        begun = time.perf_counter()
        fill(url, options.trials)
        result = {
            "trials": options.trials,
            "megabytes on disk": round((Path(folder) / "studies.db").stat().st_size / 2**20, 1),
            "seconds to make it": round(time.perf_counter() - begun),
            "search, until a new trial begins": watch(
                [*SEARCH, url, "--trials", str(options.trials + 10)], "trial_started"
            ),
            "show": watch(["show", "--storage", url], None),
            "show best": watch(["show", "best", "--storage", url], None),
        }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def fill(url: str, count: int) -> None:
    """Add trials to the study, most of them trained."""
    rng, space = random.Random(0), load_space("blocks")
    drawn = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    storage = open_storage(url)
    with storage.engine.connect() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
    study = open_study(storage)
    for _ in range(count):
        trial = drawn.ask()
        try:
            candidate = space.propose(trial, TASK)
        except NasError as error:
            record_reason(trial, Reason.INVALID, str(error))
            drawn.tell(trial, state=TrialState.PRUNED)
            continue
        record_candidate(trial, candidate, rng.randrange(2**32), "cpu, bf16", versions(), "none")
        goal = 1 - 0.3 * rng.random() ** 4 - 20 / candidate.architecture.num_params
        curve = [
            EpochMetrics(n, 2 / n, 2 / n, goal * (1 - 0.5 / n), 0.5) for n in range(1, EPOCHS + 1)
        ]
        record_training(trial, curve, 0.5 * EPOCHS)
        for metrics in curve[:: EPOCHS - 1]:
            trial.report(metrics.valid_accuracy, metrics.epoch)
        drawn.tell(trial, curve[-1].valid_accuracy)
    for trial in drawn.get_trials(deepcopy=False):
        study.add_trial(trial)


def watch(arguments: list[str], event: str | None) -> dict[str, Any]:
    """Run `nas` until it tells of an event, or to its end: seconds, seconds of CPU, memory."""
    begun, cpu_before = time.perf_counter(), cpu_of_children()
    process = psutil.Popen(
        [sys.executable, "-m", "nas", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            try:
                peak[0] = max(peak[0], process.memory_info().rss)
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=look)
    thread.start()
    for line in process.stdout:
        if event is not None and json.loads(line)["event"] == event:
            break
    seconds = time.perf_counter() - begun
    if event == "trial_started":
        process.terminate()
    process.communicate()
    ended.set()
    thread.join()
    return {
        "seconds": round(seconds, 1),
        "seconds of CPU": round(cpu_of_children() - cpu_before, 1),  # workers included
        "megabytes": round(peak[0] / 2**20),
    }


def cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
