"""Spool: finished candidates that the database could not take, kept in files until it can."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from nas.metrics import EpochMetrics
from nas.storage.artifacts import WeightsStore
from nas.storage.atomic import part_folder
from nas.storage.internals import set_report, set_state, set_system_attr, set_user_attr
from nas.storage.trials import ENDED, RESULT, Rung, ended_attrs, result_attrs, training_attrs

NEEDED = {"number", "fingerprint", "score", "attrs", "system_attrs"}


class ResultSpool:
    """The finished candidates of one study that wait for their database.

    Each is a file with what came of its training, and one with its weights beside it.

    Args:
        folder: where the files stand, that of the study's weights; made when it is needed.
    """

    def __init__(self, folder: Path, study_name: str) -> None:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", study_name)
        digest = hashlib.sha256(study_name.encode()).hexdigest()[:8]  # tells apart what looks alike
        self.folder = folder
        self._stem = f"{name}-{digest}"

    def add(
        self,
        number: int,
        fingerprint: str,
        result: Rung,
        history: Sequence[EpochMetrics],
        train_seconds: float,
        rungs: Sequence[Rung],
        state_dict: dict[str, Tensor],
    ) -> None:
        """Keep a candidate that was trained to its end; on the disk when this returns.

        Raises:
            OSError: there is no room for it, or the folder cannot be written to.
        """
        entry = {
            "number": number,
            "fingerprint": fingerprint,
            "score": result.valid_accuracy,
            "attrs": training_attrs(history, train_seconds),
            "system_attrs": ended_attrs(history, rungs) | result_attrs(result),
        }
        with part_folder(self.folder) as part:
            path = part / f"{self._stem}-{fingerprint}-{number}.unsaved.json"
            _write(path, json.dumps(entry).encode())
            with contextlib.suppress(OSError, SafetensorError):  # they must not cost the score
                _write(_weights_of(path), save(state_dict))
                _weights_of(path).replace(_weights_of(self.folder / path.name))
            path.replace(self.folder / path.name)

    def replay(self, study: optuna.Study) -> list[int]:
        """Store what waits; returns the numbers of the trials that are complete by it.

        A trial that ended otherwise meanwhile, because another process took it over, stays as it
        is. A file is removed once nothing in it waits for this study any more.
        """
        trials = study.get_trials(deepcopy=False)
        stored = []
        for path in sorted(self.folder.glob(f"{glob.escape(self._stem)}-*.unsaved.json")):
            entry = _read(path)
            number = entry["number"] if entry else len(trials)
            trial = trials[number] if number < len(trials) else None
            if trial is None or trial.user_attrs.get("fingerprint") != entry["fingerprint"]:
                continue  # of another database with the same name, which may come back
            if trial.state == TrialState.RUNNING:
                with contextlib.suppress(UpdateFinishedTrialError):  # another process was faster
                    self._store_weights(study, trial, entry, _weights_of(path))
                    self._store(study, trial, entry)
                    stored.append(number)
            with contextlib.suppress(OSError):  # a folder that is read-only by now: next time
                path.unlink(missing_ok=True)
                _weights_of(path).unlink(missing_ok=True)
        return sorted(stored)

    def _store_weights(
        self, study: optuna.Study, trial: FrozenTrial, entry: dict[str, Any], path: Path
    ) -> None:
        """As a search does before it tells the score."""
        if RESULT in entry["system_attrs"]:
            result = Rung(*entry["system_attrs"][RESULT])
            with contextlib.suppress(OSError, SafetensorError):  # they must not cost the score
                WeightsStore(study, self.folder).keep(trial, load(path.read_bytes()), result)

    def _store(self, study: optuna.Study, trial: FrozenTrial, entry: dict[str, Any]) -> None:
        attrs, score = entry["attrs"], float(entry["score"])
        for name, value in entry["system_attrs"].items():
            set_system_attr(study, trial, name, value)
        for name, value in attrs.items():
            set_user_attr(study, trial, name, value)
        if entry["system_attrs"][ENDED]["rungs"]:  # for plots, beside the rungs' own
            set_report(study, trial, attrs["epochs"], score)
        set_state(study, trial, TrialState.COMPLETE, [score])


def _weights_of(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; empty when another process has removed it, or it is no entry."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return entry if isinstance(entry, dict) and entry.keys() >= NEEDED else {}
    except (FileNotFoundError, ValueError):
        return {}
