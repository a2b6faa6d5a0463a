"""Retry: a call that a database does not answer, because it is locked or gone, is made again."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, ParamSpec, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from nas.storage.internals import FrozenStudy, engine_of
from nas.storage.reading import damaged

RETRY_SECONDS = 300.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds
NUM_SILENT = 4  # tries that fail before it is said

try:
    from grpc import RpcError as _RpcError
except ImportError:  # it is asked for when a proxy is named, see `nas.storage.database`

    class _RpcError(Exception):  # type: ignore[no-redef]
        """Never raised."""


_P = ParamSpec("_P")
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


class RetryingStorage(BaseStorage):
    """A storage in front of another, each of whose calls is made again while that may help.

    Training goes on meanwhile, in other processes. A call that reached the database, but whose
    answer did not come back, is made twice: a trial that is begun twice belongs to nobody, one that
    is taken from the queue twice goes back there (see `nas.storage.leases`), and the rest are
    values, which are only written again.

    Args:
        wrapped: Optuna's cache in front of a database, or its gRPC proxy.

    Raises:
        StorageInternalError: by each method, when it did not help.
        StudyError: by each method that reads: what is there is not what was written.
    """

    def __init__(self, wrapped: BaseStorage) -> None:
        self.wrapped = wrapped

    @property
    def engine(self) -> Engine | None:
        """The connections to the database; None where a proxy has them."""
        return engine_of(self.wrapped)

    # Studies

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        return _retried(self.wrapped.create_new_study, directions, study_name)

    def delete_study(self, study_id: int) -> None:
        _retried(self.wrapped.delete_study, study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        _retried(self.wrapped.set_study_user_attr, study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        _retried(self.wrapped.set_study_system_attr, study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return _read(self.wrapped.get_study_id_from_name, study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return _read(self.wrapped.get_study_name_from_id, study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return _read(self.wrapped.get_study_directions, study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return _read(self.wrapped.get_study_user_attrs, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return _read(self.wrapped.get_study_system_attrs, study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return _read(self.wrapped.get_all_studies)

    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return _retried(self.wrapped.create_new_trial, study_id, template_trial)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        _retried(
            self.wrapped.set_trial_param, trial_id, param_name, param_value_internal, distribution
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        num_tries = 0

        def tell() -> bool:
            nonlocal num_tries
            num_tries += 1
            try:
                return self.wrapped.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if num_tries == 1 or not self._is_told(trial_id, state, values):
                    raise
                return True  # by the try before, whose answer did not come back

        return _retried(tell)

    def _is_told(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        trial = self.get_trial(trial_id)
        return trial.state == state and trial.values == (None if values is None else list(values))

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        _retried(self.wrapped.set_trial_intermediate_value, trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        _retried(self.wrapped.set_trial_user_attr, trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        _retried(self.wrapped.set_trial_system_attr, trial_id, key, value)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        find = self.wrapped.get_trial_id_from_study_id_trial_number
        return _read(find, study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return _read(self.wrapped.get_trial, trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return _read(self.wrapped.get_all_trials, study_id, deepcopy, states)

    def remove_session(self) -> None:
        self.wrapped.remove_session()


def _retried(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the call returns, made again as long as the database may come back.

    Raises:
        StorageInternalError: it did not within `RETRY_SECONDS`, or time heals no such error.
        StudyError: the file of the database is damaged.
    """
    deadline, pause, num_failed = time.monotonic() + RETRY_SECONDS, FIRST_PAUSE, 0
    while True:
        try:
            return call(*args, **kwargs)
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
            num_failed += 1
            if num_failed == NUM_SILENT:
                _logger.warning(
                    "the database does not answer (%s): it is tried again for %.0f s",
                    str(cause).split("\n")[0], RETRY_SECONDS,
                )  # fmt: skip
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _read(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The same for a call that reads.

    Raises:
        KeyError: there is no such study or trial.
        StudyError: what is read makes no sense, so it is damaged.
    """
    try:
        return _retried(call, *args, **kwargs)
    except KeyError:
        raise
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise damaged(error) from error


def _is_damage(error: BaseException | None) -> bool:
    origin = error.orig if isinstance(error, DBAPIError) else error
    # SQLite's other errors, such as a full disk, are of classes below this one.
    return type(origin) is sqlite3.DatabaseError or isinstance(origin, LookupError)


def _may_pass(error: BaseException | None) -> bool:
    """Whether the database may answer when the call is made again."""
    if isinstance(error, _RpcError):
        return bool(error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):  # a full disk, for one, stays full
        return "locked" in str(error.orig)
    return isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated
