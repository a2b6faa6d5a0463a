"""Notes and figures that are written into a study."""

from __future__ import annotations

import json
import shutil
import threading

import optuna
import optuna_dashboard
import pytest
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from nas.errors import StorageFailedError
from nas.reports import annotator
from nas.reports.annotator import WRITING, Annotator, annotate, annotate_all
from nas.reports.figures import figures_of
from nas.reports.notes import STUDY_HEADING, TRIAL_HEADING, study_note
from nas.searching.events import Note, SearchEnded, TrialEnded
from nas.storage.database import open_storage
from nas.storage.internals import ended_trial, set_study_system_attr, study_system_attr
from nas.storage.ranking import best_trials
from nas.storage.studies import open_study
from tests.certification.test_records import make_run
from tests.reports.studies import make_study

ENDED = SearchEnded("s", None, "", {}, None, None, None)
TRIAL_ENDED = TrialEnded(0, None, "", 1, 0.5, 1.0, False)


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path}/s.db", create=True)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The file of a study of 14 trials."""
    path = tmp_path_factory.mktemp("study") / "s.db"
    storage = open_storage(f"sqlite:///{path}", create=True)
    make_study(14, storage=storage)
    storage.engine.dispose()
    return path


@pytest.fixture
def study(database, tmp_path):
    shutil.copy(database, tmp_path)
    return open_study(open_storage(f"sqlite:///{tmp_path}/s.db", create=True), "s")


def trial_note(study, number):
    return optuna_dashboard.get_note(ended_trial(study, number))


def figures(study):
    attrs = study._storage.get_study_system_attrs(study._study_id)
    return {name: json.loads(text) for name, text in get_plotly_graph_objects(attrs).items()}


def test_study_its_ten_best_trials_and_figures_are_annotated_once(study):
    before = study.get_trials()
    assert annotate(study) == 1 + 10 + 3
    assert annotate(study) == 0
    assert optuna_dashboard.get_note(study) == study_note(study)
    best = [record.number for record in best_trials(study, 10)]
    for trial in study.get_trials():
        assert bool(trial_note(study, trial.number)) == (trial.number in best)
    assert figures(study) == {
        name: json.loads(figure.to_json()) for name, figure in figures_of(study).items()
    }
    assert study.get_trials() == before  # nothing was written into a trial


def test_what_people_wrote_above_is_kept(study):
    best = best_trials(study, 1)[0].number
    optuna_dashboard.save_note(study, "Mine.\n\n## Certificates\n\nof an older version")
    optuna_dashboard.save_note(ended_trial(study, best), "Look here.")
    for _ in range(2):
        annotate(study)
        note = optuna_dashboard.get_note(study)
        assert note.startswith(f"Mine.\n\n{STUDY_HEADING}\n\n")
        assert "older version" not in note
        assert trial_note(study, best).startswith(f"Look here.\n\n{TRIAL_HEADING}")


def test_note_from_before_with_tables_alone_gives_way(study):
    from nas.certification.records import record_run

    record_run(study, make_run(trial=0, is_right=[True]))
    annotate(study)
    title = optuna_dashboard.get_note(study).partition("## Certificates\n\n")[2].splitlines()[0]
    optuna_dashboard.save_note(study, f"{title}\n\n| trial |")
    annotate(study)
    assert optuna_dashboard.get_note(study) == study_note(study)


def test_figures_follow_a_study_that_grows(storage):
    study = make_study(3, storage=storage)
    annotate(study)
    more = make_study(9, storage=storage)  # goes on in the study of that name
    assert annotate(more) > 2
    drawn = figures(more)["nas-trials"]["data"]
    assert sum(len(trace["x"]) for trace in drawn if trace["mode"] == "markers") == 12


def test_studies_of_other_programs_are_left_alone_and_damaged_ones_named(storage, monkeypatch):
    other = optuna.create_study(study_name="other", storage=storage)
    other.tell(other.ask(), 1.0)
    study = make_study(2, storage=storage)
    assert annotate(other) == 0
    assert annotate_all(storage) == []
    assert optuna_dashboard.get_note(other) == ""
    assert optuna_dashboard.get_note(study)

    def fail(study):
        raise ValueError("damaged")

    monkeypatch.setattr(annotator, "study_note", fail)
    assert annotate_all(storage) == ["no new notes in study s: ValueError: damaged"]
    assert study_system_attr(study, WRITING)[0] == ""  # others may write again


def test_of_several_processes_one_writes_at_a_time(study, monkeypatch):
    inside, most = [], []
    original = annotator._write

    def write(study):
        inside.append(1)
        most.append(len(inside))
        try:
            return original(study)
        finally:
            inside.pop()

    monkeypatch.setattr(annotator, "_write", write)
    threads = [threading.Thread(target=annotate, args=(study, 60.0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
    assert optuna_dashboard.get_note(study) == study_note(study)


def test_process_that_died_while_writing_is_waited_for_no_longer(study, monkeypatch):
    set_study_system_attr(study, WRITING, ["dead", annotator.time.time()])
    assert annotate(study, patience=0.0) == 0
    monkeypatch.setattr(annotator, "CLAIM_SECONDS", 0.0)
    assert annotate(study, patience=0.0) > 0


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(annotator.time, "monotonic", lambda: self.now)


@pytest.fixture
def written(monkeypatch):
    """The studies that `annotate` was called for."""
    calls = []
    monkeypatch.setattr(annotator, "annotate", lambda study, patience=5.0: calls.append(study))
    return calls


def test_running_search_is_annotated_rarely_and_at_its_end(study, monkeypatch, written):
    clock = Clock(monkeypatch)
    tell = Annotator(study, print)
    for seconds, count in ((0, 0), (59, 0), (1, 1), (1, 1), (298, 1), (2, 2)):
        clock.now += seconds
        tell(TRIAL_ENDED)
        assert len(written) == count
    tell(ENDED)
    assert len(written) == 3


def test_slow_notes_come_more_rarely(study, monkeypatch):
    clock = Clock(monkeypatch)
    calls = []

    def annotate_slowly(study, patience):
        calls.append(clock.now)
        clock.now += 10

    monkeypatch.setattr(annotator, "annotate", annotate_slowly)
    tell = Annotator(study, print)
    while clock.now < 10_000:
        clock.now += 50
        tell(TRIAL_ENDED)
    assert len(calls) <= 10_000 * annotator.MOST_SHARE / 10 + 1


def test_what_another_process_has_annotated_meanwhile_is_not_done_again(
    study, monkeypatch, written
):
    clock = Clock(monkeypatch)
    tell = Annotator(study, print)
    set_study_system_attr(study, WRITING, ["", 12.0])
    clock.now += 61
    tell(TRIAL_ENDED)
    assert written == []
    clock.now += 301
    tell(TRIAL_ENDED)
    assert len(written) == 1


def test_fault_of_a_note_is_said_once_and_ends_no_search(study, monkeypatch):
    def fail(study, patience=5.0):
        raise StorageFailedError("gone")

    monkeypatch.setattr(annotator, "annotate", fail)
    said = []
    tell = Annotator(study, said.append)
    tell(ENDED)
    tell(ENDED)
    assert said == [Note("no notes for the dashboard: StorageFailedError: gone")]
