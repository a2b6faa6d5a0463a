"""Annotator: writes notes and figures into a study, for optuna-dashboard.

All of them stand in the study, none in a trial: a trial that has ended cannot be changed, and one
that is in work belongs to the search. They are written at the end of a search, and now and then
while it runs; of several processes one writes at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator

import optuna
import optuna_dashboard
from optuna.storages import BaseStorage

from nas.errors import one_line
from nas.reports.certificates import certificate_tables
from nas.reports.figures import figures_of
from nas.reports.notes import (
    CERTIFICATES_HEADING,
    NUM_BEST,
    STUDY_HEADING,
    TRIAL_HEADING,
    study_note,
    trial_note,
)
from nas.searching.events import Callback, Event, Note, SearchEnded, SearchStarted, TrialEnded
from nas.storage.internals import ended_trial, set_study_system_attr, study_system_attr
from nas.storage.ranking import best_trials
from nas.storage.studies import num_valid_of, study_facts, study_names

FIRST_SECONDS = 60.0  # after which a running search gets its first notes
PAUSE_SECONDS = 300.0  # between two of them, at least
MOST_SHARE = 0.005  # of the time of a search that may go into them
CLAIM_SECONDS = 60.0  # after which a process that was writing is taken for dead
_SETTLE_SECONDS = 0.05  # in which another process that claims at the same moment is seen

WRITING = "nas:annotating"  # a system attribute: who writes, or "", and since when
FIGURES = "nas:figures"  # a system attribute: what the figures were drawn from


def annotate(study: optuna.Study, patience: float = 5.0) -> int:
    """Bring the notes and figures of a study up to date; returns how many were written.

    What is written already is left alone, and so is what people wrote above a note's heading, and
    every study that is not of nas.

    Args:
        patience: seconds to wait for another process that writes just now; then it is left to that.
    """
    if study_facts(study) is None:
        return 0
    with _claim(study, patience) as is_mine:
        return _write(study) if is_mine else 0


def annotate_all(storage: BaseStorage) -> list[str]:
    """The same for every study of a storage; returns why it failed where it did, in a line each."""
    faults = (try_to_annotate(storage, name) for name in study_names(storage))
    return [fault for fault in faults if fault is not None]


def try_to_annotate(storage: BaseStorage, name: str) -> str | None:
    """The same for one of them: nothing else is to end by it."""
    try:
        annotate(optuna.load_study(study_name=name, storage=storage))
    except Exception as error:  # a damaged study, a read-only file
        return f"no new notes in study {name}: {one_line(error)[:200]}"
    return None


class Annotator:
    """A callback of a search that keeps its study annotated.

    Neither a fault nor the time it takes ends or slows the search: a fault is said once.

    Args:
        study: that is searched in.
        say: told of a fault.
    """

    def __init__(self, study: optuna.Study, say: Callback) -> None:
        self.study = study
        self.say = say
        self._due = time.monotonic() + FIRST_SECONDS
        self._seen: object = None  # what `WRITING` was when this process looked last
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        is_end = isinstance(event, SearchEnded)
        try:
            if isinstance(event, SearchStarted):
                self._seen = study_system_attr(self.study, WRITING)
            elif is_end:
                annotate(self.study)
            elif isinstance(event, TrialEnded) and time.monotonic() >= self._due:
                self._annotate_now()
        except Exception as error:
            self._due = time.monotonic() + PAUSE_SECONDS
            if not self._has_failed:
                self._has_failed = True
                self.say(Note(f"no notes for the dashboard: {one_line(error)[:200]}"))

    def _annotate_now(self) -> None:
        started = time.monotonic()
        if study_system_attr(self.study, WRITING) == self._seen:  # no other process did meanwhile
            annotate(self.study, patience=0.0)
        self._seen = study_system_attr(self.study, WRITING)
        now = time.monotonic()
        self._due = now + max(PAUSE_SECONDS, (now - started) / MOST_SHARE)


def _write(study: optuna.Study) -> int:
    num_written = 0
    # Older notes have certificates alone, some without a heading.
    titles = [page.title for page in certificate_tables(study)]
    headings = (STUDY_HEADING, CERTIFICATES_HEADING, *titles)
    num_written += _save(study, study_note(study), headings)
    num_valid = num_valid_of(study)
    for record in best_trials(study, NUM_BEST):
        if record.state.is_finished() and record.candidate is not None:
            trial = ended_trial(study, record.number)
            num_written += _save(trial, trial_note(record, num_valid), (TRIAL_HEADING,))
    figures = figures_of(study)
    texts = {name: figure.to_json() for name, figure in figures.items()}
    before = study_system_attr(study, FIGURES) or {}
    hashes = {name: _digest(text) for name, text in texts.items()}
    for name, figure in figures.items():
        if hashes[name] != before.get(name):
            optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=name)
            num_written += 1
    if hashes != before:
        set_study_system_attr(study, FIGURES, hashes)
    return num_written


def _save(
    study_or_trial: optuna.Study | optuna.Trial, text: str, headings: tuple[str, ...]
) -> bool:
    """Put a text into a note, from the first of these headings on; returns whether it is new."""
    before = optuna_dashboard.get_note(study_or_trial)
    places = [place for place in map(before.find, headings) if place >= 0]
    above = before[: min(places, default=len(before))].rstrip()
    after = f"{above}\n\n{text}" if above else text
    if after == before:
        return False
    optuna_dashboard.save_note(study_or_trial, after)
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _claim(study: optuna.Study, patience: float) -> Iterator[bool]:
    """Whether this process alone writes now: a note of two would be a mixture of both."""
    me, deadline = secrets.token_hex(8), time.monotonic() + patience
    while not (is_mine := _try_claim(study, me)) and time.monotonic() < deadline:
        time.sleep(5 * _SETTLE_SECONDS)
    try:
        yield is_mine
    finally:
        if is_mine:
            set_study_system_attr(study, WRITING, ["", time.time()])


def _try_claim(study: optuna.Study, me: str) -> bool:
    who, since = study_system_attr(study, WRITING) or ("", 0.0)
    if who and abs(time.time() - since) < CLAIM_SECONDS:
        return False
    set_study_system_attr(study, WRITING, [me, time.time()])
    time.sleep(_SETTLE_SECONDS)
    return bool(study_system_attr(study, WRITING)[0] == me)
