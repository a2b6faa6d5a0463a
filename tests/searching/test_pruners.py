"""Who goes on from one rung to the next, and who is promoted later."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nas.searching.pruners import SqueezedPruner
from nas.storage.reasons import Reason

# Successive halving, trial by trial, on a rung above the second

HIGH = 3


def ranked_study(rungs=(1, 2, HIGH), kept=4):
    return optuna.create_study(direction="maximize", pruner=SqueezedPruner(rungs, kept=kept))


def is_pruned(study, score, step=1, state=TrialState.COMPLETE):
    """Whether a trial with that score is stopped at that step; it ends as said, here or later."""
    trial = study.ask()
    trial.report(score, step)
    decision = trial.should_prune()
    if state is not None:
        study.tell(trial, score if state == TrialState.COMPLETE else None, state)
    return decision


def test_first_trial_at_a_rung_goes_on_however_weak():
    assert not is_pruned(ranked_study(), 0.0, HIGH)


@pytest.mark.parametrize(
    ("kept", "num_before", "num_better", "expected"),
    [
        (4, 3, 0, False),
        (4, 3, 1, True),
        (4, 6, 1, True),  # of seven, one in four is one
        (4, 7, 1, False),
        (4, 7, 2, True),
        (4, 11, 2, False),
        (4, 11, 3, True),
        (2, 2, 1, True),
        (2, 3, 1, False),
        (2, 3, 2, True),
    ],
)
def test_trial_goes_on_if_it_is_among_the_best_of_those_that_reported_there(
    kept, num_before, num_better, expected
):
    study = ranked_study(kept=kept)
    for i in range(num_before):
        is_pruned(study, 0.9 if i < num_better else 0.1, HIGH)
    assert is_pruned(study, 0.5, HIGH) is expected


def test_trials_with_equal_scores_do_not_stop_each_other():
    study = ranked_study()
    assert not any(is_pruned(study, 0.5, HIGH) for _ in range(9))
    assert is_pruned(study, 0.4, HIGH)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, None])
def test_trials_that_ended_well_or_are_in_work_are_compared_with(state):
    study = ranked_study()
    assert not is_pruned(study, 0.9, HIGH, state=state)
    assert is_pruned(study, 0.5, HIGH)


def test_trials_that_failed_are_not_compared_with():
    study = ranked_study()
    for _ in range(7):
        assert not is_pruned(study, 0.9, HIGH, state=TrialState.FAIL)
    assert not is_pruned(study, 0.5, HIGH)
    for _ in range(7):  # nor do they make room among the best
        is_pruned(study, 0.1, HIGH, state=TrialState.FAIL)
    assert is_pruned(study, 0.4, HIGH)


def test_trial_is_judged_at_rungs_alone_and_at_each_with_its_equals():
    study = ranked_study(rungs=(1, 2, 4, 8))
    for step in (3, 4, 5, 8, 9):
        assert not is_pruned(study, 0.9, step)
    assert [is_pruned(study, 0.5, step) for step in (3, 4, 5, 8, 9)] == [False, True, False, True,
                                                                        False]  # fmt: skip


def test_trial_that_has_reported_nothing_is_not_stopped():
    study = ranked_study()
    is_pruned(study, 0.9, HIGH)
    assert not study.ask().should_prune()


# Squeezed schedules: nobody who was stopped is lost


def squeezed_study(rungs=(1, 4), lowest_kept=4, kept=4, first=1):
    pruner = SqueezedPruner(rungs, lowest_kept, kept, first)
    return optuna.create_study(direction="maximize", pruner=pruner)


def stop_at(study, scores, continues=None):
    """A trial that was stopped at the last of these rungs."""
    attrs = {"reason": str(Reason.STOPPED_BY_PRUNER)}
    if continues is not None:
        attrs["continues"] = continues
    trial = create_trial(
        state=TrialState.PRUNED, intermediate_values=dict(scores), user_attrs=attrs
    )
    study.add_trial(trial)


def follow(study, state, continues, reason=None):
    """A trial that goes on with a stopped one, and what becomes of it."""
    attrs = {"continues": continues} | ({"reason": str(reason)} if reason else {})
    value = 0.9 if state == TrialState.COMPLETE else None
    study.add_trial(create_trial(state=state, value=value, user_attrs=attrs))


def next_up(study, is_last=False):
    trial = study.pruner.next_promotion(study.get_trials(deepcopy=False), is_last)
    return None if trial is None else trial.number


def test_on_the_lowest_rung_nobody_goes_on_before_there_are_enough():
    study = squeezed_study()
    assert [is_pruned(study, score) for score in (0.5, 0.6, 0.7)] == [True] * 3
    assert not is_pruned(study, 0.8)
    assert [is_pruned(study, score) for score in (0.9, 0.1, 0.95, 0.93)] == [
        False, True, False, False,
    ]  # fmt: skip


def test_on_the_lowest_rung_nobody_goes_on_before_several_may():
    study = squeezed_study(first=2)
    assert all(is_pruned(study, score) for score in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7))
    decisions = [is_pruned(study, score) for score in (0.65, 0.68, 0.5, 0.69)]
    assert decisions == [False, False, True, False]


def test_on_a_higher_rung_the_best_goes_on_once_there_are_enough():
    study = squeezed_study(first=2)
    decisions = [is_pruned(study, score, 4) for score in (0.9, 0.6, 0.7, 0.95)]
    assert decisions == [True, True, True, False]
    study = squeezed_study(first=1)
    assert not is_pruned(study, 0.1, 4)


def test_as_it_is_two_of_sixteen_go_on_and_the_better_of_them_in_full():
    study = optuna.create_study(direction="maximize", pruner=SqueezedPruner((1, 4)))
    for score in range(15):
        stop_at(study, {1: score / 100})
        assert next_up(study) is None
    stop_at(study, {1: 0.05})
    for number in (14, 13):
        assert next_up(study) == number
        stop_at(study, {4: number / 100}, continues=number)
    assert next_up(study) == 16  # the first of the two, on the rung of 4
    follow(study, TrialState.COMPLETE, 16)
    assert next_up(study) is None


def test_trial_that_has_proved_to_be_the_best_of_enough_is_promoted():
    study = squeezed_study()
    for score in (0.5, 0.9, 0.6):
        stop_at(study, {1: score})
        assert next_up(study) is None
    stop_at(study, {1: 0.7})
    assert next_up(study) == 1
    follow(study, TrialState.RUNNING, 1)
    assert next_up(study) is None
    for score in (0.1, 0.2, 0.3, 0.4):
        stop_at(study, {1: score})
    assert next_up(study) == 3


def test_of_two_rungs_the_higher_comes_first():
    study = squeezed_study()
    for score in (0.5, 0.6, 0.7, 0.8):
        stop_at(study, {1: score})
    for score in (0.65, 0.6, 0.7, 0.5):
        stop_at(study, {1: 0.1, 4: score})
    assert next_up(study) == 6
    follow(study, TrialState.RUNNING, 6)
    assert next_up(study) == 3


def test_of_equals_the_oldest_is_taken_up():
    study = squeezed_study()
    for _ in range(7):
        stop_at(study, {1: 0.5})
    assert next_up(study) == 0
    follow(study, TrialState.COMPLETE, 0)
    assert next_up(study) is None


def test_when_no_more_come_the_best_goes_on_however_few_there_are():
    study = squeezed_study()
    assert next_up(study, is_last=True) is None
    for score in (0.5, 0.6):
        stop_at(study, {1: score})
    assert next_up(study) is None
    assert next_up(study, is_last=True) == 1
    stop_at(study, {4: 0.7}, continues=1)
    assert next_up(study, is_last=True) == 2  # the same, on the next rung
    follow(study, TrialState.FAIL, 2, Reason.DIVERGED)
    assert next_up(study, is_last=True) == 0


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (TrialState.RUNNING, None, None),
        (TrialState.COMPLETE, None, None),
        (TrialState.PRUNED, Reason.STOPPED_BY_PRUNER, None),
        (TrialState.FAIL, Reason.DIVERGED, None),
        (TrialState.FAIL, Reason.ERROR, None),
        (TrialState.FAIL, Reason.INTERRUPTED, 0),
        (TrialState.FAIL, Reason.TIME_LIMIT, 0),
        (TrialState.FAIL, None, 0),  # lost
        (TrialState.FAIL, Reason.SURPLUS, 0),  # another process was faster; that one was lost
    ],
)
def test_stopped_trial_is_taken_up_once_more_only_if_that_was_broken_off(state, reason, expected):
    study = squeezed_study()
    for score in (0.9, 0.1, 0.1, 0.1):
        stop_at(study, {1: score})
    follow(study, state, 0, reason)
    assert next_up(study) == expected


def test_trial_over_which_two_processes_died_is_left_alone():
    study = squeezed_study()
    for score in (0.9, 0.1, 0.1, 0.1):
        stop_at(study, {1: score})
    follow(study, TrialState.FAIL, 0)
    assert next_up(study) == 0
    follow(study, TrialState.FAIL, 0)
    assert next_up(study) is None


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING])
def test_first_epochs_of_long_schedules_are_not_compared_with_squeezed_ones(state):
    """A study may have been begun with another pruner; its first epochs score far lower."""
    study = squeezed_study()
    for epochs in (9, 19, 8):
        value = 0.99 if state == TrialState.COMPLETE else None
        reported = {epoch: 0.05 * epoch for epoch in range(1, epochs + 1)}
        study.add_trial(create_trial(state=state, value=value, intermediate_values=reported))
    for score in (0.5, 0.6, 0.7):
        stop_at(study, {1: score})
        assert next_up(study) is None
    assert is_pruned(study, 0.65)
    assert next_up(study) == 5


@pytest.mark.parametrize(("pruner", "promoted"), [("squeezed", None), ("median", 4)])
def test_trial_that_recorded_its_pruner_is_compared_with_only_if_the_pruner_was_this_one(
    pruner, promoted
):
    study = squeezed_study()
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED, intermediate_values={1: 0.9},
            system_attrs={"nas:begun": {"pruner": pruner}},
        )
    )  # fmt: skip
    for score in (0.5, 0.6, 0.7, 0.8):
        stop_at(study, {1: score})
    assert next_up(study) == promoted


def test_trials_that_climbed_to_their_full_schedule_are_compared_with_on_every_rung():
    study = squeezed_study()
    reported = {1: 0.9, 4: 0.95, 19: 0.99}
    study.add_trial(
        create_trial(state=TrialState.COMPLETE, value=0.99, intermediate_values=reported)
    )
    for score in (0.5, 0.6, 0.7):
        stop_at(study, {1: score})
    assert next_up(study) is None  # the best of four has gone on
    assert is_pruned(study, 0.94, 4)


def test_trials_that_failed_make_no_room_for_others():
    study = squeezed_study()
    stop_at(study, {1: 0.9})
    for _ in range(9):
        study.add_trial(create_trial(state=TrialState.FAIL, intermediate_values={1: 0.1}))
    assert next_up(study) is None
