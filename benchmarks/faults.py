"""Break searches in every way that is known, and count what is lost.

    python benchmarks/faults.py [kill interrupt resume ...] [--count N] [--seed S]

The searches are real but for the training, which is a toy of about 0.1 s a candidate. What a search
has told is also written to a file beside the database, and a checker compares the two at the end:

lost:    told finished, and not there any more, or with another score
double:  trained to its end more often than the study asked for, or the same candidate twice
zombies: trials that are still called running when nobody runs them
worse:   the best is worse than one that was told

kill:      one process, killed without warning at random moments, started again until it is done
interrupt: the same with Ctrl-C and the system's request to end
resume:    one process, cut off once anywhere; must end exactly like one that was not
locked:    another program locks the database for up to 2 s, again and again
gone:      the database is moved away during the search, and comes back
together:  eight processes begin at once on a file that is not there yet
churn:     four processes, one of them killed at random again and again
full:      there is no room for the database to grow, until there is again
damaged:   a database is cut off or has bytes changed: it is refused in one line, or searched
halted:    one of two processes is stopped for a while, and continued
watched:   a dashboard polls the study all the time, and other sites' pages ask it to do harm
stopped:   four processes on a server that is stopped in their midst, for up to 30 s

With --server the searches share a PostgreSQL server, which is brought up for them, instead of a
file; `stopped` needs it; `locked`, `gone`, `full`, `damaged` and `watched` need a file.

Each line is so many runs with seeds of their own; the exit code is 1 when anything is not zero.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import torch
from arena import FORK, Arena, Score, arena, postgresql
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


FAULTS = {"kill": (kill, 200), "interrupt": (interrupt, 50), "resume": (resume, 100),
          "together": (together, 50), "churn": (churn, 200), "locked": (locked, 50),
          "gone": (gone, 50), "full": (full, 50), "damaged": (damaged, 200), "halted": (halted, 50),
          "watched": (watched, 200), "stopped": (stopped, 10)}  # fmt: skip
ON_A_FILE, ON_A_SERVER = ("locked", "gone", "full", "damaged", "watched"), ("stopped",)
COLUMNS = ("lost", "double", "zombies", "worse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--count", type=int, help="injections of each (default: 50 to 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server", action="store_true", help="on PostgreSQL instead of files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [n for n in FAULTS if n not in (ON_A_FILE if options.server else ON_A_SERVER)]
    if set(options.faults) - set(names):
        parser.error(f"of these there are: {', '.join(names)}")
    with postgresql() if options.server else contextlib.nullcontext() as Arena.server:
        sys.exit(run(options.faults or names, options.count, options.seed))


def run(names: list[str], count: int | None, seed: int) -> int:
    """Print the table; returns the exit code."""
    is_good = True
    print(f"| fault | runs | injections | {' | '.join(COLUMNS)} | other |")
    print("| --- |" + " --- |" * (len(COLUMNS) + 3))
    for name in names:
        inject, default = FAULTS[name]
        score = inject(count or default, seed)
        cells = [str(score.counts[column]) for column in COLUMNS]
        other = {k: v for k, v in score.counts.items() if k not in COLUMNS}
        print(f"| {name} | {score.runs} | {score.injections} | {' | '.join(cells)} | "
              f"{other or 0} |", flush=True)  # fmt: skip
        for note in score.notes[:20]:
            print(f"# {note}", file=sys.stderr)
        is_good = is_good and not score.counts
    return 0 if is_good else 1


if __name__ == "__main__":
    main()
