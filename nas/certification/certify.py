"""Certify: train the best candidates again with fresh seeds, and say which is best and how surely.

VALIDATION: every candidate on the search's own split -> decide who is best, by validation alone
FOLDS:      or each on all training images but one part of several -> the same, where they are few
HONEST:     the best one on all training images       -> open the test set once, at the very end
WATCHED:    every candidate on all training images, tested after each epoch, as papers often do

Each training is stored when it ends, so a certification that was broken off goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from torch import Tensor, nn

from nas.certification.progress import Progress
from nas.certification.records import (
    Protocol,
    Run,
    check_num_folds,
    order_by_choice,
    read_runs,
    record_decision,
    record_opening,
    record_run,
)
from nas.certification.statistics import Answers
from nas.data import Dataset, LabelledImages, whole, with_test
from nas.errors import SearchError, StudyError
from nas.metrics import percent
from nas.searching.events import Callback, Note
from nas.searching.running import versions
from nas.searching.samplers import derive_seed
from nas.searching.stop import StopRequest
from nas.storage.artifacts import WeightsStore, fill
from nas.storage.ranking import best_trials, no_network
from nas.storage.trials import TrialRecord
from nas.training import TrainResult, per_image_loss
from nas.training.device import device_name
from nas.training.messages import EpochDone, Failed, Job, StepsDone
from nas.training.pool import WorkerPool, train_all


def shortlist(study: optuna.Study, num_trials: int) -> list[TrialRecord]:
    """The trials of a study that are likeliest the best, the likeliest first.

    Raises:
        StudyError: no trial has a network yet.
    """
    records = best_trials(study, num_trials)
    if not records:
        raise StudyError(no_network(study))
    return records


@dataclass(frozen=True)
class _Task:
    """One training to do."""

    record: TrialRecord
    number: int
    seed: int

    def job(self, number: int) -> Job:
        candidate = self.record.candidate
        assert candidate is not None
        return Job(number, candidate.architecture, candidate.recipe, self.seed)


class Certification:
    """A certification of some trials of one study.

    Args:
        study: where every training is recorded.
        records: the trials; each has a candidate.
        num_seeds: trainings of each, under each protocol but FOLDS.
        study_seed: from which the fresh seeds are made.
        data: the images and the split of the search.
        load_test: reads the test images; called once, when they are opened.
        make_pool: workers on some images.
        weights: keeps what is trained until the test images are opened.
        callback: told in a `Note` of each training that ended, and of how far others have come.
        stop: asked between trainings and before each step.
        folds: the training images cut into parts in as many ways, each part once to validate on;
            where there are some, they decide in place of the split of the search.
    """

    def __init__(
        self,
        study: optuna.Study,
        records: Sequence[TrialRecord],
        num_seeds: int,
        study_seed: int,
        data: Dataset,
        load_test: Callable[[], LabelledImages],
        make_pool: Callable[[Dataset], WorkerPool],
        weights: WeightsStore,
        callback: Callback,
        stop: StopRequest,
        folds: Sequence[Dataset] = (),
    ) -> None:
        self.study = study
        self.folds = folds
        self.records = records
        self.num_seeds = num_seeds
        self.study_seed = study_seed
        self.data = data
        self.load_test = load_test
        self.make_pool = make_pool
        self.weights = weights
        self.callback = callback
        candidates = [record.candidate for record in records if record.candidate is not None]
        self.progress = Progress(callback, candidates)
        self.stop = stop

    def run_honest(self) -> TrialRecord | None:
        """Decide on validation images, then measure the best one on the test images.

        Returns:
            The best one, or None when it was stopped before the end.

        Raises:
            SearchError: a candidate could not be trained again.
        """
        self._say_full()
        if self.folds:
            check_num_folds(self.study, len(self.folds))
            for fold, data in enumerate(self.folds):
                num_later = len(self.records) * (len(self.folds) - 1 - fold)
                num_last = num_later + self.num_seeds
                self._train(Protocol.FOLDS, self.records, data, [fold], num_last)
        elif len(self.records) > 1:
            self._train(Protocol.VALIDATION, self.records, self.data, num_last=self.num_seeds)
        if self.stop():
            return None
        if len(self.records) > 1 and not self.folds:
            numbers = [record.number for record in self.records]
            record_decision(self.study, numbers, self.num_seeds)
        best = self.decide()
        self._train(Protocol.HONEST, [best], whole(self.data))
        if self.stop():
            return None
        self._open_test(best)
        return best

    def say(self, line: str) -> None:
        self.callback(Note(line))

    def _say_full(self) -> None:
        for record in self.records:
            if record.is_short:
                full = record.candidate.recipe.epochs if record.candidate else 0
                self.say(
                    f"trial {record.number} was trained for {record.schedule_text} in the search; "
                    f"here it is trained with its full schedule, {full} epochs"
                )

    def run_watched(self) -> bool:
        """Train every candidate with an eye on the test images; False when it was stopped."""
        self._say_full()
        todo = [r for r in self.records if self._todo(Protocol.WATCHED, [r])]
        if todo:
            data = with_test(self.data, self.load_test())
            record_opening(self.study, Protocol.WATCHED, [r.number for r in todo], data.sha256)
            self._train(Protocol.WATCHED, todo, data)
        return not self.stop()

    def decide(self) -> TrialRecord:
        """The likeliest best, by accuracy and loss on validation images, averaged over seeds or
        folds."""
        if len(self.records) == 1:
            return self.records[0]
        protocol = Protocol.FOLDS if self.folds else Protocol.VALIDATION
        runs = {r.number: self._runs(protocol, r) for r in self.records}
        num_images = len(self.data.images) if self.folds else len(self.data.valid_index)
        best = order_by_choice(runs, num_images)[0]
        return next(record for record in self.records if record.number == best)

    def _runs(self, protocol: Protocol, record: TrialRecord) -> list[Run]:
        """The stored trainings that count here: those of the first seeds, or of all folds."""
        runs = read_runs(self.study, protocol, record.number)
        return [run for run in runs if run.number < self._num_of(protocol)]

    def _num_of(self, protocol: Protocol) -> int:
        """Trainings of each candidate under a protocol."""
        return len(self.folds) if protocol == Protocol.FOLDS else self.num_seeds

    def _todo(
        self, protocol: Protocol, records: Sequence[TrialRecord], numbers: Sequence[int] = ()
    ) -> list[_Task]:
        """What is not stored yet, every candidate's first seed before any second one.

        Args:
            numbers: of the runs; empty: all.
        """
        done = {(record.number, run.number) for record in records
                for run in self._runs(protocol, record) if self._is_usable(run)}  # fmt: skip
        return [
            _Task(
                record, n,
                derive_seed(self.study_seed, record.number, f"certificate-{protocol}-{n}"),
            )
            for n in numbers or range(self._num_of(protocol))
            for record in records
            if (record.number, n) not in done
        ]  # fmt: skip

    def _is_usable(self, run: Run) -> bool:
        """Whether it is measured, or can still be."""
        return run.accuracy is not None or self.weights.has(run.artifact_id)

    def _train(
        self,
        protocol: Protocol,
        records: Sequence[TrialRecord],
        data: Dataset,
        numbers: Sequence[int] = (),
        num_last: int = 0,
    ) -> None:
        """Do what is to be done under a protocol; of all runs, or of those numbers.

        Args:
            num_last: trainings that are to come after these.
        """
        todo = self._todo(protocol, records, numbers)
        num_asked = len(numbers or range(self._num_of(protocol))) * len(records)
        self.progress.expect(num_asked - len(todo), num_last)
        if not todo or self.stop():
            return
        jobs = [task.job(i) for i, task in enumerate(todo)]
        runs = [self._run_text(protocol, task, "/") for task in todo]
        with self.make_pool(data) as pool:
            where = device_name(pool.device, pool.precision, pool.engine)
            self.progress.begin(
                jobs, runs, len(data.train_index), len(data.valid_index), pool.num_workers
            )

            def told(message: StepsDone | EpochDone) -> None:
                self.progress.heard(todo[message.number].record.number, message)

            for message in train_all(pool, jobs, self.stop, told):
                task = todo[message.number]
                if isinstance(message, Failed):
                    raise SearchError(
                        f"trial {task.record.number} could not be trained again: {message.detail}"
                    )
                if message.result.is_finished:
                    self._record(protocol, task, message.result, data, where)
                    self.progress.ended(task.record.number, message.number)

    def _record(
        self, protocol: Protocol, task: _Task, result: TrainResult, data: Dataset, where: str
    ) -> None:
        """Store a finished training; measured, unless the test set is still closed."""
        accuracy = loss = is_right = artifact_id = None
        if protocol == Protocol.HONEST:
            about = f"trial-{task.record.number}-{protocol}-{task.number}"
            artifact_id = self.weights.save(result.state_dict, about)
        else:
            accuracy, loss, is_right = _measure(_network(task.record, result.state_dict), data)
        record_run(
            self.study,
            Run(
                protocol, task.record.number, task.number, task.seed, accuracy, loss, is_right,
                result.history, round(result.train_seconds, 3), where, versions(), artifact_id,
            ),
        )  # fmt: skip
        score = "trained" if accuracy is None else percent(accuracy, len(data.valid_index))
        self.say(
            f"trial {task.record.number}, {self._run_text(protocol, task, ' of ')}: {score}, "
            f"{result.train_seconds:.0f} s"
        )

    def _run_text(self, protocol: Protocol, task: _Task, of: str) -> str:
        """For example `seed 3 of 5`."""
        what = "fold" if protocol == Protocol.FOLDS else "seed"
        return f"{what} {task.number + 1}{of}{self._num_of(protocol)}"

    def _open_test(self, record: TrialRecord) -> None:
        """Measure what was trained on the test images; no training is measured twice."""
        closed = [r for r in self._runs(Protocol.HONEST, record) if r.accuracy is None]
        if not closed:
            return
        models = [  # all, or no opening
            _network(record, self.weights.read(run.artifact_id or "")) for run in closed
        ]
        data = with_test(self.data, self.load_test())
        count = record_opening(self.study, Protocol.HONEST, [record.number], data.sha256)
        self.say(f"the test images are opened, {_times(count)} in this study")
        for run, model in zip(closed, models, strict=True):
            accuracy, loss, is_right = _measure(model, data)
            values = vars(run) | {"accuracy": accuracy, "loss": loss, "is_right": is_right}
            record_run(self.study, Run(**values))


def _network(record: TrialRecord, state_dict: dict[str, Tensor]) -> nn.Module:
    assert record.candidate is not None
    model = record.candidate.architecture.build()
    fill(model, state_dict, f"weights for trial {record.number}")
    return model


def _measure(model: nn.Module, data: Dataset) -> tuple[float, float, Answers]:
    """Accuracy, mean loss and the answers (N,) on the images that `data` validates on."""
    losses, is_right = per_image_loss(model, data)
    return is_right.double().mean().item(), losses.double().mean().item(), is_right.numpy()


def _times(count: int) -> str:
    names = {1: "for the first time", 2: "for the second time", 3: "for the third time"}
    return names.get(count, f"{count} times by now")
