"""What certifications leave in a study: every training of theirs, and when the test set was opened.

Trials that have ended cannot be changed in Optuna, so all of it stands in the study's user
attributes, named after the trial.
"""

from __future__ import annotations

import base64
import datetime
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from nas.certification.statistics import Answers
from nas.errors import StudyError, command, option
from nas.metrics import EpochMetrics, choice_order

_PREFIX = "certificate"
_OPENINGS = "test_openings"
_DECISION = "certificate_decision"
_NUM_FOLDS = "certificate_folds"


class Protocol(StrEnum):
    """What a candidate is trained on, and what it is measured on. Never mixed in one table."""

    VALIDATION = "validation"
    """Train images alone, measured on the validation images: here it is decided who is best."""
    FOLDS = "folds"
    """All training images but one part of several, measured on that part: each part once. It takes
    the place of VALIDATION where images are few."""
    HONEST = "honest"
    """All training images, the last epoch, measured once on the test images at the very end."""
    WATCHED = "watched"
    """All training images, measured on the test images after every epoch: the best is too good."""


@dataclass(frozen=True)
class Run:
    """One training of a candidate with a fresh seed."""

    protocol: Protocol
    trial: int
    number: int  # 0, 1, 2... of this trial under this protocol; FOLDS: of the part
    seed: int
    accuracy: float | None  # 0..1 after the last epoch; None until the test set is opened
    loss: float | None
    is_right: NDArray[np.bool_] | None  # (N,) for each image, after the last epoch
    history: tuple[EpochMetrics, ...]  # HONEST: measured on images that were trained on
    train_seconds: float
    device: str
    versions: dict[str, str]
    artifact_id: str | None  # of the weights

    @property
    def best_accuracy(self) -> float:
        """Of the best epoch; flattering, and only for what was measured in that way."""
        return max(m.valid_accuracy for m in self.history)


def read_runs(study: optuna.Study, protocol: Protocol, trial: int) -> list[Run]:
    """The trainings of a trial under a protocol, by number."""
    start = f"{_PREFIX}:{protocol}:{trial}:"
    attrs = study.user_attrs
    runs = [_from_json(value) for name, value in attrs.items() if name.startswith(start)]
    return sorted(runs, key=lambda run: run.number)


def certified_run(study: optuna.Study, trial: int) -> tuple[Run, int]:
    """The first training of a trial's HONEST certificate, and of how many it is the first.

    Not the best one: that would have been chosen by test images.

    Raises:
        StudyError: the certificate is not there, or not at its end.
    """
    runs = [run for run in read_runs(study, Protocol.HONEST, trial) if run.accuracy is not None]
    if not runs:
        raise StudyError(
            f"trial {trial} of study {study.study_name!r} has no certificate: make one with "
            f"{command('certify', study=study.study_name)}"
        )
    return runs[0], len(runs)


def last_certified(study: optuna.Study) -> int:
    """The trial that the test images were opened for last, under HONEST.

    Raises:
        StudyError: none is certified.
    """
    trials = certified_trials(study, Protocol.HONEST)
    opened: list[int] = [t for opening in openings(study) for t in opening["trials"] if t in trials]
    if not opened:
        raise StudyError(
            f"study {study.study_name!r} has no certified trial: certify its best with "
            f"{command('certify', study=study.study_name)}"
        )
    return opened[-1]


def certified_trials(study: optuna.Study, protocol: Protocol) -> list[int]:
    """Numbers of the trials with a measured training under that protocol."""
    runs = [
        _from_json(value)
        for name, value in study.user_attrs.items()
        if name.startswith(f"{_PREFIX}:{protocol}:")
    ]
    return sorted({run.trial for run in runs if run.accuracy is not None})


def record_run(study: optuna.Study, run: Run) -> None:
    """Store a training, in the place of an earlier record of the same one."""
    study.set_user_attr(f"{_PREFIX}:{run.protocol}:{run.trial}:{run.number}", _to_json(run))


