"""Scales and ticks."""

from __future__ import annotations

import pytest

from nas.reports.axes import Entry, Scale, legend, percent
from nas.reports.picture import SMALL, Picture, Text, text_width


def test_values_are_placed_in_equal_steps_or_ratios():
    assert Scale(0, 10, 100, 200).place(5) == 150
    assert Scale(1, 100, 0, 200, is_log=True).place(10) == pytest.approx(100)
    assert Scale(0, 10, 100, 200).place(99) == 200  # never outside
    assert Scale(3, 3, 0, 10).place(3) == 5


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize(
    ("low", "high"),
    [(0.003, 0.3), (1, 19), (12_000, 20_000), (0.0101, 0.0103), (1e-5, 1), (5, 5)],
)
def test_ticks_are_within_the_scale_and_not_too_many(low, high, is_log):
    ticks = Scale(low, high, 0, 100, is_log).ticks(6)
    assert len(ticks) <= 7
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_are_round():
    assert Scale(1, 19, 0, 100).ticks(6) == [5, 10, 15]
    assert Scale(0.004, 0.3, 0, 100, True).ticks(9) == pytest.approx(
        [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    )


def test_percents_have_the_digits_they_need():
    assert [percent(v) for v in (0.5, 0.005, 1 - 0.0038)] == ["50 %", "0.5 %", "99.62 %"]


@pytest.mark.parametrize("width", [340, 720])
def test_legend_stays_within_the_picture(width):
    picture = Picture("t", width)
    entries = [Entry(f"a name of some length {i}", "blue") for i in range(9)]
    end = legend(picture, [*entries, Entry(200 * "x", "blue", "line")], 10)
    texts = [mark for mark in picture.marks if isinstance(mark, Text)]
    assert len(texts) == 10
    assert all(t.at[0] + text_width(t.text, SMALL) <= width for t in texts)
    assert end > texts[-1].at[1]
