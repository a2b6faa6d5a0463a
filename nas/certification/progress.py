"""Progress: how far a certification has come, and how long it is likely to go on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from nas.candidates.candidate import Candidate
from nas.searching.events import CertifyProgress
from nas.searching.pace import Pace, StepClock
from nas.searching.planning import FORWARD_SHARE
from nas.training.messages import EpochDone, Job, StepsDone


class Progress:
    """Tells of each training how far it has come, and of all how much time is left.

    Args:
        callback: told of it.
        candidates: of which one is trained in the end on all images.
    """

    def __init__(
        self, callback: Callable[[CertifyProgress], None], candidates: Sequence[Candidate]
    ) -> None:
        self.callback = callback
        self.candidates = candidates
        self.num_ended = 0
        self.num_trainings = 0
        self.num_last = 0  # of the last step, which is still to come
        self._pace: Pace | None = None  # of epochs on these images
        self._jobs: dict[int, Job] = {}  # that have not ended
        self._clocks: dict[int, StepClock] = {}  # of those that have begun
        self._runs: dict[int, str] = {}

    def expect(self, num_before: int, num_last: int) -> None:
        """So many more were done in earlier calls; so many come after the next jobs."""
        self.num_ended += num_before
        self.num_last = num_last

    def begin(
        self, jobs: Sequence[Job], runs: Sequence[str], num_train: int, num_valid: int,
        num_workers: int,
    ) -> None:  # fmt: skip
        """These are trained now, on so many images.

        Args:
            runs: which training of its trial each is, for example `seed 3/5`.
        """
        self._jobs = {job.number: job for job in jobs}
        self._runs = dict(zip(self._jobs, runs, strict=True))
        self._clocks = {}
        self._pace = Pace(num_valid)
        self.num_train, self.num_valid, self.num_workers = num_train, num_valid, num_workers
        self.num_trainings = self.num_ended + len(jobs) + self.num_last

    def heard(self, trial: int, message: StepsDone | EpochDone) -> None:
        """A worker has said how far its training has come."""
        job = self._jobs[message.number]
        clock = self._clocks.setdefault(message.number, StepClock())
        if isinstance(message, EpochDone):
            clock.heard(message.metrics.epoch)
            if self._pace is not None:
                candidate = Candidate(job.architecture, job.recipe)
                self._pace.add(candidate, self.num_train, message.metrics.seconds)
            if message.metrics.epoch == job.recipe.epochs:
                return  # `ended` says so
        else:
            clock.heard(message.epochs)
        self._tell(trial, job, clock.epochs)

    def ended(self, trial: int, number: int) -> None:
        """A training has come to its end."""
        job = self._jobs.pop(number)
        self._clocks.pop(number, None)
        self.num_ended += 1
        self._tell(trial, job, job.recipe.epochs)

    def _tell(self, trial: int, job: Job, epochs_done: float) -> None:
        self.callback(
            CertifyProgress(
                trial, self._runs[job.number], epochs_done, job.recipe.epochs, self.num_ended,
                self.num_trainings, self._seconds_left(),
            )
        )  # fmt: skip

    def _seconds_left(self) -> float | None:
        num_images = self.num_train + FORWARD_SHARE * self.num_valid
        guesses = [c.epoch_seconds for c in self._clocks.values() if c.epoch_seconds is not None]

        def epoch_seconds(candidate: Candidate) -> float | None:
            image_seconds = self._pace.of(candidate) if self._pace is not None else None
            if image_seconds is not None:
                return image_seconds * num_images
            return statistics.median(guesses) if guesses else None

        seconds = 0.0
        for number, job in self._jobs.items():
            each = epoch_seconds(Candidate(job.architecture, job.recipe))
            if each is None:
                return None
            clock = self._clocks.get(number)
            seconds += each * (job.recipe.epochs - (clock.epochs if clock else 0))
        if self.num_last:
            last = [c.recipe.epochs * (epoch_seconds(c) or 0.0) for c in self.candidates]
            share = 1 + self.num_valid / self.num_train  # it is on all images
            seconds += self.num_last * share * statistics.mean(last)
        return seconds / min(self.num_workers, max(len(self._jobs), 1))
