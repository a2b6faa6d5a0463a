"""Layers that are several modules: with a skip connection, or with weights used more than once."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from nas.candidates.layers.layer import Call, Layer, Shape, check_whole, image_shape
from nas.candidates.layers.plain import Conv, DepthwiseConv, Dropout
from nas.candidates.numbers import unboxed
from nas.errors import InvalidCandidateError

__all__ = ["Residual", "Tied"]


@dataclass(frozen=True)
class Residual(Layer):
    """The output of some layers, added to their input; they must keep its shape."""

    kind = "residual"
    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        is_several = isinstance(layers, list | tuple)
        object.__setattr__(self, "layers", tuple(layers) if is_several else ())
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise InvalidCandidateError(f"residual: needs layers, was given {reprlib.repr(layers)}")
        if any(layer.parts for layer in self.layers):
            raise InvalidCandidateError("residual: cannot hold another residual")

    @property
    def parts(self) -> tuple[Layer, ...]:
        return self.layers

    def _steps(self, shape: Shape) -> list[tuple[Layer, Shape]]:
        """Each layer with the shape it is given."""
        steps = []
        for layer in self.layers:
            steps.append((layer, shape))
            shape = layer.out_shape(shape)
        return steps

    @property
    def depth(self) -> int:
        return sum(layer.depth for layer in self.layers)

    def call(self, shape: Shape) -> Call:
        steps = self._steps(shape)
        # Dropout of nothing builds a module that does nothing.
        return Call("Residual", tuple(la.call(s) for la, s in steps if la != Dropout(0)))

    def out_shape(self, shape: Shape) -> Shape:
        layer, last = self._steps(shape)[-1]
        if layer.out_shape(last) != shape:
            raise InvalidCandidateError(
                f"residual: its layers make {layer.out_shape(last)} of {shape}, which cannot be "
                "added: keep channels and size"
            )
        return shape

    def num_params(self, shape: Shape) -> int:
        return sum(layer.num_params(s) for layer, s in self._steps(shape))

    def num_macs(self, shape: Shape) -> int:
        return sum(layer.num_macs(s) for layer, s in self._steps(shape))

    def peak_values(self, shape: Shape) -> int:
        """Beside what its layers hold, the input is kept for the addition."""
        # Dropout does nothing where memory counts.
        steps = [step for step in self._steps(shape) if not isinstance(step[0], Dropout)]
        peak = prod(shape)  # of the layers: what is added
        for i, (layer, given) in enumerate(steps):
            # The first layer reads the input that is kept, and cannot write over it.
            if i == 0 and not (isinstance(layer, Tied) and layer.times > 1):
                beside = max(prod(layer.out_shape(given)), layer.peak_values(given) - prod(given))
            else:
                beside = layer.peak_values(given)
            peak = max(peak, beside)
        return prod(shape) + peak

    def window(self, shape: Shape) -> tuple[int, int]:
        return 1 + sum(layer.window(s)[0] - 1 for layer, s in self._steps(shape)), 1

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "layers": [layer.to_json() for layer in self.layers]}


@dataclass(frozen=True)
class Tied(Layer):
    """One convolution used several times, each time with batch norm, ReLU and a skip connection.

    As deep as it is often used, for the weights of one: x + ReLU(norm(conv(x))). A separable one is
    a depthwise convolution with a 1x1 behind it: C * (k^2 + C) weights in place of C^2 * k^2, so
    the same budget holds more channels.
    """

    kind = "tied"
    times: int
    kernel_size: int = 3
    separable: bool = False

    def __post_init__(self) -> None:
        check_whole(self, "times")
        object.__setattr__(self, "separable", unboxed(self.separable))
        if not isinstance(self.separable, bool):
            raise InvalidCandidateError(
                f"tied: separable must be True or False, was {self.separable!r}"
            )
        check_whole(self, "kernel_size")
        if self.kernel_size % 2 == 0:
            raise InvalidCandidateError(f"tied: kernel_size must be odd, was {self.kernel_size}")

    def convolutions(self, channels: int) -> tuple[Layer, ...]:
        """What is used several times: one convolution, or two where they are separable."""
        if self.separable:
            return DepthwiseConv(self.kernel_size), Conv(channels, 1)
        return (Conv(channels, self.kernel_size),)

    @property
    def depth(self) -> int:
        return self.times * len(self.convolutions(1))

    def call(self, shape: Shape) -> Call:
        calls = tuple(conv.call(shape) for conv in self.convolutions(shape[0]))
        return Call(
            "Tied", (Call("nn.Sequential", calls) if self.separable else calls[0], self.times)
        )

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)

    def num_params(self, shape: Shape) -> int:
        weights = sum(conv.num_params(shape) for conv in self.convolutions(shape[0]))
        return weights + self.times * 2 * shape[0]

    def num_macs(self, shape: Shape) -> int:
        return self.times * sum(conv.num_macs(shape) for conv in self.convolutions(shape[0]))

    def peak_values(self, shape: Shape) -> int:
        """The input is kept for the addition, while one convolution reads what another wrote."""
        return (1 + len(self.convolutions(shape[0]))) * prod(shape)

    def window(self, shape: Shape) -> tuple[int, int]:
        return 1 + self.times * (self.kernel_size - 1), 1
