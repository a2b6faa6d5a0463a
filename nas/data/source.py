"""Source: where the images of a search come from. One subclass, in a file of its own, a kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nas.data.dataset import Dataset, LabelledImages
from nas.data.preparation import Fit
from nas.errors import DataError


@dataclass(frozen=True)
class Given:
    """What somebody gave as a data set."""

    value: Any
    what: str  # names it in errors, such as `dataset`
    data_dir: Path  # where data sets are kept
    image_size: int | None = None  # pixels a side to which images of a folder are brought
    fit: Fit | None = None  # how, where they have another shape


class Source(ABC):
    """Images to train on, and others to test on behind a door.

    source_of("digits").training_images().images.shape
    """

    record: str
    """What a study remembers, to find the images again: a name or a path."""
    is_resizable: ClassVar[bool] = False
    """Whether the images can be brought to another size."""

    @classmethod
    @abstractmethod
    def of(cls, given: Given) -> Source | None:
        """The source that was given, or None when it is of another kind.

        Raises:
            DataError: it is nearly of this kind; the line says what is missing.
        """

    @abstractmethod
    def training_images(self) -> LabelledImages:
        """The images to train and validate on.

        Raises:
            DataError: they cannot be had, or are no images with labels.
        """

    @abstractmethod
    def read_test_images(self, train: Dataset) -> LabelledImages:
        """The test images, prepared like those to train on; call `test_images` instead."""

    @property
    def test_record(self) -> str | None:
        """What a study remembers of test images that were given on their own."""
        return None

    @property
    def test_sha256(self) -> str | None:
        """Of test images and labels, where the study is bound to them from its beginning."""
        return None

    @property
    def num_test(self) -> int | None:
        """Test images, as far as that is known without opening files of them."""
        return None

    def check_test(self, classes: tuple[str, ...]) -> None:  # noqa: B027 - most need no check
        """Whether there will be test images, as far as can be told without opening one.

        Raises:
            DataError: there are none, or they have other classes than these.
        """

    def test_images(self, train: Dataset) -> LabelledImages:
        """The test images: for a certification alone, at its very end.

        Args:
            train: the training images; the others must be of the same shape and classes.

        Raises:
            DataError: no test images, or none that fit, or they cannot be read.
        """
        test = self.read_test_images(train)
        if test.classes != train.classes or test.images.shape[1:] != train.images.shape[1:]:
            raise DataError(f"the test images of {self.record} have other classes or another size")
        return test
