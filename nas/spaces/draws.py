"""Look at a search space without a study: draw candidates at random, find its smallest network."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from optuna.distributions import BaseDistribution

from nas.candidates.candidate import Candidate
from nas.errors import InvalidCandidateError, SpaceError, nearest
from nas.spaces.loader import SearchSpace
from nas.spaces.random_trial import NotOfferedError, RandomTrial
from nas.spaces.task import Task

NUM_DRAWS = 100  # random starts for the smallest network


def draw(space: SearchSpace, task: Task, seed: int) -> Iterator[Candidate | InvalidCandidateError]:
    """Candidates drawn uniformly at random for ever; in place of one that cannot exist, why."""
    rng = random.Random(seed)
    number = 0
    while True:
        try:
            yield space.propose(RandomTrial(rng, number=number), task)
        except InvalidCandidateError as error:
            yield error
        number += 1


def smallest(space: SearchSpace, task: Task) -> Candidate:
    """The candidate that a descent over all parameters finds to be nearest to the task's limits,
    or furthest below them: where only parameters are limited, the one with the fewest.

    It starts from the lowest values and from random draws, and changes one parameter at a time. For
    spaces whose size grows with each parameter, as most do, nothing smaller exists.

    Raises:
        SpaceError: the space is broken, or proposes nothing that can be built.
    """
    rng = random.Random(0)
    known: dict[str, BaseDistribution] = {}
    starts = [RandomTrial(known=known)]
    starts += [RandomTrial(rng, number=n, known=known) for n in range(1, NUM_DRAWS + 1)]
    found = [(c, t) for t in starts if (c := _try(space, task, t)) is not None]
    if not found:
        raise SpaceError(
            f"{space.path}: none of {len(starts)} proposals can be built for images of "
            f"{task.input_shape}; one because: {next(draw(space, task, 0))}"
        )

    def cost(candidate: Candidate) -> tuple[float, int]:
        architecture = candidate.architecture
        return max(task.budget.excess(architecture).values()), architecture.num_params

    best, best_trial = min(found, key=lambda pair: cost(pair[0]))
    is_better = True
    while is_better:
        is_better = False
        for name, options in best_trial.options.items():
            for option in options:
                trial = RandomTrial(fixed=best_trial.params | {name: option}, known=known)
                candidate = _try(space, task, trial)
                if candidate is not None and cost(candidate) < cost(best):
                    best, best_trial, is_better = candidate, trial, True
    return best


def check_params(space: SearchSpace, task: Task, params: dict[str, Any]) -> set[str]:
    """Try out parameter values before they are proposed to a study.

    Returns:
        The names that the space asks for when it is given them.

    Raises:
        NotOfferedError: a value is out of range, or of a kind that cannot be stored.
        InvalidCandidateError: what they make cannot exist.
    """
    try:
        stored = json.loads(json.dumps(params))
    except (TypeError, ValueError) as error:
        raise NotOfferedError(str(error)) from error
    trial = RandomTrial(fixed=stored)
    space.propose(trial, task)
    return set(trial.params)


def used_params(space: SearchSpace, task: Task, params: dict[str, Any]) -> dict[str, Any]:
    """Those of the values that the space asks for when it is given them."""
    trial = RandomTrial(fixed=params)
    try:
        space.propose(trial, task)
    except NotOfferedError:  # the gate will say so
        return params
    except InvalidCandidateError:
        pass
    return {name: value for name, value in params.items() if name in trial.params}


def check_start(space: SearchSpace, task: Task) -> None:
    """Try out where the space says to begin.

    Raises:
        SpaceError: a value is of the wrong kind or out of range, a name is misspelt, or nothing of
            it can be built.
    """
    proposals = space.first_proposals(task)
    problems: list[InvalidCandidateError] = []
    for params in proposals:
        try:
            names = check_params(space, task, params)
        except InvalidCandidateError as error:
            problems.append(error)
            continue
        # Others that are not asked for may be meant for larger images.
        for name in sorted(params.keys() - names):
            if near := nearest(name, sorted(names - params.keys())):
                raise SpaceError(
                    f"{space.path}: start(task) gives {name!r}, which suggest does not ask for: "
                    f"did you mean {near!r}?"
                )
    faults = [error for error in problems if isinstance(error, NotOfferedError)]
    # Of several, some may be for other images: the search turns them away.
    if faults or (problems and len(problems) == len(proposals)):
        why = (faults or problems)[0]
        raise SpaceError(f"{space.path}: start(task) cannot be proposed: {why}") from why


def _try(space: SearchSpace, task: Task, trial: RandomTrial) -> Candidate | None:
    try:
        return space.propose(trial, task)
    except InvalidCandidateError:
        return None
