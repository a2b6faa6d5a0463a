"""Frontier: how accurate networks are for their size, and learning curves, as characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from nas.metrics import percent
from nas.reports.sketch import MOST_COLUMNS, Marks, sketch
from nas.storage.ranking import best_trials
from nas.storage.studies import num_valid_of
from nas.storage.trials import TrialRecord

WIDTH, HEIGHT = MOST_COLUMNS, 12  # columns of the whole drawing, lines inside the frame
_FINEST = 1e-5  # of an error, so that none is infinitely small
_LETTERS = "abc"


@dataclass(frozen=True)
class Point:
    """A trained network of one of the studies."""

    study: str
    record: TrialRecord
    num_valid: int | None = None  # images that it was validated on

    @property
    def num_params(self) -> int:
        return self.record.num_params or 0

    @property
    def accuracy(self) -> float:
        return self.record.valid_accuracy or 0.0


def points_of(studies: Sequence[optuna.Study]) -> list[Point]:
    """Every network that was trained to its end."""
    points: list[Point] = []
    for study in studies:
        name, num_valid = study.study_name, num_valid_of(study)  # each look is a query
        points += (Point(name, record, num_valid) for record in best_trials(study))
    return points


def best_under(points: Sequence[Point], budget: int) -> Point | None:
    """The best that has fewer parameters than a budget, from whichever study."""
    fitting = [point for point in points if point.num_params < budget]
    return min(fitting, key=lambda point: (-point.accuracy, point.num_params), default=None)


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no smaller or equal one is as accurate as, the smallest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.num_params, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def drawing(points: Sequence[Point], width: int = WIDTH, num_images: int | None = None) -> str:
    """Accuracy over size, sizes in equal ratios; `●` is on the frontier, `·` is behind it.

    Both are drawn as errors, in equal ratios too, so that 99.0 and 99.5 % do not fall into one.
    """
    front = pareto(points)
    # What is far worse than the frontier would squeeze the rest into a line.
    shown = [p for p in points if p.accuracy >= front[0].accuracy]
    far, ahead = (
        [(float(p.num_params), max(1 - p.accuracy, _FINEST)) for p in some]
        for some in (shown, front)
    )
    plot = sketch(
        [Marks("·", far), Marks("●", ahead)], width, HEIGHT, is_x_log=True, x_name="parameters",
        x_text=lambda size: f"{size:,.0f}", y_text=lambda error: percent(1 - error, num_images),
        smallest_on_top=True,
    )  # fmt: skip
    names = ["● none smaller is as accurate"] + ["· others"] * (len(shown) > len(front))
    return "\n".join([plot, *(f"{'':>10}{line}" for line in _lines(names, width - 10))])


def curves_drawing(
    records: Sequence[TrialRecord], width: int = WIDTH, num_images: int | None = None
) -> str:
    """The validation error after each epoch: the first trials as letters, the others as dots."""
    trained = [record for record in records if record.history]
    best, others = trained[: len(_LETTERS)], trained[len(_LETTERS) :]

    def points(record: TrialRecord) -> list[tuple[float, float]]:
        return [(float(m.epoch), max(1 - m.valid_accuracy, _FINEST)) for m in record.history]

    marks = [Marks("·", [point for record in others for point in points(record)])]
    letters = list(zip(_LETTERS, best, strict=False))
    marks += [Marks(letter, points(record)) for letter, record in reversed(letters)]
    plot = sketch(
        marks, width, HEIGHT, is_x_log=False, x_name="epoch", x_text=lambda epoch: f"{epoch:.0f}",
        y_text=lambda error: percent(error, num_images), smallest_on_top=False,
    )  # fmt: skip
    names = [f"{letter} trial {record.number}" for letter, record in letters]
    names += ["· others"] * bool(others)
    return "\n".join([plot, *(f"{'':>10}{line}" for line in _lines(names, width - 10))])


def _lines(names: Sequence[str], width: int) -> list[str]:
    """Names side by side, in as many lines as it takes."""
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + 2 + len(name) > width:
            lines.append("")
        lines[-1] += f"  {name}" if lines[-1] else name
    return lines
