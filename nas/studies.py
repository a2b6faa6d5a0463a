"""Studies and trials as records: the only file that reads or writes what stands in the storage.

A study's user attributes say what was searched (`StudyFacts`); a trial's say what was proposed,
what became of it and what made it. The names are those of the fields below.
"""

from __future__ import annotations

import contextlib
import time
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.architecture import Architecture
from nas.budget import Budget, Limits
from nas.candidate import Candidate, Recipe
from nas.errors import StudyError, describe
from nas.metrics import EpochMetrics

METRIC = "valid_accuracy"
MAKING_SECONDS = 5.0  # that a process may take from a study's name to its facts


class Reason(StrEnum):
    """Why a trial was not trained to its end."""

    OVER_BUDGET = "over budget"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    STOPPED_BY_PRUNER = "stopped by pruner"
    DIVERGED = "diverged"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    SURPLUS = "surplus"
    TIME_LIMIT = "time limit"


Rank = tuple[float, int, int]

TRAINED = "trained"  # in counts, beside the reasons: trained to its end
UNFINISHED = "unfinished"  # in counts: in work, or its process died and nobody has looked yet

# What counts towards `--trials`: these had their training. The others were turned away at the gate,
# cut off from outside, or lost to an error.
_USED_TRAINING = (TRAINED, Reason.STOPPED_BY_PRUNER, Reason.DIVERGED)

# Told as PRUNED or, a duplicate, as COMPLETE. FAIL means that a process died before it told them.
_TOLD_AS_RESULT = (
    Reason.OVER_BUDGET,
    Reason.INVALID,
    Reason.DUPLICATE,
    Reason.STOPPED_BY_PRUNER,
)


@dataclass(frozen=True)
class StudyFacts:
    """What must be equal for two searches to share a study: their scores are then comparable."""

    space: str
    space_sha256: str
    budget: int  # a network fits with fewer parameters than this
    dataset: str
    data_sha256: str
    split_sha256: str
    epochs: int  # the most a candidate may train
    seed: int
    max_macs: int | None = None
    max_weight_bytes: int | None = None
    max_activation_bytes: int | None = None
    bits: int = 32

    @property
    def limits(self) -> Budget:
        """What a network may cost."""
        limits = Limits(self.max_macs, self.max_weight_bytes, self.max_activation_bytes, self.bits)
        return Budget(self.budget, limits)

    # How each is asked for on the command line, for messages.
    OPTIONS: ClassVar[dict[str, str]] = {
        "space": "--space",
        "space_sha256": "the text of the space file",
        "budget": "--budget",
        "dataset": "--dataset",
        "data_sha256": "the images of --dataset",
        "split_sha256": "--valid-share or --split-seed",
        "epochs": "--epochs",
        "seed": "--seed",
        "max_macs": "--max-macs",
        "max_weight_bytes": "--max-weight-bytes",
        "max_activation_bytes": "--max-activation-bytes",
        "bits": "--bits",
    }

    def first_difference(self, other: StudyFacts) -> str | None:
        """In words, the first fact that differs, or None."""
        for fact in fields(self):
            mine, theirs = getattr(self, fact.name), getattr(other, fact.name)
            if mine != theirs:
                option = self.OPTIONS[fact.name]
                if "sha256" in fact.name:
                    return f"{option} changed"
                words = ["not given" if v is None else str(v) for v in (mine, theirs)]
                return f"{option} was {words[0]}, now it is {words[1]}"
        return None


@dataclass(frozen=True)
class DataFacts:
    """Where a study's images came from and what they are, to get them again and to export."""

    source: str  # the name of a data set, or the path of a folder
    image_size: int | None
    valid_share: str  # a fraction, such as 1/12
    split_seed: int
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of each channel, in 0..1
    std: tuple[float, ...]
    num_train: int
    num_valid: int


