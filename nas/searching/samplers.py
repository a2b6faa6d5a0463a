"""How candidates are proposed: Optuna's samplers."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from nas.searching.config import SamplerName
from nas.storage.reasons import REJECTED, Reason, reason_of, was_broken_off

LEARNS_FROM_FULL_TRAININGS = "gp"  # Optuna's hears of no candidate that was stopped
STUCK = 3  # proposals in a row that teach nothing, after which the next is drawn at random


def derive_seed(study_seed: int, trial_number: int, purpose: str) -> int:
    """A seed of 32 bits that depends on nothing but its arguments."""
    text = f"{study_seed}/{trial_number}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class SeededSampler(BaseSampler):
    """A sampler that is seeded anew for each trial, and for each parameter of it.

    What it proposes depends on the study's seed, the trial's place and the trials before: not on
    what a process has drawn before, so a search that was broken off goes on as if it had not been.

    Args:
        study_seed: of all proposals.
        index_of: a trial's place among the study's trials.
    """

    def __init__(
        self,
        name: SamplerName,
        study_seed: int,
        index_of: Callable[[FrozenTrial, Sequence[FrozenTrial]], int],
    ) -> None:
        self.name = name
        self.study_seed = study_seed
        self.index_of = index_of

    def _seeded(self, study: optuna.Study, trial: FrozenTrial, purpose: str) -> BaseSampler:
        trials = study.get_trials(deepcopy=False)
        seed = derive_seed(self.study_seed, self.index_of(trial, trials), purpose)
        name = self.name
        if name == "auto":
            name = "gp" if suits_gp(trials) else "tpe"
        if is_stuck(trials, name):
            name = "random"
        return make_sampler(name, seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._seeded(study, trial, "space").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        sampler = self._seeded(study, trial, "relative")
        with _no_warnings():
            return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._seeded(study, trial, f"parameter {param_name}")
        with _no_warnings():
            return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._seeded(study, trial, "before").before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        with _no_warnings():
            self._seeded(study, trial, "after").after_trial(study, trial, state, values)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Samplers warn of what a user of theirs cannot change: constraints, equal points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_sampler(name: SamplerName, seed: int) -> BaseSampler:
    """One of Optuna's samplers, set for small studies of networks; `auto` is decided elsewhere."""
    # A Gaussian process knows only parameters that every trial has; what else a conditional space
    # asks for is left to TPE, which by default models what it can jointly.
    tpe = TPESampler(seed=seed)
    match name:
        case "gp":
            return GPSampler(seed=seed, independent_sampler=tpe, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)
        case _:
            return tpe


def suits_gp(trials: Sequence[FrozenTrial]) -> bool:
    """Whether all trained candidates had the same parameters, and none was turned away unbuilt.

    A Gaussian process never hears of what is over a limit, and proposes it again and again.
    """
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len({frozenset(trial.params) for trial in done}) > 1:
        return False
    return not any(reason_of(t) in (Reason.OVER_BUDGET, Reason.INVALID) for t in trials)


def is_stuck(trials: Sequence[FrozenTrial], name: SamplerName) -> bool:
    """Whether the sampler has learned nothing of the last few proposals.

    All were trained before; of what did not fit, some samplers do not hear either.
    """
    unheard = REJECTED if name == LEARNS_FROM_FULL_TRAININGS else (Reason.DUPLICATE,)
    # What was broken off is none: it is proposed again, as if nothing had been.
    ended = (t for t in reversed(trials) if t.state.is_finished() and not was_broken_off(t))
    last = list(islice(ended, STUCK))
    return len(last) == STUCK and all(reason_of(trial) in unheard for trial in last)
