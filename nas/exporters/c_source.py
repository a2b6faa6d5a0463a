"""A network in integers as C99: net.c and net.h, and vectors.h to test them with.

The kernels stand in c_code/kernels/, and only those that the network uses are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from nas.candidates.architecture import Architecture
from nas.exporters import integer as i
from nas.exporters.arena import plan
from nas.exporters.integer import IntegerNetwork
from nas.exporters.provenance import times

CODE = Path(__file__).with_name("c_code")
WIDTH = 100

# What each operation calls, and the texts that it needs, in the order of the file.
_KERNELS: dict[type[i.Op], tuple[str, ...]] = {
    i.ConvOp: ("to_byte", "conv_type", "conv"),
    i.AffineOp: ("to_byte", "affine"),
    i.AddOp: ("add",),
    i.ReLUOp: ("relu",),
    i.MaxPoolOp: ("max_pool",),
    i.AvgPoolOp: ("to_byte", "avg_pool"),
    i.FlattenOp: ("flatten",),
}
_ORDER = (
    "to_byte", "conv_type", "conv", "depthwise", "affine", "add", "relu", "max_pool", "avg_pool",
    "flatten",
)  # fmt: skip


def template(name: str, **values: Any) -> str:
    """A text of c_code/ with its places filled."""
    return Template((CODE / name).read_text(encoding="utf-8")).substitute(values)


def header(network: IntegerNetwork, architecture: Architecture, title: str) -> str:
    """net.h."""
    channels, height, width = architecture.input_shape
    layout = {1: " in grey", 3: ", three bytes for each (red, green, blue)"}
    return template(
        "net.h",
        title=title,
        height=height,
        width=width,
        channels=channels,
        pixel_layout=layout.get(channels, f", {channels} bytes for each"),
        num_classes=architecture.num_classes,
        memory=f"{plan(network).size:,}",
        score_scale=f"{network.scores.scale:.9e}",
        score_zero=network.scores.zero,
    )


def source(
    network: IntegerNetwork,
    architecture: Architecture,
    title: str,
    origin: Sequence[str],
    classes: Sequence[str],
) -> str:
    """net.c.

    Args:
        title, origin: lines of its comment, which hold nothing that ends one.
        classes: a name for each score, of whichever characters.
    """
    arena = plan(network)
    scores = network.ops[-1].output
    names = {0: "image", scores: "scores"}
    names |= {op.output: f"map{n}" for n, op in enumerate(network.ops[:-1], start=1)}
    data, calls = _Layers(network, names).text()
    used = {text for op in network.ops for text in _kernels(op)}
    constants = [("to_byte", "OFFSET_BITS", i.OFFSET_BITS), ("add", "ADD_SHIFT", i.ADD_SHIFT)]
    pointers = [
        f"    int8_t *const {name} = memory + {arena.places[number]};"
        for number, name in names.items()
        if number != scores
    ]
    class_names = [f"    {_string(name)}," for name in classes]
    return template(
        "net.c",
        title=title,
        origin="\n".join(f" * {line}".rstrip() for line in origin),
        constants="".join(f"#define {name} {value}\n" for k, name, value in constants if k in used),
        kernels="\n".join(
            (CODE / "kernels" / f"{name}.c").read_text(encoding="utf-8")
            for name in _ORDER
            if name in used
        ),
        num_weights=f"{sum(w.size for w in network.weights.values()):,}",
        num_macs=f"{architecture.num_macs:,}",
        data="\n".join(
            [
                "\n".join(
                    ["const char *const nas_classes[NAS_NUM_CLASSES] = {", *class_names, "};\n"]
                ),
                "/* The byte of each grey of a pixel, normalised as for the training. */",
                f"static const int8_t pixel_bytes[{len(network.pixels)}][256] = {{",
                _rows(network.pixels),
                "};\n",
                *data,
            ]
        ),
        memory=arena.size,
        pointers="\n".join(pointers),
        pixel_channel="0" if len(network.pixels) == 1 else "i % NAS_CHANNELS",
        calls="\n".join(calls),
    )


def vectors(images: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> str:
    """vectors.h, of uint8 (N, C, H, W) and int8 (N, classes)."""
    return template(
        "vectors.h",
        num_vectors=len(images),
        pixels=_rows(images.transpose(0, 2, 3, 1).reshape(len(images), -1)),
        scores=_rows(scores),
    )


class _Layers:
    """The data of each layer, and the call that uses it."""

    def __init__(self, network: IntegerNetwork, names: dict[int, str]) -> None:
        self.network = network
        self.names = names
        self.counts: dict[str, int] = {}
        self.written: set[str] = set()

    def text(self) -> tuple[list[str], list[str]]:
        data, calls = [], []
        for op in self.network.ops:
            lines, call = self._layer(op)
            data += lines
            made = self.network.maps[op.output]
            calls.append(f"    {call};".ljust(52) + f"/* {_size(made)} */")
        return data, calls

    def _layer(self, op: i.Op) -> tuple[list[str], str]:
        maps = [self.network.maps[number] for number in op.inputs]
        given = ", ".join(self.names[number] for number in op.inputs)
        out = self.names[op.output]
        x = maps[0]
        match op:
            case i.ConvOp():
                return self._conv(op, x, f"{given}, {out}")
            case i.AffineOp():
                name = self._name("affine")
                fields = {"size": x.size, "channels": x.channels, **_scaling(name, op.shift)}
                lines = [*_scales(name, op), *_struct("Affine", name, fields)]
                return lines, f"affine(&{name}, {given}, {out})"
            case i.AddOp():
                name = self._name("add")
                first, second = op.multipliers
                fields = {"size": x.size, "first": first, "second": second, "offset": op.offset}
                return _struct("Add", name, fields), f"add(&{name}, {given}, {out})"
            case i.AvgPoolOp():
                name = self._name("avg_pool")
                fields = {
                    **_shape(x), "kernel_height": op.size[0], "kernel_width": op.size[1],
                    "multiplier": op.multiplier, "offset": op.offset, "shift": op.shift,
                }  # fmt: skip
                return _struct("AvgPool", name, fields), f"avg_pool(&{name}, {given}, {out})"
            case i.ReLUOp():
                return [], f"relu({given}, {x.size}, {x.zero}, {out})"
            case i.MaxPoolOp():
                shape = f"{x.height}, {x.width}, {x.channels}"
                return [], f"max_pool({given}, {shape}, {op.size}, {out})"
            case i.FlattenOp():
                return [], f"flatten({given}, {x.height}, {x.width}, {x.channels}, {out})"
        raise AssertionError(f"no C for {type(op).__name__}")

    def _conv(self, op: i.ConvOp, x: i.QuantizedMap, arguments: str) -> tuple[list[str], str]:
        kind = "depthwise" if op.is_depthwise else "conv"
        name = self._name(kind)
        weights = self.network.weights[op.weights]
        lines = []
        if op.weights not in self.written:  # those of an earlier layer are used again
            self.written.add(op.weights)
            shape = times(weights.shape)
            lines += [f"static const int8_t {op.weights}[{weights.size}] = {{ /* {shape} */"]
            lines += [_rows(weights.reshape(1, -1), is_nested=False), "};"]
        kernel = weights.shape[:2] if op.is_depthwise else weights.shape[1:3]
        fields = {
            **_shape(x), "zero": x.zero, "kernel_height": kernel[0], "kernel_width": kernel[1],
            "padding": op.padding, "stride": op.stride,
            "out_channels": self.network.maps[op.output].channels,
            "weights": op.weights, **_scaling(name, op.shift),
        }  # fmt: skip
        lines += [*_scales(name, op), *_struct("Conv", name, fields)]
        return lines, f"{kind}(&{name}, {arguments})"

    def _name(self, kind: str) -> str:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return f"{kind}{self.counts[kind]}"


def _kernels(op: i.Op) -> tuple[str, ...]:
    if isinstance(op, i.ConvOp) and op.is_depthwise:
        return ("to_byte", "conv_type", "depthwise")
    return _KERNELS[type(op)]


def _shape(x: i.QuantizedMap) -> dict[str, Any]:
    return {"height": x.height, "width": x.width, "channels": x.channels}


def _size(x: i.QuantizedMap) -> str:
    return times((x.height, x.width, x.channels))


def _scaling(name: str, shift: int) -> dict[str, Any]:
    return {"multipliers": f"{name}_multipliers", "offsets": f"{name}_offsets", "shift": shift}


def _scales(name: str, op: i.ConvOp | i.AffineOp) -> list[str]:
    lines = []
    for what, values in (("multipliers", op.multipliers), ("offsets", op.offsets)):
        lines += [f"static const int32_t {name}_{what}[{len(values)}] = {{"]
        lines += [_rows(values.reshape(1, -1), is_nested=False), "};"]
    return lines


def _struct(kind: str, name: str, fields: dict[str, Any]) -> list[str]:
    """A constant with designated fields, wrapped between them."""
    parts = [f".{field} = {value}," for field, value in fields.items()]
    return [f"static const {kind} {name} = {{", *_wrapped(parts), "};\n"]


def _rows(values: np.ndarray[Any, Any], is_nested: bool = True) -> str:
    """Numbers (rows, n) as an initialiser, each row in braces."""
    lines: list[str] = []
    for row in values:
        inner = _wrapped([f"{value}," for value in row.tolist()])
        lines += ["    {", *inner, "    },"] if is_nested else inner
    return "\n".join(lines)


def _wrapped(parts: Iterable[str]) -> list[str]:
    lines, line = [], "   "
    for part in parts:
        if len(line) + 1 + len(part) > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {part}"
    return [*lines, line]


def _string(text: str) -> str:
    """A literal of C in ASCII: UTF-8 in octal digits, and no trigraph."""
    safe = [
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}"
        for b in text.encode("utf-8", "surrogatepass")
    ]
    return f'"{"".join(safe)}"'
