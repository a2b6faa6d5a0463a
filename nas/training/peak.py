"""The peak: how fast this machine computes where nothing is in the way, by a matrix product."""

from __future__ import annotations

import time

import torch

PEAK_SECONDS = 0.1  # that the products of one measurement take, beside the first
SIDE = 512  # of the square matrices: they fit into the cache of a CPU's core
SIDE_ON_A_GPU = 4096  # fewer rows would not keep a GPU busy


def matrix_product_speed(device: torch.device, precision: torch.dtype) -> float:
    """Floating-point operations in a second of a square matrix product, the fastest of many.

    It takes about 0.1 s, on as many threads as this thread may use, beside whatever else the
    machine does meanwhile.
    """
    side = SIDE if device.type == "cpu" else SIDE_ON_A_GPU
    matrix = torch.ones(side, side, device=device, dtype=precision)
    _multiply(matrix)  # libraries make things ready
    fastest, spent = float("inf"), 0.0
    while spent < PEAK_SECONDS:
        started = time.perf_counter()
        _multiply(matrix)
        seconds = time.perf_counter() - started
        fastest, spent = min(fastest, seconds), spent + seconds
    return 2.0 * side**3 / fastest


@torch.no_grad()
def _multiply(matrix: torch.Tensor) -> None:
    (matrix @ matrix)[0, 0].item()  # reading a value waits for the device
