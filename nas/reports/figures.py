"""Figures of a study in the JSON of Plotly, which optuna-dashboard draws on the study's page.

The dashboard brings Plotly's JavaScript: Plotly for Python, tens of megabytes, is not needed.
A figure is kept in the database, so each has few points and short numbers. Colours and grid suit
light and dark pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from nas.metrics import percent
from nas.reports.frontier import Point, pareto, points_of
from nas.reports.picture import INKS, SERIES
from nas.storage.ranking import best_trials
from nas.storage.studies import num_valid_of, study_facts
from nas.storage.trials import TrialRecord, read_trials

MOST_MARKS = 500  # of one kind, in one figure
MOST_GREY = 40  # learning curves that are not among the best
_NUM_BEST = len(SERIES)
_FINEST = 1e-5  # of an error, so that none is infinitely small
_BLUE, _ORANGE, _GREY = INKS["blue"][0], INKS["orange"][0], INKS["grey"][0]
_TEXT, _GRID = "#80868c", "rgba(128,128,128,0.25)"


@dataclass(frozen=True)
class Figure:
    """A figure as `optuna_dashboard.save_plotly_graph_object` takes one."""

    data: Sequence[dict[str, Any]]
    layout: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps({"data": list(self.data), "layout": self.layout}, separators=(",", ":"))


def figures_of(study: optuna.Study) -> dict[str, Figure]:
    """The figures of a study by the name that the dashboard keeps them under; none are empty."""
    points = points_of([study])
    records = read_trials(study)
    made = {
        "nas-accuracy": _accuracy(study, points),
        "nas-curves": _curves(study, records),
        "nas-trials": _trials(study, records),
    }
    return {name: figure for name, figure in made.items() if figure.data}


def _accuracy(study: optuna.Study, points: Sequence[Point]) -> Figure:
    """The error over parameters of every network, whole and short schedules apart."""
    best = points[:MOST_MARKS]  # the best come first
    num_valid = num_valid_of(study)
    data = [
        _marks(name, [p.num_params for p in some], [p.record for p in some], ink, size, num_valid)
        for name, ink, size, some in (
            ("short schedule", _GREY, 6, [p for p in best if p.record.is_short]),
            ("whole schedule", _BLUE, 8, [p for p in best if not p.record.is_short]),
        )
        if some
    ]
    front = pareto(best)
    if front:
        data.append({
            "type": "scatter", "mode": "lines", "name": "nothing smaller is better",
            "x": [p.num_params for p in front], "y": [_error(p.accuracy) for p in front],
            "line": {"color": _ORANGE, "width": 1.5, "shape": "hv"}, "hoverinfo": "skip",
        })  # fmt: skip
    layout = _layout("Accuracy over parameters", "parameters")
    facts = study_facts(study)
    if facts is not None and not facts.limits.is_flash_alone:
        layout["shapes"] = [{
            "type": "line", "x0": facts.budget, "x1": facts.budget, "yref": "paper", "y0": 0,
            "y1": 1, "line": {"color": _TEXT, "width": 1, "dash": "dash"},
        }]  # fmt: skip
        layout["annotations"] = [{
            "x": facts.budget, "yref": "paper", "y": 1, "text": "budget", "showarrow": False,
            "xanchor": "right", "font": {"color": _TEXT},
        }]  # fmt: skip
    return Figure(data, layout)


def _curves(study: optuna.Study, records: Sequence[TrialRecord]) -> Figure:
    """The error after each epoch: the best in colours, a sample of the others in grey."""
    num_valid = num_valid_of(study)
    best = [r for r in best_trials(study, _NUM_BEST) if r.history]
    chosen = {record.number for record in best}
    others = [r for r in records if len(r.history) > 1 and r.number not in chosen]
    grey = others[:: -(-len(others) // MOST_GREY) or 1]
    data = []
    if grey:  # one line with gaps
        rows = [row for r in grey for row in (*((m.epoch, m.valid_accuracy) for m in r.history),
                                              (None, None))]  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines", "name": "others", "hoverinfo": "skip",
            "x": [x for x, _ in rows], "y": [None if y is None else _error(y) for _, y in rows],
            "line": {"color": _GREY, "width": 1}, "opacity": 0.6,
        })  # fmt: skip
    for ink, record in reversed(list(zip(SERIES, best, strict=False))):
        data.append({
            "type": "scatter", "mode": "lines+markers",
            "name": f"trial {record.number}: {percent(record.valid_accuracy or 0, num_valid)}",
            "x": [m.epoch for m in record.history],
            "y": [_error(m.valid_accuracy) for m in record.history],
            "line": {"color": INKS[ink][0], "width": 2}, "marker": {"size": 4},
        })  # fmt: skip
    return Figure(data, _layout("Learning curves", "epoch", legend="reversed"))


def _trials(study: optuna.Study, records: Sequence[TrialRecord]) -> Figure:
    """The error of every trial by number; scores of short schedules are small and grey."""
    ended = [record for record in records if record.result is not None]
    short = [record for record in ended if record.is_short]
    whole = [record for record in ended if not record.is_short]
    short = short[:: -(-len(short) // MOST_MARKS) or 1]
    data = [
        _marks(name, [r.number for r in some], some, ink, size, num_valid_of(study))
        for name, ink, size, some in (
            ("short schedule", _GREY, 5, short), ("whole schedule", _BLUE, 8, whole[-MOST_MARKS:]),
        )
        if some
    ]  # fmt: skip
    steps: list[TrialRecord] = []
    for record in whole:
        if not steps or (record.valid_accuracy or 0) > (steps[-1].valid_accuracy or 0):
            steps.append(record)
    if len(steps) > 1:
        data.append({
            "type": "scatter", "mode": "lines", "name": "best so far", "hoverinfo": "skip",
            "x": [r.number for r in steps] + [records[-1].number],
            "y": [_error(r.valid_accuracy or 0) for r in [*steps, steps[-1]]],
            "line": {"color": _ORANGE, "width": 1.5, "shape": "hv"},
        })  # fmt: skip
    return Figure(data, _layout("Error of every trial", "trial"))


def _marks(
    name: str, x: Sequence[int], records: Sequence[TrialRecord], ink: str, size: int,
    num_valid: int | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": list(x),
        "y": [_error(r.valid_accuracy or 0) for r in records],
        "text": [
            f"trial {r.number}: {percent(r.valid_accuracy or 0, num_valid)}, "
            f"{r.num_params or 0:,} parameters, {r.last_rung.epochs:g} ep"
            for r in records
        ],
        "hoverinfo": "text",
        "marker": {"color": ink, "size": size},
    }  # fmt: skip


def _error(accuracy: float) -> float:
    return round(max(1 - accuracy, _FINEST), 6)


def _layout(title: str, across: str, legend: str = "normal") -> dict[str, Any]:
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True}
    return {
        "title": {"text": title, "x": 0.01, "xanchor": "left"}, "font": {"color": _TEXT},
        "showlegend": True,
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _GRID},
        "margin": {"l": 70, "r": 10, "t": 50, "b": 40},
        "legend": {"orientation": "h", "y": -0.2, "traceorder": legend},
        "xaxis": {**axis, "title": {"text": across}},
        "yaxis": {
            **axis, "type": "log", "tickformat": ".2~%", "dtick": "D2",
            "title": {"text": "validation error, log scale"},
        },
    }  # fmt: skip
