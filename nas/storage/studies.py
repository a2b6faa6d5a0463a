"""Studies as they stand in the storage: what was searched, on which images, under which name.

A study's user attributes have the names of the fields of `StudyFacts`.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import unicodedata
import warnings
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import optuna
from optuna.storages import BaseStorage

from nas.candidates.budget import Budget, Limits
from nas.errors import StudyError, call_or_command, command, hint, option
from nas.storage.internals import set_study_system_attr, study_system_attr
from nas.storage.reading import check_attributes
from nas.storage.trials import result_of

METRIC = "valid_accuracy"
SPACE_CHANGED = "the text of the space file changed"
SPACE_SOURCE = "nas:space_source"  # a system attribute, which dashboards do not print
MAKING_SECONDS = 5.0  # that a process may take from a study's name to its facts


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
    max_flash: int | None = None
    max_ram: int | None = None
    test_sha256: str | None = None  # of test images that are not found again by a name

    @property
    def limits(self) -> Budget:
        """What a network may cost."""
        limits = Limits(
            self.max_macs, self.max_weight_bytes, self.max_activation_bytes, self.bits,
            self.max_flash, self.max_ram,
        )  # fmt: skip
        return Budget(self.budget, limits)

    def first_difference(self, other: StudyFacts) -> str | None:
        """In words, the first fact that differs, or None."""
        for fact in fields(self):
            mine, theirs = getattr(self, fact.name), getattr(other, fact.name)
            if mine != theirs:
                what = {
                    "space_sha256": SPACE_CHANGED,
                    "data_sha256": f"the images of {option('dataset')} changed",
                    "test_sha256": "the images to test on changed",
                    "split_sha256": f"{option('valid_share')} or {option('split_seed')} changed",
                }
                if fact.name in what:
                    return what[fact.name]
                words = ["not given" if v is None else str(v) for v in (mine, theirs)]
                return f"{option(fact.name)} was {words[0]}, now it is {words[1]}"
        return None


@dataclass(frozen=True)
class DataFacts:
    """Where a study's images came from and what they are, to get them again and to export."""

    source: str  # the name of a data set, the path of a folder or .npz, or what Python gave
    image_size: int | None
    valid_share: str  # a fraction, such as 1/12
    split_seed: int
    input_shape: tuple[int, int, int]  # (C, H, W)
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of each channel, in 0..1
    std: tuple[float, ...]
    num_train: int
    num_valid: int
    preparation: dict[str, Any] | None = None  # how files became images; None where none did
    test_source: str | None = None  # the same of test images that were given on their own
    num_test: int | None = None  # None where no file of theirs was opened
    largest_share: float | None = None  # of validation images, of their most frequent class

    @property
    def fit(self) -> Literal["stretch", "crop", "pad"] | None:
        """How pictures were brought to their size; older studies stretched them."""
        if self.image_size is None:
            return None
        fit: Literal["stretch", "crop", "pad"] | None = (self.preparation or {}).get("fit")
        return fit or "stretch"

    def first_difference(self, other: DataFacts) -> str | None:
        """In words, what differs in how images are brought to their size, or None."""
        for name in ("image_size", "fit"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                words = ["not given" if v is None else str(v) for v in (mine, theirs)]
                return f"{option(name)} was {words[0]}, now it is {words[1]}"
        return None


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
            f"{option('study')} {name[:40]!r} is no good name: 1 to 128 characters that can be "
            "printed, no slash, no '-' in front, no blank at either end"
        )
    return unicodedata.normalize("NFC", name)


def study_names(storage: BaseStorage) -> list[str]:
    """Of every study in the storage, whoever made it."""
    return optuna.get_all_study_names(storage)


