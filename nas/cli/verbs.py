"""What each verb of the command line does: call the API, print. Checks come before writes."""

from __future__ import annotations

import math
import shlex
import sys
from argparse import Namespace
from typing import Any

from nas.errors import redact


def search(options: Namespace, arguments: list[str]) -> int:
    from nas import api
    from nas.reports.live import make_display
    from nas.searching.stop import StopRequest

    config = _config(options)
    stop = StopRequest(config.timeout_seconds)
    with make_display(options.json, options.quiet) as show:
        study = api.search(config, callback=show, stop=stop)
    ended = study.ended
    assert ended is not None
    is_plain = not (options.json or options.quiet)
    if stop.exit_code:
        # Not among JSON lines or a bare summary, but to be seen all the same.
        print(_go_on(arguments), file=sys.stdout if is_plain else sys.stderr, flush=True)
    elif is_plain and (ended.best_trial is None or ended.best_schedule):
        if ended.seconds_needed is not None:
            arguments = _with_timeout(arguments, ended.seconds_needed)
        print(_go_on(arguments), flush=True)
    if ended.best_trial is not None and is_plain:
        _print_next_steps(options, study.name)
    if stop.exit_code:
        return stop.exit_code
    return 0 if ended.best_trial is not None else 1


def ladder(options: Namespace, arguments: list[str]) -> int:
    from nas import api
    from nas.reports.live import make_display
    from nas.reports.tables import ladder_report, print_report
    from nas.searching.stop import StopRequest

    stop = StopRequest(options.timeout)
    with make_display(False, True) as quiet:
        found = api.ladder(
            options.budgets, callback=quiet if options.quiet else None, stop=stop,
            **_fields(options),
        )  # fmt: skip
    print_report(ladder_report(found.points, found.budgets))
    if found.is_cut:
        print(_go_on(arguments), flush=True)
    if stop.exit_code:
        return stop.exit_code
    return 0 if found.points else 1


def check(options: Namespace, arguments: list[str]) -> int:
    from nas import api
    from nas.reports.tables import forecast_report, print_report, stats_report
    from nas.searching.estimate import CheckResult

    def show(found: CheckResult) -> None:
        for note in found.notes:
            print(note)
        print_report(stats_report(found))

    found = api.check(_config(options), draws=options.draws, callback=show)
    if found.forecast is None:
        return 1
    print_report(forecast_report(found))
    return 0


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
    from nas.storage.ranking import find_trial
    from nas.storage.studies import open_study

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
    from nas import api

    trial = api.load_study(options.study, storage=options.storage).trial(_number(options.trial))
    done = api.export(
        trial, options.out, force=options.force, data_dir=options.data_dir,
        callback=lambda line: print(f"nas: {line}", file=sys.stderr),
    )  # fmt: skip
    what = "validation" if done.is_real else "random"
    print(
        f"exported trial {trial.number} to {done.folder}: {done.num_params:,} parameters; in a "
        f"process without nas its scores of {done.num_checked:,} {what} images differ by at most "
        f"{done.max_difference:.1g}"
        + (f", validation accuracy {done.accuracy:.2%}" if done.accuracy is not None else "")
        + (f", trained for {trial.record.schedule_text}" if trial.record.is_short else "")
    )
    return 0


def certify(options: Namespace, arguments: list[str]) -> int:
    from nas import api
    from nas.reports.tables import certificate_report, print_report
    from nas.searching.stop import StopRequest

    has_report = False

    def say(line: str) -> None:
        nonlocal has_report
        has_report = True
        print(line, flush=True)

    stop = StopRequest()
    study = api.load_study(options.study, storage=options.storage)
    try:
        api.certify(
            study, trials=options.trials, top=options.top, seeds=options.seeds,
            protocol=options.protocol, data_dir=options.data_dir, device=options.device,
            precision=options.precision, workers=options.workers, callback=say, stop=stop,
        )  # fmt: skip
        has_report = True
    finally:  # on an error, too, what was measured is shown
        if has_report:
            print_report(certificate_report(study.optuna_study))
    if stop.exit_code:
        print(_go_on(arguments), flush=True)
    return stop.exit_code


def dashboard(options: Namespace, arguments: list[str]) -> int:
    from nas import api
    from nas.storage.database import default_storage

    def say(address: str) -> None:
        url = redact(options.storage or default_storage())
        print(f"studies of {url} at {address} (Ctrl-C ends)", flush=True)

    api.dashboard(storage=options.storage, port=options.port, expose=options.expose, callback=say)
    return 0


def _fields(options: Namespace) -> dict[str, Any]:
    """The options that are fields of a search's configuration."""
    from nas.searching.config import FIELDS

    return {name: value for name, value in vars(options).items() if name in FIELDS}


def _config(options: Namespace) -> Any:
    from nas.searching.config import SearchConfig

    return SearchConfig(**_fields(options))


def _go_on(arguments: list[str]) -> str:
    return f"go on with: nas {shlex.join(redact(word) for word in arguments)}"


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
        where += f" --storage {shlex.quote(redact(options.storage))}"
    print(f"look at it: nas show best{where}\ntake it home: nas export{where}", flush=True)


def _number(trial: int | str | None) -> int | None:
    """The trial's number; None, for the best one, when none was given."""
    return trial if isinstance(trial, int) else None
