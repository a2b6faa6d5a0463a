"""Importance: how much each parameter of a space has to do with how accurate its networks are."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from nas.errors import StudyError
from nas.storage.studies import study_facts
from nas.storage.trials import epochs_text, read_trials

FEWEST = 20  # candidates: of fewer, chance says more than the parameters
MOST = 500  # more take long and change little
NUM_TREES = 16  # Optuna's 64 take four times as long, and shares of 500 candidates differ by 0.04


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of the logarithm of the error, the largest first."""

    shares: dict[str, float]
    num_candidates: int
    schedule: str  # after which they are compared, for example `1 of 19 epochs`
    left_out: int  # parameters that not every candidate has


def importance_of(study: optuna.Study) -> Importance:
    """By Optuna's fANOVA, of all candidates after the schedule that most of them have ended.

    After Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
    Importance" (2014). Errors are compared as logarithms, or the few worst would decide.

    Raises:
        StudyError: fewer than `FEWEST` candidates, or they do not differ.
    """
    accuracies: dict[str, dict[float, float]] = defaultdict(dict)
    first: dict[str, int] = {}
    for record in read_trials(study):
        rungs = [*record.rungs, *([record.result] if record.result else [])]
        key = record.fingerprint or str(record.number)
        first.setdefault(key, record.number)
        accuracies[key] |= {rung.epochs: rung.valid_accuracy for rung in rungs}
    counts = Counter(epochs for found in accuracies.values() for epochs in found)
    epochs, count = max(counts.items(), key=lambda item: (item[1], item[0]), default=(0.0, 0))
    if count < FEWEST:
        raise StudyError(
            f"study {study.study_name!r} has {count} candidates with schedules of equal length: "
            f"the importance of parameters needs {FEWEST}"
        )
    chosen = [key for key in accuracies if epochs in accuracies[key]]
    if len(chosen) > MOST:
        chosen = random.Random(0).sample(chosen, MOST)
    trials = study.get_trials(deepcopy=False)
    compared = optuna.create_study(direction="maximize")
    for key in chosen:
        trial, accuracy = trials[first[key]], accuracies[key][epochs]
        compared.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions,
                value=-math.log(max(1 - accuracy, 1e-5)),
            )
        )  # fmt: skip
    try:
        evaluator = FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=0)
        shares = get_param_importances(compared, evaluator=evaluator)
    except (RuntimeError, ValueError) as error:
        raise StudyError(
            f"study {study.study_name!r} has no parameters whose importance can be told: {error}"
        ) from error
    names = {name for key in chosen for name in trials[first[key]].params}
    if not shares or not math.isfinite(sum(shares.values())):
        raise StudyError(
            f"study {study.study_name!r} has no parameters whose importance can be told: no "
            "parameter that all candidates have makes a difference"
        )
    facts = study_facts(study)
    schedule = epochs_text(epochs, facts.epochs) if facts else f"{epochs:g} epochs"
    return Importance(shares, len(chosen), schedule, len(names - shares.keys()))
