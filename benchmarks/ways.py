"""The ways to search that `search.py` compares, each with as many epochs as it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import torch

from nas.candidates.candidate import Candidate
from nas.data import Dataset
from nas.errors import DivergedError, OverBudgetError
from nas.metrics import EpochMetrics
from nas.searching.config import SearchConfig
from nas.searching.events import EpochEnded, Event
from nas.searching.ledger import Ledger
from nas.searching.pruners import make_pruner
from nas.searching.samplers import derive_seed
from nas.searching.search import Search
from nas.spaces.loader import load_space
from nas.spaces.task import Task
from nas.storage.ranking import best_trials
from nas.storage.reasons import Reason
from nas.training import train
from nas.training.device import fastest_precision
from nas.training.messages import EpochDone, Failed, Job, Message, Trained

TASK = Task((1, 28, 28), 10, 20_000)
ARMS = ("plain", "random", "optuna", "blind", "nas")
PRECISION = fastest_precision(torch.device("cpu"))
PLAIN = str(Path(__file__).parent / "plain_space.py")

End = tuple[int, float, Candidate]  # epochs so far, score, what was trained


class Meter:
    """Counts epochs, and says when there have been enough of them."""

    exit_code = 0
    timeout_seconds = 0.0  # it counts no seconds
    seconds_left = None

    def __init__(self, most: int) -> None:
        self.most = most
        self.num_epochs = 0

    @property
    def reason(self) -> Reason | None:
        return Reason.TIME_LIMIT if self.num_epochs >= self.most else None

    def __call__(self) -> bool:
        return self.reason is not None

    def observe(self, event: Event) -> None:
        self.num_epochs += isinstance(event, EpochEnded)


class OneWorker:
    """In place of a pool of processes: trains here, an epoch with each call of `wait`."""

    device = torch.device("cpu")
    precision = PRECISION
    engine = "eager"
    num_workers = 1
    peak: float | None = None  # nobody asks how fast it is

    def __init__(self, data: Dataset, meter: Meter) -> None:
        self.data = data
        self.num_train, self.num_valid = len(data.train_index), len(data.valid_index)
        self.meter = meter
        self.job: Job | None = None
        self.messages: list[Message] = []

    @property
    def num_idle(self) -> int:
        return 0 if self.job or self.messages else 1

    def start(self, job: Job) -> None:
        self.job = job

    def stop(self) -> None:
        pass

    def answer(self, number: int, stop: bool) -> None:
        assert not stop  # no arm that uses it stops within a schedule

    def wait(self, timeout_seconds: float) -> list[Message]:
        assert self.job is not None
        job, self.job = self.job, None
        left = self.meter.most - self.meter.num_epochs

        def on_epoch_end(metrics: EpochMetrics) -> bool:
            return metrics.epoch >= left

        try:
            result = train(job.architecture, job.recipe, self.data, seed=job.seed,
                           precision=self.precision, on_epoch_end=on_epoch_end)  # fmt: skip
        except DivergedError as error:
            return [Failed(job.number, str(error), has_diverged=True)]
        epochs = [EpochDone(job.number, metrics) for metrics in result.history]
        return [*epochs, Trained(job.number, result)]


def search(
    study: optuna.Study,
    arm: str,
    repeat: int,
    meter: Meter,
    data: Dataset,
    task: Task = TASK,
    space_name: str = "blocks",
) -> list[End]:
    """Search in one of the ways; returns what was trained to its end, in that order.

    Args:
        task, space_name: of the arms that are `nas`; the others have those of 20,000 parameters.
    """
    if arm == "optuna":
        return search_optuna(study, repeat, meter, data)
    settings = SearchConfig(budget=1, trials=10**6, max_rejected=10**6, seed=repeat)
    space = load_space(PLAIN)
    if arm in ("blind", "nas"):
        space = load_space(space_name)
        space = replace(space, start=None) if arm == "blind" else space
    else:
        sampler = "tpe" if arm == "plain" else "random"
        settings = replace(settings, sampler=sampler, pruner="none")
    ends: list[End] = []
    known: set[int] = set()

    def observe(event: Event) -> None:
        meter.observe(event)
        for record in best_trials(study) if not isinstance(event, EpochEnded) else ():
            if record.number not in known and record.candidate:
                known.add(record.number)
                ends.append((meter.num_epochs, record.valid_accuracy or 0.0, record.candidate))

    pool = OneWorker(data, meter)
    pruner = make_pruner(settings.pruner, task.epochs, pool.num_train)
    ledger = Ledger(study, settings, pruner, Path("/nonexistent/never-kept"))
    Search(ledger, space, task, data, pool, observe, meter).run()  # type: ignore[arg-type]
    return ends


def search_optuna(study: optuna.Study, repeat: int, meter: Meter, data: Dataset) -> list[End]:
    """As Optuna's own examples do it."""
    space = load_space(PLAIN)
    study.sampler = optuna.samplers.TPESampler(seed=repeat)
    ends: list[End] = []

    def objective(trial: optuna.Trial) -> float:
        candidate = space.propose(trial, TASK)
        try:
            TASK.budget.check(candidate.architecture)
        except OverBudgetError as error:
            raise optuna.TrialPruned from error

        def on_epoch_end(metrics: EpochMetrics) -> bool:
            meter.num_epochs += 1
            trial.report(metrics.valid_accuracy, metrics.epoch)
            return meter() or trial.should_prune()

        seed = derive_seed(repeat, trial.number, "training")
        try:
            result = train(candidate.architecture, candidate.recipe, data, seed=seed,
                           precision=PRECISION, on_epoch_end=on_epoch_end)  # fmt: skip
        except DivergedError as error:
            raise optuna.TrialPruned from error
        if not result.is_finished:
            raise optuna.TrialPruned
        score = result.history[-1].valid_accuracy
        ends.append((meter.num_epochs, score, candidate))
        return score

    while not meter():
        study.optimize(objective, n_trials=1)
    return ends
