"""Shown: a storage as a dashboard is to see it, without what would make its pages unreadable.

Older studies have networks, curves and the text of their space as attributes that dashboards print:
a page of 8,000 pixels, a table of 50 columns. What is in the database stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from typing import Any, TypeVar

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.storage.internals import FrozenStudy
from nas.storage.retry import RetryingStorage

MOST_LETTERS = 100  # of a text

_T = TypeVar("_T", FrozenStudy, FrozenTrial)


class ShownStorage(RetryingStorage):
    """A storage whose user attributes are scalars and short texts: longer ones are cut, and what is
    a list, an object, a text of several lines or nothing is left out.

    Args:
        storage: what is to be shown; other programs' studies are shown in the same way.
    """

    def __init__(self, storage: BaseStorage) -> None:
        super().__init__(storage.wrapped if isinstance(storage, RetryingStorage) else storage)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return short(super().get_study_user_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        return [_shown(study) for study in super().get_all_studies()]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return _shown(super().get_trial(trial_id))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        return [_shown(trial) for trial in super().get_all_trials(study_id, deepcopy, states)]


def _shown(found: _T) -> _T:
    found = copy.copy(found)
    found.user_attrs = short(found.user_attrs)
    return found


def short(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as a dashboard can print them."""
    return {
        name: _cut(value) if isinstance(value, str) else value
        for name, value in attrs.items()
        if not (value is None or isinstance(value, dict | list))
        if not (isinstance(value, str) and "\n" in value)
    }


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
