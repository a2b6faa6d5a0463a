"""The vocabulary of networks: one small frozen class for each kind of layer.

A layer is defined once, by the constructor call that makes its module (`Layer.call`): the same call
builds the module and writes it as source, so what is trained and what is exported cannot differ.
Beside it stand the shape, the closed-form count of parameters and of multiply-accumulates.

A new kind of layer is one class here, its name in `LAYERS`, and one row in tests/test_layers.py.

Shapes leave out the batch: (C, H, W) channels, height, width of an image; (F,) features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, ClassVar, Literal, get_args

from torch import nn

from nas.errors import InvalidCandidateError

Shape = tuple[int, ...]
Padding = Literal["same", "valid"]


@dataclass(frozen=True)
class Call:
    """A constructor call of a module class in torch.nn: to be made, or to be written as source."""

    factory: type[nn.Module]
    args: tuple[int | float, ...] = ()
    kwargs: Mapping[str, int | float | bool] = field(default_factory=dict)

    def build(self) -> nn.Module:
        return self.factory(*self.args, **self.kwargs)

    def source(self) -> str:
        """The call as Python, for example `nn.Conv2d(1, 8, 3, padding=1, bias=False)`."""
        arguments = [repr(a) for a in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"nn.{self.factory.__name__}({', '.join(arguments)})"


@dataclass(frozen=True)
class Layer:
    """One step of a network. Subclasses state what it makes of a shape, and what it costs."""

    kind: ClassVar[str]
    is_in_place: ClassVar[bool] = False
    """Whether its output may take the place of its input in memory."""

    def call(self, shape: Shape) -> Call:
        """The module for an input of `shape`."""
        raise NotImplementedError

    def build(self, shape: Shape) -> nn.Module:
        """The module itself. Its parameters are what `num_params` counts."""
        return self.call(shape).build()

    def out_shape(self, shape: Shape) -> Shape:
        """Shape after this layer.

        Raises:
            InvalidCandidateError: an input of `shape` does not fit this layer.
        """
        return shape

    def num_params(self, shape: Shape) -> int:
        """Elements of all parameters: tied ones once, frozen ones too, buffers not."""
        return 0

    def num_macs(self, shape: Shape) -> int:
        """Multiply-accumulates for one image; additions of a bias are not counted."""
        return 0

    def peak_values(self, shape: Shape) -> int:
        """Values held at once for one image: input and output, or one where it works in place."""
        values = prod(shape)
        return values if self.is_in_place else values + prod(self.out_shape(shape))

    def window(self, shape: Shape) -> tuple[int, int]:
        """Width and stride, in input pixels, of the window one output value sees."""
        return 1, 1

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind} | {f.name: getattr(self, f.name) for f in fields(self)}


def image_shape(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """`shape` as (C, H, W); raises InvalidCandidateError when it is no image."""
    if len(shape) != 3:
        raise InvalidCandidateError(f"{layer.kind} needs an image, was given {shape}")
    return shape[0], shape[1], shape[2]


def check_whole(layer: Layer, name: str, minimum: int = 1) -> None:
    value = getattr(layer, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidCandidateError(
            f"{layer.kind}: {name} must be a whole number >= {minimum}, was {value!r}"
        )


@dataclass(frozen=True)
class Conv(Layer):
    """Square 2D convolution with stride 1. 'same' keeps the size, 'valid' shrinks it."""

    kind = "conv"
    out_channels: int
    kernel_size: int = 3
    padding: Padding = "same"
    bias: bool = False

    def __post_init__(self) -> None:
        check_whole(self, "out_channels")
        check_whole(self, "kernel_size")
        if self.padding not in get_args(Padding):
            raise InvalidCandidateError(
                f"conv: padding must be one of {get_args(Padding)}, was {self.padding!r}"
            )
        if not isinstance(self.bias, bool):
            raise InvalidCandidateError(f"conv: bias must be True or False, was {self.bias!r}")
        if self.padding == "same" and self.kernel_size % 2 == 0:
            raise InvalidCandidateError(
                f"conv: padding 'same' needs an odd kernel_size, was {self.kernel_size}"
            )

    def _pad(self) -> int:
        return self.kernel_size // 2 if self.padding == "same" else 0

    def call(self, shape: Shape) -> Call:
        kwargs: dict[str, int | bool] = {}
        if self._pad():
            kwargs["padding"] = self._pad()
        if not self.bias:
            kwargs["bias"] = False
        return Call(nn.Conv2d, (shape[0], self.out_channels, self.kernel_size), kwargs)

    def out_shape(self, shape: Shape) -> Shape:
        _, height, width = image_shape(self, shape)
        shrink = self.kernel_size - 1 - 2 * self._pad()
        if min(height, width) <= shrink:
            raise InvalidCandidateError(
                f"conv {self.kernel_size}x{self.kernel_size} {self.padding} "
                f"does not fit an input of {height}x{width}"
            )
        return self.out_channels, height - shrink, width - shrink

    def num_params(self, shape: Shape) -> int:
        weights = shape[0] * self.out_channels * self.kernel_size**2
        return weights + (self.out_channels if self.bias else 0)

    def num_macs(self, shape: Shape) -> int:
        out_channels, height, width = self.out_shape(shape)
        return shape[0] * out_channels * self.kernel_size**2 * height * width

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel_size, 1


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation of each channel, with a learned scale and shift."""

    kind = "batch-norm"
    is_in_place = True

    def call(self, shape: Shape) -> Call:
        return Call(nn.BatchNorm2d, (shape[0],))

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)

    def num_params(self, shape: Shape) -> int:
        return 2 * shape[0]


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0)."""

    kind = "relu"
    is_in_place = True

    def call(self, shape: Shape) -> Call:
        return Call(nn.ReLU)


@dataclass(frozen=True)
class Dropout(Layer):
    """While training, sets each value to zero with probability `p` and scales up the others."""

    kind = "dropout"
    is_in_place = True
    p: float

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not 0 <= self.p < 1:
            raise InvalidCandidateError(f"dropout: p must be in 0 <= p < 1, was {self.p!r}")
        object.__setattr__(self, "p", float(self.p))  # numpy's floats write themselves otherwise

    def call(self, shape: Shape) -> Call:
        return Call(nn.Dropout, (self.p,))


@dataclass(frozen=True)
class _Pool(Layer):
    """Pooling over windows that do not overlap; rows and columns left over are dropped."""

    kernel_size: int = 2

    def __post_init__(self) -> None:
        check_whole(self, "kernel_size", minimum=2)

    def out_shape(self, shape: Shape) -> Shape:
        channels, height, width = image_shape(self, shape)
        if min(height, width) < self.kernel_size:
            raise InvalidCandidateError(
                f"{self.kind} {self.kernel_size}x{self.kernel_size} "
                f"does not fit an input of {height}x{width}"
            )
        return channels, height // self.kernel_size, width // self.kernel_size

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel_size, self.kernel_size


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest value of each window."""

    kind = "max-pool"

    def call(self, shape: Shape) -> Call:
        return Call(nn.MaxPool2d, (self.kernel_size,))


