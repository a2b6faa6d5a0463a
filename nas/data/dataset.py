"""Dataset: the training images of a data set, split into train and validation.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from nas.data.layout import TEST_SHARE
from nas.data.preparation import Preparation
from nas.errors import DataError, count, option

MIN_PER_CLASS = 2  # one image to train on, one to validate on


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels: all that a search may see, or all that it may not."""

    name: str
    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,), 0 <= label < len(classes)
    classes: tuple[str, ...]
    flips: bool = False  # a mirrored image is still of its class
    notes: tuple[str, ...] = ()  # what the user should know, for example files that were unreadable
    valid_index: Tensor | None = None  # int64, images given to validate on; None holds some out
    kept_back: tuple[int, ...] = ()  # images of each class that are kept to test on, if any are
    preparation: Preparation | None = None  # of pictures in files

    @cached_property
    def sha256(self) -> str:
        """Of images and labels."""
        return _sha256(self.images, self.labels)


@dataclass(frozen=True)
class Dataset:
    """Train and validation images as index vectors into one uint8 tensor."""

    name: str
    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,)
    train_index: Tensor  # int64, shuffled once by the split seed
    valid_index: Tensor  # int64
    classes: tuple[str, ...]
    flips: bool
    mean: tuple[float, ...]  # of each channel of the train images, in 0..1
    std: tuple[float, ...]
    sha256: str  # of images and labels
    split_sha256: str  # of both index vectors
    preparation: Preparation | None = None  # of pictures in files

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def largest_share(self) -> float:
        """Of the validation images the share that is of their most frequent class, 0..1: what a
        network reaches that always says that class."""
        counts = self.labels[self.valid_index].bincount()
        return counts.max().item() / len(self.valid_index)

    def to(self, device: torch.device) -> Dataset:
        """The same data set with every tensor on `device`."""
        tensors = ("images", "labels", "train_index", "valid_index")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def every_sixth(labels: Tensor) -> Tensor:
    """bool (N,): the first, seventh, ... image of each class, which is kept back to test on."""
    is_kept_back = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        is_kept_back[(labels == label).nonzero().flatten()[::TEST_SHARE]] = True
    return is_kept_back


def split(data: LabelledImages, valid_share: Fraction, seed: int) -> Dataset:
    """Hold out `valid_share` of each class for validation, chosen by `seed` alone.

    Where the data set says which images are to validate on, these are.

    Raises:
        DataError: fewer than two classes, or a class too small to be split.
    """
    if len(data.classes) < 2:
        raise DataError(f"{data.name} has {len(data.classes)} class: two or more are needed")
    generator = torch.Generator().manual_seed(seed)
    if data.valid_index is None:
        train_index, valid_index = _held_out(data, valid_share, generator)
    else:
        is_train = torch.ones(len(data.images), dtype=torch.bool)
        is_train[data.valid_index] = False
        train_index, valid_index = is_train.nonzero().flatten(), data.valid_index
    train_index = train_index[torch.randperm(len(train_index), generator=generator)]
    mean, std = _channel_statistics(data.images[train_index])
    return Dataset(
        name=data.name,
        images=data.images,
        labels=data.labels,
        train_index=train_index,
        valid_index=valid_index,
        classes=data.classes,
        flips=data.flips,
        mean=mean,
        std=std,
        sha256=data.sha256,
        split_sha256=_sha256(train_index, valid_index),
        preparation=data.preparation,
    )


