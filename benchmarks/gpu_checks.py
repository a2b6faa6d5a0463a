"""`gpu.py checks`: whether each part of the engine for CUDA does what it should on a card.

card: what is there, and whether the wheel of torch holds code for it.
eager: plain steps on the card, each optimiser and number format: the loss falls, as on the CPU.
layers: every kind of layer and every option of a recipe: captured, and trained for an epoch; images
    one pixel high; nothing in a step waits for the device.
equal: captured steps beside plain ones, from one seed; and both once more, which must repeat.
build: what the first and the tenth candidate take to be made ready, part by part.
wrap: 40 short trainings in three threads beside a long one, which must end as it does alone.
memory: what is left behind by 30 candidates, and what comes when memory is short.
stop: how long a training goes on after it was asked to stop.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import torch
from gpu_parts import (
    ADAMW,
    BLOCK,
    CLASSES,
    END,
    PRECISIONS,
    SGD,
    SHAPE,
    USUAL,
    Figures,
    card,
    engine_for,
    images,
    synchronize,
    train,
)

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.training.cuda import own_stream, release_memory
from nas.training.engine import Engine
from nas.training.faults import fault_text, is_memory_error, loses_device
from nas.training.graphs import GraphEngine

PARTS = {
    "depthwise": [DepthwiseConv(3), Conv(16, 1), BatchNorm(), ReLU(), AvgPool(2), *END],
    "residual": [*BLOCK, Residual([Conv(16, 3), BatchNorm(), ReLU(), Dropout(0.1)]), *END],
    "tied": [*BLOCK, Tied(2), *END],
    "learned pool": [*BLOCK, MaxPool(2), LearnedPool(), Flatten(), Linear(CLASSES)],
    "dropout": [*BLOCK, Dropout(0.1), *END],
    "flat": [*BLOCK, MaxPool(4), Flatten(), Linear(CLASSES)],
}
RECIPES = {
    "sgd": SGD, "adam": replace(ADAMW, optimizer="adam"), "mirrored": replace(SGD, flip=True),
    "light": replace(SGD, brightness=0.2, contrast=0.2),
    "smooth": replace(SGD, label_smoothing=0.1), "still": replace(SGD, augmentation=0),
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
    data, flat = images(1_280, device), images(1_280, device, shape=(1, 1, 28))
    cases = [(name, Architecture(SHAPE, parts), SGD, data) for name, parts in PARTS.items()]
    cases += [(f"usual, {name}", USUAL, recipe, data) for name, recipe in RECIPES.items()]
    small = Architecture((1, 1, 28), [*BLOCK, *END])
    cases.append(("one pixel high", small, replace(SGD, flip=True), flat))
    figures: Figures = {}
    for name, network, recipe, its_data in cases:
        for digits, precision in PRECISIONS.items():
            key = f"{name}, {digits}"
            try:
                with waits_refused(device):
                    kind = engine_for(device)
                    figures[key] = train(kind, network, recipe, its_data, precision=precision)[0]
            except Exception:
                figures[key] = traceback.format_exc()
    failed = [key for key, value in figures.items() if isinstance(value, str)]
    return figures | {"failed": failed}


@contextmanager
def waits_refused(device: str) -> Iterator[None]:
    """A step that waits for the device raises; making ready and reading an epoch's result may."""
    step = GraphEngine._one_step

    def watched(self: GraphEngine) -> None:
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(self)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    if device != "cpu":
        GraphEngine._one_step = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        GraphEngine._one_step = step  # type: ignore[method-assign]


def equal(device: str) -> Figures:
    figures: Figures = {}
    data = images(6_400, device)
    network = Architecture(SHAPE, [*BLOCK, MaxPool(2), Dropout(0.1), *BLOCK, *END])
    for name, recipe in (("sgd", SGD), ("adamw", ADAMW)):
        recipe = replace(recipe, epochs=2)
        for digits, precision in PRECISIONS.items():
            kinds = [Engine, engine_for(device)] * 2
            runs = [train(kind, network, recipe, data, precision=precision) for kind in kinds]
            figures[f"{name} {digits}"] = {
                "plain": runs[0], "graph": runs[1],
                "loss apart": apart(runs[0], runs[1]),
                "loss apart when repeated": [apart(runs[i], runs[i + 2]) for i in range(2)],
            }  # fmt: skip
    far = [name for name, found in figures.items() if found["loss apart"][0] > 0.02]
    return figures | {"failed": far}


