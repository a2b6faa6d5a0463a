"""The engine of captured steps: what it captures is the eager engine's training.

A CUDA graph needs a GPU. What is captured does not: here a stand-in runs it instead of replaying
it, so that order, schedule, warm-up and sums are compared with the eager engine on the CPU. On a
GPU the same tests compare graphs with plain steps there.
"""

from __future__ import annotations

import gc
import inspect
import re
import threading
import time
import weakref
from collections import deque
from dataclasses import replace

import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
)
from nas.candidates.recipe import Recipe
from nas.errors import CaptureFailedError
from nas.training import cuda, graphs, train
from nas.training import engine as engine_module
from nas.training.engine import BUILDING, Engine
from nas.training.graphs import STEPS_AT_ONCE, GraphEngine
from nas.training.in_flight import MOST_IN_FLIGHT, InFlight

BLOCK = [Conv(6), BatchNorm(), ReLU(), MaxPool(), Conv(8), BatchNorm(), ReLU()]
END = [GlobalAvgPool(), Flatten(), Linear(4)]
PLAIN = Architecture((1, 8, 8), [*BLOCK, *END])
WITH_DROPOUT = Architecture((1, 8, 8), [*BLOCK, Dropout(0.1), *END])
SGD = Recipe(epochs=3, batch_size=16, learning_rate=0.05, augmentation=0.5)
ADAMW = replace(SGD, optimizer="adamw", learning_rate=0.01)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
on_gpu = pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])
FP32, BF16 = torch.float32, torch.bfloat16


class StandIn:
    """In place of a graph: runs the function again, and counts."""

    made: list[StandIn]

    def __init__(self, function, generator):
        self.function = function
        self.num_replays = 0
        self.is_reset = False
        self.made.append(self)

    def replay(self):
        assert not self.is_reset
        self.num_replays += 1
        self.function()

    def reset(self):
        self.is_reset = True
        self.function = None  # a graph holds what was done, and not the engine that did it


