"""Reason: why a trial was not trained to its end, and how that is read from the storage."""

from __future__ import annotations

from enum import StrEnum

from optuna.trial import FrozenTrial, TrialState

from nas.errors import StudyError, one_line


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
    SURPLUS = "surplus"  # in studies from before: of two processes the other was faster
    TIME_LIMIT = "time limit"


TRAINED = "trained"  # in counts, beside the reasons: trained to its end
UNFINISHED = "unfinished"  # in counts: in work, or its process died and nobody has looked yet

SQUEEZED_INTO = "its schedule squeezed into"  # how the detail of a stopped trial begins

# Broken off from outside, so to be trained again.
BROKEN_OFF = (Reason.INTERRUPTED, Reason.TIME_LIMIT, Reason.LOST)

REJECTED = (Reason.OVER_BUDGET, Reason.INVALID, Reason.DUPLICATE)  # before training

# Told as PRUNED or, a duplicate, as COMPLETE. FAIL means that a process died before it told them.
_TOLD_AS_RESULT = (*REJECTED, Reason.STOPPED_BY_PRUNER)


def reason_of(trial: FrozenTrial) -> Reason | None:
    """Why a trial was not trained to its end, where that is known.

    A trial is LOST when it was closed and nothing says why: its process could not.
    """
    text = trial.user_attrs.get("reason")
    try:
        reason = None if text is None else Reason(text)
    except ValueError as error:
        raise damaged(trial, error) from error
    if trial.state == TrialState.FAIL and (reason is None or reason in _TOLD_AS_RESULT):
        return Reason.LOST
    return reason


def was_broken_off(trial: FrozenTrial) -> bool:
    """Whether its training was cut off from outside."""
    return trial.state == TrialState.FAIL and reason_of(trial) in BROKEN_OFF


def outcome_of(trial: FrozenTrial) -> str:
    """See `outcome`."""
    return outcome(trial.state, reason_of(trial))


def outcome(state: TrialState, reason: Reason | None) -> str:
    """`TRAINED`, a reason, or `UNFINISHED`."""
    return str(reason or (TRAINED if state == TrialState.COMPLETE else UNFINISHED))


def damaged(trial: FrozenTrial, error: Exception) -> StudyError:
    return StudyError(
        f"trial {trial.number} is damaged in the database ({one_line(error)[:200]}): bring back a "
        "copy from before, or move it away"
    )
