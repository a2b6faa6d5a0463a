"""Frontier and learning curves of plain characters."""

from __future__ import annotations

import pytest
from rich.console import Console

from nas.reports.console import PlainConsole
from nas.reports.frontier import curves_drawing, drawing, points_of
from nas.reports.sketch import Drawn
from nas.reports.tables import leaderboard
from nas.storage.ranking import best_trials
from tests.reports.studies import make_study


@pytest.fixture(scope="module")
def study():
    return make_study(30, stop=0.5)


@pytest.mark.parametrize("width", [80, 40])
def test_drawings_of_a_study_fit_the_terminal(study, width, golden):
    text = drawing(points_of([study]), width) + "\n\n" + curves_drawing(best_trials(study), width)
    assert max(map(len, text.splitlines())) <= width
    golden(f"drawings-{width}", text + "\n")


def shown(console, report):
    with console.capture() as capture:
        console.print(report)
    return capture.get()


def test_leaderboard_is_drawn_on_a_terminal_alone(study):
    report = leaderboard(study, 3)
    terminal = PlainConsole(width=80, force_terminal=True, no_color=True)
    assert "validation error over epochs" in shown(terminal, report)
    assert "●" in shown(terminal, report)
    assert "accuracy over parameters" not in shown(PlainConsole(width=80), report)


def test_characters_are_ascii_where_the_terminal_has_no_others(study):
    class Ascii(Console):
        encoding = "ascii"

    text = shown(Ascii(width=80, force_terminal=True), Drawn(lambda w: drawing(points_of([study]))))
    assert text.isascii()
    assert "o" in text
    assert "|" in text


def test_one_point_is_not_drawn():
    terminal = PlainConsole(width=80, force_terminal=True)
    assert "accuracy over" not in shown(terminal, leaderboard(make_study(1, stop=1), 3))
