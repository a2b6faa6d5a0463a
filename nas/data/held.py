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
from nas.data.words import some
from nas.errors import DataError, option


@dataclass(frozen=True)
class Pictures:
    """Images with labels of any kind."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: NDArray[Any]  # (N,), int64 or str
    names: tuple[str, ...] | None = None  # of the labels 0, 1, 2, ...
    notes: tuple[str, ...] = ()
    num_valid: int = 0  # of these, the last ones, which are given to validate on

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
        """The images to train and validate on, and those to test on."""
        found = self.read().check(self.what)
        images, num_train = found.images, len(found.images) - found.num_valid
        classes = Classes.of(found.labels[:num_train], found.names, self.what)
        labels = classes.numbers(found.labels, self.what)
        notes = [*found.notes, *([classes.note] if classes.note else [])]
        kept_back: tuple[int, ...] = ()
        test = self._read_given_test()
        if test is None:
            is_test = every_sixth(labels[:num_train])
            kept_back = tuple(
                labels[:num_train][is_test].bincount(minlength=len(classes.names)).tolist()
            )
            notes.append(
                f"{sum(kept_back):,} of {num_train:,} images, every sixth of each class, are kept "
                f"back to test on; {option('test')} gives others"
            )
            rest = torch.cat([~is_test, torch.ones(found.num_valid, dtype=torch.bool)])
            test_images, test_labels = images[~rest], labels[~rest]
            images, labels = images[rest], labels[rest]
        else:
            test_images = test.images
            test_labels = classes.numbers(test.labels, (self.test or self).what)
            self._check_alike(images, classes, test)
        num_train = len(images) - found.num_valid
        if found.num_valid:
            sizes = labels[:num_train].bincount(minlength=len(classes.names))
            if not sizes.all():
                empty = classes.names[int(sizes.argmin())]
                raise DataError(f"{self.what}: class {empty!r} has no image to train on")
        train = LabelledImages(
            "", images, labels, classes.names, notes=tuple(notes), kept_back=kept_back,
            valid_index=torch.arange(num_train, len(images)) if found.num_valid else None,
        )  # fmt: skip
        train = replace(train, name=self.name(train.sha256))
        return train, LabelledImages(train.name, test_images, test_labels, classes.names)

    def _check_alike(self, images: Tensor, classes: Classes, test: Pictures) -> None:
        """Raises DataError where the test images have other names of classes, or another size."""
        if test.names is not None and test.names != classes.names:
            raise DataError(
                f"the test images have other classes ({some(test.names, 8)}) than those to train "
                f"on ({some(classes.names, 8)}): bring them to the same"
            )
        if test.images.shape[1:] != images.shape[1:]:
            shapes = [tuple(part.shape[1:]) for part in (test.images, images)]
            raise DataError(
                f"the test images have (C, H, W) {shapes[0]}, those to train on {shapes[1]}: "
                "bring them to the same"
            )

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
