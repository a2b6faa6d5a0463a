"""Where a search may begin besides at its space's own start: with the best of another study."""

from __future__ import annotations

from typing import Any

from optuna.storages import BaseStorage

from nas.errors import InvalidCandidateError, StudyError, option
from nas.spaces.draws import check_params
from nas.spaces.loader import SearchSpace
from nas.spaces.random_trial import NotOfferedError
from nas.spaces.task import Task
from nas.storage.ranking import best_trials
from nas.storage.studies import open_study, study_facts

MOST = 10  # of a study's best

Params = dict[str, Any]


def proposals_from(
    name: str, space: SearchSpace, task: Task, storage: BaseStorage, most: int = MOST
) -> list[Params]:
    """The parameter values of a study's best trials, best first, as far as the space offers them.

    Args:
        name: of a study of the same space, whatever its limits and images were.
        most: so many of the best trials are looked at.

    Raises:
        StudyError: there is no such study, it searched another space, it has no trained network
            yet, or the space offers none of the values under the limits of the task.
    """
    study = open_study(storage, name)
    facts = study_facts(study)
    assert facts is not None  # or open_study had refused
    if facts.space != space.name:
        raise StudyError(
            f"{option('warm_start')} {name!r}: that study searched space {facts.space}, whose "
            f"parameters mean nothing in {space.name}: name a study of {space.name}, or give "
            f"{option('space', facts.space)}"
        )
    best = best_trials(study, most)
    if not best:
        raise StudyError(f"{option('warm_start')} {name!r}: that study has no trained network yet")
    proposals: list[Params] = []
    fault: NotOfferedError | None = None
    for record in best:
        try:
            check_params(space, task, record.params)
        except NotOfferedError as error:
            fault = error
            continue
        except InvalidCandidateError:  # for the gate to say
            pass
        if record.params not in proposals:
            proposals.append(record.params)
    if not proposals:
        raise StudyError(
            f"{option('warm_start')} {name!r}: space {space.name} offers none of its best here: "
            f"{fault}"
        )
    return proposals
