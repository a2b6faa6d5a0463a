"""Open the database that holds the studies: a SQLite file, or any URL that Optuna takes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, ProgrammingError

from nas.errors import StorageFailedError, StudyError, command, option, redact
from nas.storage.atomic import part_folder, remove_dead_parts
from nas.storage.internals import (
    engine_of,
    has_older_tables,
    has_other_tables,
    is_not_found,
    with_cache,
)
from nas.storage.reading import ReadingStorage
from nas.storage.retry import RetryingStorage

STORAGE_VARIABLE = "NAS_STORAGE"  # unlike an argument, others do not see it in a list of processes

_NUM_TRIES = 5  # to open a server's database
_SQLITE_HEADER = b"SQLite format 3\x00"
_SERVER_ENGINE = {"pool_pre_ping": True}  # a connection may have been cut while it lay idle
_LOCK_TIMEOUT_SECONDS = 300  # the driver's own default of 5 gives up when a dashboard is busy
_PROXY_TIMEOUT_SECONDS = 10.0
_TRY_SECONDS = 5  # that one try of many takes, see `nas.storage.retry`


def default_storage() -> str:
    """The URL in `$NAS_STORAGE`, else that of `studies.db` in the current folder."""
    return os.environ.get(STORAGE_VARIABLE) or "sqlite:///studies.db"


def sqlite_path(url: str | None) -> Path | None:
    """The file behind a SQLite URL, or None for any other storage.

    A `~` is the home folder: no shell expands it inside a URL or an environment variable.
    """
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]*)", default_storage() if url is None else url)
    return Path(os.path.expanduser(match[1])) if match else None


def open_storage(url: str | None, *, create: bool = False) -> BaseStorage:
    """The storage at `url`.

    Args:
        url: such as `postgresql://user:password@host/name`; None for `default_storage`.
        create: make a SQLite file that is not there; otherwise that is an error.

    Raises:
        StudyError: it is not there, is no database, or cannot be reached.
    """
    url = default_storage() if url is None else url
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if "://" not in url:
        shown = redact(f"://{url}").removeprefix("://")
        raise StudyError(
            f"{option('storage')} {shown!r} is no URL: give one such as sqlite:///studies.db, "
            "or postgresql://user:password@host/name"
        )
    path = sqlite_path(url)
    if path is not None:
        _check_sqlite(url, path, create)
    try:
        if url.startswith("grpc://"):
            return _open_proxy(url)
        if path is None:
            return _open_server(url)
        with _one_at_a_time(path.parent):
            if create:
                remove_dead_parts(path.parent)
            if create and not path.exists():
                _make_database(path)
            connect = {"creator": partial(_connect, path)}
            database = ReadingStorage(_escaped(url), engine_kwargs=connect)
        if create:
            _lock_from_the_start(database.engine)
        return _retrying(database)
    except Exception as error:  # each database driver has exceptions of its own
        if has_other_tables(error):
            raise StudyError(
                f"{option('storage')} {redact(url)} {_of_another_version(error)}"
            ) from None
        # Drivers repeat the URL, and with it the password, in the first line of what they say.
        said = redact(str(error).replace(url, redact(url)).split("\n")[0])
        if url.count("@") > 1:  # the first ends the password: what follows may be said to be a host
            said = "an @ in a password or a name must be written %40"
        raise StudyError(f"{option('storage')} {redact(url)} cannot be opened: {said}") from None


def _escaped(url: str) -> str:
    """Optuna expands braces in a URL as a format string."""
    return url.replace("{", "{{").replace("}", "}}")


def _of_another_version(error: Exception) -> str:
    """What to do about tables that this Optuna does not read."""
    if has_older_tables(error):
        return (
            "was made by an older Optuna: copy it, then `optuna storage upgrade --storage URL` "
            "with its URL"
        )
    return (
        f"was made by a newer Optuna than {optuna.__version__}: python -m pip install -U optuna, "
        "or name another database"
    )


def _open_server(url: str) -> BaseStorage:
    """Of several processes that open an empty database at once, one makes its tables."""
    for _ in range(_NUM_TRIES):
        try:
            return _retrying(ReadingStorage(url, engine_kwargs=_SERVER_ENGINE))
        except (ProgrammingError, IntegrityError):  # another is making them just now
            time.sleep(1.0)
    return _retrying(ReadingStorage(url, engine_kwargs=_SERVER_ENGINE))


def _open_proxy(url: str) -> BaseStorage:
    """The server of `optuna.storages.run_grpc_proxy_server`."""
    match = re.fullmatch(r"grpc://([^/:@]+):(\d{1,5})/?", url)
    if match is None:
        raise ValueError("a proxy is named as in grpc://host:13000")
    if importlib.util.find_spec("grpc") is None:
        raise ImportError("a proxy needs grpcio: python -m pip install grpcio protobuf")
    with warnings.catch_warnings():  # Optuna still calls it experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = GrpcStorageProxy(host=match[1], port=int(match[2]))
    proxy.wait_server_ready(timeout=_PROXY_TIMEOUT_SECONDS)
    return RetryingStorage(proxy)


def _retrying(database: RDBStorage) -> RetryingStorage:
    """The storage of a database; Optuna puts its cache only before one that stands alone."""
    return RetryingStorage(with_cache(database))


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
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


def _connect(path: Path) -> sqlite3.Connection:
    # Without `mode=rw` a database that was moved away would be made anew, empty.
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_LOCK_TIMEOUT_SECONDS,
        check_same_thread=False,  # the pool gives a connection to one thread at a time
    )  # fmt: skip
    connection.execute("PRAGMA trusted_schema = OFF")  # a file may be a stranger's
    return connection


def _make_database(path: Path) -> None:
    """Make an empty database elsewhere first: what is called `path` is always whole."""
    with part_folder(path.parent) as folder:
        part = folder / path.name
        RDBStorage(_escaped(f"sqlite:///{part}")).engine.dispose()
        try:  # unlike a move, never over one that another process has just made and uses
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(part, path)


def _lock_from_the_start(engine: Engine) -> None:
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


@contextlib.contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Turn what a database refuses, such as writing to a full disk, into one line.

    Raises:
        StorageFailedError: in place of Optuna's own error.
    """
    where = f"{option('storage')} {redact(url or default_storage())}"
    try:
        yield
    except KeyError as error:
        if not is_not_found(error):
            raise
        raise StorageFailedError(
            f"{where}: the study, or a trial of it, is not there any more: somebody deleted it"
        ) from error
    except optuna.exceptions.StorageInternalError as error:
        cause = str(error.__cause__ or error).split("\n")[0]
        raise StorageFailedError(
            f"{where} failed: {cause}. What was finished is kept; the same command goes on when "
            "the database works again"
        ) from error


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


def _check_sqlite(url: str, path: Path, create: bool) -> None:
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
            header = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise StudyError(
            f"{option('storage')} {url}: {path} cannot be read: {error.strerror}"
        ) from error
    if header != _SQLITE_HEADER:
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
