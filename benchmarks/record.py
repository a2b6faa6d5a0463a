"""The recorded learning curves, by candidate, schedule and seed."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from curves import SQUEEZED, TASK

Run = dict[str, Any]

# A row of a history: training loss; validation loss and accuracy; often these of the average too.
LOSS, ACCURACY, AVERAGED_LOSS, AVERAGED_ACCURACY = 1, 2, 3, 4


class Record:
    """The trainings by candidate, epochs and seed; those that diverged left out."""

    def __init__(self, runs: Sequence[Run]) -> None:
        ended = [r for r in runs if len(r["history"]) == r["epochs"]]
        self.by_key = {(r["candidate"], r["epochs"], r["seed"]): r for r in ended}
        truths: dict[int, list[float]] = defaultdict(list)
        for (number, epochs, _), run in sorted(self.by_key.items()):
            if epochs == TASK.epochs:
                truths[number].append(run["truth"][1])
        self.truth = {number: statistics.mean(values) for number, values in truths.items()}
        self.seeds = {number: len(values) for number, values in truths.items()}

    def full(self, number: int, seed: int = 0) -> Run:
        return self.by_key[number, TASK.epochs, seed]

    def with_rungs(self) -> list[int]:
        """Candidates with every squeezed schedule."""
        wanted = (*SQUEEZED, TASK.epochs)
        return [n for n in self.truth if all((n, epochs, 0) in self.by_key for epochs in wanted)]
