"""How far a study has come, with all processes that search in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import StorageFailedError
from nas.searching import ledger as module
from nas.searching.config import SearchConfig
from nas.searching.ledger import Ledger
from nas.searching.pruners import Pruner, SqueezedPruner
from nas.storage.database import open_storage
from nas.storage.leases import UNOWNED_SECONDS, Lease
from nas.storage.reasons import Reason
from nas.storage.trials import record_reason


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


def ledger_of(study, trials):
    settings = SearchConfig(budget=1, trials=trials, sampler="random")
    pruner = study.pruner if isinstance(study.pruner, Pruner) else Pruner()
    return Ledger(study, settings, pruner, Path("nowhere"))


def begin(owner):
    trial = owner.ask()
    trial.suggest_int("width", 1, 30)
    trial.set_user_attr("fingerprint", f"network {trial.number}")
    return trial


def close(study, trial, reason, state=TrialState.FAIL):
    record_reason(trial, reason, "")
    study.tell(trial, state=state)


def reasons(study):
    return [t.user_attrs.get("reason") for t in study.trials]


def test_what_other_processes_train_counts_as_if_it_were_trained(study):
    ledger, other = ledger_of(study, 3), Lease(study)
    study.tell(begin(other), 0.5)
    trials = [begin(other)]
    ledger.refresh()
    assert ledger.wants_more
    trials.append(begin(other))
    ledger.refresh()
    assert not ledger.wants_more
    close(study, trials[0], Reason.ERROR)
    ledger.refresh()
    assert ledger.wants_more
    study.tell(trials[1], 0.5)
    ledger.refresh()
    assert ledger.wants_more
    study.tell(begin(other), 0.5)
    ledger.refresh()
    assert not ledger.wants_more


@pytest.mark.parametrize(
    ("reason", "state", "is_counted"),
    [
        (Reason.STOPPED_BY_PRUNER, TrialState.PRUNED, True),
        (Reason.DIVERGED, TrialState.FAIL, True),
        (Reason.OVER_BUDGET, TrialState.PRUNED, False),
        (Reason.INTERRUPTED, TrialState.FAIL, False),
        (Reason.LOST, TrialState.FAIL, False),
        (Reason.SURPLUS, TrialState.FAIL, False),
    ],
)
def test_only_what_had_its_training_counts(study, reason, state, is_counted):
    ledger = ledger_of(study, 1)
    close(study, begin(ledger.lease), reason, state)
    ledger.refresh()
    assert ledger.wants_more is not is_counted


def test_what_waits_in_the_queue_does_not_count(study):
    study.enqueue_trial({"width": 3})
    assert ledger_of(study, 1).wants_more


def test_asking_gives_trials_until_enough_have_begun(study):
    ledger = ledger_of(study, 3)
    numbers = [ledger.ask().number for _ in range(9) if ledger.wants_more]
    assert numbers == [0, 1, 2]
    assert ledger.progress.num_running == 3


def test_processes_that_have_not_looked_begin_no_more_than_one_too_many_each(study):
    ledgers = [ledger_of(study, 2) for _ in range(3)]
    assert all(ledger.wants_more for ledger in ledgers)
    for ledger in ledgers:
        while ledger.wants_more:
            ledger.ask()
    assert len(study.trials) == 4


# Looking around


def test_the_dead_are_looked_for_at_once_and_then_now_and_then(study, clock):
    ledger = ledger_of(study, 9)

    def lose():
        trial = begin(Lease(study))
        study._storage.set_trial_user_attr(trial._trial_id, "owner", "nobody")
        return trial.number

    number = lose()
    assert ledger.sync() == [number]
    assert ledger.progress.counts == {"lost": 1}
    assert begin(ledger.lease).user_attrs["retry_of"] == number
    number = lose()
    clock.now += module.RECOVERY_SECONDS - 0.01
    assert ledger.sync() == []
    clock.now += 0.01
    assert ledger.sync() == [number]


def test_what_others_have_done_is_read_again_after_a_while(study, clock):
    ledger, other = ledger_of(study, 2), Lease(study)
    ledger.sync()
    begin(other)
    begin(other)
    clock.now += module.REFRESH_SECONDS - 0.01
    ledger.sync()
    assert ledger.wants_more
    clock.now += 0.01
    ledger.sync()
    assert not ledger.wants_more


def test_looking_around_raises_the_beat(study, clock):
    ledger = ledger_of(study, 2)
    key = f"process:{ledger.lease.name}"
    assert key not in study.user_attrs
    for beat in (1, 2, 3):
        ledger.sync()
        assert study.user_attrs[key]["beat"] == beat
        clock.now += 30


def test_trial_without_a_name_is_looked_at_again_soon(study, clock):
    Lease(study).keep_alive()
    ledger = ledger_of(study, 2)
    study.ask()  # by that process, which is killed before it puts its name there
    ledger.sync()
    clock.now += UNOWNED_SECONDS - 0.01
    ledger.sync()
    assert [t.state.name for t in study.trials] == ["RUNNING"]
    clock.now += 0.01
    ledger.sync()
    assert [t.state.name for t in study.trials] == ["FAIL"]


# The file


@pytest.fixture
def in_file(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    return ledger_of(optuna.create_study(storage=storage), 3)


def test_database_that_stays_in_its_place_may_grow(in_file):
    for _ in range(3):
        in_file.ask().suggest_int("width", 1, 30)
    in_file.refresh()


@pytest.mark.parametrize("is_replaced", [False, True], ids=["moved", "replaced"])
def test_database_that_was_moved_or_replaced_ends_the_search(in_file, tmp_path, is_replaced):
    path, elsewhere = tmp_path / "s.db", tmp_path / "elsewhere"
    path.rename(elsewhere)
    if is_replaced:
        shutil.copy(elsewhere, path)
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(StorageFailedError, match=r"s\.db was deleted or replaced .* bring it back"):
        in_file.refresh()
    assert sorted(os.listdir(tmp_path)) == names
    elsewhere.replace(path)
    in_file.refresh()


def test_study_in_memory_has_no_file_to_look_for(study):
    ledger_of(study, 1).refresh()


# Stopped candidates that are promoted


@pytest.fixture
def squeezed(study):
    study.pruner = SqueezedPruner((1,), lowest_kept=2, first=1, finished=1)
    return study


def stop_at_rung(study, owner, score):
    trial = begin(owner)
    trial.report(score, 1)
    close(study, trial, Reason.STOPPED_BY_PRUNER, TrialState.PRUNED)


def test_best_of_the_stopped_is_asked_for_before_anything_new(squeezed):
    ledger = ledger_of(squeezed, 9)
    for score in (0.5, 0.6):
        stop_at_rung(squeezed, ledger.lease, score)
    squeezed.enqueue_trial({"width": 7})
    ledger.refresh()
    assert ledger.promotion.number == 1
    assert ledger.ask().user_attrs["continues"] == 1
    assert ledger.promotion is None
    assert "continues" not in ledger.ask().user_attrs


def test_best_of_the_stopped_goes_on_when_there_are_enough_but_nothing_new_is_begun(squeezed):
    ledger = ledger_of(squeezed, 2)
    for score in (0.5, 0.6):
        stop_at_rung(squeezed, ledger.lease, score)
    ledger.refresh()
    assert ledger.wants_more
    trial = ledger.ask()
    assert not ledger.wants_more
    squeezed.tell(trial, 0.9)
    ledger.refresh()
    assert not ledger.wants_more


def test_the_best_goes_on_however_few_there_are_once_no_more_come(squeezed):
    ledger = ledger_of(squeezed, 1)
    stop_at_rung(squeezed, ledger.lease, 0.5)
    ledger.refresh()
    assert ledger.promotion.number == 0
    assert ledger_of(squeezed, 2).promotion is None  # more are to come
    squeezed.tell(begin(Lease(squeezed)), 0.9)
    assert ledger_of(squeezed, 1).promotion is None  # one was trained to its end


@pytest.mark.parametrize("is_exhausted", [False, True])
def test_retry_that_nobody_will_ask_for_does_not_keep_the_best_from_going_on(
    squeezed, is_exhausted
):
    """It was broken off, and fewer candidates are asked for now, or others have trained them."""
    ledger = ledger_of(squeezed, 9)
    stop_at_rung(squeezed, ledger.lease, 0.5)
    close(squeezed, begin(ledger.lease), Reason.INTERRUPTED)
    assert ledger.sync() == [1]
    ledger.refresh()
    assert ledger.promotion is None  # the retry comes first
    if is_exhausted:
        ledger.exhaust()
    else:
        ledger = ledger_of(squeezed, 1)
    assert ledger.promotion.number == 0


def test_as_many_are_taken_up_at_the_end_as_are_to_be_finished(squeezed):
    squeezed.pruner.finished = 3
    ledger = ledger_of(squeezed, 5)
    for score in (0.5, 0.6, 0.7, 0.8):
        stop_at_rung(squeezed, ledger.lease, score)
    squeezed.tell(begin(ledger.lease), 0.9)
    ledger.refresh()
    promoted = []
    while ledger.promotion is not None:
        promoted.append(ledger.promotion.number)
        ledger.ask()
    assert promoted == [3, 2]
    assert not ledger.wants_more


def test_stopped_ones_go_on_when_the_space_has_no_more(squeezed):
    ledger = ledger_of(squeezed, 9)
    stop_at_rung(squeezed, ledger.lease, 0.5)
    ledger.refresh()
    assert ledger.promotion is None
    assert ledger.wants_more
    ledger.exhaust()
    assert ledger.ask().user_attrs["continues"] == 0
    assert not ledger.wants_more


def test_stopped_one_waits_while_what_was_broken_off_is_in_the_queue(squeezed):
    ledger = ledger_of(squeezed, 9)
    for score in (0.5, 0.6):
        stop_at_rung(squeezed, ledger.lease, score)
    squeezed.enqueue_trial({"width": 7}, user_attrs={"retry_of": 0})
    ledger.refresh()
    assert ledger.promotion is None


def test_without_squeezed_schedules_nothing_is_promoted(study):
    ledger = ledger_of(study, 9)
    for score in (0.5, 0.6):
        stop_at_rung(study, ledger.lease, score)
    ledger.refresh()
    assert ledger.promotion is None
