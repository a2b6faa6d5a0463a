"""What each verb of the command line does: gather, call, print. Checks come before writes."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import DataError, NasError, StudyError, masked

if TYPE_CHECKING:
    from optuna import Study

    from nas.data import Dataset
    from nas.storage.studies import DataFacts
    from nas.storage.trials import TrialRecord

MOST_UP = 3  # networks that a study of `nas ladder` takes over from the one below


def search(options: Namespace, arguments: list[str]) -> int:
    """Search; every check runs before the first write."""
    from nas.reports import live
    from nas.searching.setup import Launch
    from nas.searching.stop import StopRequest
    from nas.searching.warm_start import proposals_from
    from nas.storage.database import open_storage, storage_errors
    from nas.storage.studies import check_study_name

    if options.study is not None:
        options.study = check_study_name(options.study)
    launch = Launch(options)
    task = launch.task(options.budget)
    name = options.study or launch.study_name(options.budget)
    pool = launch.make_pool()
    with (
        storage_errors(options.storage),
        StopRequest(options.timeout) as stop,
        live.make_display(options.json, options.quiet) as show,
    ):
        warm = []
        if options.warm_start is not None:
            # Before the database is made, which a wrong name must not leave behind.
            old = open_storage(options.storage)
            warm = proposals_from(options.warm_start, launch.space, task, old)
        study = launch.open_study(open_storage(options.storage, create=True), name, task)
        with pool:
            ended = launch.run(study, task, pool, show, stop, warm)
    if stop.exit_code:
        # Not among JSON lines or a bare summary, but to be seen all the same.
        out = sys.stderr if options.json or options.quiet else sys.stdout
        print(_go_on(arguments), file=out, flush=True)
    elif not (options.json or options.quiet) and (ended.best_trial is None or ended.best_schedule):
        if ended.seconds_needed is not None:
            arguments = _with_timeout(arguments, ended.seconds_needed)
        print(_go_on(arguments), flush=True)
    if ended.best_trial is not None and not (options.json or options.quiet):
        _print_next_steps(options, name)
    if stop.exit_code:
        return stop.exit_code
    return 0 if ended.best_trial is not None else 1


def ladder(options: Namespace, arguments: list[str]) -> int:
    """Search under one budget after another, the smallest first; all are checked before."""
    from nas.reports import live
    from nas.reports.frontier import points_of
    from nas.reports.tables import ladder_report, print_report
    from nas.searching.setup import Launch
    from nas.searching.stop import StopRequest
    from nas.searching.warm_start import proposals_from
    from nas.storage.database import open_storage, storage_errors
    from nas.storage.studies import study_names

    launch = Launch(options)
    tasks = {budget: launch.task(budget) for budget in options.budgets}
    pool = launch.make_pool()
    studies: dict[int, Study] = {}
    with storage_errors(options.storage), StopRequest(options.timeout) as stop:
        storage = open_storage(options.storage, create=True)
        # Those that are there come first: one that cannot go on is found before any is made.
        there = study_names(storage)
        for budget in sorted(tasks, key=lambda budget: launch.study_name(budget) not in there):
            name = launch.study_name(budget)
            studies[budget] = launch.open_study(storage, name, tasks[budget])
        with pool:
            smaller: Study | None = None
            is_cut = False
            for place, (budget, task) in enumerate(tasks.items()):
                stop.allot(len(tasks) - place)
                # What was best under the budget before, made as much wider as this one allows.
                known = smaller is not None and points_of([smaller])
                warm = []
                if smaller is not None and known:
                    with contextlib.suppress(StudyError):  # a space may offer others here
                        warm = proposals_from(
                            smaller.study_name, launch.space, task, storage, MOST_UP
                        )
                with live.make_display(False, options.quiet) as show:
                    ended = launch.run(studies[budget], task, pool, show, stop, warm)
                is_cut = is_cut or ended.reason is not None
                if stop.signal_number is not None:
                    break
                smaller = studies[budget]
        points = points_of(list(studies.values()))
        print_report(ladder_report(points, options.budgets))
    if is_cut:
        print(_go_on(arguments), flush=True)
    if stop.exit_code:
        return stop.exit_code
    return 0 if points else 1


def check(options: Namespace, arguments: list[str]) -> int:
    """Say what a search would find and how long it would take; writes nothing."""
    from nas.reports.live import plan_text
    from nas.reports.tables import forecast_report, print_report, stock_report
    from nas.searching.estimate import forecast, foresee, take_stock
    from nas.searching.setup import Launch

    launch = Launch(options)
    task = launch.task(options.budget)
    for note in launch.notes:
        print(note)
    holdings = take_stock(launch.space, task, options.draws)
    print_report(stock_report(launch, task, holdings))
    if not holdings.fitting:
        return 1
    pruner = launch.pruner(task)
    expected = forecast(
        holdings.fitting, launch.data, launch.precision, holdings.most_trained(options.trials),
        launch.num_workers, pruner, launch.device,
    )  # fmt: skip
    print_report(forecast_report(launch, task, expected))
    if options.timeout is not None:
        has_start = bool(launch.space.first_proposals(task))
        print(plan_text(foresee(
            expected, launch.data, task.epochs, launch.num_workers, pruner,
            options.timeout, has_start=has_start,
        )))  # fmt: skip
    return 0


def _check_trained(record: TrialRecord) -> None:
    if record.candidate is None:
        raise NasError(f"trial {record.number} was never trained: {record.detail}")


def _go_on(arguments: list[str]) -> str:
    return f"go on with: nas {shlex.join(masked(word) for word in arguments)}"


def _with_timeout(arguments: list[str], seconds: float) -> list[str]:
    """The same command line with another time limit, in whole minutes."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--timeout":
            next(words, None)
        elif not word.startswith("--timeout="):
            kept.append(word)
    return [*kept, "--timeout", f"{math.ceil(seconds / 60)}m"]


