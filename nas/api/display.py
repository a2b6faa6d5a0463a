"""Who sees the events of a call: a callback or the display; the notes of the dashboard, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import optuna

from nas.reports.annotator import Annotator
from nas.reports.live import make_display
from nas.searching.events import Callback, Event


@contextlib.contextmanager
def shown(callback: Callback | None) -> Iterator[Callback]:
    if callback is not None:
        yield callback
        return
    with make_display(False, False) as show:
        yield show


def annotated(study: optuna.Study, show: Callback) -> Callback:
    """The callback, and behind it the one that keeps the study's notes for the dashboard."""
    annotator = Annotator(study, show)

    def tell(event: Event) -> None:
        show(event)
        annotator(event)

    return tell
