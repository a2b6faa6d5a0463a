"""Images that are read all at once: arrays, a torch Dataset, an .npz."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.dataset import Dataset, LabelledImages, every_sixth
from nas.data.labels import Classes
from nas.data.source import Source
from nas.errors import DataError, option


@dataclass(frozen=True)
class Pictures:
    """Images with labels of any kind."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: NDArray[Any]  # (N,), int64 or str
    names: tuple[str, ...] | None = None  # of the labels 0, 1, 2, ...
    notes: tuple[str, ...] = ()

    def check(self, what: str) -> Pictures:
        """Itself; raises DataError when not every image has its label."""
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{what}: {len(self.images):,} images, but {len(self.labels):,} labels: give one "
                "label an image"
            )
        return self


class HeldSource(Source):
    """Images that are read all at once.

    Test images are those given on their own, else those that are held beside the others, else every
    sixth image of each class, in the order given. A study is bound to them from its beginning by a
    hash; nothing else is done with them before a certification.
    """

    what: str
    """Names the source in errors."""
    test: HeldSource | None = None
    """Where the test images are, if they were given on their own."""

    @abstractmethod
    def read(self) -> Pictures:
        """All images that are not for testing."""

    def read_test(self) -> Pictures | None:
        """Test images that are held beside the others."""
        return None

    def read_as_test(self) -> Pictures:
        """The images where others are trained on."""
        return self.read()

    @abstractmethod
    def name(self, sha256: str) -> str:
        """Of the data set, for people and for the study; `sha256` is that of its images."""

    @property
    def test_record(self) -> str | None:
        return None if self.test is None else self.test.record

    @property
    def test_sha256(self) -> str:
        return self._parts[1].sha256

    @property
    def num_test(self) -> int:
        return len(self._parts[1].images)

    def training_images(self) -> LabelledImages:
        return self._parts[0]

    def read_test_images(self, train: Dataset) -> LabelledImages:
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[LabelledImages, LabelledImages]:
        """The images to train on, and those to test on."""
        found = self.read().check(self.what)
        classes = Classes.of(found.labels, found.names, self.what)
        labels = classes.numbers(found.labels, self.what)
        notes = [*found.notes, *([classes.note] if classes.note else [])]
        images = found.images
        test = self._read_given_test()
        if test is None:
            is_test = every_sixth(labels)
            notes.append(
                f"{int(is_test.sum()):,} of {len(images):,} images, every sixth of each class, are "
                f"kept back to test on; {option('test')} gives others"
            )
            test_images, test_labels = images[is_test], labels[is_test]
            images, labels = images[~is_test], labels[~is_test]
        else:
            test_images = test.images
            test_labels = classes.numbers(test.labels, (self.test or self).what)
            if test.names not in (None, classes.names):
                raise DataError(
                    f"the test images have other classes ({', '.join(test.names[:8])}) than those "
                    f"to train on ({', '.join(classes.names[:8])}): bring them to the same"
                )
            if test_images.shape[1:] != images.shape[1:]:
                shapes = [tuple(part.shape[1:]) for part in (test_images, images)]
                raise DataError(
                    f"the test images have (C, H, W) {shapes[0]}, those to train on {shapes[1]}: "
                    "bring them to the same"
                )
        train = LabelledImages("", images, labels, classes.names, notes=tuple(notes))
        train = replace(train, name=self.name(train.sha256))
        return train, LabelledImages(train.name, test_images, test_labels, classes.names)

    def _read_given_test(self) -> Pictures | None:
        own = self.read_test()
        if self.test is None:
            return None if own is None else own.check(self.what)
        if own is not None:
            raise DataError(f"{self.what} holds test images of its own: leave out {option('test')}")
        return self.test.read_as_test().check(self.test.what)


def own_memory(images: Tensor) -> Tensor:
    """A copy: a search moves its images to shared memory, the caller's stay where they are."""
    return images.clone(memory_format=torch.contiguous_format)