@dataclass(frozen=True)
class Rung:
    """What a training with a squeezed schedule came to."""

    epochs: int
    valid_loss: float
    valid_accuracy: float
    train_seconds: float


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it stands in the storage. What is not known (yet) is None or empty."""

    number: int
    state: TrialState
    valid_accuracy: float | None  # 0..1, of the last epoch that was trained
    reason: Reason | None
    detail: str  # one sentence beside the reason
    params: dict[str, Any]
    num_params: int | None
    num_macs: int | None
    spec: dict[str, Any] | None  # architecture and recipe as JSON
    fingerprint: str | None
    seed: int | None
    epochs: int | None  # trained
    history: tuple[EpochMetrics, ...]
    rungs: tuple[Rung, ...]  # trainings with squeezed schedules, before the one of `history`
    train_seconds: float | None  # of all of them
    device: str | None
    versions: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end; a duplicate has its score, but was not trained."""
        return self.state == TrialState.COMPLETE and self.reason is None

    @property
    def rank(self) -> Rank:
        return rank_key(self.valid_accuracy or 0.0, self.num_params or 0, self.number)

    @property
    def outcome(self) -> str:
        """`TRAINED`, a reason, or `UNFINISHED`."""
        return str(self.reason or (TRAINED if self.is_complete else UNFINISHED))

    @cached_property
    def candidate(self) -> Candidate | None:
        """What was trained; None for a proposal that was turned away."""
        if self.spec is None:
            return None
        return Candidate(
            Architecture.from_json(self.spec["architecture"]),
            Recipe.from_json(self.spec["recipe"]),
        )


def reason_of(trial: FrozenTrial) -> Reason | None:
    """Why a trial was not trained to its end, where that is known.

    A trial is LOST when it was closed and nothing says why: its process could not.
    """
    text = trial.user_attrs.get("reason")
    try:
        reason = None if text is None else Reason(text)
    except ValueError as error:
        raise _damaged(trial, error) from error
    if trial.state == TrialState.FAIL and (reason is None or reason in _TOLD_AS_RESULT):
        return Reason.LOST
    return reason


def check_study_name(name: str) -> str:
    """The name in Unicode's composed form.

    Raises:
        StudyError: empty, too long, or with characters that cannot be shown or are dangerous.
    """
    is_good = (
        0 < len(name) <= 128
        and name == name.strip()
        and not name.startswith("-")
        and not any(unicodedata.category(c) in ("Cc", "Cs", "Cn") or c in "/\\" for c in name)
    )
    if not is_good:
        raise StudyError(
            f"--study {name[:40]!r} is no good name: 1 to 128 characters that can be printed, "
            "no slash, no '-' in front, no blank at either end"
        )
    return unicodedata.normalize("NFC", name)


def study_names(storage: BaseStorage) -> list[str]:
    return [study.study_name for study in storage.get_all_studies()]


def open_study(storage: BaseStorage, name: str | None = None) -> optuna.Study:
    """The study of that name; without a name, the one whose last trial is the newest.

    Raises:
        StudyError: no such study, or none at all.
    """
    names = study_names(storage)
    if not names:
        raise StudyError("the storage holds no studies yet: start with `nas search --budget 20000`")
    if name is not None and name not in names:
        raise StudyError(f"no study {name!r} in the storage: there are {', '.join(names)}")
    studies = [
        optuna.load_study(study_name=n, storage=storage)
        for n in (names if name is None else [name])
    ]
    ours = [study for study in studies if study_facts(study) is not None]
    if not ours:
        raise StudyError(
            f"not made by nas: {', '.join(s.study_name for s in studies)}; look with nas dashboard"
        )
    return max(ours, key=_last_start)


def open_or_create_study(
    storage: BaseStorage, name: str, facts: StudyFacts, data: DataFacts, space_source: str
) -> optuna.Study:
    """The study to search in, made when there is none of that name.

    Raises:
        StudyError: a study of this name searched something else.
    """
    if name not in study_names(storage):
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):  # made just now
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
            _write_facts(study, facts, data, space_source)
            return study
    study = optuna.load_study(study_name=name, storage=storage)
    before = _facts_soon(study)
    if before is None:
        ours = {"data", "space_source", *asdict(facts)}
        if study.get_trials(deepcopy=False) or not study.user_attrs.keys() <= ours:
            raise StudyError(f"study {name!r} was not made by nas: give a new name with --study")
        _write_facts(study, facts, data, space_source)  # its maker was killed on the way
        return study
    difference = before.first_difference(facts)
    if difference:
        raise StudyError(
            f"study {name!r} cannot go on: {difference}. "
            "Go back to what it was, or start another study with --study NAME"
        )
    return study


