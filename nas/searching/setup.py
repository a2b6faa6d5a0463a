"""Setup: all of a search that can be got ready and checked before the first write."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from nas.candidates.budget import Budget, Limits
from nas.candidates.device import names_bytes
from nas.data import NAMES, source_of, split
from nas.errors import NasError, OverBudgetError, StudyError, option, redact
from nas.searching.config import SearchConfig, parse_share
from nas.searching.events import Callback, Note, SearchEnded
from nas.searching.ledger import Ledger
from nas.searching.pruners import Pruner, make_pruner
from nas.searching.samplers import LEARNS_FROM_FULL_TRAININGS
from nas.searching.search import Search
from nas.searching.small_data import small_data_notes
from nas.searching.stop import StopRequest
from nas.spaces import draws
from nas.spaces.loader import SearchSpace, load_space, passed_over
from nas.spaces.places import DEFAULT
from nas.spaces.task import Task
from nas.storage.artifacts import default_artifact_dir
from nas.storage.database import STORAGE_VARIABLE, open_storage
from nas.storage.studies import (
    DataFacts,
    StudyFacts,
    check_study_name,
    open_or_create_study,
    open_study,
    study_data,
)
from nas.training import choose_device, choose_engine, choose_precision
from nas.training.device import default_workers, device_notes
from nas.training.pool import WorkerPool

LIMITS = {
    "parameters": "budget",
    "multiply-accumulates": "max_macs",
    "bytes of weights": "max_weight_bytes",
    "bytes of activations": "max_activation_bytes",
    "bytes of flash": "max_flash",
    "bytes of RAM": "max_ram",
}
DEPRECATED = {"max_weight_bytes": "max_flash", "max_activation_bytes": "max_ram"}


class SearchSetup:
    """A space, images and a device, as a configuration names them.

    Raises:
        NasError: one of them cannot be had; the line says which option to mend.
    """

    def __init__(self, config: SearchConfig) -> None:
        valid_share = parse_share(config.valid_share)
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.engine = choose_engine(config.engine, self.device)
        self.space = load_space(config.space)
        self.config = config = _as_before(config, self.space)
        self.source = source_of(
            config.dataset, config.test, config.data_dir, config.image_size, config.fit
        )
        images = self.source.training_images()
        self.data = split(images, valid_share, config.split_seed)
        self._notes = [*device_notes(config.device, config.engine), *images.notes]
        self._is_told = False
        other = passed_over(self.space) if config.space is None else None
        if other is not None:
            self._notes.append(
                f"no {option('space')} given: searching in the {DEFAULT} that came with nas, not "
                "in "
                f"{other}; {option('space', DEFAULT)} takes that"
            )
        in_bytes = (config.max_weight_bytes, config.max_activation_bytes)
        # Without a limit in bytes they mean nothing, and must not tell two searches apart.
        bits = Limits.bits if in_bytes == (None, None) else config.bits
        self.limits = Limits(
            config.max_macs, *in_bytes, bits, config.max_flash, config.max_ram,
            names_bytes(self.data.classes),
        )  # fmt: skip
        num_workers = config.workers or default_workers(self.device, self.engine)
        self.num_workers = min(num_workers, config.trials)

    def task(self, budget: int) -> Task:
        """What is searched for under a budget and the other limits.

        Raises:
            NasError: nothing in the space fits, or the space does not know where to begin.
        """
        config, data = self.config, self.data
        num_classes = len(data.classes)
        task = Task(data.input_shape, num_classes, budget, config.epochs, data.flips, self.limits)
        smallest = draws.smallest(self.space, task).architecture
        # Where the flash stands for a budget, the flash is what has to be named.
        is_flash = task.budget.is_flash_alone
        try:
            (Budget(sys.maxsize, self.limits) if is_flash else task.budget).check(smallest)
        except OverBudgetError as error:
            limit = LIMITS[error.unit]
            is_budget = limit == "budget"
            given = budget if is_budget else getattr(config, limit)
            raise NasError(
                f"{option(limit)} {given:,} is too small: the smallest network of space "
                f"{self.space.name} for {data.name} has {error.cost:,} {error.unit}, so give "
                f"{error.cost + is_budget} or more"  # to be pasted, so without commas
            ) from error
        draws.check_start(self.space, task)
        return task

    def notes(self, *, is_begun: bool = False) -> list[str]:
        """What to know of the device, the images and the space; see `small_data_notes`."""
        return [*self._notes, *small_data_notes(self.data, self.config, is_begun=is_begun)]

    def study_name(self, budget: int) -> str:
        """The name of a study that was given none."""
        return check_study_name(f"{self.space.name}-{self.data.name}-{budget}")

    def pruner(self, task: Task) -> Pruner:
        return make_pruner(self.config.pruner, task.epochs, len(self.data.train_index))

    def make_pool(self) -> WorkerPool:
        return WorkerPool(self.data, self.device, self.precision, self.num_workers, self.engine)

    def open_study(self, storage: BaseStorage, name: str, task: Task) -> optuna.Study:
        """The study to search in, made when there is none.

        Raises:
            StudyError: a study of this name searched something else.
        """
        facts, data_facts = self._study_facts(task), self._data_facts()
        earlier = self.space.earlier_sha256(task.input_shape)
        return open_or_create_study(storage, name, facts, data_facts, self.space.source, earlier)

    def run(
        self,
        study: optuna.Study,
        task: Task,
        pool: WorkerPool,
        show: Callback,
        stop: StopRequest,
        begin_with: list[dict[str, Any]],
    ) -> SearchEnded:
        """Search in a study; see `Search`."""
        config = self.config
        pruner = self.pruner(task)
        pool.on_notice = lambda text: show(Note(text))
        ledger = Ledger(study, config, pruner, default_artifact_dir(config.storage))
        if not self._is_told:  # a ladder has several runs: what is said is said once
            for note in self.notes(is_begun=bool(ledger.counts)):
                show(Note(note))
        self._is_told = True
        for old, new in DEPRECATED.items():
            if getattr(config, old) is not None:
                show(
                    Note(
                        f"{option(old)} is deprecated and counts values of {option('bits')} each: "
                        f"{option(new)} limits what the int8 C code takes"
                    )
                )
        if config.bits != self.limits.bits:
            show(
                Note(
                    f"{option('bits', config.bits)} limits nothing without "
                    f"{option('max_weight_bytes')} or {option('max_activation_bytes')}"
                )
            )
        if redact(config.storage or "") != (config.storage or ""):
            show(
                Note(
                    f"others on this machine can read the password in {option('storage')} in the "
                    f"list of processes: set {STORAGE_VARIABLE} instead"
                )
            )
        has_rungs = len(pruner.rung_epochs(task.epochs)) > 1
        if has_rungs and config.sampler == LEARNS_FROM_FULL_TRAININGS:
            show(
                Note(
                    f"{option('sampler', config.sampler)} learns from candidates trained in full "
                    f"alone, which are few with {option('pruner', 'squeezed')}: "
                    f"{option('pruner', 'none')} suits it"
                )
            )
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
            seed=self.config.seed,
            max_macs=limits.max_macs,
            max_weight_bytes=limits.max_weight_bytes,
            max_activation_bytes=limits.max_activation_bytes,
            bits=limits.bits,
            max_flash=limits.max_flash,
            max_ram=limits.max_ram,
            test_sha256=self.source.test_sha256,
        )

    def _data_facts(self) -> DataFacts:
        config, data = self.config, self.data
        return DataFacts(
            source=self.source.record,
            image_size=config.image_size,
            valid_share=str(parse_share(config.valid_share)),
            split_seed=config.split_seed,
            input_shape=data.input_shape,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            num_train=len(data.train_index),
            num_valid=len(data.valid_index),
            preparation=data.preparation.to_json() if data.preparation else None,
            test_source=self.source.test_record,
            num_test=self.source.num_test,
            largest_share=data.largest_share,
        )


def _as_before(config: SearchConfig, space: SearchSpace) -> SearchConfig:
    """The configuration with the study's own way to bring images to a size, where none is given."""
    if not isinstance(config.dataset, str | Path) or None not in (config.fit, config.image_size):
        return config
    folder = Path(config.dataset)
    if config.dataset in NAMES or not folder.is_dir():
        return config
    name = config.study or f"{space.name}-{folder.resolve().name}-{config.budget}"
    try:
        before = study_data(open_study(open_storage(config.storage), name))
    except StudyError:  # there is none yet, or what is wrong with it is said when it is opened
        return config
    return replace(
        config, image_size=config.image_size or before.image_size, fit=config.fit or before.fit
    )