def _held_out(
    data: LabelledImages, valid_share: Fraction, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images to train on, by class, and to validate on, sorted."""
    sizes = torch.bincount(data.labels, minlength=len(data.classes)).tolist()
    kept_back = data.kept_back or [0] * len(sizes)
    for class_name, size, kept in zip(data.classes, sizes, kept_back, strict=True):
        if size < MIN_PER_CLASS:
            tested = f", {kept} of them kept back to test on" if kept else ""
            raise DataError(
                f"{data.name}: class {class_name!r} has {count(size + kept, 'image')}{tested}: "
                f"{MIN_PER_CLASS} or more are needed to train and validate on"
            )
    train_parts, valid_parts = [], []
    for label, num_valid in enumerate(_apportion(sizes, valid_share)):
        members = (data.labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        valid_parts.append(members[:num_valid])
        train_parts.append(members[num_valid:])
    return torch.cat(train_parts), torch.cat(valid_parts).sort().values


def into_folds(data: Dataset, num_folds: int, seed: int) -> list[Dataset]:
    """Every training image in one of `num_folds` parts: each part once to validate on, with all
    others to train on. Each class is spread evenly, by `seed` alone.

    Raises:
        DataError: a class has fewer images than there are folds.
    """
    sizes = torch.bincount(data.labels, minlength=len(data.classes)).tolist()
    least = min(sizes)
    if least < num_folds:
        raise DataError(
            f"{option('folds', num_folds)} needs as many images of each class: class "
            f"{data.classes[sizes.index(least)]!r} of {data.name} has {least}"
        )
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in range(num_folds)]
    first = 0  # the part that gets the next image, so that the parts are of one size
    for label in range(len(data.classes)):
        members = (data.labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        for place in range(num_folds):
            parts[(first + place) % num_folds].append(members[place::num_folds])
        first = (first + len(members)) % num_folds
    found = []
    for part in parts:
        valid_index = torch.cat(part).sort().values
        is_train = torch.ones(len(data.images), dtype=torch.bool)
        is_train[valid_index] = False
        train_index = is_train.nonzero().flatten()
        train_index = train_index[torch.randperm(len(train_index), generator=generator)]
        mean, std = _channel_statistics(data.images[train_index])
        split_sha256 = _sha256(train_index, valid_index)
        found.append(
            replace(
                data, train_index=train_index, valid_index=valid_index, mean=mean, std=std,
                split_sha256=split_sha256,
            )
        )  # fmt: skip
    return found


def whole(data: Dataset) -> Dataset:
    """Every training image to train on; the same validation images, which now say nothing."""
    train_index = torch.arange(len(data.images))
    mean, std = _channel_statistics(data.images)
    split_sha256 = _sha256(train_index, data.valid_index)
    return replace(data, train_index=train_index, mean=mean, std=std, split_sha256=split_sha256)


def with_test(data: Dataset, test: LabelledImages) -> Dataset:
    """Every training image to train on, and the test images to validate on.

    Args:
        data: its images are all training images.
        test: of the same shape and classes.
    """
    data = whole(data)
    images, labels = torch.cat([data.images, test.images]), torch.cat([data.labels, test.labels])
    test_index = torch.arange(len(data.images), len(images))
    return replace(
        data,
        images=images,
        labels=labels,
        valid_index=test_index,
        sha256=_sha256(images, labels),
        split_sha256=_sha256(data.train_index, test_index),
    )


def _apportion(sizes: list[int], share: Fraction) -> list[int]:
    """Validation images of each class: in proportion, `share` of all in total (largest remainder),
    but at least one of each class and never all of one."""
    counts = [int(size * share) for size in sizes]
    missing = round(sum(sizes) * share) - sum(counts)
    by_remainder = sorted(range(len(sizes)), key=lambda i: sizes[i] * share % 1, reverse=True)
    for i in by_remainder[:missing]:
        counts[i] += 1
    return [min(max(count, 1), size - 1) for count, size in zip(counts, sizes, strict=True)]


def _channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), in 0..1."""
    means, stds = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in images.unbind(dim=1):
        # From a histogram: exact, and without a copy of all images as floats.
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        std = (share * (values - mean) ** 2).sum().sqrt()
        means.append(round(mean.item(), 6))
        stds.append(round(std.item(), 6) or 1.0)  # a channel of one value is left as it is
    return tuple(means), tuple(stds)


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
