"""Confusion: what a network takes for what, and the validation images that it misses."""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from nas.reports.picture import SMALL, Picture, Text, shortened, text_width
from nas.reports.plots import WIDE
from nas.reports.results import TrialResult

MOST_CLASSES = 20  # in a drawing; of more, those with the most errors
_LARGEST = 64  # pixels of a shown image's side
_BATCH = 500


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for something else."""

    image: Tensor  # uint8 (C, H, W)
    label: str
    predicted: str
    probability: float  # that the network gives to what it predicted

    @property
    def url(self) -> str:
        """The image as a data URL of a small PNG."""
        pixels = self.image[:3] if len(self.image) >= 3 else self.image[:1]
        array = pixels.permute(1, 2, 0).contiguous().numpy()
        picture = Image.fromarray(array if len(pixels) == 3 else array[:, :, 0])
        picture.thumbnail((_LARGEST, _LARGEST))
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class Predictions:
    """What a network says of the validation images."""

    classes: tuple[str, ...]
    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,)
    predicted: Tensor  # int64 (N,)
    probabilities: Tensor  # float (N,): of what was predicted

    @property
    def counts(self) -> dict[tuple[int, int], int]:
        """Images by their class and the predicted one."""
        return Counter(zip(self.labels.tolist(), self.predicted.tolist(), strict=True))

    @property
    def num_wrong(self) -> int:
        return int((self.labels != self.predicted).sum())

    def mistakes(self, most: int) -> list[Mistake]:
        """Those the network was surest of come first."""
        wrong = (self.labels != self.predicted).nonzero().flatten()
        order = wrong[self.probabilities[wrong].argsort(descending=True, stable=True)]
        return [
            Mistake(
                self.images[i], self.classes[int(self.labels[i])],
                self.classes[int(self.predicted[i])], float(self.probabilities[i]),
            )
            for i in order[:most].tolist()
        ]  # fmt: skip


@torch.inference_mode()
def predictions_of(
    trial: TrialResult, images: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> Predictions:
    """Classify images with the kept weights of a trial.

    Args:
        images: uint8 (N, C, H, W), on the CPU.
        labels: int64 (N,).

    Raises:
        StudyError: the weights were not kept.
    """
    model = trial.model()
    parts = [model(trial.normalise(part)).softmax(1).max(1) for part in images.split(_BATCH)]
    return Predictions(
        classes, images, labels, torch.cat([part.indices for part in parts]),
        torch.cat([part.values for part in parts]),
    )  # fmt: skip


def confusion_plot(predictions: Predictions, width: float = WIDE) -> Picture:
    """A row for each class, a column for each prediction; darker where more errors are."""
    counts, classes = predictions.counts, predictions.classes
    wrong: Counter[int] = Counter()
    for (label, predicted), count in counts.items():
        if label != predicted:
            wrong[label] += count
            wrong[predicted] += count
    chosen = sorted(range(len(classes)), key=lambda i: (-wrong[i], i))[:MOST_CLASSES]
    chosen.sort()
    rows, columns = _names([classes[i] for i in chosen], width)
    side = min(max(text_width(name, SMALL) for name in rows), 0.3 * width)
    left, top = 8 + max(side, 24.0) + 10, 44.0
    cell = _cell(width, side, len(chosen))
    most = max((n for (a, b), n in counts.items() if a != b), default=1)
    picture = Picture("Confusion on the validation images", left + cell * len(chosen) + 8)
    picture.add(
        Text((8, top - 8), "is", "muted", SMALL), Text((left, 14), "was taken for", "muted", SMALL)
    )
    size = SMALL if cell >= 24 else 8.0
    for place, i in enumerate(chosen):
        at = place * cell
        picture.add(
            Text((left + at + cell / 2, top - 8), columns[place], "text", size, "middle"),
            Text((left - 8, top + at + cell / 2 + 4), shortened(rows[place], side, SMALL), "text",
                 SMALL, "end"),
        )  # fmt: skip
        for column, j in enumerate(chosen):
            count = counts.get((i, j), 0)
            x, y = left + column * cell, top + at
            is_right = i == j
            share = 0.12 if is_right else 0.25 + 0.75 * count / most if count else 0.0
            picture.rect(x + 0.5, y + 0.5, cell - 1, cell - 1, "grid")
            if count:
                picture.rect(x + 0.5, y + 0.5, cell - 1, cell - 1,
                             "green" if is_right else "orange", share)  # fmt: skip
                text = f"{count}"
                if text_width(text, size) <= cell * 1.15:
                    ink = "paper" if share > 0.8 else "text"
                    place_at = (x + cell / 2, y + cell / 2 + 4)
                    picture.add(Text(place_at, text, ink, size, "middle"))
    picture.height = top + cell * len(chosen) + 8
    pairs = sorted(((n, a, b) for (a, b), n in counts.items() if a != b), reverse=True)[:5]
    total = len(predictions.labels)
    picture.description = f"{predictions.num_wrong:,} of {total:,} images are wrong. " + "; ".join(
        f"{classes[a]} taken for {classes[b]}: {n}" for n, a, b in pairs
    )
    picture.caption = f"{predictions.num_wrong:,} errors in {total:,} validation images."
    if len(chosen) < len(classes):
        picture.caption += (
            f" Of the {len(classes):,} classes the {len(chosen)} with the most errors are drawn."
        )
    return picture


def _cell(width: float, side: float, count: int) -> float:
    """How wide a cell is, beside names of that width."""
    return min((width - max(side, 24.0) - 26) / count, 44.0)


def _names(classes: list[str], width: float) -> tuple[list[str], list[str]]:
    """What rows and columns are called: by name, where columns are too narrow by first words."""
    side = min(max(text_width(name, SMALL) for name in classes), 0.3 * width)
    cell = _cell(width, side, len(classes))
    first_words = [name.split()[0] for name in classes]
    for columns in (classes, first_words):
        is_clear = len(set(columns)) == len(columns)
        if is_clear and max(text_width(name, SMALL) for name in columns) <= cell - 2:
            return classes, columns
    numbers = [str(i) for i in range(1, len(classes) + 1)]
    return [f"{n} {name}" for n, name in zip(numbers, classes, strict=True)], numbers