def _write_facts(
    study: optuna.Study, facts: StudyFacts, data: DataFacts, space_source: str
) -> None:
    with warnings.catch_warnings():  # Optuna still calls this one experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    study.set_user_attr("data", asdict(data))
    study.set_user_attr("space_source", space_source)
    # Those that older studies lack come first: once the others are there, all are.
    for key, value in reversed(asdict(facts).items()):
        study.set_user_attr(key, value)


def _facts_soon(study: optuna.Study) -> StudyFacts | None:
    """What the study searched; a process that is just making it is given time to say so."""
    deadline = time.monotonic() + MAKING_SECONDS
    while (facts := study_facts(study)) is None and time.monotonic() < deadline:
        if study.get_trials(deepcopy=False):
            break
        time.sleep(0.1)
    return facts


def study_facts(study: optuna.Study) -> StudyFacts | None:
    """What the study searched, or None when another program made it."""
    attrs = study.user_attrs
    try:
        return StudyFacts(**{f.name: attrs[f.name] for f in fields(StudyFacts) if f.name in attrs})
    except TypeError:
        return None


def study_data(study: optuna.Study) -> DataFacts:
    """The images it searched on; raises StudyError when another program made the study."""
    try:
        facts = study.user_attrs["data"]
        # JSON knows lists only.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in facts.items()
        }
        return DataFacts(**values)
    except (KeyError, TypeError) as error:
        raise StudyError(f"study {study.study_name!r} was not made by nas") from error


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """Every trial, by number."""
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def rank_key(valid_accuracy: float, num_params: int, number: int) -> Rank:
    """Sorts the best first: by accuracy, then by fewer parameters, then by age."""
    return -valid_accuracy, num_params, number


def best_trials(study: optuna.Study, most: int | None = None) -> list[TrialRecord]:
    """Trials that were trained to their end, best first, no more than `most` of them."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    done = [t for t in complete if reason_of(t) is None and t.value is not None]
    done.sort(key=lambda t: rank_key(t.value or 0.0, t.user_attrs.get("num_params") or 0, t.number))
    return [_record(trial) for trial in done[:most]]


@dataclass(frozen=True)
class Tally:
    """What the trials of a study come to, of all processes that search in it."""

    counts: Counter[str]  # of those that have ended, by what became of them
    seconds: dict[str, float]  # spent training, by the same
    seen: dict[str, int]  # trials that had their training, are in work or failed, by fingerprint
    scores: dict[int, float]  # of trials that were trained to their end
    trained: Sequence[int]  # numbers of those that count towards `--trials`
    running: Sequence[int]

    @property
    def num_running(self) -> int:
        return len(self.running)

    @property
    def counts_now(self) -> Counter[str]:
        """`counts`, with what is in work."""
        return self.counts + Counter({UNFINISHED: self.num_running})

    def num_wanted_before(self, number: int) -> int:
        """How many count towards `--trials` already, or may come to, before that trial."""
        return len(self.trained) + sum(other < number for other in self.running)


def take_tally(study: optuna.Study) -> Tally:
    """Read the trials, but no more of each than is needed: there may be thousands."""
    counts: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    seen: dict[str, int] = {}
    scores: dict[int, float] = {}
    trained, running = [], []
    for trial in study.get_trials(deepcopy=False):
        reason, fingerprint = reason_of(trial), trial.user_attrs.get("fingerprint")
        is_running, is_known = trial.state == TrialState.RUNNING, False
        if is_running:
            running.append(trial.number)
        elif trial.state != TrialState.WAITING:
            is_complete = trial.state == TrialState.COMPLETE
            outcome = str(reason or (TRAINED if is_complete else UNFINISHED))
            counts[outcome] += 1
            seconds[outcome] += trial.user_attrs.get("train_seconds") or 0.0
            if outcome in _USED_TRAINING:
                trained.append(trial.number)
            if outcome == TRAINED and trial.value is not None:
                scores[trial.number] = trial.value
            is_known = outcome in _USED_TRAINING or outcome == Reason.ERROR
        if fingerprint and (is_running or is_known):
            seen.setdefault(fingerprint, trial.number)
    return Tally(counts, dict(seconds), seen, scores, trained, running)


def count_trained(outcomes: Counter[str]) -> int:
    """How many of a tally's `counts` count towards `--trials`."""
    return sum(outcomes[str(name)] for name in _USED_TRAINING)


