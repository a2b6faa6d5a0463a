"""Results: a study and its trials as values for Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from nas.candidates.recipe import Recipe
from nas.errors import NasError, StudyError
from nas.metrics import EpochMetrics, percent
from nas.reports.output import check_output, write_output
from nas.searching.events import SearchEnded
from nas.spaces.text import encoded, is_of_a_function
from nas.storage.database import open_storage, storage_errors
from nas.storage.ranking import best_trials, find_trial
from nas.storage.studies import (
    DataFacts,
    num_valid_of,
    open_study,
    space_source,
    study_data,
    study_facts,
    study_names,
)
from nas.storage.trials import TrialRecord, read_trials

if TYPE_CHECKING:  # a table of a study needs not wait for torch
    import pandas
    from torch import Tensor, nn

    from nas.candidates.architecture import Architecture
    from nas.candidates.candidate import Candidate


@dataclass(frozen=True)
class StudyResult:
    """A study, and what it has found.

        study = nas.load_study("mnist-20k")
        study.best.accuracy, study.best.num_params
        study.leaderboard(top=5)

    Its trials are `TrialResult`s.
    """

    optuna_study: optuna.Study
    """The study itself, for everything that Optuna does with one."""
    storage: str | None = None
    """The URL of the database that it is in."""
    ended: SearchEnded | None = None
    """How the search ended that has returned this result."""

    @property
    def name(self) -> str:
        return self.optuna_study.study_name

    @property
    def best(self) -> TrialResult:
        """The best trial.

        Raises:
            StudyError: no candidate has ended a schedule yet.
        """
        return self.trial()

    @property
    def trials(self) -> list[TrialResult]:
        """Every trial, by number, those included that were turned away."""
        with storage_errors(self.storage):
            return [TrialResult(self, record) for record in read_trials(self.optuna_study)]

    def trial(self, number: int | None = None) -> TrialResult:
        """The trial of that number, or the best one.

        Raises:
            StudyError: there is none.
        """
        with storage_errors(self.storage):
            return TrialResult(self, find_trial(self.optuna_study, number))

    def save_space(self, out: str | Path | None = None, *, force: bool = False) -> Path:
        """Write the space file as it was searched: it may have changed since.

            space = nas.load_study("mnist-5k").save_space()
            nas.search(study="mnist-5k", budget=5_000, space=str(space))

        Args:
            out: the file, which ends in .py; None: SPACE.py here.
            force: replace a file that is there.

        Raises:
            NasError: the file is there or cannot be written; a function made the space; another
                program made the study.
        """
        with storage_errors(self.storage):
            source, facts = space_source(self.optuna_study), study_facts(self.optuna_study)
        if source is None or facts is None:
            raise StudyError(f"study {self.name!r} was not made by nas: it holds no space")
        if is_of_a_function(source):
            raise StudyError(
                f"study {self.name!r} searched the space of a function in Python: give that one"
            )
        path = Path(out or f"{facts.space}.py")
        check_output(path, (".py",), force)
        write_output(path, encoded(source))
        return path

    def leaderboard(self, top: int | None = 10) -> list[dict[str, Any]]:
        """The best trials as rows, best first: number, accuracy (0..1), num_params, num_macs,
        epochs (of the schedule that its weights have ended), recipe in words."""
        return [
            {
                "number": record.number,
                "accuracy": record.valid_accuracy,
                "num_params": record.num_params,
                "num_macs": record.num_macs,
                "epochs": record.last_rung.epochs,
                "recipe": record.candidate.recipe.summary() if record.candidate else "",
            }
            for record in best_trials(self.optuna_study, top)
        ]

    def dataframe(self) -> pandas.DataFrame:
        """Every trial as a row of a pandas DataFrame: number, outcome, accuracy (0..1), num_params,
        num_macs, epochs, train_seconds, recipe in words, and `params_NAME` for each value that the
        sampler proposed.

        Raises:
            NasError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise NasError(
                "dataframe() needs pandas: python -m pip install pandas; leaderboard() does not"
            ) from error
        rows = [
            {
                "number": record.number,
                "outcome": record.outcome,
                "accuracy": record.valid_accuracy,
                "num_params": record.num_params,
                "num_macs": record.num_macs,
                "epochs": record.epochs,
                "train_seconds": record.train_seconds,
                "recipe": record.candidate.recipe.summary() if record.candidate else "",
                **{f"params_{name}": value for name, value in record.params.items()},
            }
            for record in read_trials(self.optuna_study)
        ]
        return pandas.DataFrame(rows)

    def accuracy_text(self, accuracy: float | None) -> str:
        """In percent, with the decimals that the validation images can tell."""
        return percent(accuracy or 0.0, num_valid_of(self.optuna_study))

    def __repr__(self) -> str:
        best = next(iter(best_trials(self.optuna_study, 1)), None)
        found = (
            "no network yet" if best is None else f"best {self.accuracy_text(best.valid_accuracy)}"
        )
        return f"<StudyResult {self.name!r}: {found}>"


