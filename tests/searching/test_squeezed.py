"""Searches with the pruner `squeezed`: short schedules first, the full one for the best."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import optuna
import pytest
import torch
from optuna.trial import TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.errors import DivergedError
from nas.metrics import EpochMetrics
from nas.searching import pruners
from nas.searching.config import SearchConfig
from nas.searching.events import EpochEnded, Note, TrialEnded, TrialStarted
from nas.searching.pruners import FIRST_RUNG, SqueezedPruner
from nas.searching.stop import StopRequest
from nas.spaces.task import Task
from nas.storage.counts import count_trained
from nas.storage.ranking import best_trials
from nas.storage.reasons import Reason
from nas.storage.trials import Rung, read_trials
from nas.training.messages import EpochDone, Restarted
from tests.fakes import FakePool, LocalPool, make_space, search_in, train_alone

EPOCHS = 19  # with FIRST_RUNG images the schedules have 1, 4 and 19 epochs
GOOD, WEAK = 0.9, 0.1


def suggest(trial, task):
    """Something of its own for each trial that goes on with none."""
    layers = [Conv(4), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    recipe = Recipe(epochs=task.epochs, learning_rate=0.01 + trial.number / 1000)
    return Candidate(Architecture(task.input_shape, layers), recipe)


@pytest.fixture
def large_data(tiny_data):
    """Tiny data with FIRST_RUNG images to train on, each of them many times."""
    index = tiny_data.train_index[torch.arange(FIRST_RUNG) % len(tiny_data.train_index)]
    return replace(tiny_data, train_index=index)


@pytest.fixture
def make_search(large_data, tmp_path):
    study = optuna.create_study(direction="maximize")

    def make(
        pool, stop=None, data=large_data, epochs=EPOCHS, function=suggest, study=study, **settings
    ):
        task = Task(data.input_shape, len(data.classes), 1000, epochs)
        events = []
        search = search_in(
            study, make_space(function), task, data,
            SearchConfig(budget=1, **{"trials": 8, "sampler": "random"} | settings), pool,
            tmp_path / "artifacts", events.append, stop,
        )  # fmt: skip
        search.events = events
        return search

    return make


def scored(*scores, workers=1):
    """A pool that gives each candidate the score at its place, whatever its schedule."""
    pool = FakePool(workers)
    pool.score = lambda _: scores[place(pool)]
    return pool


def place(pool):
    """How many candidates came before the one that is trained now."""
    rates = list(dict.fromkeys(job.recipe.learning_rate for job in pool.jobs))
    return rates.index(pool.jobs[-1].recipe.learning_rate)


def epochs_of(pool):
    """The epochs of each training, by candidate."""
    by_candidate = {}
    for job in pool.jobs:
        by_candidate.setdefault(job.recipe.learning_rate, []).append(job.recipe.epochs)
    return list(by_candidate.values())


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Of four candidates one goes on, the first to come at once: the story in few trainings."""
    make = partial(SqueezedPruner, lowest_kept=4, kept=4, first=1, finished=1)
    monkeypatch.setattr(pruners, "SqueezedPruner", make)


def test_it_is_what_a_search_does_unless_told_otherwise():
    assert SearchConfig(budget=1).pruner == "squeezed"


def test_the_best_climbs_to_the_full_schedule_and_the_weak_stop_after_the_first(make_search):
    pool = scored(GOOD, *[WEAK] * 6, GOOD - 0.01)
    make_search(pool).run()
    # It was stopped itself, until there were three more.
    assert epochs_of(pool) == [[1, 4, 19], *[[1]] * 6, [1, 4]]
    assert [job.recipe.epochs for job in pool.jobs[:6]] == [1, 1, 1, 1, 4, 19]


@pytest.mark.parametrize(("trials", "num_full"), [(8, 3), (5, 3), (2, 2), (1, 1)])
def test_a_search_ends_with_three_that_had_their_full_training(
    make_search, monkeypatch, trials, num_full
):
    monkeypatch.setattr(pruners, "SqueezedPruner", SqueezedPruner)
    pool = scored(*[WEAK] * (trials - 1), GOOD)
    make_search(pool, trials=trials).run()
    trained = epochs_of(pool)
    assert sum(each == [1, 4, 19] for each in trained) == num_full
    assert trained[-1] == [1, 4, 19]
    assert len(trained) == trials


def test_each_training_of_a_candidate_has_the_same_network_seed_and_recipe_but_for_epochs(
    make_search,
):
    pool = scored(GOOD)
    make_search(pool, trials=1).run()
    first, *others = pool.jobs
    assert len(others) == 2
    for job in others:  # in another trial, for the first had been stopped
        assert (job.number, job.seed, job.architecture) == (1, first.seed, first.architecture)
        assert replace(job.recipe, epochs=1) == first.recipe


