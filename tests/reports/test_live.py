"""What a search prints, in each of its forms."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from nas.metrics import EpochMetrics, Speed
from nas.reports.lines import counts_text, duration_text, first_speed_text
from nas.reports.live import JsonDisplay, LiveDisplay, PlainDisplay, make_display
from nas.searching.events import (
    CertifyProgress,
    EpochEnded,
    EpochProgress,
    Note,
    PlanMade,
    ScheduleEnded,
    SearchEnded,
    SearchStarted,
    SpeedMeasured,
    TrialEnded,
    TrialStarted,
)
from nas.storage.counts import count_trained
from nas.storage.reasons import Reason

STARTED = SearchStarted(
    "s", "blocks", "digits", 1369, 124, "cpu", 1, 20000, "fewer than 20,000 of some", 3, 19,
    {}, None, None, 60.0, 0.113,
)  # fmt: skip
STORY = [
    Note("a note with [brackets]"),
    STARTED,
    TrialEnded(0, Reason.OVER_BUDGET, "too many", 25000, None, None, False),
    TrialStarted(1, 12345, 10**6, 19, "sgd 0.1"),
    EpochProgress(1, 0.4, 19, 50.0),
    EpochEnded(1, EpochMetrics(1, 0.5, 0.4, 0.91, 2.5), 19),
    SpeedMeasured(1, "cpu, eager engine, fp32", 2, Speed(1.4e10, 1e11)),
    EpochEnded(1, EpochMetrics(2, 0.4, 0.3, 0.93, 2.5), 19),
    TrialEnded(1, None, "", 12345, 0.93, 5.0, True),
    SearchEnded("s", None, "done", {"trained": 1, "over budget": 1}, 1, 0.93, 12345),
]


SPEED = (
    "engine: cpu, eager engine, fp32, 2 workers of 1 thread; the first epoch reached 14% of the "
    "peak of a wide convolution here"
)


def test_small_share_of_the_peak_is_no_zero():
    small = SpeedMeasured(1, "cuda (NVIDIA H200), graph engine, bf16", 4, Speed(2.34e7, 1e11))
    assert first_speed_text(small) == (
        "engine: cuda (NVIDIA H200), graph engine, bf16, 4 workers; the first epoch reached "
        "0.023% of the peak of a wide convolution here"
    )


def tell(display):
    with display:
        for event in STORY:
            display(event)


def test_json_display_prints_one_object_a_line_and_nothing_else(capsys):
    tell(JsonDisplay())
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [e["event"] for e in events] == [
        "note", "search_started", "trial_ended", "trial_started", "epoch_ended", "speed_measured",
        "epoch_ended", "trial_ended", "search_ended",
    ]  # fmt: skip
    assert events[4]["metrics"]["valid_accuracy"] == 0.91
    assert events[5]["speed"] == {"flops_per_second": 1.4e10, "peak": 1e11}
    assert events[2]["reason"] == "over budget"
    assert err == ""


def test_plain_display_prints_one_line_a_trial(capsys):
    tell(PlainDisplay())
    lines = capsys.readouterr().out.splitlines()
    trials = [line for line in lines if line.startswith("trial ") and "first epoch" not in line]
    assert len(trials) == 2
    assert trials[0] == "trial 0:  over budget (too many)"
    assert "93.0%" in trials[1]
    assert "12,345 parameters" in trials[1]
    assert "best so far" in trials[1]
    assert sum("first epoch took" in line for line in lines) == 1
    assert SPEED in lines
    assert "a note with [brackets]" in lines
    assert "\x1b" not in "".join(lines)


def test_start_says_what_a_network_may_cost(capsys):
    for display in (JsonDisplay(), PlainDisplay()):
        display(STARTED)
        assert "fewer than 20,000 of some" in capsys.readouterr().out


def test_duplicate_is_shown_with_the_score_it_was_told_with_and_is_never_the_best(capsys):
    display = PlainDisplay()
    display(STARTED)
    capsys.readouterr()
    display(TrialEnded(3, Reason.DUPLICATE, "trial 1 is the same", 12345, 0.93, None, False))
    line = capsys.readouterr().out.rstrip()
    assert line == "trial 3:  93.0%  12,345 parameters  duplicate (trial 1 is the same)"


def test_quiet_display_prints_the_summary_alone(capsys):
    tell(PlainDisplay(is_quiet=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "search ended: done"
    assert lines[1] == "trials: 1 trained, 1 over budget"
    assert lines[2].startswith(
        "best: trial 1, validation accuracy 93.0% (largest class 11%), 12,345 parameters"
    )


def test_live_display_shows_trial_budget_best_counts_and_time_left():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, markup=False, highlight=False)
    display = LiveDisplay(console)
    with display:
        for event in STORY[:-2]:
            display(event)
        with console.capture() as capture:
            console.print(display._render())
        frame = capture.get()
        for event in STORY[-2:]:
            display(event)
    for words in (
        "trial 1", "epoch 2.0/19", "12,345 of 20,000", "93.0%", "0 of 3 trained", "1 over budget",
        "left",
    ):  # fmt: skip
        assert words in frame
    text = out.getvalue()
    assert "best so far" in text
    assert "search ended: done" in text
    assert "too many" not in text  # rejected proposals are only counted


def test_live_display_counts_a_candidate_that_was_promoted_once():
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True, width=100))
    stopped = TrialEnded(1, Reason.STOPPED_BY_PRUNER, "weak", 12345, 0.9, 5.0, False)
    with display:
        for event in (*STORY[:4], stopped, replace(STORY[3], trial=2, continues=1)):
            display(event)
        assert display._counts == {"over budget": 1, "stopped by pruner": 0, "promoted": 1}
        display(replace(STORY[-2], trial=2))
    assert count_trained(display._counts) == 1


def screen(width, *events):
    """What the display draws after these events."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    display = LiveDisplay(console)
    for event in events:
        display(event)
    with console.capture() as capture:
        console.print(display._render())
    return capture.get()


