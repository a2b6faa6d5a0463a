"""Open the database that holds the studies: a SQLite file, or any URL that Optuna takes."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy.exc import IntegrityError, ProgrammingError

from nas.errors import StorageFailedError, StudyError, option, redact
from nas.storage.atomic import remove_dead_parts
from nas.storage.internals import (
    has_older_tables,
    has_other_tables,
    is_not_found,
    with_cache,
)
from nas.storage.reading import ReadingStorage
from nas.storage.retry import RetryingStorage
from nas.storage.sqlite_file import (
    check_file,
    connect,
    escaped,
    lock_from_the_start,
    make_file,
    one_at_a_time,
)

STORAGE_VARIABLE = "NAS_STORAGE"  # unlike an argument, others do not see it in a list of processes

_NUM_TRIES = 5  # to open a server's database
_SERVER_ENGINE = {"pool_pre_ping": True}  # a connection may have been cut while it lay idle
_PROXY_TIMEOUT_SECONDS = 10.0


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
        check_file(url, path, create)
    try:
        if url.startswith("grpc://"):
            return _open_proxy(url)
        if path is None:
            return _open_server(url)
        with one_at_a_time(path.parent):
            if create:
                remove_dead_parts(path.parent)
            if create and not path.exists():
                make_file(path)
            engine = {"creator": partial(connect, path)}
            database = ReadingStorage(escaped(url), engine_kwargs=engine)
        if create:
            lock_from_the_start(database.engine)
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
