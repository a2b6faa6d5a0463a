"""Tables of a study and of all studies."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState
from rich.console import Console

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Flatten, Linear
from nas.candidates.recipe import Recipe
from nas.certification.records import Protocol, record_decision, record_opening, record_run
from nas.reports.tables import (
    certificate_report,
    leaderboard,
    print_report,
    studies_table,
)
from nas.reports.trial_page import trial_page
from nas.storage.ranking import best_trials
from nas.storage.reasons import Reason
from nas.storage.studies import open_or_create_study
from nas.storage.trials import read_trials, record_reason, record_rejection, record_training
from tests.certification.test_records import CLOSED, make_run
from tests.fakes import add_trial
from tests.reports.studies import make_study
from tests.storage.test_studies import DATA, FACTS

CANDIDATE = Candidate(Architecture((1, 8, 8), [Flatten(), Linear(4)]), Recipe())


def text_of(report):
    console = Console(width=160, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(report)
    return capture.get()


@pytest.fixture
def study(make_search, pool):
    search = make_search(trials=4)
    search.run()
    return search.ledger.study


def test_leaderboard_lists_the_best_first_and_counts_all(study):
    text = text_of(leaderboard(study, 3))
    rows = [line.split() for line in text.splitlines() if line[:1].isdigit()]
    assert len(rows) == 3
    scores = [float(row[1].rstrip("%")) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert "4 trained" in text
    assert "over budget" in text


def test_leaderboard_says_what_the_time_went_into():
    study = optuna.create_study(direction="maximize")
    for seconds, reason in ((90.0, None), (30.0, Reason.STOPPED_BY_PRUNER), (None, Reason.LOST)):
        trial = study.ask()
        if seconds:
            record_training(trial, [], seconds)
        if reason:
            record_reason(trial, reason, "")
        state = TrialState.COMPLETE if reason is None else TrialState.PRUNED
        study.tell(trial, 0.5 if reason is None else None, state)
    text = text_of(leaderboard(study, 3))
    assert "time spent training: 2 min: 2 min trained (75%), 30 s stopped by pruner (25%)\n" in text


def test_study_without_a_winner_says_so():
    study = optuna.create_study()
    study.ask()
    assert "has no trained network yet" in text_of(leaderboard(study, 10))


def test_leaderboard_says_what_a_network_may_cost():
    facts = replace(FACTS, max_weight_bytes=9_000, bits=8)
    study = open_or_create_study(optuna.storages.InMemoryStorage(), "s", facts, DATA, "text")
    head = text_of(leaderboard(study, 10)).replace("\n", " ")
    assert ", fewer than 20,000 parameters, at most 9,000 bytes of weights, 8 bits a " in head


def test_duplicate_is_not_on_the_leaderboard_and_its_page_names_the_trial_it_repeats():
    storage = optuna.storages.InMemoryStorage()
    study = open_or_create_study(storage, "s", FACTS, DATA, "text")
    add_trial(study, CANDIDATE, 0.5)
    trial = study.ask()
    record_rejection(trial, Reason.DUPLICATE, "trial 0 is the same", 260)
    study.tell(trial, 0.5)
    text = text_of(leaderboard(study, 10))
    assert "trials: 1 trained, 1 duplicate" in text
    assert text.count("50.00%") == 2  # in the answer, and in its row
    assert text_of(studies_table(storage)).count("1 trained, 1 duplicate") == 1
    page = text_of(trial_page(study, read_trials(study)[1]))
    assert "duplicate: trial 0 is the same" in page
    assert "260 parameters" in page
    assert "validation accuracy" not in page


def test_studies_table_lists_every_study():
    storage = optuna.storages.InMemoryStorage()
    assert studies_table(storage) == "no studies yet"
    for name in ("b", "a [x]"):
        study = open_or_create_study(storage, name, FACTS, DATA, "text")
        study.tell(study.ask(), 0.5)
    theirs = optuna.create_study(study_name="two", storage=storage, directions=["minimize"] * 2)
    theirs.tell(theirs.ask(), [1, 2])
    text = text_of(studies_table(storage))
    assert text.index("a [x]") < text.index("\nb ") < text.index("two")
    assert text.count("50.00%") == 2
    assert "not made by nas" in text


def test_piped_report_keeps_its_lines_whole(capsys):
    print_report("x" * 150)
    assert capsys.readouterr().out == "x" * 150 + "\n"


@pytest.mark.parametrize("width", [120, 80, 40])
def test_reports_fit_the_terminal_and_fold_no_name(width, golden):
    storage = optuna.storages.InMemoryStorage()
    study = make_study(20, "blocks-mnist-20000", storage)
    make_study(3, "my-photos-with-a-long-name-5000", storage)
    storage.create_new_study([StudyDirection.MAXIMIZE], "of another program")
    parts = [
        leaderboard(study, 5),
        studies_table(storage),
        trial_page(study, best_trials(study)[0]),
    ]
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part, crop=False)
            console.print("\n" + "-" * 20 + "\n")
    text = capture.get()
    assert max(map(len, text.splitlines())) <= max(width, 40)
    assert "my-photos-with-a-long-name-5000" in text
    golden(f"tables-{width}", text)


# Certificates


@pytest.fixture
def certified():
    """A study and its best trial, certified under two protocols; one training is unmeasured."""
    study = open_or_create_study(optuna.storages.InMemoryStorage(), "blocks", FACTS, DATA, "text")
    for accuracy in (0.8, 0.9):
        add_trial(study, CANDIDATE, accuracy)
    answers = {Protocol.VALIDATION: [True] * 3 + [False], Protocol.HONEST: [True, False]}
    for protocol, is_right in answers.items():
        record_run(study, make_run(protocol, trial=1, is_right=is_right))
    record_run(study, make_run(Protocol.WATCHED, trial=1, **CLOSED))
    record_decision(study, [1], num_seeds=1)
    record_opening(study, Protocol.HONEST, [1], "a" * 64)
    return study


def test_certificate_report_has_a_table_for_each_protocol(certified):
    text = text_of(certificate_report(certified))
    assert text.index("decided on") < text.index("75% (1 seed)")
    assert text.index("75% (") < text.index("honest: ") < text.index("50% (1 seed)")
    assert "watched" not in text


def test_leaderboard_is_followed_by_the_certificates(certified):
    text = text_of(leaderboard(certified, 10))
    assert text.startswith("best: trial 1, 90.00%, 260 parameters\n")
    assert text.index("trials: 2 trained") < text.rindex("90.00%") < text.index("decided on")
    assert text.rstrip().endswith(text_of(certificate_report(certified)).strip())


def test_study_without_certificates_has_none_in_its_reports(study):
    assert text_of(certificate_report(study)) == "nothing is certified yet\n"
    assert "certified" not in text_of(leaderboard(study, 3))
    assert "certified" not in text_of(trial_page(study, best_trials(study)[0]))


def test_page_of_a_certified_trial_says_so_under_each_protocol(certified):
    other, record = read_trials(certified)
    lines = text_of(trial_page(certified, record)).splitlines()
    assert lines[-2:] == [
        "certified, validation: 75% (1 seed)",
        "certified, honest: 50% (1 seed)",
    ]
    assert "certified, " not in text_of(trial_page(certified, other))


def test_name_of_a_stranger_cannot_command_the_terminal(capsys):
    study = optuna.create_study(study_name="\x1b[31m[red]x\u202e")
    print_report(studies_table(study._storage))
    out = capsys.readouterr().out
    assert "[red]x" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
