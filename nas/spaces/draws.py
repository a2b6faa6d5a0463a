"""Look at a search space without a study: draw candidates at random, find its smallest network."""

from __future__ import annotations

import difflib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.candidates.candidate import Candidate
from nas.errors import InvalidCandidateError, SpaceError
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task

NUM_DRAWS = 100  # random starts for the smallest network


class NotOfferedError(InvalidCandidateError):
    """A fixed value that is not among those that the space asks for."""


@dataclass
class RandomTrial:
    """Stands in for an Optuna trial: fixed values where they are given, random ones elsewhere.

    With `rng` None every value that is not fixed is the lowest, or the first choice.
    """

    rng: random.Random | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """For each parameter the values worth trying when looking for extremes."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        if log and self.rng:
            drawn = round(math.exp(self.rng.uniform(math.log(low), math.log(high))))
        else:
            drawn = self.rng.randrange(low, high + 1, step) if self.rng else low
        self._check(name, low, high)
        return int(self._take(name, drawn, (low, low + (high - low) // step * step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        drawn = low
        if self.rng and step:
            steps = self.rng.randint(0, math.floor((high - low) / step + 1e-9))
            drawn = min(low + step * steps, high)
        elif self.rng and log:
            drawn = math.exp(self.rng.uniform(math.log(low), math.log(high)))
        elif self.rng:
            drawn = self.rng.uniform(low, high)
        self._check(name, low, high)
        top = low + math.floor((high - low) / step + 1e-9) * step if step else high
        return float(self._take(name, drawn, (low, min(top, high))))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self.fixed and self.fixed[name] not in choices:
            raise NotOfferedError(f"{name} = {self.fixed[name]!r} is none of {choices}")
        return self._take(
            name, self.rng.choice(choices) if self.rng else choices[0], tuple(choices)
        )

    def set_user_attr(self, key: str, value: Any) -> None:
        """Nothing is kept: the trial is in no study."""

    def _check(self, name: str, low: float, high: float) -> None:
        value = self.fixed.get(name, low)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise NotOfferedError(f"{name} = {value!r} is not within {low} to {high}")

    def _take(self, name: str, drawn: Any, options: tuple[Any, ...]) -> Any:
        self.options.setdefault(name, options)
        return self.params.setdefault(name, self.fixed.get(name, drawn))


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
    starts = [RandomTrial()] + [RandomTrial(rng) for _ in range(NUM_DRAWS)]
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
                trial = RandomTrial(fixed=best_trial.params | {name: option})
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
            if near := difflib.get_close_matches(name, sorted(names - params.keys()), n=1):
                raise SpaceError(
                    f"{space.path}: start(task) gives {name!r}, which suggest does not ask for: "
                    f"did you mean {near[0]!r}?"
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
