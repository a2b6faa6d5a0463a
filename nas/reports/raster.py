"""Raster: a picture as PNG, on light paper."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from nas.errors import NasError
from nas.reports.picture import HEAD, INKS, Area, Dots, Line, Picture, Point, Text

SCALE = 2  # pixels of the file for each of the picture: sharp on today's screens
_FINER = 2  # and as many more while drawing: Pillow draws edges without shades
_DASH, _GAP = 5.0, 4.0

# Of many letters, on Linux, Windows and macOS. Pillow's own has no more than English needs.
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "arial.ttf",
          "Arial.ttf")  # fmt: skip


def png(picture: Picture) -> bytes:
    """The picture as the bytes of a PNG file.

    Raises:
        NasError: a text in it has characters that the font lacks.
    """
    zoom = SCALE * _FINER
    size = (round(picture.width * zoom), round((picture.height + HEAD) * zoom))
    image = Image.new("RGB", size, INKS["paper"][0])
    for mark in picture.marks:
        if not isinstance(mark, Text):
            _draw(image, mark, zoom)
    image = image.resize((size[0] // _FINER, size[1] // _FINER), Image.Resampling.BOX)
    for mark in (picture.head, *picture.marks):
        if isinstance(mark, Text):
            _write(image, mark)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw(image: Image.Image, mark: Line | Area | Dots, zoom: int) -> None:
    colour = INKS[mark.ink][0]
    points = [(x * zoom, (y + HEAD) * zoom) for x, y in mark.points]
    if not points:
        return
    if mark.opacity < 1:  # drawn on a layer of its own
        layer = image.copy()
        _stroke(ImageDraw.Draw(layer), mark, points, colour, zoom)
        image.paste(Image.blend(image, layer, mark.opacity))
    else:
        _stroke(ImageDraw.Draw(image), mark, points, colour, zoom)


def _stroke(
    draw: ImageDraw.ImageDraw, mark: Line | Area | Dots, points: list[Point], colour: str, zoom: int
) -> None:
    if isinstance(mark, Area):
        draw.polygon(points, fill=colour)
    elif isinstance(mark, Line):
        width = max(round(mark.width * zoom), 1)
        for part in _dashes(points, zoom) if mark.is_dashed else [points]:
            draw.line(part, fill=colour, width=width, joint="curve")
    else:
        r = mark.size / 2 * zoom
        for x, y in dict.fromkeys(points):
            box = (x - r, y - r, x + r, y + r)
            if mark.is_ring:
                draw.ellipse(box, outline=colour, width=round(1.5 * zoom))
            else:
                draw.ellipse(box, fill=colour)


def _dashes(points: list[Point], zoom: int) -> list[list[Point]]:
    """The dashes of a line."""
    parts: list[list[Point]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        at = 0.0
        while at < length:
            ends = (at / length, min((at + _DASH * zoom) / length, 1))
            parts.append([(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in ends])
            at += (_DASH + _GAP) * zoom
    return parts


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _write(image: Image.Image, mark: Text) -> None:
    letters = _font(mark.size * SCALE)
    missing = bytes(letters.getmask("\uffff"))
    lacking = [c for c in mark.text if not c.isspace() and bytes(letters.getmask(c)) == missing]
    if lacking:
        raise NasError(
            f"the font of PNG pictures has no {lacking[0]!r}, which stands in {mark.text[:40]!r}: "
            "give a name that ends in .svg"
        )
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
    at = (mark.at[0] * SCALE, (mark.at[1] + HEAD) * SCALE)
    ImageDraw.Draw(image).text(
        at, mark.text, fill=INKS[mark.ink][0], font=letters, anchor=anchor,
        stroke_width=SCALE if mark.has_halo else 0, stroke_fill=INKS["paper"][0],
    )  # fmt: skip
