"""Layers that are one module of torch.nn each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from nas.candidates.layers.layer import Call, Layer, Shape, check_whole, image_shape
from nas.candidates.numbers import unboxed
from nas.errors import InvalidCandidateError

# In the order in which messages list them; each is a public name of nas.
__all__ = [  # noqa: RUF022
    "Conv", "DepthwiseConv", "BatchNorm", "ReLU", "Dropout", "MaxPool", "AvgPool", "GlobalAvgPool",
    "LearnedPool", "Flatten", "Linear",
]  # fmt: skip

Padding = Literal["same", "valid"]
STRIDES = (1, 2)


@dataclass(frozen=True)
class Conv(Layer):
    """Square 2D convolution. With stride 1 'same' keeps the size, 'valid' shrinks it.

    With stride 2 it has every other place of that, beginning with the first: 'same' halves the
    size, rounded up.
    """

    kind = "conv"
    out_channels: int
    kernel_size: int = 3
    padding: Padding = "same"
    bias: bool = False
    stride: int = 1

    def __post_init__(self) -> None:
        check_whole(self, "out_channels")
        check_whole(self, "kernel_size")
        check_whole(self, "stride")
        if self.stride not in STRIDES:
            raise InvalidCandidateError(f"conv: stride must be 1 or 2, was {self.stride}")
        if self.padding not in get_args(Padding):
            raise InvalidCandidateError(
                f"conv: padding must be one of {get_args(Padding)}, was {self.padding!r}"
            )
        object.__setattr__(self, "bias", unboxed(self.bias))
        if not isinstance(self.bias, bool):
            raise InvalidCandidateError(f"conv: bias must be True or False, was {self.bias!r}")
        if self.padding == "same" and self.kernel_size % 2 == 0:
            raise InvalidCandidateError(
                f"conv: padding 'same' needs an odd kernel_size, was {self.kernel_size}"
            )

    def _pad(self) -> int:
        return self.kernel_size // 2 if self.padding == "same" else 0

    @property
    def depth(self) -> int:
        return 1

    def call(self, shape: Shape) -> Call:
        kwargs: dict[str, int | bool] = {}
        if self.stride > 1:
            kwargs["stride"] = self.stride
        if self._pad():
            kwargs["padding"] = self._pad()
        if not self.bias:
            kwargs["bias"] = False
        return Call("nn.Conv2d", (shape[0], self.out_channels, self.kernel_size), kwargs)

    def out_shape(self, shape: Shape) -> Shape:
        _, height, width = image_shape(self, shape)
        shrink = self.kernel_size - 1 - 2 * self._pad()
        if min(height, width) <= shrink:
            raise InvalidCandidateError(
                f"conv {self.kernel_size}x{self.kernel_size} {self.padding} "
                f"does not fit an input of {height}x{width}"
            )
        height, width = ((size - shrink - 1) // self.stride + 1 for size in (height, width))
        return self.out_channels, height, width

    def num_params(self, shape: Shape) -> int:
        weights = shape[0] * self.out_channels * self.kernel_size**2
        return weights + (self.out_channels if self.bias else 0)

    def num_macs(self, shape: Shape) -> int:
        out_channels, height, width = self.out_shape(shape)
        return shape[0] * out_channels * self.kernel_size**2 * height * width

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel_size, self.stride


@dataclass(frozen=True)
class DepthwiseConv(Layer):
    """Convolution of each channel by itself, without a bias; its sizes are those of `Conv`."""

    kind = "depthwise-conv"
    kernel_size: int = 3
    padding: Padding = "same"
    stride: int = 1

    def __post_init__(self) -> None:
        try:
            self._dense(1)  # checks the fields
        except InvalidCandidateError as error:
            text = str(error).removeprefix(Conv.kind)
            raise InvalidCandidateError(f"{self.kind}{text}") from None

    def _dense(self, channels: int) -> Conv:
        """The convolution of one channel that this is, as often as there are channels."""
        return Conv(channels, self.kernel_size, self.padding, stride=self.stride)

    @property
    def depth(self) -> int:
        return 1

    def call(self, shape: Shape) -> Call:
        dense = self._dense(shape[0]).call(shape)
        return Call("nn.Conv2d", dense.args, {**dense.kwargs, "groups": shape[0]})

    def out_shape(self, shape: Shape) -> Shape:
        return self._dense(shape[0]).out_shape(shape)

    def num_params(self, shape: Shape) -> int:
        return shape[0] * self.kernel_size**2

    def num_macs(self, shape: Shape) -> int:
        return prod(self.out_shape(shape)) * self.kernel_size**2

    def window(self, shape: Shape) -> tuple[int, int]:
        return self.kernel_size, self.stride


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation of each channel, with a learned scale and shift."""

    kind = "batch-norm"
    is_in_place = True

    def call(self, shape: Shape) -> Call:
        return Call("nn.BatchNorm2d", (shape[0],))

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
        return Call("nn.ReLU")


