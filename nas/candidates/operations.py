"""What a network comes to as int8 C: one operation after another, without a single weight.

The same operations as the export makes of the trained network, where batch norm and ReLU are folded
into the convolution before them; so what a device must hold is known before any training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from nas.candidates.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Shape,
    Tied,
)
from nas.errors import InvalidCandidateError

_IN_PLACE = {"affine", "add", "relu", "max_pool", "avg_pool"}


@dataclass(frozen=True)
class Operation:
    """A call of a kernel: makes the map `output` of the maps `inputs`."""

    kernel: str  # the name of its C function
    inputs: tuple[int, ...]
    output: int
    num_weights: int = 0  # that it brings along; none where those of an earlier one are used again
    num_scaled: int = 0  # channels with a multiplier and an offset of their own
    has_relu: bool = False

    @property
    def is_in_place(self) -> bool:
        """Whether it may write over its input."""
        return self.kernel in _IN_PLACE


@dataclass
class Operations:
    """All of a network, in order; map 0 is the image, the last one made holds the scores."""

    maps: list[Shape]
    ops: list[Operation] = field(default_factory=list)
    _kept: set[int] = field(default_factory=set)  # read again later: nothing is folded into them
    _is_flat: bool = False  # a map stands for features, in the order of its channels

    @property
    def sizes(self) -> list[int]:
        """The bytes of each map."""
        return [prod(shape) for shape in self.maps]

    def add(self, layer: Layer, x: int) -> int:
        """The map that the layer makes of map `x`."""
        shape = self.maps[x]
        match layer:
            case Dropout():
                return x
            case Flatten():
                self._is_flat = True
                return x
            case Conv() | DepthwiseConv() | LearnedPool():
                return self._convolution(layer, x)
            case Linear():
                self._is_flat = False
                out = layer.out_features
                return self._append("conv", (x,), (out, 1, 1), prod(shape) * out, out)
            case BatchNorm():
                return self._batch_norm(x)
            case ReLU():
                return self._relu(x)
            case MaxPool():
                return self._append("max_pool", (x,), layer.out_shape(shape))
            case AvgPool() | GlobalAvgPool():
                return self._append("avg_pool", (x,), layer.out_shape(shape))
            case Residual():
                x = y = self.settle(x)
                self._kept.add(x)
                for inner in layer.layers:
                    y = self.add(inner, y)
                return self._append("add", (x, y), self.maps[x])
            case Tied():
                for time in range(layer.times):
                    self._kept.add(x)
                    y = x
                    for conv in layer.convolutions(shape[0]):
                        y = self._convolution(conv, y, is_again=time > 0)
                    y = self._relu(self._batch_norm(y))
                    x = self._append("add", (x, y), shape)
                return x
        raise InvalidCandidateError(f"{layer.kind} has no integer form: its bytes are not known")

    def settle(self, x: int) -> int:
        """Map `x`, laid out as features if it stands for some."""
        channels, height, width = self.maps[x]
        if not self._is_flat or height * width == 1:
            return x
        self._is_flat = False
        return self._append("flatten", (x,), (channels * height * width, 1, 1))

    def _convolution(self, layer: Layer, x: int, is_again: bool = False) -> int:
        shape = self.maps[x]
        out = layer.out_shape(shape)
        bias = out[0] if isinstance(layer, Conv) and layer.bias else 0
        # One channel by itself is a convolution across all one of them.
        kernel = "conv" if isinstance(layer, Conv) or shape[0] == 1 else "depthwise"
        num_weights = 0 if is_again else layer.num_params(shape) - bias
        return self._append(kernel, (x,), out, num_weights, out[0])

    def _batch_norm(self, x: int) -> int:
        last = self._foldable(x)
        if last is not None and last.num_scaled and not last.has_relu:
            return x
        return self._append("affine", (x,), self.maps[x], num_scaled=self.maps[x][0])

    def _relu(self, x: int) -> int:
        last = self._foldable(x)
        if last is not None and (last.num_scaled or last.kernel == "add"):
            self.ops[-1] = replace(last, has_relu=True)
            return x
        return self._append("relu", (x,), self.maps[x])

    def _foldable(self, x: int) -> Operation | None:
        """The operation that made map `x`, when nothing else reads that map."""
        is_last = bool(self.ops) and self.ops[-1].output == x and x not in self._kept
        return self.ops[-1] if is_last else None

    def _append(
        self, kernel: str, inputs: tuple[int, ...], shape: Shape, num_weights: int = 0,
        num_scaled: int = 0,
    ) -> int:  # fmt: skip
        self.maps.append(shape)
        output = len(self.maps) - 1
        self.ops.append(Operation(kernel, inputs, output, num_weights, num_scaled))
        return output


def operations(input_shape: tuple[int, int, int], layers: Sequence[Layer]) -> Operations:
    """The operations of a chain of layers that fit each other.

    Raises:
        InvalidCandidateError: a layer has no integer form.
    """
    walk = Operations([input_shape])
    current = 0
    for layer in layers:
        current = walk.add(layer, current)
    walk.settle(current)
    return walk
