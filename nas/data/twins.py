"""Files that are in two parts of a data set: a score on them says too much."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nas.data.layout import Layout
from nas.data.words import some
from nas.errors import count


def twins(layout: Layout, is_test: bool) -> list[str]:
    """In words, files that are in two parts: a score on them says too much. Bytes are compared.

    Args:
        is_test: the images to test on are opened now: compare them with the others. Before, no
            file of theirs is opened, and the others are compared among themselves.
    """
    all_parts = (layout.train, layout.valid, layout.test if is_test else None)
    parts = [part for part in all_parts if part is not None]
    by_size: dict[int, list[tuple[int, Path]]] = {}
    for i, part in enumerate(parts):
        for path, _ in part.files:
            by_size.setdefault(size_and_time(path)[0], []).append((i, path))
    found: dict[tuple[int, int], list[Path]] = {}  # by the two parts
    for size, same in by_size.items():
        if size == 0 or len({i for i, _ in same}) == 1:
            continue
        first: dict[bytes, int] = {}  # the first part that has a content
        for i, path in same:
            digest = _digest(path)
            if digest is not None and first.setdefault(digest, i) != i:
                found.setdefault((first[digest], i), []).append(path)
    notes = []
    for (i, k), paths in sorted(found.items()):
        if is_test and parts[k] is not layout.test:
            continue  # said when the search began
        names = some([path.relative_to(layout.folder).as_posix() for path in paths])
        which = "kept back to test on" if layout.is_flat else f"of {parts[k].name}"
        where = "trained on" if layout.is_flat else f"in {parts[i].name}"
        notes.append(f"{count(len(paths), 'file')} {which} also {where}, byte for byte: {names}")
    return notes


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link to nothing: decoding will name it
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
