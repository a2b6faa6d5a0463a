"""Journal: finished candidates that the database could not take, kept in a file until it can."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from nas.studies import Rung, training_attrs
from nas.training import EpochMetrics

NEEDED = {"number", "fingerprint", "score", "attrs"}


class Journal:
    """The finished candidates of one study that wait for their database.

    Args:
        folder: where the file stands; made when it is needed.
    """

    def __init__(self, folder: Path, study_name: str) -> None:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", study_name)
        digest = hashlib.sha256(study_name.encode()).hexdigest()[:8]  # tells apart what looks alike
        self.path = folder / f"{name}-{digest}.unsaved.jsonl"

    def add(
        self,
        number: int,
        fingerprint: str,
        score: float,
        history: Sequence[EpochMetrics],
        train_seconds: float,
        rungs: Sequence[Rung],
    ) -> None:
        """Keep a candidate that was trained to its end; on the disk when this returns."""
        entry = {
            "number": number,
            "fingerprint": fingerprint,
            "score": score,
            "attrs": training_attrs(history, train_seconds, rungs),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = self.path.read_bytes() if self.path.exists() else b""
        is_cut = before and not before.endswith(b"\n")  # by a process that was killed
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if is_cut else "") + json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def replay(self, study: optuna.Study) -> list[int]:
        """Store what waits; returns the numbers of the trials that are complete by it.

        A trial that ended otherwise meanwhile, because another process took it over, stays as it
        is. The file is removed once nothing in it waits for this study any more.
        """
        entries = self._read()
        trials = study.get_trials(deepcopy=False)
        stored, is_needed = [], False
        for entry in entries:
            number = entry["number"]
            trial = trials[number] if number < len(trials) else None
            if trial is None or trial.user_attrs.get("fingerprint") != entry["fingerprint"]:
                is_needed = True  # of another database with the same name, which may come back
            elif trial.state == TrialState.RUNNING:
                with contextlib.suppress(UpdateFinishedTrialError):  # another was faster
                    for name, value in entry["attrs"].items():
                        study._storage.set_trial_user_attr(trial._trial_id, name, value)
                    study._storage.set_trial_state_values(
                        trial._trial_id, TrialState.COMPLETE, [entry["score"]]
                    )
                    stored.append(number)
        if not is_needed:
            self.path.unlink(missing_ok=True)
        return stored

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        entries = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.keys() >= NEEDED:
                    entries.append(entry)
            except json.JSONDecodeError:  # cut off in the middle of the last line
                continue
        return entries
