"""Samplers, pruners and the seeds they are given."""

from __future__ import annotations

import logging
import math
import random
import warnings
from dataclasses import replace
from functools import partial

import optuna
import pytest
from optuna.samplers import (
    GPSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from nas.searching.config import CHOICES, SearchConfig
from nas.searching.pruners import FIRST_RUNG, SqueezedPruner, make_pruner
from nas.searching.samplers import (
    STUCK,
    SeededSampler,
    derive_seed,
    is_stuck,
    make_sampler,
    suits_gp,
)
from nas.spaces.loader import load_space
from nas.spaces.task import Task
from nas.storage.reasons import Reason
from nas.storage.trials import read_trials, record_reason
from tests.fakes import FakePool, make_space, search_in, suggest

NAMES = CHOICES["sampler"]


def test_seeds_differ_by_study_trial_and_purpose():
    seeds = {derive_seed(s, n, p) for s in range(9) for n in range(99) for p in ("a", "b")}
    assert len(seeds) == 9 * 99 * 2
    assert all(0 <= seed < 2**32 for seed in seeds)


# Samplers


@pytest.mark.parametrize("name", NAMES)
def test_samplers_of_one_seed_propose_alike(name):
    def proposals(seed):
        study = optuna.create_study(sampler=sampler_of(name, seed))
        return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]

    assert proposals(1) == proposals(1) != proposals(2)
    assert len(set(proposals(1))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_one_trial_are_drawn_apart(name):
    trial = optuna.create_study(sampler=sampler_of(name)).ask()
    assert len({trial.suggest_float(x, 0, 1) for x in "abc"}) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tpe", TPESampler),
        ("gp", GPSampler),
        ("random", RandomSampler),
    ],
)
def test_each_name_makes_its_sampler(name, kind):
    assert type(make_sampler(name, 0)) is kind


def sampler_of(name, seed=0):
    """What a search with one worker proposes with."""
    return SeededSampler(name, seed, lambda trial, trials: trial.number)


def flat_trial(trial):
    trial.suggest_float("x", 0, 1)
    trial.suggest_int("n", 1, 9)


def conditional_trial(trial):
    if trial.suggest_categorical("has_more", [True, False]):
        trial.suggest_float("more", 0, 1)


def study_of(ask_for, num=8):
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    for i in range(num):
        trial = study.ask()
        ask_for(trial)
        study.tell(trial, i / 10)
    return study


@pytest.fixture
def names(monkeypatch):
    """What is asked of `make_sampler`."""
    asked = []

    def make(name, seed):
        asked.append(name)
        return make_sampler(name, seed)

    monkeypatch.setattr("nas.searching.samplers.make_sampler", make)
    return asked


def ask_next(study, name, ask_for):
    study.sampler = sampler_of(name)
    ask_for(study.ask())


def test_auto_is_gp_where_every_trial_has_the_same_parameters(names):
    ask_next(study_of(flat_trial, num=0), "auto", flat_trial)
    ask_next(study_of(flat_trial), "auto", flat_trial)
    assert set(names) == {"gp"}


def test_auto_is_tpe_where_trials_have_other_parameters_than_others(names):
    study = study_of(conditional_trial)
    assert len({frozenset(t.params) for t in study.trials}) == 2
    ask_next(study, "auto", conditional_trial)
    assert set(names) == {"tpe"}


def test_other_samplers_do_not_depend_on_the_trials(names):
    for name in ("gp", "tpe", "random"):
        for ask_for in (flat_trial, conditional_trial):
            ask_next(study_of(ask_for), name, ask_for)
            assert set(names) == {name}
        names.clear()


def test_trials_that_wait_or_have_just_been_asked_for_make_no_space_conditional():
    study = study_of(flat_trial, num=3)
    study.enqueue_trial({"x": 0.5})
    study.ask()
    study.enqueue_trial({"n": 3})
    assert suits_gp(study.trials)
    assert not suits_gp(study_of(conditional_trial).trials)


@pytest.mark.parametrize("reason", [Reason.OVER_BUDGET, Reason.INVALID])
def test_auto_takes_a_sampler_that_hears_of_what_does_not_fit_once_something_did_not(names, reason):
    study = study_of(flat_trial)
    ask_next(study, "auto", flat_trial)
    assert set(names) == {"gp"}
    end_all(study, [reason])
    names.clear()
    ask_next(study, "auto", flat_trial)
    assert set(names) == {"tpe"}


def blocks_proposals(name, num=14):
    """What a sampler proposes in the space that ships, with scores as in a search."""
    space, task, rng = load_space("blocks"), Task((1, 8, 8), 10, 3000), random.Random(0)
    study = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    for number in range(num):
        trial = study.ask()
        candidate = space.propose(trial, task)
        for limit, excess in task.budget.excess(candidate.architecture).items():
            trial.set_constraint(limit, excess)
        if number % 5 == 4:
            trial.report(rng.random(), 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, rng.random())
        yield candidate.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_users_see_no_warning_while_a_sampler_proposes_blocks(name, caplog):
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        list(blocks_proposals(name))
    assert [str(warning.message) for warning in seen] == []
    # Whether greenlet is there is no matter of the sampler.
    assert [text for text in caplog.messages if "greenlet" not in text] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])  # it takes seconds
