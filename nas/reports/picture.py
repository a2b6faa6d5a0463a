"""Picture: marks on a canvas, as SVG.

Pictures are drawn by ourselves and not by matplotlib or plotly: a page of SVG is some dozens of
kilobytes, its text stays text, its colours follow light and dark, and nothing has to be installed.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape

from PIL import ImageFont

Point = tuple[float, float]

# The colours of Okabe and Ito ("Color Universal Design", 2008), which everybody can tell apart, and
# greys; on light paper and on dark paper.
INKS = {
    "text": ("#1d2126", "#e6e8ea"),
    "muted": ("#5c636b", "#a3abb3"),
    "grey": ("#a9b0b7", "#626a73"),
    "grid": ("#e4e7ea", "#2c3238"),
    "paper": ("#ffffff", "#16191d"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#d55e00", "#e69f00"),
    "green": ("#009e73", "#2fc79b"),
    "purple": ("#b0558a", "#cc79a7"),
    "yellow": ("#9a8700", "#f0e442"),
}
SERIES = ("blue", "orange", "green", "purple", "yellow")
SHAPES = ("dot", "square", "diamond", "triangle")

TEXT_SIZE, SMALL = 13.0, 11.0
HEAD = 30  # pixels above a picture that stands by itself


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: Sequence[Point]
    ink: str
    width: float = 1.5
    is_dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Sequence[Point]
    ink: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Dots:
    """Round dots of one size, filled or as rings."""

    points: Sequence[Point]
    ink: str
    size: float = 5.0
    is_ring: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """A line of text; `anchor` says which of its ends `at` is: start, middle or end."""

    at: Point
    text: str
    ink: str = "text"
    size: float = TEXT_SIZE
    anchor: str = "start"
    has_halo: bool = False  # of paper, so that it can be read across lines


Mark = Line | Area | Dots | Text


@dataclass
class Picture:
    """A drawing, and what to say of it to those who cannot see it.

    Coordinates are pixels from the upper left corner.
    """

    title: str
    width: float
    height: float = 0.0
    description: str = ""
    caption: str = ""  # what stands beneath it in a page
    marks: list[Mark] = field(default_factory=list)

    def add(self, *marks: Mark) -> None:
        self.marks += marks

    def rect(
        self, left: float, top: float, width: float, height: float, ink: str, opacity: float = 1.0
    ) -> None:
        right, bottom = left + width, top + height
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.add(Area(corners, ink, opacity))

    @property
    def head(self) -> Text:
        """The title, which stands above a picture that is not in a page."""
        return Text((8, 16 - HEAD), shortened(self.title, self.width - 16, 15), size=15)

    def svg(self, is_inline: bool = False) -> str:
        """The picture as SVG.

        Args:
            is_inline: for a page whose style sheet gives the inks their colours; else it stands by
                itself, on light paper.
        """
        top = 0 if is_inline else -HEAD
        width, height = _number(self.width), _number(self.height - top)
        name = "" if is_inline else ' xmlns="http://www.w3.org/2000/svg"'
        lines = [
            f'<svg{name} viewBox="0 {top} {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(f"{self.title}. {self.description}")}" '
            'font-family="system-ui, Helvetica, Arial, sans-serif">',
        ]
        if not is_inline:
            paper = INKS["paper"][0]
            lines.append(f'<rect y="{top}" width="100%" height="100%" fill="{paper}"/>')
            lines.append(_element(self.head))
        lines += [_element(mark) for mark in self.marks]
        return "\n".join([*lines, "</svg>"])


def corners(shape: str, center: Point, size: float) -> list[Point]:
    """The corners of a mark of one of `SHAPES` other than a dot."""
    count, turn = {"square": (4, 0.25), "diamond": (4, 0.0), "triangle": (3, 0.0)}[shape]
    angles = [2 * math.pi * (turn / 2 + i / count) for i in range(count)]
    return [(center[0] + size * math.sin(a), center[1] - size * math.cos(a)) for a in angles]


@cache
def _measure(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings along: a picture has the same layout on every machine."""
    return ImageFont.load_default(size)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Pixels that a text takes, with a little to spare: browsers have fonts of their own."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    narrow = "".join(c for c in text if unicodedata.east_asian_width(c) not in "WF")
    return 1.15 * _measure(size).getlength(narrow) + size * wide


def shortened(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """The text, cut with an ellipsis where it is wider than that."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def _element(mark: Mark) -> str:
    if isinstance(mark, Text):
        anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
        halo = ""
        if mark.has_halo:
            paper = INKS["paper"][0]
            halo = f' paint-order="stroke" stroke-width="3" stroke="{paper}"'
        return (
            f'<text x="{_number(mark.at[0])}" y="{_number(mark.at[1])}" '
            f'font-size="{_number(mark.size)}"{anchor}{halo}'
            f"{_fill(mark.ink, ' halo' if halo else '')}>{escape(mark.text)}</text>"
        )
    opacity = "" if mark.opacity == 1 else f' opacity="{mark.opacity:.2f}"'
    if isinstance(mark, Area):
        return f'<path d="{_path(mark.points)}z"{_fill(mark.ink)}{opacity}/>'
    if isinstance(mark, Line):
        dashes = ' stroke-dasharray="5 4"' if mark.is_dashed else ""
        return (
            f'<path d="{_path(mark.points)}" fill="none"{_stroke(mark.ink, mark.width)}'
            f'{dashes} stroke-linejoin="round"{opacity}/>'
        )
    # Those that fall on one spot are drawn once: of thousands many do.
    spots = dict.fromkeys((_number(x), _number(y)) for x, y in mark.points)
    if mark.is_ring:
        r = mark.size / 2
        rings = "".join(f"M{x} {y}m{-r:g} 0a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 "
                        f"{-2 * r:g} 0" for x, y in spots)  # fmt: skip
        return f'<path d="{rings}" fill="none"{_stroke(mark.ink, 1.5)}{opacity}/>'
    dots = "".join(f"M{x} {y}h0" for x, y in spots)
    return (
        f'<path d="{dots}" fill="none" stroke-linecap="round"{_stroke(mark.ink, mark.size)}'
        f"{opacity}/>"
    )


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _fill(ink: str, more: str = "") -> str:
    return f' class="fill-{ink}{more}" fill="{INKS[ink][0]}"'


def _stroke(ink: str, width: float) -> str:
    return f' class="line-{ink}" stroke="{INKS[ink][0]}" stroke-width="{_number(width)}"'


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