def record_opening(
    study: optuna.Study, protocol: Protocol, trials: Sequence[int], test_sha256: str
) -> int:
    """Store that the test set is opened now, and for what; returns how often it was so far."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    opening = {"protocol": protocol, "trials": list(trials), "at": now, "test_sha256": test_sha256}
    # Each under a name of its own: of two processes neither can overwrite what the other stores.
    study.set_user_attr(f"{_OPENINGS}:{now}:{secrets.token_hex(4)}", opening)
    return len(openings(study))


def record_decision(study: optuna.Study, trials: Sequence[int], num_seeds: int) -> None:
    """Store which trials were compared on validation images, and over how many seeds."""
    study.set_user_attr(_DECISION, {"trials": list(trials), "num_seeds": num_seeds})


def check_num_folds(study: optuna.Study, num_folds: int) -> None:
    """Store into how many parts the training images are cut, before the first training on them.

    Raises:
        StudyError: they were cut into another number before, with which nothing can be compared.
    """
    before = study.user_attrs.get(_NUM_FOLDS)
    if before is None:
        study.set_user_attr(_NUM_FOLDS, num_folds)
    elif before != num_folds:
        raise StudyError(
            f"{option('folds')} was {before} in study {study.study_name!r}, now it is {num_folds}: "
            f"give {before}, as trainings on other parts cannot be compared"
        )


def last_decision(study: optuna.Study) -> tuple[list[int], int] | None:
    """The trials that were compared last, and over how many seeds; None before the first time."""
    decision = study.user_attrs.get(_DECISION)
    return (decision["trials"], decision["num_seeds"]) if decision else None


def openings(study: optuna.Study) -> list[dict[str, Any]]:
    """When the study's test set was opened, and for what."""
    attrs = study.user_attrs
    names = sorted(name for name in attrs if name.startswith(f"{_OPENINGS}:"))
    return [*attrs.get(_OPENINGS, []), *(attrs[name] for name in names)]


def order_by_choice(runs: Mapping[int, Sequence[Run]], num_images: int) -> list[int]:
    """Trials with their measured runs on `num_images` images, the likeliest best first."""
    trials = list(runs)
    accuracies = [mean_over_seeds(run.accuracy for run in runs[trial]) for trial in trials]
    losses = [mean_over_seeds(run.loss for run in runs[trial]) for trial in trials]
    return [trials[i] for i in choice_order(accuracies, losses, num_images)]


def mean_over_seeds(values: Iterable[float | None]) -> float:
    """The mean of what was measured."""
    return float(np.mean([value for value in values if value is not None]))


def answers_of(runs: Sequence[Run]) -> list[NDArray[np.bool_]]:
    """Of each measured run its answers, (N,); of FOLDS those of one fold."""
    return [run.is_right for run in runs if run.is_right is not None]


def stack(runs: Sequence[Run]) -> Answers:
    """Answers of all runs, (S, N)."""
    return np.stack(answers_of(runs))


def _to_json(run: Run) -> dict[str, Any]:
    bits = None
    if run.is_right is not None:
        packed = zlib.compress(np.packbits(run.is_right).tobytes(), 9)
        bits = [len(run.is_right), base64.b85encode(packed).decode()]
    return {
        "protocol": run.protocol,
        "trial": run.trial,
        "number": run.number,
        "seed": run.seed,
        "accuracy": run.accuracy,
        "loss": run.loss,
        "is_right": bits,
        "history": [
            [m.epoch, m.train_loss, m.valid_loss, m.valid_accuracy, m.seconds] for m in run.history
        ],
        "train_seconds": run.train_seconds,
        "device": run.device,
        "versions": run.versions,
        "artifact_id": run.artifact_id,
    }


def _from_json(data: dict[str, Any]) -> Run:
    try:
        is_right = None
        if data["is_right"] is not None:
            num_images, text = data["is_right"]
            packed = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)
            is_right = np.unpackbits(packed, count=num_images).astype(bool)
        values = data | {
            "protocol": Protocol(data["protocol"]),
            "is_right": is_right,
            "history": tuple(EpochMetrics(*row) for row in data["history"]),
        }
        return Run(**values)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise StudyError(f"a certificate in the study is damaged: {error!r}") from error
