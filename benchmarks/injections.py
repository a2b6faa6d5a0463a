"""The faults of `faults.py` that befall those who search, each done so many times."""

from __future__ import annotations

import os
import random
import signal
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

from arena import FORK, Arena, arena
from optuna.trial import TrialState
from score import Score

from nas.storage.database import open_storage
from nas.storage.leases import index_of


def until_done(
    place: Arena,
    score: Score,
    rng: random.Random,
    signals: list[int],
    most: int,
    seconds: float,
) -> None:
    """Start it, hit it within so many seconds, start it again; after so many hits let it end."""
    for hit in range(most + 1):
        process, is_hit = place.start(), False
        if hit < most:
            process.join(rng.uniform(0.0, seconds))
            if process.is_alive():
                os.kill(process.pid, rng.choice(signals))
                is_hit = True
                score.injections += 1
        process.join(120)
        if process.is_alive():
            process.kill()
            score.note("hung", place, f"after {hit} hits")
        elif process.exitcode != 0 and not is_hit:
            score.note("exit code", place, str(process.exitcode))
        if process.exitcode == 0:
            return


def wait_for(processes: list[Any], score: Score, place: Arena, what: str) -> None:
    """Let all come to their end, which must be a good one."""
    for process in processes:
        process.join(180)
        if process.exitcode != 0:
            score.note(what, place, f"exit code {process.exitcode} {place.said}")
            process.kill()


def kill(count: int, seed: int) -> Score:
    return struck(count, seed, [signal.SIGKILL])


def interrupt(count: int, seed: int) -> Score:
    return struck(count, seed, [signal.SIGINT, signal.SIGTERM])


def struck(count: int, seed: int, signals: list[int]) -> Score:
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=8) as place:
            seconds = rng.choice([0.3, 0.6, 1.5])  # also often in the beginning
            until_done(place, score, rng, signals, 20, seconds)
            score.check(place)
    return score


def resume(count: int, seed: int) -> Score:
    """Ends must be equal: the same candidates in the same places, with the same scores."""
    score = Score()
    with arena(seed, num_trials=12) as place:
        started = time.monotonic()
        wait_for([place.start()], score, place, "exit code")
        seconds = time.monotonic() - started
        straight = history(place)
    while score.injections < count:
        rng = random.Random(1000 * seed + score.runs)
        with arena(seed, num_trials=12) as place:
            until_done(place, score, rng, [signal.SIGKILL, signal.SIGINT], 1, seconds)
            if history(place) != straight:
                score.note("other end", place, f"cut {score.runs}")
            score.check(place)
    return score


def history(place: Arena) -> list[tuple[Any, ...]]:
    trials = place.study().get_trials(deepcopy=False)
    done = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    rows = [(index_of(t, trials), t.params, t.value, t.intermediate_values) for t in done]
    return sorted(rows, key=lambda row: row[0])


def together(count: int, seed: int) -> Score:
    score = Score()
    for n in range(count):
        with arena(seed + n, num_trials=24) as place:
            processes = [place.start() for _ in range(8)]
            score.injections += 1
            wait_for(processes, score, place, "start failed")
            score.check(place, num_processes=8)
    return score


def churn(count: int, seed: int) -> Score:
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=40) as place:
            processes = [place.start() for _ in range(4)]
            for _ in range(10):
                time.sleep(rng.uniform(0.1, 0.7))
                victim = rng.randrange(4)
                if processes[victim].is_alive():
                    processes[victim].kill()
                    score.injections += 1
                processes[victim].join()
                processes[victim] = place.start()
            wait_for(processes, score, place, "hung")
            score.check(place, num_processes=4)
    return score


def halted(count: int, seed: int) -> Score:
    """What stands still and is still there keeps its trials, and nothing runs twice."""
    score = Score()
    for n in range(count):
        rng = random.Random(seed + n)
        with arena(seed + n, num_trials=16, seconds=0.1) as place:
            processes = [place.start() for _ in range(2)]
            for _ in range(3):
                process = rng.choice(processes)
                time.sleep(rng.uniform(0.1, 0.8))
                if process.is_alive():
                    os.kill(process.pid, signal.SIGSTOP)
                    time.sleep(rng.uniform(0.1, 1.0))
                    os.kill(process.pid, signal.SIGCONT)
                    score.injections += 1
            wait_for(processes, score, place, "exit code")
            score.check(place, num_processes=2)
    return score


def workers(count: int, seed: int) -> Score:
    """A killed worker costs its own candidate; several in a row end the search, which goes on."""
    score = Score()
    while score.injections < count:
        with arena(seed + score.runs, num_trials=8) as place:
            place = replace(place, is_real=True)
            for _ in range(10):
                process = place.start()
                process.join(120)
                if process.is_alive() or process.exitcode not in (0, 3):
                    score.note("exit code", place, f"{process.exitcode} {place.said}")
                    process.kill()
                if process.exitcode == 0:
                    break
            hits = place.folder / "hits"
            score.injections += len(hits.read_text()) if hits.exists() else 0
            score.check(place)
    return score


def watched(count: int, seed: int) -> Score:
    """The dashboard is open on three processes' study, and on a page that would do it harm."""
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=16) as place:
            name = place.study().study_name
            ours, theirs = FORK.Pipe()
            dashboard = FORK.Process(target=serve_dashboard, args=(place, theirs))
            dashboard.start()
            address = ours.recv()
            processes = [place.start() for _ in range(3)]
            while any(process.is_alive() for process in processes):
                time.sleep(0.1)
                request(f"{address}api/studies")
                request(f"{address}api/studies/1")
                method, origin = rng.choice(["DELETE", "POST"]), {"Origin": "http://other.example"}
                renamed = b'{"study_name": "other"}'
                status = request(f"{address}api/studies/1", method, origin, renamed)
                score.injections += 1
                if status != 403:
                    score.note("let through", place, str(status))
            dashboard.kill()
            dashboard.join()
            wait_for(processes, score, place, "exit code")
            if place.study().study_name != name:
                score.note("renamed", place, name)
            score.check(place, num_processes=3)
    return score


def serve_dashboard(place: Arena, ready: Any) -> None:
    from nas.reports.dashboard import serve

    serve(open_storage(place.url), place.folder, 0, ready.send)


def request(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> int:
    """The status of the answer."""
    asked = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