@dataclass(frozen=True)
class Dropout(Layer):
    """While training, sets each value to zero with probability `p` and scales up the others."""

    kind = "dropout"
    is_in_place = True
    p: float

    def __post_init__(self) -> None:
        p = unboxed(self.p)
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p < 1:
            raise InvalidCandidateError(f"dropout: p must be in 0 <= p < 1, was {p!r}")
        object.__setattr__(self, "p", float(p))

    def call(self, shape: Shape) -> Call:
        return Call("nn.Dropout", (self.p,))


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
        return Call("nn.MaxPool2d", (self.kernel_size,))


@dataclass(frozen=True)
class AvgPool(_Pool):
    """Mean of each window."""

    kind = "avg-pool"

    def call(self, shape: Shape) -> Call:
        return Call("nn.AvgPool2d", (self.kernel_size,))


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Mean of each channel over the whole image: (C, H, W) -> (C, 1, 1)."""

    kind = "global-avg-pool"

    def call(self, shape: Shape) -> Call:
        return Call("nn.AdaptiveAvgPool2d", (1,))

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)[0], 1, 1

    def window(self, shape: Shape) -> tuple[int, int]:
        _, height, width = image_shape(self, shape)
        return max(height, width), 1


@dataclass(frozen=True)
class LearnedPool(Layer):
    """A learned weight for each place of each channel: (C, H, W) -> (C, 1, 1).

    It can look at the middle of one channel and at the rim of another, which a mean cannot.
    """

    kind = "learned-pool"

    @property
    def depth(self) -> int:
        return 1

    def call(self, shape: Shape) -> Call:
        channels, height, width = image_shape(self, shape)
        kwargs = {"groups": channels, "bias": False}
        return Call("nn.Conv2d", (channels, channels, (height, width)), kwargs)

    def out_shape(self, shape: Shape) -> Shape:
        return image_shape(self, shape)[0], 1, 1

    def num_params(self, shape: Shape) -> int:
        return prod(shape)

    def num_macs(self, shape: Shape) -> int:
        return prod(shape)

    def window(self, shape: Shape) -> tuple[int, int]:
        _, height, width = image_shape(self, shape)
        return max(height, width), 1


@dataclass(frozen=True)
class Flatten(Layer):
    """(C, H, W) -> (C*H*W,)."""

    kind = "flatten"
    is_in_place = True

    def call(self, shape: Shape) -> Call:
        return Call("nn.Flatten")

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

    @property
    def depth(self) -> int:
        return 1

    def call(self, shape: Shape) -> Call:
        return Call("nn.Linear", (shape[0], self.out_features))

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InvalidCandidateError(f"linear needs features, was given {shape}: flatten first")
        return (self.out_features,)

    def num_params(self, shape: Shape) -> int:
        return shape[0] * self.out_features + self.out_features

    def num_macs(self, shape: Shape) -> int:
        return shape[0] * self.out_features
