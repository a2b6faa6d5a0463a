"""Probe: train a candidate for a moment on every worker, to learn how fast they are together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

from nas.candidates.candidate import Candidate
from nas.errors import InvalidCandidateError
from nas.searching.pace import Pace
from nas.spaces.draws import draw
from nas.spaces.loader import SearchSpace
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task
from nas.training.messages import EpochDone, Failed, Job, Trained
from nas.training.pool import POLL_SECONDS, WorkerPool

NUM_BATCHES = 20  # in an epoch
NUM_EPOCHS = 2  # in the first, things are made ready
MOST_DRAWN = 100


def candidates(
    space: SearchSpace, task: Task, proposals: list[dict[str, Any]]
) -> Iterator[Candidate]:
    """Those that fit: what the search begins with, then random draws."""
    for params in proposals:
        with suppress(InvalidCandidateError):  # made for other images
            candidate = space.propose(RandomTrial(fixed=params), task)
            if task.budget.fits(candidate.architecture):
                yield candidate
    for drawn in islice(draw(space, task, seed=0), MOST_DRAWN):
        if isinstance(drawn, Candidate) and task.budget.fits(drawn.architecture):
            yield drawn


def probe(
    pool: WorkerPool,
    candidate: Candidate,
    num_train: int,
    pace: Pace,
    should_stop: Callable[[], bool],
) -> str:
    """Tell `pace` how long an epoch of the candidate takes while all workers train it.

    Returns:
        why it could not be trained; empty when it could.
    """
    # At a rate so low that nothing diverges, which costs the same.
    recipe = replace(candidate.recipe, epochs=NUM_EPOCHS, learning_rate=1e-4)
    num_images = min(NUM_BATCHES * recipe.batch_size, num_train)
    running, why = set(), ""
    for number in range(-pool.num_idle, 0):  # no trial has such a number
        pool.start(Job(number, candidate.architecture, recipe, 0, num_images))
        running.add(number)
    while running:
        if should_stop():
            pool.stop()
        for message in pool.wait(POLL_SECONDS):
            match message:
                case EpochDone(number, metrics):
                    if metrics.epoch == NUM_EPOCHS:
                        pace.add(candidate, num_images, metrics.seconds)
                    pool.answer(number, stop=False)
                case Trained(number):
                    running.discard(number)
                case Failed(number, detail):
                    running.discard(number)
                    why = detail
    return why
