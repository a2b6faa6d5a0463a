"""Axes: from values to places in a picture, ticks, the frame of a plot and its legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.reports.picture import (
    SMALL,
    Area,
    Dots,
    Line,
    Picture,
    Point,
    Text,
    corners,
    shortened,
    text_width,
)

# Of each power of ten the multiples that have ticks, from few to many.
_MULTIPLES = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
_MANY = tuple(1 + i / 10 for i in range(90))


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high, at = (self._flat(v) for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def _flat(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self.is_log else value

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, at most so many, three or more where there are."""
        if not self.is_log:
            return _linear_ticks(self.low, self.high, most)
        found: list[float] = []
        for multiples in (*_MULTIPLES, _MANY):
            ticks = _log_ticks(self.low, self.high, multiples)
            if len(ticks) > most:
                return found or ticks[:: math.ceil(len(ticks) / most)]
            found = ticks
        return found


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = max(high - low, 1e-12) / max(most, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10, 20) if power * m >= rough)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, multiples: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    values = [m * 10.0**power for power in powers for m in multiples]
    return [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]


@dataclass(frozen=True)
class Entry:
    """What a mark of a plot stands for."""

    text: str
    ink: str
    shape: str = "dot"  # one of SHAPES, or ring, line, dashes


def mark_point(
    picture: Picture, shape: str, at: Point, ink: str, size: float = 5.0, opacity: float = 1.0
) -> None:
    """A mark of one of `SHAPES`, or a ring."""
    if shape in ("dot", "ring"):
        picture.add(Dots([at], ink, 2 * size, shape == "ring", opacity))
    else:
        picture.add(Area(corners(shape, at, 1.2 * size), ink, opacity))


def frame(
    picture: Picture,
    x: Scale,
    y: Scale,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    x_label: str,
    y_label: str,
) -> None:
    """Grid, ticks and names of the axes of a plot.

    The name of the vertical axis stands above the plot, where nobody has to turn the head.
    """
    top, bottom = sorted((y.start, y.end))
    picture.add(Text((8, top - 12), y_label, "muted", SMALL))
    for value in y.ticks(max(int((bottom - top) / 34), 3)):
        at = y.place(value)
        picture.add(
            Line([(x.start, at), (x.end, at)], "grid", 1),
            Text((x.start - 8, at + 4), y_text(value), "muted", SMALL, "end"),
        )
    free = -math.inf
    longest = max(text_width(x_text(value), SMALL) for value in (x.low, x.high))
    for value in x.ticks(max(int(abs(x.end - x.start) / (longest + 24)), 3)):
        at, text = x.place(value), x_text(value)
        half = text_width(text, SMALL) / 2
        picture.add(Line([(at, bottom), (at, bottom + 4)], "muted", 1))
        if at - half > free and at + half <= picture.width:
            picture.add(Text((at, bottom + 18), text, "muted", SMALL, "middle"))
            free = at + half + 6
    picture.add(
        Line([(x.start, bottom), (x.end, bottom)], "muted", 1),
        Text(((x.start + x.end) / 2, bottom + 36), x_label, "muted", SMALL, "middle"),
    )


def legend(picture: Picture, entries: Sequence[Entry], top: float) -> float:
    """What the marks stand for, in as many lines as it takes; returns where it ends."""
    left, at = 8.0, top
    for entry in entries:
        text = shortened(entry.text, picture.width - 40, SMALL)
        width = 24 + text_width(text, SMALL) + 14
        if left > 8 and left + width - 14 > picture.width:
            left, at = 8.0, at + 18
        middle = (left + 8, at - 4)
        if entry.shape in ("line", "dashes"):
            ends = [(left, middle[1]), (left + 17, middle[1])]
            picture.add(Line(ends, entry.ink, 2.5, entry.shape == "dashes"))
        else:
            mark_point(picture, entry.shape, middle, entry.ink, 4.5)
        picture.add(Text((left + 23, at), text, "text", SMALL))
        left += width
    return at + 10


def percent(share: float) -> str:
    """For example `0.5 %`, with as many digits as it has."""
    return f"{100 * share:.6g} %"


def thousands(value: float) -> str:
    return f"{value:,.0f}"
