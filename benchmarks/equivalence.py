"""Does the fast CPU engine (bfloat16, fused passes) train as well as plain modules in float32?

    python benchmarks/equivalence.py --data-dir DATA [--seeds 20]

One network of `engine.py` is trained with each seed by both engines, on part of MNIST, and measured
on the 10,000 test images after the last epoch. Shown are the mean accuracies and their difference,
paired by seed, with its 95 % interval. Trainings are stored in benchmarks/results/equivalence.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "equivalence.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--images", type=int, default=18_000, help="training images")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["engine"], run["seed"]) for run in runs}
    todo = [
        (engine, seed, options)
        for seed in range(options.seeds)
        for engine in ("plain", "fast")
        if (engine, seed) not in done
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for run in pool.map(train_one, *zip(*todo, strict=True)) if todo else ():
            runs.append(run)
            RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"# {run}", file=sys.stderr, flush=True)
    table(runs)


def train_one(engine_name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training in a process of one thread."""
    import torch
    from arms import networks

    from nas.candidates.recipe import Recipe
    from nas.data import source_of, split, with_test
    from nas.training import engine, train

    torch.set_num_threads(1)
    images = source_of("mnist", data_dir=options.data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    test = source_of("mnist", data_dir=options.data_dir).test_images(data)
    tested = with_test(data, test)
    data = replace(tested, train_index=data.train_index[: options.images])
    recipe = Recipe(epochs=options.epochs, learning_rate=0.1, batch_size=64, augmentation=0.5)
    fuse = engine.fuse
    if engine_name == "plain":
        engine.fuse = lambda model, seed: model
    try:
        precision = torch.float32 if engine_name == "plain" else torch.bfloat16
        result = train(networks(8)[1], recipe, data, seed=seed, precision=precision)
    finally:
        engine.fuse = fuse  # the process trains for the other engine next
    last = result.history[-1]
    return {
        "engine": engine_name,
        "seed": seed,
        "test_accuracy": last.valid_accuracy,
        "test_loss": last.valid_loss,
        "seconds": round(result.train_seconds, 1),
    }


def table(runs: list[dict[str, Any]]) -> None:
    from nas.certification.statistics import mean_of

    by_engine: dict[str, dict[int, float]] = {"plain": {}, "fast": {}}
    for run in runs:
        by_engine[run["engine"]][run["seed"]] = 100 * run["test_accuracy"]
    both = sorted(by_engine["plain"].keys() & by_engine["fast"].keys())
    for name, scores in by_engine.items():
        summary = mean_of([scores[seed] for seed in both])
        print(f"{name}: {summary.mean:.3f} ± {summary.std:.3f} % over {len(both)} seeds")
    difference = mean_of([by_engine["fast"][s] - by_engine["plain"][s] for s in both])
    print(
        f"fast - plain: {difference.mean:+.3f} points "
        f"(95 %: {difference.low:+.3f} to {difference.high:+.3f})"
    )


if __name__ == "__main__":
    main()
