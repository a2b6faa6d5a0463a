"""Trials as records: the only file that reads or writes what stands in the storage about a trial.

User attributes are the few scalars that people look at in the dashboard: `num_params`, `num_macs`,
`fingerprint`, `epochs`, `train_seconds`, `reason`, `detail`. All else is one JSON object when the
trial begins and one when it ends, in system attributes, which the dashboard does not print. Older
studies have every field as a user attribute: `stored` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.metrics import EpochMetrics
from nas.storage.internals import set_system_attr
from nas.storage.reasons import SQUEEZED_INTO, Reason, damaged, outcome, reason_of

PROMOTED_FROM = "continues"  # a user attribute: the number of the stopped trial it goes on with

# System attributes.
BEGUN = "nas:begun"  # what is needed to train it again
ENDED = "nas:ended"  # the curve, and the trainings with short schedules before it
RESULT = "nas:result"  # what the schedule that its weights have ended came to

_BEGUN_FIELDS = (
    "architecture",
    "recipe",
    "seed",
    "device",
    "versions",
    "pruner",
    "schedule",
    "sampler",
)
_ENDED_FIELDS = ("history", "rungs")


@dataclass(frozen=True)
class Rung:
    """What a training came to that has ended its schedule."""

    epochs: float  # of the schedule; below 1 it is a part of the images
    valid_loss: float
    valid_accuracy: float
    train_seconds: float


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it stands in the storage. What is not known (yet) is None or empty."""

    number: int
    state: TrialState
    valid_accuracy: float | None  # 0..1, of its network; without one, of its last epoch
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
    rungs: tuple[Rung, ...]  # trainings with short schedules, before the one of `history`
    result: Rung | None  # of the schedule that its weights have ended; None: it has ended none
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
        """What the schedule came to that it has ended last."""
        return self.result or _rung_of(len(self.history), self.history)

    @property
    def schedule_text(self) -> str:
        """How much of the full schedule its network had, for example `1 of 19 epochs`."""
        if self.result is None or self.spec is None:
            return ""
        return epochs_text(self.result.epochs, self.spec["recipe"]["epochs"])

    @property
    def is_short(self) -> bool:
        """Whether its network ended a schedule that is shorter than its recipe's."""
        return (
            self.result is not None
            and self.spec is not None
            and self.result.epochs < self.spec["recipe"]["epochs"]
        )

    @property
    def outcome(self) -> str:
        """`TRAINED`, a reason, or `UNFINISHED`."""
        return outcome(self.state, self.reason)

    @cached_property
    def candidate(self) -> Candidate | None:
        """What was trained; None for a proposal that was turned away."""
        if self.spec is None:
            return None
        return Candidate(
            Architecture.from_json(self.spec["architecture"]),
            Recipe.from_json(self.spec["recipe"]),
        )


def stored(trial: FrozenTrial, field: str, default: Any = None) -> Any:
    """A field of `TrialRecord` as it stands in the storage."""
    for name, fields in ((BEGUN, _BEGUN_FIELDS), (ENDED, _ENDED_FIELDS)):
        if field in fields and name in trial.system_attrs:
            return trial.system_attrs[name].get(field, default)
    return trial.user_attrs.get(field, default)


def was_shortened(trial: FrozenTrial) -> bool:
    """Whether a time limit had it trained for fewer epochs than its recipe says."""
    schedule = stored(trial, "schedule")
    if schedule is None:
        return False
    result = result_of(trial)  # shorter than its schedule where even that was cut off
    epochs = schedule if result is None else min(schedule, result.epochs)
    return bool(epochs < stored(trial, "recipe")["epochs"])


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """Every trial, by number."""
    return [record_of(trial) for trial in study.get_trials(deepcopy=False)]


def result_of(trial: FrozenTrial) -> Rung | None:
    """What the best schedule that a trial has ended came to; None where it has ended none.

    It does not depend on what became of the trial later: one that was cut off in its second
    schedule, or whose process died, has ended the first.
    """
    result = trial.system_attrs.get(RESULT) or trial.user_attrs.get("result")
    if result is not None:
        return Rung(*result)
    # Studies from before it was stored: there each training that was not cut off ended a schedule.
    history = stored(trial, "history", ())
    reason = reason_of(trial)
    was_squeezed = reason == Reason.STOPPED_BY_PRUNER and SQUEEZED_INTO in trial.user_attrs.get(
        "detail", ""
    )
    if history and was_squeezed:
        return _rung_of(len(history), [EpochMetrics(*row) for row in history])
    if trial.state == TrialState.COMPLETE and reason is None and trial.value is not None:
        epochs = stored(trial, "recipe", {}).get("epochs", len(history))
        if history:
            return _rung_of(epochs, [EpochMetrics(*row) for row in history])
        return Rung(epochs, 1 - trial.value, trial.value, 0.0)  # nothing but the score is known
    rungs = stored(trial, "rungs", ())
    return Rung(*rungs[-1]) if rungs else None


