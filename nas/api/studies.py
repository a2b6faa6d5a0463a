"""What a call is about: a study by its name, its images found again, its predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from nas.data import (
    Dataset,
    Source,
    is_in_memory,
    source_of,
    split,
)
from nas.errors import DataError, option
from nas.reports.confusion import Predictions, predictions_of
from nas.reports.results import StudyResult, load_study
from nas.searching.config import parse_share
from nas.storage.studies import (
    DataFacts,
    study_data,
    study_facts,
)

Study = StudyResult | optuna.Study | str
"""A study as `search` returns it, or its name."""


def study_of(study: Study | None, storage: str | None) -> StudyResult:
    if study is None or isinstance(study, str):
        return load_study(study, storage=storage)
    return study if isinstance(study, StudyResult) else StudyResult(study, storage)


def source_of_study(
    study: optuna.Study, facts: DataFacts, data_dir: Path | None, dataset: Any, test: Any
) -> Source:
    """Where the images are that a study searched on.

    Raises:
        DataError: only Python has them, or they cannot be those.
    """
    records = {"dataset": facts.source, "test": facts.test_source}
    given = {"dataset": dataset, "test": test}
    missing = [
        f"{name}=..." for name, record in records.items()
        if given[name] is None and record is not None and is_in_memory(record)
    ]  # fmt: skip
    if missing:
        raise DataError(
            f"study {study.study_name!r} searched on images that were given in Python: give the "
            f"same again, from Python, with {' and '.join(missing)}"
        )
    if test is not None and facts.test_source is None:
        raise DataError(
            f"study {study.study_name!r} was given no images to test on: leave out {option('test')}"
        )
    found = {name: records[name] if value is None else value for name, value in given.items()}
    return source_of(**found, data_dir=data_dir, image_size=facts.image_size, fit=facts.fit)


def images_of_study(
    study: optuna.Study, source: Source, say: Callable[[str], None] = lambda line: None
) -> Dataset:
    """The images a study searched on; raises DataError when they are gone or have changed."""
    facts, before = study_data(study), study_facts(study)
    images = source.training_images()
    for note in images.notes:
        say(note)
    if images.valid_index is not None:
        num_valid = len(images.valid_index)
        say(
            f"to be tested, the best is trained on all {len(images.images):,} images: the "
            f"{num_valid:,} to validate on, too"
        )
    data = split(images, parse_share(facts.valid_share), facts.split_seed)
    now = (data.sha256, data.split_sha256, data.classes)
    is_same = before and now == (before.data_sha256, before.split_sha256, facts.classes)
    if not before or not is_same or source.test_sha256 != before.test_sha256:
        which = "the test images" if is_same else "images or labels"
        raise DataError(
            f"{source.record} changed since the search: {which} are not those that study "
            f"{study.study_name!r} had"
        )
    return data


def predictions_of_study(
    study: StudyResult, number: int, data_dir: Path | None, dataset: Any, test: Any
) -> Predictions:
    """What the network of a trial says of the validation images."""
    inside = study.optuna_study
    data = images_of_study(
        inside, source_of_study(inside, study_data(inside), data_dir, dataset, test)
    )
    index = data.valid_index
    return predictions_of(study.trial(number), data.images[index], data.labels[index], data.classes)
