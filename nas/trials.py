"""Trials as records: the only file that reads or writes what stands in the storage about a trial.

A trial's user attributes say what was proposed, what became of it and what made it. Their names are
those of the fields of `TrialRecord`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.candidate import Candidate, Recipe
from nas.errors import StudyError, describe
from nas.metrics import EpochMetrics


class Reason(StrEnum):
    """Why a trial was not trained to its end."""

    OVER_BUDGET = "over budget"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    STOPPED_BY_PRUNER = "stopped by pruner"
    DIVERGED = "diverged"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    SURPLUS = "surplus"
    TIME_LIMIT = "time limit"


Rank = tuple[float, int, int]

TRAINED = "trained"  # in counts, beside the reasons: trained to its end
UNFINISHED = "unfinished"  # in counts: in work, or its process died and nobody has looked yet

CONTINUES = "continues"  # a trial's attribute: the number of a stopped one that it goes on with

# Broken off from outside, so to be trained again.
BROKEN_OFF = (Reason.INTERRUPTED, Reason.TIME_LIMIT, Reason.LOST)

REJECTED = (Reason.OVER_BUDGET, Reason.INVALID, Reason.DUPLICATE)  # before training

# Told as PRUNED or, a duplicate, as COMPLETE. FAIL means that a process died before it told them.
_TOLD_AS_RESULT = (*REJECTED, Reason.STOPPED_BY_PRUNER)


@dataclass(frozen=True)
class Rung:
    """What a training with a squeezed schedule came to."""

    epochs: int
    valid_loss: float
    valid_accuracy: float
    train_seconds: float


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it stands in the storage. What is not known (yet) is None or empty."""

    number: int
    state: TrialState
    valid_accuracy: float | None  # 0..1, of the last epoch that was trained
    reason: Reason | None
    detail: str  # one sentence beside the reason
    params: dict[str, Any]
    num_params: int | None
    num_macs: int | None
    spec: dict[str, Any] | None  # architecture and recipe as JSON
    fingerprint: str | None
    seed: int | None
    epochs: int | None  # trained
    history: tuple[EpochMetrics, ...]
    rungs: tuple[Rung, ...]  # trainings with squeezed schedules, before the one of `history`
    continues: int | None  # the trial in which those were, if it is another
    train_seconds: float | None  # of all that were in this trial
    device: str | None
    versions: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end; a duplicate has its score, but was not trained."""
        return self.state == TrialState.COMPLETE and self.reason is None

    @property
    def last_rung(self) -> Rung:
        """What the training of `history` came to."""
        last, seconds = self.history[-1], sum(metrics.seconds for metrics in self.history)
        return Rung(len(self.history), last.valid_loss, last.valid_accuracy, round(seconds, 3))

    @property
    def rank(self) -> Rank:
        return rank_key(self.valid_accuracy or 0.0, self.num_params or 0, self.number)

    @property
    def outcome(self) -> str:
        """`TRAINED`, a reason, or `UNFINISHED`."""
        return _outcome(self.state, self.reason)

    @cached_property
    def candidate(self) -> Candidate | None:
        """What was trained; None for a proposal that was turned away."""
        if self.spec is None:
            return None
        return Candidate(
            Architecture.from_json(self.spec["architecture"]),
            Recipe.from_json(self.spec["recipe"]),
        )


def reason_of(trial: FrozenTrial) -> Reason | None:
    """Why a trial was not trained to its end, where that is known.

    A trial is LOST when it was closed and nothing says why: its process could not.
    """
    text = trial.user_attrs.get("reason")
    try:
        reason = None if text is None else Reason(text)
    except ValueError as error:
        raise _damaged(trial, error) from error
    if trial.state == TrialState.FAIL and (reason is None or reason in _TOLD_AS_RESULT):
        return Reason.LOST
    return reason


def was_broken_off(trial: FrozenTrial) -> bool:
    """Whether its training was cut off from outside."""
    return trial.state == TrialState.FAIL and reason_of(trial) in BROKEN_OFF


def num_rejected_last(study: optuna.Study) -> int:
    """How many of the newest proposals were turned away, one after another."""
    num_rejected = 0
    for trial in reversed(study.get_trials(deepcopy=False)):
        if reason_of(trial) in REJECTED:
            num_rejected += 1
        elif "fingerprint" in trial.user_attrs and CONTINUES not in trial.user_attrs:
            break
    return num_rejected


def outcome_of(trial: FrozenTrial) -> str:
    """`TRAINED`, a reason, or `UNFINISHED`."""
    return _outcome(trial.state, reason_of(trial))


def _outcome(state: TrialState, reason: Reason | None) -> str:
    return str(reason or (TRAINED if state == TrialState.COMPLETE else UNFINISHED))


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """Every trial, by number."""
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def rank_key(valid_accuracy: float, num_params: int, number: int) -> Rank:
    """Sorts the best first: by accuracy, then by fewer parameters, then by age."""
    return -valid_accuracy, num_params, number


def best_trials(study: optuna.Study, most: int | None = None) -> list[TrialRecord]:
    """Trials that were trained to their end, best first, no more than `most` of them."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    done = [t for t in complete if reason_of(t) is None and t.value is not None]
    done.sort(key=lambda t: rank_key(t.value or 0.0, t.user_attrs.get("num_params") or 0, t.number))
    return [_record(trial) for trial in done[:most]]


