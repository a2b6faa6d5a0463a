"""A folder of pictures as a data set: decoded once, then read from a cache.

`nas.data.decision` decides which files are trained on, validated on and tested on;
`nas.data.picture` reads one of them; `nas.data.preparation` brings all to one shape.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from nas.data.dataset import LabelledImages
from nas.data.decision import read_layout
from nas.data.decoding import Decoded, Files, Wanted, decode
from nas.data.layout import Layout
from nas.data.picture import DECODER, has_heif
from nas.data.preparation import DEFAULT_FIT, Fit, Preparation
from nas.data.twins import size_and_time
from nas.data.words import given
from nas.errors import DataError, count, option


def load_folder(
    folder: Path,
    cache_dir: Path,
    image_size: int | None = None,
    is_test: bool = False,
    *,
    fit: Fit | None = None,
    like: Preparation | None = None,
) -> LabelledImages:
    """Every readable image below `folder` to train and validate on; or the test images instead.

        load_folder(Path("pets"), Path("cache"), 32).images.shape

    Args:
        folder: class folders, or parts with class folders in them; see `nas.data.layout`.
        cache_dir: where the decoded images are kept; made when needed.
        image_size: pixels a side; without it all images must have one size.
        fit: how images of another shape are brought to that size; None stretches them.
        like: prepare the images as these were, so for test images as those to train on.

    Raises:
        DataError: no such folder, no images in it, images of several sizes, or a class without
            images enough; or what is in it can be read in two ways.
    """
    if fit is not None and image_size is None:
        raise DataError(
            f"{option('fit', fit)} is for {option('image_size')}: give both, such as "
            f"{option('image_size', 32)}"
        )
    layout, wanted = read_layout(folder), Wanted(image_size, fit, like)
    files = _files_of(layout, is_test)
    cache = cache_dir / f"{_cache_key(layout, files, wanted)}.safetensors"
    decoded = _read_cache(cache)
    if decoded is None:
        decoded = decode(layout, files, wanted, is_test=is_test)
        if not decoded.is_passing:  # the same files may be read another time
            _write_cache(cache, decoded)
    valid_index = None
    kept_back = () if is_test else layout.kept_back
    if not is_test:
        _check_classes(layout, decoded, kept_back)
        if layout.valid is not None:
            valid_index = torch.arange(decoded.num_train, len(decoded.images))
    notes = tuple(decoded.notes(layout, is_test, fit))
    return LabelledImages(
        folder.resolve().name, decoded.images, decoded.labels, layout.classes, notes=notes,
        valid_index=valid_index, kept_back=kept_back, preparation=decoded.preparation,
    )  # fmt: skip


def list_images(folder: Path, is_test: bool) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """(file, label) of what is trained and validated on, or tested on, and the classes' names.

    Raises:
        DataError: as `read_layout`; or there are no images to test on.
    """
    layout = read_layout(folder)
    return list(_files_of(layout, is_test)), layout.classes


def _files_of(layout: Layout, is_test: bool) -> Files:
    """The files to decode; those to validate on come last."""
    if not is_test:
        return layout.train.files + (layout.valid.files if layout.valid else ())
    if layout.test is None:
        raise DataError(f"{given(layout.folder)}: {layout.no_test}")
    return layout.test.files


def _check_classes(layout: Layout, decoded: Decoded, kept_back: tuple[int, ...]) -> None:
    """Raises DataError when a class has no image to train on; splitting asks for more."""
    labels = decoded.labels[: decoded.num_train].tolist()
    for label, name in enumerate(layout.classes):
        if label in labels:
            continue
        said = f"class {name!r} has no image to train on"
        if kept_back and kept_back[label]:
            kept = count(kept_back[label], "image")
            said = f"class {name!r} has {kept}, kept back to test on, and none to train on"
        num_files = sum(of == label for _, of in layout.train.files)
        if num_files:
            reasons = ", ".join(decoded.faults)
            said += f": {count(num_files, 'file')} could not be read ({reasons})"
        raise DataError(
            f"{given(layout.folder)}: {said}. Add images to its folder, or take it away"
        )


# The cache


def _cache_key(layout: Layout, files: Files, wanted: Wanted) -> str:
    """Changes with any file's name, size or time of change, with the shape, with the decoder."""
    parts = [layout.train, layout.valid, layout.test]  # all: files may be in two of them
    listing = [(str(p), *size_and_time(p)) for part in parts if part for p, _ in part.files]
    like = wanted.like and asdict(wanted.like)
    shape = [wanted.image_size, wanted.fit or DEFAULT_FIT, like]
    read = [(str(path), label) for path, label in files]
    folder = str(layout.folder.resolve())
    text = json.dumps([DECODER, has_heif(), folder, shape, read, listing])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read_cache(cache: Path) -> Decoded | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(cache, framework="pt") as store:
            values = json.loads(store.metadata()["decoded"])
            preparation = Preparation.from_json(values.pop("preparation"))
            images, labels = store.get_tensor("images"), store.get_tensor("labels")
            return Decoded(images, labels, preparation, **values)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # not there, or cut short: decode again


def _write_cache(cache: Path, decoded: Decoded) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {"images": decoded.images, "labels": decoded.labels}
    facts = {k: v for k, v in vars(decoded).items() if k not in tensors}
    facts["preparation"] = asdict(decoded.preparation)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: a cache that was cut short is never found.
        handle, part = tempfile.mkstemp(dir=cache.parent, suffix=".part")
        os.close(handle)
        try:
            save_file(tensors, part, {"decoded": json.dumps(facts)})
            os.replace(part, cache)
        finally:
            Path(part).unlink(missing_ok=True)
    except (OSError, SafetensorError):
        pass  # without a cache the next start decodes again, and nothing else is lost
