"""Planning: which schedule is trained next, so that the best network ends its own inside the time.

Seconds are reckoned from the seconds that one image of training takes (`image_seconds`). A schedule
is as long as its epochs say; below one epoch it is trained on a part of the images.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.searching.pruners import FINISHED, FIRST_RUNG, KEPT, SqueezedPruner

MARGIN = 1.2  # a schedule begins only if so many times its forecast fits
CLOSE_MARGIN = 1.05  # the same for the end of a schedule that has to be cut short
LEAST_STEPS = 200  # of a schedule: a network that was trained for fewer is worth nothing
EXPLORING = 1 / 4  # of the time goes to short schedules, where no full schedule fits beside them
WORTHWHILE = 1 / 2  # of the longest schedule: who was trained for less hardly ever wins
LONGER = 2  # times as long is the least by which a schedule is lengthened, but to the full one
FORWARD_SHARE = 1 / 3  # of a training step's work is what validating an image costs
MOST_FORETOLD = 1_000  # trainings, in an outlook


@dataclass(frozen=True)
class Known:
    """A candidate with a schedule that it has ended, or that it is in."""

    number: int  # of its trial with the longest schedule
    epochs: float  # of that schedule
    image_seconds: float
    is_taken: bool = False  # a longer schedule is in work, or came to nothing


@dataclass(frozen=True)
class Step:
    """A schedule to train next."""

    number: int | None  # the trial whose candidate it is; None: a new one
    epochs: float
    is_longest: bool  # no longer one is meant to follow: to Optuna the trial is complete


@dataclass(frozen=True)
class Outlook:
    """What a plan comes to if every candidate takes as long as is forecast."""

    num_candidates: int  # new ones
    epochs: float  # of the longest schedule; 0 where none fits
    seconds: float  # until the last schedule ends


class TimePlan:
    """Decides what an idle worker trains, by the time that is left.

    Where the space says where to begin, the first proposal has the longest schedule that fits, at
    once; so has the best candidate of a search that goes on. Whatever happens later, there is a
    network. New candidates first have short schedules, as long as the time holds a long one after
    them; in the end the best have that. (benchmarks/replay.py budgets compares this with others.)

    Args:
        total_seconds: from now to the time limit.
        num_train: images of an epoch.
        num_valid: images to validate on after each epoch.
        epochs: of the full schedule.
        batch_size: images of a step.
        with_rungs: whether there are short schedules at all.
        margin: of its forecast that must fit before a schedule begins.
    """

    def __init__(
        self,
        total_seconds: float,
        num_train: int,
        num_valid: int,
        epochs: int,
        batch_size: int = 64,
        *,
        with_rungs: bool = True,
        margin: float = MARGIN,
    ) -> None:
        self.total_seconds = total_seconds
        self.num_train = num_train
        self.num_valid = num_valid
        self.epochs = epochs
        self.batch_size = batch_size
        self.rungs = short_schedules(num_train, epochs) if with_rungs else ()
        self.margin = margin
        self.opening: int | None = None  # the best trial of an earlier search: it goes on first
        self._exploring: float | None = None  # seconds that were left when it began

    def seconds(self, epochs: float, image_seconds: float) -> float:
        """The forecast of a schedule."""
        validating = max(epochs, 1) * FORWARD_SHARE * self.num_valid
        return image_seconds * (epochs * self.num_train + validating)

    def longest(self, seconds: float, image_seconds: float) -> float:
        """Epochs of the longest schedule that fits with the margin; 0 where none does."""
        images = seconds / (self.margin * image_seconds)
        one_epoch = self.num_train + FORWARD_SHARE * self.num_valid
        if images >= one_epoch:
            return min(int(images / one_epoch), self.epochs)
        num_steps = int((images - FORWARD_SHARE * self.num_valid) / self.batch_size)
        return num_steps * self.batch_size / self.num_train if num_steps >= LEAST_STEPS else 0

    def next_step(
        self,
        seconds_left: float,
        image_seconds: float,
        known: Sequence[Known],
        num_new: int,
        *,
        has_start: bool = False,
    ) -> Step | None:
        """What an idle worker trains now; None where nothing worth while can end in time.

        Args:
            image_seconds: of the next new candidate.
            known: the study's candidates, the best first.
            num_new: candidates that may still be proposed.
            has_start: the space says where to begin.
        """
        fits = self.longest(seconds_left, image_seconds) if num_new else 0
        if fits and has_start and not known:
            return Step(None, fits, is_longest=True)
        earlier = [k for k in known if k.number == self.opening]
        if (step := self._lengthen(seconds_left, earlier, 0)) is not None:
            return step
        least = WORTHWHILE * max((k.epochs for k in known), default=0)
        rungs, final = self._rungs_and_final(seconds_left, image_seconds)
        if fits and rungs and final >= least:
            step = self._explore(seconds_left, image_seconds, known, rungs, final)
            if step is not None:
                return step
        if num_new or sum(k.epochs >= self.epochs for k in known) < FINISHED:
            step = self._lengthen(seconds_left, known, least)
            if step is not None:
                return step
        # A long schedule at once is for a candidate that has no other to wait for.
        is_alone = not rungs or all(k.is_taken or k.epochs >= self.epochs for k in known)
        return Step(None, fits, is_longest=True) if fits and fits >= least and is_alone else None

    def begun(self, step: Step, seconds_left: float) -> None:
        """Take note that a step is taken."""
        if not step.is_longest and self._exploring is None:
            self._exploring = seconds_left

    def least_seconds(self, image_seconds: float) -> float:
        """The least time in which a schedule fits."""
        images = LEAST_STEPS * self.batch_size
        return self.margin * self.seconds(images / self.num_train, image_seconds)

    def end_of(
        self, epochs_done: int, epochs: int, seconds_left: float, epoch_seconds: float
    ) -> int:
        """Epochs after which a running schedule is to end, so that it does so in time: at once
        where not even one more fits.

        Args:
            epochs: after which it would end.
            epoch_seconds: of its last epoch; it may have become slower.
        """
        if (epochs - epochs_done) * epoch_seconds <= seconds_left:
            return epochs
        num_left = int(seconds_left / (CLOSE_MARGIN * epoch_seconds))
        if num_left < 1:  # an epoch that is broken off would lose those before it
            num_left = int(seconds_left >= epoch_seconds)
        return min(epochs_done + num_left, epochs)

    def _rungs_and_final(
        self, seconds_left: float, image_seconds: float
    ) -> tuple[tuple[float, ...], float]:
        """The short schedules, and the long one that time is kept for."""
        total = seconds_left if self._exploring is None else self._exploring
        final = self.longest((1 - EXPLORING) * total, image_seconds)
        return tuple(rung for rung in self.rungs if 2 * rung <= final), final

    def _explore(
        self,
        seconds_left: float,
        image_seconds: float,
        known: Sequence[Known],
        rungs: Sequence[float],
        final: float,
    ) -> Step | None:
        """A short schedule, for a new candidate or the next longer for a good one; None when the
        time has come for the long one."""
        # Of a usual candidate: a slow one that is the best so far must not end the exploring.
        left = seconds_left / self.margin - self.seconds(final, image_seconds)
        promoted = self._promotion(known, rungs)
        if promoted is not None:
            candidate, epochs = promoted
            if self.seconds(epochs, candidate.image_seconds) <= left:
                return Step(candidate.number, epochs, is_longest=epochs == self.epochs)
        if self.seconds(rungs[0], image_seconds) <= left:
            return Step(None, rungs[0], is_longest=False)
        return None

    def _promotion(
        self, known: Sequence[Known], rungs: Sequence[float]
    ) -> tuple[Known, float] | None:
        """The best candidate that may go on to the next longer schedule, as without a time limit.

        From the last rung the next is the full schedule.
        """
        pruner = SqueezedPruner(rungs)
        for rung, following in reversed(list(zip(rungs, [*rungs[1:], self.epochs], strict=True))):
            there = [k for k in known if k.epochs >= rung]
            waiting = [k for k in there if k.epochs < following and not k.is_taken]
            if waiting and len(there) - len(waiting) < pruner.num_going_on(rung, len(there)):
                return waiting[0], following
        return None

    def _lengthen(self, seconds_left: float, known: Sequence[Known], least: float) -> Step | None:
        """The best candidate whose schedule can be lengthened, with the longest that fits."""
        for candidate in known:
            epochs = self.longest(seconds_left, candidate.image_seconds)
            is_longer = epochs >= LONGER * candidate.epochs or epochs == self.epochs
            if candidate.is_taken or candidate.epochs >= self.epochs:
                continue
            if epochs and is_longer and epochs >= least:
                return Step(candidate.number, epochs, is_longest=True)
        return None

    def outlook(
        self, image_seconds: float, num_workers: int, num_new: int, *, has_start: bool
    ) -> Outlook:
        """The plan of a new search played through, where all candidates cost the same."""
        plan = TimePlan(
            self.total_seconds, self.num_train, self.num_valid, self.epochs, self.batch_size,
            margin=self.margin,
        )  # fmt: skip
        plan.rungs = self.rungs
        known: dict[int, Known] = {}
        free = [(0.0, worker, -1) for worker in range(num_workers)]
        begun, end = 0, 0.0
        while free and len(known) < MOST_FORETOLD:
            now, worker, ended = heapq.heappop(free)
            if ended >= 0:
                end = now
                known[ended] = Known(ended, known[ended].epochs, image_seconds)
            best_first = sorted(known.values(), key=lambda k: (-k.epochs, k.number))
            step = plan.next_step(
                self.total_seconds - now, image_seconds, best_first, num_new - begun,
                has_start=has_start,
            )  # fmt: skip
            if step is None:
                continue
            plan.begun(step, self.total_seconds - now)
            number = begun if step.number is None else step.number
            begun += step.number is None
            known[number] = Known(number, step.epochs, image_seconds, is_taken=True)
            heapq.heappush(free, (now + plan.seconds(step.epochs, image_seconds), worker, number))
        return Outlook(begun, max((k.epochs for k in known.values()), default=0), end)


def short_schedules(num_train: int, epochs: int) -> tuple[float, ...]:
    """Epochs of the short schedules, the shortest first.

    The shortest is as long as a candidate must be trained for its score to be no noise
    (`FIRST_RUNG` images), each other `KEPT` times as long. Parts of an epoch are given as such, up
    to a half. None is longer than half of the full schedule.
    """
    share = FIRST_RUNG / num_train
    found: list[float] = []
    epochs_of_rung = share if share <= 1 / 2 else math.ceil(share)
    while 2 * epochs_of_rung <= epochs:
        found.append(epochs_of_rung)
        longer = KEPT * epochs_of_rung
        epochs_of_rung = longer if longer <= 1 / 2 else max(round(longer), 1)
    return tuple(found)
