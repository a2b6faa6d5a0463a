"""The story of a search: ask, gate, train, tell. Read this file first.

ask the sampler for a trial -> the space makes a candidate of it -> count -> gate
    -> train, reporting each epoch -> tell the study -> keep the weights of the best
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from typing import Literal

import optuna
import torch
from optuna.trial import TrialState
from safetensors import SafetensorError

from nas import __version__
from nas.budget import Budget
from nas.candidate import Candidate, Task
from nas.datasets import Dataset
from nas.errors import (
    DivergedError,
    InvalidCandidateError,
    OverBudgetError,
    SearchError,
    describe,
)
from nas.events import (
    EpochEnded,
    Note,
    Observer,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from nas.search_space import SearchSpace
from nas.stopping import StopRequest
from nas.studies import (
    TRAINED,
    Reason,
    TrialRecord,
    best_trials,
    count_outcomes,
    count_trained,
    read_trials,
    record_candidate,
    record_reason,
    record_rejection,
    record_training,
)
from nas.training import EpochMetrics, TrainResult, train
from nas.training.device import device_name
from nas.weights import WeightsStore

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["median", "halving", "none"]

MAX_ERRORS_IN_A_ROW = 3


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and how to search."""

    trials: int = 50
    """Trained candidates the study is to hold at the end; those it already has count."""
    max_rejected: int = 500
    """Proposals in a row turned away at the gate before the search gives up."""
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    seed: int = 0


