"""The exported folder: each format's files, the card, the spec, stored images, hashes, proofs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from nas.data import Dataset
from nas.errors import ExportError, option
from nas.exporters.card import Result, card
from nas.exporters.contract import Expected, Subject
from nas.exporters.formats import FORMATS
from nas.exporters.manifest import NAME, write_sums
from nas.exporters.provenance import Certified, Provenance
from nas.exporters.subject import chosen_images, subject_of
from nas.exporters.verify import SPEC, VECTORS
from nas.metrics import percent
from nas.storage.studies import DataFacts
from nas.storage.trials import TrialRecord

NUM_CALIBRATION = 512
LOSS_TO_MENTION = 0.002

_README = "README.md"
# What may lie in an export: its files, and what running them leaves there.
_FILES = {SPEC, VECTORS, NAME, _README, "c/run-test", "c/run-cortex-m4"} | {
    (Path(format.FOLDER) / name).as_posix() for format in FORMATS.values() for name in format.FILES
}


@dataclass(frozen=True)
class Exported:
    """An export that passed its checks."""

    folder: Path
    num_params: int
    num_checked: int  # images that were classified by both networks
    is_real: bool  # whether those were validation images of the study
    accuracy: float | None  # 0..1, of the network in floats on those images, when they are real
    results: tuple[Result, ...] = field(repr=False)  # one for each format
    notes: tuple[str, ...]  # what its user should know
    provenance: Provenance

    @property
    def accuracy_text(self) -> str:
        """In percent; empty where it was measured on random images."""
        return "" if self.accuracy is None else percent(self.accuracy, self.num_checked)

    @property
    def lines(self) -> tuple[str, ...]:
        """How each format was proved, its accuracy, and the notes: what there is to say."""
        lines: list[str] = []
        for result in self.results:
            lines += result.proof.lines
            if not result.format.NEEDS_IMAGES or not self.is_real:  # it is exact
                continue
            accuracies = ""
            if result.accuracy is not None:
                accuracy = percent(result.accuracy, self.num_checked)
                accuracies = (
                    f"validation accuracy {accuracy} in {result.format.NUMBERS}, "
                    f"{self.accuracy_text} in floats; "
                )
            lines.append(
                f"{result.name}: {accuracies}labels that differ: {result.num_other_labels:,} of "
                f"{self.num_checked:,}"
            )
        return (*lines, *self.notes)


def export_trial(
    record: TrialRecord,
    state_dict: dict[str, Tensor],
    facts: DataFacts,
    study_name: str,
    data: Dataset | None,
    out: Path,
    *,
    formats: Sequence[str] = ("pytorch",),
    calibration: int = NUM_CALIBRATION,
    search: str | None = None,
    certificate: Sequence[str] = (),
    certified: Certified | None = None,
    force: bool = False,
) -> Exported:
    """Write a trial's network to a new folder; each format is proved before it appears there.

    Args:
        record: a trial that was trained.
        state_dict: its weights.
        facts: the images it was trained on.
        study_name: for those who read the files.
        data: those images, on the CPU; without them random ones are compared.
        out: the folder to make.
        formats: names in `FORMATS`.
        calibration: how many training images set the ranges of integers, at most.
        search: the command that repeats it, for the card.
        certificate: what the network reached when it was trained again, for the card.
        certified: the training of a certificate that the weights are of; None: of the search. It
            has seen the validation images, so that no accuracy on these is told.
        force: replace what an earlier export left there.

    Raises:
        ExportError: the folder is there already or cannot be written, the network has no such
            form, or a check failed.
        StudyError: the weights are not those of the trial's network.
    """
    if record.candidate is None:
        raise ExportError(
            f"trial {record.number} was never trained ({record.outcome}): nothing to export"
        )
    if calibration < 1:
        raise ExportError(
            f"{option('calibration', calibration)}: one training image or more is needed"
        )
    if out.exists() and not force:
        raise ExportError(
            f"{option('out')} {out} exists: name another folder, or replace it with "
            f"{option('force', True)}"
        )
    if out.exists() and not (out.is_dir() and _is_export(out)):
        raise ExportError(
            f"{option('out')} {out} holds more than an export, so {option('force', True)} does not "
            "replace it"
        )
    chosen = chosen_images(data, record.candidate.architecture, formats)
    subject = subject_of(
        record, state_dict, facts, study_name, data, chosen, calibration, certified
    )
    labels = None if data is None or certified else data.labels[chosen]
    best = subject.scores.argmax(1)
    results, vectors = [], {"images": subject.images[: subject.num_vectors].contiguous()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Made and checked under another name: a folder called `out` is always whole.
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as temporary:
            folder = Path(temporary) / "export"
            folder.mkdir()
            for name in formats:
                format, place = FORMATS[name], folder / FORMATS[name].FOLDER
                place.mkdir(exist_ok=True)
                written = format.write(subject, place)
                expected = Expected(subject.images, written.scores, subject.architecture.num_params)
                proof = format.check(place, expected)
                vectors[name] = written.scores[: subject.num_vectors].clone()
                found = written.scores.argmax(1)
                accuracy = None if labels is None else _share(found == labels)
                results.append(
                    Result(name, format, written, proof, accuracy, int((found != best).sum()))
                )
            accuracy = None if labels is None else _share(best == labels)
            notes = _notes(results, accuracy, subject)
            (folder / VECTORS).write_bytes(save(vectors))
            _write_spec(folder / SPEC, record, subject, results)
            text = card(subject, results, search, certificate, len(subject.images), notes)
            (folder / _README).write_text(text, encoding="utf-8")
            write_sums(folder)
            if out.exists():
                os.replace(out, Path(temporary) / "before")
            os.replace(folder, out)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{option('out')} {out} cannot be written: {error}") from error
    return Exported(
        out, subject.architecture.num_params, len(subject.images), data is not None, accuracy,
        tuple(results), notes, subject.provenance,
    )  # fmt: skip


def _is_export(folder: Path) -> bool:
    """Whether nothing lies there but what an export and its use leave."""
    return all(
        path.is_dir() or path.relative_to(folder).as_posix() in _FILES
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    )


def _notes(results: Sequence[Result], accuracy: float | None, subject: Subject) -> tuple[str, ...]:
    """A line for each format that is worse than the network that was trained."""
    notes = []
    for result in results:
        if accuracy is None or result.accuracy is None or subject.calibration is None:
            continue
        loss = accuracy - result.accuracy
        if loss > LOSS_TO_MENTION:
            num, num_images = len(subject.calibration), len(subject.images)
            way_out = (
                f"try {option('calibration', 4 * num)} (it was {num})"
                if num < subject.facts.num_train
                else "all training images set its ranges already: export another trial"
            )
            notes.append(
                f"{result.name}: {result.format.NUMBERS} is {100 * loss:.2f} points less accurate "
                f"than the network in floats: {percent(result.accuracy, num_images)} instead of "
                f"{percent(accuracy, num_images)} of {num_images:,} validation images; {way_out}"
            )
    return tuple(notes)


def _write_spec(
    path: Path, record: TrialRecord, subject: Subject, results: Sequence[Result]
) -> None:
    candidate, architecture, facts = record.candidate, subject.architecture, subject.facts
    assert candidate is not None
    spec = {
        "architecture": architecture.to_json(),
        "recipe": candidate.recipe.to_json(),
        "fingerprint": candidate.fingerprint,
        "num_params": architecture.num_params,
        "num_macs": architecture.num_macs,
        "classes": facts.classes,
        "mean": facts.mean,
        "std": facts.std,
        "preparation": facts.preparation,
        "from": asdict(subject.provenance),
        "formats": {
            result.name: {"accuracy": result.accuracy, **result.figures} for result in results
        },
    }
    path.write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")


def _share(is_right: Tensor) -> float:
    return is_right.double().mean().item()
