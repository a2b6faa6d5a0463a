"""Tables from records: the leaderboard of a study, all studies, budgets of a ladder."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.storages import BaseStorage
from rich.console import Group, RenderableType

from nas.errors import count
from nas.metrics import percent
from nas.reports.certificates import certificate_tables
from nas.reports.columns import Columns
from nas.reports.console import PlainConsole
from nas.reports.frontier import Point, best_under, curves_drawing, drawing, points_of
from nas.reports.lines import beside, counts_text, duration_text
from nas.reports.results import StudyResult, TrialResult
from nas.reports.sketch import Drawn
from nas.reports.trial_page import trial_page
from nas.storage.counts import count_trained, count_trials
from nas.storage.database import open_storage, storage_errors
from nas.storage.ranking import best_trial, best_trials, no_network
from nas.storage.studies import largest_share_of, num_valid_of, study_facts, study_names
from nas.storage.trials import TrialRecord

_LEAST_OF_CERTIFICATES = (
    "errors in common", "loss", "(accuracy)", "(last epoch)", "(best epoch)", "parameters",
    "(lead)", "lead", "best of all",
)  # fmt: skip


def print_report(report: RenderableType) -> None:
    """To standard output; whole lines where it is no terminal."""
    console = PlainConsole()
    if not console.is_terminal:
        console.width = 200
    console.print(report, crop=False)  # what is wider is for the terminal to wrap


def print_study(study: StudyResult, top: int) -> None:
    """The best trials of a study, and what became of all of them."""
    with storage_errors(study.storage):
        print_report(leaderboard(study.optuna_study, top))


def print_rows(study: StudyResult, top: int, form: Literal["json", "csv"]) -> None:
    """The rows of `StudyResult.leaderboard`, for programs."""
    with storage_errors(study.storage):
        rows = study.leaderboard(top)
    if form == "json":
        print(json.dumps(rows, indent=1))
    else:
        names = ["number", "accuracy", "num_params", "num_macs", "epochs", "recipe"]
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def print_trial(trial: TrialResult) -> None:
    """One trial: what it is, its network layer by layer, its learning curve."""
    with storage_errors(trial.study.storage):
        print_report(trial_page(trial.study.optuna_study, trial.record))


def print_studies(storage: str | None) -> None:
    """Every study in the database at this URL."""
    with storage_errors(storage):
        print_report(studies_table(open_storage(storage)))


def leaderboard(study: optuna.Study, num_rows: int) -> RenderableType:
    """The best trials of a study, and what became of all of them."""
    table = Columns(
        ("trial", ">accuracy", ">parameters", "epochs", ">MACs", ">seconds", "recipe"),
        ("seconds", "MACs", "recipe", "epochs"),
    )
    records, num_valid = best_trials(study, num_rows), num_valid_of(study)
    for record in records:
        table.add_row(
            str(record.number),
            _percent(record.valid_accuracy, num_valid),
            _number(record.num_params),
            epochs_cell(record),
            _number(record.num_macs),
            f"{record.train_seconds:.1f}" if record.train_seconds is not None else "-",
            recipe_text(record),
        )
    facts = study_facts(study)
    head = f"study {study.study_name}"
    if facts:
        head += (
            f": space {facts.space} on {facts.dataset}, {facts.limits.summary()}, "
            f"up to {count(facts.epochs, 'epoch')}, seed {facts.seed}"
        )
    progress = count_trials(study)
    counts = f"trials: {counts_text(progress.counts_now)}"
    total = sum(progress.seconds.values())
    if total:
        spent = sorted(progress.seconds.items(), key=lambda item: -item[1])
        parts = [f"{duration_text(s)} {name} ({s / total:.0%})" for name, s in spent if s]
        counts += f"\ntime spent training: {duration_text(total)}: {', '.join(parts)}"
    answer = best_line(study, records[0]) if records else no_network(study)
    body = [table] if records else []
    return Group(answer, head, counts, *body, *_certificate_parts(study), *_drawings(study))


def best_line(study: optuna.Study, record: TrialRecord) -> str:
    """For example `best: trial 22, 99.62% (largest class 11%), 18,837 parameters`."""
    line = f"best: trial {record.number}, {_percent(record.valid_accuracy, num_valid_of(study))}"
    line += beside(largest_share_of(study))
    if record.num_params is not None:
        line += f", {record.num_params:,} parameters"
    return line + (f", trained for {record.schedule_text}" if record.is_short else "")


def _drawings(study: optuna.Study) -> list[RenderableType]:
    """Frontier and learning curves, on a terminal, where there is more than one point to draw."""
    parts: list[RenderableType] = []
    points, num_valid = points_of([study]), num_valid_of(study)
    if len(points) > 1:
        parts += [Drawn(lambda width: "\naccuracy over parameters"),
                  Drawn(lambda width: drawing(points, width, num_valid))]  # fmt: skip
    records = [point.record for point in points]
    if any(len(record.history) > 1 for record in records):
        parts += [Drawn(lambda width: "\nvalidation error over epochs"),
                  Drawn(lambda width: curves_drawing(records, width, num_valid))]  # fmt: skip
    return parts


def certificate_report(study: optuna.Study) -> RenderableType:
    """What certifications have found in a study, a table for each protocol."""
    return Group(*_certificate_parts(study) or ["nothing is certified yet"])


def _certificate_parts(study: optuna.Study) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for page in certificate_tables(study):
        table = Columns(page.columns, _LEAST_OF_CERTIFICATES)
        for row in page.rows:
            table.add_row(*row)
        parts += ["", page.title, table]
    return parts


def ladder_report(points: Sequence[Point], budgets: Sequence[int]) -> RenderableType:
    """The best network under each budget, whichever study found it, and the frontier."""
    if not points:
        return "no network yet: no candidate has come to the end of a schedule"
    table = Columns(
        (">budget", ">accuracy", ">parameters", "epochs", ">trial", "found in study"),
        ("found in study", "epochs", "trial"),
    )
    for budget in budgets:
        best = best_under(points, budget)
        if best is None:
            table.add_row(f"{budget:,}", "-", "-", "-", "-", "-")
            continue
        table.add_row(
            f"{budget:,}", percent(best.accuracy, best.num_valid), _number(best.num_params),
            epochs_cell(best.record), str(best.record.number), best.study,
        )  # fmt: skip
    head = "validation accuracy under each budget, of one training each"
    return Group(
        head, table, "", Drawn(lambda width: drawing(points, width, points[0].num_valid), True)
    )


def studies_table(storage: BaseStorage) -> RenderableType:
    """Every study in a storage."""
    table = Columns(
        ("study", "space", "data set", ">budget", "best", ">parameters", ">trained", "trials"),
        ("trials", "space", "data set", "parameters", "trained", "(best)", "budget", "best"),
    )
    for name in sorted(study_names(storage)):
        study = optuna.load_study(study_name=name, storage=storage)
        facts = study_facts(study)
        counted = count_trials(study) if facts else None
        # Another program's scores may be anything.
        best = best_trial(study) if facts else None
        table.add_row(
            name,
            facts.space if facts else "-",
            facts.dataset if facts else "-",
            facts.limits.text if facts else "-",
            _accuracy(best, num_valid_of(study)) if best else "-",
            _number(best.num_params) if best else "-",
            f"{count_trained(counted.counts):,}" if counted else "-",
            counts_text(counted.counts_now) if counted else "not made by nas",
        )
    return table if table.rows else "no studies yet"


def _percent(accuracy: float | None, num_images: int | None) -> str:
    return "-" if accuracy is None else percent(accuracy, num_images)


def _accuracy(record: TrialRecord, num_valid: int | None) -> str:
    """For example `99.40%`, or `98.60% (1 of 19 epochs)`."""
    accuracy = _percent(record.valid_accuracy, num_valid)
    return f"{accuracy} ({record.schedule_text})" if record.is_short else accuracy


def epochs_cell(record: TrialRecord) -> str:
    """For example `7 of 19`, or `19` where it was trained in full."""
    if record.result is None:
        return "-"
    full = f"{record.result.epochs:g}"
    return record.schedule_text.removesuffix(" epochs") if record.is_short else full


def recipe_text(record: TrialRecord) -> str:
    """Without its epochs, which have a column of their own."""
    if record.candidate is None:
        return "-"
    recipe = record.candidate.recipe
    return recipe.summary().removesuffix(f" {recipe.epochs} ep")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