@dataclass(frozen=True)
class AvgPool(_Pool):
    """Mean of each window."""

    kind = "avg-pool"

    def call(self, shape: Shape) -> Call:
        return Call(nn.AvgPool2d, (self.kernel_size,))


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean of each channel over the whole image: (C, H, W) -> (C, 1, 1)."""

    kind = "global-avg-pool"

    def call(self, shape: Shape) -> Call:
        return Call(nn.AdaptiveAvgPool2d, (1,))

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        _, height, width = image_shape(self, shape)
        return max(height, width), 1


@dataclass(frozen=True)
class Flatten(Layer):
    """(C, H, W) -> (C*H*W,)."""

    kind = "flatten"
    is_in_place = True

    def call(self, shape: Shape) -> Call:
        return Call(nn.Flatten)

    def out_shape(self, shape: Shape) -> Shape:
        channels, height, width = image_shape(self, shape)
        return (channels * height * width,)

    def window(self, shape: Shape) -> tuple[int, int]:
        _, height, width = image_shape(self, shape)
        return max(height, width), 1


@dataclass(frozen=True)
class Linear(Layer):
    """Every output from every input feature, with a bias."""

    kind = "linear"
    out_features: int

    def __post_init__(self) -> None:
        check_whole(self, "out_features")

    def call(self, shape: Shape) -> Call:
        return Call(nn.Linear, (shape[0], self.out_features))

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InvalidCandidateError(f"linear needs features, was given {shape}: flatten first")
        return (self.out_features,)

    def num_params(self, shape: Shape) -> int:
        return shape[0] * self.out_features + self.out_features

    def num_macs(self, shape: Shape) -> int:
        return shape[0] * self.out_features


# Closed: a specification read from a file or a database can name these and nothing else.
LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Conv, BatchNorm, ReLU, Dropout, MaxPool, AvgPool, GlobalAvgPool, Flatten, Linear,
    )
}  # fmt: skip


def layer_from_json(data: Any) -> Layer:
    """The layer that `to_json` wrote.

    Raises:
        InvalidCandidateError: an unknown kind, a missing or unknown field, a value out of range.
    """
    if not isinstance(data, dict) or data.get("kind") not in list(LAYERS):
        raise InvalidCandidateError(f"unknown layer {data!r}: the kinds are {', '.join(LAYERS)}")
    values = {name: value for name, value in data.items() if name != "kind"}
    try:
        return LAYERS[data["kind"]](**values)
    except TypeError as error:
        raise InvalidCandidateError(f"layer {data!r}: {error}") from error
