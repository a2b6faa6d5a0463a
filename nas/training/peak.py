"""The peak: how fast this machine computes where nothing is in the way, by a wide convolution."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

PEAK_SECONDS = 0.1  # that the convolutions of one measurement take, beside the first
# Images, channels, and pixels of a side: a batch fits into the cache of a CPU's core, and keeps a
# GPU busy.
SHAPE = (8, 128, 16)
SHAPE_ON_A_GPU = (64, 256, 28)


def convolution_speed(device: torch.device, precision: torch.dtype) -> float:
    """Floating-point operations in a second of a convolution from many channels to as many, 3x3,
    the fastest of several.

    Not of a matrix product: what PyTorch takes for those in float32 reaches less than half as much
    on some processors. It takes about 0.1 s, on as many threads as this thread may use, beside
    whatever else the machine does meanwhile.

        convolution_speed(torch.device("cpu"), torch.float32) / 1e9  # GFLOP/s
    """
    num_images, channels, side = SHAPE if device.type == "cpu" else SHAPE_ON_A_GPU
    images = torch.ones(num_images, channels, side, side, device=device, dtype=precision)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = torch.ones(channels, channels, 3, 3, device=device, dtype=precision)
    weights = weights.contiguous(memory_format=torch.channels_last)
    _convolve(images, weights)  # libraries make things ready
    fastest, spent = float("inf"), 0.0
    while spent < PEAK_SECONDS:
        started = time.perf_counter()
        _convolve(images, weights)
        seconds = time.perf_counter() - started
        fastest, spent = min(fastest, seconds), spent + seconds
    return 2.0 * images.numel() * weights[0].numel() / fastest


@torch.no_grad()
def _convolve(images: torch.Tensor, weights: torch.Tensor) -> None:
    F.conv2d(images, weights, padding=1)[0, 0, 0, 0].item()  # reading a value waits for the device
