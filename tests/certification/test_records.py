"""What certifications leave in a study, in a real SQLite file."""

from __future__ import annotations

import datetime
import json
from dataclasses import fields, replace

import numpy as np
import optuna
import pytest

from nas.certification.records import (
    Protocol,
    Run,
    certified_trials,
    openings,
    read_runs,
    record_opening,
    record_run,
    stack,
)
from nas.errors import StudyError
from nas.metrics import EpochMetrics
from nas.storage.database import open_storage
from nas.storage.studies import open_or_create_study, open_study
from tests.storage.test_studies import DATA, FACTS

HISTORY = (EpochMetrics(1, 0.7, 1 / 3, 0.1 + 0.2, 0.5), EpochMetrics(2, 1e-17, 0.2, 0.25, 0.5))
CLOSED = {"loss": None, "is_right": None}  # the test set is not opened yet


def make_run(protocol=Protocol.VALIDATION, trial=0, number=0, is_right=(True, False), **changes):
    """A training with these answers; None for one that is not measured yet."""
    answers = None if is_right is None else np.array(is_right, dtype=bool)
    run = Run(
        protocol=protocol,
        trial=trial,
        number=number,
        seed=2**32 - 1,
        accuracy=None if answers is None else float(answers.mean()),
        loss=0.1 + 0.2,
        is_right=answers,
        history=HISTORY,
        train_seconds=1.234,
        device="cpu, fp32",
        versions={"nas": "0.1", "torch": "2"},
        artifact_id="0123-abcd",
    )
    return replace(run, **changes)


def is_equal(first, second):
    """Whether two runs are the same to the last bit."""
    return all(
        np.array_equal(getattr(first, f.name), getattr(second, f.name))
        if f.name == "is_right"
        else getattr(first, f.name) == getattr(second, f.name)
        for f in fields(Run)
    )


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def study(url):
    return open_or_create_study(open_storage(url, create=True), "s", FACTS, DATA, "text")


@pytest.mark.parametrize("protocol", Protocol)
def test_measured_trainings_come_back_bit_for_bit(study, url, protocol):
    random = np.random.default_rng(0)
    runs = [
        make_run(protocol, trial=3, number=i, is_right=random.random(num_images) < 0.9)
        for i, num_images in enumerate((1, 7, 8, 9, 1797))
    ]
    for run in runs:
        record_run(study, run)
    found = read_runs(open_study(open_storage(url), "s"), protocol, 3)
    for again, run in zip(found, runs, strict=True):
        assert is_equal(again, run)
        assert again.is_right.dtype == bool
        assert isinstance(again.protocol, Protocol)


def test_unmeasured_training_comes_back_without_a_measure(study, url):
    run = make_run(Protocol.HONEST, **CLOSED)
    record_run(study, run)
    (again,) = read_runs(open_study(open_storage(url), "s"), Protocol.HONEST, 0)
    assert is_equal(again, run)


def test_training_on_ten_thousand_images_takes_a_few_kilobytes(study):
    answers = np.random.default_rng(0).random(10_000) < 0.99
    record_run(study, make_run(is_right=answers, history=HISTORY * 10))
    assert len(json.dumps(study.user_attrs)) < 6000


def test_runs_are_read_by_number_of_one_trial_under_one_protocol(study):
    for number in (10, 2, 0):
        record_run(study, make_run(trial=1, number=number))
    record_run(study, make_run(trial=11, number=5))
    record_run(study, make_run(Protocol.WATCHED, trial=1, number=6))
    assert [run.number for run in read_runs(study, Protocol.VALIDATION, 1)] == [0, 2, 10]
    assert [run.number for run in read_runs(study, Protocol.WATCHED, 1)] == [6]
    assert read_runs(study, Protocol.HONEST, 1) == []


def test_training_that_is_recorded_again_takes_the_place_of_the_first(study):
    record_run(study, make_run(Protocol.HONEST, **CLOSED))
    record_run(study, make_run(Protocol.HONEST, is_right=(True, True)))
    (run,) = read_runs(study, Protocol.HONEST, 0)
    assert run.accuracy == 1


def test_certified_are_the_trials_with_a_measured_training(study):
    record_run(study, make_run(trial=10))
    record_run(study, make_run(trial=2))
    record_run(study, make_run(trial=2, number=1))
    record_run(study, make_run(trial=5, **CLOSED))
    record_run(study, make_run(Protocol.WATCHED, trial=7))
    assert certified_trials(study, Protocol.VALIDATION) == [2, 10]
    assert certified_trials(study, Protocol.WATCHED) == [7]
    assert certified_trials(study, Protocol.HONEST) == []


def test_best_accuracy_is_that_of_the_best_epoch():
    history = tuple(EpochMetrics(i, 1.0, 1.0, a, 0.1) for i, a in enumerate((0.2, 0.9, 0.5), 1))
    assert make_run(history=history).best_accuracy == 0.9


def test_answers_are_stacked_by_seed():
    rows = [(True, False, True), (False, False, True)]
    runs = [make_run(number=n, is_right=row) for n, row in enumerate(rows)]
    stacked = stack([*runs, make_run(number=2, **CLOSED)])
    assert stacked.tolist() == [list(row) for row in rows]


def test_study_without_certificates_has_no_runs_and_no_openings(study):
    assert read_runs(study, Protocol.HONEST, 0) == []
    assert certified_trials(study, Protocol.HONEST) == []
    assert openings(study) == []


def test_every_opening_is_counted_and_kept(study, url):
    assert record_opening(study, Protocol.HONEST, [3], "a" * 64) == 1
    assert record_opening(study, Protocol.WATCHED, [3, 5], "b" * 64) == 2
    first, second = openings(open_study(open_storage(url), "s"))
    assert (first["protocol"], first["trials"], first["test_sha256"]) == ("honest", [3], "a" * 64)
    assert (second["protocol"], second["trials"]) == ("watched", [3, 5])
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(second["at"])
    assert datetime.timedelta(0) <= age + datetime.timedelta(seconds=1)
    assert age < datetime.timedelta(hours=1)


DAMAGES = {
    "no dictionary": lambda data: "text",
    "field missing": lambda data: {k: v for k, v in data.items() if k != "seed"},
    "field too many": lambda data: data | {"extra": 1},
    "protocol unknown": lambda data: data | {"protocol": "hopeful"},
    "answers cut short": lambda data: data | {"is_right": [2, data["is_right"][1][:-5]]},
    "answers in no known letters": lambda data: data | {"is_right": [2, '"\\"']},
    "answers that are text": lambda data: data | {"is_right": "1101"},
    "history of another form": lambda data: data | {"history": [[1, 2]]},
    "no history": lambda data: data | {"history": None},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_certificate_is_refused_in_one_line(damage):
    study = optuna.create_study()
    record_run(study, make_run())
    ((name, value),) = [(n, v) for n, v in study.user_attrs.items() if n.startswith("certificate")]
    study.set_user_attr(name, damage(value))
    for read in (lambda: read_runs(study, Protocol.VALIDATION, 0),
                 lambda: certified_trials(study, Protocol.VALIDATION)):  # fmt: skip
        with pytest.raises(StudyError, match="certificate in the study is damaged") as error:
            read()
        assert "\n" not in str(error.value)
