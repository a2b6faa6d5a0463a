"""Records of trials."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import StudyError
from nas.tally import count_trained, take_tally
from nas.trials import Reason, best_trials, find_trial, read_trials, reason_of, record_rejection


def test_trial_is_found_by_number_or_as_the_best():
    study = optuna.create_study(direction="maximize")
    with pytest.raises(StudyError, match="no trained network"):
        find_trial(study, None)
    for value in (0.5, 0.9, 0.7):
        study.tell(study.ask(), value)
    assert find_trial(study, None).number == 1
    assert find_trial(study, 2).valid_accuracy == 0.7
    with pytest.raises(StudyError, match=r"no trial 3: it has 3 \(0 to 2\)"):
        find_trial(study, 3)


def test_trial_of_a_process_that_ended_without_a_word_is_unfinished():
    study = optuna.create_study(direction="maximize")
    study.ask()
    assert read_trials(study)[0].outcome == "unfinished"


def test_duplicate_has_the_score_of_the_same_network_but_was_not_trained():
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 0.5)
    for _ in range(2):
        trial = study.ask()
        # Fewer parameters would rank it before the one that was trained.
        record_rejection(trial, Reason.DUPLICATE, "trial 0 is the same", -1)
        study.tell(trial, 0.5, TrialState.COMPLETE)
    first, again, _ = read_trials(study)
    assert (again.state, again.valid_accuracy) == (TrialState.COMPLETE, 0.5)
    assert (again.outcome, again.is_complete) == ("duplicate", False)
    assert best_trials(study) == [first] == [find_trial(study, None)]
    counts = take_tally(study).counts_now
    assert counts == {"trained": 1, "duplicate": 2}
    assert count_trained(counts) == 1


@pytest.mark.parametrize(
    ("state", "attrs", "reason"),
    [
        (TrialState.COMPLETE, {}, None),
        (TrialState.RUNNING, {}, None),
        (TrialState.FAIL, {}, Reason.LOST),
        (TrialState.FAIL, {"reason": "lost"}, Reason.LOST),
        (TrialState.FAIL, {"reason": "diverged"}, Reason.DIVERGED),
        (TrialState.FAIL, {"reason": "duplicate"}, Reason.LOST),
        (TrialState.COMPLETE, {"reason": "duplicate"}, Reason.DUPLICATE),
        (TrialState.PRUNED, {"reason": "over budget"}, Reason.OVER_BUDGET),
    ],
)
def test_trial_that_was_closed_without_a_word_is_lost(state, attrs, reason):
    study = optuna.create_study(direction="maximize")
    value = 0.5 if state == TrialState.COMPLETE else None
    study.add_trial(optuna.trial.create_trial(state=state, value=value, user_attrs=attrs))
    assert reason_of(study.trials[0]) == reason
    if reason == Reason.LOST:
        assert read_trials(study)[0].detail == "its process ended without a word"


@pytest.mark.parametrize(
    "attrs", [{"reason": "?"}, {"history": [[1]]}, {"rungs": 3}, {"history": [3]}]
)
def test_record_that_cannot_be_read_is_named(attrs):
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs=attrs))
    with pytest.raises(StudyError, match="trial 1 is damaged in the database"):
        read_trials(study)
