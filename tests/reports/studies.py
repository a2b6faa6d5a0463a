"""Studies as searches leave them, with curves that are made up."""

from __future__ import annotations

import random
from dataclasses import replace

import optuna
from optuna.trial import TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, MaxPool, ReLU
from nas.candidates.recipe import Recipe
from nas.metrics import EpochMetrics
from nas.storage.reasons import Reason
from nas.storage.studies import open_or_create_study
from nas.storage.trials import Rung, record_candidate, record_reason, record_result, record_training
from tests.storage.test_studies import DATA, FACTS

EPOCHS = 19
CLASSES = tuple("0123456789")


def network(width):
    layers = [
        Conv(width), BatchNorm(), ReLU(), MaxPool(2), Conv(2 * width), ReLU(), GlobalAvgPool(),
        Flatten(), Linear(10),
    ]  # fmt: skip
    return Architecture((1, 28, 28), layers)


def make_study(num_trials, name="s", storage=None, facts=FACTS, data=None, stop=0.7):
    """A study of that many candidates, of which the pruner has stopped about that share."""
    storage = storage or optuna.storages.InMemoryStorage()
    data = data or replace(DATA, classes=CLASSES)
    study = open_or_create_study(storage, name, facts, data, "text")
    study.sampler = optuna.samplers.RandomSampler(0)
    rng = random.Random(name)
    for _ in range(num_trials):
        trial = study.ask()
        width = trial.suggest_int("width", 2, 30)
        rate = trial.suggest_float("learning_rate", 0.01, 0.2)
        if rng.random() < 0.5:
            trial.suggest_float("sometimes", 0, 1)
        candidate = Candidate(network(width), Recipe(epochs=EPOCHS, learning_rate=rate))
        is_stopped = rng.random() < stop
        epochs = 1 if is_stopped else EPOCHS
        error = 0.3 / width + rng.random() / 50
        curve = [
            EpochMetrics(n, 2 / n, error * 3 / n, 1 - min(error * (1 + 6 / n), 0.9), 0.5)
            for n in range(1, epochs + 1)
        ]
        record_candidate(trial, candidate, trial.number, "cpu, fp32", {"nas": "0.1"}, "squeezed")
        last = curve[-1]
        first = Rung(1, curve[0].valid_loss, curve[0].valid_accuracy, 0.5)
        record_training(trial, curve, 0.5 * epochs, [] if is_stopped else [first])
        record_result(trial, Rung(epochs, last.valid_loss, last.valid_accuracy, 0.5 * epochs))
        trial.report(last.valid_accuracy, epochs)
        if is_stopped:
            record_reason(trial, Reason.STOPPED_BY_PRUNER, "its schedule squeezed into 1 epoch")
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, last.valid_accuracy)
    return study
