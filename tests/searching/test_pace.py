"""How fast candidates train, by what was measured."""

from __future__ import annotations

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.searching.pace import REMEMBERED, Pace


def make(width):
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(4)]
    return Candidate(Architecture((1, 8, 8), layers), Recipe())


SMALL, LARGE, HUGE = make(2), make(8), make(64)


def test_nothing_is_known_before_anything_was_measured():
    assert Pace(100).image_seconds is None
    assert Pace(100).of(SMALL) is None


def test_validation_counts_as_a_third_of_training():
    pace = Pace(num_valid=300)
    pace.add(SMALL, 900, seconds=2.0)
    assert pace.of(SMALL) == pytest.approx(2.0 / 1000)


def test_candidate_that_was_measured_has_its_own_last_figure():
    pace = Pace(0)
    pace.add(SMALL, 100, 1.0)
    pace.add(LARGE, 100, 3.0)
    pace.add(SMALL, 100, 2.0)
    assert pace.of(SMALL) == pytest.approx(0.02)
    assert pace.image_seconds == pytest.approx(0.02)


def test_other_candidates_go_by_their_multiply_accumulates():
    pace = Pace(0)
    pace.add(LARGE, 100, 1.0)
    share = HUGE.architecture.num_macs / LARGE.architecture.num_macs
    assert pace.of(HUGE) == pytest.approx(0.01 * share)
    assert pace.of(SMALL) == pytest.approx(0.005)  # half of the usual is the least


def test_machine_that_has_become_slower_is_judged_by_the_last_epochs():
    pace = Pace(0)
    for seconds in (1.0, 5.0):
        for _ in range(REMEMBERED):
            pace.add(LARGE, 100, seconds)
    assert pace.image_seconds == pytest.approx(0.05)


def test_clock_that_saw_no_time_pass_says_nothing():
    pace = Pace(0)
    pace.add(SMALL, 100, 0.0)
    assert pace.image_seconds is None
