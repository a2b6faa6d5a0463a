"""The lines that only a GPU can run: streams, graphs, waits. What uses them is tested on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch

_OWN = threading.local()  # of each thread: its stream, and the memory of its graphs


def own_stream(device: torch.device) -> AbstractContextManager[object]:
    """This thread's stream, for what it does meanwhile; the default one cannot be captured.

    One for the thread's whole life: torch hands out 32 in turn, so two threads that take a new one
    for each training come to share one, and what one of them does lands in the other's capture.
    """
    if device.type != "cuda":
        return nullcontext()
    streams: dict[torch.device, Any] = _OWN.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    # The images may still be on their way.
    streams[device].wait_stream(torch.cuda.default_stream(device))
    return torch.cuda.stream(streams[device])


def capture(function: Callable[[], object], generator: torch.Generator) -> Any:
    """A graph whose `replay()` does on this thread's stream what `function` does there.

    Not by `torch.cuda.graph`: it waits for every stream first, and gives all memory back.

    Args:
        generator: of the random numbers that are drawn; each replay draws new ones.
    """
    return _capture(function, _own_pool(generator.device), generator)


def _capture(
    function: Callable[[], object], pool: Any, generator: torch.Generator | None = None
) -> Any:
    graph = torch.cuda.CUDAGraph()
    if generator is not None:
        graph.register_generator_state(generator)
    # thread_local: other threads may meanwhile allocate memory and wait for their own streams.
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        function()
    except BaseException:
        with suppress(Exception):  # its error would take the place of the one that says why
            graph.capture_end()
        raise
    graph.capture_end()
    return graph


def _own_pool(device: torch.device) -> Any:
    """The memory that all graphs of this thread live in, one candidate's after another's.

    An almost empty graph keeps it; without one every candidate would ask the driver anew.
    """
    pools: dict[torch.device, Any] = _OWN.__dict__.setdefault("pools", {})
    if device not in pools:
        pool, value = torch.cuda.graph_pool_handle(), torch.zeros(1, device=device)
        pools[device] = pool, value, _capture(value.zero_, pool)
    return pools[device][0]


def release_memory(device: torch.device) -> None:
    """Give the GPU's memory that no tensor uses back to the system; waits for the device."""
    if device.type == "cuda":
        _OWN.__dict__.pop("pools", None)
        torch.cuda.empty_cache()


def end_of_launch() -> Any:
    """A mark behind what was launched on this thread's stream; its `synchronize()` waits for it.

    blocking: a wait that spins would keep a core busy in every thread.
    """
    event = torch.cuda.Event(blocking=True)
    event.record()
    return event


def use_true_float32() -> None:
    """In this process float32 has 24 bits, in convolutions as well: cuDNN would take TF32's 11."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
