"""Pictures as PNG."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from nas.errors import NasError
from nas.reports.picture import HEAD, INKS, Area, Dots, Line, Picture, Text
from nas.reports.raster import SCALE, png


def opened(picture):
    return Image.open(io.BytesIO(png(picture))).convert("RGB")


def at(image, x, y):
    return "#{:02x}{:02x}{:02x}".format(*image.getpixel((x * SCALE, (y + HEAD) * SCALE)))


def test_marks_are_where_they_belong():
    picture = Picture("t", 80, 60)
    picture.rect(0, 0, 20, 20, "blue")
    picture.add(Dots([(50, 10)], "green", 12), Dots([(70, 10)], "green", 12, is_ring=True))
    picture.add(Line([(0, 40), (80, 40)], "orange", 4))
    image = opened(picture)
    assert image.size == (80 * SCALE, (60 + HEAD) * SCALE)
    assert at(image, 10, 10) == INKS["blue"][0]
    assert at(image, 50, 10) == INKS["green"][0]
    assert at(image, 70, 10) == INKS["paper"][0]
    assert at(image, 40, 40) == INKS["orange"][0]
    assert at(image, 40, 55) == INKS["paper"][0]


def test_dashes_have_gaps():
    picture = Picture("t", 100, 20)
    picture.add(Line([(0, 10), (100, 10)], "orange", 4, is_dashed=True))
    colours = {at(opened(picture), x, 10) for x in range(1, 99)}
    assert {INKS["orange"][0], INKS["paper"][0]} <= colours


def test_opacity_mixes_with_what_is_there():
    picture = Picture("t", 20, 20)
    picture.add(Area([(0, 0), (20, 0), (20, 20), (0, 20)], "text", 0.5))
    assert at(opened(picture), 10, 10) not in (INKS["text"][0], INKS["paper"][0])


def test_character_that_the_font_lacks_is_refused_with_what_helps():
    picture = Picture("t", 20, 20)
    picture.add(Text((0, 10), "\u1b86"))
    with pytest.raises(NasError, match=r"ends in \.svg"):
        png(picture)
