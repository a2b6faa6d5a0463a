"""A `torch.utils.data.Dataset` of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from nas.data.decoding import MAX_BYTES
from nas.data.held import HeldSource, Pictures
from nas.data.labels import as_labels
from nas.data.pixels import as_tensor, as_uint8, in_channels_first
from nas.data.source import Given, Source
from nas.errors import DataError, one_line

RECORD = "torch Dataset"

_NUM_READ_AGAIN = 8  # items, to find transforms that draw at random
_MODES = ("L", "RGB")  # Pillow's grey and colour of 8 bits


class DatasetSource(HeldSource):
    """Every item of a Dataset, read once: pairs `(image, label)`.

        nas.search(budget=20_000, dataset=torchvision.datasets.ImageFolder("pets", to_32x32))

    An image is a PIL image in grey or RGB, or a tensor or array: uint8, or floating point from 0 to
    1 that is uint8 divided by 255, as `ToTensor` makes it. All have one size. Where the Dataset, or
    the one that a `Subset` is of, has `classes`, these are their names.
    """

    record = RECORD

    def __init__(self, dataset: Any, what: str = "dataset") -> None:
        self.what = what
        self.dataset = dataset

    @classmethod
    def of(cls, given: Given) -> Source | None:
        dataset, what = given.value, given.what
        if isinstance(dataset, DataLoader):
            raise DataError(f"{what}: a DataLoader: give its Dataset, which is loader.dataset")
        if isinstance(dataset, IterableDataset):
            raise DataError(
                f"{what}: an IterableDataset: give (images, labels) or a Dataset with a length"
            )
        if not isinstance(dataset, TorchDataset):
            return None
        if not hasattr(dataset, "__len__"):
            raise DataError(
                f"{what}: {type(dataset).__name__} has no length: give it a method __len__"
            )
        return cls(dataset, what)

    def name(self, sha256: str) -> str:
        """The name of its class and the beginning of the hash: other images, another study."""
        return f"{type(self.dataset).__name__[:40]}-{sha256[:6]}"

    def read(self) -> Pictures:
        num = len(self.dataset)
        if not num:
            raise DataError(f"{self.what}: {type(self.dataset).__name__} is empty")
        first, label = self._item(0)
        num_bytes = num * first.numel()
        if num_bytes > MAX_BYTES:
            raise DataError(
                f"{self.what}: {num:,} images of shape {tuple(first.shape)} take "
                f"{num_bytes / 2**30:.1f} GiB of memory: make them smaller"
            )
        images = torch.empty((num, *first.shape), dtype=torch.uint8)
        images[0], labels = first, [label]
        for i in range(1, num):
            image, label = self._item(i)
            if image.shape != first.shape:
                raise DataError(
                    f"{self.what}: item {i} has an image of shape {tuple(image.shape)}, item 0 of "
                    f"{tuple(first.shape)}: bring all to one, such as with "
                    "torchvision.transforms.Resize((32, 32))"
                )
            images[i] = image
            labels.append(label)
        for i in range(min(num, _NUM_READ_AGAIN)):
            if not torch.equal(self._item(i)[0], images[i]):
                raise DataError(
                    f"{self.what}: item {i} is another image each time: leave out transforms that "
                    "draw at random, the search augments by itself"
                )
        return Pictures(
            in_channels_first(images, self.what), as_labels(labels, self.what), self._names()
        )

    def _item(self, i: int) -> tuple[Tensor, Any]:
        """uint8 of any layout, and the label."""
        try:
            item = self.dataset[i]
        except Exception as error:  # whatever the user's code meets
            raise DataError(f"{self.what}: item {i} cannot be read: {one_line(error)}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            count = f" of {len(item)}" if isinstance(item, tuple | list) else ""
            raise DataError(
                f"{self.what}: item {i} is a {type(item).__name__}{count}: give pairs "
                "(image, label)"
            )
        image, label = item
        what = f"{self.what}: item {i}"
        if hasattr(label, "item"):
            label = self._scalar(label, what)
        mode = getattr(image, "mode", None)
        if isinstance(mode, str):
            if mode not in _MODES:
                raise DataError(
                    f"{what} is a PIL image of mode {mode}: make it grey or RGB, such as "
                    "image.convert('RGB')"
                )
            image = np.array(image)
        if not isinstance(image, Tensor | np.ndarray):
            raise DataError(
                f"{what} has a {type(image).__name__} for an image: give a PIL image or a tensor"
            )
        return as_uint8(as_tensor(image, what), what), label

    def _scalar(self, label: Any, what: str) -> Any:
        """The number in a tensor or array."""
        if getattr(label, "ndim", 0) and tuple(label.shape) != (1,):
            raise DataError(
                f"{what} has a label of shape {tuple(label.shape)}: give one integer or string"
            )
        return label.item()

    def _names(self) -> tuple[str, ...] | None:
        dataset = self.dataset
        while isinstance(dataset, torch.utils.data.Subset):
            dataset = dataset.dataset
        names = getattr(dataset, "classes", None)
        return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None
