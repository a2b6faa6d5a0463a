"""Ranking: the networks of a study in order, the likeliest best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nas.errors import StudyError
from nas.metrics import choice_order
from nas.storage.reasons import damaged
from nas.storage.studies import num_valid_of
from nas.storage.trials import PROMOTED_FROM, Rung, TrialRecord, record_of, result_of

UNKNOWN_NUM_VALID = 1_000  # in studies that do not say so


def is_better(study: optuna.Study, new: Rung, old: Rung | None) -> bool:
    """Whether a result is to be preferred to an earlier one of the same candidate."""
    return old is None or _order([new, old], study)[0] == 0


def ranked(
    study: optuna.Study, also: tuple[int, Rung] | None = None
) -> list[tuple[FrozenTrial, Rung]]:
    """The trials that have ended a schedule with what it came to, the likeliest best first.

    They are ordered by error times loss, as `choice_order` says, whatever their schedules; equal
    ones by longer schedules, then by fewer parameters, then by age. Of trials with the same
    candidate the best stands for all.

    Args:
        also: the number of a trial, and a result that is not stored yet.
    """
    found = []
    for trial in study.get_trials(deepcopy=False):
        try:
            result = also[1] if also and trial.number == also[0] else result_of(trial)
        except (TypeError, ValueError, IndexError) as error:
            raise damaged(trial, error) from error
        if result is not None:
            found.append((trial, result))

    def before_results(pair: tuple[FrozenTrial, Rung]) -> tuple[float, int, int]:
        trial, result = pair
        return -result.epochs, trial.user_attrs.get("num_params") or 0, trial.number

    found.sort(key=before_results)
    best: dict[Any, tuple[FrozenTrial, Rung]] = {}
    for place in _order([result for _, result in found], study):
        trial = found[place][0]
        best.setdefault(trial.user_attrs.get("fingerprint", trial.number), found[place])
    return list(best.values())


def _order(results: Sequence[Rung], study: optuna.Study) -> list[int]:
    if not results:
        return []
    accuracies = [result.valid_accuracy for result in results]
    losses = [result.valid_loss for result in results]
    return choice_order(accuracies, losses, num_valid_of(study) or UNKNOWN_NUM_VALID)


def best_trials(study: optuna.Study, most: int | None = None) -> list[TrialRecord]:
    """Trials with a network, that is with an ended schedule, best first, at most `most`."""
    return [record_of(trial) for trial, _ in ranked(study)[:most]]


def best_trial(study: optuna.Study) -> TrialRecord | None:
    """The best of those with a network, if there is one."""
    return next(iter(best_trials(study, 1)), None)


def find_trial(study: optuna.Study, number: int | None) -> TrialRecord:
    """The trial of that number, or the best one.

    Raises:
        StudyError: no such trial, or none has ended a schedule yet.
    """
    if number is None:
        best = best_trial(study)
        if best is None:
            raise StudyError(no_network(study))
        return best
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(
            f"study {study.study_name!r} has no trial {number}: it has {len(trials)} "
            f"(0 to {len(trials) - 1})"
        )
    return record_of(trials[number])


def no_network(study: optuna.Study) -> str:
    """What to say of a study in which no candidate has ended a schedule."""
    return f"study {study.study_name!r} has no trained network yet: give the same search more time"


def find_promoted_from(study: optuna.Study, trial: optuna.Trial) -> TrialRecord | None:
    """The stopped trial that this one goes on with, if there is one."""
    number = trial.user_attrs.get(PROMOTED_FROM)
    return None if number is None else find_trial(study, number)
