"""What a running search shows: a live display on a terminal, one line a trial in a pipe, or JSON.

Each display is called with every event; as a context manager it sets itself up and tidies up.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from nas.errors import sanitize
from nas.searching.events import (
    EpochEnded,
    Event,
    Note,
    PlanMade,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
    to_json,
)
from nas.storage.counts import PROMOTED, count_trained
from nas.storage.trials import TRAINED, Reason, epochs_text

_BAR_WIDTH = 20


class JsonDisplay(AbstractContextManager["JsonDisplay"]):
    """One JSON object a line on standard output, and nothing else there."""

    def __call__(self, event: Event) -> None:
        print(json.dumps(to_json(event)), flush=True)

    def __exit__(self, *error: object) -> None:
        pass


class PlainDisplay(AbstractContextManager["PlainDisplay"]):
    """One plain line for each trial, for pipes and files; with `is_quiet` the summary alone."""

    def __init__(self, is_quiet: bool = False) -> None:
        self.is_quiet = is_quiet
        self._has_shown_epoch = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, SearchEnded):
            self.print(summary_text(event))
        elif self.is_quiet:
            return
        elif isinstance(event, Note):
            self.print(event.text)
        elif isinstance(event, SearchStarted):
            self.print(start_text(event))
        elif isinstance(event, PlanMade):
            self.print(plan_text(event))
        elif isinstance(event, TrialEnded):
            self.print(trial_text(event))
        elif isinstance(event, EpochEnded) and not self._has_shown_epoch:
            # The first line of a long training may be minutes away: show that it lives.
            self._has_shown_epoch = True
            metrics = event.metrics
            self.print(
                f"trial {event.trial}: first epoch took {metrics.seconds:.1f} s, "
                f"validation accuracy {metrics.valid_accuracy:.2%}"
            )

    def print(self, text: str) -> None:
        print(text, flush=True)

    def __exit__(self, *error: object) -> None:
        pass


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """The trial in work, the best so far and the counts, redrawn in place on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start: SearchStarted | None = None
        self._deadline: float | None = None
        self._running: dict[int, tuple[TrialStarted, EpochEnded | None]] = {}
        self._counts = Counter[str]()
        self._best = ""
        self._trial_seconds: list[float] = []
        # Last, for it draws at once.
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Note():
                self.console.print(Text(event.text))
            case SearchStarted():
                self.console.print(Text(start_text(event)))
                self._begin(event)
            case PlanMade():
                self.console.print(Text(plan_text(event)))
            case TrialStarted():
                self._running[event.trial] = (event, None)
                if event.continues is not None:
                    self._counts[Reason.STOPPED_BY_PRUNER] -= 1
                    self._counts[PROMOTED] += 1
            case EpochEnded():
                self._running[event.trial] = (self._running[event.trial][0], event)
            case TrialEnded():
                self._end_trial(event)
            case SearchEnded():
                self._start = None
                self._live.stop()
                self.console.print(Text(summary_text(event)))

    def _begin(self, event: SearchStarted) -> None:
        self._start = event
        self._counts.update(event.counts)
        if event.seconds_left is not None:
            self._deadline = time.monotonic() + event.seconds_left
        if event.best_accuracy is not None:
            self._best = f"{event.best_accuracy:.2%} (trial {event.best_trial})"

    def _end_trial(self, event: TrialEnded) -> None:
        self._counts[str(event.reason or TRAINED)] += 1
        self._running.pop(event.trial, None)
        if event.is_best and event.valid_accuracy is not None:
            self._best = (
                f"{event.valid_accuracy:.2%} with {event.num_params:,} parameters "
                f"(trial {event.trial})"
            )
        if event.train_seconds is not None:  # others were turned away, and are only counted
            self._trial_seconds.append(event.train_seconds)
            self.console.print(Text(trial_text(event), "bold" if event.is_best else ""))

    def _render(self) -> Group:
        if self._start is None:
            return Group()
        lines = [trial_line(*pair, self._start.max_params) for pair in self._running.values()]
        lines.append(f"best   {self._best or 'none yet'}")
        lines.append(f"trials {counts_text(self._counts)}    {self._time_left()}")
        return Group(*(Text(line, "cyan", no_wrap=True, overflow="ellipsis") for line in lines))

    def _time_left(self) -> str:
        assert self._start is not None
        guesses = []
        if self._trial_seconds:
            num_left = max(self._start.trials - count_trained(self._counts), 0)
            seconds = num_left * statistics.mean(self._trial_seconds)
            guesses.append(seconds / self._start.workers)
        if self._deadline is not None:
            guesses.append(max(self._deadline - time.monotonic(), 0))
        return f"about {duration_text(min(guesses))} left" if guesses else ""


