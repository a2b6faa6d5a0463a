"""The file behind a SQLite storage: made whole, checked, locked, and watched while it is used."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Engine, event

from nas.errors import StorageFailedError, StudyError, command, option
from nas.storage.atomic import part_folder
from nas.storage.internals import engine_of
from nas.storage.retry import RetryingStorage

_HEADER = b"SQLite format 3\x00"
_LOCK_TIMEOUT_SECONDS = 300  # the driver's own default of 5 gives up when a dashboard is busy
_TRY_SECONDS = 5  # that one try of many takes, see `nas.storage.retry`


def escaped(url: str) -> str:
    """Optuna expands braces in a URL as a format string."""
    return url.replace("{", "{{").replace("}", "}}")


def check_file(url: str, path: Path, create: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"is in {path.parent}, which is no folder"
        raise StudyError(
            f"{option('storage')} {url}: {path} {what}; give the path of a database file"
        )
    if not path.exists():
        if not create:
            raise StudyError(
                f"no studies in {path}: it does not exist. Start with "
                f"`{command('search', budget=20000)}`, or say where it is with {option('storage')}"
            )
        return
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except OSError as error:
        raise StudyError(
            f"{option('storage')} {url}: {path} cannot be read: {error.strerror}"
        ) from error
    if header != _HEADER:
        what = "is empty" if not header else "is no SQLite database"
        raise StudyError(
            f"{option('storage')} {url}: {path} {what}; move it away, or name another file"
        )
    try:
        # Looked at first: Optuna would add its tables to any database. Not read-only where that can
        # be helped: what a killed process left half written could not be rolled back.
        mode = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT_SECONDS)
        with contextlib.closing(connection) as database:
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
            (health,) = database.execute("PRAGMA quick_check(1)").fetchone() if create else ("ok",)
            if health != "ok":
                raise sqlite3.DatabaseError(f"it is damaged: {health}")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StudyError(f"{option('storage')} {url}: {path} cannot be read: {error}") from error
    if tables and "studies" not in tables:
        raise StudyError(
            f"{option('storage')} {url}: {path} belongs to another program; name another file"
        )


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Of several processes that open a new database there, one makes its tables first.

    The lock is a file among the system's temporary ones: the folder may be read-only.
    """
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with contextlib.ExitStack() as stack:
        # There is no such place, the file there is another user's, or the system knows no locks.
        with contextlib.suppress(OSError, NotImplementedError):
            path = Path(tempfile.gettempdir()) / f"nas-{digest}.lock"
            stack.enter_context(FileLock(path))
            stack.callback(_remove, path)  # still locked: who waits for it then makes it anew
        yield


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a file that is open
        path.unlink()


def connect(path: Path) -> sqlite3.Connection:
    # Without `mode=rw` a database that was moved away would be made anew, empty.
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_LOCK_TIMEOUT_SECONDS,
        check_same_thread=False,  # the pool gives a connection to one thread at a time
    )  # fmt: skip
    connection.execute("PRAGMA trusted_schema = OFF")  # a file may be a stranger's
    return connection


def make_file(path: Path) -> None:
    """Make an empty database elsewhere first: what is called `path` is always whole."""
    with part_folder(path.parent) as folder:
        part = folder / path.name
        RDBStorage(escaped(f"sqlite:///{part}")).engine.dispose()
        try:  # unlike a move, never over one that another process has just made and uses
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(part, path)


def lock_from_the_start(engine: Engine) -> None:
    """Let every transaction take SQLite's write lock when it begins, not when it first writes.

    Otherwise two processes can both read that a queued trial waits, and both take it.
    """

    def on_connect(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction by itself
        connection.execute(f"PRAGMA busy_timeout = {1000 * _TRY_SECONDS}")

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    engine.dispose()  # connections that were made before


def database_file(storage: BaseStorage) -> Path | None:
    """The file of a SQLite storage; None for any other."""
    engine = storage.engine if isinstance(storage, RetryingStorage) else engine_of(storage)
    if engine is None or engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database)


class FileGuard:
    """Notices that the file of a database is no longer the one that was opened."""

    def __init__(self, storage: BaseStorage) -> None:
        self.path = database_file(storage)
        self._before = self._identity()

    def check(self) -> None:
        """Raises StorageFailedError when it is not: what is written would be lost with it."""
        if self._identity() != self._before:
            raise StorageFailedError(
                f"{self.path} was deleted or replaced while it was searched in: bring it back, and "
                "the same command goes on"
            )

    def _identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            stat = self.path.stat()
        except OSError:
            return 0, 0
        return stat.st_dev, stat.st_ino