def find_trial(study: optuna.Study, number: int | None) -> TrialRecord:
    """The trial of that number, or the best one.

    Raises:
        StudyError: no such trial, none completed yet, or one that was never built.
    """
    if number is None:
        best = best_trials(study, 1)
        if not best:
            raise StudyError(f"study {study.study_name!r} has no completed trial yet")
        return best[0]
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(
            f"study {study.study_name!r} has no trial {number}: it has {len(trials)} "
            f"(0 to {len(trials) - 1})"
        )
    return _record(trials[number])


def record_candidate(
    trial: optuna.Trial, candidate: Candidate, seed: int, device: str, versions: dict[str, str]
) -> None:
    """Store what is about to be trained, and everything needed to train it again."""
    _set(
        trial,
        num_params=candidate.architecture.num_params,
        num_macs=candidate.architecture.num_macs,
        architecture=candidate.architecture.to_json(),
        recipe=candidate.recipe.to_json(),
        fingerprint=candidate.fingerprint,
        seed=seed,
        device=device,
        versions=versions,
    )


def training_attrs(
    history: Sequence[EpochMetrics], train_seconds: float, rungs: Sequence[Rung]
) -> dict[str, Any]:
    """What came of a training, as it is stored."""
    return {
        "epochs": len(history),
        "train_seconds": round(train_seconds, 3),
        "history": [list(asdict(metrics).values()) for metrics in history],
        "rungs": [list(asdict(rung).values()) for rung in rungs],
    }


def record_training(
    trial: optuna.Trial,
    history: Sequence[EpochMetrics],
    train_seconds: float,
    rungs: Sequence[Rung] = (),
) -> None:
    """Store what came of a training, finished or not."""
    _set(trial, **training_attrs(history, train_seconds, rungs))


def record_reason(trial: optuna.Trial, reason: Reason, detail: str) -> None:
    """Store why a trial was not trained to its end."""
    _set(trial, reason=str(reason), detail=detail)


def record_rejection(
    trial: optuna.Trial, reason: Reason, detail: str, num_params: int | None
) -> None:
    """Store why a proposal was turned away before training, and its count where there is one."""
    record_reason(trial, reason, detail)
    if num_params is not None:
        _set(trial, num_params=num_params)


def _set(trial: optuna.Trial, **attrs: Any) -> None:
    for key, value in attrs.items():
        trial.set_user_attr(key, value)


def _damaged(trial: FrozenTrial, error: Exception) -> StudyError:
    return StudyError(
        f"trial {trial.number} is damaged in the database ({describe(error)[:200]}): bring back a "
        "copy from before, or move it away"
    )


def _record(trial: FrozenTrial) -> TrialRecord:
    try:
        return _record_of(trial)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(trial, error) from error


def _record_of(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    has_spec = "architecture" in attrs and "recipe" in attrs
    reason = reason_of(trial)
    is_lost = reason == Reason.LOST
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        valid_accuracy=trial.value if trial.state != TrialState.FAIL else None,
        reason=reason,
        detail="its process ended without a word" if is_lost else attrs.get("detail", ""),
        params=trial.params,
        num_params=attrs.get("num_params"),
        num_macs=attrs.get("num_macs"),
        spec={name: attrs[name] for name in ("architecture", "recipe")} if has_spec else None,
        fingerprint=attrs.get("fingerprint"),
        seed=attrs.get("seed"),
        epochs=attrs.get("epochs"),
        history=tuple(EpochMetrics(*row) for row in attrs.get("history", ())),
        rungs=tuple(Rung(*row) for row in attrs.get("rungs", ())),
        train_seconds=attrs.get("train_seconds"),
        device=attrs.get("device"),
        versions=attrs.get("versions", {}),
    )


def _last_start(study: optuna.Study) -> float:
    trials = study.get_trials(deepcopy=False)
    starts = [t.datetime_start.timestamp() for t in trials if t.datetime_start]
    return max(starts, default=0.0)