def test_sampler_proposes_many_different_networks_of_blocks(name):
    assert len(set(blocks_proposals(name))) >= 12


def last_distances(name, is_stopped=lambda number: False):
    """The mean distance of its last proposals in a space that every sampler understands."""
    study = optuna.create_study(direction="maximize", sampler=sampler_of(name, seed=1))
    distances = []
    for number in range(40):
        trial = study.ask()
        distances.append(sum(abs(trial.suggest_float(x, 0, 1) - 0.8) for x in "abc"))
        trial.report(-distances[-1], 1)
        if is_stopped(number):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, -distances[-1])
    return sum(distances[25:]) / 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_sampler_comes_nearer_to_the_best_than_chance(name):
    assert last_distances(name) < 0.8 * last_distances("random")


@pytest.mark.filterwarnings("ignore")
def test_tpe_learns_from_stopped_candidates_too():
    assert last_distances("tpe", lambda n: n % 20 > 0) < 0.65 * last_distances("random")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
@pytest.mark.parametrize("space", ["blocks", "residual", "separable", "tied"])
def test_sampler_copes_with_stopped_trials_that_were_asked_for_other_parameters(name, space):
    """As with the pruner `squeezed`, which stops three of four."""
    loaded, task = load_space(space), Task((1, 28, 28), 10, 3000)
    rng = random.Random(0)
    study = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    study.enqueue_trial(loaded.first_proposals(task)[0])
    for number in range(24):
        trial = study.ask()
        loaded.propose(trial, task)
        trial.report(rng.random(), 1)
        if number % 4 == 0:
            study.tell(trial, rng.random())
        else:
            study.tell(trial, state=TrialState.PRUNED)


# Going on after a break


def plain_suggest(trial, task):
    """A space in which every trial has the same parameters, so that `auto` stays with gp."""
    candidate = suggest(trial, task)
    rate = trial.suggest_float("learning_rate", 0.01, 1, log=True)  # or all soon were duplicates
    return replace(candidate, recipe=replace(candidate.recipe, learning_rate=rate))


def branching_suggest(trial, task):
    if trial.suggest_categorical("has_more", [True, False]):
        trial.suggest_float("more", 0, 1)
    return plain_suggest(trial, task)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pruner", ["none", "squeezed"])
@pytest.mark.parametrize(
    ("name", "space"),
    [("tpe", plain_suggest), ("auto", plain_suggest), ("auto", branching_suggest)],
    ids=["tpe", "auto as gp", "auto as tpe"],
)
def test_search_that_ended_between_two_trials_goes_on_as_if_it_had_not(
    name, space, pruner, tiny_data, tmp_path, monkeypatch
):
    """In new objects, as by another process. Nothing is finished at the ends on the way."""
    soon = partial(SqueezedPruner, lowest_kept=4, first=1, finished=0)
    monkeypatch.setattr("nas.searching.pruners.SqueezedPruner", soon)

    def proposals(stops, folder):
        storage = optuna.storages.InMemoryStorage()
        for trials in stops:
            study = optuna.create_study(
                study_name="s", storage=storage, direction="maximize", load_if_exists=True
            )
            task = Task(tiny_data.input_shape, len(tiny_data.classes), 400, 19)
            data = with_images(tiny_data, FIRST_RUNG) if pruner == "squeezed" else tiny_data
            settings = SearchConfig(
                budget=1, trials=trials, sampler=name, pruner=pruner, max_rejected=40
            )
            pool = FakePool()
            search_in(study, make_space(space), task, data, settings, pool, tmp_path / folder).run()
        return [(r.params, r.outcome, r.valid_accuracy) for r in read_trials(study)]

    assert proposals([7, 12, 13], "halting") == proposals([13], "straight")


def with_images(data, num):
    """The data with so many images to train on, some of them several times."""
    return replace(data, train_index=data.train_index[[i % 100 for i in range(num)]])


# Pruners


@pytest.mark.parametrize("epochs", [1, 2, 3, 19])
def test_median_stays_silent_in_the_first_third(epochs):
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", epochs, 1000))
    for _ in range(8):
        trial = study.ask()
        for epoch in range(1, epochs + 1):
            trial.report(0.9, epoch)
        study.tell(trial, 0.9)
    weak = study.ask()
    stopped_at = math.inf
    for epoch in range(1, epochs + 1):
        weak.report(0.1, epoch)
        if weak.should_prune():
            stopped_at = epoch
            break
    assert stopped_at > epochs / 3
    assert epochs < 19 or stopped_at < math.inf