def _print_next_steps(options: Namespace, study: str) -> None:
    where = f" --study {shlex.quote(study)}"
    if options.storage is not None:
        where += f" --storage {shlex.quote(masked(options.storage))}"
    print(f"look at it: nas show best{where}\ntake it home: nas export{where}", flush=True)


def spaces(options: Namespace, arguments: list[str]) -> int:
    from nas.spaces.loader import list_spaces

    entries = list_spaces()
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:{width}}  {entry.summary}  ({entry.path})")
    return 0


def show(options: Namespace, arguments: list[str]) -> int:
    from nas.reports.tables import leaderboard, print_report, trial_page
    from nas.storage.database import open_storage, storage_errors
    from nas.storage.studies import open_study
    from nas.storage.trials import find_trial

    with storage_errors(options.storage):
        study = open_study(open_storage(options.storage), options.study)
        if options.trial is None:
            print_report(leaderboard(study, options.top))
        else:
            print_report(trial_page(study, find_trial(study, _number(options.trial))))
    return 0


def studies(options: Namespace, arguments: list[str]) -> int:
    from nas.reports.tables import print_report, studies_table
    from nas.storage.database import open_storage, storage_errors

    with storage_errors(options.storage):
        print_report(studies_table(open_storage(options.storage)))
    return 0


def export(options: Namespace, arguments: list[str]) -> int:
    from nas.exporters import export_trial
    from nas.storage.artifacts import WeightsStore, default_artifact_dir
    from nas.storage.database import open_storage, storage_errors
    from nas.storage.studies import open_study, study_data
    from nas.storage.trials import find_trial

    with storage_errors(options.storage):
        study = open_study(open_storage(options.storage), options.study)
        record = find_trial(study, _number(options.trial))
        _check_trained(record)
        out = options.out or _export_folder(study, record.number)
        facts = study_data(study)
        weights = WeightsStore(study, default_artifact_dir(options.storage)).load(record.number)
    try:
        data = _study_images(study, facts, options.data_dir)
    except DataError as error:
        print(f"nas: {error}; the export is checked on random images", file=sys.stderr)
        data = None
    done = export_trial(record, weights, facts, study.study_name, data, out, force=options.force)
    what = "validation" if done.is_real else "random"
    print(
        f"exported trial {record.number} to {done.folder}: {done.num_params:,} parameters; in a "
        f"process without nas its scores of {done.num_checked:,} {what} images differ by at most "
        f"{done.max_difference:.1g}"
        + (f", validation accuracy {done.accuracy:.2%}" if done.accuracy is not None else "")
        + (f", trained for {record.schedule_text}" if record.is_short else "")
    )
    return 0


