"""The faults of `faults.py` that befall the database, each done so many times."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import time
from collections import Counter
from dataclasses import replace

from arena import FORK, Arena, arena
from injections import wait_for
from score import Score


def locked(count: int, seed: int) -> Score:
    """Another program holds the database for a while, again and again; now and then for longer
    than one try of many takes."""
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
                        is_long = score.injections % 20 == 0
                        time.sleep(rng.uniform(5.5, 8.0) if is_long else rng.uniform(0.1, 2.0))
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
            wait_for([place.start()], score, place, "exit code")
            score.check(place)
    return score


def full(count: int, seed: int) -> Score:
    """A limit to the size of files stands in for a full disk."""
    score = Score()
    while score.injections < count:
        rng = random.Random(seed + score.runs)
        with arena(seed + score.runs, num_trials=16, seconds=0.005) as place:
            room = rng.randrange(110_000, 150_000)  # bytes; an empty database has 110,000
            process = FORK.Process(target=in_little_room, args=(place, room))
            process.start()
            process.join(60)
            score.injections += process.exitcode == 3
            if process.exitcode not in (0, 2, 3):
                score.note("exit code", place, str(process.exitcode))
            wait_for([place.start()], score, place, "exit code")
            score.check(place)
    return score


def in_little_room(place: Arena, room: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error of the call instead
    place.search()


def damaged(count: int, seed: int) -> Score:
    """It may be refused, or searched; then nothing may be lost beside what the damage cost."""
    score = Score()
    with arena(seed, num_trials=8) as place, arena(seed, num_trials=8) as spare:
        wait_for([place.start()], score, place, "exit code")
        shutil.copytree(place.folder, spare.folder, dirs_exist_ok=True)
        path = place.folder / "studies.db"
        for n in range(count):
            shutil.rmtree(place.folder)
            shutil.copytree(spare.folder, place.folder)
            content = damage(path.read_bytes(), random.Random(1000 * seed + n), is_cut=n % 10 == 0)
            path.write_bytes(content)
            before = complaints(place)
            path.write_bytes(content)  # as it was: looking may have mended it
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
            if process.exitcode == 0 and before is not None:
                after = complaints(more)
                for what in ["unreadable"] if after is None else after - before:
                    score.note(what, place, f"damage {n}")
    return score


def damage(content: bytes, rng: random.Random, is_cut: bool) -> bytes:
    """With its end cut off, or with other bytes in some places."""
    if is_cut:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 10, 100])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def complaints(place: Arena) -> Counter[str] | None:
    """What the checker finds; None when it cannot read the database."""
    score = Score()
    try:
        score.check(place)
    except Exception:  # as many as there are ways to be damaged
        return None
    return score.counts


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
            score.check(place, num_processes=4)
    return score
