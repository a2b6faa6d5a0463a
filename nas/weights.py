"""Weights of the best trials, kept beside the study in Optuna's file artifact store.

Only safetensors: reading a weights file runs no code.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from nas.errors import StudyError
from nas.parts import part_folder, remove_dead_parts
from nas.storage import sqlite_path
from nas.trials import Rank, rank_key

NUM_KEPT = 5
FILENAME = "weights.safetensors"


def default_artifact_dir(storage_url: str | None) -> Path:
    """`studies-artifacts` beside `studies.db`; `nas-artifacts` here for other storages."""
    path = sqlite_path(storage_url)
    return path.with_name(f"{path.stem}-artifacts") if path else Path("nas-artifacts")


class WeightsStore:
    """The weights of a study's `NUM_KEPT` best trials.

    Args:
        study: whose trials they are.
        artifact_dir: folder of the store; made when the first weights are kept.
    """

    def __init__(self, study: optuna.Study, artifact_dir: Path) -> None:
        self.study = study
        self.artifact_dir = artifact_dir
        self._store = FileSystemArtifactStore(str(artifact_dir))

    def keep(
        self, trial: optuna.Trial | FrozenTrial, state_dict: dict[str, Tensor], rank: Rank
    ) -> None:
        """Keep the weights of a trial that is about to complete, if its rank is good enough.

        What it pushes out of the best `NUM_KEPT` is deleted.
        """
        ranked = sorted(self._kept(), key=_rank)
        if len(ranked) >= NUM_KEPT and rank > _rank(ranked[NUM_KEPT - 1]):
            return
        self._upload(state_dict, trial)
        for loser in ranked[NUM_KEPT - 1 :]:
            self._remove(loser)

    def tidy_up(self) -> None:
        """Remove what processes that were killed have left: half written files, and weights of
        trials that were never told."""
        remove_dead_parts(self.artifact_dir)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            self._remove(trial)

    def holds(self, trial: FrozenTrial) -> bool:
        """Whether the weights of a trial are there."""
        return self._artifact_id(trial) is not None

    def load(self, number: int) -> dict[str, Tensor]:
        """The weights of a trial.

        Raises:
            StudyError: they were not kept, or the file is damaged.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        artifact_id = self._artifact_id(trial)
        try:
            if artifact_id:
                with self._store.open_reader(artifact_id) as file:
                    return load(file.read())
        except ArtifactNotFound:
            pass
        except SafetensorError as error:
            raise StudyError(
                f"the weights of trial {number} in {self.artifact_dir} are damaged: {error}"
            ) from error
        kept = ", ".join(str(t.number) for t in self._kept())
        raise StudyError(
            f"the weights of trial {number} are not in {self.artifact_dir}: only those of the "
            f"best {NUM_KEPT} trials are kept{f' ({kept})' if kept else ''}"
        )

    def save(self, state_dict: dict[str, Tensor]) -> str:
        """Keep weights that belong to the study and to none of its trials; returns their name."""
        return self._upload(state_dict, self.study)

    def has(self, artifact_id: str | None) -> bool:
        """Whether weights of that name, which `save` returned, are there."""
        return artifact_id is not None and (self.artifact_dir / artifact_id).is_file()

    def read(self, artifact_id: str) -> dict[str, Tensor]:
        """The weights of that name.

        Raises:
            StudyError: they are gone or damaged.
        """
        try:
            with self._store.open_reader(artifact_id) as file:
                return load(file.read())
        except (ArtifactNotFound, SafetensorError) as error:
            raise StudyError(
                f"weights {artifact_id} in {self.artifact_dir} are gone or damaged: {error}; "
                "delete that file, and they are made again"
            ) from error

    def _upload(
        self,
        state_dict: dict[str, Tensor],
        study_or_trial: optuna.Study | optuna.Trial | FrozenTrial,
    ) -> str:
        with part_folder(self.artifact_dir) as folder:
            path = folder / FILENAME
            save_file(state_dict, path)
            return upload_artifact(
                artifact_store=self._store,
                file_path=str(path),
                study_or_trial=study_or_trial,
                storage=self.study._storage,
            )

    def _remove(self, trial: FrozenTrial) -> None:
        artifact_id = self._artifact_id(trial)
        if artifact_id:
            with contextlib.suppress(ArtifactNotFound):  # another process was faster
                self._store.remove(artifact_id)

    def _kept(self) -> list[FrozenTrial]:
        """Completed trials whose weights are still there."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [t for t in done if self.holds(t)]

    def _artifact_id(self, trial: FrozenTrial) -> str | None:
        """The trial's artifact, if its file is still there."""
        for meta in get_all_artifact_meta(trial, storage=self.study._storage):
            if meta.filename == FILENAME and (self.artifact_dir / meta.artifact_id).is_file():
                return meta.artifact_id
        return None


def _rank(trial: FrozenTrial) -> Rank:
    return rank_key(trial.value or 0.0, trial.user_attrs.get("num_params", 0), trial.number)
