"""Open the database that holds the studies: a SQLite file, or any URL that Optuna takes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, RDBStorage

from nas.errors import StudyError

DEFAULT_STORAGE = "sqlite:///studies.db"

_SQLITE_PREFIX = "sqlite:///"
_SQLITE_HEADER = b"SQLite format 3\x00"
_LOCK_TIMEOUT_SECONDS = 60  # the driver's own default of 5 loses results when a dashboard is busy


def sqlite_path(url: str | None) -> Path | None:
    """The file behind a SQLite URL, or None for any other storage."""
    url = url or DEFAULT_STORAGE
    return Path(url.removeprefix(_SQLITE_PREFIX)) if url.startswith(_SQLITE_PREFIX) else None


def masked(url: str | None) -> str:
    """The URL without its password, for people to read."""
    return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", url or DEFAULT_STORAGE)


def open_storage(url: str | None, *, create: bool = False) -> BaseStorage:
    """The storage at `url`.

    Args:
        url: such as `postgresql://user:password@host/name`; None for `DEFAULT_STORAGE`.
        create: make a SQLite file that is not there; otherwise that is an error.

    Raises:
        StudyError: it is not there, is no database, or cannot be reached.
    """
    url = url or DEFAULT_STORAGE
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if "://" not in url:
        raise StudyError(
            f"--storage {url!r} is no URL: give one such as {DEFAULT_STORAGE}, "
            "or postgresql://user:password@host/name"
        )
    path = sqlite_path(url)
    if path is not None:
        _check_sqlite(url, path, create)
    try:
        if path is None:
            return optuna.storages.get_storage(url)
        # Optuna expands braces in the URL as a format string.
        escaped = url.replace("{", "{{").replace("}", "}}")
        connect = {"timeout": _LOCK_TIMEOUT_SECONDS}
        return RDBStorage(escaped, engine_kwargs={"connect_args": connect})
    except Exception as error:  # each database driver has exceptions of its own
        # Drivers repeat the URL, and with it the password, in the first line of what they say.
        first_line = masked(str(error).split("\n")[0]).replace(url, masked(url))
        raise StudyError(f"--storage {masked(url)} cannot be opened: {first_line}") from None


def _check_sqlite(url: str, path: Path, create: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"is in {path.parent}, which is no folder"
        raise StudyError(f"--storage {url}: {path} {what}; give the path of a database file")
    if not path.exists():
        if not create:
            raise StudyError(
                f"no studies in {path}: it does not exist. Start with `nas search --budget 20000`, "
                "or say where it is with --storage"
            )
        return
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise StudyError(f"--storage {url}: {path} cannot be read: {error.strerror}") from error
    if header != _SQLITE_HEADER:
        what = "is empty" if not header else "is no SQLite database"
        raise StudyError(f"--storage {url}: {path} {what}; move it away, or name another file")
