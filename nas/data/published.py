"""The data sets that torchvision knows by name, which it downloads and checks."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data.dataset import Dataset, LabelledImages
from nas.data.places import DATA_DIR_VARIABLE
from nas.data.source import Given, Source
from nas.errors import DataError, one_line, option

DOWNLOAD_TIMEOUT_SECONDS = 20


class NotAtHandError(DataError):
    """A data set that is not on disk and cannot be downloaded."""


@dataclass(frozen=True)
class _Set:
    """A data set of torchvision: its class there, and what a search needs to know of it."""

    class_name: str
    flips: bool
    folder: str  # where torchvision keeps it, below the data directory
    train_sha256: str | None = None  # of the training images, then labels, as bytes; where known


SETS = {
    "mnist": _Set(
        "MNIST",
        flips=False,
        folder="MNIST/raw",
        train_sha256="edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
    ),
    "fashion-mnist": _Set("FashionMNIST", flips=True, folder="FashionMNIST/raw"),
    "kmnist": _Set("KMNIST", flips=False, folder="KMNIST/raw"),
    "cifar10": _Set("CIFAR10", flips=True, folder="cifar-10-batches-py"),
}


class Published(Source):
    """One of `SETS`.

    Args:
        name: its name there.
        data_dir: where torchvision keeps and looks for data sets.
        notes: what the user should know, for example why this one was taken.
    """

    def __init__(self, name: str, data_dir: Path, notes: tuple[str, ...] = ()) -> None:
        self.record = name
        self.data_dir = data_dir
        self.notes = notes
        self.set = SETS[name]
        self.folder = data_dir / self.set.folder

    @classmethod
    def of(cls, given: Given) -> Source | None:
        is_name = isinstance(given.value, str) and given.value in SETS
        return cls(given.value, given.data_dir) if is_name else None

    def fetch(self) -> None:
        """Download the training images unless they are on disk.

        Raises:
            NotAtHandError: they are not, and cannot be downloaded.
        """
        dataset = _without_test_files(self.set.class_name)
        if not all((self.folder / file).is_file() for file in _file_names(dataset)):
            self._download(dataset)
            self.notes += (f"downloaded {self.record} to {self.folder}",)

    def training_images(self) -> LabelledImages:
        self.fetch()
        dataset = _without_test_files(self.set.class_name)
        try:
            data = dataset(str(self.data_dir), train=True, download=False)
            images, labels = _tensors(data)
        except Exception as error:  # torchvision lets through whatever its parsers meet
            raise self._damaged(one_line(error)) from error

        content = images.numpy().tobytes() + labels.to(torch.uint8).numpy().tobytes()
        if self.set.train_sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise self._damaged("its training images do not have the published checksum")
        return LabelledImages(
            self.record, images, labels, tuple(data.classes), self.set.flips, self.notes
        )

    def read_test_images(self, train: Dataset) -> LabelledImages:
        import torchvision

        dataset = getattr(torchvision.datasets, self.set.class_name)
        try:
            try:
                data = dataset(str(self.data_dir), train=False, download=False)
            except RuntimeError:  # not all of its files are there
                self._download(dataset)
                data = dataset(str(self.data_dir), train=False, download=False)
            images, labels = _tensors(data)
        except DataError:
            raise
        except Exception as error:  # torchvision lets through whatever its parsers meet
            raise self._damaged(one_line(error)) from error
        return LabelledImages(self.record, images, labels, tuple(data.classes), self.set.flips)

    def _damaged(self, what: str) -> DataError:
        return DataError(
            f"{self.record} in {self.folder} is damaged: {what}. Delete that folder to get it again"
        )

    def _download(self, dataset: Any) -> None:
        """Download through torchvision, which checks the published checksum of every archive."""
        folders = (*reversed(self.folder.parents), self.folder)
        missing = [path for path in folders if not path.exists()]
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            # torchvision shows a bar for each file on standard error and sets no time limit.
            with (
                contextlib.redirect_stderr(io.StringIO()),
                _socket_timeout(DOWNLOAD_TIMEOUT_SECONDS),
            ):
                dataset(str(self.data_dir), train=True, download=True)
        except (OSError, RuntimeError) as error:
            if missing:  # what was made for it goes again, but for parts of files
                _remove_empty_folders(missing[0])
            raise NotAtHandError(
                f"{self.record} is not in {self.data_dir} and cannot be downloaded: say where it "
                f"is with {option('data_dir')} or {DATA_DIR_VARIABLE}, go online, or take "
                f"{option('dataset', 'digits')}"
            ) from error


def _tensors(data: Any) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and labels (N,) of a data set of torchvision."""
    images = torch.as_tensor(data.data)
    labels = torch.as_tensor(data.targets, dtype=torch.int64)
    if len(images) != len(labels) or not 0 <= labels.min() <= labels.max() < len(data.classes):
        raise ValueError("images and labels do not fit each other")
    # torchvision gives (N, H, W) for grey images and (N, H, W, C) for colour.
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return images, labels


def _without_test_files(class_name: str) -> Any:
    """torchvision's data set, made unable to download, check or open test images on their own."""
    import torchvision

    dataset = getattr(torchvision.datasets, class_name)
    if hasattr(dataset, "test_list"):
        limits: dict[str, Any] = {"test_list": []}
    else:  # images and labels to train on come first
        limits = {"resources": dataset.resources[:2]}
    return type(class_name, (dataset,), limits)  # its folder is named after the class


def _file_names(dataset: Any) -> list[str]:
    """The files with training images, below the data set's folder."""
    if hasattr(dataset, "train_list"):
        return [name for name, _ in dataset.train_list]
    return [name.removesuffix(".gz") for name, _ in dataset.resources]


def _remove_empty_folders(top: Path) -> None:
    for folder in sorted([top, *top.rglob("*")], reverse=True):
        with contextlib.suppress(OSError):  # not empty, or no folder
            folder.rmdir()


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
