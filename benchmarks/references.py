"""The five hand-made networks of `search_spaces/references.py`, trained again, beside their fame.

    python benchmarks/references.py --data-dir DATA [--seeds 3] [--recipe own|modern|both]

Each is trained on all 60,000 images, with the recipe of its maker (own) or with one recipe for all
five (modern: one cycle to 0.1, Nesterov, mild affine augmentation), and tested after every epoch.
Nothing is chosen for a reference, so one set of trainings shows both protocols: the mean of the
last epoch is honest; the best epoch on the test images is what the five published, and flatters.

Every training is stored in benchmarks/results/references.json when it ends, and the script goes on
where it was broken off. On two CPU cores it takes about an hour for three seeds and both recipes.
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.certification.statistics import Mean, mean_of
from nas.data import source_of, split, with_test
from nas.searching.running import versions
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task
from nas.training import choose_device, choose_engine, choose_precision
from nas.training.device import default_workers, device_name
from nas.training.messages import Failed, Job
from nas.training.pool import WorkerPool, train_all

RESULTS = Path(__file__).parent / "results" / "references.json"
PUBLISHED = {  # percent of the test images, best epoch
    "three-blocks": 99.44,
    "slim": 99.54,
    "two-blocks": 99.46,
    "one-cycle": 99.53,
    "wide-stem": 99.40,
}
MODERN = Recipe(learning_rate=0.1, batch_size=64, augmentation=0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", choices=("own", "modern", "both"), default="both")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    recipes = ("own", "modern") if options.recipe == "both" else (options.recipe,)
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["recipe"], run["name"], run["seed"]) for run in runs}
    todo = [
        (recipe, name, seed)
        for recipe in recipes
        for seed in range(options.seeds)
        for name in PUBLISHED
        if (recipe, name, seed) not in done
    ]
    if todo:
        train(todo, runs, options)
    for recipe in recipes:
        print(f"\n{recipe} recipe\n")
        table([run for run in runs if run["recipe"] == recipe])


def candidate(recipe: str, name: str) -> Candidate:
    space = load_space("references")
    task = Task((1, 28, 28), 10, 20_000)
    own = space.propose(RandomTrial(fixed={"reference": name}), task)
    return own if recipe == "own" else Candidate(own.architecture, MODERN)


def train(
    todo: list[tuple[str, str, int]], runs: list[dict[str, Any]], options: argparse.Namespace
) -> None:
    """Train what is to do, and store each training when it ends."""
    images = source_of("mnist", data_dir=options.data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    test = source_of("mnist", data_dir=options.data_dir).test_images(data)
    device = choose_device(options.device)
    precision = choose_precision("auto", device)
    made = [candidate(recipe, name) for recipe, name, _ in todo]
    jobs = [Job(i, made[i].architecture, made[i].recipe, task[2]) for i, task in enumerate(todo)]
    data = with_test(data, test)
    with WorkerPool(data, device, precision, default_workers(device)) as pool:
        for message in train_all(pool, jobs):
            recipe, name, seed = todo[message.number]
            if isinstance(message, Failed):
                print(f"# {recipe}, {name}, seed {seed} failed: {message.detail}", file=sys.stderr)
                continue
            result = message.result
            runs.append(
                {
                    "recipe": recipe,
                    "name": name,
                    "seed": seed,
                    "test_accuracy": [m.valid_accuracy for m in result.history],
                    "test_loss": [round(m.valid_loss, 5) for m in result.history],
                    "seconds": round(result.train_seconds, 1),
                    "device": device_name(device, precision, choose_engine("auto", device)),
                    "versions": versions(),
                }
            )
            part = RESULTS.with_suffix(".part")
            part.write_text(json.dumps(runs, indent=1) + "\n")
            part.replace(RESULTS)
            print(f"# {recipe}, {name}, seed {seed}: {last(runs[-1]):.2f} %",
                  file=sys.stderr, flush=True)  # fmt: skip


def last(run: dict[str, Any]) -> float:
    return 100 * run["test_accuracy"][-1]


def spread(summary: Mean) -> str:
    if summary.num_seeds == 1:
        return f"{summary.mean:.2f} %"
    return f"{summary.mean:.2f} ± {summary.std:.2f} %"


def table(runs: list[dict[str, Any]]) -> None:
    columns = (
        "network", "parameters", "published", "watched: best of all",
        "watched: mean of best epochs", "honest: mean of last epochs", "seeds",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, published in PUBLISHED.items():
        mine = [run for run in runs if run["name"] == name]
        if not mine:
            continue
        best = [100 * max(run["test_accuracy"]) for run in mine]
        watched, honest = mean_of(best), mean_of([last(run) for run in mine])
        num_params = candidate("own", name).architecture.num_params
        print(
            f"| {name} | {num_params:,} | {published:.2f} % | {max(best):.2f} % | "
            f"{spread(watched)} | {spread(honest)} | "
            f"{len(mine)} |"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