def certify(options: Namespace, arguments: list[str]) -> int:
    """Train trials of a study again; every check runs before the first training."""
    from nas.certification.certify import Certification, shortlist
    from nas.data import LabelledImages, check_test_images, default_data_dir, load_test_images
    from nas.reports.dashboard import note_certificates
    from nas.reports.tables import certificate_report, print_report
    from nas.searching.stop import StopRequest
    from nas.storage.artifacts import WeightsStore, default_artifact_dir
    from nas.storage.database import open_storage, storage_errors
    from nas.storage.studies import open_study, study_data, study_facts
    from nas.storage.trials import find_trial
    from nas.training import choose_device, choose_precision
    from nas.training.pool import WorkerPool, default_workers

    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    num_workers = options.workers or default_workers(device)
    study = open_study(open_storage(options.storage), options.study)
    facts, data_facts = study_facts(study), study_data(study)
    assert facts is not None  # or open_study had refused
    if options.trials:
        records = [find_trial(study, number) for number in dict.fromkeys(options.trials)]
    else:
        records = shortlist(study, options.top)
    for record in records:
        _check_trained(record)
    data_dir = options.data_dir or default_data_dir()
    check_test_images(data_facts.source, data_facts.classes)
    data = _study_images(study, data_facts, data_dir)

    def load_test() -> LabelledImages:
        source, image_size = data_facts.source, data_facts.image_size
        images = load_test_images(source, data_dir, image_size, data)
        for note in images.notes:
            say(note)
        return images

    def make_pool(images: Dataset) -> WorkerPool:
        most = len(records) * options.seeds
        return WorkerPool(images, device, precision, min(num_workers, most))

    def say(line: str) -> None:
        print(line, flush=True)

    with storage_errors(options.storage), StopRequest() as stop:
        weights = WeightsStore(study, default_artifact_dir(options.storage))
        certification = Certification(
            study, records, options.seeds, facts.seed, data, load_test, make_pool, weights, say,
            stop,
        )  # fmt: skip
        try:
            if options.protocol == "honest":
                certification.run_honest()
            else:
                certification.run_watched()
        finally:  # on an error, too, what was measured is shown
            print_report(certificate_report(study))
            note_certificates(study)
    if stop.exit_code:
        print(_go_on(arguments), flush=True)
    return stop.exit_code


def dashboard(options: Namespace, arguments: list[str]) -> int:
    from nas.reports.dashboard import serve
    from nas.storage.artifacts import default_artifact_dir
    from nas.storage.database import default_storage, open_storage

    storage = open_storage(options.storage)

    def on_ready(address: str) -> None:
        print(
            f"studies of {masked(options.storage or default_storage())} at {address} (Ctrl-C ends)",
            flush=True,
        )

    try:
        folder = default_artifact_dir(options.storage)
        serve(storage, folder, options.port, on_ready, expose=options.expose)
    except KeyboardInterrupt:
        print()
    return 0


def _export_folder(study: Study, number: int) -> Path:
    """A folder of this one, named after the trial; other programs' studies may have any name."""
    from nas.storage.studies import check_study_name

    with contextlib.suppress(StudyError):
        folder = Path(f"{check_study_name(study.study_name)}-trial-{number}")
        if len(os.fsencode(folder)) <= 255:
            return folder
    raise NasError(
        f"no folder can be named after study {study.study_name[:40]!r}: say with --out where to "
        "export to"
    )


def _number(trial: int | str | None) -> int | None:
    """The trial's number; None, for the best one, when none was given."""
    return trial if isinstance(trial, int) else None


def _study_images(study: Study, facts: DataFacts, data_dir: Path | None) -> Dataset:
    """The images a study searched on; raises DataError when they are gone or have changed."""
    from fractions import Fraction

    from nas.data import default_data_dir, load_training_images, split
    from nas.storage.studies import study_facts

    images = load_training_images(facts.source, data_dir or default_data_dir(), facts.image_size)
    data = split(images, Fraction(facts.valid_share), facts.split_seed)
    before = study_facts(study)
    if before is None or (data.sha256, data.split_sha256) != (
        before.data_sha256,
        before.split_sha256,
    ):
        raise DataError(f"{facts.source} has changed since the search")
    return data
