"""Foresight: how long a search that runs is likely to go on, by the forecast of `nas check`."""

from __future__ import annotations

import statistics
from collections.abc import Collection

from nas.searching.estimate import epochs_left
from nas.searching.ledger import Ledger
from nas.searching.pace import Pace
from nas.searching.planning import FORWARD_SHARE
from nas.searching.running import RunningTrial
from nas.searching.stop import StopRequest
from nas.training.pool import WorkerPool


class Foresight:
    """Says how much time is left.

    Args:
        ledger: how many candidates there are, and how long each was trained.
        pace: what an image costs, as far as epochs have ended.
        pool: how many train at once, on how many images.
        stop: the time limit.
    """

    def __init__(self, ledger: Ledger, pace: Pace, pool: WorkerPool, stop: StopRequest) -> None:
        self.ledger = ledger
        self.pace = pace
        self.pool = pool
        self.stop = stop

    def seconds_left(self, running: Collection[RunningTrial]) -> float | None:
        """Until the search is likely to end, at the latest by its time limit.

        None where neither is known: nothing has been trained yet.

        Args:
            running: what is in work, at least one.
        """
        limit = self.stop.seconds_left
        epoch_seconds = self._epoch_seconds(running)
        if epoch_seconds is None:
            return limit
        full = max(each.candidate.recipe.epochs for each in running)
        rungs = self.ledger.pruner.rung_epochs(full)
        longest = self.ledger.longest_schedules
        # Who diverged, or was stopped inside of a schedule, needs no other in its place.
        num_lost = max(self.ledger.num_trained - len(longest), 0)
        num_begun = self.ledger.num_trained + len(running)
        epochs = epochs_left(
            rungs,
            num_begun if self.ledger.is_exhausted else self.ledger.config.trials,
            self.pool.num_workers,
            [*longest, *num_lost * rungs[:1]],
            sum(each.clock.epochs for each in running),
        )
        # What is in work is trained to its end in any case.
        epochs = max([epochs, *(each.schedules[0] - each.clock.epochs for each in running)])
        likely = epochs * epoch_seconds
        return likely if limit is None else min(likely, max(limit, 0.0))

    def _epoch_seconds(self, running: Collection[RunningTrial]) -> float | None:
        """Of a usual candidate; before any epoch has ended, as the steps of the first one say."""
        if self.pace.image_seconds is not None:
            num_images = self.pool.num_train + FORWARD_SHARE * self.pool.num_valid
            return self.pace.image_seconds * num_images
        guesses = [each.clock.epoch_seconds for each in running]
        known = [seconds for seconds in guesses if seconds is not None]
        return statistics.median(known) if known else None
