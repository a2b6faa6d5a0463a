"""Record the learning curves of many networks, to decide on changes of the search without training.

    python benchmarks/curves.py --data-dir DATA [--candidates 200] [--hours 1]

Candidates are drawn at random under 20,000 parameters from `blocks` as it was when the record was
drawn (`recorded_space.py`), but from 0.3 of the budget on, so that the least share can be decided
too. They are trained on a third of MNIST (18,333 images) for 19 epochs and with the whole schedule
squeezed into 1, 2 and 4 epochs; of the first 60 the first 11 and the 20 that did best also with two
more seeds. The first proposal of the space stands beside them as candidate -1, with three seeds; it
and some of the others also have 8 epochs. After each epoch the 5,000 validation images of a search
are scored, and after some of a full schedule also with the moving average of the weights; at its
end 30,000 further training images that nothing else used are, as the truth (of squeezed schedules
only in the trainings that were recorded last). No test image is read.

Each training is kept in benchmarks/results/curves.jsonl.gz when it ends, and the script goes on
where it was broken off. On two CPU cores it takes some hours. `replay.py` reads the file.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from recorded_space import LEAST_SHARE, RandomTrial, start, suggest
from torch import Tensor

from nas.candidates.candidate import Candidate
from nas.data import Dataset, source_of, split
from nas.spaces.task import Task
from nas.training.device import fastest_precision
from nas.training.engine import Engine, evaluate

RESULTS = Path(__file__).parent / "results" / "curves.jsonl.gz"
NUM_TRAIN, NUM_TRUTH = 18_333, 30_000  # images
SQUEEZED = (1, 2, 4)  # epochs
LONGER = 8  # epochs of a squeezed schedule that some have
START = -1  # the first proposal of the space
NUM_FIRST, NUM_SEEDED, NUM_BEST, SEEDS = 60, 11, 20, (1, 2)
DECAY = 0.99  # of the moving average, each step
AVERAGED_AFTER = (1, 2, 4, 6, 9, 12, 15, 17, 19)  # epochs
TASK = Task((1, 28, 28), 10, 20_000)

Job = tuple[int, int, int]  # candidate, epochs, seed
Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--hours", type=float, default=24.0, help="begin no training after these")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    runs = read()
    until = time.time() + 3600 * options.hours
    context = get_context("spawn")
    arguments = (options.data_dir,)
    with ProcessPoolExecutor(options.workers, context, prepare, arguments) as pool:
        for choose in (first_jobs, jobs_of_the_best, last_jobs, start_jobs, longer_jobs):
            done = {(run["candidate"], run["epochs"], run["seed"]) for run in runs}
            todo = [job for job in choose(options.candidates, runs) if job not in done]
            for ended in as_completed([pool.submit(record, job, until) for job in todo]):
                run = ended.result()
                if run is None:
                    continue
                runs.append(run)
                write(runs)
                print(f"# {len(runs)}: {run['candidate']}, {run['epochs']} epochs, seed "
                      f"{run['seed']}: {run['truth'] or run['history'][-1:]}, {run['seconds']} s",
                      file=sys.stderr, flush=True)  # fmt: skip


def first_jobs(num_candidates: int, runs: list[Run]) -> list[Job]:
    """Schedules of every length for the first candidates."""
    found = []
    for number in range(min(NUM_FIRST, num_candidates)):
        found += [(number, epochs, 0) for epochs in (*SQUEEZED, TASK.epochs)]
        if number < NUM_SEEDED:
            found += [(number, TASK.epochs, seed) for seed in SEEDS]
    return found


def jobs_of_the_best(num_candidates: int, runs: list[Run]) -> list[Job]:
    """More seeds for those that a search would have to choose between."""
    ended = [run for run in runs if run["epochs"] == TASK.epochs and run["truth"]]
    first = [run for run in ended if run["seed"] == 0 and run["candidate"] < NUM_FIRST]
    first.sort(key=lambda run: -run["history"][-1][2])
    return [(run["candidate"], TASK.epochs, seed) for run in first[:NUM_BEST] for seed in SEEDS]


def last_jobs(num_candidates: int, runs: list[Run]) -> list[Job]:
    """As many candidates as are asked for, the full schedules first."""
    lengths = (TASK.epochs, *SQUEEZED)
    numbers = range(NUM_FIRST, num_candidates)
    return [(number, epochs, 0) for epochs in lengths for number in numbers]


def start_jobs(num_candidates: int, runs: list[Run]) -> list[Job]:
    """The first proposal with schedules of every length, with as many seeds as the best have."""
    lengths = (TASK.epochs, LONGER, *reversed(SQUEEZED))
    return [(START, epochs, seed) for seed in (0, *SEEDS) for epochs in lengths]


def longer_jobs(num_candidates: int, runs: list[Run]) -> list[Job]:
    """A longer squeezed schedule for those that a search in the space would draw."""
    ended = {run["candidate"]: run for run in runs if run["epochs"] == TASK.epochs}
    shares = {number: run["params"].get("share", 0) for number, run in ended.items()}
    numbers = (number for number in range(num_candidates) if shares.get(number, 0) >= LEAST_SHARE)
    return [(number, LONGER, 0) for number in numbers]


def candidates(number: int) -> list[tuple[Candidate, dict[str, Any]]]:
    """The first candidates drawn, with the parameters that make them."""
    rng = random.Random(0)
    trials = [RandomTrial(rng) for _ in range(number)]
    return [(suggest(trial, TASK), trial.params) for trial in trials]


def candidate_of(number: int) -> tuple[Candidate, dict[str, Any]]:
    """A candidate of the record, with the parameters that make it."""
    if number != START:
        return candidates(number + 1)[number]
    trial = RandomTrial(start(TASK))
    return suggest(trial, TASK), trial.params


def read() -> list[Run]:
    if not RESULTS.exists():
        return []
    with gzip.open(RESULTS, "rt") as file:
        return [json.loads(line) for line in file]


def write(runs: list[Run]) -> None:
    part = RESULTS.with_suffix(".part")
    with gzip.open(part, "wt") as file:
        file.writelines(json.dumps(run) + "\n" for run in runs)
    part.replace(RESULTS)


DATA: list[Dataset] = []  # in each process: to train on, and to measure the truth with


def prepare(data_dir: Path) -> None:
    torch.set_num_threads(1)
    images = source_of("mnist", data_dir=data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    used, rest = data.train_index[:NUM_TRAIN], data.train_index[NUM_TRAIN:]
    DATA[:] = [
        replace(data, train_index=used),
        replace(data, valid_index=rest[:NUM_TRUTH]),
    ]


class Average:
    """A moving average of a network's weights and statistics over its steps."""

    def __init__(self, engine: Engine) -> None:
        self.model = copy.deepcopy(engine.model)
        self.engine = engine
        self.step = engine.step
        self.num_steps = 0

    def __call__(self, index: Tensor) -> Tensor:
        loss = self.step(index)
        self.num_steps += 1
        decay = min(DECAY, self.num_steps / (self.num_steps + 10))
        mine, theirs = self.model.state_dict(), self.engine.model.state_dict()
        names = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in names], [theirs[n] for n in names], 1 - decay)
        return loss


