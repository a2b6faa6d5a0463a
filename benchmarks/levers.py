"""Which changes of a small network or its recipe pay, each alone, beside the same base.

    nice python benchmarks/levers.py --data-dir DATA [--budget 1000] [--hours 1] [--workers 2]
    python benchmarks/levers.py --table [--budget 1000]

The base is a network of tied convolutions under that budget, made by hand; `lever_arms.py` has it
and the arms. It and each arm are trained with five seeds on 30,000 of MNIST's training images for
19 epochs, and measured on the other 30,000 after the last one. No test image is read. Each training
is kept in benchmarks/results/levers.jsonl when it ends, and the script goes on where it was broken
off; every arm has its first seed before any has its second.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import Average
from lever_arms import ARMS, MEASURED_WITH

from nas.certification.statistics import compare, mean_of
from nas.data import Dataset, source_of, split
from nas.training.device import device_name, fastest_precision
from nas.training.engine import Engine, per_image_loss

RESULTS = Path(__file__).parent / "results" / "levers.jsonl"
NUM_TRAIN = 30_000
SEEDS = range(5)
Job = tuple[int, str, int]  # budget, arm, seed
Run = dict[str, Any]


DATA: list[Dataset] = []  # in each process


def prepare(data_dir: Path) -> None:
    torch.set_num_threads(1)
    images = source_of("mnist", data_dir=data_dir).training_images()
    data = split(images, Fraction(1, 2), seed=0)
    assert len(data.train_index) == NUM_TRAIN
    DATA[:] = [data]


def record(job: Job, until: float) -> list[Run]:
    """Train one arm; nothing when it is too late to begin."""
    if time.time() > until:
        return []
    budget, arm, seed = job
    candidate, (data,) = ARMS[budget][arm], DATA
    started = time.perf_counter()
    device = torch.device("cpu")
    precision = fastest_precision(device)
    engine = Engine(candidate.architecture, candidate.recipe, data, seed, precision)
    average = Average(engine)
    others = [name for name in ARMS[budget] if MEASURED_WITH.get(name) == arm]
    if others:
        engine.step = average  # type: ignore[assignment]
    for _ in range(candidate.recipe.epochs):
        engine.train_epoch(lambda: False)
    seconds = round(time.perf_counter() - started, 1)
    models = {arm: engine.model} | dict.fromkeys(others, average.model)
    device_text = device_name(device, precision, "eager")
    return [measured((budget, name, seed), model, seconds, device_text)
            for name, model in models.items()]  # fmt: skip


def measured(job: Job, model: torch.nn.Module, seconds: float, device: str) -> Run:
    budget, arm, seed = job
    losses, is_right = per_image_loss(model, DATA[0])
    architecture = ARMS[budget][arm].architecture
    packed = zlib.compress(np.packbits(is_right.numpy()).tobytes())
    return {
        "budget": budget, "arm": arm, "seed": seed, "num_params": architecture.num_params,
        "num_macs": architecture.num_macs, "accuracy": is_right.double().mean().item(),
        "loss": round(losses.double().mean().item(), 6), "seconds": seconds, "device": device,
        "is_right": base64.b64encode(packed).decode(),
    }  # fmt: skip


def answers(run: Run) -> np.ndarray:
    packed = np.frombuffer(zlib.decompress(base64.b64decode(run["is_right"])), dtype=np.uint8)
    return np.unpackbits(packed, count=NUM_TRAIN).astype(bool)


def read(budget: int) -> list[Run]:
    runs = [json.loads(line) for line in RESULTS.open()] if RESULTS.exists() else []
    return [run for run in runs if run["budget"] == budget]


def table(runs: list[Run], arms: Iterable[str]) -> None:
    """Means over the seeds that both sides have, with intervals over images and seeds."""
    base = {run["seed"]: run for run in runs if run["arm"] == "base"}
    print("| arm | parameters | MACs | seeds | accuracy, % | ahead of base, points |")
    print("| --- | --- | --- | --- | --- | --- |")
    for arm in arms:
        mine = {run["seed"]: run for run in runs if run["arm"] == arm and run["seed"] in base}
        if not mine:
            continue
        one = next(iter(mine.values()))
        mean = mean_of([100 * run["accuracy"] for run in mine.values()])
        ahead = "-"
        if arm != "base" and len(mine) > 1:
            sides = [np.stack([answers(side[s]) for s in mine]) for side in (mine, base)]
            lead = compare(*sides)
            ahead = f"{100 * lead.mean:+.3f} ({100 * lead.low:+.3f} to {100 * lead.high:+.3f})"
        spread = f" ± {mean.std:.3f}" if len(mine) > 1 else ""
        print(f"| {arm} | {one['num_params']:,} | {one['num_macs']:,} | {len(mine)} | "
              f"{mean.mean:.3f}{spread} | {ahead} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST/raw")
    parser.add_argument("--budget", type=int, choices=ARMS, default=5_000)
    parser.add_argument("--hours", type=float, default=24.0, help="begin no training after these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="show what is there, train nothing")
    options = parser.parse_args()
    budget, arms = options.budget, ARMS[options.budget]
    for arm, candidate in arms.items():
        assert candidate.architecture.num_params < budget, (arm, candidate.architecture.num_params)
    runs = read(budget)
    if not options.table:
        done = {(run["arm"], run["seed"]) for run in runs}
        jobs = [(budget, arm, s) for s in SEEDS for arm in arms if arm not in MEASURED_WITH]
        until = time.time() + 3600 * options.hours
        context = get_context("spawn")
        with (
            ProcessPoolExecutor(options.workers, context, prepare, (options.data_dir,)) as pool,
            RESULTS.open("a") as file,
        ):
            todo = [pool.submit(record, job, until) for job in jobs if job[1:] not in done]
            for ended in as_completed(todo):
                for run in ended.result():
                    file.write(json.dumps(run) + "\n")
                    file.flush()
                    print(f"# {run['arm']}, seed {run['seed']}: {run['accuracy']:.4%}, "
                          f"{run['seconds']} s", file=sys.stderr, flush=True)  # fmt: skip
        runs = read(budget)
    table(runs, arms)


if __name__ == "__main__":
    main()
