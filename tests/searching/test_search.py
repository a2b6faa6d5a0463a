"""The story of a search, with workers that cost nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.candidates.budget import Limits
from nas.searching import ledger
from nas.searching.events import (
    EpochEnded,
    Note,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from nas.searching.stop import StopRequest
from nas.spaces.task import Task
from nas.storage.leases import Lease
from nas.storage.ranking import best_trials
from nas.storage.reasons import Reason
from nas.storage.trials import read_trials, stored, was_shortened
from tests.fakes import LIMIT, FakePool, fixed_space, make_space, suggest


def test_trials_counts_trained_candidates_and_not_proposals_over_budget(make_search, pool):
    search = make_search(trials=5)
    search.run()
    records = read_trials(search.ledger.study)
    assert sum(r.is_complete for r in records) == 5 == len(pool.trained)
    assert any(r.reason == Reason.OVER_BUDGET for r in records)


def test_every_limit_is_told_at_the_start_and_when_nothing_fits(make_search, pool):
    search = make_search(fixed_space(30), limits=Limits(max_macs=10**6), max_rejected=2)
    ended = search.run()
    words = f"fewer than {LIMIT:,} parameters, at most 1,000,000 multiply-accumulates"
    assert search.events[0].budget == words
    assert f"did not fit {words}" in ended.why


@pytest.mark.parametrize("num_workers", [2, 3])
def test_workers_train_at_once_and_the_total_is_exact(make_search, num_workers):
    pool = FakePool(num_workers)
    search = make_search(pool=pool, trials=7)
    ended = search.run()
    assert ended.counts["trained"] == 7 == len(pool.jobs)
    assert pool.most_at_once == num_workers
    assert not any(t.state == TrialState.RUNNING for t in search.ledger.study.trials)


def test_search_continues_the_count_of_its_study(make_search, pool):
    make_search(trials=3).run()
    assert len(pool.trained) == 3
    second = make_search(trials=5)
    second.run()
    assert len(pool.trained) == 5
    ended = make_search(trials=5).run()
    assert len(pool.trained) == 5
    assert "5 trained candidates" in ended.why


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_interrupted_and_resumed_search_equals_the_uninterrupted_one(make_search, pool, sampler):
    straight = make_search(
        trials=14, sampler=sampler, study=optuna.create_study(direction="maximize")
    )
    straight.run()
    resumed = optuna.create_study(direction="maximize")
    for trials in (3, 9, 14):
        make_search(trials=trials, sampler=sampler, study=resumed).run()
    assert [t.params for t in resumed.trials] == [t.params for t in straight.ledger.study.trials]
    assert [t.value for t in resumed.trials] == [t.value for t in straight.ledger.study.trials]
    seeds = [stored(t, "seed") for t in resumed.trials]
    assert seeds == [stored(t, "seed") for t in straight.ledger.study.trials]


def test_other_versions_in_a_study_are_told_once(make_search, pool, monkeypatch):
    make_search(trials=2).run()
    search = make_search(trials=3)
    search.run()
    assert not any("made with" in event.text for event in search.events if isinstance(event, Note))
    monkeypatch.setattr(ledger, "versions", lambda: {"nas": "0", "torch": "9.9"})
    search = make_search(trials=4)
    search.run()
    (text,) = [e.text for e in search.events if isinstance(e, Note) and "made with" in e.text]
    assert f"torch {torch.__version__}" in text
    assert "torch 9.9" not in text


def test_search_begins_where_the_space_says_and_only_once(make_search, pool):
    space = replace(make_space(), start=lambda task: {"width": 7})
    search = make_search(space, trials=4)
    search.run()
    make_search(space, trials=8).run()
    widths = [t.params["width"] for t in search.ledger.study.trials]
    assert widths[0] == 7
    assert widths[1:].count(7) < len(widths[1:])
    assert sum(bool(t.system_attrs.get("fixed_params")) for t in search.ledger.study.trials) == 1


def starting_space(*widths):
    return replace(make_space(), start=lambda task: [{"width": width} for width in widths])


def widths(search):
    """Those of the proposals that were made so far."""
    return [t.params["width"] for t in search.ledger.study.trials if t.params]


def test_search_begins_with_every_start_of_the_space_in_its_order(make_search, pool):
    search = make_search(starting_space(3, 7, 5), trials=3)
    search.run()
    assert widths(search) == [3, 7, 5]


def test_what_a_start_leaves_out_is_sampled_for_each(make_search, pool):
    def propose(trial, task):
        trial.suggest_float("rate", 0, 1)
        return suggest(trial, task)

    space = replace(make_space(propose), start=starting_space(3, 7, 5).start)
    search = make_search(space, trials=3)
    search.run()
    assert widths(search) == [3, 7, 5]
    assert len({t.params["rate"] for t in search.ledger.study.trials}) == 3


def test_what_a_search_is_told_to_begin_with_comes_before_the_start_of_its_space(make_search):
    search = make_search(starting_space(3, 7), trials=4)
    search.begin_with([{"width": 9}, {"width": 2}])
    search.run()
    assert widths(search) == [9, 2, 3, 7]


def test_search_that_goes_on_proposes_what_is_left_of_its_beginning_and_nothing_twice(make_search):
    for trials in (1, 3, 6):
        search = make_search(starting_space(3, 9, 7), trials=trials)
        search.begin_with([{"width": 9}, {"width": 2}])
        search.run()
    assert widths(search)[:4] == [9, 2, 3, 7]
    assert sum("fixed_params" in t.system_attrs for t in search.ledger.study.trials) == 4


def test_search_that_goes_on_can_be_told_to_begin_with_something_new(make_search):
    make_search(trials=2).run()
    search = make_search(trials=3)
    before = widths(search)
    new = next(width for width in range(1, 11) if width not in before)
    search.begin_with([{"width": new}])
    search.run()
    assert widths(search) == [*before, new]


def test_beginning_that_does_not_fit_is_turned_away_at_the_gate(make_search, pool):
    search = make_search(starting_space(30, 5), trials=2)
    search.begin_with([{"width": 20}, {"width": 4}])
    search.run()
    reasons = [(r.params["width"], r.reason) for r in read_trials(search.ledger.study)]
    assert reasons == [(20, Reason.OVER_BUDGET), (4, None), (30, Reason.OVER_BUDGET), (5, None)]
    assert len(pool.jobs) == 2


def test_beginning_that_leaves_something_open_is_not_taken_for_one_that_does_not(make_search):
    def propose(trial, task):
        candidate = suggest(trial, task)
        rate = trial.suggest_float("rate", 0.01, 0.5)
        return replace(candidate, recipe=replace(candidate.recipe, learning_rate=rate))

    space = replace(make_space(propose), start=lambda task: {"width": 5})
    for _ in range(2):
        search = make_search(space, trials=3)
        search.begin_with([{"width": 5}, {"width": 5, "rate": 0.25}, {"width": 5, "rate": 0.125}])
        search.run()
    assert widths(search) == [5, 5, 5]
    assert [t.params["rate"] for t in search.ledger.study.trials][1:] == [0.25, 0.125]


def test_same_beginning_in_other_words_is_trained_once(make_search, pool):
    search = make_search(starting_space(5), trials=2)
    search.begin_with([{"width": 5, "unheard": 1}])
    search.run()
    records = read_trials(search.ledger.study)
    assert [r.params["width"] for r in records].count(5) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_beginning_makes_no_difference_to_a_search_that_is_resumed(make_search, sampler):
    space = starting_space(3, 30, 7, 5)
    straight = make_search(
        space, trials=14, sampler=sampler, study=optuna.create_study(direction="maximize")
    )
    straight.run()
    resumed = optuna.create_study(direction="maximize")
    for trials in (1, 2, 9, 14):
        make_search(space, trials=trials, sampler=sampler, study=resumed).run()
    assert [t.params for t in resumed.trials] == [t.params for t in straight.ledger.study.trials]


def test_time_limit_closes_the_running_trial_and_ends_the_search(make_search, pool):
    limit, answer = StopRequest(3600), pool.answer

    def answer_and_wait(number, stop):  # the time passes in its second epoch
        answer(number, stop)
        if number >= 0:
            limit._deadline = 0.0

    pool.answer = answer_and_wait
    search = make_search(stop=limit)
    ended = search.run()
    assert ended.why == "the time limit of 3,600 s is reached"
    assert ended.reason == Reason.TIME_LIMIT
    last = read_trials(search.ledger.study)[-1]
    assert (last.state, last.reason) == (TrialState.FAIL, Reason.TIME_LIMIT)
    assert last.epochs == 1


def test_epoch_that_ends_behind_the_time_limit_is_a_result_that_is_to_go_on(make_search, pool):
    stop = StopRequest(3600)

    def score(num_params):  # the time passes in the first epoch of the first trial
        if pool.jobs[-1].number >= 0:
            stop._deadline = 0.0
        return 0.5

    pool.score = score
    search = make_search(stop=stop)
    ended = search.run()
    assert ended.reason == Reason.TIME_LIMIT
    assert ended.best_schedule == "1 of 3 epochs"
    trial = search.ledger.study.trials[-1]
    assert trial.state == TrialState.COMPLETE
    assert was_shortened(trial), "the schedule that it began with was the whole one"


def test_signal_closes_the_running_trial_and_ends_the_search(make_search, pool):
    with StopRequest() as stop:
        pool.score = lambda _: os.kill(os.getpid(), signal.SIGINT) or 0.5
        search = make_search(stop=stop)
        ended = search.run()
    assert ended.why == "interrupted"
    assert stop.exit_code == 130
    assert read_trials(search.ledger.study)[-1].reason == Reason.INTERRUPTED
    assert not any(t.state == TrialState.RUNNING for t in search.ledger.study.trials)


def test_what_a_killed_process_left_just_now_is_closed_at_the_end(make_search, pool, dead_pid):
    search = make_search(trials=1)
    study, other = search.ledger.study, Lease(search.ledger.study)
    other.keep_alive()
    study.ask()  # by the other, which is killed before it puts its name there

    def die(_):
        key = f"process:{other.name}"
        study.set_user_attr(key, study.user_attrs[key] | {"pid": dead_pid})
        return 0.5

    pool.score = die
    search.run()
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]


def test_interrupted_candidate_does_not_use_up_a_trial(make_search, pool):
    with StopRequest() as stop:
        pool.score = lambda _: os.kill(os.getpid(), signal.SIGINT) or 0.5
        make_search(stop=stop, trials=2).run()
    ended = make_search(trials=2, pool=FakePool()).run()
    assert ended.counts["trained"] == 2


def test_events_tell_the_whole_story_in_order(make_search, pool):
    search = make_search(fixed_space(5), trials=1, epochs=2)
    search.run()
    kinds = [type(event) for event in search.events]
    assert kinds == [SearchStarted, TrialStarted, EpochEnded, EpochEnded, TrialEnded, SearchEnded]
    assert search.events[-2].is_best
    assert search.events[-1].best_trial == 0


def test_best_is_the_highest_score_and_among_equals_the_smallest_network(make_search, pool):
    pool.score = lambda _: 0.5
    search = make_search(trials=6)
    search.run()
    best = best_trials(search.ledger.study)[0]
    assert best.num_params == min(pool.trained)


def test_toy_space_is_what_the_tests_take_it_for(tiny_data):
    task = Task(tiny_data.input_shape, len(tiny_data.classes), LIMIT)
    candidate = suggest(optuna.trial.FixedTrial({"width": 10}), task)
    assert candidate.architecture.num_params == 9 * 10 + 4 * 10 + 4
