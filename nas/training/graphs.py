"""The engine for CUDA: a step is captured once as a graph, and replayed.

A step of a small network is about 150 kernels of a few microseconds each. Launched one by one from
Python they keep the host busy and the GPU idle; a graph is launched as a whole. Everything that
changes from step to step (which images, the learning rate) is read from tensors on the device.

Several candidates train at once on one GPU, each in a thread with a stream of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe
from nas.data import Dataset
from nas.errors import CaptureFailedError
from nas.training import cuda
from nas.training.engine import BUILDING, Engine
from nas.training.faults import fault_text, is_from_kernels, is_memory_error

STEPS_AT_ONCE = 8  # launched before the host looks up: whether to stop, whether to wait
WARMUP_STEPS = 3  # before a capture: libraries set themselves up, the optimiser makes its buffers
# Before torch 2.13 all graphs share the state of the device's generator, which a replay changes and
# a capture must find unchanged.
REPLAYS_IN_TURN = torch.__version__ < "2.13"  # compared as versions


class GraphEngine(Engine):
    """An engine whose steps and evaluations are replays of CUDA graphs.

    Raises:
        torch.OutOfMemoryError: the GPU's memory does not suffice; or another error of which
            `faults.is_memory_error` is true.
        CaptureFailedError: a step cannot be captured. This process can capture nothing any more.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        data: Dataset,
        seed: int,
        precision: torch.dtype,
    ) -> None:
        self._graphs: list[Any] = []
        with BUILDING:  # a capture must not be disturbed by another
            super().__init__(architecture, recipe, data, seed, precision)
            self._make_tensors()
            self._warm_up()
            try:
                self._replay_step = self._capture(self._one_step)
                self._replay_evaluation = self._capture(self._evaluate_once)
            except Exception as error:
                self.close()
                if is_memory_error(error) or is_from_kernels(error):
                    raise
                raise CaptureFailedError(fault_text(error)) from error
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
            num_steps = min(STEPS_AT_ONCE, num_left)
            with _launching():
                for _ in range(num_steps):
                    self._replay_step()
            self.in_flight.add()
            self.num_steps += num_steps
            num_left -= num_steps
        self.in_flight.wait()
        return self._loss_sum.item() / self.num_batches

    def shorten(self, epochs_done: int, epochs: int) -> None:
        super().shorten(epochs_done, epochs)
        rates = torch.tensor(self.rates, device=self._rates.device)
        self._rates[: len(rates)] = rates  # the graph reads it where it is

    def evaluate(self) -> tuple[float, float]:
        with _launching():
            self._replay_evaluation()
        self.in_flight.wait()
        return self.evaluation.read(self._sums)

    def is_finite(self) -> bool:
        """Whether every weight and statistic was a number in the last evaluation."""
        return bool(self._finiteness)

    def close(self) -> None:
        with BUILDING:
            for graph in self._graphs:
                graph.reset()
            self._graphs.clear()
            self.optimizer.zero_grad()  # gradients live in the memory of the graphs

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

    def _one_step(self) -> None:
        self.model.train()
        self._rate.copy_(self._rates[self._done].squeeze(0))
        self._loss_sum.add_(self.step(self._order[self._batch].squeeze(0)))
        self._batch += 1
        self._done += 1

    def _evaluate_once(self) -> None:
        self._sums = self.evaluation()
        self._finiteness = self.finiteness()

    def _warm_up(self) -> None:
        """Run what is to be captured, and put weights and statistics back to where they were."""
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        for _ in range(WARMUP_STEPS):
            self._batch.zero_()
            self._done.zero_()
            self._one_step()
        self._evaluate_once()
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
        graph = cuda.capture(function, self.generator)
        self._graphs.append(graph)
        replay: Callable[[], None] = graph.replay
        return replay


def _launching() -> AbstractContextManager[object]:
    """What a replay needs of the others: nothing, unless torch is old."""
    return BUILDING if REPLAYS_IN_TURN else nullcontext()
