"""The engine of captured steps: what it captures is the eager engine's training.

A CUDA graph needs a GPU. What is captured does not: here a stand-in runs it instead of replaying
it, so that order, schedule, warm-up and sums are compared with the eager engine on the CPU.
"""

from __future__ import annotations

import threading
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
from nas.training import cuda, train
from nas.training.cuda import CapturedEngine
from nas.training.engine import Engine

BLOCK = [Conv(6), BatchNorm(), ReLU(), MaxPool(), Conv(8), BatchNorm(), ReLU()]
PLAIN = Architecture((1, 8, 8), [*BLOCK, GlobalAvgPool(), Flatten(), Linear(4)])
SGD = Recipe(epochs=3, batch_size=16, learning_rate=0.05, augmentation=0.5)
ADAMW = replace(SGD, optimizer="adamw", learning_rate=0.01)


@pytest.fixture
def stand_in(monkeypatch):
    """Graphs that run the function again; the list counts each function's launches."""
    launches = []

    def capture(self, function):
        self.optimizer.zero_grad()
        number = len(launches)
        launches.append(0)

        def replay():
            assert cuda.LAUNCHING.locked()
            launches[number] += 1
            function()

        return replay

    monkeypatch.setattr(CapturedEngine, "_capture", capture)
    return launches


def epochs_of(engine, num_epochs):
    return [(engine.train_epoch(lambda: False), engine.evaluate()) for _ in range(num_epochs)]


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_captured_steps_train_as_eager_steps_do(stand_in, tiny_data, recipe):
    engines = [
        kind(PLAIN, recipe, tiny_data, 5, torch.float32) for kind in (Engine, CapturedEngine)
    ]
    assert engines[0].num_batches * 3 >= 20  # steps
    eager, captured_ = (epochs_of(engine, 3) for engine in engines)
    for (loss, scores), (captured_loss, captured_scores) in zip(eager, captured_, strict=True):
        assert captured_loss == pytest.approx(loss, rel=1e-4)
        assert captured_scores == pytest.approx(scores, rel=1e-3)
    torch.testing.assert_close(engines[1].weights(), engines[0].weights(), rtol=1e-3, atol=1e-5)


def test_an_epoch_is_launched_in_as_few_graphs_as_there_are_steps_for(stand_in, tiny_data):
    engine = CapturedEngine(PLAIN, SGD, tiny_data, 0, torch.float32)
    epochs_of(engine, 2)
    num_many, num_one = divmod(engine.num_batches, cuda.STEPS_IN_GRAPH)
    assert num_many
    assert num_one
    assert stand_in == [2 * num_one, 2 * num_many, 2]  # one step, many steps, evaluation


def test_warm_up_leaves_weights_statistics_and_momentum_as_they_were(stand_in, tiny_data):
    engine = CapturedEngine(PLAIN, SGD, tiny_data, 3, torch.float32)
    fresh = Engine(PLAIN, SGD, tiny_data, 3, torch.float32)
    torch.testing.assert_close(engine.weights(), fresh.weights(), rtol=0, atol=0)
    buffers = [state["momentum_buffer"] for state in engine.optimizer.state.values()]
    assert len(buffers) == len(list(engine.model.parameters()))
    assert all(not buffer.any() for buffer in buffers)


def test_stop_is_asked_before_each_launch(stand_in, tiny_data):
    engine = CapturedEngine(PLAIN, SGD, tiny_data, 0, torch.float32)
    answers = iter([False, True])
    assert engine.train_epoch(lambda: next(answers)) is None
    assert sum(stand_in) == 1


def test_candidates_in_threads_start_from_their_own_seeds(stand_in, tiny_data):
    def weights(seed, into):
        engine = CapturedEngine(PLAIN, SGD, tiny_data, seed, torch.float32)
        into[seed] = engine.weights()

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


def test_a_failing_capture_leaves_the_turn_to_others(monkeypatch, tiny_data):
    def run_out(self, function):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CapturedEngine, "_capture", run_out)
    with pytest.raises(torch.OutOfMemoryError):
        CapturedEngine(PLAIN, SGD, tiny_data, 0, torch.float32)
    assert not cuda.LAUNCHING.locked()


# On a GPU

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
WITH_DROPOUT = Architecture(
    (1, 8, 8), [*BLOCK, Dropout(0.1), GlobalAvgPool(), Flatten(), Linear(4)]
)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_graphs_on_a_gpu_train_as_eager_steps_do(tiny_data, recipe):
    data = tiny_data.to(torch.device("cuda"))
    with cuda.new_stream(data.images.device):
        eager = Engine(PLAIN, recipe, data, 5, torch.float32)
        graphs = CapturedEngine(PLAIN, recipe, data, 5, torch.float32)
        for _ in range(2):
            loss = eager.train_epoch(lambda: False)
            assert graphs.train_epoch(lambda: False) == pytest.approx(loss, rel=1e-3)
        torch.testing.assert_close(graphs.weights(), eager.weights(), rtol=1e-2, atol=1e-3)
        graphs.close()


@pytest.mark.gpu
@needs_gpu
def test_every_replay_draws_new_augmentation_and_dropout(tiny_data):
    data = tiny_data.to(torch.device("cuda"))
    frozen = replace(SGD, learning_rate=1e-12, weight_decay=0.0)
    with cuda.new_stream(data.images.device):
        engine = CapturedEngine(WITH_DROPOUT, frozen, data, 0, torch.float32)
        losses = {engine.train_epoch(lambda: False) for _ in range(5)}
        engine.close()
    assert len(losses) == 5


@pytest.mark.gpu
@needs_gpu
def test_candidates_on_parallel_streams_train_as_they_do_alone(tiny_data):
    data = tiny_data.to(torch.device("cuda"))
    alone = [train(PLAIN, SGD, data, seed=seed).history[-1] for seed in range(4)]
    together = {}

    def run(seed):
        together[seed] = train(PLAIN, SGD, data, seed=seed).history[-1]

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
        layers = [Conv(4 + number), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten(), Linear(4)]
        architecture = Architecture((1, 8, 8), layers)
        train(architecture, replace(SGD, epochs=1), data, seed=number)
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert held[-1][0] <= held[4][0]
    assert held[-1][1] <= held[4][1]
