"""From a trained network to one in integers: ranges from training images, then whole numbers.

Weights have a scale for each output channel and are symmetric about zero; maps have one scale and
a zero of their own, which their ranges always hold (Jacob et al. 2018, arXiv:1712.05877). What
batch norm does to a channel is part of the factor that brings a sum to a byte, so that weights used
several times, each time with another norm, are kept once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.errors import ExportError, option
from nas.exporters import graph as g
from nas.exporters.integer import (
    ADD_SHIFT,
    LEAST,
    MOST,
    OFFSET_BITS,
    AddOp,
    AffineOp,
    AvgPoolOp,
    Bytes,
    ConvOp,
    FlattenOp,
    IntegerNetwork,
    MaxPoolOp,
    Op,
    QuantizedMap,
    ReLUOp,
    Whole,
)

MULTIPLIER_BITS = 22
OFFSET_TOTAL_BITS = 51
MOST_SUM = 2**30
MOST_OFFSET = 2**14  # steps of a byte
PART = 256  # images at once

Range = tuple[float, float]  # it holds 0


def quantize(
    graph: g.Graph, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> IntegerNetwork:
    """The network in integers.

        quantize(graph_of(architecture, model), images[:512], facts.mean, facts.std)

    Args:
        graph: the network in floats.
        images: uint8 (N, C, H, W), of those it was trained on: what they make of each map says
            which range its 256 values cover.
        mean, std: of each channel, in 0..1, as the network's images are normalised.

    Raises:
        ExportError: a sum does not fit into its integer, or a number is not finite.
    """
    return _Quantizer(graph, images, mean, std).network()


class _Quantizer:
    """Makes one operation after another; what it knows of a map, the next ones need."""

    def __init__(
        self, graph: g.Graph, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self.graph = graph
        self.ranges = _ranges(graph, images, mean, std)
        levels = np.arange(256) / 255
        self.pixels = np.stack([(levels - m) / s for m, s in zip(mean, std, strict=True)])
        # All that a pixel can be, so that on images of one channel no grey is lost between two.
        span = float(self.pixels.min()), float(self.pixels.max())
        self.maps = {0: self._map(0, span)}
        self.weights: dict[str, Bytes] = {}
        self.scales: dict[str, NDArray[np.float64]] = {}  # of each output channel
        for name, weights in graph.weights.items():
            self._round_weights(name, weights.double().numpy())

    def network(self) -> IntegerNetwork:
        ops = tuple(self._op(step) for step in self.graph.steps)
        maps = tuple(self.maps[number] for number in range(len(self.graph.maps)))
        depthwise = {op.weights for op in ops if isinstance(op, ConvOp) and op.is_depthwise}
        weights = {
            name: np.ascontiguousarray(
                values[:, 0].transpose(1, 2, 0)
                if name in depthwise
                else values.transpose(0, 2, 3, 1)
            )
            for name, values in self.weights.items()
        }
        image = self.maps[0]
        # Halves are rounded alike, whatever the last bits of a double say.
        pixels = np.floor((self.pixels / image.scale + image.zero).round(6) + 0.5)
        return IntegerNetwork(maps, ops, weights, np.clip(pixels, LEAST, MOST).astype(np.int8))

    def _op(self, step: g.Step) -> Op:
        source = self.maps[step.inputs[0]]
        where = (step.inputs, step.output)
        match step:
            case g.Conv():
                unit = self.scales[step.weights] * source.scale * step.factor.numpy()
                weights = self.weights[step.weights]
                sums = np.abs(weights.astype(np.int64)).sum((1, 2, 3)) * 255
                _check_sum(int(sums.max()))
                multipliers, offsets, shift = self._scaling(step, unit, 0)
                return ConvOp(
                    *where, step.weights, step.padding, step.is_depthwise,
                    multipliers, offsets, shift, step.stride,
                )  # fmt: skip
            case g.Affine():
                unit = source.scale * step.factor.numpy()
                multipliers, offsets, shift = self._scaling(step, unit, source.zero)
                return AffineOp(*where, multipliers, offsets, shift)
            case g.AvgPool():
                num = step.size[0] * step.size[1]
                _check_sum(num * 255)
                zero = source.zero * num
                unit = np.array([source.scale / num])
                # A sum is that far from its zero: where few pixels fire, a mean is much smaller.
                made = self._make(step, float(unit[0]) * max(1, abs(zero) / MOST_OFFSET))
                (multiplier,), (offset,), shift = _whole(unit / made.scale, 0, made.zero, zero)
                return AvgPoolOp(*where, step.size, int(multiplier), int(offset), shift)
            case g.Add():
                return self._add(step)
            case g.MaxPool() | g.ReLU() | g.Flatten():
                self.maps[step.output] = self._map(step.output, like=source)
                if isinstance(step, g.MaxPool):
                    return MaxPoolOp(*where, step.size)
                return ReLUOp(*where) if isinstance(step, g.ReLU) else FlattenOp(*where)
        raise AssertionError(f"no operation for {type(step).__name__}")

    def _add(self, step: g.Add) -> AddOp:
        first, second = (self.maps[number] for number in step.inputs)
        # Steps finer than half of what is added would say nothing; so the factors stay below 2.
        made = self._make(step, least=max(first.scale, second.scale) / 2)
        factors = [round(m.scale / made.scale * 2**ADD_SHIFT) for m in (first, second)]
        offset = ((2 * made.zero + 1) << ADD_SHIFT) // 2
        offset -= first.zero * factors[0] + second.zero * factors[1]
        return AddOp(step.inputs, step.output, (factors[0], factors[1]), offset)

    def _scaling(
        self, step: g.Scaled, unit: NDArray[np.float64], zero: int
    ) -> tuple[Whole, Whole, int]:
        """Multipliers, offsets and shift for sums in these units, from which `zero` is taken."""
        offset = step.offset.numpy()
        # Steps finer than a unit say nothing; and a channel that never fires may lie far off.
        made = self._make(step, max(np.abs(unit).max(), np.abs(offset).max() / MOST_OFFSET))
        shifted = offset / made.scale
        return _whole(unit / made.scale, shifted, made.zero, zero)

    def _make(self, step: g.Step, least: float) -> QuantizedMap:
        """The map that the step makes, in steps of its range, but none finer than `least`."""
        made = self._map(step.output, self.ranges[step.output], least)
        self.maps[step.output] = made
        return made

    def _map(
        self, number: int, span: Range | None = None, least: float = 0.0,
        like: QuantizedMap | None = None,
    ) -> QuantizedMap:  # fmt: skip
        channels, height, width = self.graph.maps[number]
        if like is not None:
            return QuantizedMap(height, width, channels, like.scale, like.zero)
        assert span is not None
        low, high = min(span[0], 0.0), max(span[1], 0.0)
        scale = max((high - low) / (MOST - LEAST), least) or 1.0
        zero = int(np.clip(round(LEAST - low / scale), LEAST, MOST))
        return QuantizedMap(height, width, channels, float(scale), zero)

    def _round_weights(self, name: str, weights: NDArray[np.float64]) -> None:
        if not np.isfinite(weights).all():
            raise ExportError("a weight is not a finite number: such a network cannot be exported")
        largest = np.abs(weights).max((1, 2, 3))
        self.scales[name] = largest / MOST  # 0 where all are
        per_weight = np.where(largest > 0, largest / MOST, 1.0)[:, None, None, None]
        self.weights[name] = np.floor(weights / per_weight + 0.5).astype(np.int8)


def _whole(
    factors: NDArray[np.float64], shifted: Any, zero: int, taken: int
) -> tuple[Whole, Whole, int]:
    """Multipliers, offsets, shift: `(sum - taken) * factor + shifted + zero` with half added.

    One shift for all channels: what that costs a small factor is below 2**-22 of the largest.
    """
    largest = float(np.abs(factors).max())
    # Of the offset: with the largest sum that is below 2**53, so that doubles hold it.
    steps = float(np.abs(shifted).max()) + 1 + 2 * (MOST - LEAST)
    shift = OFFSET_TOTAL_BITS - int(np.frexp(steps)[1])
    if largest > 0:
        exponent = int(np.frexp(largest)[1])  # largest < 2**exponent
        shift = max(min(MULTIPLIER_BITS - exponent, shift), OFFSET_BITS)
    multipliers = np.floor(factors * 2.0**shift + 0.5).astype(np.int64)
    multipliers = np.clip(multipliers, 1 - 2**MULTIPLIER_BITS, 2**MULTIPLIER_BITS - 1)
    exact = shifted + zero + 0.5 - taken * multipliers / 2.0**shift
    offsets = np.floor(exact * 2**OFFSET_BITS + 0.5)
    return multipliers, offsets.astype(np.int64) + np.zeros_like(multipliers), shift


def _check_sum(most: int) -> None:
    if most >= MOST_SUM:
        raise ExportError(
            f"a sum may grow to {most:,}, and {MOST_SUM - 1:,} is the most: a layer has too many "
            f"inputs to be exported in integers; {option('format', 'pytorch')} exports it"
        )


@torch.inference_mode()
def _ranges(
    graph: g.Graph, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[int, Range]:
    """The least and the largest value of each map."""
    ranges: dict[int, Range] = {}
    shift, scale = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    for part in images.split(PART):
        for number, content in graph.run((part.float() / 255 - shift) / scale):
            if not content.isfinite().all():
                raise ExportError(
                    "the network makes numbers that are not finite of its training images: "
                    "such a network cannot be exported in integers"
                )
            low, high = content.aminmax()
            before = ranges.get(number, (0.0, 0.0))
            ranges[number] = min(before[0], low.item()), max(before[1], high.item())
    return ranges