def best_trial(study: optuna.Study) -> TrialRecord | None:
    """The best of those trained to their end, if there is one."""
    return next(iter(best_trials(study, 1)), None)


def find_trial(study: optuna.Study, number: int | None) -> TrialRecord:
    """The trial of that number, or the best one.

    Raises:
        StudyError: no such trial, none completed yet, or one that was never built.
    """
    if number is None:
        best = best_trial(study)
        if best is None:
            raise StudyError(f"study {study.study_name!r} has no completed trial yet")
        return best
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(
            f"study {study.study_name!r} has no trial {number}: it has {len(trials)} "
            f"(0 to {len(trials) - 1})"
        )
    return _record(trials[number])


def find_continued(study: optuna.Study, trial: optuna.Trial) -> TrialRecord | None:
    """The stopped trial that this one goes on with, if there is one."""
    number = trial.user_attrs.get(CONTINUES)
    return None if number is None else find_trial(study, number)


def record_candidate(
    trial: optuna.Trial, candidate: Candidate, seed: int, device: str, versions: dict[str, str]
) -> None:
    """Store what is about to be trained, and everything needed to train it again."""
    _set(
        trial,
        num_params=candidate.architecture.num_params,
        num_macs=candidate.architecture.num_macs,
        architecture=candidate.architecture.to_json(),
        recipe=candidate.recipe.to_json(),
        fingerprint=candidate.fingerprint,
        seed=seed,
        device=device,
        versions=versions,
    )


def training_attrs(
    history: Sequence[EpochMetrics], train_seconds: float, rungs: Sequence[Rung]
) -> dict[str, Any]:
    """What came of a training, as it is stored."""
    return {
        "epochs": len(history),
        "train_seconds": round(train_seconds, 3),
        "history": [list(asdict(metrics).values()) for metrics in history],
        "rungs": [list(asdict(rung).values()) for rung in rungs],
    }


def record_training(
    trial: optuna.Trial,
    history: Sequence[EpochMetrics],
    train_seconds: float,
    rungs: Sequence[Rung] = (),
) -> None:
    """Store what came of a training, finished or not."""
    _set(trial, **training_attrs(history, train_seconds, rungs))


def record_reason(trial: optuna.Trial, reason: Reason, detail: str) -> None:
    """Store why a trial was not trained to its end."""
    _set(trial, reason=str(reason), detail=detail)


def record_rejection(
    trial: optuna.Trial, reason: Reason, detail: str, num_params: int | None
) -> None:
    """Store why a proposal was turned away before training, and its count where there is one."""
    record_reason(trial, reason, detail)
    if num_params is not None:
        _set(trial, num_params=num_params)


def _set(trial: optuna.Trial, **attrs: Any) -> None:
    for key, value in attrs.items():
        trial.set_user_attr(key, value)


def _damaged(trial: FrozenTrial, error: Exception) -> StudyError:
    return StudyError(
        f"trial {trial.number} is damaged in the database ({describe(error)[:200]}): bring back a "
        "copy from before, or move it away"
    )


def _record(trial: FrozenTrial) -> TrialRecord:
    try:
        return _record_of(trial)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(trial, error) from error


def _record_of(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    has_spec = "architecture" in attrs and "recipe" in attrs
    reason = reason_of(trial)
    is_lost = reason == Reason.LOST
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        valid_accuracy=trial.value if trial.state != TrialState.FAIL else None,
        reason=reason,
        detail="its process ended without a word" if is_lost else attrs.get("detail", ""),
        params=trial.params,
        num_params=attrs.get("num_params"),
        num_macs=attrs.get("num_macs"),
        spec={name: attrs[name] for name in ("architecture", "recipe")} if has_spec else None,
        fingerprint=attrs.get("fingerprint"),
        seed=attrs.get("seed"),
        epochs=attrs.get("epochs"),
        history=tuple(EpochMetrics(*row) for row in attrs.get("history", ())),
        rungs=tuple(Rung(*row) for row in attrs.get("rungs", ())),
        continues=attrs.get(CONTINUES),
        train_seconds=attrs.get("train_seconds"),
        device=attrs.get("device"),
        versions=attrs.get("versions", {}),
    )
