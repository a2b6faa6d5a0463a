"""Decoding: the files of a layout become one tensor, in two passes.

The first says what the files are, and so the shape and the range of values; the second fills the
tensor, so that nothing else of that size is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nas.data.layout import Layout
from nas.data.picture import Picture, UnreadableError, read_picture
from nas.data.preparation import DEFAULT_FIT, Fit, Preparation
from nas.data.twins import twins
from nas.data.words import given, some
from nas.errors import DataError, count, option

MAX_BYTES = 4 * 2**30  # of all decoded images: they live in memory as one tensor

Files = Sequence[tuple[Path, int]]


@dataclass(frozen=True)
class Wanted:
    """What images are asked for."""

    image_size: int | None = None
    fit: Fit | None = None
    like: Preparation | None = None  # of other images, which these are to be prepared as


@dataclass
class Decoded:
    """Images, and what is to be said of them."""

    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # int64 (N,)
    preparation: Preparation
    num_train: int  # the first images; the others are to validate or to test on
    faults: dict[str, list[str]] = field(default_factory=dict)  # files by why they are left out
    remarks: dict[str, list[str]] = field(default_factory=dict)  # files by what is odd in them
    twins: list[str] = field(default_factory=list)  # pairs of parts, and files that are in both
    num_deep: int = 0  # greys of more than 8 bits
    num_beyond: int = 0  # of these, with values beyond the range
    num_reshaped: int = 0  # images whose width and height have another ratio than asked for
    is_passing: bool = False  # a file could not be read at this moment

    def notes(self, layout: Layout, is_test: bool, fit: Fit | None) -> Iterator[str]:
        """One line each; of the images to train on also what was decided."""
        if not is_test:
            yield layout.text(self.num_train, len(self.images) - self.num_train)
            yield from layout.notes
        for reason, names in self.faults.items():
            yield f"{count(len(names), 'file')} could not be read ({reason}): {some(names)}"
        for remark, names in self.remarks.items():
            yield f"{count(len(names), 'file')} {remark}: {some(names)}"
        yield from self.twins
        value_range, size = self.preparation.value_range, self.preparation.width
        if value_range is not None and self.num_deep and not is_test:
            low, high = value_range
            yield (
                f"{count(self.num_deep, 'grey image')} of more than 8 bits a value: {low:g} to "
                f"{high:g}, one range for all, becomes 0 to 255"
            )
        if self.num_beyond:
            yield (
                f"{count(self.num_beyond, 'image')} with values beyond the range of the training "
                "images, which are cut off"
            )
        if self.num_reshaped and fit is None and not is_test:
            yield (
                f"{count(self.num_reshaped, 'image')} stretched to {size}x{size}, whatever the "
                f"shape: {option('fit', 'crop')} or {option('fit', 'pad')} keeps it"
            )


def decode(layout: Layout, files: Files, wanted: Wanted, *, is_test: bool) -> Decoded:
    """The images in some files of a layout.

    Raises:
        DataError: none can be read, they have several sizes, they take too much memory, or a file
            changes meanwhile.
    """
    seen = _look(layout, files)
    if not seen.readable:
        reasons = ", ".join(seen.faults)
        raise DataError(
            f"{given(layout.folder)}: none of its {len(files)} images can be read ({reasons})"
        )
    preparation = wanted.like or _prepare(layout, seen, wanted)
    size = (preparation.width, preparation.height)
    if preparation.fit is None and seen.sizes.keys() != {size}:
        other = next(f"{w}x{h}" for w, h in seen.sizes if (w, h) != size)
        raise DataError(
            f"{given(layout.folder)}: an image of {other} among those to test on, where those "
            f"to train on have {size[0]}x{size[1]}"
        )
    shape = (preparation.channels, preparation.height, preparation.width)
    images = torch.empty(len(seen.readable), *shape, dtype=torch.uint8)
    num_beyond = 0
    for i, (path, _) in enumerate(seen.readable):
        picture = _read_again(path, seen.kinds[i])
        num_beyond += preparation.is_beyond(picture)
        images[i] = torch.from_numpy(preparation.apply(picture))
    train = set() if is_test else {path for path, _ in layout.train.files}
    return Decoded(
        images=images,
        labels=torch.tensor([label for _, label in seen.readable]),
        preparation=preparation,
        num_train=sum(path in train for path, _ in seen.readable),
        faults=seen.faults,
        remarks=seen.remarks,
        twins=twins(layout, is_test),
        num_deep=seen.num_deep,
        num_beyond=num_beyond,
        num_reshaped=sum(
            n for (w, h), n in seen.sizes.items() if w * preparation.height != h * preparation.width
        ),
        is_passing=seen.is_passing,
    )


def _read_again(path: Path, kind: tuple[tuple[int, int], bool]) -> Picture:
    try:
        picture = read_picture(path)
        if (picture.size, picture.is_colour) != kind:
            raise UnreadableError("it is another picture now")
    except UnreadableError as error:
        raise DataError(
            f"{path} changed while it was read ({error}): start again when nothing writes there"
        ) from error
    return picture


@dataclass
class _Seen:
    """What the files are."""

    readable: list[tuple[Path, int]] = field(default_factory=list)
    kinds: list[tuple[tuple[int, int], bool]] = field(default_factory=list)  # size, is colour
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    num_deep: int = 0
    is_float: bool = False
    low: float = float("inf")  # of the values of all deep greys
    high: float = float("-inf")
    is_passing: bool = False

    def add(self, path: Path, label: int, name: str, picture: Picture) -> None:
        self.readable.append((path, label))
        self.kinds.append((picture.size, picture.is_colour))
        self.sizes[picture.size] += 1
        for remark in picture.remarks:
            self.remarks.setdefault(remark, []).append(name)
        if picture.is_deep:
            self.num_deep += 1
            self.is_float = self.is_float or picture.is_float
            self.low = min(self.low, float(picture.pixels.min()))
            self.high = max(self.high, float(picture.pixels.max()))

    def value_range(self) -> tuple[float, float] | None:
        """What becomes black and white: the values that occur, where all images are deep greys.

        Beside images of 8 bits, and where there is one value, it is the whole of the number format.
        """
        if not self.num_deep:
            return None
        is_alone = self.num_deep == len(self.readable)
        if is_alone and self.low < self.high:
            return self.low, self.high
        for top in (1, 255, 65535) if self.is_float else (65535,):
            if self.low >= 0 and self.high <= top:
                return 0, top
        return min(self.low, 0), max(self.high, 0)


def _look(layout: Layout, files: Files) -> _Seen:
    seen = _Seen()
    for path, label in files:
        name = path.relative_to(layout.folder).as_posix()
        try:
            picture = read_picture(path)
        except UnreadableError as error:
            seen.faults.setdefault(str(error), []).append(name)
            seen.is_passing = seen.is_passing or error.is_passing
        else:
            seen.add(path, label, name, picture)
    return seen


def _prepare(layout: Layout, seen: _Seen, wanted: Wanted) -> Preparation:
    width, height = seen.sizes.most_common(1)[0][0]
    if wanted.image_size is not None:
        width = height = wanted.image_size
    elif len(seen.sizes) > 1:
        sizes = ", ".join(f"{w}x{h}" for (w, h), _ in seen.sizes.most_common(3))
        raise DataError(
            f"{given(layout.folder)}: images of {len(seen.sizes)} sizes ({sizes}...): "
            f"bring them to one with {option('image_size')}, for example {option('image_size', 32)}"
        )
    channels = 3 if any(is_colour for _, is_colour in seen.kinds) else 1
    num_bytes = len(seen.readable) * channels * height * width
    if num_bytes > MAX_BYTES:
        raise DataError(
            f"{given(layout.folder)}: {len(seen.readable):,} images of {width}x{height} take "
            f"{num_bytes / 2**30:.1f} GiB of memory: make them smaller with {option('image_size')}"
        )
    fit = None if wanted.image_size is None else wanted.fit or DEFAULT_FIT
    return Preparation(height, width, channels, fit, seen.value_range())
