"""Frontier: how accurate the networks of several studies are for their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from nas.storage.ranking import best_trials
from nas.storage.trials import TrialRecord

WIDTH, HEIGHT = 64, 12  # characters of the drawing


@dataclass(frozen=True)
class Point:
    """A trained network of one of the studies."""

    study: str
    record: TrialRecord

    @property
    def num_params(self) -> int:
        return self.record.num_params or 0

    @property
    def accuracy(self) -> float:
        return self.record.valid_accuracy or 0.0


def points_of(studies: Sequence[optuna.Study]) -> list[Point]:
    """Every network that was trained to its end."""
    return [Point(study.study_name, record) for study in studies for record in best_trials(study)]


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


def drawing(points: Sequence[Point]) -> str:
    """Accuracy over size, sizes in equal ratios; `o` is on the frontier, `.` is behind it.

    Both are drawn as errors, in equal ratios too, so that 99.0 and 99.5 % do not fall into one.
    """
    front = pareto(points)
    # What is far worse than the frontier would squeeze the rest into a line.
    shown = [p for p in points if p.accuracy >= front[0].accuracy]
    finest = 1e-5
    sizes = [math.log(max(p.num_params, 1)) for p in shown]
    errors = [math.log(max(1 - p.accuracy, finest)) for p in shown]
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for mark, chosen in ((".", shown), ("o", front)):
        for p in chosen:
            size, error = math.log(max(p.num_params, 1)), math.log(max(1 - p.accuracy, finest))
            rows[_place(error, errors, HEIGHT)][_place(size, sizes, WIDTH)] = mark
    best = max(p.accuracy for p in shown)
    labels = {0: f"{best:.2%}", HEIGHT - 1: f"{min(p.accuracy for p in shown):.2%}"}
    lines = [f"{labels.get(i, ''):>8} |{''.join(row).rstrip()}" for i, row in enumerate(rows)]
    low, high = (f"{f(p.num_params for p in shown):,}" for f in (min, max))
    axis = f"{'':>8} +{'-' * WIDTH}"
    return "\n".join([*lines, axis, f"{'':>10}{low}{high:>{WIDTH - len(low)}} parameters"])


def _place(value: float, values: Sequence[float], length: int) -> int:
    low, high = min(values), max(values)
    return round((value - low) / (high - low) * (length - 1)) if high > low else 0
