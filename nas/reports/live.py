"""What a running search or certification shows: a live display on a terminal, one line a training
in a pipe, or JSON.

Each display is called with every event; as a context manager it sets itself up and tidies up.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from nas.errors import sanitize, substitute
from nas.metrics import percent
from nas.reports.console import PlainConsole
from nas.reports.lines import (
    counts_parts,
    duration_text,
    epoch_text,
    first_speed_text,
    plan_text,
    start_text,
    summary_text,
    trial_text,
)
from nas.searching.events import (
    CertifyProgress,
    EpochEnded,
    EpochProgress,
    Event,
    Note,
    PlanMade,
    ScheduleEnded,
    SearchEnded,
    SearchStarted,
    SpeedMeasured,
    TrialEnded,
    TrialStarted,
    to_json,
)
from nas.storage.counts import PROMOTED, count_trained
from nas.storage.reasons import TRAINED, Reason
from nas.storage.trials import epochs_number


class JsonDisplay(AbstractContextManager["JsonDisplay"]):
    """One JSON object a line on standard output, and nothing else there."""

    def __call__(self, event: Event) -> None:
        if not isinstance(event, EpochProgress | CertifyProgress):  # of which there are too many
            print(json.dumps(to_json(event)), flush=True)

    def __exit__(self, *error: object) -> None:
        pass


class PlainDisplay(AbstractContextManager["PlainDisplay"]):
    """One plain line for each training, for pipes and files; with `is_quiet` the summary alone."""

    def __init__(self, is_quiet: bool = False) -> None:
        self.is_quiet = is_quiet
        self._start: SearchStarted | None = None
        self._has_shown_epoch = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, SearchStarted):
            self._start = event
        if isinstance(event, SearchEnded):
            self.print(summary_text(event, self._start))
        elif not self.is_quiet:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        num_valid = self._start.num_valid if self._start else None
        match event:
            case Note():
                self.print(event.text)
            case SearchStarted():
                self.print(start_text(event))
            case PlanMade():
                self.print(plan_text(event))
            case TrialEnded():
                self.print(trial_text(event, num_valid))
            case EpochEnded() if not self._has_shown_epoch:
                self._has_shown_epoch = True
                self.print(epoch_text(event, num_valid))
            case SpeedMeasured():
                self.print(first_speed_text(event))

    def print(self, text: str) -> None:
        print(substitute(sanitize(text), sys.stdout.encoding), flush=True)

    def __exit__(self, *error: object) -> None:
        pass


@dataclass
class _Training:
    """What is known of a training in work."""

    name: str  # `trial 3`, or `trial 3, seed 1/5`
    epochs: float  # of its schedule
    num_params: int | None = None
    done: float = 0.0  # epochs
    score: float | None = None  # after the last epoch that has ended


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """The trainings in work, the best so far, counts and the time left, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start: SearchStarted | None = None
        self._certify: CertifyProgress | None = None
        self._end: float | None = None  # when all is likely to be over, by the monotonic clock
        self._running: dict[object, _Training] = {}
        self._counts = Counter[str]()
        self._best: list[str] = []
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
        self._stop()

    def _stop(self) -> None:
        self._start = self._certify = None
        self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Note():
                self._print(event.text)
            case SearchStarted():
                self._print(start_text(event))
                self._begin(event)
            case PlanMade():
                self._print(plan_text(event))
            case TrialStarted():
                name = f"trial {event.trial}"
                self._running[event.trial] = _Training(name, event.epochs, event.num_params)
                if event.continues is not None:
                    self._counts[Reason.STOPPED_BY_PRUNER] -= 1
                    self._counts[PROMOTED] += 1
            case EpochProgress():
                self._go_on(event.trial, event.epochs_done, event.epochs)
                self._foresee(event.seconds_left)
            case EpochEnded():
                done = min(event.metrics.epoch, event.epochs)
                self._go_on(event.trial, done, event.epochs, event.metrics.valid_accuracy)
            case SpeedMeasured():
                self._print(first_speed_text(event))
            case ScheduleEnded():
                if event.is_best:
                    self._note_best(event.trial, event.valid_accuracy, event.num_params)
            case TrialEnded():
                self._end_trial(event)
            case CertifyProgress():
                self._certify_on(event)
            case SearchEnded():
                start = self._start
                self._stop()
                self._print(summary_text(event, start))

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(Text(sanitize(text), style))

    def _begin(self, event: SearchStarted) -> None:
        self._start = event
        self._counts.update(event.counts)
        self._foresee(event.seconds_left)
        if event.best_accuracy is not None and event.best_trial is not None:
            self._note_best(event.best_trial, event.best_accuracy, None)

    def _foresee(self, seconds_left: float | None) -> None:
        if seconds_left is not None:
            self._end = time.monotonic() + seconds_left

    def _go_on(self, trial: int, done: float, epochs: float, score: float | None = None) -> None:
        if (training := self._running.get(trial)) is not None:
            training.done, training.epochs = done, epochs
            training.score = training.score if score is None else score

    def _note_best(self, trial: int, accuracy: float, num_params: int | None) -> None:
        self._best = [self._percent(accuracy), f"trial {trial}"]
        if num_params is not None:
            self._best.append(f"{num_params:,} parameters")

    def _end_trial(self, event: TrialEnded) -> None:
        self._counts[str(event.reason or TRAINED)] += 1
        self._running.pop(event.trial, None)
        if event.is_best and event.valid_accuracy is not None:
            self._note_best(event.trial, event.valid_accuracy, event.num_params)
        if event.train_seconds is not None:  # others were turned away, and are only counted
            num_valid = self._start.num_valid if self._start else None
            text = folded(self.console.width, trial_text(event, num_valid))
            self._print(text, "bold" if event.is_best else "")

    def _certify_on(self, event: CertifyProgress) -> None:
        self._certify = event
        self._foresee(event.seconds_left)
        key = event.trial, event.run
        if event.has_ended:
            self._running.pop(key, None)
        else:
            name = f"trial {event.trial}, {event.run}"
            self._running[key] = _Training(name, event.epochs, done=event.epochs_done)

    def _percent(self, accuracy: float) -> str:
        return percent(accuracy, self._start.num_valid if self._start else None)

    def _render(self) -> Group:
        if self._start is None and self._certify is None:
            return Group()
        width = self.console.width
        lines = [
            fitted(width, "now    " + each.name, *self._parts(each))
            for each in list(self._running.values())  # another thread draws
        ]
        if self._certify is not None:
            done = f"done   {self._certify.num_ended} of {self._certify.num_trainings} trainings"
            lines.append(fitted(width, done, self._time_left()))
        if self._start is not None:
            best = self._best or ["none yet"]
            lines.append(fitted(width, f"best   {best[0]}", *best[1:]))
            trained = f"trials {count_trained(self._counts)} of {self._start.trials} trained"
            others = counts_parts(Counter({n: c for n, c in self._counts.items() if n != TRAINED}))
            lines.append(fitted(width, trained, self._time_left(), *others))
        return Group(*(Text(line, "cyan", no_wrap=True, overflow="ellipsis") for line in lines))

    def _parts(self, training: _Training) -> list[str]:
        done = f"{training.done:.2f}" if training.epochs < 1 else f"{training.done:.1f}"
        parts = [f"epoch {done}/{epochs_number(training.epochs)}"]
        if training.score is not None:
            parts.append(self._percent(training.score))
        if training.num_params is not None and self._start is not None:
            most = self._start.max_params
            of = "" if most is None else f" of {most:,}"
            parts.append(f"{training.num_params:,}{of} parameters")
        return parts

    def _time_left(self) -> str:
        if self._end is None:
            return ""
        return f"{duration_text(max(self._end - time.monotonic(), 0))} left"


def fitted(width: int, *parts: str) -> str:
    """As many of the parts as a line has room for, the first in any case.

    >>> fitted(20, "trial 3", "epoch 2/19", "99.1%")
    'trial 3  epoch 2/19'
    """
    line, *others = [part for part in parts if part]
    for part in others:
        if len(line) + 2 + len(part) > width:
            break
        line += f"  {part}"
    return line


def folded(width: int, text: str) -> str:
    """The text in lines of that width, as far as it goes folded where two spaces stand.

    >>> folded(20, "trial 3:  99.1%  2,970 parameters  22.0 s")
    'trial 3:  99.1%\\n2,970 parameters\\n22.0 s'
    """
    line, *others = text.split("  ")
    lines = [line]
    for part in others:
        if len(lines[-1]) + 2 + len(part) > width:
            lines.append(part)
        else:
            lines[-1] += f"  {part}"
    return "\n".join(lines)


def make_display(is_json: bool, is_quiet: bool) -> JsonDisplay | PlainDisplay | LiveDisplay:
    """The display for these options and this standard output."""
    if is_json:
        return JsonDisplay()
    console = PlainConsole()
    if is_quiet or not console.is_terminal:
        return PlainDisplay(is_quiet)
    return LiveDisplay(console)