@dataclass(frozen=True)
class TrialResult:
    """One trial of a study."""

    study: StudyResult
    record: TrialRecord
    """Everything that is stored of the trial."""

    @property
    def number(self) -> int:
        return self.record.number

    @property
    def accuracy(self) -> float | None:
        """On the validation images, 0..1; None before the first epoch has ended."""
        return self.record.valid_accuracy

    @property
    def num_params(self) -> int | None:
        return self.record.num_params

    @property
    def num_macs(self) -> int | None:
        """Multiply-accumulates to classify an image."""
        return self.record.num_macs

    @property
    def params(self) -> dict[str, Any]:
        """The values that the sampler proposed, by name."""
        return self.record.params

    @property
    def history(self) -> tuple[EpochMetrics, ...]:
        """What each epoch of its last training came to."""
        return self.record.history

    @property
    def architecture(self) -> Architecture:
        """The network, as plain data; raises StudyError where the trial was turned away."""
        return self._candidate.architecture

    @property
    def recipe(self) -> Recipe:
        """How it was trained; raises StudyError where the trial was turned away."""
        return self._candidate.recipe

    def model(self) -> nn.Sequential:
        """The network with its trained weights, ready to classify what `normalise` returns.

            scores = trial.model()(trial.normalise(images))  # float (N, classes)

        Raises:
            StudyError: the weights were not kept: only those of the five best trials are.
        """
        from nas.storage.artifacts import WeightsStore, default_artifact_dir, fill

        store = WeightsStore(self.study.optuna_study, default_artifact_dir(self.study.storage))
        state_dict = store.load(self.number)
        model = self.architecture.build()
        fill(model, state_dict, f"the weights of trial {self.number}")
        return model.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) as the network was trained on them, float of the same shape."""
        import torch

        facts: DataFacts = study_data(self.study.optuna_study)
        mean = torch.tensor(facts.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(facts.std, device=images.device).view(1, -1, 1, 1)
        return (images.float() / 255 - mean) / std

    @property
    def _candidate(self) -> Candidate:
        candidate = self.record.candidate
        if candidate is None:
            raise StudyError(f"trial {self.number} was never trained: {self.record.detail}")
        return candidate

    def __repr__(self) -> str:
        score = "no score" if self.accuracy is None else self.study.accuracy_text(self.accuracy)
        return f"<TrialResult {self.number} of {self.study.name!r}: {score}>"


def load_study(name: str | None = None, *, storage: str | None = None) -> StudyResult:
    """A study of the storage; without a name the one that was searched last.

        nas.load_study("mnist-20k").best.accuracy

    Raises:
        StudyError: there is none, or it was not made by nas.
    """
    with storage_errors(storage):
        return StudyResult(open_study(open_storage(storage), name), storage)


def list_studies(*, storage: str | None = None) -> list[str]:
    """The names of all studies in a storage, in alphabetical order."""
    with storage_errors(storage):
        return sorted(study_names(open_storage(storage)))
