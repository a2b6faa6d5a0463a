"""From a built network to its graph: one module after another, folded into the step before."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from nas.candidates.architecture import Architecture
from nas.candidates.layers import modules
from nas.errors import ExportError, option
from nas.exporters.graph import (
    Add,
    Affine,
    AvgPool,
    Conv,
    Flatten,
    Graph,
    Map,
    MaxPool,
    ReLU,
    Scaled,
    Step,
)


def graph_of(architecture: Architecture, model: nn.Sequential) -> Graph:
    """The steps of a built network with its weights.

    Args:
        architecture: what `model` was built from.
        model: in evaluation, on the CPU.

    Raises:
        ExportError: a layer is of a kind that has no such steps.
    """
    walk = _Walk(Graph([architecture.input_shape]))
    current = 0
    for number, (row, module) in enumerate(zip(architecture.rows, model, strict=True), start=1):
        try:
            current = walk.add(module, current)
        except _UnknownError as error:
            raise ExportError(
                f"layer {number} ({row.layer.kind}) cannot be exported in integers: "
                f"{error} has no integer form; {option('format', 'pytorch')} exports it"
            ) from None
    walk.settle(current)
    if not walk.graph.steps:
        raise ExportError("no layer of the network computes anything: there is nothing to export")
    return walk.graph


def _side(size: int | tuple[int, int]) -> int:
    """Of a square window."""
    if isinstance(size, int):
        return size
    raise _UnknownError("a window that is no square")


class _UnknownError(Exception):
    """A module that none of the steps stands for."""


class _Walk:
    """Adds the steps of one module after another."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._kept: set[int] = set()  # read again later: no step may be folded into them
        self._is_flat = False  # a map stands for features, in the order of its channels

    @torch.no_grad()
    def add(self, module: nn.Module, x: int) -> int:
        """The map that the module makes of map `x`."""
        match module:
            case nn.Dropout():
                return x
            case nn.Flatten():
                self._is_flat = True
                return x
            case nn.Conv2d():
                return self._conv(module, x)
            case nn.Sequential() if type(module) is nn.Sequential:
                for inner in module:
                    x = self.add(inner, x)
                return x
            case nn.Linear():
                self._is_flat = False
                weights = module.weight.view(-1, *self.graph.maps[x])
                return self._convolution(weights, module.bias, x, 0, False)
            case nn.BatchNorm2d():
                return self._batch_norm(module, x)
            case nn.ReLU():
                return self._relu(x)
            case nn.MaxPool2d():
                size = _side(module.kernel_size)
                channels, height, width = self.graph.maps[x]
                shape = channels, height // size, width // size
                return self._append(MaxPool((x,), self._new(shape), size))
            case nn.AvgPool2d():
                return self._mean(x, _side(module.kernel_size), _side(module.kernel_size))
            case nn.AdaptiveAvgPool2d():
                return self._mean(x, *self.graph.maps[x][1:])
            case modules.Residual():
                x = y = self.settle(x)
                self._kept.add(x)
                for inner in module:
                    y = self.add(inner, y)
                return self._append(Add((x, y), self._new(self.graph.maps[x])))
            case modules.Tied():
                for norm in module.norms:
                    self._kept.add(x)
                    y = self._relu(self.add(norm, self.add(module.conv, x)))
                    x = self._append(Add((x, y), self._new(self.graph.maps[x])))
                return x
        raise _UnknownError(type(module).__name__)

    def settle(self, x: int) -> int:
        """Map `x`, laid out as features if it stands for some."""
        channels, height, width = self.graph.maps[x]
        if not self._is_flat or height * width == 1:
            return x
        self._is_flat = False
        return self._append(Flatten((x,), self._new((channels * height * width, 1, 1))))

    def _conv(self, conv: nn.Conv2d, x: int) -> int:
        is_depthwise = conv.groups > 1
        is_plain = conv.dilation == (1, 1) and conv.padding_mode == "zeros"
        padding, stride = conv.padding, conv.stride
        if (
            not is_plain
            or isinstance(padding, str)
            or padding[0] != padding[1]
            or stride[0] != stride[1]
            or (is_depthwise and not conv.groups == conv.in_channels == conv.out_channels)
        ):
            raise _UnknownError("this convolution")
        # One channel by itself is a convolution across all one of them.
        return self._convolution(
            conv.weight, conv.bias, x, padding[0], is_depthwise, stride=stride[0]
        )

    def _convolution(
        self, weights: Tensor, bias: Tensor | None, x: int, padding: int, is_depthwise: bool,
        stride: int = 1,
    ) -> int:  # fmt: skip
        _, height, width = self.graph.maps[x]
        out, _, kernel_height, kernel_width = weights.shape
        shape = (
            out,
            (height + 2 * padding - kernel_height) // stride + 1,
            (width + 2 * padding - kernel_width) // stride + 1,
        )
        offset = torch.zeros(out).double() if bias is None else bias.detach().double()
        return self._append(
            Conv(
                (x,), self._new(shape), torch.ones(out).double(), offset,
                weights=self._store(weights.detach()), padding=padding, stride=stride,
                is_depthwise=is_depthwise,
            )
        )  # fmt: skip

    def _store(self, weights: Tensor) -> str:
        """The name under which the weights are kept; those of one memory are kept once."""
        for name, known in self.graph.weights.items():
            if known.data_ptr() == weights.data_ptr():
                return name
        name = f"weights{len(self.graph.weights) + 1}"
        self.graph.weights[name] = weights
        return name

    def _batch_norm(self, norm: nn.BatchNorm2d, x: int) -> int:
        assert norm.running_var is not None
        assert norm.running_mean is not None
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        offset = norm.bias.double() - norm.running_mean.double() * factor
        last = self._foldable(x)
        if isinstance(last, Scaled) and not last.has_relu:
            # It may be a second one behind the first.
            folded = replace(
                last, factor=last.factor * factor, offset=last.offset * factor + offset
            )
            self.graph.steps[-1] = folded
            return x
        return self._append(Affine((x,), self._new(self.graph.maps[x]), factor, offset))

    def _relu(self, x: int) -> int:
        last = self._foldable(x)
        if isinstance(last, Scaled | Add):
            self.graph.steps[-1] = replace(last, has_relu=True)
            return x
        return self._append(ReLU((x,), self._new(self.graph.maps[x])))

    def _mean(self, x: int, height: int, width: int) -> int:
        channels, rows, columns = self.graph.maps[x]
        shape = channels, rows // height, columns // width
        return self._append(AvgPool((x,), self._new(shape), (height, width)))

    def _foldable(self, x: int) -> Step | None:
        """The step that made map `x`, when nothing else reads that map."""
        steps = self.graph.steps
        return steps[-1] if steps and steps[-1].output == x and x not in self._kept else None

    def _new(self, shape: Map) -> int:
        self.graph.maps.append(shape)
        return len(self.graph.maps) - 1

    def _append(self, step: Step) -> int:
        self.graph.steps.append(step)
        return step.output
