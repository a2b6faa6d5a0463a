"""Certified candidates side by side: one table for each protocol, and no number in two of them."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Flatten, Linear
from nas.candidates.recipe import Recipe
from nas.certification.records import Protocol, record_decision, record_opening, record_run
from nas.metrics import EpochMetrics
from nas.reports.certificates import certificate_tables, measured_runs, spread_of
from nas.storage.studies import open_or_create_study
from tests.certification.test_records import CLOSED, make_run
from tests.fakes import add_trial
from tests.storage.test_studies import DATA, FACTS

NUM_VALID = 20


def candidate(width):
    """A network of 101 * width + 10 parameters."""
    layers = [Flatten(), Linear(width), Linear(10)]
    return Candidate(Architecture((1, 9, 10), layers), Recipe())


@pytest.fixture
def study():
    """With three trials of 1,020, 2,030 and 3,040 parameters."""
    storage = optuna.storages.InMemoryStorage()
    data = replace(DATA, num_valid=NUM_VALID)
    study = open_or_create_study(storage, "s", FACTS, data, "text")
    for width in (10, 20, 30):
        add_trial(study, candidate(width), 0.9)
    return study


def right(num, of=NUM_VALID):
    return [i < num for i in range(of)]


def tables(study):
    """Rows of each table by the first word of its title, each row by the names of its columns."""
    return {
        page.title.split()[0].rstrip(":"): [
            dict(zip(page.columns, row, strict=True)) for row in page.rows
        ]
        for page in certificate_tables(study)
    }


def test_study_without_certificates_has_no_tables(study):
    assert certificate_tables(study) == []


def test_training_that_is_not_measured_yet_is_in_no_table(study):
    record_run(study, make_run(Protocol.HONEST, **CLOSED))
    assert certificate_tables(study) == []
    record_run(study, make_run(Protocol.HONEST, number=1, is_right=right(19)))
    record_opening(study, Protocol.HONEST, [0], "a" * 64)
    assert [run.number for run in measured_runs(study, Protocol.HONEST, 0)] == [1]
    assert tables(study)["honest"][0]["accuracy"] == "95% (1 seed)"


def test_protocols_are_never_mixed_in_one_table(study):
    record_run(study, make_run(Protocol.VALIDATION, trial=0, is_right=right(18)))
    record_run(study, make_run(Protocol.HONEST, trial=1, is_right=right(17)))
    record_opening(study, Protocol.HONEST, [1], "a" * 64)
    record_decision(study, [0], num_seeds=1)
    for trial, num in ((1, 20), (2, 19)):
        record_run(study, make_run(Protocol.WATCHED, trial=trial, is_right=right(num)))
    found = tables(study)
    assert list(found) == ["decided", "honest", "watched"]
    numbers = {
        title: [(row["trial"], row.get("accuracy", row.get("last epoch"))) for row in rows]
        for title, rows in found.items()
    }
    assert numbers == {
        "decided": [("0", "90% (1 seed)")],
        "honest": [("1", "85% (1 seed)")],
        "watched": [("1", "100% (1 seed)"), ("2", "95% (1 seed)")],
    }


def test_validation_table_has_the_likeliest_best_first_and_its_lead_over_each_other(study):
    # Trial 1 has half the loss of trial 2, whose accuracy is better; trial 0 is far behind both.
    for trial, num, loss in ((0, 10, 0.01), (1, 18, 0.2), (2, 19, 0.4)):
        for number in range(2):
            run = make_run(trial=trial, number=number, is_right=right(num), loss=loss)
            record_run(study, run)
    record_decision(study, [0, 1, 2], num_seeds=2)
    (page,) = certificate_tables(study)
    assert "on 20 validation images" in page.title
    assert page.title.endswith(": trial 1")
    lead = "lead of trial 1, points"
    best, second, third = tables(study)["decided"]
    assert [row["trial"] for row in (best, second, third)] == ["1", "2", "0"]
    assert [row[">parameters"] for row in (best, second, third)] == ["2,030", "3,040", "1,020"]
    assert best[">loss"] == "0.2000"
    assert (best[lead], best[">surely ahead"], best[">errors in common"]) == ("", "", "")
    # Trial 2 is right wherever trial 1 is, and once more; trial 0 makes 10 errors, trial 1 two.
    assert second[lead].startswith("-5.0 (")
    assert second[">surely ahead"] == "24%"  # t of -0.7 with 21 degrees of freedom
    assert second[">errors in common"] == "50%"
    assert third[lead].startswith("+40.0 (")
    assert third[">surely ahead"] == "over 99%"
    assert third[">errors in common"] == "20%"


def test_table_of_the_decision_holds_what_was_compared_and_nothing_else(study):
    for trial, num, loss in ((0, 18, 0.3), (1, 20, 0.1), (2, 17, 0.4)):
        for number in range(2):
            run = make_run(Protocol.VALIDATION, trial=trial, number=number, is_right=right(num))
            record_run(study, replace(run, loss=loss))
    record_decision(study, [2, 0], num_seeds=1)
    (page,) = certificate_tables(study)
    assert page.title.endswith(": trial 0")
    assert [row[0] for row in page.rows] == ["0", "2"]
    assert all("(1 seed)" in row[2] for row in page.rows)


def test_table_before_the_decision_says_that_there_is_none(study):
    record_run(study, make_run(Protocol.VALIDATION, trial=0, is_right=right(18)))
    (page,) = certificate_tables(study)
    assert "nothing is decided yet" in page.title


def test_honest_table_says_how_many_images_and_how_often_they_were_opened(study):
    for number, num in enumerate((94, 96, 98)):
        record_run(study, make_run(Protocol.HONEST, number=number, is_right=right(num, of=100)))
    for count, words in ((1, "opened them 1 time"), (2, "opened them 2 times")):
        record_opening(study, Protocol.HONEST, [0], "a" * 64)
        (page,) = certificate_tables(study)
        assert page.title.endswith(words), count
        assert "100 test images" in page.title
    (row,) = tables(study)["honest"]
    # 98 of 104 images, and how much the seeds vary besides.
    assert row["accuracy"] == "96.0 ± 2.0 % (3 seeds, 95 %: 89.6 to 98.9)"


def test_watched_table_tells_the_last_epoch_from_the_best(study):
    for number, (best, last) in enumerate(((0.98, 0.90), (0.96, 0.94))):
        history = (EpochMetrics(1, 1.0, 1.0, best, 0.1), EpochMetrics(2, 1.0, 1.0, last, 0.1))
        answers = right(round(100 * last), of=100)
        run = make_run(Protocol.WATCHED, number=number, history=history, is_right=answers)
        record_run(study, run)
    (row,) = tables(study)["watched"]
    assert row["last epoch"].startswith("92.0 ± ")
    assert row["best epoch"] == "97.0 ± 1.4 % (2 seeds)"  # chosen, so it has no interval
    assert row[">best of all"] == "98%"


def test_spread_of_one_seed_claims_no_interval():
    assert spread_of([make_run(is_right=right(99, of=100))]) == "99% (1 seed)"


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        (Protocol.HONEST, "100.0 ± 0.0 % (2 seeds, 95 %: 95.4 to 100.0)"),
        (Protocol.FOLDS, "100.0 ± 0.0 % (2 folds, 95 %: 90.3 to 100.0)"),
    ],
)
def test_spread_of_trainings_that_are_alike_claims_no_certainty(protocol, text):
    runs = [make_run(protocol, number=n, is_right=right(100, of=100)) for n in range(2)]
    assert spread_of(runs) == text
