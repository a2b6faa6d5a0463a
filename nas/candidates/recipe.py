"""Recipe: how a network is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from nas.candidates.numbers import unboxed
from nas.errors import InvalidCandidateError

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["one-cycle", "cosine", "multi-step", "exponential"]

MAX_EPOCHS = 19  # fewer than 20 is the rule of the job


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Raises:
        InvalidCandidateError: a value is out of range.
    """

    optimizer: Optimizer = "sgd"
    """'adam' and 'adamw' use `momentum` as their first beta."""
    learning_rate: float = 0.1
    """The highest rate of the schedule."""
    momentum: float = 0.9
    nesterov: bool = True
    """Whether the momentum of 'sgd' is Nesterov's."""
    weight_decay: float = 5e-4
    schedule: Schedule = "one-cycle"
    """'one-cycle' warms up, then anneals; 'cosine' anneals from the start. Both end at about 0.
    'multi-step' multiplies the rate by `gamma` after each of the epochs in `milestones`,
    'exponential' after every epoch."""
    warmup: float = 0.2
    """Share of the steps that 'one-cycle' spends warming up."""
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    batch_size: int = 128
    """Images in a step."""
    epochs: int = MAX_EPOCHS
    """Passes over the training images; the whole schedule fits into them."""
    augmentation: float = 1.0
    """Strength: multiplies each of the ranges from `rotation` to `contrast`; 0 is none."""
    rotation: float = 10.0
    """Up to so many degrees to either side."""
    scale: float = 0.12
    """Up to this share larger or smaller."""
    shear: float = 8.5
    """Up to so many degrees to either side."""
    shift: float = 0.07
    """Up to this share of the size in each direction: 0.07 are 2 pixels of 28."""
    brightness: float = 0.0
    """Up to this share brighter or darker."""
    contrast: float = 0.0
    """Up to this share more or less contrast."""
    flip: bool = False
    """Whether half of the images are mirrored."""
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, unboxed(getattr(self, field.name)))
        self._check(self.optimizer in get_args(Optimizer), "optimizer", get_args(Optimizer))
        self._check(self.schedule in get_args(Schedule), "schedule", get_args(Schedule))
        self._check_number("learning_rate", 0, 100, low_is_allowed=False)
        self._check_number("momentum", 0, 1)
        self._check_number("weight_decay", 0, 1)
        self._check_number("warmup", 0, 1)
        self._check_number("gamma", 0, 1)
        self._check_number("augmentation", 0, 4)
        self._check_number("rotation", 0, 180)
        self._check_number("shear", 0, 45)
        for name in ("scale", "shift", "brightness", "contrast", "label_smoothing"):
            self._check_number(name, 0, 1)
        for name in ("flip", "nesterov"):
            self._check(isinstance(getattr(self, name), bool), name, "True or False")
        milestones = self.milestones
        if isinstance(milestones, tuple | list):
            milestones = tuple(map(unboxed, milestones))
        is_good = isinstance(milestones, tuple | list) and all(type(m) is int for m in milestones)
        is_rising = is_good and list(milestones) == sorted({*milestones, 0})[1:]
        self._check(is_rising, "milestones", "rising whole numbers >= 1")
        object.__setattr__(self, "milestones", tuple(milestones))  # a list in JSON
        for name, minimum in (("batch_size", 2), ("epochs", 1)):
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            self._check(is_whole and value >= minimum, name, f"a whole number >= {minimum}")

    def _check(self, is_good: bool, name: str, allowed: object) -> None:
        if not is_good:
            value = getattr(self, name)
            raise InvalidCandidateError(f"recipe: {name} must be {allowed}, was {value!r}")

    def _check_number(
        self, name: str, low: float, high: float, low_is_allowed: bool = True
    ) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_good = is_number and low <= value < high  # neither nan nor infinity passes
        self._check(
            is_good and (low_is_allowed or value > low),
            name,
            f"{low} {'<=' if low_is_allowed else '<'} x < {high}",
        )
        # 1 and 1.0 are one recipe, with one fingerprint.
        object.__setattr__(self, name, float(value))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Recipe:
        """What `to_json` wrote; raises InvalidCandidateError on anything else."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InvalidCandidateError(f"not a recipe: {error}") from error

    def summary(self) -> str:
        """A few words for a table, for example `sgd 0.1 one-cycle b128 aug 1 19 ep`."""
        return (
            f"{self.optimizer} {self.learning_rate:.3g} {self.schedule} b{self.batch_size} "
            f"aug {self.augmentation:.2g} {self.epochs} ep"
        )
