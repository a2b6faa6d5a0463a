"""Pictures as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from nas.reports.picture import (
    HEAD,
    INKS,
    SHAPES,
    Area,
    Dots,
    Line,
    Picture,
    Text,
    corners,
    shortened,
    text_width,
)


@pytest.fixture
def picture():
    made = Picture("A & B", 100, 50, "two <marks>")
    made.add(Line([(0, 0), (10.25, 5)], "blue"), Area([(0, 0), (1, 0), (1, 1)], "green", 0.5))
    made.add(Dots([(1, 2), (1, 2), (3, 4)], "grey"), Dots([(5, 5)], "text", is_ring=True))
    made.add(Text((4, 8), "<script>", has_halo=True))
    return made


def test_picture_is_well_formed_and_says_what_it_shows(picture):
    root = ElementTree.fromstring(picture.svg())
    assert root.get("role") == "img"
    assert root.get("aria-label") == "A & B. two <marks>"
    assert root.get("viewBox") == f"0 {-HEAD} 100 {50 + HEAD}"
    assert "<script>" not in picture.svg()


def test_inline_picture_takes_its_colours_from_the_page(picture):
    text = picture.svg(is_inline=True)
    assert 'viewBox="0 0 100 50"' in text
    assert 'class="line-blue"' in text
    assert 'class="fill-text halo"' in text
    assert "xmlns" not in text


def test_dots_on_one_spot_are_drawn_once(picture):
    assert picture.svg().count("M1 2h0") == 1


def test_colours_are_told_apart_on_their_paper():
    """Contrast of at least 3, which WCAG asks of graphics, and 4.5 of text."""
    for place in (0, 1):
        for name in ("text", "muted", "blue", "orange", "green", "purple", "yellow"):
            least = 4.5 if name in ("text", "muted") else 3
            assert contrast(INKS[name][place], INKS["paper"][place]) >= least, (name, place)


def contrast(first, second):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_corners_lie_around_the_middle(shape):
    points = corners(shape, (10, 10), 4)
    assert len(points) == (3 if shape == "triangle" else 4)
    assert all(((x - 10) ** 2 + (y - 10) ** 2) ** 0.5 == pytest.approx(4) for x, y in points)


def test_text_is_cut_to_its_room():
    assert shortened("short", 100) == "short"
    cut = shortened("a very long name of a class", 60)
    assert cut.endswith("…")
    assert text_width(cut) <= 60
    assert text_width("猫猫") > text_width("ii")
