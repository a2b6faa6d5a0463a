"""A network drawn to scale: feature maps and channels, parameters, what an output value can see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from nas.candidates.architecture import Architecture, LayerRow
from nas.candidates.layers.layer import Shape
from nas.reports.layer_names import full_name
from nas.reports.picture import SMALL, Area, Line, Picture, Text, shortened, text_width
from nas.reports.plots import WIDE

_SIDE = 40.0  # pixels of the input's larger side
_SLANT = 0.35  # of a box's depth on the paper


@dataclass(frozen=True)
class _Step:
    """A layer, with those behind it that work in its place, such as batch norm."""

    name: str
    shape: Shape
    num_params: int
    receptive_field: int


def network_drawing(architecture: Architecture, width: float = WIDE) -> Picture:
    """The network from top to bottom: a box for each layer that makes new values.

    A box is as high as its feature maps and as long as it has channels, all to one scale; beside it
    stand the layer's parameters and, as a part of the input, what one of its values can see.
    """
    steps = _steps(architecture.rows)
    input_shape = architecture.input_shape
    larger = max(input_shape[1:])
    is_wide = width >= 600
    names = 236.0 if is_wide else 0.0
    boxes = (names + 8, 200.0 if is_wide else 128.0)  # left, room
    bars = (boxes[0] + boxes[1] + 24, width - 60 - (boxes[0] + boxes[1] + 24) - 16)
    fields = width - 52
    most_channels = max(shape[0] for shape in [input_shape, *(step.shape for step in steps)])
    per_channel = (boxes[1] - _SIDE * _SLANT) / most_channels
    per_pixel = _SIDE / larger
    most_params = max(step.num_params for step in steps) or 1

    picture = Picture("The network, to scale", width)
    for left, text in (
        (boxes[0], "values"), (bars[0], "parameters"), (fields - 14, "sees of the input"),
    ):  # fmt: skip
        if left > fields - 20:
            picture.add(Text((width - 4, 14), text, "muted", SMALL, "end"))
        else:
            picture.add(Text((left, 14), text, "muted", SMALL))
    top = 24.0
    for step in [_Step("input", input_shape, 0, 1), *steps]:
        channels, *sides = step.shape
        height, depth = sides or (1, 1)
        size = _size(step.shape)
        if is_wide:
            row = max(height * per_pixel * (1 + _SLANT) + 12, 38)
            picture.add(
                Text((8, top + row / 2 - 2), shortened(step.name, names - 8)),
                Text((8, top + row / 2 + 13), size, "muted", SMALL),
            )
            start = top
        else:
            row = max(height * per_pixel * (1 + _SLANT) + 30, 60)
            name = shortened(step.name, width - 24 - text_width(size, SMALL))
            picture.add(
                Text((8, top + 13), name),
                Text((width - 4, top + 13), size, "muted", SMALL, "end"),
            )
            start = top + 18
        middle = (start + top + row) / 2
        _box(
            picture, boxes[0], middle, max(channels * per_channel, 1.5),
            max(height * per_pixel, 1.5), max(depth * per_pixel, 1.5),
        )  # fmt: skip
        if step.num_params:
            text = f"{step.num_params:,}"
            room = bars[1] - text_width(text, SMALL) - 6
            length = max(step.num_params / most_params * room, 1.5)
            picture.rect(bars[0], middle - 6, length, 12, "orange")
            picture.add(Text((bars[0] + length + 6, middle + 4), text, "muted", SMALL))
        if step.name != "input":
            _field(picture, fields, middle, step.receptive_field / larger, input_shape)
        top += row
        picture.add(Line([(8, top), (width - 4, top)], "grid", 1))
        top += 2
    picture.height = top + 6
    picture.description = "; ".join(
        [f"input {_size(input_shape)}"]
        + [
            f"{step.name}: {_size(step.shape)}, {step.num_params:,} parameters, sees "
            f"{step.receptive_field} pixels of {larger}"
            for step in steps
        ]
    )
    picture.caption = (
        f"{architecture.num_params:,} parameters and {architecture.num_macs:,} "
        f"multiply-accumulates an image. The largest layer holds "
        f"{most_params / max(architecture.num_params, 1):.0%} of the parameters. Batch norm, ReLU "
        "and dropout are counted with the layer before them."
    )
    return picture


def _steps(rows: Sequence[LayerRow]) -> list[_Step]:
    steps: list[_Step] = []
    for row in rows:
        # Flatten in front of a linear layer only renames what is there.
        if steps and row.layer.is_in_place and prod(row.out_shape) == prod(steps[-1].shape):
            last = steps[-1]
            steps[-1] = _Step(
                last.name, row.out_shape, last.num_params + row.num_params,
                max(last.receptive_field, row.receptive_field),
            )  # fmt: skip
        else:
            name = full_name(row.layer)
            steps.append(_Step(name, row.out_shape, row.num_params, row.receptive_field))
    return steps


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _box(
    picture: Picture, left: float, middle: float, length: float, height: float, depth: float
) -> None:
    """A box that lies on its side; its front, the length, faces the reader."""
    slant = depth * _SLANT
    top = middle - (height - slant) / 2
    bottom, right = top + height, left + length
    lid = [(left, top), (left + slant, top - slant), (right + slant, top - slant), (right, top)]
    end = [(right, top), (right + slant, top - slant), (right + slant, bottom - slant),
           (right, bottom)]  # fmt: skip
    picture.rect(left, top, length, height, "blue")
    picture.add(Area(lid, "blue", 0.55), Area(end, "blue", 0.75))


def _field(
    picture: Picture, left: float, middle: float, share: float, input_shape: Sequence[int]
) -> None:
    """The input's outline, and in it the part that one output value can see."""
    larger = max(input_shape[1:])
    height, width = (30.0 * side / larger for side in input_shape[1:])
    x, y = left + 15, middle
    seen = (min(30 * share, width), min(30 * share, height))
    picture.rect(x - seen[0] / 2, y - seen[1] / 2, *seen, "green")
    corners = [(x - width / 2, y - height / 2), (x + width / 2, y - height / 2),
               (x + width / 2, y + height / 2), (x - width / 2, y + height / 2)]  # fmt: skip
    picture.add(Line([*corners, corners[0]], "muted", 1))