@pytest.fixture(autouse=True)
def _one_thread():
    """As a worker has: two would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def stand_in(monkeypatch):
    """Graphs that are none; the list has them all in the order in which they were made."""
    made = []
    monkeypatch.setattr(StandIn, "made", made, raising=False)
    monkeypatch.setattr(cuda, "capture", StandIn)
    return made


@pytest.fixture
def on(request, monkeypatch, tiny_data):
    """The images on a device; on a CPU with stand-ins for graphs."""
    device = torch.device(request.param)
    if device.type == "cpu":
        request.getfixturevalue("stand_in")
        # Fused dropout goes on with its own random numbers after the warm-up.
        monkeypatch.setattr(engine_module, "HAS_KERNELS", False)
    with cuda.own_stream(device):
        yield tiny_data.to(device)


def epochs_of(engine, num_epochs):
    return [(engine.train_epoch(lambda: False), engine.evaluate()) for _ in range(num_epochs)]


@pytest.mark.parametrize("on", ["cpu", on_gpu], indirect=True)
@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("precision", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("network", [PLAIN, WITH_DROPOUT], ids=["plain", "dropout"])
def test_captured_steps_train_as_eager_steps_do(on, recipe, precision, network):
    """The first epoch to the last digits; later ones may drift apart, as a GPU adds in any order"""
    engines = [kind(network, recipe, on, 5, precision) for kind in (Engine, GraphEngine)]
    assert engines[0].num_batches * 3 >= 20  # steps
    eager, captured = (epochs_of(engine, 3) for engine in engines)
    first, later = (1e-3, 1e-2) if precision == FP32 else (1e-2, 1e-1)
    is_cpu = on.images.device.type == "cpu"
    for epoch, ((loss, scores), (other_loss, others)) in enumerate(
        zip(eager, captured, strict=True)
    ):
        near = 1e-4 if is_cpu else later if epoch else first
        assert other_loss == pytest.approx(loss, rel=near)
        assert others[0] == pytest.approx(scores[0], rel=10 * near)
        assert others[1] == pytest.approx(scores[1], abs=1e-9 if is_cpu else 3 / 60)
    if is_cpu:
        weights = [engine.weights() for engine in engines]
        torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=1e-5)
    engines[1].close()


def test_an_epoch_replays_each_step_and_one_evaluation(stand_in, tiny_data):
    engine = GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    epochs_of(engine, 2)
    step, evaluation = stand_in
    assert (step.num_replays, evaluation.num_replays) == (2 * engine.num_batches, 2)
    assert engine.num_steps == 2 * engine.num_batches


def test_finiteness_is_that_of_the_last_evaluation(stand_in, tiny_data):
    engine = GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    epochs_of(engine, 1)
    assert engine.is_finite()
    with torch.no_grad():
        next(engine.model.parameters()).view(-1)[0] = float("inf")
    engine.evaluate()
    assert not engine.is_finite()


def test_warm_up_leaves_weights_statistics_and_momentum_as_they_were(stand_in, tiny_data):
    engine = GraphEngine(PLAIN, SGD, tiny_data, 3, FP32)
    fresh = Engine(PLAIN, SGD, tiny_data, 3, FP32)
    torch.testing.assert_close(engine.weights(), fresh.weights(), rtol=0, atol=0)
    buffers = [state["momentum_buffer"] for state in engine.optimizer.state.values()]
    assert len(buffers) == len(list(engine.model.parameters()))
    assert all(not buffer.any() for buffer in buffers)


def test_stop_is_asked_before_each_launch(stand_in, tiny_data):
    engine = GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    answers = iter([False, True])
    assert engine.train_epoch(lambda: next(answers)) is None
    assert stand_in[0].num_replays == STEPS_AT_ONCE


class LazyDevice:
    """A device that does what was launched only when it is waited for, as late as it may."""

    def __init__(self):
        self.marks = deque()
        self.most = 0

    def mark(self):
        mark = LazyMark(self)
        self.marks.append(mark)
        return mark


class LazyMark:
    def __init__(self, device):
        self.device = device

    def synchronize(self):
        while self.device.marks:
            if self.device.marks.popleft() is self:
                return


@pytest.mark.parametrize("kind", [Engine, GraphEngine])
def test_whether_to_stop_is_asked_with_at_most_two_launches_in_flight(stand_in, tiny_data, kind):
    data = replace(tiny_data, train_index=tiny_data.train_index.repeat(3))
    engine = kind(PLAIN, SGD, data, 0, FP32)
    device = LazyDevice()
    engine.in_flight = InFlight(device.mark)
    seen = []

    def should_stop():
        seen.append(len(device.marks))
        return False

    assert engine.train_epoch(should_stop) is not None
    assert max(seen) == MOST_IN_FLIGHT
    assert len(seen) > 3
    assert not device.marks  # nothing is left when a loss is read


def test_candidates_in_threads_start_from_their_own_seeds(stand_in, tiny_data):
    def weights(seed, into):
        into[seed] = GraphEngine(PLAIN, SGD, tiny_data, seed, FP32).weights()

    alone, together = {}, {}
    for seed in range(8):
        weights(seed, alone)
    threads = [threading.Thread(target=weights, args=(seed, together)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(8):
        torch.testing.assert_close(together[seed], alone[seed], rtol=0, atol=0)


def test_plain_engines_in_threads_start_from_their_own_seeds(tiny_data, monkeypatch):
    """The network of one thread is not built from another's random state."""
    alone = {seed: Engine(PLAIN, SGD, tiny_data, seed, FP32).weights() for seed in range(4)}
    build = Architecture.build

    def slow(self):
        time.sleep(0.02)  # after the seed, before the weights
        return build(self)

    monkeypatch.setattr(Architecture, "build", slow)
    together = {}

    def weights(seed):
        together[seed] = Engine(PLAIN, SGD, tiny_data, seed, FP32).weights()

    threads = [threading.Thread(target=weights, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        torch.testing.assert_close(together[seed], alone[seed], rtol=0, atol=0)


FAILURES = {
    "capturing": RuntimeError("CUDA error: operation not permitted when stream is capturing"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    "accelerator": torch.AcceleratorError("CUDA error: operation failed due to a previous error"),
    "synchronising layer": TypeError("no item() here"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_capture_says_that_it_was_one_and_leaves_the_turn_to_others(
    monkeypatch, tiny_data, name
):
    def fail(function, generator):
        raise FAILURES[name]

    monkeypatch.setattr(cuda, "capture", fail)
    with pytest.raises(CaptureFailedError, match=re.escape(str(FAILURES[name])[:20])):
        GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    free = threading.Thread(target=lambda: BUILDING.acquire(timeout=5) and BUILDING.release())
    free.start()
    free.join(10)
    assert not free.is_alive()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_an_error_that_plain_steps_would_meet_as_well_is_raised_as_it_is(
    monkeypatch, tiny_data, error
):
    def fail(function, generator):
        raise error

    monkeypatch.setattr(cuda, "capture", fail)
    with pytest.raises(type(error)) as caught:
        GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    assert caught.value is error


@pytest.mark.parametrize("last", [False, True], ids=["closed", "failed in the last capture"])
def test_what_the_device_holds_is_freed_without_the_garbage_collector(
    monkeypatch, stand_in, tiny_data, last
):
    seen = []
    make = GraphEngine._make_tensors

    def look(self):
        make(self)
        seen.extend(weakref.ref(one) for one in (self, self.optimizer, self.model, self.step))

    def fail(function, generator):
        if stand_in and last:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return StandIn(function, generator)

    monkeypatch.setattr(GraphEngine, "_make_tensors", look)
    monkeypatch.setattr(cuda, "capture", fail)
    gc.collect()
    gc.disable()
    try:
        try:
            engine = GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
            epochs_of(engine, 1)
            engine.close()
            del engine
        except torch.OutOfMemoryError:
            pass
        stand_in.clear()
        assert len(seen) == 4
        assert [reference() for reference in seen] == [None] * 4
    finally:
        gc.enable()


def test_a_closed_engine_has_given_back_its_graphs(stand_in, tiny_data):
    engine = GraphEngine(PLAIN, SGD, tiny_data, 0, FP32)
    engine.close()
    assert [graph.is_reset for graph in stand_in] == [True, True]
    assert all(parameter.grad is None for parameter in engine.model.parameters())


def test_train_takes_the_engine_that_it_is_told(monkeypatch, stand_in, tiny_data):
    results = [
        train(PLAIN, SGD, tiny_data, seed=1, precision=FP32, engine_name=name)
        for name in ("eager", "graph", None)
    ]
    assert len(stand_in) == 2  # on a CPU None is eager
    losses = [[epoch.valid_loss for epoch in result.history] for result in results]
    assert losses[0] == losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


# On a GPU


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", [Engine, GraphEngine])
def test_every_step_draws_new_augmentation_and_dropout(tiny_data, kind):
    data = tiny_data.to(torch.device("cuda"))
    frozen = replace(SGD, learning_rate=1e-12, weight_decay=0.0)
    with cuda.own_stream(data.images.device):
        engine = kind(WITH_DROPOUT, frozen, data, 0, FP32)
        losses = {engine.train_epoch(lambda: False) for _ in range(5)}
        engine.close()
    assert len(losses) == 5


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["eager", "graph"])
def test_candidates_on_parallel_streams_train_as_they_do_alone(tiny_data, name):
    data = tiny_data.to(torch.device("cuda"))

    def last(seed):
        return train(WITH_DROPOUT, SGD, data, seed=seed, engine_name=name).history[-1]

    alone = [last(seed) for seed in range(4)]
    together = {}

    def run(seed):
        together[seed] = last(seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert together[seed].train_loss == pytest.approx(alone[seed].train_loss, rel=0.05)


@pytest.mark.gpu
@needs_gpu
def test_fifty_candidates_leave_no_gpu_memory_behind(tiny_data):
    data = tiny_data.to(torch.device("cuda"))
    held = []
    for number in range(50):
        width = 4 + 9 * (number % 5)  # the largest is among the first five
        layers = [Conv(width), BatchNorm(), ReLU(), *END]
        train(Architecture((1, 8, 8), layers), replace(SGD, epochs=1), data, seed=number)
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert held[49][0] <= held[14][0]
    assert held[49][1] <= 1.1 * held[14][1]
    assert held[40][1] <= 1.1 * held[14][1]


def test_capture_is_not_left_to_a_barrier_of_the_whole_device():
    text = inspect.getsource(cuda) + inspect.getsource(graphs)
    assert "torch.cuda.graph(" not in text
    assert "torch.cuda.synchronize" not in text