def record(job: Job, until: float) -> Run | None:
    """Train one candidate; None when it is too late to begin."""
    if time.time() > until:
        return None
    number, epochs, seed = job
    candidate, params = candidate_of(number)
    recipe = replace(candidate.recipe, epochs=epochs)
    data, truth = DATA
    started = time.perf_counter()
    precision = fastest_precision(torch.device("cpu"))
    engine = Engine(candidate.architecture, recipe, data, seed, precision)
    is_full = epochs == TASK.epochs
    average = Average(engine)
    if is_full:
        engine.step = average  # type: ignore[assignment]
    history = []
    for epoch in range(1, epochs + 1):
        train_loss = engine.train_epoch(lambda: False)
        if not engine.is_finite():
            break
        row = [train_loss, *engine.evaluate()]
        if is_full and epoch in AVERAGED_AFTER:
            row += evaluate(average.model, data)
        history.append([round(value, 5) for value in row])
    has_ended = len(history) == epochs
    measured = evaluate(engine.model, truth) if has_ended else ()
    return {
        "candidate": number,
        "epochs": epochs,
        "seed": seed,
        "params": params,
        "architecture": candidate.architecture.to_json(),
        "recipe": recipe.to_json(),
        "num_params": candidate.architecture.num_params,
        "num_macs": candidate.architecture.num_macs,
        # Of each epoch: training loss; validation loss and accuracy; some, these of the moving
        # average. Fewer rows than epochs when it diverged.
        "history": history,
        # Loss and accuracy on the further images.
        "truth": [round(value, 5) for value in measured],
        "seconds": round(time.perf_counter() - started, 1),
    }


if __name__ == "__main__":
    main()
