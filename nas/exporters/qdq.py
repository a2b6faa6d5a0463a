"""A network in integers as ONNX: floats between QuantizeLinear and DequantizeLinear (QDQ).

A runtime computes each such step in integers of 8 bits, or in floats that are rounded to them. A
map has the scale and the zero of `integer.py`, a use of weights one scale for each channel: what
its sums are multiplied by there. Bytes of -128..127 are written as 0..255, those of weights, too:
where weights are signed, ONNX Runtime adds products on most x86 processors in 16 bits, which
overflow, and scores come out far off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nas.exporters import integer as i

if TYPE_CHECKING:  # onnx is an extra
    from onnx import ModelProto

OPSET, IR_VERSION = 18, 8
STEP = "scores.step"
"""The initializer that says what a step of a byte of the scores is."""

_TO_UNSIGNED = 128
_MOST_BIAS = 2**30
_UP = 2.0**-12  # of a step: halves are rounded up, as in the table of pixels


def qdq_model(
    network: i.IntegerNetwork, mean: tuple[float, ...], std: tuple[float, ...]
) -> ModelProto:
    """uint8 `images` (batch, C, H, W) to float `scores` (batch, classes).

        qdq_model(quantize(graph, images, facts.mean, facts.std), facts.mean, facts.std)

    Args:
        network: what it computes, but for halves, which are rounded to even numbers here.
        mean, std: of each channel, in 0..1, as the network's images are normalised.
    """
    return _Writer(network).model(np.array(mean), np.array(std))


class _Writer:
    """Adds the nodes of one operation after another."""

    def __init__(self, network: i.IntegerNetwork) -> None:
        self.network = network
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def model(self, mean: np.ndarray, std: np.ndarray) -> ModelProto:
        from onnx import TensorProto, helper, numpy_helper

        self._image(mean, std)
        for op in self.network.ops:
            self._op(op)
            self._rounded(f"exact{op.output}", op.output)
        last, image, scores = self.network.ops[-1].output, self.network.maps[0], self.network.scores
        self._constant(STEP, np.float32(scores.scale))
        self._dequantize(f"bytes{last}", STEP, f"map{last}.zero", "map_of_scores")
        self._node("Flatten", ["map_of_scores"], "scores")
        images: list[str | int] = ["batch", image.channels, image.height, image.width]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, images)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", scores.size])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)

    def _image(self, mean: np.ndarray, std: np.ndarray) -> None:
        shift = self.network.maps[0].scale * _UP - mean / std
        factor = self._constant("image.factor", (1 / (255 * std)).reshape(1, -1, 1, 1))
        offset = self._constant("image.offset", shift.reshape(1, -1, 1, 1))
        self._node("Cast", ["images"], "pixels", to=1)  # to floats
        self._node("Mul", ["pixels", factor], "scaled")
        self._node("Add", ["scaled", offset], "normalised")
        self._rounded("normalised", 0)

    def _op(self, op: i.Op) -> None:
        inputs, output = [f"map{number}" for number in op.inputs], f"exact{op.output}"
        match op:
            case i.ConvOp():
                weights = self.network.weights[op.weights]
                axes = (2, 0, 1) if op.is_depthwise else (0, 3, 1, 2)
                values = weights.transpose(axes)
                self._conv(op, op.weights, values[:, None] if op.is_depthwise else values)
            case i.AffineOp():
                channels = self.network.maps[op.output].channels
                self._conv(op, f"ones{op.output}", np.full((channels, 1, 1, 1), i.MOST, np.int8))
            case i.AddOp():
                self._node("Add", inputs, output)
            case i.ReLUOp():
                self._node("Relu", inputs, output)
            case i.MaxPoolOp():
                size = [op.size, op.size]
                self._node("MaxPool", inputs, output, kernel_shape=size, strides=size)
            case i.AvgPoolOp():
                size = list(op.size)
                self._node("AveragePool", inputs, output, kernel_shape=size, strides=size)
            case i.FlattenOp():
                shape = self._constant("features", np.array([0, -1, 1, 1]), np.int64)
                self._node("Reshape", [*inputs, shape], output)
            case _:
                raise AssertionError(f"no node for {type(op).__name__}")

    def _conv(self, op: i.ConvOp | i.AffineOp, name: str, weights: np.ndarray) -> None:
        """A convolution by weights (out, in, height, width); one of an affine step is of 1x1."""
        source, made = self.network.maps[op.inputs[0]], self.network.maps[op.output]
        factor = op.multipliers / 2.0**op.shift  # from a sum to bytes
        offset = op.offsets / 2.0**i.OFFSET_BITS - 0.5 - made.zero
        padding, stride, groups = 0, 1, len(weights)
        if isinstance(op, i.ConvOp):
            padding, stride, groups = op.padding, op.stride, groups if op.is_depthwise else 1
        else:  # its sums are bytes, and the zero of its input is not taken from them
            offset, factor = offset + source.zero * factor, factor / i.MOST
        scale, bias = factor * made.scale / source.scale, offset * made.scale
        # Scales have no sign here, and that of a bias is made of them: it must hold the bias.
        positive = np.maximum(np.abs(scale), np.abs(bias) / (source.scale * _MOST_BIAS))
        positive = np.where(positive > 0, positive, 1.0).astype(np.float32)
        ratio = (scale / positive)[:, None, None, None]
        table = np.floor(weights * ratio + 0.5).astype(np.int16) + _TO_UNSIGNED
        # Weights that are used again are those of before, unless a sign or a scale is another.
        if not np.array_equal(self.constants.setdefault(name, table.astype(np.uint8)), table):
            name = self._constant(f"{name}.{op.output}", table, np.uint8)
        what = f"conv{op.output}"
        zeros = np.full(len(table), _TO_UNSIGNED)
        self._dequantize(
            name,
            self._constant(f"{what}.weight_scale", positive),
            self._constant(f"{what}.weight_zero", zeros, np.uint8),
            f"{what}.weights",
        )
        unit = positive * np.float32(source.scale)
        self._dequantize(
            self._constant(f"{what}.bias_bytes", np.floor(bias / unit + 0.5), np.int32),
            self._constant(f"{what}.bias_scale", unit),
            self._constant(f"{what}.bias_zero", np.zeros(len(table)), np.int32),
            f"{what}.bias",
        )
        inputs = [f"map{op.inputs[0]}", f"{what}.weights", f"{what}.bias"]
        self._node(
            "Conv", inputs, f"exact{op.output}", kernel_shape=list(table.shape[2:]),
            pads=[padding] * 4, strides=[stride] * 2, group=groups,
        )  # fmt: skip

    def _rounded(self, exact: str, number: int) -> None:
        """Map `number`, in steps of its own, of a tensor in floats."""
        made = self.network.maps[number]
        scale = self._constant(f"map{number}.scale", np.float32(made.scale))
        zero = self._constant(f"map{number}.zero", np.array(made.zero + _TO_UNSIGNED), np.uint8)
        self._node("QuantizeLinear", [exact, scale, zero], f"bytes{number}")
        if number != self.network.ops[-1].output:
            self._dequantize(f"bytes{number}", scale, zero, f"map{number}")

    def _dequantize(self, values: str, scale: str, zero: str, output: str) -> None:
        axis = {"axis": 0} if self.constants[scale].ndim else {}
        self._node("DequantizeLinear", [values, scale, zero], output, **axis)

    def _constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.asarray(value, dtype)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