def test_candidate_that_is_good_at_first_may_stop_at_a_later_rung(make_search):
    search = make_search(scored(GOOD, *[WEAK] * 6, 0.5))
    search.run()
    last = read_trials(search.ledger.study)[-1]
    assert last.outcome == Reason.STOPPED_BY_PRUNER
    assert last.detail == "its schedule squeezed into 4 of 19 epochs"
    assert [rung.epochs for rung in last.rungs] == [1]
    assert (last.valid_accuracy, last.continues) == (0.5, None)


def test_stopped_candidate_is_pruned_with_the_score_of_its_rung(make_search):
    search = make_search(scored(GOOD, WEAK), trials=2)
    search.run()
    trial = search.ledger.study.trials[1]
    assert (trial.state, trial.value) == (TrialState.PRUNED, WEAK)
    record = read_trials(search.ledger.study)[1]
    assert (record.outcome, record.valid_accuracy) == (Reason.STOPPED_BY_PRUNER, WEAK)
    assert record.detail == "its schedule squeezed into 1 of 19 epochs"
    assert (record.epochs, len(record.history), record.rungs) == (1, 1, ())
    assert record.train_seconds == pytest.approx(0.1)


def test_record_of_a_full_training_holds_its_rungs_and_all_of_its_seconds(make_search):
    search = make_search(scored(GOOD), trials=1)
    search.run()
    _, record = read_trials(search.ledger.study)
    assert (record.outcome, record.continues) == ("trained", 0)
    assert record.rungs == (
        Rung(1, pytest.approx(0.1), GOOD, 0.1),  # in the trial that it goes on with
        Rung(4, pytest.approx(0.1), GOOD, 0.1),
    )
    assert (record.epochs, len(record.history)) == (19, 19)
    assert [m.epoch for m in record.history] == list(range(1, 20))
    assert record.train_seconds == pytest.approx(2 * 0.1)
    assert record.candidate.recipe.epochs == 19


def test_scores_of_its_rungs_stand_in_the_trial_for_plots(make_search):
    pool = FakePool()
    pool.score = lambda _: 0.5 + pool.jobs[-1].recipe.epochs / 100
    search = make_search(pool, trials=1)
    search.run()
    first, trial = search.ledger.study.trials
    assert first.intermediate_values == pytest.approx({1: 0.51})
    assert trial.intermediate_values == pytest.approx({4: 0.54, 19: 0.69})
    assert trial.value == pytest.approx(0.69)


def test_weights_of_every_schedule_are_kept_of_each_candidate_the_best(make_search):
    search = make_search(scored(GOOD, WEAK), trials=2)
    search.run()
    assert [trial.number for trial in best_trials(search.ledger.study)] == [2, 1]
    assert search.ledger.results.weights.load(2)
    assert search.ledger.results.weights.load(1)


def test_stopped_candidates_count_as_trials_and_are_not_the_best(make_search):
    pool = scored(0.5, *[0.4] * 7)
    search = make_search(pool, trials=4)
    ended = search.run()
    assert ended.counts == {"trained": 1, "stopped by pruner": 3, "promoted": 1}
    assert count_trained(search.ledger.progress.counts) == 4
    assert (ended.best_trial, ended.best_accuracy) == (4, 0.5)
    make_search(pool, trials=4).run()  # no more are wanted
    assert len(search.ledger.study.trials) == 5


def test_of_eight_that_reached_a_rung_the_second_best_goes_on(make_search):
    pool = scored(GOOD, *[WEAK] * 6, 0.5)
    make_search(pool, trials=8).run()
    # To the rung of 4 epochs only two came, and there it is not the best.
    assert epochs_of(pool) == [[1, 4, 19], *[[1]] * 6, [1, 4]]


def test_what_came_of_rungs_counts_in_a_later_run(make_search):
    study_pool = scored(GOOD, WEAK, WEAK)
    make_search(study_pool, trials=2).run()
    make_search(study_pool, trials=3).run()
    assert epochs_of(study_pool) == [[1, 4, 19], [1], [1]]


def test_same_candidate_stopped_at_a_rung_is_not_trained_again(make_search):
    def once_more(trial, task):
        return replace_rate(suggest(trial, task), 0.02 if trial.number else 0.01)

    pool = scored(GOOD, *[WEAK] * 9)
    search = make_search(pool, function=once_more, trials=3, max_rejected=1)
    search.run()
    assert epochs_of(pool) == [[1, 4, 19], [1]]  # as nothing new comes the best goes on
    assert read_trials(search.ledger.study)[2].outcome == Reason.DUPLICATE
    assert search.ledger.study.trials[2].state == TrialState.PRUNED


def replace_rate(candidate, rate):
    return replace(candidate, recipe=replace(candidate.recipe, learning_rate=rate))


