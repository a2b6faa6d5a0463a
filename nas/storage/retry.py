"""Patience: a database that is locked, or gone for a while, is waited for and not given up."""

from __future__ import annotations

import functools
import itertools
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from nas.storage.reading import ReadingStorage, damaged

PATIENCE_SECONDS = 300.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds
NUM_SILENT = 4  # tries that fail before it is said

# What Optuna's cache in front of a database calls, beside the methods of every storage.
_PRIVATE = ("_create_new_trial", "_get_trials", "_set_trial_param")

try:
    from grpc import RpcError as _RpcError
except ImportError:  # it is asked for when a proxy is named, see `nas.storage.database`

    class _RpcError(Exception):  # type: ignore[no-redef]
        """Never raised."""


_logger = logging.getLogger(__name__)


class PatientStorage(ReadingStorage):
    """Optuna's storage in a database, where each call is tried again while that may help.

    Training goes on meanwhile, in other processes. A call that reached the database, but whose
    answer did not come back, is made twice: a trial that is begun twice belongs to nobody, one that
    is taken from the queue twice goes back there (see `nas.storage.leases`), and the rest are
    values, which are only written again.

    Raises:
        StorageInternalError: by each method, when it did not help.
        StudyError: what the database holds is not what was written.
    """


class PatientProxy(GrpcStorageProxy):
    """The same for a database behind Optuna's gRPC proxy, which serves very many processes."""


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE
        for num_tries in itertools.count(1):
            try:
                return method(*args, **kwargs)
            except UpdateFinishedTrialError:
                is_told = method.__name__ == "set_trial_state_values" and _is_told(*args, **kwargs)
                if num_tries == 1 or not is_told:
                    raise
                return True  # by the try before, whose answer did not come back
            except (StorageInternalError, SQLAlchemyError, _RpcError) as error:
                # What fails while a transaction is undone comes without Optuna's error around it.
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                if not _may_pass(cause):
                    if _is_damage(cause):
                        raise damaged(cause) from error
                    if isinstance(error, StorageInternalError):
                        raise
                    raise StorageInternalError(str(error)) from error
                if time.monotonic() + pause > deadline:
                    raise StorageInternalError(str(cause)) from cause
                if num_tries == NUM_SILENT:
                    _logger.warning(
                        "the database does not answer (%s): it is tried again for %.0f s",
                        str(cause).split("\n")[0], PATIENCE_SECONDS,
                    )  # fmt: skip
            except (ValueError, LookupError, TypeError, AssertionError) as error:
                # A KeyError says that there is no such study or trial, what is written may be bad.
                if isinstance(error, KeyError) or "get_" not in method.__name__:
                    raise
                raise damaged(error) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return None  # never reached

    return call


for _class, _names in ((PatientStorage, _PRIVATE), (PatientProxy, ())):
    for _name in (*BaseStorage.__abstractmethods__, *_names):
        setattr(_class, _name, _patient(getattr(_class, _name)))


def _is_told(
    storage: PatientStorage,
    trial_id: int,
    state: TrialState,
    values: Sequence[float] | None = None,
) -> bool:
    trial = storage.get_trial(trial_id)
    return trial.state == state and trial.values == (None if values is None else list(values))


def _is_damage(error: BaseException | None) -> bool:
    origin = error.orig if isinstance(error, DBAPIError) else error
    # SQLite's other errors, such as a full disk, are of classes below this one.
    return type(origin) is sqlite3.DatabaseError or isinstance(origin, LookupError)


def _may_pass(error: BaseException | None) -> bool:
    """Whether it is of the kind that time heals."""
    if isinstance(error, _RpcError):
        return bool(error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):  # a full disk, for one, stays full
        return "locked" in str(error.orig)
    return isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated
