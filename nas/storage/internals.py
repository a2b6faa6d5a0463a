"""Internals: what nas needs of Optuna that Optuna's documentation does not promise.

No other file of nas touches such a name. `tests/storage/test_internals.py` says of each what it
means; `pyproject.toml` keeps out the versions of Optuna in which that was not tested.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.study import _frozen
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import Engine, Table

_FIXED_PARAMS = "fixed_params"  # a system attribute: the values that a trial is to have
_OTHER_TABLES, _OLDER_TABLES = "table schema", "storage upgrade"  # in the text of a RuntimeError


# Studies and trials


def set_study_system_attr(study: optuna.Study, name: str, value: Any) -> None:
    """Write an attribute of a study that dashboards do not print."""
    study._storage.set_study_system_attr(study._study_id, name, value)


def study_system_attr(study: optuna.Study, name: str) -> Any:
    """An attribute of a study that dashboards do not print; None where there is none."""
    return study_system_attrs(study).get(name)


def study_system_attrs(study: optuna.Study) -> dict[str, Any]:
    """All attributes of a study that dashboards do not print."""
    return study._storage.get_study_system_attrs(study._study_id)


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study stands in."""
    return study._storage


def begin_trial(
    study: optuna.Study, params: Mapping[str, Any], user_attrs: Mapping[str, Any]
) -> optuna.Trial:
    """A new running trial, beside the queue: its space is given these values, not the sampler's."""
    template = create_trial(
        state=TrialState.RUNNING,
        user_attrs=dict(user_attrs),
        system_attrs={_FIXED_PARAMS: dict(params)},
    )
    trial_id = study._storage.create_new_trial(study._study_id, template)
    # What samplers have read of the study is kept until the next `ask` or `tell`.
    study._thread_local.cached_all_trials = None
    return optuna.Trial(study, trial_id)


def ended_trial(study: optuna.Study, number: int) -> optuna.Trial:
    """A trial that has ended as `optuna_dashboard.save_note` takes one; it cannot be changed."""
    trial = study.get_trials(deepcopy=False)[number]
    return optuna.Trial(study, trial._trial_id)


def fixed_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The values that a trial was given when it was queued or begun; None: the sampler draws."""
    params = trial.system_attrs.get(_FIXED_PARAMS)
    return None if params is None else dict(params)


def set_state(
    study: optuna.Study,
    trial: FrozenTrial,
    state: TrialState,
    values: Sequence[float] | None = None,
) -> bool:
    """End any running trial of the study, or take it from the queue; no sampler hears of it.

    Returns:
        Whether the trial was changed; False where it runs already.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    return study._storage.set_trial_state_values(trial._trial_id, state, values)


def set_user_attr(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Write an attribute of any running trial of the study.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def set_system_attr(
    study: optuna.Study, trial: optuna.Trial | FrozenTrial, name: str, value: Any
) -> None:
    """Write an attribute that dashboards do not print of any running trial of the study.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    study._storage.set_trial_system_attr(trial._trial_id, name, value)


def set_report(study: optuna.Study, trial: FrozenTrial, step: int, value: float) -> None:
    """Write an intermediate value of any running trial of the study.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    study._storage.set_trial_intermediate_value(trial._trial_id, step, value)


def has_artifacts(trial: FrozenTrial) -> bool:
    """Whether files were kept for a trial; to ask Optuna for them takes a look at the database."""
    return any(name.startswith(ARTIFACTS_ATTR_PREFIX) for name in trial.system_attrs)


# Storages

FrozenStudy = _frozen.FrozenStudy  # what `BaseStorage.get_all_studies` returns


def with_cache(database: RDBStorage) -> BaseStorage:
    """The storage with Optuna's cache in front of it: trials that have ended are read once."""
    return _CachedStorage(database)


def engine_of(storage: BaseStorage) -> Engine | None:
    """The connections to a database, with a cache in front of it or not; None: it is no database.

    Args:
        storage: one of Optuna's.
    """
    backend = storage._backend if isinstance(storage, _CachedStorage) else storage
    return backend.engine if isinstance(backend, RDBStorage) else None


class TrialReader(RDBStorage):
    """A database of Optuna's of which a class below may read the trials in its own way."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return self.read_trials(study_id, states, included_trial_ids, trial_id_greater_than)

    def read_trials(
        self, study_id: int, states: Container[TrialState] | None, included: set[int], after: int
    ) -> list[FrozenTrial]:
        """The trials of a study, in the order of their ids.

        Args:
            study_id: of that study.
            states: only trials in one of these; None: in any.
            included: ids of trials to read that are not greater than `after`.
            after: read each trial with a greater id.

        Raises:
            KeyError: there is no such study.
        """
        return super()._get_trials(study_id, states, included, after)


def _table(model: Any) -> Table:
    return cast(Table, model.__table__)


STUDIES = _table(models.StudyModel)
TRIALS = _table(models.TrialModel)
VALUES = _table(models.TrialValueModel)
PARAMS = _table(models.TrialParamModel)
USER_ATTRS = _table(models.TrialUserAttributeModel)
SYSTEM_ATTRS = _table(models.TrialSystemAttributeModel)
REPORTS = _table(models.TrialIntermediateValueModel)

# Of a number and its kind, which tells infinities, in the tables of values and of reports.
to_value = models.TrialValueModel.stored_repr_to_value
to_report = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


# Errors


def not_found() -> KeyError:
    """The error that Optuna raises where a study or a trial is not there."""
    return KeyError(models.NOT_FOUND_MSG)


def is_not_found(error: KeyError) -> bool:
    """Whether Optuna says with this error that a study or a trial is not there."""
    return error.args in (not_found().args, ())  # a proxy's has no text


def has_other_tables(error: Exception) -> bool:
    """Whether Optuna says with this error that a database was made by another version of it."""
    return isinstance(error, RuntimeError) and _OTHER_TABLES in str(error)


def has_older_tables(error: Exception) -> bool:
    """The same of an older version, whose tables can be upgraded."""
    return has_other_tables(error) and _OLDER_TABLES in str(error)