def test_several_workers_have_a_candidate_each_and_none_is_lost(make_search):
    pool = scored(*[GOOD - i / 100 for i in range(8)], workers=3)
    search = make_search(pool, trials=8)
    ended = search.run()
    assert pool.most_at_once == 3
    assert count_trained(Counter(ended.counts)) == 8
    assert ended.counts["trained"] >= 1
    assert all(t.state.is_finished() for t in search.ledger.study.trials)


# Breaks and faults


@pytest.mark.parametrize(("rung", "num_rungs"), [(1, 0), (4, 1), (19, 2)])
def test_candidate_that_diverges_ends_there_and_the_next_best_goes_on(make_search, rung, num_rungs):
    pool = FakePool()

    def score(_):
        if (place(pool), pool.jobs[-1].recipe.epochs) == (0, rung):
            raise DivergedError(1)
        return GOOD

    pool.score = score
    search = make_search(pool, trials=2)
    ended = search.run()
    assert (ended.counts["diverged"], ended.counts["trained"]) == (1, 1)
    assert epochs_of(pool) == [[1, 4, 19][: num_rungs + 1], [1, 4, 19]]
    (diverged,) = (r for r in read_trials(search.ledger.study) if r.outcome == Reason.DIVERGED)
    assert diverged.state == TrialState.PRUNED
    assert len(diverged.rungs) == num_rungs
    assert diverged.train_seconds == pytest.approx(0.1 * max(num_rungs - 1, 0))


@pytest.mark.parametrize(("rung", "num_rungs"), [(4, 1), (19, 2)])
def test_interrupted_candidate_is_recorded_so_and_taken_up_once_more(make_search, rung, num_rungs):
    pool, stop = scored(GOOD), StopRequest()
    search = make_search(pool, stop, trials=1)

    def observe(event):
        search.events.append(event)
        if isinstance(event, EpochEnded) and event.epochs == rung and event.metrics.epoch == 2:
            stop.signal_number = 2

    search.runner.callback = observe
    ended = search.run()
    assert ended.why == "interrupted"
    _, record = read_trials(search.ledger.study)
    assert (record.state, record.outcome) == (TrialState.FAIL, Reason.INTERRUPTED)
    assert len(record.rungs) == num_rungs
    assert record.detail == f"after {record.epochs} of {rung} epochs"
    assert record.epochs < rung
    assert record.train_seconds == pytest.approx(0.1 * num_rungs)
    assert search.ledger.progress.counts == {"stopped by pruner": 1, "interrupted": 1}
    again = scored(GOOD)
    make_search(again, trials=1).run()
    assert [job.recipe.epochs for job in again.jobs] == [4, 19]
    assert {job.seed for job in again.jobs} == {job.seed for job in pool.jobs}
    last = read_trials(search.ledger.study)[-1]
    assert (last.outcome, last.continues, len(last.rungs)) == ("trained", 0, 2)


@pytest.mark.parametrize("num_rungs", [0, 1, 2])
def test_search_that_breaks_off_keeps_the_epochs_of_the_last_schedule_alone(make_search, num_rungs):
    class BreakingPool(FakePool):
        def _train(self, job):
            if len(self.jobs) > num_rungs:
                yield EpochDone(job.number, EpochMetrics(1, 9.0, 9.0, 0.0, 0.01))
                yield Restarted(job.number, "out of memory")
                yield EpochDone(job.number, EpochMetrics(1, 1.0, 1.0, 0.5, 0.01))
                raise KeyboardInterrupt
            yield from super()._train(job)

    search = make_search(BreakingPool(), trials=1)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    record = read_trials(search.ledger.study)[-1]
    assert record.outcome == "interrupted"
    assert [m.train_loss for m in record.history] == [1.0]
    assert len(record.rungs) == num_rungs


def test_interrupt_between_two_schedules_ends_the_candidate_before_the_next(make_search):
    pool, stop = scored(GOOD), StopRequest()
    search = make_search(pool, stop, trials=1)
    hear = search.runner.handle

    def hear_and_stop(message):
        hear(message)
        if len(pool.jobs) == 3 and not stop():
            stop.signal_number = 2

    search.runner.handle = hear_and_stop
    search.run()
    _, record = read_trials(search.ledger.study)
    assert record.outcome == Reason.INTERRUPTED
    assert [rung.epochs for rung in record.rungs] == [1, 4]
    assert (record.epochs, record.result.epochs, record.valid_accuracy) == (0, 4, GOOD)
    assert search.ledger.results.weights.load(1)  # of the schedule that it has ended
    assert search.runner.running == {}


