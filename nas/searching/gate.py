"""The gate: what does not fit, or was trained before, is never trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.candidates.budget import Budget
from nas.candidates.candidate import Candidate
from nas.errors import OverBudgetError
from nas.storage.reasons import Reason


@dataclass(frozen=True)
class Admitted:
    """A candidate that may be trained."""

    excess: Mapping[str, float]
    """By how much it is over each limit, as `Budget.excess` says: not at all."""


@dataclass(frozen=True)
class Rejected:
    """A proposal that is turned away before training."""

    reason: Reason
    detail: str  # one sentence
    num_params: int | None = None
    excess: Mapping[str, float] = field(default_factory=dict)
    earlier: int | None = None  # of a duplicate, the trial that is the same


def gate(candidate: Candidate, budget: Budget, known: Mapping[str, int]) -> Admitted | Rejected:
    """Whether a candidate is within the budget and new.

    Args:
        known: the numbers of earlier trials, by the fingerprints of their candidates.
    """
    architecture = candidate.architecture
    excess = budget.excess(architecture)
    try:
        budget.check(architecture)
    except OverBudgetError as error:
        return Rejected(Reason.OVER_BUDGET, str(error), error.num_params, excess)
    earlier = known.get(candidate.fingerprint)
    if earlier is not None:
        detail = f"trial {earlier} is the same"
        return Rejected(Reason.DUPLICATE, detail, architecture.num_params, excess, earlier)
    return Admitted(excess)