def apart(some: list[list[float]], others: list[list[float]]) -> list[float]:
    return [abs(a[0] - b[0]) / a[0] for a, b in zip(some, others, strict=True)]


def build(device: str) -> Figures:
    data = images(6_400, device)
    rows: list[Figures] = []
    for seed in range(10):
        parts: Figures = {}
        with timed(parts, device), own_stream(data.images.device):
            started = time.perf_counter()
            engine = engine_for(device)(USUAL, SGD, data, seed, torch.float32)
            synchronize(device)
            parts["all"] = time.perf_counter() - started
            started = time.perf_counter()
            engine.close()
            del engine
            parts["close"] = time.perf_counter() - started
        rows.append(parts)
    started = time.perf_counter()
    release_memory(data.images.device)
    return {"seconds": rows, "seconds to release": time.perf_counter() - started}


@contextmanager
def timed(into: Figures, device: str) -> Iterator[None]:
    """Adds up the seconds of the parts of making a candidate ready."""
    names = ("_warm_up", "_capture")
    before = {name: getattr(GraphEngine, name) for name in names}

    def watch(name: str) -> Callable[..., Any]:
        def call(self: GraphEngine, *args: Any) -> Any:
            started = time.perf_counter()
            result = before[name](self, *args)
            if name == "_warm_up":
                synchronize(device)
            into.setdefault(name.strip("_"), []).append(time.perf_counter() - started)
            return result

        return call

    for name in names:
        setattr(GraphEngine, name, watch(name))
    try:
        yield
    finally:
        for name in names:
            setattr(GraphEngine, name, before[name])


def wrap(device: str) -> Figures:
    data, kind = images(6_400, device), engine_for(device)
    long, short = replace(SGD, epochs=19), replace(SGD, epochs=1)
    alone = train(kind, USUAL, long, data, seed=7)
    found: dict[str, list[list[float]]] = {}
    streams: list[int] = []
    errors: list[str] = []

    def run(work: Callable[[], None]) -> None:
        try:
            with own_stream(data.images.device):
                if device != "cpu":
                    streams.append(torch.cuda.current_stream().cuda_stream)
            work()
        except Exception:
            errors.append(traceback.format_exc())

    def train_long() -> None:
        found["beside"] = train(kind, USUAL, long, data, seed=7)

    def train_short(first: int) -> None:
        for seed in range(first, 40, 3):
            train(kind, USUAL, short, data, seed=seed)

    works = [train_long, *(lambda first=first: train_short(first) for first in range(3))]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert len(set(streams)) == len(streams), f"threads share a stream: {streams}"
    gap = abs(found["beside"][-1][0] - alone[-1][0]) / alone[-1][0]
    return {"alone": alone[-1], "beside": found["beside"][-1], "loss apart": gap}


def memory(device: str) -> Figures:
    if device == "cpu":
        return {"skipped": "no card"}
    data, kind = images(6_400, device), engine_for(device)
    held = []
    for seed in range(30):
        parts = [Conv(8 + 8 * (seed % 5), 3), BatchNorm(), ReLU(), *BLOCK, *END]
        train(kind, Architecture(SHAPE, parts), SGD, data, seed=seed)
        free, total = torch.cuda.mem_get_info(device)
        held.append([torch.cuda.memory_reserved(device), total - free])
    torch.cuda.set_per_process_memory_fraction(2**30 / total, device)  # 1 GiB
    wide = Architecture(SHAPE, [Conv(256, 3), BatchNorm(), ReLU(), Conv(256, 3), ReLU(), *END])
    error: Figures = {"text": "none"}
    try:
        train(kind, wide, replace(SGD, batch_size=1024), data)
    except Exception as caught:
        error = {
            "text": fault_text(caught)[:500], "is memory error": is_memory_error(caught),
            "process is lost": loses_device(caught),
        }  # fmt: skip
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    afterwards = "none"
    try:
        release_memory(data.images.device)
        train(kind, USUAL, SGD, data)
    except Exception as caught:
        afterwards = fault_text(caught)[:500]
    return {
        "reserved and used": held, "grew": held[-1][0] > 1.1 * held[9][0],
        "out of memory": error, "error afterwards": afterwards,
        "failed": [] if error.get("is memory error") else ["out of memory"],
    }  # fmt: skip


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


CHECKS = {
    check.__name__: check for check in (card, eager, layers, equal, build, wrap, memory, stop)
}
