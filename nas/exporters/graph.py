"""A trained network as a few kinds of steps over numbered maps, batch norm and ReLU folded in.

Dropout is gone, a linear layer is a convolution over the whole map, and what follows a convolution
(batch norm, then ReLU) is a factor and an offset for each channel, then a cut at zero. Weights that
are used several times stand in `Graph.weights` once. The numbers are still floats: the formats that
need integers start from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn import functional

Map = tuple[int, int, int]
"""Channels, height, width; features are a map of 1x1."""


@dataclass(frozen=True)
class Step:
    """Makes the map `output` of the maps `inputs`."""

    inputs: tuple[int, ...]
    output: int

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        """Float (N, C, H, W) of such inputs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Scaled(Step):
    """A step whose result is multiplied and shifted for each channel, and perhaps cut at zero."""

    factor: Tensor  # float64 (channels,), any sign
    offset: Tensor  # float64 (channels,)
    has_relu: bool = False

    def scaled(self, x: Tensor) -> Tensor:
        y = x * self.factor.float().view(-1, 1, 1) + self.offset.float().view(-1, 1, 1)
        return y.relu() if self.has_relu else y


@dataclass(frozen=True)
class Conv(Scaled):
    """A convolution across all channels, or of each channel by itself."""

    weights: str = ""  # a name in Graph.weights
    padding: int = 0
    stride: int = 1
    is_depthwise: bool = False

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        weights = graph.weights[self.weights]
        groups = len(weights) if self.is_depthwise else 1
        return self.scaled(
            functional.conv2d(maps[0], weights, None, self.stride, self.padding, groups=groups)
        )


@dataclass(frozen=True)
class Affine(Scaled):
    """Batch norm that no convolution precedes."""

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        return self.scaled(maps[0])


@dataclass(frozen=True)
class Add(Step):
    """The sum of two maps."""

    has_relu: bool = False

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        total = maps[0] + maps[1]
        return total.relu() if self.has_relu else total


@dataclass(frozen=True)
class ReLU(Step):
    """max(x, 0), of a map that something else reads as well."""

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        return maps[0].relu()


@dataclass(frozen=True)
class MaxPool(Step):
    """The largest of each window; windows do not overlap."""

    size: int

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps[0], self.size)


@dataclass(frozen=True)
class AvgPool(Step):
    """The mean of each window; windows do not overlap."""

    size: tuple[int, int]  # height, width

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps[0], self.size)


@dataclass(frozen=True)
class Flatten(Step):
    """A map as features, channel by channel; only where no linear layer follows at once."""

    def run(self, graph: Graph, *maps: Tensor) -> Tensor:
        return maps[0].flatten(1)[:, :, None, None]


@dataclass
class Graph:
    """Map 0 is the normalised image; the last step makes the scores."""

    maps: list[Map]
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    """By name: (out, in, height, width), or (channels, 1, height, width) of a depthwise one."""

    def run(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The number and the content (N, C, H, W) of each map, of normalised images."""
        last_use = {number: step.output for step in self.steps for number in step.inputs}
        contents = {0: images}
        yield 0, images
        for step in self.steps:
            made = step.run(self, *(contents[number] for number in step.inputs))
            yield step.output, made
            contents[step.output] = made
            contents = {n: c for n, c in contents.items() if last_use.get(n, 0) > step.output}
