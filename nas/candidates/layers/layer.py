"""What every kind of layer is: a constructor call, a shape, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from nas.candidates.numbers import unboxed
from nas.errors import InvalidCandidateError

if TYPE_CHECKING:  # loaded when the first module is built: tables of studies need no torch
    from torch import nn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A constructor call of a module class: to be made, or to be written as source.

    The class is one of torch.nn, named such as `nn.Conv2d`, or of nas.candidates.layers.modules,
    named such as `Residual`; an argument may be a call itself.
    """

    factory: str
    args: tuple[Argument, ...] = ()
    kwargs: Mapping[str, int | float | bool] = field(default_factory=dict)

    def build(self) -> nn.Module:
        args = [a.build() if isinstance(a, Call) else a for a in self.args]
        from torch import nn

        from nas.candidates.layers import modules

        home = nn if self.factory.startswith("nn.") else modules
        module: nn.Module = getattr(home, self.factory.removeprefix("nn."))(*args, **self.kwargs)
        return module

    def source(self) -> str:
        """The call as Python, for example `nn.Conv2d(1, 8, 3, padding=1, bias=False)`."""
        arguments = [a.source() if isinstance(a, Call) else repr(a) for a in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.factory}({', '.join(arguments)})"

    def factories(self) -> set[str]:
        """The names of the classes that it and its arguments call."""
        inner = [a.factories() for a in self.args if isinstance(a, Call)]
        return {self.factory}.union(*inner)


Argument = int | float | tuple[int, int] | Call


@dataclass(frozen=True)
class Layer:
    """One step of a network. Subclasses state what it makes of a shape, and what it costs."""

    kind: ClassVar[str]
    is_in_place: ClassVar[bool] = False
    """Whether its output may take the place of its input in memory."""

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layers that it is made of, if it is made of any."""
        return ()

    @property
    def depth(self) -> int:
        """How many convolutions or linear layers it is, one behind the other."""
        return 0

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
    value = unboxed(getattr(layer, name))
    object.__setattr__(layer, name, value)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidCandidateError(
            f"{layer.kind}: {name} must be a whole number >= {minimum}, was {value!r}"
        )
