"""Images and labels in an .npz file of numpy."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data.held import HeldSource, Pictures
from nas.data.labels import as_labels
from nas.data.pixels import as_images
from nas.data.places import in_home
from nas.data.source import Given, Source
from nas.errors import DataError, one_line

SUFFIX = ".npz"
TRAIN_KEYS = (("images", "labels"), ("x", "y"), ("x_train", "y_train"),
              ("train_images", "train_labels"))  # fmt: skip
VALID_KEYS = (("x_val", "y_val"), ("val_images", "val_labels"))
TEST_KEYS = (("x_test", "y_test"), ("test_images", "test_labels"))
NAMES_KEY = "classes"

Keys = tuple[str, str]


class Npz(HeldSource):
    """An .npz with images and labels under one pair of `TRAIN_KEYS`.

        np.savez_compressed("photos.npz", images=images, labels=labels)
        nas.search(budget=20_000, dataset="photos.npz")

    | images, labels to train on | to validate on | to test on |
    | --- | --- | --- |
    | `images`, `labels` | | |
    | `x`, `y` | | |
    | `x_train`, `y_train`, as in Keras | `x_val`, `y_val` | `x_test`, `y_test` |
    | `train_images`, `train_labels`, as in MedMNIST | `val_...` | `test_...` |

    Images to validate and to test on may be missing, and may stand beside any of the others.
    `classes` may hold the names of labels 0, 1, ...
    A file given as `test` holds test images under any of these keys but those of training images.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = f"{what} {path}"
        self.record = str(path.resolve())

    @classmethod
    def of(cls, given: Given) -> Source | None:
        if not isinstance(given.value, str | Path) or "://" in str(given.value):
            return None
        path = in_home(given.value)
        return (
            cls(path, given.what) if path.suffix.lower() == SUFFIX and not path.is_dir() else None
        )

    def name(self, sha256: str) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    def read(self) -> Pictures:
        found = self._find(TRAIN_KEYS)
        if found is None:
            raise self._missing(TRAIN_KEYS)
        valid = self._find(VALID_KEYS)
        used = {*found, *(valid or ()), *(self._find(TEST_KEYS) or ()), NAMES_KEY}
        others = sorted(self._keys - used)
        notes = [f"not used of {self.path.name}: {', '.join(others)}"] if others else []
        train = self._pictures(found)
        if valid is None:
            return replace(train, notes=tuple(notes))
        more = self._pictures(valid).check(f"{self.what}: {valid[0]}")
        if more.images.shape[1:] != train.images.shape[1:] or (
            more.labels.dtype.kind != train.labels.dtype.kind
        ):
            raise DataError(
                f"{self.what}: {valid[0]} and {found[0]} have images of other shapes or labels of "
                "other types: bring them to the same"
            )
        notes.append(f"the search validates on {valid[0]}, {len(more.images):,} images")
        return Pictures(
            torch.cat([train.check(self.what).images, more.images]),
            np.concatenate([train.labels, more.labels]),
            train.names, tuple(notes), len(more.images),
        )  # fmt: skip

    def read_test(self) -> Pictures | None:
        found = self._find(TEST_KEYS)
        return None if found is None else self._pictures(found)

    def read_as_test(self) -> Pictures:
        allowed = (*TEST_KEYS, *TRAIN_KEYS[:2])
        found = self._find(TEST_KEYS) or self._find(TRAIN_KEYS[:2])
        if found is None:
            raise self._missing(allowed)
        return self._pictures(found)

    def _pictures(self, keys: Keys) -> Pictures:
        images, labels = (self._array(key) for key in keys)
        names = None
        if NAMES_KEY in self._keys:
            names = tuple(map(str, as_labels(self._array(NAMES_KEY), f"{self.what}: {NAMES_KEY}")))
        return Pictures(as_images(images, self.what), as_labels(labels, self.what), names)

    def _find(self, pairs: tuple[Keys, ...]) -> Keys | None:
        """The one pair whose keys are there.

        Raises:
            DataError: several pairs, or half of one.
        """
        keys = self._keys
        found = [pair for pair in pairs if keys.issuperset(pair)]
        if len(found) > 1:
            named = " and as ".join(f"{a}, {b}" for a, b in found)
            raise DataError(f"{self.what} has images and labels as {named}: leave one pair")
        half = [pair for pair in pairs if len(keys.intersection(pair)) == 1]
        if not found and half:
            there, missing = sorted(half[0], key=lambda key: key not in keys)
            raise DataError(f"{self.what} has {there} without {missing}; it has {self._listed()}")
        return found[0] if found else None

    def _missing(self, pairs: tuple[Keys, ...]) -> DataError:
        named = ", or ".join(f"{images} and {labels}" for images, labels in pairs)
        return DataError(f"{self.what} has {self._listed()}: name images and labels {named}")

    def _listed(self) -> str:
        return ", ".join(sorted(self._keys)) or "no arrays"

    @cached_property
    def _keys(self) -> set[str]:
        with self._open() as file:
            return set(file.files)

    def _array(self, key: str) -> NDArray[Any]:
        try:
            with self._open() as file:
                array: NDArray[Any] = file[key]
                return array
        except Exception as error:  # numpy lets through whatever its parsers meet
            if "allow_pickle" in str(error):
                raise DataError(
                    f"{self.what}: {key} holds Python objects, which are not read: save an array "
                    "of numbers or of fixed-width strings, such as labels.astype(str)"
                ) from error
            raise DataError(f"{self.what}: {key} cannot be read: {one_line(error)}") from error

    def _open(self) -> Any:
        try:
            file = np.load(self.path, allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{self.what}: no such file") from None
        except Exception as error:  # numpy lets through whatever its parsers meet
            if isinstance(error, OSError) and error.strerror:
                raise DataError(f"{self.what} cannot be read: {error.strerror}") from error
            raise DataError(
                f"{self.what} is no .npz file of numpy: save one with np.savez"
            ) from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{self.what} is no .npz file of numpy: save one with np.savez")
        return file
