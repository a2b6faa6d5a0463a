"""A trial without a study: fixed values where they are given, random ones elsewhere."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)

from nas.errors import InvalidCandidateError


class NotOfferedError(InvalidCandidateError):
    """A fixed value that is not among those that the space asks for."""


@dataclass
class RandomTrial:
    """Stands in for `optuna.Trial`: refuses and accepts what that does, in its words.

    What Optuna finds only in the second trial of a study, or never, is refused too: other choices
    for a name than in an earlier trial, and a name asked for twice with different ranges.

    Args:
        rng: None: every value that is not fixed is the lowest, or the first choice.
        fixed: values by the name of their parameter.
        known: distributions by name, of all trials that share this dictionary.
    """

    rng: random.Random | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    known: dict[str, BaseDistribution] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)
    relative_params: dict[str, Any] = field(default_factory=dict)
    datetime_start: datetime = field(default_factory=datetime.now)

    # Optuna's old names, which warn and call `suggest_float`.
    suggest_uniform: ClassVar[Any] = optuna.Trial.suggest_uniform
    suggest_loguniform: ClassVar[Any] = optuna.Trial.suggest_loguniform
    suggest_discrete_uniform: ClassVar[Any] = optuna.Trial.suggest_discrete_uniform

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log, step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def set_constraint(self, name: str, value: float) -> None:
        self.constraints[name] = value

    def report(self, value: float, step: int) -> None:
        """Nothing is kept: no pruner looks at this trial."""

    def should_prune(self) -> bool:
        return False

    @property
    def options(self) -> Mapping[str, tuple[Any, ...]]:
        """For each parameter the values worth trying when looking for extremes."""
        return {name: _extremes(asked) for name, asked in self.distributions.items()}

    def _suggest(self, name: str, asked: BaseDistribution) -> Any:
        before = self.distributions.get(name)
        if before is not None and before != asked:
            raise ValueError(
                f"parameter {name!r} is asked for twice in one trial, with {before} and with "
                f"{asked}: give each a name of its own"
            )
        try:
            check_distribution_compatibility(self.known.setdefault(name, asked), asked)
        except ValueError as error:
            raise ValueError(
                f"parameter {name!r}: {error} In one trial it is {self.known[name]}, in another "
                f"{asked}: give each a name of its own"
            ) from error
        if before is None:
            self.distributions[name] = asked
            is_fixed = name in self.fixed
            self.params[name] = self._fixed(name, asked) if is_fixed else _drawn(asked, self.rng)
        return self.params[name]

    def _fixed(self, name: str, asked: BaseDistribution) -> Any:
        value = self.fixed[name]
        if isinstance(asked, CategoricalDistribution):
            if value not in asked.choices:
                raise NotOfferedError(f"{name} = {value!r} is none of {asked.choices}")
            return value
        low, high = _extremes(asked)
        if not isinstance(value, int | float) or not low <= value <= high:
            raise NotOfferedError(f"{name} = {value!r} is not within {low} to {high}")
        return value


def _extremes(asked: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(asked, CategoricalDistribution):
        return tuple(asked.choices)
    assert isinstance(asked, IntDistribution | FloatDistribution)
    return asked.low, asked.high


def _drawn(asked: BaseDistribution, rng: random.Random | None) -> Any:
    options = _extremes(asked)
    if rng is None:
        return options[0]
    if isinstance(asked, CategoricalDistribution):
        return rng.choice(options)
    assert isinstance(asked, IntDistribution | FloatDistribution)
    low, high = options
    if asked.log:
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        return round(drawn) if isinstance(asked, IntDistribution) else drawn
    if isinstance(asked, IntDistribution):
        return rng.randrange(low, high + 1, asked.step)
    if asked.step:
        steps = rng.randint(0, round((high - low) / asked.step))
        return min(low + asked.step * steps, high)
    return rng.uniform(low, high)
