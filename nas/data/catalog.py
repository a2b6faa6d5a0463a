"""The data sets that are known by name, and the choice between a name and a folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from nas.data.dataset import Dataset, LabelledImages
from nas.data.folder import list_images, load_folder
from nas.data.preparation import Fit
from nas.errors import DataError, one_line, option, redact

DATA_DIR_VARIABLE = "NAS_DATA_DIR"
DOWNLOAD_TIMEOUT_SECONDS = 20

_DIGITS_TEST_SHARE = 6  # every sixth image of each class is kept out of every search


class _NotAtHandError(DataError):
    """A data set that is not on disk and cannot be downloaded."""


@dataclass(frozen=True)
class _Source:
    """A data set of torchvision: its class there, and what a search needs to know of it."""

    class_name: str
    flips: bool
    folder: str  # where torchvision keeps it, below the data directory
    train_sha256: str | None = None  # of the training images, then labels, as bytes; where known


_SOURCES = {
    "mnist": _Source(
        "MNIST",
        flips=False,
        folder="MNIST/raw",
        train_sha256="edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
    ),
    "fashion-mnist": _Source("FashionMNIST", flips=True, folder="FashionMNIST/raw"),
    "kmnist": _Source("KMNIST", flips=False, folder="KMNIST/raw"),
    "cifar10": _Source("CIFAR10", flips=True, folder="cifar-10-batches-py"),
}

NAMES = (*_SOURCES, "digits")


def default_data_dir() -> Path:
    """`$NAS_DATA_DIR`, else `nas/` in the user's cache folder.

    Raises:
        DataError: the user has no home, as some containers' have not.
    """
    given = os.environ.get(DATA_DIR_VARIABLE)
    if given:
        return Path(given)
    try:  # some versions of platformdirs leave the ~ to whoever asks
        return user_cache_path("nas", appauthor=False).expanduser()
    except RuntimeError as error:
        raise DataError(
            "this user has no home folder: say where data sets are kept with "
            f"{option('data_dir')} or {DATA_DIR_VARIABLE}"
        ) from error


def load_training_images(
    dataset: str | None, data_dir: Path, image_size: int | None = None, fit: Fit | None = None
) -> LabelledImages:
    """The training images of a data set; its test images are never decoded.

    Args:
        dataset: one of `NAMES`, a folder of images, or None: MNIST where it is on disk or can be
            downloaded, else the bundled digits (a note says which).
        data_dir: where data sets are kept and downloaded to.
        image_size: bring the images of a folder to this many pixels a side.
        fit: how, where they have another shape; None stretches them.

    Raises:
        DataError: no such data set, or no way to get it, or it cannot be read.
    """
    if image_size is not None and (dataset is None or dataset in NAMES):
        name = dataset or "the default data set"
        raise DataError(f"{option('image_size')} is for folders of images, {name} has its own size")
    if fit is not None and (dataset is None or dataset in NAMES):
        name = dataset or "the default data set"
        raise DataError(f"{option('fit')} is for folders of images, {name} has images of one size")
    if dataset is None:
        return _mnist_or_digits(data_dir)
    if dataset in NAMES:
        return _load_digits() if dataset == "digits" else _load_torchvision(dataset, data_dir)
    if not ("/" in dataset or os.sep in dataset or Path(dataset).is_dir()):
        raise DataError(
            f"{option('dataset')} {dataset!r} is neither a folder nor a known data set: "
            f"{', '.join(NAMES)}"
        )
    if "://" in dataset:
        raise DataError(
            f"{option('dataset')} {redact(dataset)} is an address: give a folder of images, or one "
            f"of {', '.join(NAMES)}"
        )
    return load_folder(Path(dataset), data_dir / "folders", image_size, fit=fit)


def load_test_images(
    source: str, data_dir: Path, image_size: int | None, train: Dataset
) -> LabelledImages:
    """The test images of a data set: for certification alone, at its very end.

    Args:
        source: one of `NAMES`, or a folder of images.
        data_dir, image_size: as for `load_training_images`.
        train: its training images; the test images must be of the same shape and classes as these.

    Raises:
        DataError: no test images, or none that fit, or they cannot be read.
    """
    if source == "digits":
        test = _load_digits(is_test=True)
    elif source in NAMES:
        test = _load_torchvision_test(source, data_dir)
    else:
        like = train.preparation
        test = load_folder(Path(source), data_dir / "folders", image_size, True, like=like)
    if test.classes != train.classes or test.images.shape[1:] != train.images.shape[1:]:
        raise DataError(f"the test images of {source} have other classes or another size")
    return test


def check_test_images(source: str, classes: tuple[str, ...]) -> None:
    """Whether there will be test images, as far as can be told without opening one.

    Raises:
        DataError: a folder without test images, or with other classes to test than to train on.
    """
    if source not in NAMES:
        _, test_classes = list_images(Path(source), is_test=True)
        if test_classes != classes:
            raise DataError(f"the test images of {source} have other classes")


def _load_torchvision_test(name: str, data_dir: Path) -> LabelledImages:
    import torchvision

    source = _SOURCES[name]
    dataset = getattr(torchvision.datasets, source.class_name)
    try:
        try:
            data = dataset(str(data_dir), train=False, download=False)
        except RuntimeError:  # not all of its files are there
            _download(dataset, name, data_dir)
            data = dataset(str(data_dir), train=False, download=False)
        images, labels = _tensors(data)
    except DataError:
        raise
    except Exception as error:  # torchvision lets through whatever its parsers meet
        raise _damaged(name, data_dir / source.folder, one_line(error)) from error
    return LabelledImages(name, images, labels, tuple(data.classes), source.flips)


def _mnist_or_digits(data_dir: Path) -> LabelledImages:
    try:
        data = _load_torchvision("mnist", data_dir)
        note = f"no {option('dataset')} given: searching on MNIST, in {data_dir}"
    except _NotAtHandError:
        data = _load_digits()
        note = (
            f"no {option('dataset')} given, and MNIST is neither on disk nor to be downloaded: "
            f"searching on the bundled 8x8 digits ({option('data_dir')} says where MNIST is)"
        )
    return LabelledImages(
        data.name, data.images, data.labels, data.classes, data.flips, (note, *data.notes)
    )


def _load_torchvision(name: str, data_dir: Path) -> LabelledImages:
    source = _SOURCES[name]
    folder = data_dir / source.folder
    dataset = _without_test_files(source.class_name)
    notes: tuple[str, ...] = ()
    if not all((folder / file).is_file() for file in _file_names(dataset)):
        _download(dataset, name, data_dir)
        notes = (f"downloaded {name} to {folder}",)
    try:
        data = dataset(str(data_dir), train=True, download=False)
        images, labels = _tensors(data)
    except Exception as error:  # torchvision lets through whatever its parsers meet
        raise _damaged(name, folder, one_line(error)) from error

    content = images.numpy().tobytes() + labels.to(torch.uint8).numpy().tobytes()
    if source.train_sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise _damaged(name, folder, "its training images do not have the published checksum")
    return LabelledImages(name, images, labels, tuple(data.classes), source.flips, notes)


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


def _damaged(name: str, folder: Path, what: str) -> DataError:
    return DataError(f"{name} in {folder} is damaged: {what}. Delete that folder to get it again")


def _download(dataset: Any, name: str, data_dir: Path) -> None:
    """Download through torchvision, which checks the published checksum of every archive."""
    target = data_dir / _SOURCES[name].folder
    missing = [path for path in (*reversed(target.parents), target) if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # torchvision shows a bar for each file on standard error and sets no time limit.
        with contextlib.redirect_stderr(io.StringIO()), _socket_timeout(DOWNLOAD_TIMEOUT_SECONDS):
            dataset(str(data_dir), train=True, download=True)
    except (OSError, RuntimeError) as error:
        if missing:  # what was made for it goes again, but for parts of files
            _remove_empty_folders(missing[0])
        raise _NotAtHandError(
            f"{name} is not in {data_dir} and cannot be downloaded: say where it is with "
            f"{option('data_dir')} or {DATA_DIR_VARIABLE}, go online, or take "
            f"{option('dataset', 'digits')}"
        ) from error


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


def _load_digits(is_test: bool = False) -> LabelledImages:
    """1,493 of the 1,797 8x8 digits that scikit-learn brings along, or the others, for testing.

    The bundled set has no test part of its own, so every sixth image of each class is left out.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images = torch.as_tensor(bundle.images)  # float64 (N, 8, 8), whole numbers 0..16
    images = (images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.as_tensor(bundle.target, dtype=torch.int64)
    is_wanted = torch.full((len(labels),), not is_test)
    for label in range(10):
        is_wanted[(labels == label).nonzero().flatten()[::_DIGITS_TEST_SHARE]] = is_test
    return LabelledImages("digits", images[is_wanted], labels[is_wanted], tuple("0123456789"))
