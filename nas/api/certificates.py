"""`nas.certify`: how good the best really is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nas.api.display import shown
from nas.api.studies import Study, images_of_study, source_of_study, study_of
from nas.certification.certify import Certification, shortlist
from nas.certification.records import (
    Protocol,
    Run,
    read_runs,
)
from nas.data import (
    Dataset,
    LabelledImages,
    into_folds,
)
from nas.errors import NasError, option
from nas.reports.annotator import try_to_annotate
from nas.reports.results import StudyResult, TrialResult
from nas.searching.events import Callback, Note
from nas.searching.stop import StopRequest
from nas.storage.artifacts import WeightsStore, default_artifact_dir
from nas.storage.database import storage_errors
from nas.storage.internals import storage_of
from nas.storage.ranking import find_trial
from nas.storage.studies import (
    study_data,
    study_facts,
)
from nas.training import choose_device, choose_engine, choose_precision
from nas.training.device import default_workers, device_notes
from nas.training.pool import WorkerPool


@dataclass(frozen=True)
class CertifyResult:
    """What a certification has measured."""

    study: StudyResult
    protocol: Literal["honest", "watched"]
    best: TrialResult | None  # under `honest`: the one that was measured on the test images
    runs: tuple[Run, ...]  # every stored training of these trials, of each protocol


def certify(
    study: Study,
    *,
    trials: Sequence[int] = (),
    top: int = 3,
    seeds: int = 5,
    protocol: Literal["honest", "watched"] = "honest",
    folds: int | None = None,
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    workers: int | None = None,
    storage: str | None = None,
    callback: Callback | None = None,
    stop: StopRequest | None = None,
) -> CertifyResult:
    """Train the best trials again with fresh seeds; every check runs before the first training.

        nas.certify("mnist-20k", top=1, seeds=10).best.number

    Args:
        trials: their numbers; without them the `top` best.
        seeds: trainings of each, under each protocol.
        protocol: `honest` decides on validation images and opens the test images once; `watched`
            tests after every epoch, which flatters.
        folds: where images are few, `honest` decides on so many parts of all training images in
            place of the split of the search: each is measured once, by a network that was trained
            on the others.
        dataset: the images of the study, where they are not found again by its record: those from
            Python, or a folder that was moved. Other images are refused.
        test: the test images, where the study was given them from Python.
        callback: called with a `Note` for each training that has ended, and with `CertifyProgress`
            meanwhile; None shows them as `nas certify` does.

    Raises:
        NasError: a trial is not there or was never trained, or its images are gone.
    """
    if folds is not None and protocol != "honest":
        raise NasError(
            f"{option('folds')} decides before the test images are opened: it is not "
            f"allowed with {option('protocol', protocol)}"
        )
    chosen = choose_device(device)
    number_format = choose_precision(precision, chosen)
    chosen_engine = choose_engine(engine, chosen)
    num_workers = workers or default_workers(chosen, chosen_engine)
    result = study_of(study, storage)
    inside = result.optuna_study
    facts, data_facts = study_facts(inside), study_data(inside)
    assert facts is not None  # or open_study had refused
    if trials:
        records = [find_trial(inside, number) for number in dict.fromkeys(trials)]
    else:
        records = shortlist(inside, top)
    for record in records:
        if record.candidate is None:
            raise NasError(f"trial {record.number} was never trained: {record.detail}")
    source = source_of_study(inside, data_facts, data_dir, dataset, test)
    source.check_test(data_facts.classes)
    pools: list[WorkerPool] = []
    best = None
    with shown(callback) as show, storage_errors(result.storage), stop or StopRequest() as stop:

        def say(line: str) -> None:
            show(Note(line))

        def load_test() -> LabelledImages:
            images = source.test_images(data)
            for note in images.notes:
                say(note)
            return images

        def make_pool(images: Dataset) -> WorkerPool:
            most = min(num_workers, len(records) * max(seeds, 1 if folds is None else folds))
            # Where one pool could not capture graphs, the next does not try again.
            before = pools[-1].engine if pools else chosen_engine
            pools.append(WorkerPool(images, chosen, number_format, most, before, say))
            return pools[-1]

        for note in device_notes(device, engine):
            say(note)
        data = images_of_study(inside, source, say)
        weights = WeightsStore(inside, default_artifact_dir(result.storage))
        certification = Certification(
            inside, records, seeds, facts.seed, data, load_test, make_pool, weights, show, stop,
            into_folds(data, folds, data_facts.split_seed) if folds else (),
        )  # fmt: skip
        try:
            if protocol == "honest":
                best = certification.run_honest()
            else:
                certification.run_watched()
        finally:  # on an error, too, what was measured is kept in the note
            fault = try_to_annotate(storage_of(inside), inside.study_name)
            if fault is not None:
                say(fault)
    runs = tuple(
        run for kind in Protocol for record in records
        for run in read_runs(inside, kind, record.number)
    )  # fmt: skip
    return CertifyResult(result, protocol, TrialResult(result, best) if best else None, runs)
