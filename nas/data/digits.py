"""The 8x8 digits that scikit-learn brings along: no download."""

from __future__ import annotations

import torch

from nas.data.dataset import Dataset, LabelledImages, every_sixth
from nas.data.source import Given, Source


class Digits(Source):
    """1,493 of the 1,797 digits, and the other 304 to test on.

    Args:
        notes: what the user should know, for example why these were taken.
    """

    name = record = "digits"

    def __init__(self, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes

    @classmethod
    def of(cls, given: Given) -> Source | None:
        return cls() if isinstance(given.value, str) and given.value == cls.name else None

    def training_images(self) -> LabelledImages:
        return self._load(is_test=False)

    def read_test_images(self, train: Dataset) -> LabelledImages:
        return self._load(is_test=True)

    def _load(self, *, is_test: bool) -> LabelledImages:
        from sklearn.datasets import load_digits

        bundle = load_digits()
        images = torch.as_tensor(bundle.images)  # float64 (N, 8, 8), whole numbers 0..16
        images = (images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
        labels = torch.as_tensor(bundle.target, dtype=torch.int64)
        wanted = every_sixth(labels) == is_test
        return LabelledImages(
            self.name, images[wanted], labels[wanted], tuple("0123456789"), notes=self.notes
        )
