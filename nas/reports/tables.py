"""Tables from records: the leaderboard of a study, one trial, all studies."""

from __future__ import annotations

import csv
import json
import statistics
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.storages import BaseStorage
from rich.console import Group, RenderableType

from nas.candidates.budget import to_bytes
from nas.candidates.device import device_bytes, names_bytes
from nas.certification.records import Protocol
from nas.errors import count, option
from nas.metrics import EpochMetrics, percent
from nas.reports.certificates import certificate_tables, measured_runs, spread_of
from nas.reports.columns import Columns
from nas.reports.console import PlainConsole
from nas.reports.frontier import Point, best_under, curves_drawing, drawing, points_of
from nas.reports.lines import beside, counts_text, duration_text, plan_text
from nas.reports.results import StudyResult, TrialResult
from nas.reports.sketch import Drawn
from nas.storage.counts import count_trained, count_trials
from nas.storage.database import open_storage, storage_errors
from nas.storage.ranking import best_trial, best_trials, no_network
from nas.storage.studies import StudyFacts, num_valid_of, study_data, study_facts, study_names
from nas.storage.trials import TrialRecord

if TYPE_CHECKING:  # they load torch, which a leaderboard needs not wait for
    from nas.candidates.architecture import Architecture
    from nas.searching.estimate import CheckResult

_BAR_WIDTH = 30
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
    line += beside(_largest_share(study))
    if record.num_params is not None:
        line += f", {record.num_params:,} parameters"
    return line + (f", trained for {record.schedule_text}" if record.is_short else "")


def _largest_share(study: optuna.Study) -> float | None:
    return study_data(study).largest_share if study_facts(study) else None


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


def trial_page(study: optuna.Study, record: TrialRecord) -> RenderableType:
    """One trial: what it is, its network layer by layer, its learning curve."""
    parts: list[RenderableType] = [f"study {study.study_name}, trial {record.number}"]
    if record.reason:
        parts.append(f"{record.reason}: {record.detail}")
    if record.result is not None:
        score = percent(record.result.valid_accuracy, num_valid_of(study))
        score += beside(_largest_share(study))
        accuracy = f"validation accuracy {score}, of the last epoch"
        parts.append(
            accuracy + (f" of a schedule of {record.schedule_text}" if record.is_short else "")
        )
    if record.candidate is None:
        if record.num_params is not None:
            parts.append(f"{record.num_params:,} parameters")
        parts += [f"{name} = {value}" for name, value in record.params.items()]
        return Group(*parts)
    architecture = record.candidate.architecture
    facts = study_facts(study)
    device = device_bytes(architecture, names_bytes(study_data(study).classes) if facts else None)
    parts += [
        f"{architecture.num_params:,} parameters, {architecture.num_macs:,} multiply-accumulates "
        f"an image, fingerprint {record.fingerprint}",
        f"as int8 C on a small device about {device.flash:,} bytes of flash ({device.weights:,} of "
        f"weights) and {device.ram:,} of RAM",
        *_in_bits(architecture, facts),
        f"recipe: {record.candidate.recipe.summary()}",
        f"seed {record.seed}, {record.device}, "
        + ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "",
        network_table(architecture),
    ]
    if record.continues is not None:
        parts.append(f"goes on with trial {record.continues}, which had been stopped")
    for rung in record.rungs:
        parts.append(
            f"with its schedule squeezed into {rung.epochs} of {record.candidate.recipe.epochs} "
            f"epochs: {percent(rung.valid_accuracy, num_valid_of(study))}"
        )
    if record.history:
        parts += ["", learning_curve(record.history, num_valid_of(study))]
    for protocol in Protocol:
        runs = measured_runs(study, protocol, record.number)
        if runs:
            parts.append(f"certified, {protocol}: {spread_of(runs)}")
    return Group(*parts)


def _in_bits(architecture: Architecture, facts: StudyFacts | None) -> list[str]:
    """What values of so many bits take, where the study limits that."""
    if facts is None or (facts.max_weight_bytes, facts.max_activation_bytes) == (None, None):
        return []
    bits = facts.bits
    return [
        f"{to_bytes(architecture.num_params, bits):,} bytes of weights, "
        f"{to_bytes(architecture.peak_values, bits):,} bytes of activations held at once, "
        f"{bits} bits each"
    ]


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


