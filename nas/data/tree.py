"""A folder with all that people see in it: without what systems leave there, links followed."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Beside all that begins with a dot: left by macOS, Windows, Synology, Linux and Python.
_JUNK = {
    "__macosx", "__pycache__", "#recycle", "$recycle.bin", "@eadir", "desktop.ini", "ehthumbs.db",
    "icon\r", "lost+found", "system volume information", "thumbs.db",
}  # fmt: skip
_NO_PICTURES = {
    ".bin", ".cfg", ".csv", ".db", ".doc", ".docx", ".gz", ".h5", ".htm", ".html", ".ini", ".ipynb",
    ".js", ".json", ".jsonl", ".log", ".lst", ".mat", ".md", ".mp3", ".mp4", ".npy", ".npz", ".pdf",
    ".pkl", ".pt", ".pth", ".py", ".pyc", ".rst", ".sh", ".sqlite", ".tar", ".toml", ".tsv", ".txt",
    ".wav", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip",
}  # fmt: skip

Identity = tuple[int, int]  # of a folder, whatever leads there


@dataclass(frozen=True)
class Folder:
    """A folder and what is below it, in the order of the names."""

    path: Path
    name: str  # composed (NFC), however the disk writes it
    folders: tuple[Folder, ...]
    files: tuple[Path, ...]  # directly in it
    repeated: tuple[Path, ...] = ()  # links in it to folders that are read already

    def walk(self) -> Iterator[Folder]:
        """The folder, then every folder below it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    @cached_property
    def num_pictures(self) -> int:
        """Files in it and below that may be pictures, by their names."""
        return sum(looks_like_picture(file) for folder in self.walk() for file in folder.files)

    @property
    def classes(self) -> tuple[Folder, ...]:
        """The folders in it with pictures in or below them."""
        return tuple(folder for folder in self.folders if folder.num_pictures)

    @property
    def num_loose(self) -> int:
        """Pictures directly in it."""
        return sum(looks_like_picture(file) for file in self.files)

    def all_files(self) -> list[Path]:
        """Every file in it and below, sorted."""
        return sorted(file for folder in self.walk() for file in folder.files)


def read_tree(path: Path) -> Folder:
    """What is in a folder.

    Raises:
        OSError: the folder, or one below it, cannot be read.
    """
    return _read(path, (), None)


def looks_like_picture(path: Path) -> bool:
    """Whether the file's name leaves that open; only its content can say."""
    return path.suffix.lower() not in _NO_PICTURES


def composed(name: str) -> str:
    """A name as it is compared: é is one character, however the disk writes it."""
    return unicodedata.normalize("NFC", name)


def _read(path: Path, above: tuple[Identity, ...], seen: set[Identity] | None) -> Folder:
    """A folder below those `above`; `seen` holds what was read of the same part or class."""
    above = (*above, _identity(path))
    folders, files, repeated = [], [], []
    for child in sorted(path.iterdir()):
        if child.name.startswith(".") or child.name.casefold() in _JUNK:
            continue
        if not child.is_dir():  # links to nothing, too, so that they are named
            files.append(child)
            continue
        known = set() if seen is None else seen
        identity = _identity(child)
        # Links among a few folders make more paths than can be followed, even without a circle.
        if identity in above or (child.is_symlink() and identity in known):
            repeated.append(child)
        else:
            known.add(identity)
            folders.append(_read(child, above, known))
    return Folder(path, composed(path.name), tuple(folders), tuple(files), tuple(repeated))


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_dev, found.st_ino
