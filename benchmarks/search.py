"""Compare ways to search, at equal amounts of training.

    python benchmarks/search.py --data-dir DATA [--images 18333] [--trainings 12] [--repeats 5]

Each way may train as many epochs as so many full trainings of 19 epochs take, under a budget of
20,000 parameters:

plain:  the shapes of `blocks` with absolute widths; what is too large is pruned before training,
        the rest is trained fully; Optuna's TPE.
random: the same, drawn at random.
optuna: a plain Optuna script of the kind its examples show: the same shapes, TrialPruned when too
        large, default sampler, default median pruner that is told every epoch.
blind:  `nas search` without the proposal that `blocks` begins with: it is told nothing.
nas:    `nas search` as it is.

All train with the same engine on the same images. A way's answer at any time is its best trial on
the 5,000 validation images; that candidate is trained again with fresh seeds and measured on 30,000
training images that nothing else used. No test image is read. Searches and measurements are kept in
benchmarks/results/search.json when they end, and the script goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import torch

from nas import datasets
from nas.candidate import Candidate
from nas.certainty import mean_of
from nas.datasets import Dataset
from nas.errors import DivergedError, OverBudgetError
from nas.events import EpochEnded, Event
from nas.metrics import EpochMetrics
from nas.samplers import derive_seed
from nas.search import Search
from nas.search_space import load_space
from nas.settings import SearchSettings
from nas.tally import take_tally
from nas.task import Task
from nas.training import train
from nas.training.engine import evaluate
from nas.training.step import MEMORY_FORMAT
from nas.trials import Reason, best_trials
from nas.weights import WeightsStore
from nas.worker import EpochDone, Failed, Job, Trained
from nas.workers import Message

RESULTS = Path(__file__).parent / "results" / "search.json"
TASK = Task((1, 28, 28), 10, 20_000)
NUM_TRUTH = 30_000  # images
CHECKPOINTS = (1 / 4, 1 / 2, 1)  # of the training, at which a way is asked for its answer
ARMS = ("plain", "random", "optuna", "blind", "nas")
PLAIN = str(Path(__file__).parent / "plain_space.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--images", type=int, default=18_333, help="training images")
    parser.add_argument("--trainings", type=int, default=12, help="full trainings' worth of epochs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2, help="trainings that measure an answer")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="run these alone")
    parser.add_argument("--hours", type=float, default=24.0, help="begin nothing after these")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    setting = [options.images, options.trainings]
    mine = [run for run in kept if run["setting"] == setting]
    others = [run for run in kept if run["setting"] != setting]
    done = {(run["arm"], run["repeat"]) for run in mine}
    wanted = [(arm, n) for n in range(options.repeats) for arm in options.arms]
    todo = [run for run in wanted if run not in done]
    until = time.time() + 3600 * options.hours
    context = get_context("spawn")
    with ProcessPoolExecutor(2, context, prepare, (options,)) as pool:
        for ended in as_completed([pool.submit(run_arm, *task, until) for task in todo]):
            if ended.exception():
                pool.shutdown(cancel_futures=True)
            run = ended.result()
            if run is None:
                continue
            mine.append(run | {"setting": setting})
            part = RESULTS.with_suffix(".part")
            part.write_text(json.dumps([*others, *mine], indent=1) + "\n")
            part.replace(RESULTS)
            print(f"# {run['arm']} {run['repeat']}: {[a['truth'] for a in run['answers']]}, "
                  f"{run['seconds']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    table(mine, options)


STATE: dict[str, Any] = {}  # of each process: options and images


def prepare(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    images = datasets.load_training_images("mnist", options.data_dir)
    data = datasets.split(images, Fraction(1, 12), seed=0)
    used, rest = data.train_index[: options.images], data.train_index[options.images :]
    STATE["options"] = options
    STATE["data"] = replace(data, train_index=used)
    STATE["truth"] = replace(data, valid_index=rest[:NUM_TRUTH])


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
    precision = torch.bfloat16
    num_workers = 1

    def __init__(self, data: Dataset, meter: Meter) -> None:
        self.data = data
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


def run_arm(arm: str, repeat: int, until: float) -> dict[str, Any] | None:
    """One search, and what its answers are worth; None when it is too late to begin."""
    if time.time() > until:
        return None
    options = STATE["options"]
    started = time.perf_counter()
    meter = Meter(options.trainings * TASK.epochs)
    study = optuna.create_study(direction="maximize")
    ends = search_optuna(study, repeat, meter) if arm == "optuna" else None
    if ends is None:
        ends = search_nas(study, arm, repeat, meter)
    searched = time.perf_counter() - started
    return {
        "arm": arm,
        "repeat": repeat,
        "answers": answers(ends, meter.most, repeat, options.seeds),
        "outcomes": dict(take_tally(study).counts) if arm != "optuna" else {},
        "num_proposals": len(study.trials),
        "seconds": round(searched, 1),
    }


End = tuple[int, float, Candidate]  # epochs so far, score, what was trained


def search_nas(study: optuna.Study, arm: str, repeat: int, meter: Meter) -> list[End]:
    settings = SearchSettings(trials=10**6, max_rejected=10**6, seed=repeat)
    space = load_space(PLAIN)
    if arm in ("blind", "nas"):
        space = load_space("blocks")
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

    weights = WeightsStore(study, Path("/nonexistent/never-kept"))
    pool = OneWorker(STATE["data"], meter)
    Search(study, space, TASK, STATE["data"], settings, pool, weights, observe, meter).run()  # type: ignore[arg-type]
    return ends


def search_optuna(study: optuna.Study, repeat: int, meter: Meter) -> list[End]:
    """As Optuna's own examples do it."""
    space, data = load_space(PLAIN), STATE["data"]
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
                           precision=torch.bfloat16, on_epoch_end=on_epoch_end)  # fmt: skip
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


