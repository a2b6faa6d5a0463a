"""Classifier: a trained network, and how files become the images that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.candidates.architecture import Architecture
from nas.data.picture import UnreadableError, read_picture
from nas.data.preparation import Preparation
from nas.data.tree import looks_like_picture, read_tree
from nas.data.words import some
from nas.errors import DataError, ExportError, NasError, count
from nas.exporters.verify import SPEC, read_spec
from nas.storage.artifacts import fill
from nas.storage.studies import DataFacts

PART = 500  # images at once


@dataclass(frozen=True)
class Prediction:
    """What a network says of a file."""

    file: Path
    classes: tuple[str, ...]
    scores: tuple[float, ...]  # of each class, as the network gives them
    probabilities: tuple[float, ...]  # softmax of these

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """Classes with their probabilities, the likeliest first."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """That the network gives to the likeliest class, 0..1."""
        return self.ranking[0][1]


@dataclass(frozen=True)
class Predicted:
    """What a network says of files, in the order in which they were given."""

    predictions: tuple[Prediction, ...]
    unreadable: dict[Path, str]  # why each of the other files could not be read
    notes: tuple[str, ...]  # what is odd in the files

    @property
    def scores(self) -> Tensor:
        """float (N, classes)."""
        return torch.tensor([prediction.scores for prediction in self.predictions])

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows: those of classified files have file, class, probability, and of every class
        probabilities and scores; then come those that could not be read, with file and error."""
        rows: list[dict[str, Any]] = [
            {
                "file": str(found.file),
                "class": found.label,
                "probability": found.probability,
                "probabilities": dict(zip(found.classes, found.probabilities, strict=True)),
                "scores": dict(zip(found.classes, found.scores, strict=True)),
            }
            for found in self.predictions
        ]
        return rows + [{"file": str(file), "error": why} for file, why in self.unreadable.items()]


@dataclass(frozen=True)
class Classifier:
    """A network in evaluation, and what its images were."""

    model: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of each channel, in 0..1
    std: tuple[float, ...]
    preparation: Preparation

    @classmethod
    def of_study(cls, model: nn.Module, facts: DataFacts) -> Classifier:
        """A network that was trained on the images of a study."""
        preparation = Preparation.for_network(facts.input_shape, facts.preparation)
        return cls(model, facts.classes, facts.mean, facts.std, preparation)

    @classmethod
    def of_export(cls, folder: Path) -> Classifier:
        """The network of an exported folder; no code in it is run.

        Raises:
            ExportError: the folder is no export, or holds no weights in floats.
            VerifyError: its description is damaged.
            StudyError: its weights are not those of the network that it describes.
        """
        if not (folder / SPEC).is_file():
            raise ExportError(
                f"{folder} holds no {SPEC}: give a folder that `nas export` has made, or a trial: "
                "its number, or best"
            )
        path = folder / "weights.safetensors"
        if not path.is_file():
            raise ExportError(f"{folder} holds no {path.name}: export the format pytorch as well")
        spec = read_spec(folder)
        try:
            architecture = Architecture.from_json(spec["architecture"])
            made = cls(
                architecture.build(),
                tuple(map(str, spec["classes"])),
                tuple(map(float, spec["mean"])),
                tuple(map(float, spec["std"])),
                Preparation.for_network(architecture.input_shape, spec.get("preparation")),
            )
            shape = (made.preparation.channels, made.preparation.height, made.preparation.width)
            numbers = (len(made.classes), len(made.mean), len(made.std))
            if (shape, numbers) != (
                architecture.input_shape,
                (architecture.num_classes, shape[0], shape[0]),
            ):
                raise ValueError("its images or its classes are those of another network")
        except (KeyError, TypeError, ValueError, NasError) as error:
            raise ExportError(f"{folder / SPEC} describes no classifier: {error}") from error
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ExportError(f"{path} cannot be read: {error}") from error
        fill(made.model, weights, f"the weights in {path}")
        made.model.eval()
        return made

    def predict(self, files: Iterable[Path]) -> Predicted:
        """Classify files as the data set's own loader would have read them.

            classifier.predict(list_files(["photos", "other/1.jpg"])).predictions[0].label

        Files that cannot be read are named, and the others are classified.
        """
        predictions: list[Prediction] = []
        reader = _Reader(self.preparation)
        for part in reader.parts(files):
            scores = self._scores(torch.stack([image for _, image in part]))
            rows = zip(part, scores.tolist(), scores.softmax(1).tolist(), strict=True)
            predictions += [
                Prediction(file, self.classes, tuple(row), tuple(shares))
                for (file, _), row, shares in rows
            ]
        return Predicted(tuple(predictions), reader.unreadable, tuple(reader.notes()))

    @torch.inference_mode()
    def _scores(self, images: Tensor) -> Tensor:
        """float (N, classes) of uint8 (N, C, H, W)."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        scores: Tensor = self.model((images.float() / 255 - mean) / std)
        return scores


class _Reader:
    """Reads files in parts, and remembers what is to be said of them."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.unreadable: dict[Path, str] = {}
        self.remarks: dict[str, list[str]] = {}
        self.stretched: list[str] = []
        self.num_beyond = 0

    def parts(self, files: Iterable[Path]) -> Iterator[list[tuple[Path, Tensor]]]:
        """Files with their images, uint8 (C, H, W)."""
        part: list[tuple[Path, Tensor]] = []
        for file in files:
            try:
                picture = read_picture(file)
            except UnreadableError as error:
                self.unreadable[file] = str(error)
                continue
            for remark in picture.remarks:
                self.remarks.setdefault(remark, []).append(str(file))
            self.num_beyond += self.preparation.is_beyond(picture)
            if not self.preparation.fits(picture):
                self.stretched.append(str(file))
            part.append((file, torch.from_numpy(self.preparation.apply(picture))))
            if len(part) == PART:
                yield part
                part = []
        if part:
            yield part

    def notes(self) -> Iterator[str]:
        size = f"{self.preparation.width}x{self.preparation.height}"
        if self.stretched:
            yield (
                f"{count(len(self.stretched), 'file')} stretched to {size}, though the network was "
                f"trained on images of just that size: {some(self.stretched)}"
            )
        if self.num_beyond:
            yield (
                f"{count(self.num_beyond, 'file')} with values beyond the range of the training "
                "images, which are cut off"
            )
        for remark, names in self.remarks.items():
            yield f"{count(len(names), 'file')} {remark}: {some(names)}"


def list_files(given: Sequence[Path]) -> list[Path]:
    """The files that were given, each once, and those in the folders among them.

    Raises:
        DataError: nothing was given, or a folder cannot be read or holds no pictures.
    """
    files: list[Path] = []
    for path in given:
        if not path.is_dir():
            files.append(path)  # whether it is there, reading says
            continue
        try:
            found = [file for file in read_tree(path).all_files() if looks_like_picture(file)]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        if not found:
            raise DataError(f"{path} holds no images")
        files += found
    if not files:
        raise DataError("no images are given: name files, or folders of them")
    return list(dict.fromkeys(files))
