"""How much faster the training engine is than a notebook's loop, on this machine's CPU.

    python benchmarks/engine.py --data-dir DATA [--images 11000] [--pairs 5] [--networks 8]
    python benchmarks/engine.py --data-dir DATA --ablation

Arms, one training of one epoch each, alternated in fresh processes:

    naive     torchvision's MNIST through transforms and a DataLoader, eager float32, loss.item()
    peer      tensors in memory, batched augmentation, eager float32, fused optimiser
    nas-one   the engine as one worker runs it: one thread
    nas-all   the engine as a search runs it: a worker for each core, as many trainings at once

The clock runs from the architecture to the final validation accuracy; imports and reading the files
are left out for all. Networks are drawn from `blocks` under 20,000 parameters and spread evenly
over the multiply-accumulates. With --images below 55,000 the epoch is shorter, for all arms alike.
The table is printed, and everything is stored in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ARMS = ("naive", "peer", "nas-one", "nas-all")
ABLATIONS = ("bf16", "channels-last", "pooled-dropout", "fused-optimizer", "allocator")
BATCH = 128
BOOTSTRAPS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--images", type=int, default=11_000, help="training images of an epoch")
    parser.add_argument("--pairs", type=int, default=5, help="rounds through all arms")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--ablation", action="store_true", help="leave out one technique at a time")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--network", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(measure(options)))
    else:
        compare(options)


# The parent: runs arms in turn and compares


def compare(options: argparse.Namespace) -> None:
    """Run every arm on every network in turn, print the table, store the figures."""
    arms = ("nas-one", *(f"without {name}" for name in ABLATIONS)) if options.ablation else ARMS
    name = "engine-cpu-ablation.json" if options.ablation else "engine-cpu.json"
    runs: list[dict[str, object]] = []
    for pair in range(options.pairs):
        for network in range(options.networks):
            order = arms if (pair + network) % 2 == 0 else arms[::-1]
            for arm in order:
                figure = run_arm(arm, network, options)
                runs.append({"pair": pair, "network": network, "arm": arm} | figure)
                print(f"# {len(runs)}: {arm}, network {network}: {figure}", file=sys.stderr)
        store(name, options, runs)  # after each round: an interrupted benchmark keeps its rounds
    baseline = "nas-one" if options.ablation else "naive"
    print(f"| arm | trainings an hour | {baseline} is slower by | 95 % interval |")
    print("| --- | --- | --- | --- |")
    for arm in arms:
        ratio, low, high = ratios(runs, baseline, arm)
        hourly = statistics.median(3600 / float(str(r["seconds"])) for r in runs if r["arm"] == arm)
        print(f"| {arm} | {hourly:.0f} | {ratio:.2f}x | {low:.2f} to {high:.2f} |")


def run_arm(arm: str, network: int, options: argparse.Namespace) -> dict[str, float]:
    """One training in a fresh process."""
    command = [sys.executable, __file__, "--data-dir", str(options.data_dir)]
    command += ["--images", str(options.images), "--networks", str(options.networks)]
    command += ["--arm", arm, "--network", str(network)]
    environment = dict(os.environ)
    if arm.startswith(("nas", "without")) and arm != "without allocator":
        from nas.workers import ALLOCATOR

        environment |= ALLOCATOR  # as a worker is started
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} failed:\n{done.stderr}")
    figure: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figure


def ratios(runs: list[dict[str, object]], baseline: str, arm: str) -> tuple[float, float, float]:
    """Geometric mean over networks of the median pair ratio, with a bootstrap interval."""
    seconds = {(r["pair"], r["network"], r["arm"]): float(str(r["seconds"])) for r in runs}
    by_network: dict[object, list[float]] = {}
    for pair, network, name in seconds:
        if name == arm:
            ratio = seconds[pair, network, baseline] / seconds[pair, network, arm]
            by_network.setdefault(network, []).append(ratio)

    def mean(groups: list[list[float]]) -> float:
        return math.exp(statistics.mean(math.log(statistics.median(g)) for g in groups))

    rng = random.Random(0)
    samples = []
    for _ in range(BOOTSTRAPS):
        networks = rng.choices(list(by_network.values()), k=len(by_network))
        samples.append(mean([rng.choices(group, k=len(group)) for group in networks]))
    samples.sort()
    low, high = samples[int(0.025 * BOOTSTRAPS)], samples[int(0.975 * BOOTSTRAPS)]
    return mean(list(by_network.values())), low, high


def store(name: str, options: argparse.Namespace, runs: list[dict[str, object]]) -> None:
    import torch

    RESULTS.mkdir(exist_ok=True)
    facts = {
        "machine": machine(),
        "torch": torch.__version__,
        "images": options.images,
        "epochs": 1,
        "batch_size": BATCH,
        "networks": [
            {"num_params": a.num_params, "num_macs": a.num_macs, "fingerprint": a.fingerprint}
            for a in networks(options.networks)
        ],
        "runs": runs,
    }
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


# The child: one training


def networks(number: int):  # type: ignore[no-untyped-def]
    """Networks of `blocks` under 20,000 parameters, evenly spread over multiply-accumulates."""
    from nas.candidate import Task
    from nas.search_space import load_space
    from nas.survey import draw

    task = Task((1, 28, 28), 10, 20_000)
    drawn = islice(draw(load_space("blocks"), task, seed=0), 1000)
    fitting = [c.architecture for c in drawn if c.architecture.num_params < task.max_params]
    fitting.sort(key=lambda architecture: architecture.num_macs)
    return [fitting[(2 * i + 1) * len(fitting) // (2 * number)] for i in range(number)]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds for one training in the arm, and the accuracy it came to."""
    import torch

    from nas import datasets
    from nas.candidate import Recipe

    architecture = networks(options.networks)[options.network]
    recipe = Recipe(epochs=1, batch_size=BATCH, augmentation=1.0)
    images = datasets.load_training_images("mnist", options.data_dir)
    data = datasets.split(images, Fraction(1, 12), seed=0)
    data = replace(
        data,
        train_index=data.train_index[: options.images],
        valid_index=data.valid_index[: options.images // 11],
    )
    if options.arm == "naive":
        return naive(architecture, recipe, data, options.data_dir)
    if options.arm == "peer":
        return peer(architecture, recipe, data)
    if options.arm == "nas-all":
        return all_workers(architecture, recipe, data)
    leave_out(options.arm)
    torch.set_num_threads(1)
    from nas.training import train

    started = time.perf_counter()
    result = train(architecture, recipe, data, seed=0)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "accuracy": result.history[-1].valid_accuracy}


