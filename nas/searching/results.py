"""Results: what schedules came to, with weights; in files where the database takes them no more."""

from __future__ import annotations

from pathlib import Path

import optuna
from safetensors import SafetensorError

from nas.searching.running import RunningTrial
from nas.storage.artifacts import WeightsStore
from nas.storage.ranking import is_better, ranked
from nas.storage.spool import ResultSpool
from nas.storage.trials import record_result
from nas.training import TrainResult


class Results:
    """What the ended schedules of a study's trials came to.

    Args:
        study: where the scores are recorded.
        artifact_dir: for the weights of the best, and for results that the database cannot take.
    """

    def __init__(self, study: optuna.Study, artifact_dir: Path) -> None:
        self.study = study
        self.weights = WeightsStore(study, artifact_dir)
        self._spool = ResultSpool(artifact_dir, study.study_name)

    def tidy_up(self) -> list[int]:
        """Store the results that waited for the database, and remove what is left of the killed.

        Returns:
            The numbers of the trials that are complete by it.
        """
        stored = self._spool.replay(self.study)
        self.weights.tidy_up()
        return stored

    def keep(self, running: RunningTrial, result: TrainResult) -> str | None:
        """Keep what an ended schedule came to, with its weights, if that is the trial's best.

        Returns:
            Why the weights could not be kept, if that is so: a full disk must not cost the score.
        """
        rung = running.rung(result)
        if not is_better(self.study, rung, running.result):
            return None
        fault = None
        try:
            self.weights.keep(running.trial, result.state_dict, rung)
        except (OSError, SafetensorError) as error:
            fault = str(error)
        record_result(running.trial, rung)
        running.result = rung
        return fault

    def is_best(self, running: RunningTrial) -> bool:
        """Whether what a trial has ended is the best of the study."""
        best, _ = ranked(self.study)[0]
        return best.number == running.trial.number

    def put_aside(self, running: RunningTrial, result: TrainResult) -> None:
        """Keep a finished training in a file, as the database takes it no more.

        Raises:
            OSError: there is no room for it, or the folder cannot be written to.
        """
        seconds = running.seconds + result.train_seconds
        self._spool.add(
            running.trial.number, running.candidate.fingerprint, running.rung(result),
            result.history, seconds, running.rungs, result.state_dict,
        )  # fmt: skip

    @property
    def put_aside_in(self) -> Path:
        """The folder of `put_aside`."""
        return self._spool.folder
