"""A network in integers: what C code computes, byte for byte, here in numpy.

Maps are int8 (N, height, width, channels); a byte q of a map stands for (q - zero) * scale. Sums
are int32. A sum becomes a byte in `to_bytes`: multiplied by a whole number of at most 22 bits,
shifted, cut off. With so few bits every product is below 2**53, so that a language whose numbers
are doubles gets the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.int8]
Whole = NDArray[np.int64]

LEAST, MOST = -128, 127
OFFSET_BITS = 16
"""Offsets are in 1 / 2**16 of a byte's step."""
ADD_SHIFT = 20
"""Of the two factors of an addition, which are 2 at most."""
PART_BYTES = 2**26  # of windows at once


@dataclass(frozen=True)
class QuantizedMap:
    """The shape of a map and what its bytes stand for."""

    height: int
    width: int
    channels: int
    scale: float
    zero: int

    @property
    def size(self) -> int:
        return self.height * self.width * self.channels


def to_bytes(sums: Any, multipliers: Any, offsets: Any, shift: int) -> Bytes:
    """Sums (..., channels) as bytes: half a step is rounded up, what is too large is cut off."""
    total = np.asarray(sums, np.int64) * multipliers + np.asarray(offsets, np.int64) * 2 ** (
        shift - OFFSET_BITS
    )
    return _cut_off(total >> shift)


def _cut_off(values: Any) -> Bytes:
    result: Bytes = np.clip(values, LEAST, MOST).astype(np.int8)
    return result


@dataclass(frozen=True)
class Op:
    """Makes the map `output` of the maps `inputs`."""

    inputs: tuple[int, ...]
    output: int
    is_in_place = False
    """Whether it may write over its input."""

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        raise NotImplementedError


@dataclass(frozen=True)
class ConvOp(Op):
    """Convolution; around the image all is zero. Linear layers are such, too."""

    weights: str  # a name in IntegerNetwork.weights
    padding: int
    is_depthwise: bool
    multipliers: Whole  # (out channels,)
    offsets: Whole
    shift: int
    stride: int = 1

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        weights = network.weights[self.weights]
        windows = self._taps(maps[0], network.maps[self.inputs[0]].zero, weights.shape)
        # In doubles, which hold these sums exactly and are multiplied faster than integers.
        if self.is_depthwise:
            sums = np.einsum("nyxcij,ijc->nyxc", windows, weights.astype(np.float64), optimize=True)
        else:
            out, height, width, channels = weights.shape
            table = weights.transpose(3, 1, 2, 0).reshape(channels * height * width, out)
            flat = windows.reshape(*windows.shape[:3], channels * height * width)
            sums = flat @ table.astype(np.float64)
        return to_bytes(sums.astype(np.int64), self.multipliers, self.offsets, self.shift)

    def _taps(self, x: Bytes, zero: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """(N, height, width, channels, kernel height, kernel width), less the zero."""
        kernel = shape[:2] if self.is_depthwise else shape[1:3]
        pad = (self.padding, self.padding)
        values = np.pad(x.astype(np.float64) - zero, ((0, 0), pad, pad, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(values, kernel, (1, 2))
        return windows[:, :: self.stride, :: self.stride]


@dataclass(frozen=True)
class AffineOp(Op):
    """A factor and an offset for each channel."""

    multipliers: Whole  # (channels,)
    offsets: Whole
    shift: int
    is_in_place = True

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        return to_bytes(maps[0], self.multipliers, self.offsets, self.shift)


@dataclass(frozen=True)
class AddOp(Op):
    """The sum of two maps, in 32 bits throughout."""

    multipliers: tuple[int, int]
    offset: int
    is_in_place = True

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        first, second = (
            x.astype(np.int64) * m for x, m in zip(maps, self.multipliers, strict=True)
        )
        return _cut_off((first + second + self.offset) >> ADD_SHIFT)


@dataclass(frozen=True)
class ReLUOp(Op):
    """No byte below that of zero."""

    is_in_place = True

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        return np.maximum(maps[0], np.int8(network.maps[self.inputs[0]].zero))


@dataclass(frozen=True)
class MaxPoolOp(Op):
    """The largest byte of each window."""

    size: int
    is_in_place = True  # a window is read before its place is written

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        result: Bytes = _windows(maps[0], self.size, self.size).max((2, 4))
        return result


@dataclass(frozen=True)
class AvgPoolOp(Op):
    """The mean of each window, in steps of its own."""

    size: tuple[int, int]  # height, width
    multiplier: int
    offset: int
    shift: int
    is_in_place = True

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        sums = _windows(maps[0], *self.size).sum((2, 4), dtype=np.int64)
        return to_bytes(sums, self.multiplier, self.offset, self.shift)


@dataclass(frozen=True)
class FlattenOp(Op):
    """Features in the order of channels, then rows, then columns."""

    def run(self, network: IntegerNetwork, *maps: Bytes) -> Bytes:
        x = maps[0]
        return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


def _windows(x: Bytes, height: int, width: int) -> Bytes:
    """(N, rows, height, columns, width, channels); rows and columns left over are dropped."""
    images, rows, columns, channels = x.shape
    rows, columns = rows // height, columns // width
    whole = x[:, : rows * height, : columns * width]
    return whole.reshape(images, rows, height, columns, width, channels)


@dataclass(frozen=True)
class IntegerNetwork:
    """Operations in order; map 0 is the image, the last one made holds the scores."""

    maps: tuple[QuantizedMap, ...]
    ops: tuple[Op, ...]
    weights: dict[str, Bytes]
    """By name: (out, height, width, in), or (height, width, channels) of a depthwise one."""
    pixels: Bytes
    """(channels, 256): the byte of map 0 that stands for a pixel, its normalisation included."""

    @property
    def scores(self) -> QuantizedMap:
        return self.maps[self.ops[-1].output]

    def run(self, images: NDArray[np.uint8]) -> Bytes:
        """Scores (N, classes) of uint8 images (N, channels, height, width)."""
        size = max(1, PART_BYTES // max(self._window_bytes(), 1))
        parts = [self._run(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(parts)

    def _run(self, images: NDArray[np.uint8]) -> Bytes:
        channel = np.arange(images.shape[1])
        contents = {0: self.pixels[channel, images.transpose(0, 2, 3, 1)]}
        for op in self.ops:
            contents[op.output] = op.run(self, *(contents[number] for number in op.inputs))
        return contents[self.ops[-1].output].reshape(len(images), -1)

    def _window_bytes(self) -> int:
        """What the windows of the largest convolution take, for one image."""
        sizes = [0]
        for op in self.ops:
            if isinstance(op, ConvOp):
                shape, out = self.weights[op.weights].shape, self.maps[op.output]
                kernel = shape[0] * shape[1] if op.is_depthwise else shape[1] * shape[2]
                sizes.append(out.height * out.width * self.maps[op.inputs[0]].channels * kernel * 8)
        return max(sizes)