def make_display(is_json: bool, is_quiet: bool) -> JsonDisplay | PlainDisplay | LiveDisplay:
    """The display for these options and this standard output."""
    if is_json:
        return JsonDisplay()
    console = PlainConsole()
    if is_quiet or not console.is_terminal:
        return PlainDisplay(is_quiet)
    return LiveDisplay(console)


class PlainConsole(Console):
    """Shows names as they are: neither rich nor the terminal takes them for commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(sanitize(text), **options)


def start_text(event: SearchStarted) -> str:
    verb = "new" if event.is_new else "continuing"
    text = (
        f"{verb} study {event.study}: space {event.space} on {event.dataset} "
        f"({event.num_train:,} images to train on, {event.num_valid:,} to validate), "
        f"{event.budget}, up to {event.epochs} epochs, {event.workers} at a time on {event.device}"
    )
    if not event.is_new:
        text += f"\nso far: {counts_text(Counter(event.counts))}"
    return text


def plan_text(plan: PlanMade) -> str:
    """For example `10 min: about 8 candidates, the best for 7 of 19 epochs`."""
    seconds = plan.seconds_left
    time = f"{seconds:.0f} s" if seconds < 120 else duration_text(seconds)
    if not plan.longest_epochs:
        return (
            f"{time}: too short to train anything here, where an epoch takes about "
            f"{duration_text(plan.epoch_seconds)}"
        )
    if not plan.num_candidates:
        return f"{time}: no new candidates, the best for {_epochs(plan)}"
    candidates = "candidate" if plan.num_candidates == 1 else "candidates"
    return f"{time}: about {plan.num_candidates} {candidates}, the best for {_epochs(plan)}"


def _epochs(plan: PlanMade) -> str:
    if plan.longest_epochs == plan.epochs:
        return f"all {plan.epochs} epochs"
    return epochs_text(plan.longest_epochs, plan.epochs)


def trial_line(trial: TrialStarted, epoch: EpochEnded | None, max_params: int) -> str:
    """A candidate in work, with its parameters as a bar."""
    filled = round(_BAR_WIDTH * min(trial.num_params / max_params, 1))
    bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
    number, epochs, score = 0, trial.epochs, None
    if epoch:
        number, epochs, score = epoch.metrics.epoch, epoch.epochs, epoch.metrics.valid_accuracy
    return (
        f"now    trial {trial.trial}  epoch {number}/{epochs:.2g}  {bar} {trial.num_params:,} "
        f"of {max_params:,} parameters" + (f"  {score:.2%}" if score is not None else "")
    )


def trial_text(event: TrialEnded) -> str:
    parts = [f"trial {event.trial}:"]
    if event.valid_accuracy is not None:
        parts.append(f"{event.valid_accuracy:.2%}")
    if event.num_params is not None and event.reason != Reason.OVER_BUDGET:
        parts.append(f"{event.num_params:,} parameters")
    if event.train_seconds is not None:
        parts.append(f"{event.train_seconds:.1f} s")
    if event.reason is not None:
        parts.append(f"{event.reason} ({event.detail})")
    elif event.detail:
        parts.append(event.detail)
    if event.is_best:
        parts.append("best so far")
    return "  ".join(parts)


def summary_text(event: SearchEnded) -> str:
    lines = [f"search ended: {event.why}", f"trials: {counts_text(Counter(event.counts))}"]
    if event.best_trial is None:
        lines.append("no network yet: no candidate has come to the end of a schedule")
    else:
        best = (
            f"best: trial {event.best_trial}, validation accuracy {event.best_accuracy:.2%}, "
            f"{event.best_num_params:,} parameters"
        )
        if event.best_schedule:
            best += f", trained for {event.best_schedule}"
        lines.append(best)
    return "\n".join(lines)


def counts_text(counts: Counter[str]) -> str:
    """For example `12 trained, 3 stopped by pruner, 40 over budget`."""
    order = [TRAINED, Reason.STOPPED_BY_PRUNER, PROMOTED, *Reason]
    names = sorted(
        (name for name in counts if counts[name]),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    return ", ".join(f"{counts[name]:,} {name}" for name in names) or "none yet"


def duration_text(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s" if seconds >= 0.5 else "under 1 s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
