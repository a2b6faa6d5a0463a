"""A network in integers as a page: its data in JavaScript, beside the kernels of html_code/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from nas.data.preparation import Preparation
from nas.exporters import integer as i
from nas.exporters.integer import IntegerNetwork
from nas.exporters.provenance import times

CODE = Path(__file__).with_name("html_code")
WIDTH = 100
BOARD_SIDE = 336  # pixels of the longer side of what is drawn on


def network_script(
    network: IntegerNetwork, title: str, origin: Sequence[str], classes: Sequence[str]
) -> str:
    """The classes, the numbers and the kernels, and `scoresOf`, which needs nothing else.

    Args:
        title, origin: lines of its comment.
        classes: a name for each score, of whichever characters.
    """
    image = network.maps[0]
    weights = (
        f"  {name}: [ // {times(values.shape)}\n{_wrapped(values.flatten().tolist())}\n  ],"
        for name, values in network.weights.items()
    )
    maps = (
        f"  {{ height: {m.height}, width: {m.width}, channels: {m.channels}, zero: {m.zero} }},"
        for m in network.maps
    )
    layers = (_object(_layer(op, network)) for op in network.ops)
    parts = [
        "".join(f"// {line}".rstrip() + "\n" for line in (title, "", *origin)),
        f"const CLASSES = {_string(list(classes))};",
        f"const [HEIGHT, WIDTH, CHANNELS] = [{image.height}, {image.width}, {image.channels}];",
        f"const SCORE_SCALE = {network.scores.scale!r}; // what a step of a score stands for",
        f"const [OFFSET_BITS, ADD_SHIFT] = [{i.OFFSET_BITS}, {i.ADD_SHIFT}];\n",
        _list("// The byte of each value of a pixel, normalised as for the training.\n"
              "const PIXEL_BYTES", (f"[\n{_wrapped(row.tolist())}\n]," for row in network.pixels)),
        _list("// Map 0 is the image; `zero` is the byte that stands for 0.\nconst MAPS", maps),
        "const WEIGHTS = {\n" + "\n".join(weights) + "\n};\n",
        _list("const LAYERS", layers),
        (CODE / "kernels.js").read_text(encoding="utf-8"),
    ]  # fmt: skip
    return "\n".join(parts)


def page(
    script: str, name: str, summary: str, preparation: Preparation, mean: Sequence[float]
) -> str:
    """index.html.

    Args:
        script: of the network.
        name, summary: what people read, of whichever characters.
        preparation: how pictures become images of the network.
        mean: of each channel of its training images, in 0..1.
    """
    is_grey = preparation.channels == 1
    is_dark = sum(mean) / len(mean) < 0.5
    scale = BOARD_SIDE / max(preparation.height, preparation.width)
    constants = {
        "FIT": preparation.fit or "stretch",
        "CAN_DRAW": is_grey,
        "IS_DARK": is_dark,
    }
    lines = [f"const {key} = {json.dumps(value)};" for key, value in constants.items()]
    files = [(CODE / file).read_text(encoding="utf-8") for file in ("picture.js", "page.js")]
    ground = "white on black" if is_dark else "black on white"
    hint = f"Pictures are read as in the training: {preparation.text}. They are not sent anywhere."
    if is_grey:
        hint += (
            f" You draw {ground}, since the training images are {'dark' if is_dark else 'bright'} "
            "on average; a picture the other way round has to be inverted."
        )
    return Template((CODE / "index.html").read_text(encoding="utf-8")).substitute(
        name=escape(name),
        summary=escape(summary),
        hint=escape(hint),
        width=preparation.width,
        height=preparation.height,
        board_width=round(preparation.width * scale),
        board_height=round(preparation.height * scale),
        board_style="cursor: crosshair; touch-action: none;" if is_grey else "",
        board_label="Draw here" if is_grey else "The picture",
        network=script,
        page="\n".join([*lines, "", *files]),
    )


def _layer(op: i.Op, network: IntegerNetwork) -> dict[str, Any]:
    """The fields of a layer, as its kernel reads them."""
    fields: dict[str, Any] = {}
    match op:
        case i.ConvOp():
            shape = network.weights[op.weights].shape
            kind = "depthwise" if op.is_depthwise else "conv"
            kernel = list(shape[:2] if op.is_depthwise else shape[1:3])
            fields = {
                "weights": op.weights,
                "kernel": kernel,
                "padding": op.padding,
                "stride": op.stride,
            }
            fields |= _scaling(op)
        case i.AffineOp():
            kind, fields = "affine", _scaling(op)
        case i.AddOp():
            kind, fields = "add", {"multipliers": list(op.multipliers), "offset": op.offset}
        case i.AvgPoolOp():
            kind = "avgPool"
            fields = {"size": list(op.size), "multiplier": op.multiplier, "offset": op.offset}
            fields["shift"] = op.shift
        case i.MaxPoolOp():
            kind, fields = "maxPool", {"size": op.size}
        case i.ReLUOp():
            kind = "relu"
        case i.FlattenOp():
            kind = "flatten"
        case _:
            raise AssertionError(f"no JavaScript for {type(op).__name__}")
    return {"kind": kind, "inputs": list(op.inputs), "output": op.output} | fields


def _scaling(op: i.ConvOp | i.AffineOp) -> dict[str, Any]:
    return {
        "multipliers": op.multipliers.tolist(),
        "offsets": op.offsets.tolist(),
        "shift": op.shift,
    }


def _object(fields: Mapping[str, Any]) -> str:
    """A literal on lines of their own where it is long."""
    parts = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    short = f"  {{ {', '.join(parts)} }},"
    if len(short) <= WIDTH:
        return short
    lines = []
    for part, value in zip(parts, fields.values(), strict=True):
        if len(part) > WIDTH - 5 and isinstance(value, list):
            name = part.partition(":")[0]
            lines.append(f"    {name}: [\n{_wrapped(value, 6)}\n    ],")
        else:
            lines.append(f"    {part},")
    return "\n".join(["  {", *lines, "  },"])


def _list(name: str, items: Iterable[str]) -> str:
    return "\n".join([f"{name} = [", *items, "];\n"])


def _wrapped(values: Iterable[int], indent: int = 4) -> str:
    lines, line = [], " " * (indent - 1)
    for value in values:
        part = f" {value},"
        if len(line) + len(part) > WIDTH:
            lines.append(line)
            line = " " * (indent - 1)
        line += part
    return "\n".join([*lines, line])


def _string(value: Any) -> str:
    """A literal in ASCII, in which nothing ends a script."""
    return json.dumps(value).replace("<", "\\u003c")