def test_without_a_pruner_nothing_is_stopped():
    study = optuna.create_study(direction="maximize", pruner=make_pruner("none", 19, 1000))
    for value in (0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
        trial = study.ask()
        for epoch in range(1, 20):
            trial.report(value, epoch)
            assert not trial.should_prune()
        study.tell(trial, value)


@pytest.mark.parametrize(
    ("num_train", "epochs", "expected"),
    [
        (55_000, 19, (1, 4, 19)),  # MNIST
        (55_000, 8, (1, 4, 8)),
        (55_000, 7, (1, 7)),
        (55_000, 2, (1, 2)),
        (55_000, 1, (1,)),
        (55_000, 100, (1, 4, 16, 100)),
        (15_000, 19, (1, 4, 19)),
        (14_999, 19, (2, 8, 19)),
        (5_000, 19, (3, 19)),
        (1_600, 19, (19,)),  # the digits: a rung would take ten epochs
        (1_600, 20, (10, 20)),
        (1, 19, (19,)),
    ],
)
def test_squeezed_schedules_are_four_times_as_long_each_and_then_full(num_train, epochs, expected):
    assert make_pruner("squeezed", epochs, num_train).rung_epochs(epochs) == expected


@pytest.mark.parametrize("pruner", ["median", "none"])
def test_other_pruners_have_the_full_schedule_alone(pruner):
    assert make_pruner(pruner, 19, 55_000).rung_epochs(19) == (19,)


@pytest.mark.parametrize("num_train", [100, 1_600, 5_000, 20_000, 55_000])
@pytest.mark.parametrize("epochs", [1, 2, 5, 19, 100, 1000])
def test_rungs_rise_and_the_last_is_no_more_than_half_of_the_epochs(num_train, epochs):
    *rungs, last = make_pruner("squeezed", epochs, num_train).rung_epochs(epochs)
    assert last == epochs
    assert rungs == sorted(set(rungs))
    assert all(2 * rung <= epochs for rung in rungs)
    assert all(rung * num_train >= FIRST_RUNG for rung in rungs)


# Out of ideas


def end_all(study, reasons):
    for reason in reasons:
        trial = study.ask()
        flat_trial(trial)
        if reason is not None:
            record_reason(trial, reason, "")
        failed = reason in (Reason.INTERRUPTED, Reason.LOST)
        study.tell(trial, None if failed else 0.5, TrialState.FAIL if failed else None)


TWICE = Reason.DUPLICATE


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ([], False),
        ([TWICE] * (STUCK - 1), False),
        ([TWICE] * STUCK, True),
        ([None, *[TWICE] * (STUCK - 1)], False),
        ([None, *[TWICE] * STUCK], True),
        ([*[TWICE] * STUCK, None], False),
        ([*[TWICE] * (STUCK - 1), None, TWICE], False),
        ([*[TWICE] * STUCK, Reason.OVER_BUDGET], False),
        ([TWICE, Reason.LOST, *[TWICE] * (STUCK - 1)], True),  # and proposed again
        ([*[TWICE] * STUCK, Reason.INTERRUPTED], True),
        ([Reason.LOST, *[TWICE] * (STUCK - 1)], False),
    ],
)
def test_sampler_is_stuck_after_so_many_duplicates_in_a_row(reasons, expected):
    study = study_of(flat_trial, num=0)
    end_all(study, reasons)
    assert is_stuck(study.trials, "tpe") is expected


def test_gp_which_does_not_hear_of_what_does_not_fit_is_stuck_with_it_too():
    for reasons, expected in (
        ([Reason.OVER_BUDGET] * STUCK, True),
        ([Reason.INVALID, TWICE] * STUCK, True),
        ([*[Reason.OVER_BUDGET] * (STUCK - 1), None], False),
        ([Reason.OVER_BUDGET] * (STUCK - 1), False),
    ):
        study = study_of(flat_trial, num=0)
        end_all(study, reasons)
        assert is_stuck(study.trials, "gp") is expected
        assert not is_stuck(study.trials, "tpe")


def test_trials_in_work_or_in_the_queue_change_nothing_about_being_stuck():
    study = study_of(flat_trial, num=0)
    end_all(study, [TWICE] * STUCK)
    study.ask()
    study.enqueue_trial({"x": 0.5})
    assert is_stuck(study.trials, "tpe")


@pytest.mark.parametrize("name", ["auto", "tpe", "gp"])
def test_stuck_sampler_draws_at_random_until_something_new_is_found(names, name):
    study = study_of(flat_trial)
    end_all(study, [TWICE] * STUCK)
    ask_next(study, name, flat_trial)
    assert set(names) == {"random"}
    study.tell(study.trials[-1].number, 0.5)
    names.clear()
    ask_next(study, name, flat_trial)
    assert "random" not in names
