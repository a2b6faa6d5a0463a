"""Where a search may begin besides at its space's own start: near the candidates of others."""

from __future__ import annotations

from typing import Any

from optuna.storages import BaseStorage

from nas.candidate import Candidate
from nas.errors import InvalidCandidateError, SpaceError, StudyError
from nas.search_space import SearchSpace, load_space
from nas.studies import open_study, study_facts, study_names
from nas.survey import DrawnTrial, NotOfferedError, check_params, check_start
from nas.task import Task
from nas.trials import best_trials

MOST = 10  # of a study's best

Params = dict[str, Any]
Found = list[tuple[Candidate, Params]]  # each with the values that its own space made it of


def proposals_from(
    source: str, space: SearchSpace, task: Task, storage: BaseStorage | None
) -> list[Params]:
    """Parameter values in `space` that come near what `source` begins with, or has found.

    Those of a source with the same space stay as they are, as far as the task still offers them.

    Args:
        source: the name of a study in the storage, whose best trials are taken, or else of a search
            space or its file, whose own start is taken.
        storage: None where there is none yet.

    Raises:
        SpaceError: neither is there, it has nothing to begin with, or `space` cannot come near it.
        StudyError: the study has completed no trial yet.
    """
    studies = study_names(storage) if storage is not None else []
    if storage is not None and source in studies:
        sha256, found = _best_of(source, storage)
    else:
        sha256, found = _start_of(source, task, studies)
    proposals: list[Params] = []
    for candidate, params in found:
        if sha256 != space.sha256 or _fault(space, task, params):
            params = space.params_near(candidate, task)
            fault = _fault(space, task, params)
            if fault:
                raise SpaceError(
                    f"{space.path}: nearest(candidate, task) cannot be proposed: {fault}"
                )
        if params not in proposals:
            proposals.append(params)
    return proposals


def _best_of(name: str, storage: BaseStorage) -> tuple[str, Found]:
    """The hash of a study's space, and its best trials."""
    study = open_study(storage, name)
    facts = study_facts(study)
    assert facts is not None  # or open_study had refused
    best = best_trials(study, MOST)
    if not best:
        raise StudyError(f"--warm-start {name!r}: that study has no completed trial yet")
    return facts.space_sha256, [(r.candidate, r.params) for r in best if r.candidate]


def _start_of(source: str, task: Task, studies: list[str]) -> tuple[str, Found]:
    """The hash of a space, and what it begins with, as far as that can be built for the task."""
    try:
        space = load_space(source)
    except SpaceError as error:
        if not str(error).startswith("--space"):  # it is there, but broken
            raise
        message = str(error).replace("--space", "--warm-start", 1)
        raise SpaceError(f"{message}; studies: {', '.join(studies) or 'none yet'}") from error
    proposals = space.first_proposals(task)
    if not proposals:
        raise SpaceError(
            f"--warm-start {source!r}: {space.path} does not say where to begin: it needs a "
            "function start(task) that returns parameter values"
        )
    check_start(space, task)
    found = []
    for params in proposals:
        try:
            found.append((space.propose(DrawnTrial(fixed=params), task), params))
        except InvalidCandidateError:  # made for other images
            continue
    return space.sha256, found


def _fault(space: SearchSpace, task: Task, params: Params) -> NotOfferedError | None:
    """Why `space` would not take these values. Whether a network can be built is for the gate."""
    try:
        check_params(space, task, params)
    except NotOfferedError as error:
        return error
    except InvalidCandidateError:
        pass
    return None
