"""Output: a file that appears whole or not at all, and never in place of a stranger."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nas.errors import NasError, option

GENERATOR = '<meta name="generator" content="nas '  # in pages that may be replaced


def check_output(path: Path, suffixes: Sequence[str], force: bool) -> None:
    """Whether a file can be written there, before any work is done.

    Raises:
        NasError: it ends in none of these suffixes, or something else is there.
    """
    if path.suffix not in suffixes:
        raise NasError(f"{option('out', str(path))} must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise NasError(f"{option('out', str(path))} is a folder: give the name of a file")
    if path.exists() and not force and not _is_ours(path):
        raise NasError(
            f"{option('out', str(path))} exists: name another file, or replace that one with "
            f"{option('force', True)}"
        )


def _is_ours(path: Path) -> bool:
    """Whether it is a page that was made by us."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return GENERATOR in file.read(2_000)
    except OSError:
        return False


def write_output(path: Path, content: bytes) -> None:
    """Write the file under another name and move it to its place.

    Raises:
        NasError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".nas-") as folder:
            part = Path(folder) / "part"
            part.write_bytes(content)
            os.replace(part, path)
    except OSError as error:
        raise NasError(f"{option('out', str(path))} cannot be written: {error.strerror}") from error