def network_table(architecture: Architecture) -> Columns:
    """The network as torchinfo sees it, with the receptive field of each layer."""
    from torchinfo import summary  # runs the network once, so only where it is shown

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = summary(architecture.build(), input_size=(1, *architecture.input_shape), verbose=0)
    table = Columns(
        ("layer", ">output", ">parameters", ">MACs", ">receptive field"),
        ("receptive field", "MACs", "output", "parameters"),
    )
    modules = [layer for layer in info.summary_list if layer.depth == 1]
    for module, row in zip(modules, architecture.rows, strict=True):
        side = row.receptive_field
        table.add_row(
            row.layer.call(row.in_shape).source().removeprefix("nn."),
            "x".join(map(str, module.output_size[1:])),
            _number(module.num_params),
            _number(row.num_macs),
            f"{side}x{side}",
        )
    table.add_row("total", "", _number(info.total_params), _number(architecture.num_macs), "")
    return table


def learning_curve(history: Sequence[EpochMetrics], num_valid: int | None = None) -> Columns:
    """Losses and accuracy of each epoch; the bar runs from the lowest to the highest accuracy."""
    scores = [m.valid_accuracy for m in history]
    low, high = min(scores), max(scores)
    ends = f"{percent(low, num_valid)} to {percent(high, num_valid)}"
    table = Columns(
        (">epoch", ">train loss", ">validation loss", ">accuracy", ends, ">seconds"),
        ("seconds", "train loss", ends, "validation loss"),
    )
    for m in history:
        share = (m.valid_accuracy - low) / (high - low) if high > low else 1.0
        table.add_row(
            str(m.epoch),
            f"{m.train_loss:.4f}",
            f"{m.valid_loss:.4f}",
            percent(m.valid_accuracy, num_valid),
            "█" * max(round(_BAR_WIDTH * share), 1),
            f"{m.seconds:.1f}",
        )
    return table


def stats_report(found: CheckResult) -> RenderableType:
    """What `nas check` found in the space."""
    stats, limits = found.stats, found.task.limits
    drawn, fitting = stats.num_drawn, stats.fitting
    head = (
        f"space {found.space} on {found.dataset} ({count(found.num_train, 'image')} to train on, "
        f"{found.num_valid:,} to validate), {found.task.budget.summary()}"
    )
    parts: list[RenderableType] = [
        head,
        f"of {drawn:,} random draws {len(fitting):,} fit ({len(fitting) / drawn:.1%}), "
        f"{stats.num_over:,} are over a limit, {stats.num_invalid:,} cannot exist",
    ]
    if not fitting:
        return Group(*parts, "networks that fit exist, but random draws do not find them")
    table = Columns(
        ("of those that fit", ">smallest", ">median", ">largest"), ("median", "smallest")
    )
    networks = [c.architecture for c in fitting]
    devices = [device_bytes(n, limits.names_bytes) for n in networks]
    in_bits = (
        (
            f"bytes of weights, {limits.bits} bits each",
            [to_bytes(n.num_params, limits.bits) for n in networks],
        ),
        (
            "bytes of activations at once",
            [to_bytes(n.peak_values, limits.bits) for n in networks],
        ),
    )
    is_in_bits = (limits.max_weight_bytes, limits.max_activation_bytes) != (None, None)
    for name, values in (
        ("parameters", [n.num_params for n in networks]),
        ("multiply-accumulates", [n.num_macs for n in networks]),
        ("bytes of flash, as int8 C", [d.flash for d in devices]),
        ("bytes of RAM, as int8 C", [d.ram for d in devices]),
        *(in_bits if is_in_bits else ()),
        ("layers with weights", [n.depth for n in networks]),
    ):
        median = round(statistics.median(values))
        table.add_row(name, _number(min(values)), _number(median), _number(max(values)))
    return Group(*parts, table, f"of these networks {stats.num_distinct:,} are distinct")


def forecast_report(found: CheckResult) -> RenderableType:
    """How long `nas check` expects a search to take."""
    expected = found.forecast
    assert expected is not None
    config, at_once = found.config, f"{found.workers} at a time"
    # How soon it stops a training depends on how candidates differ.
    about = "at most" if config.pruner == "median" else "about"
    is_all = expected.num_trials < config.trials
    search = (
        f"{count(expected.num_trials, 'candidate')}{' (the space has no more)' if is_all else ''}, "
        f"{at_once}: {_with_word(about, expected.seconds_likely)} "
        f"with {option('pruner', config.pruner)}"
    )
    if expected.seconds_likely < expected.seconds_most:
        search += f", {duration_text(expected.seconds_most)} if none is stopped"
    lines = [
        f"one full training of {count(config.epochs, 'epoch')}, {at_once}: "
        f"{_with_word('about', expected.seconds_each)} on {found.device}",
        search,
    ]
    return Group(*lines, *([plan_text(found.plan)] if found.plan else []))


def _with_word(word: str, seconds: float) -> str:
    """`about 3 s`, and `under 1 s` without the word."""
    text = duration_text(seconds)
    return text if text.startswith("under") else f"{word} {text}"


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
            f"{facts.budget:,}" if facts else "-",
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
