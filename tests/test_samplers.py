"""Samplers, pruners and the seeds they are given."""

from __future__ import annotations

import math

import optuna
import pytest

from nas.samplers import derive_seed, make_pruner, make_sampler


def test_seeds_differ_by_study_trial_and_purpose():
    seeds = {derive_seed(s, n, p) for s in range(9) for n in range(99) for p in ("a", "b")}
    assert len(seeds) == 9 * 99 * 2
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_samplers_of_one_seed_propose_alike(name):
    def proposals(seed):
        study = optuna.create_study(sampler=make_sampler(name, seed))
        return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]

    assert proposals(1) == proposals(1) != proposals(2)


@pytest.mark.parametrize("name", ["median", "halving"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 19])
def test_pruners_stay_silent_in_the_first_third(name, epochs):
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, epochs))
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
