"""Budget: the gate that every candidate passes before a single image is loaded for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import NasError, OverBudgetError

if TYPE_CHECKING:  # the command line reads budgets without loading torch
    from nas.architecture import Architecture

LARGEST_BUDGET = 10**9


@dataclass(frozen=True)
class Budget:
    """A hard limit: a network fits when it has fewer than `max_params` parameters."""

    max_params: int

    def check(self, architecture: Architecture) -> int:
        """The exact number of parameters.

        Raises:
            OverBudgetError: the network has `max_params` parameters or more.
        """
        if architecture.num_params >= self.max_params:
            raise OverBudgetError(architecture.num_params, self.max_params)
        return architecture.num_params

    def excess(self, num_params: int) -> float:
        """How far a count is over the limit, as a share of it; <= 0 exactly when it fits."""
        return (num_params - self.max_params + 1) / self.max_params


def parse_budget(text: str) -> int:
    """A number of parameters as people write it: `20000`, `20_000` or `20k`.

    Raises:
        NasError: anything else, or a number outside 1 to 10^9.
    """
    match = re.fullmatch(r"(\d{1,3}(?:_\d{3})+|\d+)(k?)", text, re.ASCII)
    digits = match[1].replace("_", "").lstrip("0") if match else ""
    value = int(digits) * (1000 if match and match[2] else 1) if 0 < len(digits) <= 10 else 0
    if not 1 <= value <= LARGEST_BUDGET:
        raise NasError(
            f"--budget {text!r} is no number of parameters: "
            f"give a whole number from 1 to {LARGEST_BUDGET:,}, such as 20000, 20_000 or 20k"
        )
    return value
