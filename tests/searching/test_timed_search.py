"""Searches with a time limit, on a clock that moves as their trainings would take."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.searching import stop as stop_module
from nas.searching.config import SearchConfig
from nas.searching.events import Note, PlanMade, TrialStarted
from nas.searching.pruners import FIRST_RUNG
from nas.searching.stop import StopRequest
from nas.spaces.task import Task
from nas.storage.ranking import best_trial
from nas.storage.reasons import Reason
from nas.storage.trials import read_trials, result_of, stored
from tests.fakes import ClockPool, make_space, search_in
from tests.searching.test_squeezed import suggest

EPOCHS = 19
NUM_TRAIN = 4 * FIRST_RUNG  # the shortest schedule is a quarter of an epoch


@pytest.fixture
def data(tiny_data):
    index = tiny_data.train_index[torch.arange(NUM_TRAIN) % len(tiny_data.train_index)]
    return replace(tiny_data, train_index=index)


class World:
    """A study, and searches in it one after another."""

    def __init__(self, data, folder, monkeypatch):
        self.data, self.folder, self.monkeypatch = data, folder, monkeypatch
        self.study = optuna.create_study(direction="maximize")
        self.events = []

    def search(self, timeout, pool=None, has_start=True, **settings):
        self.pool = pool or ClockPool(NUM_TRAIN, epoch_seconds=60.0)
        self.monkeypatch.setattr(stop_module, "time", self.pool)
        space = make_space(suggest)
        if has_start:
            space = replace(space, start=lambda task: {})
        task = Task(self.data.input_shape, len(self.data.classes), 1000, EPOCHS)
        stop = StopRequest(timeout)
        self.begun = self.pool.now
        self.events.clear()
        search = search_in(
            self.study, space, task, self.data,
            SearchConfig(budget=1, **{"trials": 50, "sampler": "random"} | settings), self.pool,
            self.folder, self.events.append, stop,
        )  # fmt: skip
        self.weights = search.ledger.results.weights
        ended = search.run()
        self.took = self.pool.now - self.begun
        return ended

    @property
    def schedules(self):
        """Of each trial that was begun, in its order."""
        return [e.epochs for e in self.events if isinstance(e, TrialStarted)]


@pytest.fixture
def world(data, tmp_path, monkeypatch):
    return World(data, tmp_path / "artifacts", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize("has_start", [True, False])
@pytest.mark.parametrize("minutes", [0.75, 1, 2, 5, 20, 120])
def test_every_search_ends_inside_its_time_with_a_network_and_its_weights(
    world, minutes, has_start, num_workers
):
    pool = ClockPool(NUM_TRAIN, 60.0, num_workers)
    ended = world.search(60 * minutes, pool, has_start)
    assert world.took <= 60 * minutes
    assert ended.best_trial is not None
    assert world.weights.load(ended.best_trial)
    assert not any(t.reason == Reason.TIME_LIMIT for t in read_trials(world.study))


def test_first_proposal_has_the_longest_schedule_and_the_others_begin_with_a_short_one(world):
    world.search(600, ClockPool(NUM_TRAIN, 60.0, num_workers=2))
    first, *others = world.schedules
    assert first == 8
    assert others[0] == 0.25
    assert max(others) == 6


def test_longest_schedules_are_complete_and_shorter_ones_pruned_with_their_score(world):
    world.search(600, ClockPool(NUM_TRAIN, 60.0, num_workers=2))
    for trial in world.study.trials:
        epochs = stored(trial, "schedule")
        assert trial.state == (TrialState.COMPLETE if epochs >= 1 else TrialState.PRUNED)
        assert trial.value is not None
        assert result_of(trial).epochs == epochs


def test_best_is_marked_with_the_epochs_that_it_was_trained_for(world):
    ended = world.search(600)
    assert ended.best_schedule == "8 of 19 epochs"
    best = best_trial(world.study)
    assert best.is_short
    assert best.candidate.recipe.epochs == EPOCHS


def test_part_of_an_epoch_is_trained_on_a_part_of_the_images(world):
    world.search(40)
    job = next(job for job in world.pool.jobs if job.number == 0)
    (epochs,) = world.schedules[:1]
    assert epochs < 1
    assert job.num_images == round(epochs * NUM_TRAIN)
    assert job.recipe.epochs == 1


def test_machine_that_slows_down_by_a_sixth_still_ends_the_long_schedule(world):
    pool = ClockPool(NUM_TRAIN, 60.0)
    answer = pool.answer

    def answer_slower(number, stop):
        pool.slower = 7 / 6 if number >= 0 else 1.0
        answer(number, stop)

    pool.answer = answer_slower
    ended = world.search(600, pool)
    assert ended.best_trial is not None
    assert world.took <= 600


def test_machine_that_becomes_three_times_slower_ends_the_long_schedule_sooner(world):
    pool = ClockPool(NUM_TRAIN, 60.0)
    answer, slow = pool.answer, []

    def answer_slower(number, stop):
        slow.append(number)
        pool.slower = 3.0 if slow.count(0) >= 2 else 1.0  # after two epochs of the first trial
        answer(number, stop)

    pool.answer = answer_slower
    ended = world.search(600, pool)
    assert world.schedules[0] == 8
    assert ended.best_schedule == "4 of 19 epochs"
    assert world.took <= 600
    notes = [e.text for e in world.events if isinstance(e, Note)]
    assert "its schedule ends after 4 of 8 epochs" in notes[-1]


def test_machine_that_becomes_so_slow_that_no_epoch_fits_keeps_what_was_trained(world):
    pool = ClockPool(NUM_TRAIN, 60.0)
    answer, slow = pool.answer, []

    def answer_slower(number, stop):
        slow.append(number)
        pool.slower = 6.0 if slow.count(0) >= 2 else 1.0  # so the third takes 360 of 480 seconds
        answer(number, stop)

    pool.answer = answer_slower
    ended = world.search(600, pool)
    assert ended.best_schedule == "3 of 19 epochs"
    assert world.weights.load(ended.best_trial)
    notes = [e.text for e in world.events if isinstance(e, Note)]
    assert "its schedule is cut off after 3 of 8 epochs" in notes[-1]


def test_same_command_lengthens_the_best(world):
    world.search(600)
    before = best_trial(world.study)
    ended = world.search(3600)
    assert world.schedules[0] == EPOCHS
    again = read_trials(world.study)[before.number + 1 :]
    assert next(t for t in again if t.continues is not None).fingerprint == before.fingerprint
    assert ended.best_schedule == ""


def test_search_without_a_limit_goes_on_with_what_one_with_a_limit_has_begun(world):
    world.search(600, ClockPool(NUM_TRAIN, 60.0, num_workers=2), trials=4)
    ended = world.search(None, trials=4)
    assert ended.best_schedule == ""
    full = [t for t in read_trials(world.study) if t.result and t.result.epochs == EPOCHS]
    assert len({t.fingerprint for t in full}) == 3


def test_plan_is_told_before_the_first_trial(world):
    world.search(600, ClockPool(NUM_TRAIN, 60.0, num_workers=2))
    kinds = [type(event) for event in world.events]
    plan = world.events[kinds.index(PlanMade)]
    assert kinds.index(PlanMade) < kinds.index(TrialStarted)
    assert plan.longest_epochs == max(world.schedules)
    num_new = sum(e.continues is None for e in world.events if isinstance(e, TrialStarted))
    assert plan.num_candidates == pytest.approx(num_new, abs=1)
    assert plan.epoch_seconds == pytest.approx(60, rel=0.02)


def test_time_that_is_too_short_for_anything_says_how_much_is_needed(world):
    ended = world.search(10)
    assert ended.best_trial is None
    assert ended.seconds_needed > 10
    assert world.search(ended.seconds_needed).best_trial is not None


def test_search_that_ends_before_its_limit_says_why(world):
    ended = world.search(600)
    assert ended.reason == Reason.TIME_LIMIT
    assert "would end within the 600 s of timeout" in ended.why


def test_with_much_time_all_that_were_asked_for_are_tried(world):
    ended = world.search(100_000, trials=20)
    assert ended.why == "the study holds 20 trained candidates, as asked with trials"
    assert ended.best_schedule == ""


def test_pruner_that_stops_nothing_gives_each_candidate_a_long_schedule(world):
    world.search(3600, pruner="none")
    assert world.schedules[:2] == [EPOCHS, EPOCHS]
    assert min(world.schedules) >= EPOCHS / 2


def test_slow_candidate_has_a_schedule_that_it_can_end(world):
    """Of two million multiply-accumulates nothing is known when time is planned for one million."""
    pool = ClockPool(NUM_TRAIN, 60.0)
    usual = pool.seconds_of
    pool.seconds_of = lambda job: usual(job) * (3.0 if job.number > 0 else 1.0)
    ended = world.search(2400, pool)
    assert world.took <= 2400
    assert ended.best_trial is not None