class Search:
    """One search in one study.

    Args:
        study: where every proposal is recorded.
        space: makes a candidate of a trial.
        task: the images' shape and the limits.
        data: train and validation images, on the device to train on.
        settings: how long and how to search.
        weights: keeps the weights of the best trials.
        observer: told of everything that happens.
        stop: asked before each proposal and each step.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        task: Task,
        data: Dataset,
        settings: SearchSettings,
        weights: WeightsStore,
        observer: Observer,
        stop: StopRequest,
    ) -> None:
        self.study = study
        self.space = space
        self.task = task
        self.data = data
        self.settings = settings
        self.weights = weights
        self.observer = observer
        self.stop = stop
        self.budget = Budget(task.max_params)
        self.counts = count_outcomes(read_trials(study))
        self.first_params = space.first_params(task)
        study.pruner = make_pruner(settings.pruner, task.epochs)

    def run(self) -> SearchEnded:
        """Search until there are enough trained candidates, or a limit is reached.

        Raises:
            SpaceError: the space file raised an error, or returned no candidate.
            SearchError: several candidates in a row could not be trained.
        """
        self._tell_start()
        num_rejected = num_errors = 0
        while (why := self._why_end(num_rejected)) is None:
            reason = self._run_trial(self._ask())
            self.counts[str(reason or TRAINED)] += 1
            num_rejected = num_rejected + 1 if is_rejection(reason) else 0
            num_errors = num_errors + 1 if reason == Reason.ERROR else 0
            if num_errors == MAX_ERRORS_IN_A_ROW:
                last = read_trials(self.study)[-1]
                raise SearchError(f"{num_errors} candidates in a row failed: {last.detail}")
        best = self.best()
        ended = SearchEnded(
            self.study.study_name,
            why,
            dict(self.counts),
            best.number if best else None,
            best.valid_accuracy if best else None,
            best.num_params if best else None,
        )
        self.observer(ended)
        return ended

    def _tell_start(self) -> None:
        best = self.best()
        self.observer(
            SearchStarted(
                study=self.study.study_name,
                space=self.space.name,
                dataset=self.data.name,
                num_train=len(self.data.train_index),
                num_valid=len(self.data.valid_index),
                device=device_name(self.data.images.device),
                max_params=self.task.max_params,
                trials=self.settings.trials,
                epochs=self.task.epochs,
                counts=dict(self.counts),
                best_trial=best.number if best else None,
                best_accuracy=best.valid_accuracy if best else None,
                seconds_left=self.stop.seconds_left,
            )
        )

    def _ask(self) -> optuna.Trial:
        # Seeded anew for each trial, so that a search that was interrupted and resumed proposes
        # what it would have proposed without the interruption.
        number = len(self.study.get_trials(deepcopy=False))
        seed = derive_seed(self.settings.seed, number, "sampler")
        self.study.sampler = make_sampler(self.settings.sampler, seed)
        if number == 0 and self.first_params:
            self.study.enqueue_trial(self.first_params)
        return self.study.ask()

    def _run_trial(self, trial: optuna.Trial) -> Reason | None:
        """Gate one proposal and train it; None when it was trained to its end."""
        try:
            candidate = self.space.propose(trial, self.task)
            num_params = self.budget.check(candidate.architecture)
        except OverBudgetError as error:
            trial.set_constraint("num_params", self.budget.excess(error.num_params))
            return self._reject(trial, Reason.OVER_BUDGET, str(error), error.num_params)
        except InvalidCandidateError as error:
            return self._reject(trial, Reason.INVALID, str(error))
        except BaseException as error:  # the search cannot go on, but the trial is closed
            record_reason(trial, Reason.ERROR, describe(error))
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        trial.set_constraint("num_params", self.budget.excess(num_params))
        return self._train(trial, candidate)

    def _reject(
        self, trial: optuna.Trial, reason: Reason, detail: str, num_params: int | None = None
    ) -> Reason:
        """Turn a proposal away before training. PRUNED, not FAIL: samplers learn from PRUNED."""
        record_rejection(trial, reason, detail, num_params)
        self.study.tell(trial, state=TrialState.PRUNED)
        self.observer(TrialEnded(trial.number, reason, detail, num_params, None, None, False))
        return reason

    def _train(self, trial: optuna.Trial, candidate: Candidate) -> Reason | None:
        seed = derive_seed(self.settings.seed, trial.number, "training")
        record_candidate(trial, candidate, seed, device_name(self.data.images.device), versions())
        architecture, recipe = candidate.architecture, candidate.recipe
        self.observer(
            TrialStarted(
                trial.number,
                architecture.num_params,
                architecture.num_macs,
                recipe.epochs,
                recipe.summary(),
            )
        )

        def on_epoch_end(metrics: EpochMetrics) -> bool:
            trial.report(metrics.valid_accuracy, metrics.epoch)
            self.observer(EpochEnded(trial.number, metrics))
            return trial.should_prune()

        try:
            result = train(
                architecture,
                recipe,
                self.data,
                seed=seed,
                on_epoch_end=on_epoch_end,
                should_stop=self.stop,
            )
        except DivergedError as error:
            return self._end(trial, candidate, Reason.DIVERGED, str(error))
        except KeyboardInterrupt:  # the second Ctrl-C
            self._end(trial, candidate, Reason.INTERRUPTED, "interrupted twice")
            raise
        except Exception as error:  # one bad candidate must not end the search
            return self._end(trial, candidate, Reason.ERROR, describe(error))
        record_training(trial, result)
        if not result.is_finished:
            detail = f"after {len(result.history)} of {recipe.epochs} epochs"
            reason = self.stop.reason or Reason.STOPPED_BY_PRUNER
            return self._end(trial, candidate, reason, detail, result)
        return self._end(trial, candidate, None, "", result)

    def _end(
        self,
        trial: optuna.Trial,
        candidate: Candidate,
        reason: Reason | None,
        detail: str,
        result: TrainResult | None = None,
    ) -> Reason | None:
        """Tell the study what became of a training, and keep the weights of a good one."""
        # The last epoch's score, not the best epoch's: picking an epoch on the validation images
        # would flatter it, and the weights that are kept are those of the last epoch.
        score = result.history[-1].valid_accuracy if result and result.history else None
        is_best = False
        if reason is None:
            assert result is not None
            assert score is not None
            best = self.best()
            is_best = best is None or score > (best.valid_accuracy or 0)
            try:
                self.weights.keep(trial, result.state_dict, score)
            except (OSError, SafetensorError) as error:  # a full disk must not cost the score
                self.observer(Note(f"weights of trial {trial.number} not kept: {error}"))
            self.study.tell(trial, score)
        else:
            record_reason(trial, reason, detail)
            was_pruned = reason == Reason.STOPPED_BY_PRUNER
            self.study.tell(trial, state=TrialState.PRUNED if was_pruned else TrialState.FAIL)
        num_params = candidate.architecture.num_params
        seconds = result.train_seconds if result else None
        self.observer(TrialEnded(trial.number, reason, detail, num_params, score, seconds, is_best))
        return reason

    def best(self) -> TrialRecord | None:
        """The best completed trial so far, of every process that searches in this study."""
        return next(iter(best_trials(read_trials(self.study))), None)

    def _why_end(self, num_rejected: int) -> str | None:
        """Why the search ends here, in a sentence, or None to go on."""
        if self.stop.reason == Reason.INTERRUPTED:
            return "interrupted"
        if self.stop.reason == Reason.TIME_LIMIT:
            return f"the time limit of {self.stop.timeout_seconds:g} s is reached"
        num_trained = count_trained(self.counts)
        if num_trained >= self.settings.trials:
            return f"the study holds {num_trained} trained candidates, as asked with --trials"
        if num_rejected >= self.settings.max_rejected:
            over = self.counts[str(Reason.OVER_BUDGET)]
            return (
                f"{num_rejected} proposals in a row were turned away before training ({over} of "
                f"all so far had {self.task.max_params:,} parameters or more): raise --budget, "
                "or change the space so that more of it fits"
            )
        return None


def is_rejection(reason: Reason | None) -> bool:
    """Whether a proposal was turned away before any training."""
    return reason in (Reason.OVER_BUDGET, Reason.INVALID)


def derive_seed(study_seed: int, trial_number: int, purpose: str) -> int:
    """A seed of 32 bits that depends on nothing but its arguments."""
    text = f"{study_seed}/{trial_number}/{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def make_sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def make_pruner(name: PrunerName, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner; none of them decides in the first third of the epochs, where scores are noise."""
    warmup = max(epochs // 3, 1)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warmup)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=3)
    return optuna.pruners.NopPruner()


def versions() -> dict[str, str]:
    """What made a number, for its record."""
    return {
        "nas": __version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "python": platform.python_version(),
    }
