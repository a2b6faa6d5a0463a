"""Images and labels as numpy arrays or torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from nas.data.held import HeldSource, Pictures, own_memory
from nas.data.labels import as_labels
from nas.data.pixels import as_images
from nas.data.source import Given, Source
from nas.errors import DataError

RECORD = "arrays"


class Arrays(HeldSource):
    """A pair `(images, labels)`.

        nas.search(budget=20_000, dataset=(images, labels), test=(test_images, test_labels))

    `images` are uint8 of shape (N, C, H, W), (N, H, W, C) or (N, H, W); `labels` N integers or
    strings.
    """

    record = RECORD

    def __init__(self, images: Any, labels: Any, what: str = "dataset") -> None:
        self.what = what
        self.images = images
        self.labels = labels

    @classmethod
    def of(cls, given: Given) -> Source | None:
        dataset, what = given.value, given.what
        if isinstance(dataset, np.ndarray | Tensor):
            raise DataError(
                f"{what}: one array of shape {tuple(dataset.shape)}: give the labels, too, as "
                "(images, labels)"
            )
        if not isinstance(dataset, tuple | list):
            return None
        if len(dataset) == 2 and all(_is_pair(part) for part in dataset):
            raise DataError(
                f"{what}: two pairs: give the first as dataset=(images, labels) and the second "
                "as test=(images, labels)"
            )
        if len(dataset) != 2:
            raise DataError(
                f"{what}: a {type(dataset).__name__} of {len(dataset)}: give a pair "
                "(images, labels)"
            )
        images, labels = dataset
        return cls(images, labels, what)

    def read(self) -> Pictures:
        images = as_images(self.images, self.what)
        if isinstance(self.images, Tensor):
            images = own_memory(images)
        return Pictures(images, as_labels(self.labels, self.what))

    def name(self, sha256: str) -> str:
        """`arrays-` and the beginning of the hash: other images have another study."""
        return f"{RECORD}-{sha256[:6]}"


def _is_pair(value: Any) -> bool:
    """Whether it is `(images, labels)` itself, as data sets of others come."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 2
        and all(getattr(part, "ndim", 0) for part in value)
    )
