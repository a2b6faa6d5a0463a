"""Which source a data set is: the table of the kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.data import arrays, torch_dataset
from nas.data.arrays import Arrays
from nas.data.digits import Digits
from nas.data.folder_source import FolderSource
from nas.data.held import HeldSource
from nas.data.npz import Npz
from nas.data.places import default_data_dir, in_home
from nas.data.preparation import Fit
from nas.data.published import SETS, NotAtHandError, Published
from nas.data.source import Given, Source
from nas.data.torch_dataset import DatasetSource
from nas.errors import DataError, hint, option, redact

KINDS: tuple[type[Source], ...] = (Published, Digits, Npz, FolderSource, DatasetSource, Arrays)
NAMES = (*SETS, Digits.name)


def source_of(
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
    image_size: int | None = None,
    fit: Fit | None = None,
) -> Source:
    """Where the images of a search come from.

        source_of("digits").training_images()
        source_of((images, labels), test=(test_images, test_labels))

    Args:
        dataset: one of `NAMES`, a folder of images, an .npz, arrays `(images, labels)`, a torch
            Dataset, or None: MNIST where it is on disk or can be downloaded, else the bundled
            digits (a note says which).
        test: the images to test on: an .npz, arrays or a torch Dataset; None for those that the
            data set has, or a part of it that is kept back.
        data_dir: where data sets are kept and downloaded to; None for `default_data_dir()`.
        image_size: bring the images of a folder to this many pixels a side.
        fit: how, where they have another shape; None stretches them.

    Raises:
        DataError: no such data set, or something that is none.
    """
    data_dir = default_data_dir() if data_dir is None else in_home(data_dir)
    given = Given(dataset, option("dataset"), data_dir, image_size, fit)
    if dataset is None and (image_size, fit) != (None, None):
        raise _has_its_size("the default data set", image_size)
    source = _mnist_or_digits(data_dir) if dataset is None else _of_a_kind(given)
    if (image_size, fit) != (None, None) and not source.is_resizable:
        raise _has_its_size(source.record, image_size)
    if test is not None:
        _give_test(source, _of_a_kind(Given(test, option("test"), data_dir)))
    return source


def is_in_memory(record: str) -> bool:
    """Whether a study with this record had images from Python, which only Python can give again."""
    return record in (arrays.RECORD, torch_dataset.RECORD)


def _of_a_kind(given: Given) -> Source:
    found = (kind.of(given) for kind in KINDS)
    source = next((source for source in found if source is not None), None)
    if source is not None:
        return source
    names = ", ".join(NAMES)
    if not isinstance(given.value, str):
        raise DataError(
            f"{given.what}: a {type(given.value).__name__}: give (images, labels) as arrays, a "
            f"torch.utils.data.Dataset, the path of an .npz or of a folder, or one of {names}"
        )
    if "://" in given.value:
        raise DataError(
            f"{given.what} {redact(given.value)} is an address: give a folder of images, an .npz "
            f"or one of {names}"
        )
    raise DataError(
        f"{given.what} {given.value!r} is neither a folder, nor an .npz, nor a known data set: "
        f"{hint(given.value, NAMES)}"
    )


def _has_its_size(name: str, image_size: int | None) -> DataError:
    given = option("fit" if image_size is None else "image_size")
    return DataError(f"{given} is for folders of images, those of {name} have their size")


def _mnist_or_digits(data_dir: Path) -> Source:
    none_given = f"no {option('dataset')} given"
    mnist = Published("mnist", data_dir, (f"{none_given}: searching on MNIST, in {data_dir}",))
    try:
        mnist.fetch()
    except NotAtHandError:
        note = (
            f"{none_given}, and MNIST is neither on disk nor to be downloaded: searching on the "
            f"bundled 8x8 digits ({option('data_dir')} says where MNIST is)"
        )
        return Digits((note,))
    return mnist


def _give_test(source: Source, test: Source) -> None:
    kinds = "arrays, a torch Dataset or an .npz"
    if not isinstance(source, HeldSource):
        raise DataError(
            f"{option('test')} goes with {kinds}: {source.record} has test images of its own"
        )
    if not isinstance(test, HeldSource):
        raise DataError(f"{option('test')}: give {kinds}, not {test.record}")
    source.test = test
