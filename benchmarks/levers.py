"""Which changes of a small network or its recipe pay, each alone, beside the same base.

    nice python benchmarks/levers.py --data-dir DATA [--hours 1] [--workers 2]
    python benchmarks/levers.py --table

The base is a network of tied convolutions under 5,000 parameters, made by hand. It and each arm are
trained with five seeds on 30,000 of MNIST's training images for 19 epochs, and measured on the
other 30,000 after the last one. No test image is read. Each training is kept in
benchmarks/results/levers.jsonl when it ends, and the script goes on where it was broken off; every
arm has its first seed before any has its second.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import Average

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Tied,
)
from nas.candidates.recipe import Recipe
from nas.certification.statistics import compare, mean_of
from nas.data import Dataset, source_of, split
from nas.training.device import device_name, fastest_precision
from nas.training.engine import Engine, per_image_loss

RESULTS = Path(__file__).parent / "results" / "levers.jsonl"
NUM_TRAIN = 30_000
SEEDS = range(5)
SHAPE, CLASSES, BUDGET = (1, 28, 28), 10, 5_000
RECIPE = Recipe(batch_size=64, augmentation=0.7)

Job = tuple[str, int]  # arm, seed
Run = dict[str, Any]


def conv(width: int, padding: str = "same") -> list[Layer]:
    return [Conv(width, 3, padding=padding), BatchNorm(), ReLU()]


def network(
    first: int = 10, second: int = 11, last: int = 12, times: int = 3, learned: bool = True,
    late: bool = False,
) -> Architecture:  # fmt: skip
    """A stem, tied convolutions, pooling, tied ones again, pooling, a valid one, the scores.

    Args:
        late: the first tied convolutions before any pooling, the second after the first pooling.
    """
    pool: list[Layer] = [MaxPool(2)]
    stem = [*conv(first), Tied(times)] if late else [*conv(first), *pool, Tied(times)]
    rest = [*pool, *conv(second), Tied(times), *pool, *conv(last, "valid")]
    if not late:
        rest = [*conv(second), Tied(times), *pool, *conv(last, "valid")]
    head = [LearnedPool() if learned else GlobalAvgPool(), Flatten(), Linear(CLASSES)]
    return Architecture(SHAPE, [*stem, *rest, *head])


ARMS: dict[str, Candidate] = {
    "base": Candidate(network(), RECIPE),
    "averaged weights": Candidate(network(), RECIPE),  # the same trainings, measured otherwise
    "later pooling": Candidate(network(late=True), RECIPE),
    "two passes": Candidate(network(times=2), RECIPE),
    "five passes": Candidate(network(times=5), RECIPE),
    "mean in place of learned pooling, wider": Candidate(
        network(10, 11, 14, learned=False), RECIPE
    ),
    "batch 32": Candidate(network(), replace(RECIPE, batch_size=32, learning_rate=0.07)),
    "batch 128": Candidate(network(), replace(RECIPE, batch_size=128)),
    "label smoothing 0.05": Candidate(network(), replace(RECIPE, label_smoothing=0.05)),
    "augmentation 0.4": Candidate(network(), replace(RECIPE, augmentation=0.4)),
    "augmentation 1.0": Candidate(network(), replace(RECIPE, augmentation=1.0)),
    "adamw": Candidate(network(), replace(RECIPE, optimizer="adamw", learning_rate=0.01)),
    "weight decay 1e-4": Candidate(network(), replace(RECIPE, weight_decay=1e-4)),
}
MEASURED_WITH = {"averaged weights": "base"}  # an arm that costs no trainings of its own

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
    arm, seed = job
    candidate, (data,) = ARMS[arm], DATA
    started = time.perf_counter()
    device = torch.device("cpu")
    precision = fastest_precision(device)
    engine = Engine(candidate.architecture, candidate.recipe, data, seed, precision)
    average = Average(engine)
    if arm in MEASURED_WITH.values():
        engine.step = average  # type: ignore[assignment]
    for _ in range(candidate.recipe.epochs):
        engine.train_epoch(lambda: False)
    seconds = round(time.perf_counter() - started, 1)
    models = {arm: engine.model}
    models |= {other: average.model for other, mine in MEASURED_WITH.items() if mine == arm}
    return [measured(name, seed, model, seconds, device_name(device, precision, "eager"))
            for name, model in models.items()]  # fmt: skip


def measured(arm: str, seed: int, model: torch.nn.Module, seconds: float, device: str) -> Run:
    losses, is_right = per_image_loss(model, DATA[0])
    architecture = ARMS[arm].architecture
    packed = zlib.compress(np.packbits(is_right.numpy()).tobytes())
    return {
        "arm": arm, "seed": seed, "num_params": architecture.num_params,
        "num_macs": architecture.num_macs, "accuracy": is_right.double().mean().item(),
        "loss": round(losses.double().mean().item(), 6), "seconds": seconds, "device": device,
        "is_right": base64.b64encode(packed).decode(),
    }  # fmt: skip


def answers(run: Run) -> np.ndarray:
    packed = np.frombuffer(zlib.decompress(base64.b64decode(run["is_right"])), dtype=np.uint8)
    return np.unpackbits(packed, count=NUM_TRAIN).astype(bool)


def read() -> list[Run]:
    return [json.loads(line) for line in RESULTS.open()] if RESULTS.exists() else []


def table(runs: list[Run]) -> None:
    """Means over the seeds that both sides have, with intervals over images and seeds."""
    base = {run["seed"]: run for run in runs if run["arm"] == "base"}
    print("| arm | parameters | MACs | seeds | accuracy, % | ahead of base, points |")
    print("| --- | --- | --- | --- | --- | --- |")
    for arm in ARMS:
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
        print(f"| {arm} | {one['num_params']:,} | {one['num_macs']:,} | {len(mine)} | "
              f"{mean.mean:.3f} ± {mean.std:.3f} | {ahead} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST/raw")
    parser.add_argument("--hours", type=float, default=24.0, help="begin no training after these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="show what is there, train nothing")
    options = parser.parse_args()
    for arm, candidate in ARMS.items():
        assert candidate.architecture.num_params < BUDGET, (arm, candidate.architecture.num_params)
    runs = read()
    if not options.table:
        done = {(run["arm"], run["seed"]) for run in runs}
        jobs = [(arm, s) for s in SEEDS for arm in ARMS if arm not in MEASURED_WITH]
        until = time.time() + 3600 * options.hours
        context = get_context("spawn")
        with (
            ProcessPoolExecutor(options.workers, context, prepare, (options.data_dir,)) as pool,
            RESULTS.open("a") as file,
        ):
            todo = [pool.submit(record, job, until) for job in jobs if job not in done]
            for ended in as_completed(todo):
                for run in ended.result():
                    file.write(json.dumps(run) + "\n")
                    file.flush()
                    print(f"# {run['arm']}, seed {run['seed']}: {run['accuracy']:.4%}, "
                          f"{run['seconds']} s", file=sys.stderr, flush=True)  # fmt: skip
        runs = read()
    table(runs)


if __name__ == "__main__":
    main()
