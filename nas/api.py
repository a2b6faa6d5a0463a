"""The Python API, which the command line calls as well.

    study = nas.search(budget=20_000, dataset="digits", trials=12, epochs=3)
    study.best.accuracy, study.leaderboard()
    nas.certify(study, top=3, seeds=5)
    nas.export(study.best, "winner")

Keywords have the names of the options of `nas search`. Errors are `nas.NasError`, one line each.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna

from nas.certification.certify import Certification, shortlist
from nas.certification.records import (
    Protocol,
    Run,
    certified_run,
    last_certified,
    read_runs,
)
from nas.data import (
    Dataset,
    LabelledImages,
    Source,
    into_folds,
    is_in_memory,
    source_of,
    split,
)
from nas.errors import DataError, NasError, StudyError, option, redact
from nas.exporters.classifier import Classifier, Predicted, list_files
from nas.exporters.export import NUM_CALIBRATION, Exported, export_trial
from nas.exporters.formats import FORMATS, parse_formats
from nas.exporters.provenance import Certified
from nas.exporters.verify import Verified, verify_export
from nas.reports.annotator import Annotator, annotate, annotate_all
from nas.reports.certificates import certificate_lines
from nas.reports.confusion import Predictions, predictions_of
from nas.reports.dashboard import serve
from nas.reports.frontier import Point, points_of
from nas.reports.live import make_display
from nas.reports.output import check_output, write_output
from nas.reports.raster import png
from nas.reports.report import PLOTS, report_page
from nas.reports.results import StudyResult, TrialResult, list_studies, load_study
from nas.searching.config import FIELDS, SearchConfig, parse_share
from nas.searching.estimate import CheckResult, forecast, foresee, space_stats
from nas.searching.events import Callback, Event, Note
from nas.searching.setup import SearchSetup
from nas.searching.stop import StopRequest
from nas.searching.warm_start import proposals_from
from nas.spaces.loader import list_spaces
from nas.storage.artifacts import WeightsStore, default_artifact_dir
from nas.storage.database import default_storage, open_storage, storage_errors
from nas.storage.ranking import find_trial
from nas.storage.studies import (
    DataFacts,
    check_study_name,
    study_data,
    study_facts,
    study_names,
)
from nas.training import choose_device, choose_engine, choose_precision
from nas.training.device import default_workers, device_name, device_notes
from nas.training.pool import WorkerPool

__all__ = [
    "certify", "check", "dashboard", "export", "ladder", "list_spaces", "list_studies",
    "load_study", "plot", "predict", "report", "search", "verify",
]  # fmt: skip

Study = StudyResult | optuna.Study | str
"""A study as `search` returns it, or its name."""

MOST_UP = 3  # networks that a study of a ladder takes over from the one below


def search(
    config: SearchConfig | None = None,
    *,
    callback: Callback | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> StudyResult:
    """Search for the best network under a budget, or go on with a search of the same name.

        study = nas.search(budget=20_000, dataset="digits", trials=12, workers=1)

    Args:
        config: what to search for; or its fields as keywords.
        callback: called with every event; None shows them as `nas search` does.
        stop: ends the search when it is true; None: Ctrl-C and the time limit end it.

    Raises:
        NasError: a keyword is bad, or the search cannot go on; every check is made before the
            first write.
    """
    config = _config(config, options)
    name = None if config.study is None else check_study_name(config.study)
    setup = SearchSetup(config)
    task = setup.task(config.budget)
    name = name or setup.study_name(config.budget)
    pool = setup.make_pool()  # the images may not fit into shared memory
    with (
        storage_errors(config.storage),
        stop or StopRequest(config.timeout_seconds) as stop,
        _shown(callback) as show,
    ):
        warm = []
        if config.warm_start is not None:
            # Before the database is made, which a wrong name must not leave behind.
            old = open_storage(config.storage)
            warm = proposals_from(config.warm_start, setup.space, task, old)
        study = setup.open_study(open_storage(config.storage, create=True), name, task)
        with pool:
            ended = setup.run(study, task, pool, _annotated(study, show), stop, warm)
    return StudyResult(study, config.storage, ended)


@dataclass(frozen=True)
class LadderResult:
    """Searches under several budgets."""

    budgets: tuple[int, ...]
    studies: tuple[StudyResult, ...]  # those that were begun, the smallest budget first
    points: tuple[Point, ...]  # every trained network: each counts for every budget it fits
    is_cut: bool  # a time limit or a signal ended one of them


def ladder(
    budgets: Sequence[int],
    *,
    callback: Callback | None = None,
    stop: StopRequest | None = None,
    **options: Any,
) -> LadderResult:
    """Search under one budget after another, the smallest first; all are checked before.

    Each begins with the shapes that were best below. A time limit is shared in equal parts.

        nas.ladder([1_000, 5_000, 20_000], dataset="digits", trials=5)

    Raises:
        NasError: as `search`.
    """
    budgets = tuple(sorted(set(budgets)))
    if not budgets:
        raise NasError(f"{option('budgets')} is empty: give at least one number of parameters")
    configs = {budget: _config(None, options | {"budget": budget}) for budget in budgets}
    config = configs[budgets[0]]
    setup = SearchSetup(config)
    tasks = {budget: setup.task(budget) for budget in budgets}
    pool = setup.make_pool()
    studies: dict[int, optuna.Study] = {}
    results: list[StudyResult] = []
    is_cut = False
    with storage_errors(config.storage), stop or StopRequest(config.timeout_seconds) as stop:
        storage = open_storage(config.storage, create=True)
        # Those that are there come first: one that cannot go on is found before any is made.
        there = study_names(storage)
        for budget in sorted(tasks, key=lambda budget: setup.study_name(budget) not in there):
            studies[budget] = setup.open_study(storage, setup.study_name(budget), tasks[budget])
        with pool:
            smaller: optuna.Study | None = None
            for place, (budget, task) in enumerate(tasks.items()):
                stop.allot(len(tasks) - place)
                warm = []
                if smaller is not None and points_of([smaller]):
                    with contextlib.suppress(StudyError):  # a space may offer others here
                        warm = proposals_from(
                            smaller.study_name, setup.space, task, storage, MOST_UP
                        )
                with _shown(callback) as show:
                    told = _annotated(studies[budget], show)
                    ended = setup.run(studies[budget], task, pool, told, stop, warm)
                results.append(StudyResult(studies[budget], config.storage, ended))
                is_cut = is_cut or ended.reason is not None
                if stop.signal_number is not None:
                    break
                smaller = studies[budget]
        points = points_of(list(studies.values()))
    return LadderResult(budgets, tuple(results), tuple(points), is_cut)


def check(
    config: SearchConfig | None = None,
    *,
    draws: int = 1000,
    callback: Callable[[CheckResult], None] = lambda found: None,
    **options: Any,
) -> CheckResult:
    """Say what a search would find and how long it would take; writes nothing.

        nas.check(budget=20_000, dataset="digits").forecast.seconds_likely

    Args:
        draws: candidates to draw at random.
        callback: called with what the space holds, before the first probe trains.

    Raises:
        NasError: as `search`; or a candidate could not be trained.
    """
    config = _config(config, options)
    setup = SearchSetup(config)
    task = setup.task(config.budget)
    stats = space_stats(setup.space, task, draws)
    found = CheckResult(
        config=config, space=setup.space.name, task=task, dataset=setup.data.name,
        num_train=len(setup.data.train_index), num_valid=len(setup.data.valid_index),
        workers=setup.num_workers, device=device_name(setup.device, setup.precision, setup.engine),
        notes=tuple(setup.notes), stats=stats,
    )  # fmt: skip
    callback(found)
    if not stats.fitting:
        return found
    pruner = setup.pruner(task)
    notices: list[str] = []
    expected = forecast(
        stats.fitting, setup.data, setup.precision, stats.most_trained(config.trials),
        setup.num_workers, pruner, setup.device, setup.engine, notices.append,
    )  # fmt: skip
    plan = None
    if config.timeout_seconds is not None:
        has_start = bool(setup.space.first_proposals(task))
        plan = foresee(
            expected, setup.data, task.epochs, setup.num_workers, pruner,
            config.timeout_seconds, has_start=has_start,
        )  # fmt: skip
    notes = (*found.notes, *notices)
    return replace(found, notes=notes, forecast=expected, plan=plan)


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
    result = _study(study, storage)
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
    source = _source_of(inside, data_facts, data_dir, dataset, test)
    source.check_test(data_facts.classes)
    pools: list[WorkerPool] = []
    best = None
    with _shown(callback) as show, storage_errors(result.storage), stop or StopRequest() as stop:

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
        data = _images_of(inside, source, say)
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
            annotate(inside)
    runs = tuple(
        run for kind in Protocol for record in records
        for run in read_runs(inside, kind, record.number)
    )  # fmt: skip
    return CertifyResult(result, protocol, TrialResult(result, best) if best else None, runs)


def export(
    trial: TrialResult | StudyResult,
    out: str | Path | None = None,
    *,
    format: str | Sequence[str] = "pytorch",
    calibration: int = NUM_CALIBRATION,
    certified: bool = False,
    force: bool = False,
    dataset: Any = None,
    test: Any = None,
    data_dir: Path | None = None,
    callback: Callable[[str], None] = print,
) -> Exported:
    """Write a trained network as code that needs no `nas`, each format proved before it appears.

        nas.export(study.best, "winner", format="pytorch,c")

    Args:
        trial: the trial, or a study, whose best one is taken.
        out: the folder to make; None: STUDY-trial-NUMBER here.
        format: `pytorch` (one file, with weights), `c` (int8 C99 in the folder's `c/`), `onnx`
            and `onnx-int8` (in `onnx/`), `html` (a page with int8 in JavaScript), several of them,
            or "all", which is what can be written
            here.
        calibration: how many training images, at most, set the ranges of int8.
        certified: not the weights of the search, but those of the certificate's first seed, which
            were trained on all training images; of a study, those of its certified trial.
        force: replace what an earlier export left there.
        dataset, test: as in `certify`; without the images the export is checked on random ones.
        callback: told of that, and of formats that "all" leaves out, in a line each.

    Raises:
        NasError: the folder cannot be made, the weights were not kept, the network or this machine
            has no such format, the trial is not certified, or a check failed.
    """
    names, left_out = parse_formats(format)
    for line in left_out:
        callback(line)
    if isinstance(trial, StudyResult):
        trial = trial.trial(last_certified(trial.optuna_study)) if certified else trial.best
    inside, record = trial.study.optuna_study, trial.record
    if record.candidate is None:
        raise NasError(f"trial {record.number} was never trained: {record.detail}")
    folder = (
        export_folder(inside.study_name, record.number) if out is None else Path(out).expanduser()
    )
    with storage_errors(trial.study.storage):
        facts = study_data(inside)
        store = WeightsStore(inside, default_artifact_dir(trial.study.storage))
        if certified:
            run, num_seeds = certified_run(inside, record.number)
            weights = store.read(run.artifact_id or "")
        else:
            weights = store.load(record.number)
    try:
        data = _images_of(inside, _source_of(inside, facts, data_dir, dataset, test))
    except DataError as error:
        if dataset is not None:
            raise
        for name in names:
            if FORMATS[name].NEEDS_IMAGES:
                raise DataError(
                    f"{error}; {option('format', name)} needs the training images, which set its "
                    "ranges"
                ) from error
        callback(f"{error}; the export is checked on random images")
        data = None
    return export_trial(
        record, weights, facts, inside.study_name, data, folder, formats=names,
        calibration=calibration, search=study_facts(inside),
        certificate=certificate_lines(inside, record.number), force=force,
        certified=_certified(run, num_seeds, facts) if certified else None,
    )  # fmt: skip


def _certified(run: Run, num_seeds: int, facts: DataFacts) -> Certified:
    """What an export says of the training of a certificate."""
    assert run.accuracy is not None
    assert run.is_right is not None
    return Certified(
        run.accuracy, len(run.is_right), facts.num_train + facts.num_valid, run.seed, num_seeds,
        run.versions,
    )  # fmt: skip


def verify(folder: str | Path) -> Verified:
    """Prove an export again, anywhere: its hashes, its counts, the scores of its stored images.

        nas.verify("winner").lines

    It runs the code in the folder, in processes of its own: verify what comes from people you
    trust. Where no C compiler is found the C code is not run, and a line says so.

    Raises:
        VerifyError: something in the folder is not what was exported; the message says what.
        ExportError: the folder is no export.
    """
    return verify_export(Path(folder))


def predict(
    network: TrialResult | StudyResult | str | Path, images: str | Path | Sequence[str | Path]
) -> Predicted:
    """Classify files as the data set's own loader would have read them.

        nas.predict(study.best, "photos").predictions[0].label
        nas.predict("winner", ["1.jpg", "2.jpg"]).unreadable

    A picture is brought to the size and to the grey or the colours of the training images; whether
    it shows white on black, as MNIST does, or black on white is not guessed.

    Args:
        network: a trial, a study, whose best one is taken, or an exported folder, no code of which
            is run.
        images: a file, a folder, whose pictures are taken with those in the folders below, or
            several of these.

    Raises:
        NasError: the network has no weights, or there is no file to read. Files that cannot be
            read are in `unreadable`, each with the reason.
    """
    given = [images] if isinstance(images, str | Path) else images
    files = list_files([Path(path).expanduser() for path in given])
    if isinstance(network, str | Path):
        return Classifier.of_export(Path(network).expanduser()).predict(files)
    trial = network.best if isinstance(network, StudyResult) else network
    with storage_errors(trial.study.storage):
        facts, model = study_data(trial.study.optuna_study), trial.model()
    return Classifier.of_study(model, facts).predict(files)


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
    opened = {found.name: found for found in (_study(s, storage) for s in studies or (None,))}

    def predict_validation(study: StudyResult, number: int) -> Predictions:
        try:
            return _predictions(study, number, data_dir, dataset, test)
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
        near = difflib.get_close_matches(kind, PLOTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PLOTS)}"
        raise NasError(f"{option('kind', kind)} is no picture: {hint}")
    if out is not None:
        check_output(Path(out), (".png", ".svg"), force)
    result = _study(study, storage)
    path = Path(f"{check_study_name(result.name)}-{kind}.svg") if out is None else Path(out)
    check_output(path, (".png", ".svg"), force)
    with storage_errors(result.storage):
        picture = PLOTS[kind](
            result, lambda found, number: _predictions(found, number, data_dir, dataset, test)
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


def export_folder(study: str, number: int) -> Path:
    """The folder that an export goes to which was given none.

    Raises:
        NasError: no folder can have that name; other programs' studies may have any.
    """
    with contextlib.suppress(StudyError):
        folder = Path(f"{check_study_name(study)}-trial-{number}")
        if len(os.fsencode(folder)) <= 255:
            return folder
    raise NasError(
        f"no folder can be named after study {study[:40]!r}: say with {option('out')} where to "
        "export to"
    )


def _config(config: SearchConfig | None, options: dict[str, Any]) -> SearchConfig:
    unknown = [name for name in options if name not in FIELDS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}"
        raise NasError(f"{unknown[0]} is no keyword of a search: {hint}")
    if config is not None:
        return replace(config, **options)
    if "budget" not in options and options.get("max_flash") is None:
        raise NasError("budget or max_flash is required, such as budget=20_000")
    options.setdefault("budget", options.get("max_flash"))  # a parameter takes a byte or more
    return SearchConfig(**options)


@contextlib.contextmanager
def _shown(callback: Callback | None) -> Iterator[Callback]:
    if callback is not None:
        yield callback
        return
    with make_display(False, False) as show:
        yield show


def _annotated(study: optuna.Study, show: Callback) -> Callback:
    """The callback, and behind it the one that keeps the study's notes for the dashboard."""
    annotator = Annotator(study, show)

    def tell(event: Event) -> None:
        show(event)
        annotator(event)

    return tell


def _study(study: Study | None, storage: str | None) -> StudyResult:
    if study is None or isinstance(study, str):
        return load_study(study, storage=storage)
    return study if isinstance(study, StudyResult) else StudyResult(study, storage)


def _predictions(
    study: StudyResult, number: int, data_dir: Path | None, dataset: Any, test: Any
) -> Predictions:
    """What the network of a trial says of the validation images."""
    inside = study.optuna_study
    data = _images_of(inside, _source_of(inside, study_data(inside), data_dir, dataset, test))
    index = data.valid_index
    return predictions_of(study.trial(number), data.images[index], data.labels[index], data.classes)


def _source_of(
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


def _images_of(
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
