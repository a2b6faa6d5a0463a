"""How long a running search is likely to go on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nas.searching.estimate import epochs_left
from nas.searching.events import EpochProgress
from nas.searching.pace import StepClock
from nas.training.messages import StepsDone
from tests.fakes import FakePool, fixed_space


def test_left_is_what_the_rungs_still_ask_for():
    assert epochs_left((10,), 5, 1) == 50
    assert epochs_left((10,), 5, 1, longest=[10, 10]) == 30
    assert epochs_left((10,), 5, 1, longest=[10, 10], in_work=4) == 26
    assert epochs_left((10,), 2, 2, longest=[10], in_work=4) == 6  # the other worker is idle
    assert epochs_left((10,), 2, 2, longest=[10, 10, 10]) == 0


def test_who_ended_a_longer_schedule_needs_no_shorter_one():
    rungs = (1, 4, 19)
    new = epochs_left(rungs, 16, 1)
    assert new == 16 * 1 + 4 * 4 + 3 * 19
    assert epochs_left(rungs, 16, 1, longest=[19]) == new - 1 - 4 - 19
    assert epochs_left(rungs, 16, 1, longest=[1, 1]) == new - 2


def test_clock_leaves_out_the_first_steps(monkeypatch):
    now = iter([5.0, 6.0, 8.0])  # the first took long
    monkeypatch.setattr("nas.searching.pace.time.monotonic", lambda: next(now))
    clock = StepClock()
    clock.heard(0.01)
    assert clock.epoch_seconds is None
    clock.heard(0.11)
    assert clock.epoch_seconds == pytest.approx(10)
    clock.heard(0.31)
    assert clock.epoch_seconds == pytest.approx(10)
    assert clock.epochs == 0.31


class TalkingPool(FakePool):
    """It says in the middle of each epoch that it is there."""

    def wait(self, timeout_seconds):
        messages = super().wait(timeout_seconds)
        return [
            said
            for message in messages
            for said in (StepsDone(message.number, 0.5), message)
        ]  # fmt: skip


@pytest.fixture
def pool():
    return TalkingPool()


def test_search_says_how_much_time_is_left(make_search):
    search = make_search(fixed_space(5), trials=3)
    search.run()
    told = [event for event in search.events if isinstance(event, EpochProgress)]
    assert told[0].seconds_left is None  # nothing is measured yet
    seconds = [event.seconds_left for event in told[1:]]
    assert all(earlier >= later for earlier, later in pairwise(seconds))
    assert 0 <= seconds[-1] < seconds[0]
    assert {event.epochs for event in told} == {3}
