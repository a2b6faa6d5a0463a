"""Where searches are broken for `faults.py`: toy searches, and a check of what is left of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import optuna
import torch
from optuna.trial import TrialState

from nas import datasets, rungs, samplers
from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe
from nas.errors import NasError
from nas.events import Event, TrialEnded
from nas.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.metrics import EpochMetrics
from nas.search import Search
from nas.search_space import SearchSpace
from nas.settings import SearchSettings
from nas.stopping import StopRequest
from nas.storage import open_storage, storage_errors
from nas.studies import DataFacts, StudyFacts, open_or_create_study
from nas.tally import count_trained, take_tally
from nas.task import Task
from nas.training import TrainResult
from nas.trials import TRAINED
from nas.weights import WeightsStore
from nas.worker import EpochDone, Job, Trained
from nas.workers import Message, WorkerPool

EPOCHS = 9  # with rungs of 1 and 4
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


class MortalPool(WorkerPool):
    """Two processes that train in earnest; now and then one is killed, as out of memory."""

    def __init__(self, hits: Path) -> None:
        super().__init__(DATA, torch.device("cpu"), torch.float32, num_workers=2)
        self.hits = hits
        self.rng = random.Random(str(hits))

    def wait(self, timeout_seconds: float) -> list[Message]:
        if self.rng.random() < 0.03:  # waits are as many as epochs
            os.kill(self.rng.choice(self._workers).process.pid, signal.SIGKILL)
            with self.hits.open("a") as file:
                file.write("x")
        return super().wait(timeout_seconds)


@dataclass(frozen=True)
class Arena:
    """A folder for one run: the database, and what the searches said beside it."""

    server: ClassVar[Any] = None  # of pgserver; else a file for each run
    folder: Path
    num_trials: int
    seed: int
    seconds: float  # an epoch
    sampler: str = "tpe"
    is_real: bool = False  # trains in earnest, in processes that are killed

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

        rungs.FIRST_RUNG = len(DATA.train_index)  # else so small a data set has no rung
        # Of four, not of sixteen: who was stopped is to be taken up again in these few trials.
        samplers.SqueezedPruner = partial(rungs.SqueezedPruner, lowest_kept=4, first=1)  # type: ignore[misc,assignment]
        space = SearchSpace("toy", Path(__file__), "# toy", suggest)
        settings = SearchSettings(trials=self.num_trials, seed=self.seed, sampler=self.sampler)
        stop = StopRequest()
        try:
            with stop, storage_errors(self.url), self.pool() as pool:
                study = self.study()
                weights = WeightsStore(study, self.folder / "studies-artifacts")
                search = Search(study, space, TASK, DATA, settings, pool, weights, observe, stop)
                search.run()
        except NasError as error:
            os._exit(error.exit_code)
        os._exit(stop.exit_code)

    def pool(self) -> contextlib.AbstractContextManager[Any]:
        if self.is_real:
            return MortalPool(self.folder / "hits")
        return contextlib.nullcontext(ToyPool(self.seconds))

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
                self.note("lost", arena, f"trial {number}")
        num_trained = count_trained(tally.counts)
        if num_trained != arena.num_trials or not tally.counts[TRAINED]:
            self.note("double", arena, f"{dict(tally.counts)}, not {arena.num_trials}")
        prints = Counter(trials[number].user_attrs["fingerprint"] for number in tally.scores)
        for fingerprint, count in prints.items():
            if count > 1:
                self.note("double", arena, f"{fingerprint} {count} times")
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self.note("zombies", arena, f"trial {trial.number}")
        best = max(tally.scores.values(), default=0.0)
        if any(accuracy > best for _, accuracy in arena.told()):
            self.note("worse", arena, f"best {best}")
        path = arena.folder / "studies.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as database:
                if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    self.note("damaged", arena, "integrity check")
        leftovers = [p for p in arena.folder.rglob(".part-*")]
        if leftovers:
            self.note("left over", arena, str(leftovers))

    def note(self, what: str, arena: Arena, detail: str) -> None:
        self.counts[what] += 1
        self.notes.append(f"{what}: seed {arena.seed}: {detail}")


@contextlib.contextmanager
def arena(seed: int, num_trials: int, seconds: float = 0.02) -> Iterator[Arena]:
    with tempfile.TemporaryDirectory(prefix="nas-faults-") as folder:
        yield Arena(Path(folder), num_trials, seed, seconds)


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
