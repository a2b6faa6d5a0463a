"""The gate: a proposal becomes a candidate and is counted; what does not fit is never trained."""

from __future__ import annotations

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from nas.candidates.candidate import Candidate
from nas.errors import InvalidCandidateError, OverBudgetError, StorageFailedError, describe
from nas.searching.events import Observer, TrialEnded
from nas.searching.standing import Standing
from nas.spaces.loader import SearchSpace
from nas.spaces.task import Task
from nas.storage.trials import CONTINUES, Reason, find_continued, record_reason, record_rejection


class Gate:
    """Lets candidates in that are within the budget and new to the study.

    Args:
        study: where those turned away are recorded.
        space: makes a candidate of a trial.
        task: the images' shape and the limits.
        standing: what the study holds already.
        observer: told of those turned away.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        task: Task,
        standing: Standing,
        observer: Observer,
    ) -> None:
        self.study = study
        self.space = space
        self.task = task
        self.standing = standing
        self.observer = observer
        self.num_rejected = 0  # in a row

    def admit(self, trial: optuna.Trial) -> Candidate | None:
        """The trial's candidate, or None where it was turned away and the trial closed.

        Raises:
            SpaceError: the space file raised an error, or returned no candidate.
        """
        try:
            candidate = self._candidate(trial)
            for name, excess in self.task.budget.excess(candidate.architecture).items():
                trial.set_constraint(name, excess)
            self.task.budget.check(candidate.architecture)
        except OverBudgetError as error:
            self._reject(trial, Reason.OVER_BUDGET, str(error), error.num_params)
            return None
        except InvalidCandidateError as error:
            self._reject(trial, Reason.INVALID, str(error))
            return None
        except (UpdateFinishedTrialError, StorageInternalError, StorageFailedError):
            raise  # the storage's: the trial cannot be closed, or is
        except BaseException as error:  # the search cannot go on, but the trial is closed
            is_interrupt = isinstance(error, KeyboardInterrupt)
            reason = Reason.INTERRUPTED if is_interrupt else Reason.ERROR
            record_reason(trial, reason, describe(error))
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.standing.refresh()  # another process may have had the same idea meanwhile
        earlier = self.standing.tally.seen.get(candidate.fingerprint)
        # One that goes on with a stopped trial is known by itself, unless another was first.
        if earlier not in (None, trial.number):
            detail = f"trial {earlier} is the same"
            num_params = candidate.architecture.num_params
            score = self.standing.tally.scores.get(earlier)
            self._reject(trial, Reason.DUPLICATE, detail, num_params, score)
            return None
        if CONTINUES not in trial.user_attrs:  # which is no new candidate
            self.num_rejected = 0
        return candidate

    def _candidate(self, trial: optuna.Trial) -> Candidate:
        """What the trial proposes; one that goes on with another has that one's."""
        candidate = self.space.propose(trial, self.task)
        before = find_continued(self.study, trial)
        return (before and before.candidate) or candidate

    def _reject(
        self,
        trial: optuna.Trial,
        reason: Reason,
        detail: str,
        num_params: int | None = None,
        score: float | None = None,
    ) -> None:
        """Turn a proposal away before training. PRUNED, not FAIL: samplers learn from PRUNED.

        One whose score is known already is told with it, or the sampler would take the best network
        proposed twice for a bad one.
        """
        record_rejection(trial, reason, detail, num_params)
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        self.study.tell(trial, score, state)
        self.standing.refresh()
        self.num_rejected += 1
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, None, False))
