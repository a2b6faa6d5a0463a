"""Sketch: a plot of plain characters, as wide as the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

MOST_COLUMNS = 80
_LABEL = 8  # columns left of the axis

_PLAIN = str.maketrans("●·│└─", "o.|+-")  # for terminals without the first


@dataclass(frozen=True)
class Marks:
    """Points that are drawn as one character, over those of earlier marks."""

    character: str
    points: Sequence[tuple[float, float]]


def sketch(
    marks: Sequence[Marks],
    width: int,
    height: int,
    *,
    is_x_log: bool,
    x_name: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    smallest_on_top: bool,
) -> str:
    """Points in a frame; the vertical axis is in equal ratios.

    Args:
        width: columns of the whole, labels included.
        height: lines of the frame's inside.
        x_text, y_text: what to write at the ends of the axes.
    """
    columns = max(width - _LABEL - 2, 10)
    points = [point for some in marks for point in some.points]
    xs = [math.log(max(x, 1)) if is_x_log else x for x, _ in points]
    ys = [math.log(y) for _, y in points]
    rows = [[" "] * columns for _ in range(height)]
    for some in marks:
        for x, y in some.points:
            flat = math.log(max(x, 1)) if is_x_log else x
            row = _place(math.log(y), ys, height)
            row = row if smallest_on_top else height - 1 - row
            rows[row][_place(flat, xs, columns)] = some.character
    low, high = min(y for _, y in points), max(y for _, y in points)
    top, bottom = (low, high) if smallest_on_top else (high, low)
    labels = {0: y_text(top)} | ({height - 1: y_text(bottom)} if low < high else {})
    lines = [
        f"{labels.get(i, ''):>{_LABEL}} │{''.join(row)}".rstrip() for i, row in enumerate(rows)
    ]
    first, last = (x_text(f(x for x, _ in points)) for f in (min, max))
    ends = f"{first}{last:>{columns - len(first)}}" if first != last else first
    name = f" {x_name} "
    gap = len(first) + max((columns - len(first) - len(last) - len(name)) // 2, 0)
    if first != last and gap + len(name) + len(last) <= columns:
        ends = f"{ends[:gap]}{name}{ends[gap + len(name) :]}"
    return "\n".join([*lines, f"{'':>{_LABEL}} └{'─' * columns}", f"{'':>{_LABEL + 2}}{ends}"])


def _place(value: float, values: Sequence[float], length: int) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * (length - 1)) if high > low else 0


@dataclass(frozen=True)
class Drawn:
    """A sketch as a part of a report, of the width that the terminal has; nothing in a pipe."""

    draw: Callable[[int], str]
    is_for_pipes: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if console.is_terminal or self.is_for_pipes:
            text = self.draw(min(options.max_width, MOST_COLUMNS))
            if options.ascii_only:
                text = text.translate(_PLAIN)
            yield Text(text)