def leave_out(arm: str) -> None:
    """Switch off one technique of the engine."""
    import torch

    from nas.training import loop

    technique = arm.removeprefix("without ")
    if technique == "bf16":
        loop.has_fast_bf16 = lambda device: False
    elif technique == "channels-last":
        loop.MEMORY_FORMAT = torch.contiguous_format
    elif technique == "pooled-dropout":
        loop.pool_dropout = lambda model, generator: None
    elif technique == "fused-optimizer":
        make = loop.make_optimizer

        def unfused(parameters, recipe):  # type: ignore[no-untyped-def]
            optimizer = make(parameters, recipe)
            for group in optimizer.param_groups:
                group["fused"] = False
            return optimizer

        loop.make_optimizer = unfused


def all_workers(architecture, recipe, data) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """As many trainings at once as there are workers; seconds for each, on the average."""
    import torch

    from nas.workers import EpochDone, Job, Trained, WorkerPool, default_workers

    device = torch.device("cpu")
    with WorkerPool(data, device, default_workers(device)) as pool:

        def run(recipe) -> list[Trained]:  # type: ignore[no-untyped-def]
            for number in range(pool.num_workers):
                pool.start(Job(number, architecture, recipe, seed=number))
            trained = []
            while pool.num_idle < pool.num_workers:
                for message in pool.wait(600):
                    if isinstance(message, EpochDone):
                        pool.answer(message.number, stop=False)
                    elif isinstance(message, Trained):
                        trained.append(message)
                    else:
                        raise SystemExit(message.detail)
            return trained

        # Workers live as long as a search: their start, like the imports of the other arms, is not
        # part of a training. A stopped job makes sure that they are there.
        for number in range(pool.num_workers):
            pool.start(Job(number, architecture, replace(recipe, batch_size=4096), seed=0))
        while pool.num_idle < pool.num_workers:
            for message in pool.wait(600):
                if isinstance(message, EpochDone):
                    pool.answer(message.number, stop=True)
        started = time.perf_counter()
        trained = run(recipe)
        seconds = (time.perf_counter() - started) / pool.num_workers
    return {"seconds": seconds, "accuracy": trained[0].result.history[-1].valid_accuracy}


def naive(architecture, recipe, data, data_dir) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The loop of a notebook."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    normalise = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    affine = transforms.RandomAffine(10, translate=(0.07, 0.07), scale=(0.88, 1.12), shear=8.5)
    started = time.perf_counter()
    train_set = datasets.MNIST(
        data_dir, train=True, transform=transforms.Compose([affine, *normalise])
    )
    valid_set = datasets.MNIST(data_dir, train=True, transform=transforms.Compose(normalise))
    train_loader = DataLoader(
        Subset(train_set, data.train_index.tolist()), recipe.batch_size, shuffle=True, num_workers=1
    )
    valid_loader = DataLoader(
        Subset(valid_set, data.valid_index.tolist()), recipe.batch_size, num_workers=1
    )
    torch.manual_seed(0)
    model = architecture.build()
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, 0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=len(train_loader), cycle_momentum=False
    )
    losses = []
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    num_right = 0
    with torch.no_grad():
        for images, labels in valid_loader:
            num_right += (model(images).argmax(1) == labels).sum().item()
    return {
        "seconds": time.perf_counter() - started,
        "accuracy": num_right / len(data.valid_index),
    }


def peer(architecture, recipe, data) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """What a careful person writes: tensors in memory, no loader, eager float32."""
    import torch
    import torch.nn.functional as F

    from nas.training.augmentation import augment

    started = time.perf_counter()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = architecture.build()
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, 0.9, weight_decay=5e-4, nesterov=True, fused=True
    )
    index = data.train_index[torch.randperm(len(data.train_index), generator=generator)]
    batches = index.split(recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=len(batches), cycle_momentum=False
    )
    mean, std = data.mean[0], data.std[0]
    model.train()
    for batch in batches:
        images = augment(data.images[batch].float() / 255, 1.0, False, generator)
        loss = F.cross_entropy(model((images - mean) / std), data.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
        num_right = 0
        for batch in data.valid_index.split(500):
            scores = model((data.images[batch].float() / 255 - mean) / std)
            num_right += (scores.argmax(1) == data.labels[batch]).sum().item()
    return {
        "seconds": time.perf_counter() - started,
        "accuracy": num_right / len(data.valid_index),
    }


if __name__ == "__main__":
    main()
