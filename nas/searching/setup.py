"""Launch: all of a search that can be got ready and checked before the first write."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from nas.candidates.budget import Limits
from nas.data import NAMES, default_data_dir, load_training_images, parse_share, split
from nas.errors import NasError, OverBudgetError, masked
from nas.searching.config import SearchSettings
from nas.searching.events import Note, Observer, SearchEnded
from nas.searching.ledger import Ledger
from nas.searching.pruners import Pruner, make_pruner
from nas.searching.samplers import LEARNS_FROM_FULL_TRAININGS
from nas.searching.search import Search
from nas.searching.stop import StopRequest
from nas.spaces import draws
from nas.spaces.loader import DEFAULT, load_space, passed_over
from nas.spaces.task import Task
from nas.storage.artifacts import default_artifact_dir
from nas.storage.database import STORAGE_VARIABLE
from nas.storage.studies import DataFacts, StudyFacts, check_study_name, open_or_create_study
from nas.training import choose_device, choose_precision
from nas.training.pool import WorkerPool, default_workers

OPTIONS = {
    "parameters": "--budget",
    "multiply-accumulates": "--max-macs",
    "bytes of weights": "--max-weight-bytes",
    "bytes of activations": "--max-activation-bytes",
}


class Launch:
    """A space, images and a device, as the command line names them.

    Raises:
        NasError: one of them cannot be had; the line says which option to mend.
    """

    def __init__(self, options: Namespace) -> None:
        self.options = options
        valid_share = parse_share(options.valid_share)
        self.device = choose_device(options.device)
        self.precision = choose_precision(options.precision, self.device)
        self.space = load_space(options.space)
        self.images = load_training_images(
            options.dataset, options.data_dir or default_data_dir(), options.image_size
        )
        self.data = split(self.images, valid_share, options.split_seed)
        self.notes = list(self.images.notes)
        other = passed_over(self.space) if options.space is None else None
        if other is not None:
            self.notes.append(
                f"no --space given: searching in the {DEFAULT} that came with nas, not in {other}; "
                f"--space {DEFAULT} takes that"
            )
        in_bytes = (options.max_weight_bytes, options.max_activation_bytes)
        # Without a limit in bytes they mean nothing, and must not tell two searches apart.
        bits = Limits.bits if in_bytes == (None, None) else options.bits
        self.limits = Limits(options.max_macs, *in_bytes, bits)
        if bits != options.bits and options.verb != "check":
            self.notes.append(
                f"--bits {options.bits} limits nothing without --max-weight-bytes or "
                "--max-activation-bytes"
            )
        num_workers = options.workers or default_workers(self.device)
        self.num_workers = min(num_workers, options.trials)

    def task(self, budget: int) -> Task:
        """What is searched for under a budget and the other limits.

        Raises:
            NasError: nothing in the space fits, or the space does not know where to begin.
        """
        options, data = self.options, self.data
        num_classes = len(data.classes)
        task = Task(data.input_shape, num_classes, budget, options.epochs, data.flips, self.limits)
        smallest = draws.smallest(self.space, task).architecture
        try:
            task.budget.check(smallest)
        except OverBudgetError as error:
            option = OPTIONS[error.unit]
            is_budget = option == "--budget"
            given = budget if is_budget else getattr(options, option[2:].replace("-", "_"))
            raise NasError(
                f"{option} {given:,} is too small: the smallest network of space "
                f"{self.space.name} for {data.name} has {error.cost:,} {error.unit}, so give "
                f"{error.cost + is_budget:,} or more"
            ) from error
        draws.check_start(self.space, task)
        return task

    def study_name(self, budget: int) -> str:
        """The name of a study that was given none."""
        return check_study_name(f"{self.space.name}-{self.data.name}-{budget}")

    def pruner(self, task: Task) -> Pruner:
        return make_pruner(self.options.pruner, task.epochs, len(self.data.train_index))

    def make_pool(self) -> WorkerPool:
        return WorkerPool(self.data, self.device, self.precision, self.num_workers)

    def open_study(self, storage: BaseStorage, name: str, task: Task) -> optuna.Study:
        """The study to search in, made when there is none.

        Raises:
            StudyError: a study of this name searched something else.
        """
        facts, data_facts = self._study_facts(task), self._data_facts()
        return open_or_create_study(storage, name, facts, data_facts, self.space.source)

    def run(
        self,
        study: optuna.Study,
        task: Task,
        pool: WorkerPool,
        show: Observer,
        stop: StopRequest,
        begin_with: list[dict[str, Any]],
    ) -> SearchEnded:
        """Search in a study; see `Search`."""
        options = self.options
        settings = SearchSettings(
            trials=options.trials,
            max_rejected=options.max_rejected,
            sampler=options.sampler,
            pruner=options.pruner,
            seed=options.seed,
        )
        pruner = self.pruner(task)
        for note in self.notes:
            show(Note(note))
        if masked(options.storage or "") != (options.storage or ""):
            show(
                Note(
                    "others on this machine can read the password in --storage in the list of "
                    f"processes: set {STORAGE_VARIABLE} instead"
                )
            )
        has_rungs = len(pruner.rung_epochs(task.epochs)) > 1
        if has_rungs and options.sampler == LEARNS_FROM_FULL_TRAININGS:
            show(
                Note(
                    f"--sampler {options.sampler} learns from candidates trained in full alone, "
                    "which are few with --pruner squeezed: --pruner none suits it"
                )
            )
        ledger = Ledger(study, settings, pruner, default_artifact_dir(options.storage))
        search = Search(ledger, self.space, task, self.data, pool, show, stop)
        search.begin_with(begin_with)
        return search.run()

    def _study_facts(self, task: Task) -> StudyFacts:
        space, data, limits = self.space, self.data, task.limits
        return StudyFacts(
            space=space.name,
            space_sha256=space.sha256,
            budget=task.max_params,
            dataset=data.name,
            data_sha256=data.sha256,
            split_sha256=data.split_sha256,
            epochs=task.epochs,
            seed=self.options.seed,
            max_macs=limits.max_macs,
            max_weight_bytes=limits.max_weight_bytes,
            max_activation_bytes=limits.max_activation_bytes,
            bits=limits.bits,
        )

    def _data_facts(self) -> DataFacts:
        options, data = self.options, self.data
        # A folder may have the name of a known data set: `./digits` is not `digits`.
        is_folder = options.dataset is not None and options.dataset not in NAMES
        return DataFacts(
            source=str(Path(options.dataset).resolve()) if is_folder else data.name,
            image_size=options.image_size,
            valid_share=str(parse_share(options.valid_share)),
            split_seed=options.split_seed,
            input_shape=data.input_shape,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            num_train=len(data.train_index),
            num_valid=len(data.valid_index),
        )
