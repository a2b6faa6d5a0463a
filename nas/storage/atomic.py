"""Parts: folders for what is half written, so that a file with its own name is always whole."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """A folder inside that one, to write files in and to move them out of; gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_prefix(f"{os.getpid()}-")) as part:
        yield Path(part)


def remove_dead_parts(folder: Path) -> None:
    """Remove what processes of this machine that were killed have left half written there."""
    for part in folder.glob(_prefix("*")):
        pid = part.name.removeprefix(_prefix("")).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(part, ignore_errors=True)


def _prefix(end: str) -> str:
    """Of the names of the folders; another machine may share the place."""
    return f".part-{socket.gethostname()}@{end}"
