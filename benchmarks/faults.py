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
stopped:   four processes on a server that is stopped in their midst, for up to 30 s

With --server the searches share a PostgreSQL server, which is brought up for them, instead of a
file; `stopped` needs it; `locked`, `gone`, `full` and `damaged` need a file.

Each line is so many runs with seeds of their own; the exit code is 1 when anything is not zero.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import optuna
import torch
from optuna.trial import TrialState

from nas import datasets
from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe
from nas.errors import NasError
from nas.events import Event, TrialEnded
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.metrics import EpochMetrics
from nas.ownership import index_of
from nas.search import Search, SearchSettings
from nas.search_space import SearchSpace
from nas.stopping import StopRequest
from nas.storage import open_storage, storage_errors
from nas.studies import TRAINED, DataFacts, StudyFacts, open_or_create_study, take_tally
from nas.task import Task
from nas.training import TrainResult
from nas.weights import WeightsStore
from nas.worker import EpochDone, Job, Trained
from nas.workers import Message

EPOCHS = 3
TASK = Task((1, 8, 8), 10, 2_000, EPOCHS)
FORK = get_context("fork")  # a child begins at once, with everything loaded
DATA = datasets.split(datasets.load_training_images("digits", Path()), Fraction(1, 12), 0)


def suggest(trial: Any, task: Task) -> Candidate:
    """A conditional space of a few parameters."""
    layers: list[Any] = []
    for i in range(trial.suggest_int("depth", 1, 3)):
        layers.append(Conv(trial.suggest_int(f"width{i}", 1, 12), 3))
    rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
    layers += [GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(
        Architecture(task.input_shape, layers), Recipe(learning_rate=rate, epochs=EPOCHS)
    )


class ToyPool:
    """One worker that sleeps instead of training, and scores by network, recipe and seed."""

    device = torch.device("cpu")
    precision = torch.float32
    num_workers = 1

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds  # an epoch
        self.job: Job | None = None
        self.history: list[EpochMetrics] = []
        self.is_stopped = False

    @property
    def num_idle(self) -> int:
        return 0 if self.job else 1

    def start(self, job: Job) -> None:
        self.job, self.history = job, []

    def stop(self) -> None:
        self.is_stopped = True

    def answer(self, number: int, stop: bool) -> None:
        self.is_stopped = self.is_stopped or stop

    def wait(self, timeout_seconds: float) -> list[Message]:
        job = self.job
        assert job is not None
        if self.is_stopped or len(self.history) == job.recipe.epochs:
            self.job, is_finished = None, not self.is_stopped
            weights = {"w": torch.full((2,), float(job.seed % 1000))}
            return [
                Trained(job.number, TrainResult(tuple(self.history), weights, 0.1, is_finished))
            ]
        time.sleep(self.seconds)
        text = f"{job.architecture.fingerprint}/{job.recipe.learning_rate}/{job.seed}"
        noise = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
        epoch = len(self.history) + 1
        accuracy = (0.9 - 0.3 / job.architecture.num_params**0.5 + 0.05 * noise) * epoch / EPOCHS
        self.history.append(EpochMetrics(epoch, 1.0, 1 - accuracy, accuracy, self.seconds))
        return [EpochDone(job.number, self.history[-1])]


@dataclass(frozen=True)
class Arena:
    """A folder for one run: the database, and what the searches said beside it."""

    server: ClassVar[Any] = None  # of pgserver; else a file for each run
    folder: Path
    num_trials: int
    seed: int
    seconds: float  # an epoch
    sampler: str = "tpe"

    @property
    def url(self) -> str:
        if self.server is None:
            return f"sqlite:///{self.folder / 'studies.db'}"
        return str(self.server.get_uri()).replace("postgresql:", "postgresql+psycopg2:", 1)

    def search(self) -> None:
        """In a child process: search to the end, and write down what was told."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        told = os.open(self.folder / "told.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def observe(event: Event) -> None:
            if isinstance(event, TrialEnded) and event.reason is None:
                os.write(told, json.dumps([event.trial, event.valid_accuracy]).encode() + b"\n")
                os.fsync(told)

        space = SearchSpace("toy", Path(__file__), "# toy", suggest)
        settings = SearchSettings(trials=self.num_trials, seed=self.seed, pruner="none",
                                  sampler=self.sampler)  # fmt: skip
        stop = StopRequest()
        try:
            with stop, storage_errors(self.url):
                study = self.study()
                weights = WeightsStore(study, self.folder / "studies-artifacts")
                pool = ToyPool(self.seconds)
                search = Search(study, space, TASK, DATA, settings, pool, weights, observe, stop)  # type: ignore[arg-type]
                search.run()
        except NasError as error:
            os._exit(error.exit_code)
        os._exit(stop.exit_code)

    def start(self) -> Any:
        process = FORK.Process(target=self.search)
        process.start()
        return process

    def study(self) -> optuna.Study:
        facts = StudyFacts("toy", "0" * 64, 2_000, "digits", "0" * 64, "0" * 64, EPOCHS, self.seed)
        data = DataFacts("digits", None, "1/12", 0, (1, 8, 8), tuple("0123456789"), (0.3,), (0.4,),
                         1369, 124)  # fmt: skip
        storage = open_storage(self.url, create=True)
        name = f"toy-{self.seed}-{self.folder.name}"  # a server is one for all runs
        return open_or_create_study(storage, name, facts, data, "# toy")

    def told(self) -> list[tuple[int, float]]:
        path = self.folder / "told.jsonl"
        if not path.exists():
            return []
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


@dataclass
class Score:
    """What went wrong in the runs of one fault."""

    runs: int = 0
    injections: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def check(self, arena: Arena) -> None:
        """Compare the database with what was told."""
        self.runs += 1
        study = arena.study()
        trials = study.get_trials(deepcopy=False)
        tally = take_tally(study)
        for number, accuracy in arena.told():
            if trials[number].state != TrialState.COMPLETE or trials[number].value != accuracy:
                self._note("lost", arena, f"trial {number}")
        if tally.counts[TRAINED] != arena.num_trials:
            self._note("double", arena, f"{tally.counts[TRAINED]} trained, not {arena.num_trials}")
        prints = Counter(trials[number].user_attrs["fingerprint"] for number in tally.scores)
        for fingerprint, count in prints.items():
            if count > 1:
                self._note("double", arena, f"{fingerprint} {count} times")
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self._note("zombies", arena, f"trial {trial.number}")
        best = max(tally.scores.values(), default=0.0)
        if any(accuracy > best for _, accuracy in arena.told()):
            self._note("worse", arena, f"best {best}")
        path = arena.folder / "studies.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as database:
                if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    self._note("damaged", arena, "integrity check")
        leftovers = [p for p in arena.folder.rglob(".part-*")]
        if leftovers:
            self._note("left over", arena, str(leftovers))

    def _note(self, what: str, arena: Arena, detail: str) -> None:
        self.counts[what] += 1
        self.notes.append(f"{what}: seed {arena.seed}: {detail}")


@contextlib.contextmanager
def arena(seed: int, num_trials: int, seconds: float = 0.02) -> Iterator[Arena]:
    with tempfile.TemporaryDirectory(prefix="nas-faults-") as folder:
        yield Arena(Path(folder), num_trials, seed, seconds)


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
            score._note("hung", place, f"after {hit} hits")
        if process.exitcode == 0:
            return


def wait_for(processes: list[Any], score: Score, place: Arena, what: str) -> None:
    """Let all come to their end, which must be a good one."""
    for process in processes:
        process.join(180)
        if process.exitcode != 0:
            score._note(what, place, f"exit code {process.exitcode}")
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
                score._note("other end", place, f"cut {n}")
    return score


def history(place: Arena) -> list[tuple[int, dict[str, Any], float]]:
    trials = place.study().get_trials(deepcopy=False)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    return sorted(((index_of(t, trials), t.params, t.value) for t in done), key=lambda row: row[0])


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
                score._note("failed", place, f"exit code {process.exitcode}")
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
                    score._note("exit code", place, str(process.exitcode))
            if path.exists():
                score._note("made anew", place, "")
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
                score._note("exit code", place, str(process.exitcode))
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
                score._note("exit code", place, f"damage {n}: {process.exitcode}")
                process.kill()
            if process.exitcode == 2 and path.read_bytes() != content:
                score._note("overwritten", place, f"damage {n}")
    return score


def halted(count: int, seed: int) -> Score:
    """What stands still and is still there keeps its trials, and nothing runs twice."""
    score = Score()
    for n in range(count):
        rng = random.Random(seed + n)
        with arena(seed + n, num_trials=16, seconds=0.05) as place:
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


def stopped(count: int, seed: int) -> Score:
    """The server goes away, politely or not, and comes back: everyone must wait for it."""
    score = Score()
    for n in range(count):
        rng = random.Random(seed + n)
        with arena(seed + n, num_trials=24, seconds=0.1) as place:
            processes = [place.start() for _ in range(4)]
            time.sleep(rng.uniform(1.0, 4.0))
            os.kill(place.server.get_pid(), rng.choice([signal.SIGINT, signal.SIGQUIT]))
            score.injections += 1
            time.sleep(30.0 if n == 0 else rng.uniform(1.0, 30.0))
            place.server.ensure_postgres_running()
            wait_for(processes, score, place, "gave up")
            score.check(place)
    return score


@contextlib.contextmanager
def postgresql() -> Iterator[Any]:
    """A PostgreSQL server of our own."""
    import pgserver

    with tempfile.TemporaryDirectory(prefix="nas-server-", ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder)
        try:
            yield server
        finally:
            server.cleanup()


FAULTS = {"kill": (kill, 200), "interrupt": (interrupt, 50), "resume": (resume, 100),
          "together": (together, 50), "churn": (churn, 200), "locked": (locked, 50),
          "gone": (gone, 50), "full": (full, 50), "damaged": (damaged, 200), "halted": (halted, 50),
          "stopped": (stopped, 10)}  # fmt: skip
ON_A_FILE, ON_A_SERVER = ("locked", "gone", "full", "damaged"), ("stopped",)
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
