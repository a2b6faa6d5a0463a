"""Whether the winner of one study is better than that of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest

from nas.certification.records import Protocol, record_decision, record_opening, record_run
from nas.reports.certificates import winner_of
from nas.reports.comparison import differing_facts, verdict
from nas.storage.ranking import best_trial
from tests.certification.test_records import make_run
from tests.reports.studies import make_study
from tests.storage.test_studies import FACTS


@pytest.fixture
def storage():
    return optuna.storages.InMemoryStorage()


def certify(study, num_wrong, protocol=Protocol.VALIDATION, trial=None):
    """Three trainings of the best trial on 1,000 images, each with that many errors."""
    trial = best_trial(study).number if trial is None else trial
    rng = np.random.default_rng(num_wrong)
    for number in range(3):
        answers = np.ones(1000, dtype=bool)
        answers[rng.choice(1000, num_wrong, replace=False)] = False
        record_run(study, make_run(protocol, trial, number, answers))
    if protocol == Protocol.VALIDATION:
        record_decision(study, [trial], 3)


def test_clear_difference_is_told_as_real(storage):
    first, second = make_study(3, "first", storage), make_study(3, "second", storage)
    certify(first, 10)
    certify(second, 100)
    for one, other in ((first, second), (second, first)):
        text = verdict(one, other)
        assert text.startswith("The winner of first is really better than that of second, by 9.0")
        assert "validation images, 3 and 3 trainings" in text


def test_small_difference_may_be_chance(storage):
    first, second = make_study(3, "first", storage), make_study(3, "second", storage)
    certify(first, 10)
    certify(second, 11)
    assert "ahead of that of second" in verdict(first, second)
    assert "may be chance" in verdict(first, second)


def test_test_images_decide_where_both_were_measured_on_the_same(storage):
    first, second = make_study(3, "first", storage), make_study(3, "second", storage)
    for study, num_wrong in ((first, 100), (second, 10)):
        certify(study, num_wrong, Protocol.HONEST)
        record_opening(study, Protocol.HONEST, [0], "sha")
    assert "test images" in verdict(first, second)
    assert "winner of second is really better" in verdict(first, second)


def test_folds_are_compared_one_by_one(storage):
    first, second = make_study(3, "first", storage), make_study(3, "second", storage)
    for study, wrong in ((first, 5), (second, 40)):
        for fold in range(4):
            answers = np.ones(100, dtype=bool)
            answers[: wrong + fold % 2] = False
            run = make_run(Protocol.FOLDS, best_trial(study).number, fold, answers)
            record_run(study, run)
    assert "winner of first is really better" in verdict(second, first)
    assert "same 4 folds" in verdict(first, second)


def test_winner_on_folds_is_the_best_of_those_measured_on_all(storage):
    study = make_study(4, "first", storage)
    chosen, *others = [n for n in range(4) if n != best_trial(study).number]
    for trial, wrong, folds in ((chosen, 10, 3), (others[0], 30, 3), (others[1], 0, 2)):
        for fold in range(folds):
            answers = np.arange(100) >= wrong
            record_run(study, make_run(Protocol.FOLDS, trial, fold, answers))
    assert winner_of(study).number == chosen


def test_without_certificates_or_on_other_images_it_cannot_be_told(storage):
    first, second = make_study(3, "first", storage), make_study(3, "second", storage)
    assert "cannot be told" in verdict(first, second)
    other = make_study(3, "other", storage, replace(FACTS, split_sha256="d" * 64))
    certify(first, 10)
    certify(other, 100)
    assert "cannot be told" in verdict(first, other)
    assert "no network yet" in verdict(first, make_study(0, "empty", storage))


def test_what_differs_is_listed(storage):
    first = make_study(0, "first", storage)
    second = make_study(0, "second", storage, replace(FACTS, budget=5000, max_macs=9))
    assert differing_facts([first, second]) == [
        ("budget", "20000", "5000"), ("max macs", "not limited", "9"),
    ]  # fmt: skip
    assert differing_facts([first, first]) == []


def test_winner_is_the_one_that_certification_chose(storage):
    study = make_study(4, "first", storage)
    assert winner_of(study) == best_trial(study)
    chosen = next(n for n in range(4) if n != best_trial(study).number)
    certify(study, 10, trial=chosen)
    assert winner_of(study).number == chosen
