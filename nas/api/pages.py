"""`nas.report`, `nas.plot` and `nas.dashboard`: studies to look at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.api.studies import Study, predictions_of_study, study_of
from nas.errors import NasError, hint, option, redact
from nas.reports.annotator import annotate_all
from nas.reports.confusion import Predictions
from nas.reports.dashboard import serve
from nas.reports.output import check_output, write_output
from nas.reports.raster import png
from nas.reports.report import PLOTS, report_page
from nas.reports.results import StudyResult
from nas.storage.artifacts import default_artifact_dir
from nas.storage.database import default_storage, open_storage, storage_errors
from nas.storage.studies import (
    check_study_name,
)


def report(
    *studies: Study,
    out: str | Path = "report.html",
    force: bool = False,
    storage: str | None = None,
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
    callback: Callable[[str], None] = print,
) -> Path:
    """Write a page with the answer and the pictures of studies: one HTML file, to be sent around.

        nas.report("mnist-20k", out="report.html")
        nas.report("mnist-5k", "mnist-20k")  # side by side

    Args:
        studies: results or names; none: the study that was searched last.
        out: the file; a page that `nas` made is replaced.
        force: replace whatever file is there.
        dataset, test: as in `certify`; without the images the page lacks the confusion matrix.
        callback: told of that in a line.

    Raises:
        NasError: no such study, or the file cannot be written.
    """
    path = Path(out)
    check_output(path, (".html", ".htm"), force)
    opened = {found.name: found for found in (study_of(s, storage) for s in studies or (None,))}

    def predict_validation(study: StudyResult, number: int) -> Predictions:
        try:
            return predictions_of_study(study, number, data_dir, dataset, test)
        except NasError as error:
            callback(f"{error}; the page of {study.name} has no confusion matrix")
            raise

    results = list(opened.values())
    with storage_errors(results[0].storage):
        page = report_page(results, predict_validation)
    write_output(path, page.encode())
    return path


def plot(
    study: Study | None = None,
    kind: str = "frontier",
    out: str | Path | None = None,
    *,
    force: bool = False,
    storage: str | None = None,
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
) -> Path:
    """Draw one picture of a study.

        nas.plot("mnist-20k", "curves", "curves.png")

    Args:
        study: a result or a name; None: the study that was searched last.
        kind: one of `PLOTS`: frontier, curves, spending, importance, network, confusion.
        out: a file that ends in .png or .svg; None: STUDY-KIND.svg here.
        force: replace a file that is there.
        dataset, test: as in `certify`, for the confusion matrix.

    Raises:
        NasError: no such kind, or there is nothing to draw yet, or the file cannot be written.
    """
    if kind not in PLOTS:
        raise NasError(f"{option('kind', kind)} is no picture: {hint(kind, PLOTS)}")
    if out is not None:
        check_output(Path(out), (".png", ".svg"), force)
    result = study_of(study, storage)
    path = Path(f"{check_study_name(result.name)}-{kind}.svg") if out is None else Path(out)
    check_output(path, (".png", ".svg"), force)
    with storage_errors(result.storage):
        picture = PLOTS[kind](
            result,
            lambda found, number: predictions_of_study(found, number, data_dir, dataset, test),
        )
    picture.title += f", study {result.name}"
    write_output(path, png(picture) if path.suffix == ".png" else picture.svg().encode())
    return path


def dashboard(
    *,
    storage: str | None = None,
    port: int = 8080,
    expose: bool = False,
    callback: Callable[[str], None] = print,
) -> None:
    """Serve optuna-dashboard on this machine until it is interrupted.

    Every study gets a note of what it found, its best trials one of what was trained, and figures:
    before the pages are shown, and while a search runs.

    Args:
        port: to listen on; 0 for any that is free.
        expose: let other machines in: whoever reaches it can delete studies.
        callback: called with a line that says at which address.
    """
    opened = open_storage(storage)

    def say(address: str) -> None:
        callback(f"studies of {redact(storage or default_storage())} at {address}")

    for fault in annotate_all(opened):
        callback(fault)
    with contextlib.suppress(KeyboardInterrupt):
        serve(opened, default_artifact_dir(storage), port, say, expose=expose)
