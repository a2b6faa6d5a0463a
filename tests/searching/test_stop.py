"""Signals and time limits set a flag; a second signal acts at once."""

from __future__ import annotations

import os
import signal

import pytest

from nas.searching.stop import StopRequest
from nas.storage.reasons import Reason


def test_nothing_asks_to_stop_at_first():
    with StopRequest() as stop:
        assert not stop()
        assert stop.reason is None
        assert stop.exit_code == 0
        assert stop.seconds_left is None


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_first_signal_sets_a_flag_and_raises_nothing(name, code):
    with StopRequest() as stop:
        os.kill(os.getpid(), getattr(signal, name))
        assert stop()
        assert stop.reason == Reason.INTERRUPTED
        assert stop.exit_code == code


def test_second_interrupt_raises_at_once():
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_time_limit_is_a_reason_once_it_has_passed(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("nas.searching.stop.time.monotonic", lambda: now[0])
    stop = StopRequest(60)
    now[0] += 59
    assert not stop()
    assert stop.seconds_left == 1
    now[0] += 1
    assert stop.reason == Reason.TIME_LIMIT
    assert stop.exit_code == 0
    assert stop.seconds_left == 0


def test_time_left_is_allotted_in_equal_parts(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("nas.searching.stop.time.monotonic", lambda: now[0])
    stop = StopRequest(60)
    stop.allot(3)
    assert (stop.timeout_seconds, stop.seconds_left) == (20, 20)
    now[0] += 20
    assert stop()
    stop.allot(2)
    assert (stop.timeout_seconds, stop.seconds_left) == (20, 20)
    now[0] += 4  # what one part leaves is shared by those after it
    stop.allot(1)
    assert (stop.timeout_seconds, stop.seconds_left) == (36, 36)
    now[0] += 36
    assert stop()


def test_without_a_limit_there_is_nothing_to_allot():
    stop = StopRequest()
    stop.allot(3)
    assert stop.seconds_left is None
    assert not stop()
