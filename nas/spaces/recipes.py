"""Recipes for search spaces: the usual questions about training, and good answers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from nas.candidates.recipe import Optimizer, Recipe, Schedule
from nas.spaces.task import Task

if TYPE_CHECKING:  # spaces are loaded where Optuna need not be
    from optuna.trial import BaseTrial


def suggest_recipe(trial: BaseTrial, task: Task) -> Recipe:
    """Optimiser, rate, schedule, batch size and augmentation, for networks with batch norm."""
    # Good rates of the two optimisers are far apart, so each has a range of its own.
    optimizer = cast(Optimizer, trial.suggest_categorical("optimizer", ["sgd", "adamw"]))
    if optimizer == "sgd":
        learning_rate = trial.suggest_float("sgd_learning_rate", 0.03, 0.3, log=True)
        weight_decay = 5e-4
    else:
        learning_rate = trial.suggest_float("adamw_learning_rate", 2e-3, 2e-2, log=True)
        weight_decay = 1e-2
    return Recipe(
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=cast(Schedule, trial.suggest_categorical("schedule", ["one-cycle", "cosine"])),
        batch_size=trial.suggest_categorical("batch_size", [64, 128]),
        augmentation=trial.suggest_float("augmentation", 0.0, 1.0, step=0.1),
        flip=task.flips,
        epochs=task.epochs,
    )


# A recipe that is good for most small networks, to begin a search with.
GOOD_RECIPE: dict[str, object] = {
    "optimizer": "sgd",
    "sgd_learning_rate": 0.1,
    "schedule": "one-cycle",
    "batch_size": 64,
    "augmentation": 0.5,
}
