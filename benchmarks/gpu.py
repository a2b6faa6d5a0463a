"""Try the engine for CUDA on a real card: torch and numpy are all that is needed.

    python benchmarks/gpu.py checks [--only eager equal] [--out gpu-checks.json] [--device cuda]

Images are random, so that no data set is needed. Each check is saved when it ends, with its time or
with its whole traceback, and the next one runs all the same, in a process of its own: after some
errors CUDA refuses everything. All of them take less than eight minutes.

card: what is there, and whether the wheel of torch holds code for it.
eager: plain steps on the card, each optimiser and number format: the loss falls, as on the CPU.
layers: every kind of layer and every option of a recipe: captured, and trained for an epoch.
equal: captured steps beside plain ones, from one seed.
build: what the first and the tenth candidate take to be made ready, and to be given back.
wrap: 40 short trainings in three threads beside a long one, which must end as it does alone.
memory: what is left behind by 30 candidates, and what comes when memory is short.
stop: how long a training goes on after it was asked to stop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.candidates.recipe import Recipe
from nas.data.dataset import Dataset
from nas.training.cuda import own_stream, release_memory
from nas.training.engine import Engine
from nas.training.graphs import GraphEngine

SHAPE, CLASSES = (1, 28, 28), 10
SECONDS = 90  # that a check may take
BLOCK = [Conv(16, 3), BatchNorm(), ReLU()]
END = [GlobalAvgPool(), Flatten(), Linear(CLASSES)]
USUAL = Architecture(
    SHAPE,
    [
        Conv(12, 3),
        BatchNorm(),
        ReLU(),
        *BLOCK,
        MaxPool(2),
        *BLOCK,
        *BLOCK,
        MaxPool(2),
        *BLOCK,
        *END,
    ],
)
SGD = Recipe(batch_size=64, epochs=1, learning_rate=0.05)
ADAMW = replace(SGD, optimizer="adamw", learning_rate=0.003)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Figures = dict[str, Any]


def images(num_train: int, device: str, num_valid: int = 1000) -> Dataset:
    """Random images whose mean brightness says the class, so that something can be learned."""
    generator = torch.Generator().manual_seed(0)
    num = num_train + num_valid
    labels = torch.randint(0, CLASSES, (num,), generator=generator)
    noise = torch.randint(0, 80, (num, *SHAPE), generator=generator)
    pixels = (noise + 17 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    data = Dataset(
        name="random", images=pixels, labels=labels, train_index=torch.arange(num_train),
        valid_index=torch.arange(num_train, num), classes=tuple("0123456789"), flips=False,
        mean=(0.45,), std=(0.2,), sha256="", split_sha256="",
    )  # fmt: skip
    return data.to(torch.device(device))


def train(
    kind: type[Engine], architecture: Architecture, recipe: Recipe, data: Dataset, seed: int = 0,
    precision: torch.dtype = torch.float32,
) -> list[list[float]]:  # fmt: skip
    """Training loss, validation loss and accuracy of each epoch."""
    rows = []
    with (
        own_stream(data.images.device),
        closing(kind(architecture, recipe, data, seed, precision)) as engine,
    ):
        for _ in range(recipe.epochs):
            loss = engine.train_epoch(lambda: False)
            assert loss is not None
            rows.append([loss, *engine.evaluate()])
        assert engine.is_finite()
    return rows


def card(device: str) -> Figures:
    figures: Figures = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cpu":
        return figures
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return figures | {
        "name": properties.name, "capability": torch.cuda.get_device_capability(device),
        "architectures": torch.cuda.get_arch_list(), "free": free, "total": total,
        "processors": properties.multi_processor_count, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


def eager(device: str) -> Figures:
    figures: Figures = {}
    here, there = images(6_400, "cpu"), images(6_400, device)
    for name, recipe in (("sgd", SGD), ("adamw", ADAMW)):
        recipe = replace(recipe, augmentation=0)  # the generators of two devices draw differently
        figures[f"{name} cpu"] = train(Engine, USUAL, recipe, here)
        for digits, precision in PRECISIONS.items():
            mine = train(Engine, USUAL, recipe, there, precision=precision)
            figures[f"{name} {digits}"] = mine
            assert mine[0][2] > 0.3, f"{name} {digits} learns nothing: {mine}"
    return figures


def layers(device: str) -> Figures:
    data = images(1_280, device)
    networks = {
        "depthwise": [DepthwiseConv(3), Conv(16, 1), BatchNorm(), ReLU(), AvgPool(2), *END],
        "residual": [*BLOCK, Residual([Conv(16, 3), BatchNorm(), ReLU()]), *END],
        "tied": [*BLOCK, Tied(2), *END],
        "learned pool": [*BLOCK, MaxPool(2), LearnedPool(), Flatten(), Linear(CLASSES)],
        "dropout": [*BLOCK, Dropout(0.1), *END],
        "flat": [*BLOCK, MaxPool(4), Flatten(), Linear(CLASSES)],
    }
    recipes = {
        "sgd": SGD, "adam": replace(ADAMW, optimizer="adam"), "mirrored": replace(SGD, flip=True),
        "light": replace(SGD, brightness=0.2, contrast=0.2),
        "smooth": replace(SGD, label_smoothing=0.1), "still": replace(SGD, augmentation=0),
    }  # fmt: skip
    figures: Figures = {}
    cases = [(name, parts, "sgd", SGD) for name, parts in networks.items()]
    cases += [("usual", list(USUAL.layers), name, recipe) for name, recipe in recipes.items()]
    for name, parts, how, recipe in cases:
        for digits, precision in PRECISIONS.items():
            key = f"{name}, {how}, {digits}"
            try:
                network = Architecture(SHAPE, parts)
                kind = engine_for(device)
                figures[key] = train(kind, network, recipe, data, precision=precision)[0]
            except Exception:
                figures[key] = traceback.format_exc()
    failed = [key for key, value in figures.items() if isinstance(value, str)]
    return figures | {"failed": failed}


def equal(device: str) -> Figures:
    figures: Figures = {}
    data = images(6_400, device)
    for name, recipe in (("sgd", SGD), ("adamw", ADAMW)):
        recipe = replace(recipe, epochs=2)
        for digits, precision in PRECISIONS.items():
            plain = train(Engine, USUAL, recipe, data, precision=precision)
            graph = train(engine_for(device), USUAL, recipe, data, precision=precision)
            gaps = [abs(a[0] - b[0]) / a[0] for a, b in zip(plain, graph, strict=True)]
            figures[f"{name} {digits}"] = {"plain": plain, "graph": graph, "loss apart": gaps}
    return figures


def build(device: str) -> Figures:
    data = images(6_400, device)
    seconds = []
    for seed in range(10):
        started = time.perf_counter()
        with own_stream(data.images.device):
            engine = engine_for(device)(USUAL, SGD, data, seed, torch.float32)
            synchronize(device)
            made = time.perf_counter()
            engine.close()
            del engine
        release_memory(data.images.device)
        seconds.append([made - started, time.perf_counter() - made])
    return {"seconds to make ready and to give back": seconds}


def wrap(device: str) -> Figures:
    data, kind = images(6_400, device), engine_for(device)
    long, short = replace(SGD, epochs=19), replace(SGD, epochs=1)
    alone = train(kind, USUAL, long, data, seed=7)
    found: dict[str, Any] = {"streams": []}
    errors: list[str] = []

    def train_long() -> None:
        try:
            found["beside"] = train(kind, USUAL, long, data, seed=7)
        except Exception:
            errors.append(traceback.format_exc())

    def train_short(first: int) -> None:
        try:
            for seed in range(first, 40, 3):
                train(kind, USUAL, short, data, seed=seed)
                release_memory(data.images.device)
        except Exception:
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=train_long)]
    threads += [threading.Thread(target=train_short, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    gap = abs(found["beside"][-1][0] - alone[-1][0]) / alone[-1][0]
    return {"alone": alone[-1], "beside": found["beside"][-1], "loss apart": gap}


def memory(device: str) -> Figures:
    if device == "cpu":
        return {"skipped": "no card"}
    data, kind = images(6_400, device), engine_for(device)
    held = []
    for seed in range(30):
        train(kind, USUAL, SGD, data, seed=seed)
        release_memory(data.images.device)
        free, total = torch.cuda.mem_get_info(device)
        held.append([torch.cuda.memory_reserved(device), total - free])
    total = torch.cuda.mem_get_info(device)[1]
    torch.cuda.set_per_process_memory_fraction(2**30 / total, device)  # 1 GiB
    wide = Architecture(SHAPE, [Conv(256, 3), BatchNorm(), ReLU(), Conv(256, 3), ReLU(), *END])
    error = afterwards = "none"
    try:
        train(kind, wide, replace(SGD, batch_size=1024), data)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"[:500]
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    try:
        release_memory(data.images.device)
        train(kind, USUAL, SGD, data)
    except Exception as caught:
        afterwards = f"{type(caught).__name__}: {caught}"[:500]
    return {"reserved and used": held, "out of memory": error, "error afterwards": afterwards}


def stop(device: str) -> Figures:
    data = images(64_000, device)
    asked: list[float] = []
    with (
        own_stream(data.images.device),
        closing(engine_for(device)(USUAL, SGD, data, 0, torch.float32)) as engine,
    ):
        begun = time.perf_counter()

        def should_stop() -> bool:
            if time.perf_counter() - begun > 0.02 and not asked:
                asked.append(time.perf_counter())
            return bool(asked)

        loss = engine.train_epoch(should_stop)
        synchronize(device)
        ended = time.perf_counter()
    if not asked:
        return {"never asked after 20 ms": loss, "epoch took": ended - begun}
    return {"seconds from the request to the end": ended - asked[0], "before it": asked[0] - begun}


def engine_for(device: str) -> type[Engine]:
    return Engine if device == "cpu" else GraphEngine


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


CHECKS: dict[str, Callable[[str], Figures]] = {
    check.__name__: check for check in (card, eager, layers, equal, build, wrap, memory, stop)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["checks"])
    parser.add_argument("--only", nargs="*", choices=list(CHECKS), help="default: all")
    parser.add_argument("--device", default="cuda", help="cpu tries the script itself")
    parser.add_argument("--out", type=Path, default=Path("gpu-checks.json"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:  # one check, in this process
        print(json.dumps(CHECKS[options.only[0]](options.device)))
        return 0
    results: Figures = {}
    for name in options.only or CHECKS:
        results[name] = run(name, options.device)
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        is_good = "error" not in results[name] and not results[name].get("failed")
        print(f"{'ok  ' if is_good else 'FAIL'} {name}, {results[name]['seconds']} s", flush=True)
        if not is_good:
            print(results[name].get("error") or results[name]["failed"], flush=True)
    return int(any("error" in result or result.get("failed") for result in results.values()))


def run(name: str, device: str) -> Figures:
    """A check in a process of its own: its figures, or its last words."""
    command = [sys.executable, __file__, "checks", "--here", "--only", name, "--device", device]
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {SECONDS} s", "seconds": SECONDS}
    seconds = round(time.perf_counter() - started, 1)
    if done.returncode:
        return {"error": done.stderr[-6000:], "seconds": seconds}
    return json.loads(done.stdout.splitlines()[-1]) | {"seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
