"""Reading: the trials of a database as Optuna's own, several times as fast as Optuna reads them.

Its way over mapped objects takes more than a millisecond and 60 kB for each trial, which is much
for a study of ten thousand. Here rows are read, equal distributions are one object, and attributes
stay the text they are stored as until somebody asks for them: few ask for networks and curves.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, Table, and_, or_, select

from nas.errors import StudyError, one_line
from nas.storage.internals import (
    PARAMS,
    REPORTS,
    STUDIES,
    SYSTEM_ATTRS,
    TRIALS,
    USER_ATTRS,
    VALUES,
    TrialReader,
    not_found,
    to_report,
    to_value,
)

MOST_INCLUDED = 500  # in one statement: databases limit the length
NUM_AT_ONCE = 500  # trials whose rows are in memory


def damaged(error: BaseException | None) -> StudyError:
    """What is read is not what was written."""
    what = one_line(error) if error else ""
    return StudyError(
        f"the database is damaged ({what[:200]}): bring back a copy from before, or move it away"
    )


class Attributes(Mapping[str, Any]):
    """A trial's attributes, each read from its JSON text when it is first asked for.

    Raises:
        StudyError: by each access, where the text is damaged.
    """

    def __init__(self, rows: Iterable[tuple[int, int, str, str]]) -> None:
        self._texts = {sys.intern(name): text for _, _, name, text in rows}
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = _parsed(self._texts[name])
        return self._values[name]

    def check(self) -> None:
        """Read them all, and keep none."""
        for text in self._texts.values():
            _parsed(text)

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return repr(dict(self))


def check_attributes(trials: Iterable[FrozenTrial]) -> None:
    """Read all that is otherwise read when it is needed.

    Raises:
        StudyError: something is damaged.
    """
    for trial in trials:
        for attributes in (trial.user_attrs, trial.system_attrs):
            if isinstance(attributes, Attributes):  # a proxy's server has read them
                attributes.check()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise damaged(error) from error


class ReadingStorage(TrialReader):
    """Optuna's storage in a database, with another way to read many trials."""

    def read_trials(
        self, study_id: int, states: Container[TrialState] | None, included: set[int], after: int
    ) -> list[FrozenTrial]:
        earlier = sorted(trial_id for trial_id in included if trial_id <= after)
        if len(earlier) > MOST_INCLUDED:
            return super().read_trials(study_id, states, included, after)
        which = TRIALS.c.trial_id > after
        if earlier:
            which = or_(which, TRIALS.c.trial_id.in_(earlier))
        which = and_(TRIALS.c.study_id == study_id, which)
        if states is not None:
            which = and_(which, TRIALS.c.state.in_(list(cast(Iterable[TrialState], states))))
        tables = (VALUES, PARAMS, USER_ATTRS, SYSTEM_ATTRS, REPORTS)
        found: list[FrozenTrial] = []
        with _without_collection(), self.engine.connect() as connection:
            rows = connection.execute(select(TRIALS).where(which).order_by(TRIALS.c.trial_id)).all()
            if not rows:
                _check_study(connection, study_id)
            for some in _batched(rows, NUM_AT_ONCE):
                of_some = TRIALS.c.trial_id.between(some[0].trial_id, some[-1].trial_id)
                parts = [_rows_by_trial(connection, t, and_(which, of_some)) for t in tables]
                found += [_trial(row, *(part[row.trial_id] for part in parts)) for row in some]
        return found


@contextmanager
def _without_collection() -> Iterator[None]:
    """Of the many objects that are made here none is garbage: to look for it takes a third of the
    time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _batched(rows: Sequence[Row[Any]], size: int) -> Iterator[Sequence[Row[Any]]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _check_study(connection: Connection, study_id: int) -> None:
    if connection.execute(select(STUDIES).where(STUDIES.c.study_id == study_id)).first() is None:
        raise not_found()


def _rows_by_trial(
    connection: Connection, table: Table, which: ColumnElement[bool]
) -> dict[int, list[Any]]:
    """The rows of a table that belong to each trial, in the order in which they were written.

    Each begins with the trial's id and its own.
    """
    columns = [column for column in table.c if column.name != "trial_id"]
    statement = (
        select(TRIALS.c.trial_id, *columns)
        .join(table, table.c.trial_id == TRIALS.c.trial_id)
        .where(which)
        .order_by(*table.primary_key)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(statement).all():
        found[row[0]].append(row)
    return found


def _trial(
    row: Row[Any],
    values: list[Row[Any]],
    params: list[tuple[int, int, str, float, str]],
    user_attrs: list[tuple[int, int, str, str]],
    system_attrs: list[tuple[int, int, str, str]],
    reports: list[Row[Any]],
) -> FrozenTrial:
    in_order = sorted(values, key=lambda value: value.objective)
    distributions = {sys.intern(name): _distribution(text) for _, _, name, _, text in params}
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[to_value(v.value, v.value_type) for v in in_order] or None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={
            name: distribution.to_external_repr(value)
            for (name, distribution), (_, _, _, value, _) in zip(
                distributions.items(), params, strict=True
            )
        },
        distributions=distributions,
        user_attrs=cast(dict[str, Any], Attributes(user_attrs)),
        system_attrs=cast(dict[str, Any], Attributes(system_attrs)),
        intermediate_values={
            r.step: to_report(r.intermediate_value, r.intermediate_value_type) for r in reports
        },
        trial_id=row.trial_id,
    )


@lru_cache(maxsize=10_000)
def _distribution(text: str) -> BaseDistribution:
    try:
        return json_to_distribution(text)
    except KeyError as error:  # which would say that there is no such trial
        raise ValueError(f"no distribution: {text}") from error


def _local(time: datetime | None) -> datetime | None:
    """Databases hold universal time, Optuna's trials that of this place."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
