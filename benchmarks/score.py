"""The checker of `faults.py`: compares what is left of searches with what they had told."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

import optuna
from arena import Arena, toy_weights
from optuna.trial import TrialState

from nas.errors import StudyError
from nas.storage.artifacts import WeightsStore
from nas.storage.counts import count_trained, count_trials
from nas.storage.ranking import best_trial
from nas.storage.reasons import TRAINED


@dataclass
class Score:
    """What went wrong in the runs of one fault."""

    runs: int = 0
    injections: int = 0
    num_beyond: int = 0  # candidates beyond --trials, as processes begin unknown to each other
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def check(self, arena: Arena, num_processes: int = 1) -> None:
        """Compare the database with what was told by so many processes at a time."""
        self.runs += 1
        study = arena.study()
        trials = study.get_trials(deepcopy=False)
        progress = count_trials(study)
        for number, accuracy in arena.told():
            if trials[number].state != TrialState.COMPLETE or trials[number].value != accuracy:
                self.note("lost", arena, f"trial {number}")
        num_trained = count_trained(progress.counts)
        self.num_beyond += max(num_trained - arena.num_trials, 0)
        most = arena.num_trials + num_processes - 1
        if not arena.num_trials <= num_trained <= most or not progress.counts[TRAINED]:
            self.note("double", arena, f"{dict(progress.counts)}, not {arena.num_trials} to {most}")
        prints = Counter(trials[number].user_attrs["fingerprint"] for number in progress.scores)
        for fingerprint, count in prints.items():
            if count > 1:
                self.note("double", arena, f"{fingerprint} {count} times")
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self.note("zombies", arena, f"trial {trial.number} {trial.user_attrs}")
        best = max(progress.scores.values(), default=0.0)
        if any(accuracy > best for _, accuracy in arena.told()):
            self.note("worse", arena, f"best {best}")
        self._check_weights(study, arena)
        path = arena.folder / "studies.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as database:
                if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                    self.note("damaged", arena, "integrity check")
        leftovers = [p for p in arena.folder.rglob(".part-*")]
        if leftovers:
            self.note("left over", arena, str(leftovers))

    def _check_weights(self, study: optuna.Study, arena: Arena) -> None:
        """Those of the best trial must be there, and its own."""
        best = best_trial(study)
        if best is None or best.seed is None:
            return
        try:
            weights = WeightsStore(study, arena.folder / "studies-artifacts").load(best.number)
        except StudyError as error:
            self.note("no weights", arena, str(error))
            return
        if not arena.is_real and not weights["w"].equal(toy_weights(best.seed)["w"]):
            self.note("other weights", arena, f"trial {best.number}")

    def note(self, what: str, arena: Arena, detail: str) -> None:
        self.counts[what] += 1
        self.notes.append(f"{what}: seed {arena.seed}: {detail}")
