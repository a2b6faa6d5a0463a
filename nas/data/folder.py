"""A folder of images as a data set: decoded once, then read from a cache.

Either class folders (`cats/`, `dogs/`), or `train/` with class folders in it and perhaps `test/`.
From class folders alone, every sixth image of each class is kept back for testing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from nas.data.dataset import LabelledImages
from nas.errors import DataError, option

IMAGE_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
}
MAX_BYTES = 4 * 2**30  # of all decoded images: they live in memory as one tensor

_TEST_SHARE = 6
_NUM_NAMED = 3  # unreadable files named one by one


def load_folder(
    folder: Path,
    cache_dir: Path,
    image_size: int | None,
    is_test: bool = False,
    channels: int | None = None,
) -> LabelledImages:
    """Every readable training image below `folder`, in one size; or the test images instead.

    Args:
        folder: class folders, or `train/` with class folders in it.
        cache_dir: where the decoded images are kept; made when needed.
        image_size: pixels a side; without it all images must have one size.
        channels: 1 to make all grey, 3 for colour; without it colour where any image has it.

    Raises:
        DataError: no such folder, no images in it, or images of several sizes.
    """
    files, classes = list_images(folder, is_test)
    cache = cache_dir / f"{_cache_key(folder, files, image_size, channels)}.safetensors"
    images, labels, unreadable = _read_cache(cache) or _decode_into(
        cache, folder, files, image_size, channels
    )
    notes: tuple[str, ...] = ()
    if unreadable:
        named = ", ".join(unreadable[:_NUM_NAMED])
        more = f" and {len(unreadable) - _NUM_NAMED} more" if len(unreadable) > _NUM_NAMED else ""
        notes = (f"{len(unreadable)} files could not be read as images: {named}{more}",)
    return LabelledImages(folder.resolve().name, images, labels, classes, notes=notes)


def list_images(folder: Path, is_test: bool) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """(file, label) of every training or test image, sorted, and the names of the classes."""
    try:
        return _list_images(folder, is_test)
    except OSError as error:
        where, why = error.filename or folder, error.strerror or error
        raise DataError(f"{option('dataset')} {folder}: {where} cannot be read: {why}") from error


def _list_images(folder: Path, is_test: bool) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    if not folder.is_dir():
        raise DataError(f"{option('dataset')} {folder}: no such folder")
    has_parts = (folder / "train").is_dir()
    root = folder / ("test" if is_test else "train") if has_parts else folder
    if is_test and not root.is_dir():
        raise DataError(f"{option('dataset')} {folder} has no folder `test` with images to test on")
    class_folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(class_folders) < 2:
        raise DataError(
            f"{option('dataset')} {folder}: {root} has {len(class_folders)} class folders, "
            "two or more are needed, each with the images of one class"
        )
    files: list[tuple[Path, int]] = []
    for label, class_folder in enumerate(class_folders):
        found = sorted(
            path
            for path in class_folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(class_folder).parts)
        )
        if not has_parts:
            found = [p for i, p in enumerate(found) if (i % _TEST_SHARE == 0) == is_test]
        files += [(p, label) for p in found]
    if not files:
        raise DataError(
            f"{option('dataset')} {folder}: no images in {root} (looked for "
            f"{', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return files, tuple(p.name for p in class_folders)


def _cache_key(
    folder: Path, files: list[tuple[Path, int]], image_size: int | None, channels: int | None
) -> str:
    """Changes with any file's name, size or time of change, and with the wanted shape."""
    listing = [(str(p), label, *_size_and_time(p)) for p, label in files]
    text = json.dumps([str(folder.resolve()), image_size, channels, listing])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link to nothing: decoding will name it
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _read_cache(cache: Path) -> tuple[Tensor, Tensor, list[str]] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(cache, framework="pt") as store:
            unreadable = json.loads(store.metadata()["unreadable"])
            return store.get_tensor("images"), store.get_tensor("labels"), unreadable
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # not there, or cut short: decode again


def _decode_into(
    cache: Path,
    folder: Path,
    files: list[tuple[Path, int]],
    image_size: int | None,
    channels: int | None,
) -> tuple[Tensor, Tensor, list[str]]:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    images, labels, unreadable = _decode(folder, files, image_size, channels)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: a cache that was cut short is never found.
        handle, part = tempfile.mkstemp(dir=cache.parent, suffix=".part")
        os.close(handle)
        try:
            metadata = {"unreadable": json.dumps(unreadable)}
            save_file({"images": images, "labels": labels}, part, metadata)
            os.replace(part, cache)
        finally:
            Path(part).unlink(missing_ok=True)
    except (OSError, SafetensorError):
        pass  # without a cache the next start decodes again, and nothing else is lost
    return images, labels, unreadable


def _decode(
    folder: Path, files: list[tuple[Path, int]], image_size: int | None, channels: int | None
) -> tuple[Tensor, Tensor, list[str]]:
    """uint8 (N, C, H, W), int64 (N,) and the names of the files that are no images."""
    sizes: Counter[tuple[int, int]] = Counter()
    is_colour = False
    readable: list[tuple[Path, int]] = []
    unreadable: list[str] = []
    from PIL import Image

    for path, label in files:
        try:
            with Image.open(path) as image:
                image.load()
                if image.mode == "F":
                    raise ValueError("floating point, whose range is anybody's guess")
                sizes[image.size] += 1
                is_colour = is_colour or image.mode not in ("1", "L", "LA", "I", "I;16")
                readable.append((path, label))
        except Exception:  # Pillow's decoders raise whatever a damaged file makes them meet
            unreadable.append(str(path.relative_to(folder)))
    if not readable:
        raise DataError(
            f"{option('dataset')} {folder}: none of its {len(files)} images can be read"
        )
    width, height = sizes.most_common(1)[0][0]
    if image_size is not None:
        width = height = image_size
    elif len(sizes) > 1:
        seen = ", ".join(f"{w}x{h}" for (w, h), _ in sizes.most_common(3))
        raise DataError(
            f"{option('dataset')} {folder}: images of {len(sizes)} sizes ({seen}...): "
            f"bring them to one with {option('image_size')}, for example {option('image_size', 32)}"
        )
    channels = channels or (3 if is_colour else 1)
    num_bytes = len(readable) * channels * height * width
    if num_bytes > MAX_BYTES:
        raise DataError(
            f"{option('dataset')} {folder}: {len(readable):,} images of {width}x{height} take "
            f"{num_bytes / 2**30:.1f} GiB of memory: make them smaller with {option('image_size')}"
        )
    images = torch.empty(len(readable), channels, height, width, dtype=torch.uint8)
    for i, (path, _) in enumerate(readable):
        with Image.open(path) as opened:
            # 16 bits a pixel are scaled, as convert() would clip them to 8.
            is_deep = opened.mode.startswith("I")
            narrowed = opened.point(lambda value: value / 256) if is_deep else opened
            converted = narrowed.convert("RGB" if channels == 3 else "L")
            if converted.size != (width, height):
                converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            pixels = torch.frombuffer(bytearray(converted.tobytes()), dtype=torch.uint8)
            images[i] = pixels.view(height, width, channels).permute(2, 0, 1)
    return images, torch.tensor([label for _, label in readable]), unreadable
