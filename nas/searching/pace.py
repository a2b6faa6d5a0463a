"""Pace: how fast candidates train here, measured while they do."""

from __future__ import annotations

import statistics
import time
from collections import deque

from nas.candidates.candidate import Candidate
from nas.searching.planning import FORWARD_SHARE

REMEMBERED = 20  # epochs: the machine may have become slower, or faster


class StepClock:
    """How long an epoch of one training takes, as far as its steps can tell."""

    def __init__(self) -> None:
        self.epochs = 0.0  # done
        self.epoch_seconds: float | None = None
        self._first: tuple[float, float] | None = None  # when, and the epochs done by then

    def heard(self, epochs: float) -> None:
        """The training has come so far, in epochs of its schedule."""
        now, self.epochs = time.monotonic(), epochs
        # The first steps make things ready, and say nothing of how long the others take.
        if self._first is None:
            self._first = now, epochs
        elif epochs > self._first[1]:
            self.epoch_seconds = (now - self._first[0]) / (epochs - self._first[1])


class Pace:
    """Seconds that an image of training takes, by candidate.

    Args:
        num_valid: images to validate on after each epoch.
    """

    def __init__(self, num_valid: int) -> None:
        self.num_valid = num_valid
        self._of: dict[str, float] = {}  # by fingerprint, in the last epoch that was seen
        self._last: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # with the MACs

    def add(self, candidate: Candidate, num_images: int, seconds: float) -> None:
        """An epoch of so many train images, and its validation, took so long."""
        image_seconds = seconds / (num_images + FORWARD_SHARE * self.num_valid)
        if image_seconds > 0:  # clocks that are coarse see nothing of the smallest
            self._of[candidate.fingerprint] = image_seconds
            self._last.append((candidate.architecture.num_macs, image_seconds))

    @property
    def image_seconds(self) -> float | None:
        """Of a candidate of which nothing is known; None before anything was measured."""
        return statistics.median(seconds for _, seconds in self._last) if self._last else None

    def of(self, candidate: Candidate) -> float | None:
        """As it was measured; else by its multiply-accumulates, but at least half of the usual."""
        measured, usual = self._of.get(candidate.fingerprint), self.image_seconds
        if measured is not None or usual is None:
            return measured
        each = statistics.median(seconds / max(macs, 1) for macs, seconds in self._last)
        return max(each * candidate.architecture.num_macs, usual / 2)