def open_study(storage: BaseStorage, name: str | None = None) -> optuna.Study:
    """The study of that name; without a name, of those that have a network the one whose last
    trial is the newest.

    Raises:
        StudyError: no such study, or none at all.
    """
    names = study_names(storage)
    if not names:
        raise StudyError(
            f"the storage holds no studies yet: start with `{command('search', budget=20000)}`"
        )
    if name is not None and name not in names:
        raise StudyError(f"no study {name!r} in the storage: {hint(name, names)}")
    studies = [
        optuna.load_study(study_name=n, storage=storage)
        for n in (names if name is None else [name])
    ]
    ours = [study for study in studies if study_facts(study) is not None]
    if not ours:
        raise StudyError(
            f"not made by nas: {', '.join(s.study_name for s in studies)}; look with "
            f"{command('dashboard')}"
        )
    with_network = [study for study in ours if len(ours) == 1 or _has_network(study)]
    return max(with_network or ours, key=_last_start)


def open_or_create_study(
    storage: BaseStorage,
    name: str,
    facts: StudyFacts,
    data: DataFacts,
    space_source: str,
    earlier_space: str | None = None,
) -> optuna.Study:
    """The study to search in, made when there is none of that name.

    Args:
        earlier_space: how the SHA-256 of another text of the space begins, which proposes the
            same.

    Raises:
        StudyError: a study of this name searched something else, or is damaged.
    """
    if name not in study_names(storage):
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):  # made just now
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
            _write_facts(study, facts, data, space_source)
            return study
    study = optuna.load_study(study_name=name, storage=storage)
    before = _facts_soon(study)
    if before is None:
        ours = {"data", *asdict(facts)}
        is_used = study.get_trials(deepcopy=False) or not study.user_attrs.keys() <= ours
        before = study_facts(study)  # its maker may have said so just now, and begun
        if before is None and is_used:
            raise StudyError(
                f"study {name!r} was not made by nas: give a new name with {option('study')}"
            )
    if before is None:
        _write_facts(study, facts, data, space_source)  # its maker was killed on the way
        return study
    if earlier_space and before.space_sha256.startswith(earlier_space):
        facts = replace(facts, space_sha256=before.space_sha256)
    difference = study_data(study).first_difference(data) or before.first_difference(facts)
    if difference:
        kept = ""
        if difference == SPACE_CHANGED:
            call = f"nas.load_study({name!r}).save_space()"
            writes = call_or_command(call, "spaces", study=name)
            kept = f" (`{writes}` writes that file)"
        raise StudyError(
            f"study {name!r} cannot go on: {difference}. Go back to what it was{kept}, or start "
            f"another, such as {option('study', _free_name(storage, name))}"
        )
    check_attributes(study.get_trials(deepcopy=False))  # before anything is written
    return study


def _free_name(storage: BaseStorage, name: str) -> str:
    """A name like this one that no study has: `digits-2`."""
    taken = set(study_names(storage))
    return next(free for n in itertools.count(2) if (free := f"{name[:120]}-{n}") not in taken)


def _write_facts(
    study: optuna.Study, facts: StudyFacts, data: DataFacts, space_source: str
) -> None:
    with warnings.catch_warnings():  # Optuna still calls this one experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    study.set_user_attr("data", asdict(data))
    set_study_system_attr(study, SPACE_SOURCE, space_source)
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


def space_source(study: optuna.Study) -> str | None:
    """The text of the space that was searched; None when another program made the study."""
    before: str | None = study.user_attrs.get("space_source")  # in older studies
    found: str | None = study_system_attr(study, SPACE_SOURCE)
    return found or before


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


def num_valid_of(study: optuna.Study) -> int | None:
    """On how many images its candidates are validated; None where that is not known."""
    data = study.user_attrs.get("data")
    return data.get("num_valid") or None if isinstance(data, dict) else None


def largest_share_of(study: optuna.Study) -> float | None:
    """Of validation images, of their most frequent class; None where that is not known."""
    return study_data(study).largest_share if study_facts(study) else None


def _has_network(study: optuna.Study) -> bool:
    return any(result_of(trial) is not None for trial in study.get_trials(deepcopy=False))


def _last_start(study: optuna.Study) -> float:
    trials = study.get_trials(deepcopy=False)
    starts = [t.datetime_start.timestamp() for t in trials if t.datetime_start]
    return max(starts, default=0.0)