def test_candidate_that_is_restarted_in_a_rung_goes_on_with_that_rung(make_search):
    pool = scored(GOOD)
    search = make_search(pool, trials=1)
    wait, told = pool.wait, []

    def wait_and_restart(seconds):
        messages = wait(seconds)
        if len(pool.jobs) == 2 and not told:  # has begun with its schedule of 4 epochs
            told.append(True)
            search.runner.handle(messages[0])
            job = pool.jobs[-1]
            pool._talks[job.number] = pool._train(job)
            pool._answers.clear()
            return [Restarted(job.number, "lost")]
        return messages

    pool.wait = wait_and_restart
    search.run()
    _, record = read_trials(search.ledger.study)
    assert [rung.epochs for rung in record.rungs] == [1, 4]
    assert [m.epoch for m in record.history] == list(range(1, 20))


# Where there are no rungs


def test_small_data_sets_have_no_rungs(make_search, tiny_data):
    pool = scored(GOOD, WEAK, WEAK)
    search = make_search(pool, data=tiny_data, trials=3)
    search.run()
    assert epochs_of(pool) == [[19]] * 3
    assert [r.rungs for r in read_trials(search.ledger.study)] == [()] * 3
    assert search.ledger.progress.counts == {"trained": 3}
    assert [t.intermediate_values for t in search.ledger.study.trials] == [{}] * 3


@pytest.mark.parametrize(("epochs", "expected"), [(3, [1, 3]), (1, [1]), (19, [1, 4, 19])])
def test_candidate_of_fewer_epochs_has_rungs_of_its_own(make_search, epochs, expected):
    def short(trial, task):
        candidate = suggest(trial, task)
        return replace(candidate, recipe=replace(candidate.recipe, epochs=epochs))

    pool = scored(GOOD)
    make_search(pool, function=short, trials=1).run()
    assert epochs_of(pool) == [expected]


@pytest.mark.parametrize("pruner", ["median", "none"])
def test_other_pruners_train_once_and_report_every_epoch(make_search, pruner):
    pool = scored(*[GOOD] * 8)
    search = make_search(pool, pruner=pruner, trials=8)
    search.run()
    assert {tuple(epochs) for epochs in epochs_of(pool)} == {(19,)}
    reported = [set(t.intermediate_values) for t in search.ledger.study.trials]
    assert all(steps == set(range(1, len(steps) + 1)) for steps in reported)
    assert {len(steps) for steps in reported} <= ({0, 19} if pruner == "none" else {19})
    assert [r.rungs for r in read_trials(search.ledger.study)] == [()] * 8


# What is told


def test_events_tell_of_one_trial_with_the_epochs_of_each_schedule(make_search):
    search = make_search(scored(GOOD, WEAK), trials=2)
    search.run()
    started = [(e.epochs, e.continues) for e in search.events if isinstance(e, TrialStarted)]
    assert started == [(1, None), (1, None), (4, 0)]
    epochs = [(e.trial, e.epochs) for e in search.events if isinstance(e, EpochEnded)]
    assert epochs == [(0, 1), (1, 1), *[(2, 4)] * 4, *[(2, 19)] * 19]
    ended = [e for e in search.events if isinstance(e, TrialEnded)]
    stopped = Reason.STOPPED_BY_PRUNER
    are_best = [(e.reason, e.is_best) for e in ended]
    assert are_best == [(stopped, True), (stopped, False), (None, True)]
    assert [e.train_seconds for e in ended] == pytest.approx([0.1, 0.1, 0.2])
    notes = [e.text for e in search.events if isinstance(e, Note)]
    assert notes == ["trial 2 goes on with trial 0, one of the best by now"]


# With real trainings


def test_rung_is_a_real_training_with_the_whole_schedule_squeezed_into_its_epochs(
    make_search, tiny_data, monkeypatch
):
    monkeypatch.setattr("nas.searching.pruners.FIRST_RUNG", len(tiny_data.train_index))
    search = make_search(LocalPool(tiny_data), data=tiny_data, epochs=4, trials=1)
    search.run()
    stopped, record = read_trials(search.ledger.study)
    assert record.seed == stopped.seed
    candidate = record.candidate
    assert candidate.recipe.epochs == 4
    squeezed = replace(candidate.recipe, epochs=1)
    expected = train_alone(candidate.architecture, squeezed, tiny_data, record.seed)
    (rung,) = record.rungs
    assert rung.epochs == 1
    assert rung.valid_accuracy == expected.history[-1].valid_accuracy
    assert rung.valid_loss == pytest.approx(expected.history[-1].valid_loss)
    full = train_alone(candidate.architecture, candidate.recipe, tiny_data, record.seed)
    assert record.valid_accuracy == full.history[-1].valid_accuracy
    kept = search.ledger.results.weights.load(1)
    assert all(torch.equal(kept[name], value) for name, value in full.state_dict.items())
