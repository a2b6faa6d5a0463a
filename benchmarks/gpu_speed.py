"""`gpu.py speed`: how fast the engine trains on a card, beside two loops of a notebook.

naive: a DataLoader that augments one image at a time, eager float32, loss.item() at each step.
strong: images on the card, whole batches augmented, channels last, bfloat16 where the card has it,
    fused optimiser, eager.
graph and eager, each with 1, 2 and 4 threads (graph also with 8) and in both number formats: steps
    a second of all together, and how busy the process is.
full: 19 epochs of 55,000 images: one alone, and four at once, as trainings a minute.

Images are random: the times say nothing of accuracy. Every figure is of one process of its own.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from gpu_parts import ENGINES, PRECISIONS, SGD, USUAL, Figures, card, images, synchronize
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.candidates.recipe import Recipe
from nas.training.augmentation import augment
from nas.training.cuda import own_stream
from nas.training.device import fastest_precision

RECIPE = replace(SGD, batch_size=128)
NUM_IMAGES = 11_008  # 86 steps; the naive loop takes seconds for them
SECONDS = 5.0  # that a figure of steps is measured for
FULL_EPOCHS, FULL_IMAGES = 19, 55_000


class OneByOne(Dataset[tuple[Tensor, Tensor]]):
    """Images as a notebook reads them: each brought to floats and augmented by itself."""

    def __init__(self) -> None:
        self.data = images(NUM_IMAGES, "cpu")
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.data.images[index : index + 1].float() / 255
        image = (augment(image, RECIPE, self.generator)[0] - 0.45) / 0.2
        return image, self.data.labels[index]


def naive(device: str) -> Figures:
    torch.manual_seed(0)
    model = USUAL.build().to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    loader = DataLoader(OneByOne(), RECIPE.batch_size, shuffle=True, drop_last=True, num_workers=1)
    losses, started = [], time.perf_counter()
    for some, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(some.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - started
    return {"steps a second": len(losses) / seconds, "last loss": losses[-1]}


def strong(device: str) -> Figures:
    torch.manual_seed(0)
    where = torch.device(device)
    data, precision = images(NUM_IMAGES, device), fastest_precision(where)
    generator = torch.Generator(where).manual_seed(0)
    model = USUAL.build().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
    )

    def epoch() -> Tensor:
        order = torch.randperm(NUM_IMAGES, generator=generator, device=where)
        for index in order.split(RECIPE.batch_size):
            some = augment(data.images[index].float() / 255, RECIPE, generator)
            some = ((some - 0.45) / 0.2).contiguous(memory_format=torch.channels_last)
            with torch.autocast(where.type, torch.bfloat16, precision == torch.bfloat16):
                scores = model(some)
            loss = F.cross_entropy(scores.float(), data.labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return loss.detach()

    epoch()
    num_epochs, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        loss = epoch().item()
        num_epochs += 1
    seconds = time.perf_counter() - started
    steps = num_epochs * (NUM_IMAGES // RECIPE.batch_size)
    return {"steps a second": steps / seconds, "last loss": loss, "precision": str(precision)}


def steps(device: str, engine_name: str, digits: str, num_threads: int) -> Figures:
    """Steps a second of so many trainings at once, validations left out."""
    data, kind, precision = images(NUM_IMAGES, device), ENGINES[engine_name], PRECISIONS[digits]
    ready, go = threading.Barrier(num_threads + 1), threading.Event()
    num_steps = [0] * num_threads
    build_seconds = [0.0] * num_threads

    def run(number: int) -> None:
        with own_stream(data.images.device):
            started = time.perf_counter()
            engine = kind(USUAL, replace(RECIPE, epochs=10_000), data, number, precision)
            build_seconds[number] = time.perf_counter() - started
            with closing(engine):
                engine.train_epoch(lambda: False)
                ready.wait()
                go.wait()
                until = time.perf_counter() + SECONDS
                before = engine.num_steps
                while time.perf_counter() < until:
                    engine.train_epoch(lambda: time.perf_counter() > until)
                num_steps[number] = engine.num_steps - before

    busy = 0.0

    def begin() -> None:
        nonlocal busy
        ready.wait()
        busy = time.process_time()
        go.set()

    at_once(run, num_threads, begin, on_error=ready.abort)
    busy = time.process_time() - busy
    return {
        "steps a second": sum(num_steps) / SECONDS, "steps of each": num_steps,
        "seconds to build": build_seconds, "cores busy": busy / SECONDS,
    }  # fmt: skip


def full(device: str, num_threads: int, per_thread: int) -> Figures:
    """Whole trainings, each with its validations, from the network to its last accuracy."""
    data = images(FULL_IMAGES, device, 5_000)
    recipe: Recipe = replace(RECIPE, epochs=FULL_EPOCHS)
    kind = ENGINES["eager" if device == "cpu" else "graph"]
    precision = fastest_precision(data.images.device)
    seconds: list[float] = []

    def one(seed: int, epochs: int) -> float:
        started = time.perf_counter()
        with closing(kind(USUAL, replace(recipe, epochs=epochs), data, seed, precision)) as engine:
            for _ in range(epochs):
                engine.train_epoch(lambda: False)
                engine.evaluate()
        return time.perf_counter() - started

    def run(number: int) -> None:
        with own_stream(data.images.device):
            one(number, 1)  # libraries set themselves up
            for seed in range(per_thread):
                seconds.append(one(seed, FULL_EPOCHS))

    started = time.perf_counter()
    at_once(run, num_threads, lambda: None)
    synchronize(device)
    wall = time.perf_counter() - started
    return {"seconds of each": seconds, "trainings a minute": 60 * len(seconds) / wall}


def at_once(
    run: Callable[[int], None],
    num_threads: int,
    begin: Callable[[], object],
    on_error: Callable[[], None] = lambda: None,
) -> None:
    """Run in so many threads; raises what one of them raised."""
    errors: list[str] = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except Exception:
            errors.append(traceback.format_exc())
            on_error()

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        begin()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]


CASES: dict[str, Callable[[str], Figures]] = {"card": card, "naive": naive, "strong": strong}
CASES |= {
    f"{name} {digits} x{num}": partial(steps, engine_name=name, digits=digits, num_threads=num)
    for num in (1, 4, 2, 8)
    for digits in PRECISIONS
    for name in ENGINES
    if num < 8 or name == "graph"
}
CASES |= {
    "full x1": partial(full, num_threads=1, per_thread=2),
    "full x4": partial(full, num_threads=4, per_thread=3),
}