def answers(ends: list[End], most: int, repeat: int, num_seeds: int) -> list[dict[str, Any]]:
    """What a way would have answered at each checkpoint, measured."""
    found = []
    measured: dict[str, list[float]] = {}
    for share in CHECKPOINTS:
        so_far = [end for end in ends if end[0] <= share * most]
        if not so_far:
            found.append({"share": share, "truth": None})
            continue
        _, score, candidate = max(so_far, key=lambda end: end[1])
        name = candidate.fingerprint
        if name not in measured:
            measured[name] = [truth(candidate, derive_seed(repeat, n, "answer"))
                              for n in range(num_seeds)]  # fmt: skip
        found.append(
            {
                "share": share,
                "truth": round(statistics.mean(measured[name]), 5),
                "score": score,
                "num_params": candidate.architecture.num_params,
                "architecture": candidate.architecture.to_json(),
                "recipe": candidate.recipe.to_json(),
            }
        )
    return found


def truth(candidate: Candidate, seed: int) -> float:
    """Accuracy on the further images after one more training."""
    few = replace(STATE["data"], valid_index=STATE["data"].valid_index[:100])  # nobody asks
    try:
        result = train(candidate.architecture, candidate.recipe, few, seed=seed,
                       precision=torch.bfloat16)  # fmt: skip
    except DivergedError:
        return 0.1
    model = candidate.architecture.build()
    model.load_state_dict(result.state_dict)
    return evaluate(model.to(memory_format=MEMORY_FORMAT), STATE["truth"])[1]


def table(runs: list[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"error on 30,000 images, percent; {options.images:,} to train on; epochs of "
          f"{options.trainings} full trainings in all\n")  # fmt: skip
    heads = [f"after {share:.3g} of the epochs" for share in CHECKPOINTS]
    print(f"| way | {' | '.join(heads)} | seconds | repeats |")
    print("| --- |" + " --- |" * (len(heads) + 2))
    errors: dict[str, dict[int, list[float | None]]] = {}
    for arm in ARMS:
        mine = {run["repeat"]: run for run in runs if run["arm"] == arm}
        errors[arm] = {
            n: [100 * (1 - a["truth"]) if a["truth"] else None for a in run["answers"]]
            for n, run in mine.items()
        }
        cells = []
        for i in range(len(CHECKPOINTS)):
            known = [row[i] for row in errors[arm].values() if row[i] is not None]
            summary = mean_of(known) if len(known) > 1 else None
            cells.append(f"{summary.mean:.3f} ({summary.low:.3f} to {summary.high:.3f})"
                         if summary else "-")  # fmt: skip
        seconds = [run["seconds"] for run in mine.values()]
        if mine:
            print(f"| {arm} | {' | '.join(cells)} | {statistics.mean(seconds):.0f} | {len(mine)} |")
    print()
    print("nas ahead of the others at their end, points (95 % interval), pairs of repeats\n")
    print(f"| than | {' | '.join(f'nas {head}' for head in heads)} |")
    print("| --- |" + " --- |" * len(heads))
    for arm in ARMS[:-1]:
        both = sorted(errors[arm].keys() & errors["nas"].keys())
        cells = []
        for i in range(len(CHECKPOINTS)):
            pairs = [(errors[arm][n][-1], errors["nas"][n][i]) for n in both]
            leads = [theirs - ours for theirs, ours in pairs if theirs and ours]
            lead = mean_of(leads) if len(leads) > 1 else None
            cells.append(f"{lead.mean:+.3f} ({lead.low:+.3f} to {lead.high:+.3f})" if lead else "-")
        if both:
            print(f"| {arm} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
