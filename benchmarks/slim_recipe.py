"""Which recipe the reference network `slim` may have had, chosen on validation images.

    python benchmarks/slim_recipe.py --data-dir DATA [--seeds 2]

Its source says that the learning rate was dropped by steps to 0.0001, and neither from where nor
with which optimiser, batch size or augmentation (the rotations are those of `one-cycle`). Each
recipe that agrees with this is trained on 55,000 images and scored on the other 5,000 training
images; no test image is read. The mean validation loss decides.

Trainings are kept in benchmarks/results/slim-recipe.json. About 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path

import torch

from nas.candidates.recipe import Recipe
from nas.certification.statistics import mean_of
from nas.data import source_of, split
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task
from nas.training import choose_device, choose_precision
from nas.training.device import default_workers
from nas.training.messages import Failed, Job
from nas.training.pool import WorkerPool, train_all

RESULTS = Path(__file__).parent / "results" / "slim-recipe.json"
TWO, THREE = (6, 12), (4, 9, 14)  # of 19 epochs
PLAIN = {"nesterov": False, "schedule": "multi-step", "augmentation": 0.0, "weight_decay": 0.0}
TURNED = PLAIN | {
    "augmentation": 1.0, "rotation": 7.0, "scale": 0.0, "shear": 0.0, "shift": 0.0,
}  # fmt: skip
AFFINE = PLAIN | {"augmentation": 0.5}
RECIPES = {
    "momentum 0.01, batch 128": Recipe(learning_rate=0.01, milestones=TWO, batch_size=128, **PLAIN),
    "momentum 0.01, batch 64": Recipe(learning_rate=0.01, milestones=TWO, batch_size=64, **PLAIN),
    "momentum 0.1, batch 128": Recipe(learning_rate=0.1, milestones=THREE, batch_size=128, **PLAIN),
    "momentum 0.1, batch 64": Recipe(learning_rate=0.1, milestones=THREE, batch_size=64, **PLAIN),
    "Adam 0.01, batch 128": Recipe(
        optimizer="adam", learning_rate=0.01, milestones=TWO, batch_size=128, **PLAIN
    ),
    "momentum 0.01, batch 64, rotation": Recipe(
        learning_rate=0.01, milestones=TWO, batch_size=64, **TURNED
    ),
    "momentum 0.1, batch 128, rotation": Recipe(
        learning_rate=0.1, milestones=THREE, batch_size=128, **TURNED
    ),
    "momentum 0.1, batch 64, rotation": Recipe(
        learning_rate=0.1, milestones=THREE, batch_size=64, **TURNED
    ),
    "momentum 0.1, batch 64, mild affine": Recipe(
        learning_rate=0.1, milestones=THREE, batch_size=64, **AFFINE
    ),
    "momentum 0.01, batch 64, mild affine": Recipe(
        learning_rate=0.01, milestones=TWO, batch_size=64, **AFFINE
    ),
    "Adam 0.01, batch 128, mild affine": Recipe(
        optimizer="adam", learning_rate=0.01, milestones=TWO, batch_size=128, **AFFINE
    ),
    "Adam 0.01, batch 64, mild affine": Recipe(
        optimizer="adam", learning_rate=0.01, milestones=TWO, batch_size=64, **AFFINE
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["recipe"], run["seed"]) for run in runs}
    todo = [
        (name, seed) for seed in range(options.seeds) for name in RECIPES
        if (name, seed) not in done
    ]  # fmt: skip
    images = source_of("mnist", data_dir=options.data_dir).training_images()
    data = split(images, Fraction(1, 12), seed=0)
    trial = RandomTrial(fixed={"reference": "slim"})
    slim = load_space("references").propose(trial, Task((1, 28, 28), 10, 20_000)).architecture
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    with WorkerPool(data, device, precision, default_workers(device)) as pool:
        jobs = [Job(i, slim, RECIPES[name], seed) for i, (name, seed) in enumerate(todo)]
        for message in train_all(pool, jobs):
            if isinstance(message, Failed):
                raise SystemExit(message.detail)
            name, seed = todo[message.number]
            last = message.result.history[-1]
            runs.append({"recipe": name, "seed": seed, "valid_accuracy": last.valid_accuracy,
                         "valid_loss": last.valid_loss})  # fmt: skip
            RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
            print(f"# {runs[-1]}", file=sys.stderr, flush=True)
    print("| recipe | validation loss | validation accuracy |\n| --- | --- | --- |")
    for name in RECIPES:
        mine = [run for run in runs if run["recipe"] == name]
        loss = mean_of([run["valid_loss"] for run in mine]).mean
        accuracy = mean_of([100 * run["valid_accuracy"] for run in mine]).mean
        print(f"| {name} | {loss:.4f} | {accuracy:.2f} % |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
