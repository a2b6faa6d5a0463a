"""What happens in a search, as plain records: shown on a terminal, or printed as JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.metrics import EpochMetrics, Speed
from nas.storage.reasons import Reason


@dataclass(frozen=True)
class Note:
    """A line for people: a default that was taken, a file that could not be read."""

    text: str


@dataclass(frozen=True)
class SearchStarted:
    study: str
    space: str
    dataset: str
    num_train: int
    num_valid: int
    device: str
    workers: int  # candidates trained at once
    max_params: int | None  # None where `--max-flash` stands for a budget
    budget: str  # all limits in words
    trials: int  # trained candidates the study is to reach
    epochs: int
    counts: dict[str, int]  # what the study already holds, as in `SearchEnded.counts`
    best_trial: int | None
    best_accuracy: float | None
    seconds_left: float | None  # until the time limit
    largest_share: float | None = None  # of the validation images, of their most frequent class

    @property
    def is_new(self) -> bool:
        return not self.counts


@dataclass(frozen=True)
class PlanMade:
    """What is likely to fit into the time that is left; every decision plans anew."""

    seconds_left: float
    num_candidates: int  # new ones
    longest_epochs: float  # of the longest schedule; 0 where none fits
    epochs: int  # of the full schedule
    epoch_seconds: float  # of a usual candidate, forecast
    least_seconds: float  # the least time in which anything can be trained


@dataclass(frozen=True)
class TrialStarted:
    trial: int
    num_params: int
    num_macs: int
    epochs: float  # of its first schedule
    recipe: str
    continues: int | None = None  # the stopped trial it goes on with
    params: dict[str, Any] = field(default_factory=dict)  # what the space was given


@dataclass(frozen=True)
class EpochProgress:
    """A training goes on; of each worker about twice a second. Not among the lines of `--json`."""

    trial: int
    epochs_done: float  # of the schedule it is in now, for example 0.4
    epochs: float  # of that schedule
    seconds_left: float | None  # until the search is likely to end; None before that can be told


@dataclass(frozen=True)
class ScheduleEnded:
    """A training has come to its end, and the trial goes on with a longer one."""

    trial: int
    epochs: float  # of the schedule that has ended
    valid_accuracy: float  # 0..1
    num_params: int
    is_best: bool


@dataclass(frozen=True)
class EpochEnded:
    trial: int
    metrics: EpochMetrics
    epochs: float  # of the schedule it is in now; below 1 it is a part of the images
    learning_rate: float | None = None  # of its last step


@dataclass(frozen=True)
class SpeedMeasured:
    """How fast the first epoch was; once in a search, and kept nowhere: it is the machine's.

    The first epoch on a machine also compiles the loops of the engine, which takes some seconds.
    """

    trial: int
    device: str  # what trains, for example `cpu, eager engine, fp32`
    workers: int  # candidates trained at once
    speed: Speed


@dataclass(frozen=True)
class TrialEnded:
    trial: int
    reason: Reason | None  # None: it has ended the longest schedule that was meant for it
    detail: str
    num_params: int | None
    valid_accuracy: float | None  # 0..1
    train_seconds: float | None
    is_best: bool


@dataclass(frozen=True)
class CertifyProgress:
    """A certification goes on: of each worker about twice a second, and when a training ends."""

    trial: int
    run: str  # which of its trainings: `seed 3/5`
    epochs_done: float
    epochs: int  # equal to `epochs_done` when it has ended
    num_ended: int  # trainings, with those of earlier calls
    num_trainings: int  # that are to be in the end
    seconds_left: float | None  # until all have ended; None before that can be told

    @property
    def has_ended(self) -> bool:
        return self.epochs_done >= self.epochs


@dataclass(frozen=True)
class SearchEnded:
    study: str
    reason: Reason | None  # the time limit, or interrupted; None when it came to its own end
    why: str  # one sentence
    counts: dict[str, int]  # trials by what became of them
    best_trial: int | None
    best_accuracy: float | None
    best_num_params: int | None
    best_schedule: str = ""  # of the best, where it was short: `7 of 19 epochs`
    seconds_needed: float | None = None  # where the time was too short for anything


Event = (
    Note | SearchStarted | PlanMade | TrialStarted | EpochProgress | EpochEnded | SpeedMeasured
    | ScheduleEnded | TrialEnded | SearchEnded | CertifyProgress
)  # fmt: skip
Callback = Callable[[Event], None]


def to_json(event: Event) -> dict[str, Any]:
    """The event's fields, with its name as `event`."""
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__)
    return {"event": name.lstrip("_")} | asdict(event)
