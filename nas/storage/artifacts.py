"""Weights of the best trials, kept beside the study in Optuna's file artifact store.

Only safetensors: reading a weights file runs no code. The study knows the SHA-256 of each file: one
that was swapped is refused, except in studies from before it was noted.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import optuna
from optuna.artifacts import (
    ArtifactMeta,
    FileSystemArtifactStore,
    get_all_artifact_meta,
    upload_artifact,
)
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from nas.errors import StudyError, one_line
from nas.storage.atomic import part_folder, remove_dead_parts
from nas.storage.database import sqlite_path
from nas.storage.internals import has_artifacts, storage_of
from nas.storage.ranking import ranked
from nas.storage.trials import Rung, epochs_number, result_of

NUM_KEPT = 5
FOLDER_END = "-artifacts"  # of the folder's name, behind that of the database
FILENAME = "weights.safetensors"  # in older studies
_OURS = re.compile(rf"{re.escape(FILENAME)}|trial-\d+-[\w.+-]+\.safetensors")

_TYPE, _HASH = "application/octet-stream", "sha256="  # a file's type, with its hash as a parameter


def default_artifact_dir(storage_url: str | None) -> Path:
    """`studies-artifacts` beside `studies.db`; `nas-artifacts` here for other storages.

    A link to a database has the folder of the database.
    """
    path = sqlite_path(storage_url)
    if path is None:
        return Path("nas-artifacts")
    path = path.resolve() if path.is_symlink() else path
    return path.with_name(f"{path.stem}{FOLDER_END}")


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
        self, trial: optuna.Trial | FrozenTrial, state_dict: dict[str, Tensor], result: Rung
    ) -> None:
        """Keep the weights that a trial has ended a schedule with, if they are good enough.

        What they push out of the best `NUM_KEPT` is deleted, and so are earlier ones of the trial.
        Another process stores weights before the result that says how good they are: of trials in
        work, and of those that ended after `kept` was read, nothing is deleted.
        """
        kept = {other.number: other for other in self._kept()}  # before the results are read
        places = {
            other.number: place
            for place, (other, _) in enumerate(ranked(self.study, (trial.number, result)))
        }
        in_order = sorted({trial.number, *kept}, key=lambda number: places.get(number, len(places)))
        if trial.number not in places or trial.number not in in_order[:NUM_KEPT]:
            return
        earlier = self._metas(kept[trial.number]) if trial.number in kept else iter(())
        outdated = list(earlier)
        epochs = epochs_number(result.epochs)
        self._upload(state_dict, trial, f"trial-{trial.number}-{epochs}-epochs.safetensors")
        for number in in_order[NUM_KEPT:]:
            if kept[number].state.is_finished():
                outdated += self._metas(kept[number])
        for meta in outdated:
            self._remove(meta)

    def tidy_up(self) -> None:
        """Remove what processes that were killed have left: half written files, and weights of
        trials that are closed and have ended no schedule."""
        remove_dead_parts(self.artifact_dir)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            if result_of(trial) is None:
                for meta in self._metas(trial):
                    self._remove(meta)

    def holds(self, trial: FrozenTrial) -> bool:
        """Whether the weights of a trial are there."""
        return self._meta(trial) is not None

    def load(self, number: int) -> dict[str, Tensor]:
        """The weights of a trial.

        Raises:
            StudyError: they were not kept, or the file is damaged or another's.
        """
        meta = self._meta(self.study.get_trials(deepcopy=False)[number])
        try:
            if meta:
                return self._read(meta)
        except ArtifactNotFound:
            pass
        except SafetensorError as error:
            raise StudyError(
                f"the weights of trial {number} in {self.artifact_dir} are damaged: {error}"
            ) from error
        kept = ", ".join(str(t.number) for t in self._kept())
        if not kept and any(map(has_artifacts, self.study.get_trials(deepcopy=False))):
            raise StudyError(
                f"the weights of study {self.study.study_name!r} are not in {self.artifact_dir}: "
                "was the database moved or copied without that folder? Put the folder there"
            )
        raise StudyError(
            f"the weights of trial {number} are not in {self.artifact_dir}: only those of the "
            f"best {NUM_KEPT} trials are kept{f' ({kept})' if kept else ''}"
        )

    def save(self, state_dict: dict[str, Tensor], about: str) -> str:
        """Keep weights that belong to the study and to none of its trials; returns their id.

        Args:
            about: what they are, for the file's name: `trial-22-honest-0`.
        """
        return self._upload(state_dict, self.study, f"{about}.safetensors")

    def has(self, artifact_id: str | None) -> bool:
        """Whether weights of that name, which `save` returned, are there."""
        return artifact_id in {meta.artifact_id for meta in self._metas(self.study)}

    def read(self, artifact_id: str) -> dict[str, Tensor]:
        """The weights of that name.

        Raises:
            StudyError: they are gone or damaged.
        """
        try:
            for meta in self._metas(self.study):
                if meta.artifact_id == artifact_id:
                    return self._read(meta)
            raise ArtifactNotFound("not found")
        except (ArtifactNotFound, SafetensorError) as error:
            raise StudyError(
                f"weights {artifact_id} in {self.artifact_dir} are gone or damaged: {error}; "
                "delete that file, and they are made again"
            ) from error

    def _upload(
        self,
        state_dict: dict[str, Tensor],
        study_or_trial: optuna.Study | optuna.Trial | FrozenTrial,
        filename: str,
    ) -> str:
        with part_folder(self.artifact_dir) as folder:
            path = folder / filename
            save_file(state_dict, path)
            return upload_artifact(
                artifact_store=self._store, file_path=str(path), study_or_trial=study_or_trial,
                storage=storage_of(self.study),
                mimetype=f"{_TYPE}; {_HASH}{hashlib.sha256(path.read_bytes()).hexdigest()}",
            )  # fmt: skip

    def _read(self, meta: ArtifactMeta) -> dict[str, Tensor]:
        """What is in a file; raises SafetensorError when it is damaged or another's."""
        try:
            content = self._file(meta).read_bytes()
            noted = meta.mimetype.partition(_HASH)[2]
            if noted and hashlib.sha256(content).hexdigest() != noted:
                raise SafetensorError(f"{meta.artifact_id} is not the file that was kept there")
            return load(content)
        except FileNotFoundError as error:  # removed just now
            raise ArtifactNotFound(str(error)) from error
        except (OSError, LookupError, ValueError, TypeError) as error:  # an odd type of numbers
            raise SafetensorError(one_line(error)) from error

    def _remove(self, meta: ArtifactMeta) -> None:
        # Another process was faster, or the folder is read-only by now.
        with contextlib.suppress(ArtifactNotFound, OSError):
            self._store.remove(meta.artifact_id)

    def _kept(self) -> list[FrozenTrial]:
        """Trials whose weights are still there."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if self.holds(trial)]

    def _meta(self, trial: FrozenTrial) -> ArtifactMeta | None:
        """The trial's weights, if their file is still there."""
        return next(self._metas(trial), None)

    def _metas(self, study_or_trial: optuna.Study | FrozenTrial) -> Iterator[ArtifactMeta]:
        if isinstance(study_or_trial, FrozenTrial) and not has_artifacts(study_or_trial):
            return  # Optuna would ask the database for each trial
        storage = storage_of(self.study)
        try:
            ours = list(filter(_is_ours, get_all_artifact_meta(study_or_trial, storage=storage)))
        except (KeyError, TypeError, ValueError):
            return  # the database is damaged there: as if the weights were gone
        yield from (meta for meta in ours if self._file(meta).is_file())

    def _file(self, meta: ArtifactMeta) -> Path:
        """Where a weights file stands: a renamed database finds it in the folder that has its old
        name, as the file's own name is not given twice."""
        here = self.artifact_dir / meta.artifact_id
        paths = (here, *(folder / meta.artifact_id for folder in self._folders_beside))
        return next((path for path in paths if path.is_file()), here)

    @cached_property
    def _folders_beside(self) -> list[Path]:
        """Looked for once: most weights that a study knows of were deleted, and are nowhere."""
        return sorted(self.artifact_dir.absolute().parent.glob(f"*{FOLDER_END}"))


def _is_ours(meta: ArtifactMeta) -> bool:
    """Whether a file holds weights; its name in a stranger's database may lead elsewhere."""
    return (
        _OURS.fullmatch(meta.filename) is not None
        and meta.artifact_id == Path(meta.artifact_id).name
        and isinstance(meta.mimetype, str)
    )


def fill(model: nn.Module, state_dict: dict[str, Tensor], whose: str) -> None:
    """Load weights into the network that they should be of.

    Raises:
        StudyError: they are of another, or not all of them are finite.
    """
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | state_dict.keys()):
        shapes = [tuple(d[name].shape) if name in d else None for d in (state_dict, wanted)]
        if shapes[0] != shapes[1]:
            has, needs = ("nothing" if shape is None else f"shape {shape}" for shape in shapes)
            raise StudyError(f"{whose} are those of another network: {has} for {name}, not {needs}")
    model.load_state_dict(state_dict)
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise StudyError(f"{whose} are damaged: not all numbers of {name} are finite")
