"""Records of trials."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import StudyError
from nas.storage.counts import count_trained, count_trials
from nas.storage.ranking import best_trials, find_trial
from nas.storage.reasons import Reason
from nas.storage.trials import Rung, epochs_text, read_trials, record_rejection, result_of


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
    counts = count_trials(study).counts_now
    assert counts == {"trained": 1, "duplicate": 2}
    assert count_trained(counts) == 1


@pytest.mark.parametrize(
    "attrs", [{"reason": "?"}, {"history": [[1]]}, {"rungs": 3}, {"history": [3]}]
)
def test_record_that_cannot_be_read_is_named(attrs):
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs=attrs))
    with pytest.raises(StudyError, match="trial 1 is damaged in the database"):
        read_trials(study)


# Networks: what schedules that were ended have come to

HISTORY = [[1, 0.9, 0.5, 0.8, 2.0], [2, 0.5, 0.25, 0.9, 3.0]]
RECIPE = {"epochs": 19}


def add(study, state=TrialState.COMPLETE, **attrs):
    value = 0.9 if state == TrialState.COMPLETE else None
    study.add_trial(optuna.trial.create_trial(state=state, value=value, user_attrs=attrs))
    return study.trials[-1]


@pytest.mark.parametrize("state", list(TrialState))
def test_ended_schedule_is_a_network_whatever_became_of_the_trial(state):
    study = optuna.create_study(direction="maximize")
    trial = add(study, state, result=[1, 0.25, 0.9, 5.0], history=HISTORY)
    assert result_of(trial) == Rung(1, 0.25, 0.9, 5.0)
    assert find_trial(study, None).result == Rung(1, 0.25, 0.9, 5.0)


def test_studies_from_before_results_were_stored_have_networks_too():
    study = optuna.create_study(direction="maximize")
    squeezed = {"reason": "stopped by pruner", "detail": "its schedule squeezed into 2 of 19"}
    halfway = {"reason": "stopped by pruner", "detail": "after 2 of 19 epochs"}
    full = add(study, history=HISTORY, recipe=RECIPE)
    stopped = add(study, TrialState.PRUNED, history=HISTORY, recipe=RECIPE, **squeezed)
    cut_off = add(study, TrialState.PRUNED, history=HISTORY, recipe=RECIPE, **halfway)
    later = add(study, TrialState.FAIL, rungs=[[1, 0.5, 0.8, 2.0]], reason="interrupted")
    assert result_of(full) == Rung(19, 0.25, 0.9, 5.0)
    assert result_of(stopped) == Rung(2, 0.25, 0.9, 5.0)
    assert result_of(cut_off) is None
    assert result_of(later) == Rung(1, 0.5, 0.8, 2.0)


def test_best_network_is_the_one_with_the_least_error_times_loss():
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("data", {"num_valid": 5000})
    for accuracy, loss in ((0.99, 0.05), (0.9895, 0.03), (0.95, 0.001)):
        add(study, result=[19, loss, accuracy, 1.0])
    assert [record.number for record in best_trials(study)] == [1, 0, 2]


def test_of_equal_networks_the_longer_trained_then_the_smaller_then_the_older_comes_first():
    study = optuna.create_study(direction="maximize")
    for epochs, num_params in ((1, 50), (4, 90), (4, 80), (4, 80)):
        add(study, result=[epochs, 0.1, 0.9, 1.0], num_params=num_params)
    assert [record.number for record in best_trials(study)] == [2, 3, 1, 0]


def test_trials_with_one_candidate_are_one_network_that_of_the_best_schedule():
    study = optuna.create_study(direction="maximize")
    for epochs, accuracy in ((1, 0.8), (4, 0.95), (19, 0.9)):
        add(study, result=[epochs, 1 - accuracy, accuracy, 1.0], fingerprint="a")
    (only,) = best_trials(study)
    assert (only.number, only.result.epochs) == (1, 4)


@pytest.mark.parametrize(
    ("epochs", "text"),
    [(1, "1 of 19 epochs"), (19, "19 of 19 epochs"), (0.272727, "0.27 of 19 epochs")],
)
def test_schedule_is_told_by_its_epochs(epochs, text):
    assert epochs_text(epochs, 19) == text
