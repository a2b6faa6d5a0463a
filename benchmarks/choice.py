"""Which validation figure of one training says best how good a network is: accuracy, loss, or both?

    python benchmarks/choice.py --data-dir DATA [--networks 16] [--seeds 4]

Networks of `blocks` under 20,000 parameters are trained with several seeds on a third of MNIST for
8 epochs. One seed's validation figures rank them; the truth is their mean accuracy on the test
images over the other seeds. Each seed has its turn. Spearman's rank correlation is shown, and what
is lost in accuracy by taking the first in rank instead of the truly best. Trainings are stored in
benchmarks/results/choice.json one by one, and the script goes on where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from arms import networks
from scipy.stats import spearmanr

from nas import datasets
from nas.candidate import Recipe
from nas.certainty import choice_order
from nas.datasets import Dataset
from nas.training import choose_device, choose_precision, examine
from nas.worker import EpochDone, Job, Trained
from nas.workers import WorkerPool, default_workers

RESULTS = Path(__file__).parent / "results" / "choice.json"
RECIPE = Recipe(learning_rate=0.1, batch_size=64, augmentation=0.5, epochs=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--images", type=int, default=18_000, help="training images")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["network"], run["seed"]) for run in runs}
    todo = [
        (network, seed)
        for seed in range(options.seeds)
        for network in range(options.networks)
        if (network, seed) not in done
    ]
    if todo:
        train(todo, runs, options)
    table(runs)


def train(
    todo: list[tuple[int, int]], runs: list[dict[str, Any]], options: argparse.Namespace
) -> None:
    images = datasets.load_training_images("mnist", options.data_dir)
    data = datasets.split(images, Fraction(1, 12), seed=0)
    test = datasets.load_test_images("mnist", options.data_dir, None, data)
    tested = replace(datasets.with_test(data, test), mean=data.mean, std=data.std)
    data = replace(data, train_index=data.train_index[: options.images])
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    made = networks(options.networks)
    running: dict[int, tuple[int, int]] = {}
    with WorkerPool(data, device, precision, default_workers(device)) as pool:
        while todo or running:
            if todo and pool.num_idle:
                number, task = len(todo), todo.pop(0)
                running[number] = task
                pool.start(Job(number, made[task[0]], RECIPE, seed=task[1]))
                continue
            for message in pool.wait(10):
                if isinstance(message, EpochDone):
                    pool.answer(message.number, stop=False)
                    continue
                if not isinstance(message, Trained):
                    raise SystemExit(message.detail)
                network, seed = running.pop(message.number)
                model = made[network].build()
                model.load_state_dict(message.result.state_dict)
                last = message.result.history[-1]
                runs.append(
                    {
                        "network": network,
                        "fingerprint": made[network].fingerprint,
                        "seed": seed,
                        "valid_accuracy": last.valid_accuracy,
                        "valid_loss": last.valid_loss,
                        "num_valid": len(data.valid_index),
                        "test_accuracy": accuracy(model, tested),
                    }
                )
                part = RESULTS.with_suffix(".part")
                part.write_text(json.dumps(runs, indent=1) + "\n")
                part.replace(RESULTS)
                print(f"# network {network}, seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)


def accuracy(model: torch.nn.Module, data: Dataset) -> float:
    return examine(model, data)[1].double().mean().item()


def table(runs: list[dict[str, Any]]) -> None:
    seeds = sorted({run["seed"] for run in runs})
    by_place = {(run["network"], run["seed"]): run for run in runs}
    everywhere = [n for n in range(len(runs)) if all((n, seed) in by_place for seed in seeds)]
    correlations: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for seed in seeds:
        mine = [by_place[n, seed] for n in everywhere]
        truth = [
            statistics.mean(by_place[n, s]["test_accuracy"] for s in seeds if s != seed)
            for n in everywhere
        ]
        accuracies = [run["valid_accuracy"] for run in mine]
        valid_losses = [run["valid_loss"] for run in mine]
        both = choice_order(accuracies, valid_losses, mine[0]["num_valid"])
        orders = {
            "accuracy": sorted(range(len(mine)), key=lambda i: -accuracies[i]),
            "loss": sorted(range(len(mine)), key=lambda i: valid_losses[i]),
            "both": both,
        }
        for name, order in orders.items():
            place = [order.index(i) for i in range(len(mine))]
            correlations.setdefault(name, []).append(-spearmanr(place, truth).statistic)
            losses.setdefault(name, []).append(100 * (max(truth) - truth[order[0]]))
    print(f"{len(everywhere)} networks, {len(seeds)} seeds\n")
    print("| ranked by | rank correlation with the truth, mean (each seed) | lost by the choice |")
    print("| --- | --- | --- |")
    for name, values in correlations.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        lost = statistics.mean(losses[name])
        print(f"| {name} | {statistics.mean(values):.3f} ({each}) | {lost:.3f} points |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
