"""Where searches are broken for `faults.py`: toy searches, and what they tell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import optuna
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.data import source_of, split
from nas.errors import NasError
from nas.metrics import EpochMetrics
from nas.searching.config import SearchConfig
from nas.searching.events import Event, TrialEnded
from nas.searching.ledger import Ledger
from nas.searching.pruners import SqueezedPruner
from nas.searching.search import Search
from nas.searching.stop import StopRequest
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.database import open_storage, storage_errors
from nas.storage.reasons import Reason
from nas.storage.studies import DataFacts, StudyFacts, open_or_create_study
from nas.training import TrainResult
from nas.training.messages import EpochDone, Job, Message, Trained
from nas.training.pool import WorkerPool

EPOCHS = 9  # with rungs of 1 and 4
TASK = Task((1, 8, 8), 10, 2_000, EPOCHS)
FORK = get_context("fork")  # a child begins at once, with everything loaded
DATA = split(source_of("digits", data_dir=Path()).training_images(), Fraction(1, 12), 0)
RUNGS = tuple(rung for rung in (1, 4, 16) if 2 * rung <= EPOCHS)  # of a larger data set


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


def toy_weights(seed: int) -> dict[str, torch.Tensor]:
    """What a toy training with that seed comes to."""
    return {"w": torch.full((2,), float(seed % 1000))}


class ToyPool:
    """One worker that sleeps instead of training, and scores by network, recipe and seed."""

    device = torch.device("cpu")
    precision = torch.float32
    engine = "eager"
    num_workers = 1
    peak: float | None = None  # sleep computes nothing
    num_train, num_valid = len(DATA.train_index), len(DATA.valid_index)

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

    def ended(self, number: int) -> None:
        """Nothing is to be done."""

    def answer(self, number: int, stop: bool) -> None:
        self.is_stopped = self.is_stopped or stop

    def wait(self, timeout_seconds: float) -> list[Message]:
        job = self.job
        assert job is not None
        if self.is_stopped or len(self.history) == job.recipe.epochs:
            self.job, is_finished = None, len(self.history) == job.recipe.epochs
            result = TrainResult(tuple(self.history), toy_weights(job.seed), 0.1, is_finished)
            return [Trained(job.number, result)]
        time.sleep(self.seconds)
        text = f"{job.architecture.fingerprint}/{job.recipe.learning_rate}/{job.seed}"
        noise = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
        epoch = len(self.history) + 1
        accuracy = (0.9 - 0.3 / job.architecture.num_params**0.5 + 0.05 * noise) * epoch / EPOCHS
        self.history.append(EpochMetrics(epoch, 1.0, 1 - accuracy, accuracy, self.seconds))
        return [EpochDone(job.number, self.history[-1])]


class MortalPool(WorkerPool):
    """Two processes that train in earnest; now and then one is killed, as out of memory.

    Three candidates in a row that cost their process end a search, as they should: so no more than
    two are killed before one comes to its end that was begun after them. (One that was in work
    before may end before it is heard that another's process is dead.)
    """

    def __init__(self, hits: Path) -> None:
        super().__init__(DATA, torch.device("cpu"), torch.float32, num_workers=2)
        self.hits = hits
        self.rng = random.Random(str(hits))
        self.num_killed = 0
        self.num_forgiven = 0  # of these, when such a candidate came to its end
        self.begun: dict[int, int] = {}  # for each candidate, how many had been killed by then

    def start(self, job: Job) -> None:
        self.begun[job.number] = self.num_killed
        super().start(job)

    def ended(self, number: int) -> None:
        """A candidate came to its end."""
        if self.begun[number] == self.num_killed:
            self.num_forgiven = self.num_killed

    def wait(self, timeout_seconds: float) -> list[Message]:
        messages = super().wait(timeout_seconds)
        if messages and self.num_killed - self.num_forgiven < 2 and self.rng.random() < 0.05:
            self.num_killed += 1
            with contextlib.suppress(ProcessLookupError):  # it has just been replaced
                os.kill(self.rng.choice(self._workers).process.pid, signal.SIGKILL)
            with self.hits.open("a") as file:
                file.write("x")
        return messages


def wait_and_note(
    wait: Callable[[float], list[Message]], finished: dict[int, float], timeout_seconds: float
) -> list[Message]:
    """Wait for a pool, and note the scores of what was trained with its full schedule."""
    messages = wait(timeout_seconds)
    for message in messages:
        if isinstance(message, Trained) and len(message.result.history) == EPOCHS:
            finished[message.number] = message.result.history[-1].valid_accuracy
    return messages


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
        """In a child process: search to the end, and write down what was told.

        What a worker has finished counts as told once the search ends by itself, however it ends.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        told = os.open(self.folder / "told.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        finished: dict[int, float] = {}  # and not told yet

        def tell(number: int, accuracy: float) -> None:
            finished.pop(number, None)
            os.write(told, json.dumps([number, accuracy]).encode() + b"\n")
            os.fsync(told)

        def observe(event: Event) -> None:
            if isinstance(event, TrialEnded) and event.reason in (None, Reason.STOPPED_BY_PRUNER):
                pool.ended(event.trial)
            if isinstance(event, TrialEnded) and event.reason is None:
                assert event.valid_accuracy is not None
                tell(event.trial, event.valid_accuracy)

        # Of four, not of sixteen: who was stopped is to be taken up again in these few trials.
        pruner = SqueezedPruner(RUNGS, lowest_kept=4, first=1)
        space = SearchSpace("toy", Path(__file__), "# toy", suggest)
        settings = SearchConfig(
            budget=1, trials=self.num_trials, seed=self.seed, sampler=self.sampler
        )
        stop = StopRequest()
        try:
            with stop, storage_errors(self.url), self.pool() as pool:
                pool.wait = partial(wait_and_note, pool.wait, finished)
                study = self.study()
                ledger = Ledger(study, settings, pruner, self.folder / "studies-artifacts")
                Search(ledger, space, TASK, DATA, pool, observe, stop).run()
            code = stop.exit_code
        except NasError as error:
            code = error.exit_code
            with (self.folder / "said.txt").open("a") as file:
                file.write(f"{error}\n")
        for number, accuracy in list(finished.items()):
            tell(number, accuracy)
        os._exit(code)

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

    @property
    def said(self) -> str:
        """What the searches that failed said."""
        path = self.folder / "said.txt"
        return path.read_text() if path.exists() else ""

    def told(self) -> list[tuple[int, float]]:
        path = self.folder / "told.jsonl"
        if not path.exists():
            return []
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


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
