"""How candidates are proposed, and how weak ones are stopped: Optuna's samplers and pruners."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

SamplerName = Literal["auto", "tpe", "gp", "cmaes", "nsga2", "random"]
PrunerName = Literal["squeezed", "median", "halving", "none"]

POPULATION = 20  # of NSGA-II, whose own default of 50 is a whole search here
FIRST_RUNG = 15_000  # images that a squeezed schedule must see for its score to be no noise
KEPT = 4  # of so many candidates that reached a rung, one goes on to the next, so much longer one


def derive_seed(study_seed: int, trial_number: int, purpose: str) -> int:
    """A seed of 32 bits that depends on nothing but its arguments."""
    text = f"{study_seed}/{trial_number}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def make_sampler(name: SamplerName, seed: int, trials: Sequence[FrozenTrial] = ()) -> BaseSampler:
    """The sampler for one proposal.

    Args:
        seed: of this proposal, see `derive_seed`.
        trials: of the study so far, by which `auto` decides.
    """
    # Gaussian processes and CMA-ES know only parameters that every trial has; what else a
    # conditional space asks for is left to TPE, which by default models what it can jointly.
    tpe = TPESampler(seed=seed)
    if name == "auto":
        name = "tpe" if is_conditional(trials) else "gp"
    match name:
        case "tpe":
            return tpe
        case "gp":
            return GPSampler(seed=seed, independent_sampler=tpe, warn_independent_sampling=False)
        case "cmaes":
            return CmaEsSampler(
                seed=seed,
                independent_sampler=tpe,
                warn_independent_sampling=False,
                consider_pruned_trials=True,
            )
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=POPULATION)
        case "random":
            return RandomSampler(seed=seed)


def is_conditional(trials: Sequence[FrozenTrial]) -> bool:
    """Whether some trials were asked for other parameters than others."""
    return len({frozenset(trial.params) for trial in trials if trial.params}) > 1


def make_pruner(name: PrunerName, epochs: int, num_train: int) -> optuna.pruners.BasePruner:
    """The pruner of trials that report after each epoch, or, if `squeezed`, after each rung.

    Median and halving do not decide in the first third of the epochs, where scores are noise.

    Args:
        epochs: of the full schedule.
        num_train: images in an epoch.
    """
    first = epochs // 3 + 1  # the first epoch after which a candidate may be stopped
    match name:
        case "squeezed":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=_first_rung(num_train), reduction_factor=KEPT
            )
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=5, n_warmup_steps=first, n_min_trials=5
            )
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
        case "none":
            return optuna.pruners.NopPruner()


def schedules(pruner: PrunerName, epochs: int, num_train: int) -> tuple[int, ...]:
    """The epochs of each training of one candidate, one after another, as far as it gets.

    With `squeezed` the whole schedule of the learning rate is run through in one epoch, then by
    those that are kept in a few, then in all. That ranks candidates far better than the first
    epochs of the long schedule do, whose rate is still high (see benchmarks/replay.py). Where the
    data set is so small that a rung would take half of the epochs, there is none.
    """
    rungs = []
    if pruner == "squeezed":
        rung = _first_rung(num_train)
        while 2 * rung <= epochs:
            rungs.append(rung)
            rung *= KEPT
    return (*rungs, epochs)


def _first_rung(num_train: int) -> int:
    return math.ceil(FIRST_RUNG / num_train)
