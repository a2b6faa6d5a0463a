"""The engine for CUDA: steps are captured once and replayed as graphs.

A step of a small network is about 150 kernels of a few microseconds each. Launched one by one from
Python they keep the host busy and the GPU idle; a graph is launched as a whole. Everything that
changes from step to step (which images, the learning rate) is read from tensors on the device.

Several candidates train at once on one GPU, each in a thread with a stream of its own. A capture
must not be disturbed by another thread, so captures and launches take turns at `LAUNCHING`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.training.engine import Engine
from nas.training.step import Evaluation

STEPS_IN_GRAPH = 8  # launched at once; what is left of an epoch is launched one by one
WARMUP_STEPS = 3  # before a capture: libraries set themselves up, the optimiser makes its buffers
EVALUATION_BATCH = 1000
LAUNCHING = threading.Lock()


class CapturedEngine(Engine):
    """An engine whose epochs are replays of CUDA graphs.

    Raises:
        torch.OutOfMemoryError: the GPU's memory does not suffice.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Dataset,
        seed: int,
        precision: torch.dtype,
    ) -> None:
        # All of it: two threads must not draw initial weights from one random state either.
        with LAUNCHING:
            super().__init__(architecture, recipe, data, seed, precision)
            self.evaluation = Evaluation(self.model, data, EVALUATION_BATCH)
            self._make_tensors()
            self._warm_up()
            self._graphs: list[Any] = []
            self._one_step = self._capture(self._steps(1))
            self._many_steps = self._capture(self._steps(STEPS_IN_GRAPH))
            self._evaluate = self._capture(self._evaluate_captured)
            # Begin with the random numbers of the eager engine, at the first learning rate.
            self.generator.manual_seed(seed)
            self._done.zero_()

    def train_epoch(self, should_stop: Callable[[], bool]) -> float | None:
        self._order.copy_(self.draw_order())
        self._batch.zero_()
        self._loss_sum.zero_()
        num_left = self.num_batches
        while num_left:
            if should_stop():
                return None
            num_steps = STEPS_IN_GRAPH if num_left >= STEPS_IN_GRAPH else 1
            with LAUNCHING:
                (self._many_steps if num_steps > 1 else self._one_step)()
            num_left -= num_steps
            self.num_steps += num_steps
        return self._loss_sum.item() / self.num_batches

    def shorten(self, epochs_done: int, epochs: int) -> None:
        super().shorten(epochs_done, epochs)
        rates = torch.tensor(self.rates, device=self._rates.device)
        self._rates[: len(rates)] = rates  # the graphs read it where it is

    def evaluate(self) -> tuple[float, float]:
        with LAUNCHING:
            self._evaluate()
        return self.evaluation.read(self._sums)

    def close(self) -> None:
        with LAUNCHING:
            for graph in self._graphs:
                graph.reset()
            self._graphs.clear()
            del self._one_step, self._many_steps, self._evaluate
            self.optimizer.zero_grad()  # gradients live in the memory of a graph

    def _make_tensors(self) -> None:
        """What the captured step reads and writes, on the device."""
        device = self.data.images.device
        self._order = self.draw_order()  # (batches, images)
        self._rates = torch.tensor(self.rates, device=device)
        self._rate = torch.zeros((), device=device)
        self._batch = torch.zeros(1, dtype=torch.int64, device=device)  # of this epoch
        self._done = torch.zeros(1, dtype=torch.int64, device=device)  # steps, of all epochs
        self._loss_sum = torch.zeros((), device=device)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate

    def _steps(self, num_steps: int) -> Callable[[], None]:
        def steps() -> None:
            self.model.train()
            for _ in range(num_steps):
                self._rate.copy_(self._rates[self._done].squeeze(0))
                self._loss_sum.add_(self.step(self._order[self._batch].squeeze(0)))
                self._batch += 1
                self._done += 1

        return steps

    def _evaluate_captured(self) -> None:
        self._sums = self.evaluation()

    def _warm_up(self) -> None:
        """Run what is to be captured, and put weights and statistics back to where they were."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        for _ in range(WARMUP_STEPS):
            self._batch.zero_()
            self._done.zero_()
            self._steps(1)()
        self._evaluate_captured()
        self.model.load_state_dict(before)
        for state in self.optimizer.state.values():
            for value in state.values():
                # A momentum of zeros after a first step is what no momentum is before it.
                if isinstance(value, Tensor):
                    value.zero_()
        for group in self.optimizer.param_groups:
            if "capturable" in group:  # Adam; SGD needs nothing but a rate on the device
                group["capturable"] = True

    def _capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what `function` does on the device; the result does it again."""
        self.optimizer.zero_grad()  # so that the gradients are in the graph's own memory
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        # thread_local: another thread may meanwhile wait for its own stream.
        stream = torch.cuda.current_stream(self.data.images.device)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            function()
        self._graphs.append(graph)
        return graph.replay


def new_stream(device: torch.device) -> AbstractContextManager[object]:
    """A CUDA stream for what this thread does; the default one cannot be captured."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.default_stream(device))  # the images may still be on their way
    return torch.cuda.stream(stream)


def release_memory(device: torch.device) -> None:
    """Give the GPU's memory that no tensor uses back to the system."""
    if device.type == "cuda":
        with LAUNCHING:
            torch.cuda.empty_cache()
