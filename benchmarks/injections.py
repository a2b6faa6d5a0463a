"""The faults of `faults.py`, each done to searches so many times."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

from arena import FORK, Arena, Score, arena
from optuna.trial import TrialState

from nas.ownership import index_of
from nas.storage import open_storage


def until_done(
    place: Arena,
    score: Score,
    rng: random.Random,
    signals: list[int],
    most: int,
    seconds: float = 1.5,
) -> None:
    """Start it, hit it within so many seconds, start it again; after so many hits let it end."""
    for hit in range(most + 1):
        process = place.start()
        if hit < most:
            process.join(rng.uniform(0.0, seconds))
            if process.is_alive():
                os.kill(process.pid, rng.choice(signals))
                score.injections += 1
        process.join(120)
        if process.is_alive():
            process.kill()
            score.note("hung", place, f"after {hit} hits")
        if process.exitcode == 0:
            return


def wait_for(processes: list[Any], score: Score, place: Arena, what: str) -> None:
    """Let all come to their end, which must be a good one."""
    for process in processes:
        process.join(180)
        if process.exitcode != 0:
            score.note(what, place, f"exit code {process.exitcode}")
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
            until_done(place, score, rng, signals, most=10)
            score.check(place)
    return score


def resume(count: int, seed: int) -> Score:
    """Ends must be equal: the same candidates in the same places, with the same scores."""
    score = Score()
    with arena(seed, num_trials=12) as place:
        started = time.monotonic()
        place.start().join()
        seconds = time.monotonic() - started
        straight = history(place)
    for n in range(count):
        rng = random.Random(1000 * seed + n)
        with arena(seed, num_trials=12) as place:
            until_done(place, score, rng, [signal.SIGKILL, signal.SIGINT], 1, seconds)
            score.check(place)
            if history(place) != straight:
                score.note("other end", place, f"cut {n}")
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
            score.check(place)
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
            score.check(place)
    return score


def locked(count: int, seed: int) -> Score:
    """Another program holds the database for a while, again and again."""
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=8) as place:
            process = place.start()
            path = place.folder / "studies.db"
            while process.is_alive():
                time.sleep(rng.uniform(0.1, 0.5))
                if path.exists():
                    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
                        database.execute("BEGIN EXCLUSIVE")
                        time.sleep(rng.uniform(0.1, 2.0))
                        database.rollback()
                    score.injections += 1
            if process.exitcode != 0:
                score.note("failed", place, f"exit code {process.exitcode}")
            score.check(place)
    return score


def gone(count: int, seed: int) -> Score:
    """The database is moved away while it is searched in, and comes back."""
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=8) as place:
            path = place.folder / "studies.db"
            process = place.start()
            while not path.exists() and process.is_alive():
                time.sleep(0.01)
            process.join(rng.uniform(0.0, 2.0))
            path.rename(place.folder / "elsewhere")
            was_alive = process.is_alive()
            process.join(60)
            if was_alive:
                score.injections += 1
                if process.exitcode not in (0, 3):
                    score.note("exit code", place, str(process.exitcode))
            if path.exists():
                score.note("made anew", place, "")
            (place.folder / "elsewhere").rename(path)
            place.start().join(60)
            score.check(place)
    return score


def full(count: int, seed: int) -> Score:
    """A limit to the size of files stands in for a full disk."""
    score = Score()
    for n in range(count):
        rng = random.Random(seed + n)
        with arena(seed + n, num_trials=16, seconds=0.005) as place:
            room = rng.randrange(110_000, 150_000)  # bytes; an empty database has 110,000
            process = FORK.Process(target=in_little_room, args=(place, room))
            process.start()
            process.join(60)
            score.injections += process.exitcode == 3
            if process.exitcode not in (0, 2, 3):
                score.note("exit code", place, str(process.exitcode))
            place.start().join(60)
            score.check(place)
    return score


def in_little_room(place: Arena, room: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error of the call instead
    place.search()


def damaged(count: int, seed: int) -> Score:
    """It may be refused, or the damage not be seen; it must not end in a traceback."""
    score = Score()
    with arena(seed, num_trials=8) as place:
        place.start().join(60)
        path = place.folder / "studies.db"
        whole = path.read_bytes()
        for n in range(count):
            rng = random.Random(1000 * seed + n)
            content = bytearray(whole)
            if n % 10 == 0:
                del content[rng.randrange(len(content)) :]
            else:
                for _ in range(rng.choice([1, 10, 100])):
                    content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content)
            score.runs += 1
            score.injections += 1
            more = replace(place, num_trials=9)
            process = more.start()
            process.join(60)
            if process.exitcode not in (0, 2, 3):
                score.note("exit code", place, f"damage {n}: {process.exitcode}")
                process.kill()
            if process.exitcode == 2 and path.read_bytes() != content:
                score.note("overwritten", place, f"damage {n}")
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
            score.check(place)
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
                    score.note("exit code", place, str(process.exitcode))
                    process.kill()
                if process.exitcode == 0:
                    break
            hits = place.folder / "hits"
            score.injections += len(hits.read_text()) if hits.exists() else 0
            score.check(place)
    return score


def watched(count: int, seed: int) -> Score:
    """The dashboard is open on the study, and on a page that would do it harm."""
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=16) as place:
            name = place.study().study_name
            ours, theirs = FORK.Pipe()
            dashboard = FORK.Process(target=serve_dashboard, args=(place, theirs))
            dashboard.start()
            address = ours.recv()
            process = place.start()
            while process.is_alive():
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
            if process.exitcode != 0:
                score.note("exit code", place, str(process.exitcode))
            if place.study().study_name != name:
                score.note("renamed", place, name)
            score.check(place)
    return score


def serve_dashboard(place: Arena, ready: Any) -> None:
    from nas.dashboard import serve

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


def stopped(count: int, seed: int) -> Score:
    """The server goes away, politely or not, and comes back: everyone must wait for it."""
    score = Score()
    for n in range(count):
        rng = random.Random(seed + n)
        with arena(seed + n, num_trials=40, seconds=0.3) as place:
            processes = [place.start() for _ in range(4)]
            time.sleep(rng.uniform(1.0, 4.0))
            os.kill(place.server.get_pid(), rng.choice([signal.SIGINT, signal.SIGQUIT]))
            score.injections += 1
            time.sleep(30.0 if n == 0 else rng.uniform(1.0, 30.0))
            place.server.ensure_postgres_running()
            wait_for(processes, score, place, "gave up")
            score.check(place)
    return score