def _rung_of(epochs: float, history: Sequence[EpochMetrics]) -> Rung:
    last, seconds = history[-1], sum(metrics.seconds for metrics in history)
    return Rung(epochs, last.valid_loss, last.valid_accuracy, round(seconds, 3))


def epochs_number(epochs: float) -> str:
    """The length of a schedule, for example `0.27`, `19` or `150`."""
    return f"{epochs:.2g}" if epochs < 1 else f"{epochs:g}"


def epochs_text(epochs: float, of: int) -> str:
    """For example `7 of 19 epochs`, `0.27 of 19 epochs`."""
    return f"{epochs_number(epochs)} of {of} epochs"


def record_candidate(
    trial: optuna.Trial,
    candidate: Candidate,
    seed: int,
    device: str,
    versions: dict[str, str],
    pruner: str,
    schedule: float | None = None,
    sampler: str | None = None,
) -> None:
    """Store what is about to be trained, and everything needed to train it again.

    Args:
        pruner: name of the one that may stop it.
        schedule: epochs of it that a time limit has chosen.
        sampler: name of the one that proposed it.
    """
    values = (candidate.architecture.to_json(), candidate.recipe.to_json(), seed, device, versions,
              pruner, schedule, sampler)  # fmt: skip
    _set_system(trial, {BEGUN: dict(zip(_BEGUN_FIELDS, values, strict=True))})
    _set(
        trial,
        num_params=candidate.architecture.num_params,
        num_macs=candidate.architecture.num_macs,
        fingerprint=candidate.fingerprint,  # the last: once it is there, all is
    )


def ended_attrs(history: Sequence[EpochMetrics], rungs: Sequence[Rung]) -> dict[str, Any]:
    """What came of a training, as a system attribute."""
    values = [[list(asdict(row).values()) for row in rows] for rows in (history, rungs)]
    return {ENDED: dict(zip(_ENDED_FIELDS, values, strict=True))}


def training_attrs(history: Sequence[EpochMetrics], train_seconds: float) -> dict[str, Any]:
    """What came of a training, as user attributes."""
    return {"epochs": len(history), "train_seconds": round(train_seconds, 3)}


def record_training(
    trial: optuna.Trial,
    history: Sequence[EpochMetrics],
    train_seconds: float,
    rungs: Sequence[Rung] = (),
) -> None:
    """Store what came of a training, finished or not."""
    _set_system(trial, ended_attrs(history, rungs))
    _set(trial, **training_attrs(history, train_seconds))


def result_attrs(result: Rung) -> dict[str, Any]:
    """What an ended schedule came to, as a system attribute."""
    return {RESULT: list(asdict(result).values())}


def record_result(trial: optuna.Trial, result: Rung) -> None:
    """Store what an ended schedule came to, when its weights are kept."""
    _set_system(trial, result_attrs(result))


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


def _set_system(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    for key, value in attrs.items():
        set_system_attr(trial.study, trial, key, value)


def record_of(trial: FrozenTrial) -> TrialRecord:
    try:
        return _record_of(trial)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise damaged(trial, error) from error


def _record_of(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    spec = {name: stored(trial, name) for name in ("architecture", "recipe")}
    reason = reason_of(trial)
    is_lost = reason == Reason.LOST
    result = result_of(trial)
    accuracy = trial.value if trial.state != TrialState.FAIL else None
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        valid_accuracy=accuracy if result is None else result.valid_accuracy,
        reason=reason,
        detail="its process ended without a word" if is_lost else attrs.get("detail", ""),
        params=trial.params,
        num_params=attrs.get("num_params"),
        num_macs=attrs.get("num_macs"),
        spec=None if None in spec.values() else spec,
        fingerprint=attrs.get("fingerprint"),
        seed=stored(trial, "seed"),
        epochs=attrs.get("epochs"),
        history=tuple(EpochMetrics(*row) for row in stored(trial, "history", ())),
        rungs=tuple(Rung(*row) for row in stored(trial, "rungs", ())),
        result=result,
        continues=attrs.get(PROMOTED_FROM),
        train_seconds=attrs.get("train_seconds"),
        device=stored(trial, "device"),
        versions=stored(trial, "versions", {}),
    )
