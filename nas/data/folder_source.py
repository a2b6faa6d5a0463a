"""A folder of pictures as a source; `nas.data.folder` reads them."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.dataset import Dataset, LabelledImages
from nas.data.folder import list_images, load_folder
from nas.data.places import in_home
from nas.data.preparation import Fit
from nas.data.source import Given, Source
from nas.errors import DataError


class FolderSource(Source):
    """The pictures below a folder.

    Args:
        folder: class folders, or parts with class folders in them; see `nas.data.layout`.
        cache_dir: where decoded pictures are kept.
        image_size: pixels a side to which they are brought; None where all have one size.
        fit: how, where they have another shape; None stretches them.
    """

    is_resizable = True

    def __init__(
        self, folder: Path, cache_dir: Path, image_size: int | None, fit: Fit | None
    ) -> None:
        self.folder = folder
        self.cache_dir = cache_dir
        self.image_size = image_size
        self.fit = fit
        self.record = str(folder.resolve())

    @classmethod
    def of(cls, given: Given) -> Source | None:
        if not isinstance(given.value, str | Path) or "://" in str(given.value):
            return None
        text, path = str(given.value), in_home(given.value)
        is_path = isinstance(given.value, Path) or "/" in text or os.sep in text
        if not is_path and not path.is_dir():
            return None
        return cls(path, given.data_dir / "folders", given.image_size, given.fit)

    def training_images(self) -> LabelledImages:
        return load_folder(self.folder, self.cache_dir, self.image_size, fit=self.fit)

    def read_test_images(self, train: Dataset) -> LabelledImages:
        return load_folder(
            self.folder, self.cache_dir, self.image_size, True, like=train.preparation
        )

    def check_test(self, classes: tuple[str, ...]) -> None:
        _, test_classes = list_images(self.folder, is_test=True)
        if test_classes != classes:
            raise DataError(f"the test images of {self.folder} have other classes")
