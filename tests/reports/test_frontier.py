"""The best under a budget, the frontier, and its drawing."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.trial import TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.reports.frontier import HEIGHT, WIDTH, Point, best_under, drawing, pareto, points_of
from nas.reports.tables import ladder_report, print_report
from nas.storage.reasons import Reason
from nas.storage.trials import Rung, TrialRecord, record_rejection
from tests.fakes import add_trial


def point(num_params, accuracy, study="s", number=0):
    record = TrialRecord(
        number=number, state=TrialState.COMPLETE, valid_accuracy=accuracy, reason=None, detail="",
        params={}, num_params=num_params, num_macs=None, spec=None, fingerprint=None, seed=None,
        epochs=None, history=(), rungs=(),
        result=Rung(19, 1 - accuracy, accuracy, 1.0), continues=None, train_seconds=None,
        device=None, versions={},
    )  # fmt: skip
    return Point(study, record)


def sizes(points):
    return [(p.num_params, p.accuracy) for p in points]


@pytest.fixture
def cloud():
    rng = random.Random(0)
    return [point(rng.randint(100, 20_000), round(rng.uniform(0.5, 1), 3)) for _ in range(200)]


# Points


def network(width):
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(4)]
    return Candidate(Architecture((1, 8, 8), layers), Recipe(epochs=1))


def test_points_are_the_full_trainings_of_all_studies():
    first, second = (optuna.create_study(study_name=n, direction="maximize") for n in "ab")
    add_trial(first, network(1), 0.5)
    add_trial(first, network(2), 0.6)
    add_trial(second, network(3), 0.7)
    trial = first.ask()
    record_rejection(trial, Reason.DUPLICATE, "trial 0 is the same", 17)
    first.tell(trial, 0.5)
    stopped = second.ask()
    stopped.report(0.9, 1)
    record_rejection(stopped, Reason.STOPPED_BY_PRUNER, "", 17)
    second.tell(stopped, state=TrialState.PRUNED)
    points = points_of([first, second])
    assert [(p.study, p.record.number, p.num_params, p.accuracy) for p in points] == [
        ("a", 1, 30, 0.6), ("a", 0, 17, 0.5), ("b", 0, 43, 0.7),
    ]  # fmt: skip
    assert points_of([]) == []


# Best under a budget


def test_best_has_fewer_parameters_than_the_budget_and_not_as_many():
    points = [point(999, 0.7), point(1000, 0.8), point(1001, 0.9)]
    assert best_under(points, 1000) == points[0]
    assert best_under(points, 1001) == points[1]
    assert best_under(points, 999) is None
    assert best_under([], 1000) is None


def test_best_comes_from_whichever_study_and_may_be_far_smaller_than_the_budget():
    points = [point(900, 0.7, "1k"), point(4000, 0.9, "5k"), point(9000, 0.8, "10k")]
    assert best_under(points, 10_000).study == "5k"


def test_of_two_as_accurate_the_smaller_is_the_best():
    points = [point(900, 0.8), point(800, 0.8), point(850, 0.8)]
    assert best_under(points, 1000).num_params == 800


# Frontier


def test_frontier_is_what_no_smaller_or_equal_network_is_as_accurate_as(cloud):
    front = pareto(cloud)
    expected = {
        (p.num_params, p.accuracy)
        for p in cloud
        if not any(
            q.num_params <= p.num_params
            and q.accuracy >= p.accuracy
            and (q.num_params, q.accuracy) != (p.num_params, p.accuracy)
            for q in cloud
        )
    }
    assert set(sizes(front)) == expected
    assert len(front) == len(expected)
    assert sizes(front) == sorted(sizes(front))
    assert [p.accuracy for p in front] == sorted(p.accuracy for p in front)


def test_equal_points_stand_on_the_frontier_once():
    assert sizes(pareto([point(10, 0.5), point(10, 0.5), point(20, 0.5)])) == [(10, 0.5)]
    assert sizes(pareto([point(10, 0.4), point(10, 0.5)])) == [(10, 0.5)]
    assert pareto([]) == []


# Drawing


INSIDE = WIDTH - 10  # columns


def rows_of(text):
    lines = text.splitlines()
    assert len(lines) == HEIGHT + 3
    return [line[10:] for line in lines[:HEIGHT]]


@pytest.mark.parametrize(
    "points",
    [
        [point(100, 0.5)],
        [point(100, 0.5), point(100, 0.5)],
        [point(100, 1.0)],
        [point(100, 1.0), point(200, 1.0)],
        [point(100, 0.0)],
        [point(100, 0.0), point(200, 1.0)],
        [point(100, 0.5), point(200, 0.5)],
        [point(100, 0.5), point(100, 0.7)],
        [point(1, 0.1), point(999_999_999, 0.99999)],
        [point(0, 0.1), point(10, 0.2)],
    ],
    ids=lambda points: str(sizes(points)),
)
def test_any_points_can_be_drawn(points):
    rows = rows_of(drawing(points))
    assert any("●" in row for row in rows)
    assert all(len(row) <= INSIDE for row in rows)


def test_every_point_of_the_frontier_is_drawn_even_where_others_lie_over_it(cloud):
    front = [point(1000 * 2**i, 1 - 0.2 * 0.6**i) for i in range(8)]
    behind = [point(p.num_params + 1, p.accuracy - 1e-6) for p in front]
    rows = rows_of(drawing([*behind, *front, *behind]))
    assert sum(row.count("●") for row in rows) == 8
    marks = {
        (row, column) for row, text in enumerate(rows) for column, c in enumerate(text) if c == "●"
    }
    # In equal ratios the steps are equal.
    assert [column for _, column in sorted(marks, key=lambda m: m[1])] == [
        round((INSIDE - 1) * i / 7) for i in range(8)
    ]
    assert sorted((row for row, _ in marks), reverse=True) == [
        round((HEIGHT - 1) * (7 - i) / 7) for i in range(8)
    ]


def test_points_behind_the_frontier_are_dots():
    rows = rows_of(drawing([point(100, 0.5), point(1000, 0.9), point(1000, 0.7)]))
    assert sorted("".join(rows).replace(" ", "")) == ["·", "●", "●"]


def test_more_accurate_is_higher_and_larger_is_further_right():
    rows = rows_of(drawing([point(100, 0.5), point(1000, 0.9)]))
    assert rows[0] == " " * (INSIDE - 1) + "●"
    assert rows[HEIGHT - 1] == "●"


def test_what_is_less_accurate_than_all_of_the_frontier_is_left_out():
    shown = [point(100, 0.9), point(1000, 0.95)]
    assert drawing([*shown, point(500, 0.1)]) == drawing(shown)


def test_drawing_is_labelled_with_the_ends_of_both_axes():
    lines = drawing([point(1234, 0.9), point(98_765, 0.9876)]).splitlines()
    assert lines[0].startswith("  98.76% │")
    assert lines[HEIGHT - 1].startswith("  90.00% │")
    ends = lines[-2]
    assert (ends[:15].strip(), ends.split()[1], ends.split()[-1]) == (
        "1,234",
        "parameters",
        "98,765",
    )
    assert len(ends) == WIDTH
    assert lines[-3] == f"{'':9}└{'─' * INSIDE}"


# Report


def test_ladder_report_gives_the_best_under_each_budget_and_the_drawing(capsys):
    points = [point(900, 0.7, "one", 3), point(2500, 0.9, "three", 5), point(4500, 0.8, "five", 7)]
    print_report(ladder_report(points, [500, 1000, 3000, 5000]))
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["500", "-", "-", "-", "-", "-"] in rows
    assert ["1,000", "70.00%", "900", "19", "3", "one"] in rows
    assert ["3,000", "90.00%", "2,500", "19", "5", "three"] in rows
    assert ["5,000", "90.00%", "2,500", "19", "5", "three"] in rows
    assert drawing(points).splitlines()[0] in out


def test_ladder_report_without_a_network_says_so(capsys):
    print_report(ladder_report([], [1000]))
    assert capsys.readouterr().out == (
        "no network yet: no candidate has come to the end of a schedule\n"
    )