MNIST = replace(STARTED, dataset="mnist", num_valid=5_000, trials=50, seconds_left=None)
MOMENTS = {
    "inside the first epoch": [
        MNIST, replace(STORY[3], trial=0, num_params=19_964, epochs=1),
        EpochProgress(0, 0.4, 1, 1_234.0),
    ],
    "two at a time, one in a part of an epoch, after a first rung": [
        MNIST, replace(STORY[3], trial=22, num_params=19_964, epochs=1),
        EpochEnded(22, EpochMetrics(1, 0.5, 0.4, 0.9812, 30.0), 1),
        ScheduleEnded(22, 1, 0.9812, 19_964, True),
        EpochProgress(22, 0.2, 4, None),
        replace(STORY[3], trial=23, num_params=9_964, epochs=0.27),
        EpochProgress(23, 0.13, 0.27, 7_300.0),
        *(TrialEnded(n, Reason.STOPPED_BY_PRUNER, "", 9, 0.9, None, False) for n in range(50, 61)),
        *(TrialEnded(n, Reason.OVER_BUDGET, "", 9, None, None, False) for n in range(200, 240)),
    ],
    "a certification": [
        CertifyProgress(22, "seed 3/5", 4.2, 19, 7, 20, 3_000.0),
        CertifyProgress(17, "seed 4/5", 0.3, 19, 7, 20, 3_000.0),
        CertifyProgress(9, "seed 2/5", 19, 19, 7, 20, 3_000.0),
    ],
}  # fmt: skip


def test_line_of_a_training_is_folded_between_its_parts():
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, force_terminal=True, width=40, color_system=None))
    with display:
        display(STARTED)
        display(TrialEnded(0, None, "", 5691, 0.992, 23.2, True))
    assert "trial 0:  99.2%  5,691 parameters\n23.2 s  best so far\n" in out.getvalue()


def test_live_display_on_terminals_of_several_widths(golden, monkeypatch):
    monkeypatch.setattr("nas.reports.live.time.monotonic", lambda: 0.0)
    parts = []
    for width in (120, 80, 40):
        for name, events in MOMENTS.items():
            drawn = screen(width, *events)
            assert max(len(line) for line in drawn.splitlines()) <= width
            assert "…" not in drawn
            parts.append(f"{name}, {width} columns\n\n{drawn}\n")
    golden("live", "".join(parts))


def test_display_follows_the_options_and_the_terminal(monkeypatch):
    assert isinstance(make_display(True, False), JsonDisplay)
    assert isinstance(make_display(False, True), PlainDisplay)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(make_display(False, False), LiveDisplay)


def test_search_without_a_network_says_so(capsys):
    PlainDisplay()(SearchEnded("s", None, "the end", {"time limit": 1}, None, None, None))
    assert "no network yet" in capsys.readouterr().out


def test_summary_says_how_long_the_best_was_trained_where_that_was_short(capsys):
    PlainDisplay()(SearchEnded("s", None, "the end", {}, 3, 0.9912, 900, "7 of 19 epochs"))
    assert capsys.readouterr().out.splitlines()[-1] == (
        "best: trial 3, validation accuracy 99.12%, 900 parameters, trained for 7 of 19 epochs"
    )


@pytest.mark.parametrize(
    ("num_candidates", "longest", "text"),
    [
        (8, 7, "10 min: about 8 candidates, the best for 7 of 19 epochs"),
        (1, 19, "10 min: about 1 candidate, the best for all 19 epochs"),
        (2, 0.2666, "10 min: about 2 candidates, the best for 0.27 of 19 epochs"),
        (0, 19, "10 min: no new candidates, the best for all 19 epochs"),
        (0, 0, "10 min: too short to train anything here, where an epoch takes about 2 min"),
    ],
)
def test_plan_is_one_sentence(capsys, num_candidates, longest, text):
    PlainDisplay()(PlanMade(600.0, num_candidates, longest, 19, 120.0, 60.0))
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under 1 s"),
        (0.49, "under 1 s"),
        (0.51, "1 s"),
        (5, "5 s"),
        (120, "2 min"),
        (5000, "83 min"),
        (7200, "2.0 h"),
    ],
)
def test_durations_are_short(seconds, text):
    assert duration_text(seconds) == text


def test_counts_keep_their_order_and_leave_out_zeros():
    counts = Counter({"unfinished": 1, "over budget": 3, "trained": 2, "diverged": 0})
    assert counts_text(counts) == "2 trained, 3 over budget, 1 unfinished"
    counts = Counter({"promoted": 1, "invalid": 1, "trained": 2, "stopped by pruner": 4})
    assert counts_text(counts) == ("2 trained, 4 stopped by pruner, 1 promoted, 1 invalid")
    assert counts_text(Counter()) == "none yet"
