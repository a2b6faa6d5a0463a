"""Architecture: a network as plain data. It can be counted, built, stored and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nas.candidates.layers import Dropout, Layer, Shape, layer_from_json
from nas.candidates.numbers import unboxed
from nas.errors import CountMismatchError, InvalidCandidateError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LayerRow:
    """One layer of an architecture with what it does to the shape and what it costs."""

    layer: Layer
    in_shape: Shape
    out_shape: Shape
    num_params: int
    num_macs: int
    receptive_field: int  # pixels of the input's larger side that one output value can see


@dataclass(frozen=True)
class Architecture:
    """A chain of layers from an image to one score (logit) for each class.

    Args:
        input_shape: (C, H, W) of the images.
        layers: from input to output; the last one gives (num_classes,).

    Raises:
        InvalidCandidateError: the layers do not fit each other; the message names the layer.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def __init__(self, input_shape: Sequence[int], layers: Sequence[Layer]) -> None:
        input_shape = tuple(map(unboxed, input_shape))
        if len(input_shape) != 3 or any(type(n) is not int or n < 1 for n in input_shape):
            raise InvalidCandidateError(f"input shape must be (C, H, W), was {input_shape!r}")
        if not layers:
            raise InvalidCandidateError("an architecture needs at least one layer")
        object.__setattr__(self, "input_shape", input_shape)
        object.__setattr__(self, "layers", tuple(layers))
        if len(self.rows[-1].out_shape) != 1:
            raise InvalidCandidateError(
                f"the network ends in {self.rows[-1].out_shape}, not in one score for each class: "
                "end it with Flatten or Linear"
            )

    @cached_property
    def rows(self) -> tuple[LayerRow, ...]:
        """Every layer with its shapes and costs, from input to output."""
        rows: list[LayerRow] = []
        shape: Shape = self.input_shape
        field, jump = 1, 1
        for number, layer in enumerate(self.layers, start=1):
            if not isinstance(layer, Layer):
                raise InvalidCandidateError(f"layer {number} is no layer but {layer!r}")
            try:
                out_shape = layer.out_shape(shape)
            except InvalidCandidateError as error:
                raise InvalidCandidateError(f"layer {number}: {error}") from error
            size, stride = layer.window(shape)
            field, jump = field + (size - 1) * jump, jump * stride
            rows.append(
                LayerRow(
                    layer,
                    shape,
                    out_shape,
                    layer.num_params(shape),
                    layer.num_macs(shape),
                    min(field, max(self.input_shape[1:])),
                )
            )
            shape = out_shape
        return tuple(rows)

    @property
    def num_classes(self) -> int:
        return self.rows[-1].out_shape[0]

    @cached_property
    def num_params(self) -> int:
        """Exact, in closed form, without building anything."""
        return sum(row.num_params for row in self.rows)

    @cached_property
    def num_macs(self) -> int:
        """Multiply-accumulates to classify one image."""
        return sum(row.num_macs for row in self.rows)

    @property
    def depth(self) -> int:
        """Convolutions and linear layers that a value passes through, tied ones each time."""
        return sum(layer.depth for layer in self.layers)

    @cached_property
    def peak_values(self) -> int:
        """Values (activations) held at once for one image, where they are most.

        Layer by layer, as small devices run a network: a layer's input and output, and one of
        them where norm, ReLU and the like write over their input.
        """
        return max(row.layer.peak_values(row.in_shape) for row in self.rows)

    def build(self) -> nn.Sequential:
        """The network, with PyTorch's initial weights from the global random state.

        It maps float images (N, C, H, W) to scores (N, num_classes).

        Raises:
            CountMismatchError: the module holds another number of parameters than was counted.
        """
        from torch import nn

        model = nn.Sequential(*(row.layer.build(row.in_shape) for row in self.rows))
        num_built = sum(p.numel() for p in model.parameters())
        if num_built != self.num_params:
            raise CountMismatchError(
                f"counted {self.num_params:,} parameters but built {num_built:,}: "
                "a layer's num_params is wrong"
            )
        return model

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, the same for any two descriptions of one built network."""
        calls = [
            row.layer.call(row.in_shape).source()
            for row in self.rows
            if row.layer != Dropout(0)  # builds a module that does nothing
        ]
        return hashlib.sha256(json.dumps([self.input_shape, calls]).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        return {
            "input_shape": list(self.input_shape),
            "layers": [layer.to_json() for layer in self.layers],
        }

    @classmethod
    def from_json(cls, data: Any) -> Architecture:
        """What `to_json` wrote; raises InvalidCandidateError on anything else."""
        try:
            return cls(data["input_shape"], [layer_from_json(layer) for layer in data["layers"]])
        except (KeyError, TypeError) as error:
            raise InvalidCandidateError(f"not an architecture: {error!r}") from error
