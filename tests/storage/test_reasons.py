"""Why trials were not trained to their end."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas.storage.counts import num_rejected_last
from nas.storage.reasons import Reason, outcome_of, reason_of, was_broken_off
from nas.storage.trials import read_trials


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
    study.add_trial(create_trial(state=state, value=value, user_attrs=attrs))
    assert reason_of(study.trials[0]) == reason
    if reason == Reason.LOST:
        assert read_trials(study)[0].detail == "its process ended without a word"


@pytest.mark.parametrize(
    ("state", "reason", "outcome", "is_broken_off"),
    [
        (TrialState.COMPLETE, None, "trained", False),
        (TrialState.RUNNING, None, "unfinished", False),
        (TrialState.PRUNED, "stopped by pruner", "stopped by pruner", False),
        (TrialState.FAIL, "error", "error", False),
        (TrialState.FAIL, "interrupted", "interrupted", True),
        (TrialState.FAIL, "time limit", "time limit", True),
        (TrialState.FAIL, None, "lost", True),
    ],
)
def test_only_what_was_cut_off_from_outside_is_to_be_trained_again(
    state, reason, outcome, is_broken_off
):
    attrs = {} if reason is None else {"reason": reason}
    trial = create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None,
                         user_attrs=attrs)  # fmt: skip
    assert (outcome_of(trial), was_broken_off(trial)) == (outcome, is_broken_off)


def test_only_the_newest_rejections_in_a_row_count():
    study = optuna.create_study(direction="maximize")
    for attrs in ({"reason": "invalid"}, {"fingerprint": "a"}, {"reason": "duplicate"},
                  {"fingerprint": "a", "continues": 1}, {"reason": "over budget"}):  # fmt: skip
        study.add_trial(create_trial(value=0.5, user_attrs=attrs))
    assert num_rejected_last(study) == 2
