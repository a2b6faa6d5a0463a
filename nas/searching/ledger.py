"""Ledger: the one owner of the study while a search runs in it.

ask -> reject, or begin -> report ... results.keep ... -> end; sync between them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from nas.candidates.candidate import Candidate
from nas.errors import StorageFailedError, StudyError
from nas.metrics import EpochMetrics
from nas.searching.config import SearchConfig
from nas.searching.gate import Rejected
from nas.searching.planning import Step
from nas.searching.pruners import Pruner
from nas.searching.results import Results
from nas.searching.running import RunningTrial, versions
from nas.searching.samplers import SeededSampler, derive_seed
from nas.searching.timetable import Timetable
from nas.storage.counts import count_trained, count_trials, num_rejected_last
from nas.storage.internals import fixed_params, storage_of
from nas.storage.leases import UNOWNED_SECONDS, Lease, index_of, is_retry, retry_of
from nas.storage.ranking import best_trial, find_promoted_from
from nas.storage.reasons import REJECTED, TRAINED, Reason, reason_of
from nas.storage.sqlite_file import FileGuard
from nas.storage.trials import (
    PROMOTED_FROM,
    TrialRecord,
    record_candidate,
    record_reason,
    record_rejection,
    record_training,
    result_of,
    stored,
    was_shortened,
)

REFRESH_SECONDS = 2.0  # after which what other processes have done is read again
RECOVERY_SECONDS = 30.0  # after which their dead are looked for again

STORAGE_FAILURES = (StorageInternalError, StorageFailedError, StudyError)  # it takes nothing more

Params = dict[str, Any]


class Ledger:
    """This process' view of a study, and its hand in it.

    Args:
        study: where every proposal is recorded; gets the sampler and the pruner of the search.
        config: how long and how to search.
        pruner: stops weak candidates, and says who is promoted.
        artifact_dir: for the weights of the best, and for results that the database cannot take.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: SearchConfig,
        pruner: Pruner,
        artifact_dir: Path,
    ) -> None:
        self.study = study
        self.config = config
        self.pruner = study.pruner = pruner
        study.sampler = SeededSampler(config.sampler, config.seed, index_of)
        self.timetable: Timetable | None = None  # where there is a time limit
        self.step: Step | None = None  # what the timetable says comes next
        self.promotion: FrozenTrial | None = None  # the stopped trial that goes on next
        self._longest: list[float] | None = None  # see `longest_schedules`
        self.is_exhausted = False  # no more candidates will come
        self.results = Results(study, artifact_dir)
        self.lease = Lease(study)
        self._file = FileGuard(storage_of(study))
        self._next_recovery = 0.0
        self.refresh()

    # How far the study has come

    def refresh(self) -> None:
        """Read what all processes have done so far.

        Raises:
            StorageFailedError: the database is another one than before.
        """
        self._file.check()
        self.progress = count_trials(self.study)
        self._longest = None
        trials = self._trials  # no fewer than the counts are of
        if self.timetable is not None:
            num_new = max(self.config.trials - self._num_begun, 0) if not self.is_exhausted else 0
            self.step = self.timetable.next_step(self.study, num_new)
            number = self.step.number if self.step else None
            self.promotion = None if number is None else trials[number]
        else:
            self.promotion = self._next_promotion(trials)
        self._next_refresh = time.monotonic() + REFRESH_SECONDS

    def sync(self) -> list[int]:
        """See to the other processes, if it is time; returns trials that are to be tried again."""
        now = time.monotonic()
        found: list[int] = []
        self.lease.keep_alive()
        if now >= self._next_recovery:
            found = self.lease.recover()
            soon = self.lease.is_in_doubt
            self._next_recovery = now + (UNOWNED_SECONDS if soon else RECOVERY_SECONDS)
            self.refresh()
        elif now >= self._next_refresh:
            self.refresh()
        return found

    def leave(self) -> None:
        """End the search of this process; none of its trials runs any more."""
        self.lease.leave()
        self.refresh()

    def exhaust(self) -> None:
        """No more candidates will come: the space has no other that fits."""
        if not self.is_exhausted:
            self.is_exhausted = True
            self.refresh()

    @property
    def wants_more(self) -> bool:
        """Whether something is to be begun beside what is in work."""
        if self.timetable is not None:
            return self.step is not None
        return self.promotion is not None or self._wants_new

    @property
    def num_missing(self) -> int:
        """Trained candidates that are still to come, as asked for with `--trials`."""
        return max(self.config.trials - self.num_trained, 0)

    @property
    def num_trained(self) -> int:
        """How many candidates had their training."""
        return count_trained(self.progress.counts)

    @property
    def longest_schedules(self) -> Sequence[float]:
        """Epochs of the longest schedule that each candidate has ended."""
        if self._longest is None:
            found: dict[str, float] = {}
            for trial in self._trials:
                result = result_of(trial)
                if result is not None:
                    mark = str(trial.user_attrs.get("fingerprint", trial.number))
                    found[mark] = max(found.get(mark, 0.0), result.epochs)
            self._longest = list(found.values())
        return self._longest

    @property
    def counts(self) -> dict[str, int]:
        """Trials that have ended, by what became of them."""
        return dict(self.progress.counts)

    def best(self) -> TrialRecord | None:
        """The best trial so far, of every process that searches in this study."""
        return best_trial(self.study)

    @property
    def num_rejected_last(self) -> int:
        """How many of the newest proposals were turned away, one after another."""
        return num_rejected_last(self.study)

    def last_rejections(self, num: int) -> list[tuple[Reason, str]]:
        """Why the last proposals were turned away, the oldest of so many first."""
        found = [(reason_of(trial), trial) for trial in self._trials]
        last = [(reason, trial) for reason, trial in found if reason in REJECTED][-num:]
        return [(reason, trial.user_attrs["detail"]) for reason, trial in last if reason]

    def other_versions(self) -> list[str]:
        """What other versions parts of this study were made with, for example `torch 2.11.0`."""
        mine, others = versions(), set()
        for trial in self._trials:
            for name, version in stored(trial, "versions", {}).items():
                if mine.get(name) != version:
                    others.add(f"{name} {version}")
        return sorted(others)

    # Proposals

    def enqueued(self) -> list[Params]:
        """The values of all proposals that did not come from the sampler."""
        fixed = map(fixed_params, self._trials)
        return [params for params in fixed if params is not None]

    def enqueue(self, params: Params) -> None:
        """Propose these values next."""
        self.study.enqueue_trial(params)

    def ask(self) -> optuna.Trial:
        """The next trial: a stopped one that goes on, one from the queue, or a new one.

        What other processes begin at the same moment is not known yet: so many processes may
        together train as many candidates too many, less one.
        """
        stopped = self.promotion
        trial = self.lease.ask() if stopped is None else self.lease.promote(stopped)
        self.refresh()
        return trial

    def promoted_from(self, trial: optuna.Trial) -> TrialRecord | None:
        """The stopped trial that this one goes on with, if there is one."""
        return find_promoted_from(self.study, trial)

    def retries(self, trial: optuna.Trial) -> int | None:
        """The trial that was broken off and that this one repeats, if there is one."""
        return retry_of(trial.user_attrs)

    def known_besides(self, trial: optuna.Trial) -> Mapping[str, int]:
        """By fingerprint the trials that had their training, are in work or failed, but for one."""
        self.refresh()  # another process may have had the same idea meanwhile
        return {key: n for key, n in self.progress.known_fingerprints.items() if n != trial.number}

    def record_excess(self, trial: optuna.Trial, excess: Mapping[str, float]) -> None:
        """Tell samplers by how much a proposal is over each limit."""
        for name, value in excess.items():
            trial.set_constraint(name, value)

    def reject(self, trial: optuna.Trial, verdict: Rejected) -> float | None:
        """Close a proposal before training. PRUNED, not FAIL: samplers learn from PRUNED.

        Returns:
            Of a duplicate the score that is known already. It is told with it, or the sampler would
            take the best network proposed twice for a bad one.
        """
        score = None if verdict.earlier is None else self.progress.scores.get(verdict.earlier)
        record_rejection(trial, verdict.reason, verdict.detail, verdict.num_params)
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        self.study.tell(trial, score, state)
        self.refresh()
        return score

    def fail(self, trial: optuna.Trial, reason: Reason, detail: str) -> None:
        """Close a trial that is not trained."""
        record_reason(trial, reason, detail)
        self.study.tell(trial, state=TrialState.FAIL)
        self.refresh()

    # Trainings

    def prepare(
        self, trial: optuna.Trial, candidate: Candidate, step: Step | None = None
    ) -> RunningTrial:
        """A candidate with its schedules and its seed; a promoted one has those it had.

        Args:
            step: its schedule, where a time limit has chosen it.
        """
        epochs: Sequence[float] = (
            self.pruner.rung_epochs(candidate.recipe.epochs) if step is None else (step.epochs,)
        )
        is_short = step is not None and not step.is_longest
        before = self.promoted_from(trial)
        if before is None or before.seed is None:
            trials = self._trials
            index = index_of(trials[trial.number], trials)
            seed = derive_seed(self.config.seed, index, "training")
            return RunningTrial(trial, candidate, tuple(epochs), seed, is_short=is_short)
        if step is None:
            epochs = [e for e in epochs if e > before.last_rung.epochs]
        rungs = list(dict.fromkeys([*before.rungs, before.last_rung]))
        return RunningTrial(
            trial, candidate, tuple(epochs), before.seed, before.number, rungs, is_short=is_short
        )

    def begin(self, running: RunningTrial, device: str, *, is_planned: bool) -> None:
        """Store what is about to be trained, and everything needed to train it again.

        Args:
            is_planned: a time limit has chosen its schedule.
        """
        schedule = running.schedules[0] if is_planned else None
        record_candidate(
            running.trial,
            running.candidate,
            running.seed,
            device,
            versions(),
            self.config.pruner,
            schedule,
            self.config.sampler,
        )

    def report(self, running: RunningTrial, accuracy: float, epochs: float) -> bool:
        """Tell what so many epochs came to; returns whether the pruner stops the trial there."""
        running.trial.report(accuracy, int(epochs))
        return running.trial.should_prune()

    def end(
        self,
        running: RunningTrial,
        reason: Reason | None,
        detail: str,
        history: Sequence[EpochMetrics],
        seconds: float,
    ) -> None:
        """Tell the study what became of a training.

        Args:
            reason: None when it came to the end of its longest schedule; then its score is that of
                the last epoch, not of the best one: picking an epoch on the validation images would
                flatter it, and the weights that are kept are those of the last epoch.
            seconds: of all trainings in this trial.
        """
        trial = running.trial
        record_training(trial, history, seconds, running.rungs)
        if reason is None:
            score = history[-1].valid_accuracy
            if running.rungs:
                trial.report(score, int(running.schedules[-1]))  # for plots, beside the rungs' own
            self.study.tell(trial, score)
        else:
            record_reason(trial, reason, detail)
            # Samplers do not learn from FAIL, and would propose what diverges again and again.
            was_pruned = reason in (Reason.STOPPED_BY_PRUNER, Reason.DIVERGED)
            self.study.tell(trial, state=TrialState.PRUNED if was_pruned else TrialState.FAIL)
        self.refresh()

    # Of its own

    @property
    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def _num_begun(self) -> int:
        return self.num_trained + self.progress.num_running

    @property
    def _wants_new(self) -> bool:
        """Whether a candidate is to be proposed that had no training yet."""
        return self._num_begun < self.config.trials and not self.is_exhausted

    def _next_promotion(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The stopped trial that goes on next, if there is one."""
        is_retry_waiting = any(t.state == TrialState.WAITING and is_retry(t) for t in trials)
        if is_retry_waiting and self._wants_new:  # it comes first
            return None
        # More than are asked for had only short trainings: of those in work, some will not go on.
        num_finishing = self.progress.counts[TRAINED] + sum(
            PROMOTED_FROM in trials[number].user_attrs for number in self.progress.running
        )
        num_finishing -= sum(
            number in self.progress.scores and was_shortened(trials[number])
            for number in self.progress.trained
        )
        is_last = num_finishing < self.pruner.finished and not self._wants_new
        return self.pruner.next_promotion(trials, is_last)
