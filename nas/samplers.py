"""How candidates are proposed, and how weak ones are stopped: Optuna's samplers and pruners."""

from __future__ import annotations

import hashlib
from typing import Literal

import optuna

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["median", "halving", "none"]


def derive_seed(study_seed: int, trial_number: int, purpose: str) -> int:
    """A seed of 32 bits that depends on nothing but its arguments."""
    text = f"{study_seed}/{trial_number}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def make_sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def make_pruner(name: PrunerName, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner; none of them decides in the first third of the epochs, where scores are noise."""
    first = epochs // 3 + 1  # the first epoch after which a candidate may be stopped
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    return optuna.pruners.NopPruner()
