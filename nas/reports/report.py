"""Report: what stands on the page of one or more studies, the answer first.

Nothing on it says where it was made: no paths, no host names, no addresses of databases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import optuna

from nas.candidates.budget import Limits, to_bytes
from nas.candidates.device import device_bytes, names_bytes
from nas.certification.records import Protocol
from nas.errors import (
    NasError,
    StudyError,
    call_or_command,
    command,
    count,
    files_beside,
    named_for_shell,
    option,
)
from nas.metrics import percent
from nas.reports.certificates import (
    certificate_tables,
    decided_trial,
    measured_runs,
    spread_of,
    winner_of,
)
from nas.reports.comparison import differing_facts, verdict
from nas.reports.confusion import Predictions, confusion_plot
from nas.reports.importance import importance_of
from nas.reports.lines import counts_text, duration_text
from nas.reports.network_drawing import network_drawing
from nas.reports.page import HtmlPage
from nas.reports.picture import Picture
from nas.reports.plots import (
    curves_plot,
    frontier_plot,
    importance_plot,
    spending_plot,
)
from nas.reports.references import DATASET, REFERENCES
from nas.reports.repetition import repetition
from nas.reports.results import StudyResult
from nas.reports.tables import epochs_cell, recipe_text
from nas.storage.counts import count_trials
from nas.storage.ranking import best_trial, best_trials, no_network
from nas.storage.studies import DataFacts, StudyFacts, num_valid_of, study_data, study_facts
from nas.storage.trials import TrialRecord

MOST_MISTAKES = 60

Predict = Callable[[StudyResult, int], Predictions]
"""What the network of a trial says of the validation images; raises NasError where it cannot be
told."""


def report_page(studies: Sequence[StudyResult], predict: Predict) -> str:
    """The page as HTML.

    Args:
        studies: those to show, side by side where there are several.
        predict: called for the winner of each.
    """
    with named_for_shell():  # whoever reads the page
        return _page(studies, predict).html()


def _page(studies: Sequence[StudyResult], predict: Predict) -> HtmlPage:
    names = ", ".join(study.name for study in studies)
    page = HtmlPage(f"{names}: report of a search")
    if len(studies) > 1:
        page.heading(f"{len(studies)} studies side by side", 1)
        _compare(page, [study.optuna_study for study in studies])
    for study in studies:
        _study(page, study, predict, is_alone=len(studies) == 1)
    return page


PLOTS: dict[str, Callable[[StudyResult, Predict], Picture]] = {
    "frontier": lambda study, predict: frontier_plot([study.optuna_study]),
    "curves": lambda study, predict: curves_plot(study.optuna_study),
    "spending": lambda study, predict: spending_plot(study.optuna_study),
    "importance": lambda study, predict: importance_plot(importance_of(study.optuna_study)),
    "network": lambda study, predict: network_drawing(study.trial(_winner(study)).architecture),
    "confusion": lambda study, predict: confusion_plot(predict(study, _winner(study))),
}
"""The pictures of a study by name; they raise StudyError where there is nothing to draw."""


def _winner(study: StudyResult) -> int:
    winner = winner_of(study.optuna_study)
    if winner is None:
        raise StudyError(no_network(study.optuna_study))
    return winner.number


def _study(page: HtmlPage, result: StudyResult, predict: Predict, is_alone: bool) -> None:
    study = result.optuna_study
    data, facts, winner = study_data(study), study_facts(study), winner_of(study)
    assert facts is not None  # or study_data had refused
    if is_alone:
        page.heading(f"Study {study.study_name}", 1)
    else:
        page.heading(f"Study {study.study_name}", style="study")
    if winner is None:
        page.paragraph(_sentence(no_network(study)), "lead")
    else:
        _answer(page, study, facts, data, winner)
    _state(page, study)
    if is_alone:
        page.figure("Accuracy over parameters", lambda width: frontier_plot([study], width))
        if facts.dataset == DATASET and winner is not None:
            _references(page)
    page.figure("Learning curves", lambda width: curves_plot(study, width))
    page.figure("Where proposals and time went", lambda width: spending_plot(study, width))
    try:
        found = importance_of(study)
        page.figure("Importance of parameters", lambda width: importance_plot(found, width))
    except StudyError as error:
        page.heading("Importance of parameters")
        page.paragraph(f"Not drawn: {error}", "note")
    if winner is not None and winner.candidate is not None:
        architecture = winner.candidate.architecture
        page.figure(
            f"The network of trial {winner.number}, to scale",
            lambda width: network_drawing(architecture, width),
        )
        _confusion(page, result, winner, predict)
    _certificates(page, study)
    _leaderboard(page, study)
    _reproduce(page, study, facts, data, winner)


def _answer(
    page: HtmlPage, study: optuna.Study, facts: StudyFacts, data: DataFacts, winner: TrialRecord
) -> None:
    accuracy, remark = accuracy_of(study, data, winner)
    num_params = winner.num_params or 0
    page.paragraph(
        f"The best network has {num_params:,} parameters, {facts.limits.room(num_params)}, and "
        f"classifies {accuracy} of the images rightly: trial {winner.number} of a search in the "
        f"space {facts.space} on {facts.dataset}.",
        "lead",
    )
    best = best_trial(study)
    if best is not None and best.number != winner.number:
        page.paragraph(
            f"It was chosen by nas certify, over several trainings. By one training each, trial "
            f"{best.number} would be first."
        )
    on_device = []
    if winner.candidate is not None:
        device = device_bytes(winner.candidate.architecture, names_bytes(data.classes))
        on_device = [("as int8 C", f"{device.flash:,} bytes", f"of flash, {device.ram:,} of RAM")]
    epochs = f"{winner.last_rung.epochs:g}"
    full = winner.candidate.recipe.epochs if winner.candidate else facts.epochs
    page.facts([
        ("accuracy", accuracy, remark),
        ("parameters", f"{num_params:,}", f"budget {facts.limits.text}"),
        ("weights", f"{to_bytes(num_params, Limits.bits):,} bytes", "32 bits each"),
        *on_device,
        ("multiply-accumulates", f"{winner.num_macs or 0:,}", "for an image"),
        ("trained for", f"{epochs} epochs", f"of {full}" if winner.is_short else "in full"),
    ])  # fmt: skip
    one = 1 / max(data.num_valid, 1)
    if one >= 0.002:
        page.paragraph(
            f"There are only {data.num_valid:,} validation images: each is worth {one:.1%}, so "
            "accuracies near each other do not tell networks apart.",
            "note",
        )
    which = "" if best is not None and best.number == winner.number else f" {winner.number}"
    page.command(command(f"export{which}", study=study.study_name, out="winner"))


def accuracy_of(study: optuna.Study, data: DataFacts, winner: TrialRecord) -> tuple[str, str]:
    """What the winner's accuracy is, and on what that was measured."""
    where = {
        Protocol.HONEST: "test images, after the last epoch",
        Protocol.VALIDATION: f"{data.num_valid:,} validation images",
        Protocol.FOLDS: "parts of the training images, each by a network of the others",
    }
    for protocol, images in where.items():
        runs = measured_runs(study, protocol, winner.number)
        if runs:
            mean, _, interval = spread_of(runs).partition(" (")
            return mean, f"certified on {images}: {interval.rstrip(')')}"
    return (
        percent(winner.valid_accuracy or 0, data.num_valid),
        f"one training, {data.num_valid:,} validation images; not certified",
    )


def _state(page: HtmlPage, study: optuna.Study) -> None:
    counted = count_trials(study)
    seconds = sum(counted.seconds.values())
    page.paragraph(
        f"Trials: {counts_text(counted.counts_now)}; {duration_text(seconds)} of training."
    )
    if counted.num_running:
        page.paragraph(
            f"In work, or lost with its process: {count(counted.num_running, 'trial')}. This is "
            "what was known when the page was made.",
            "note",
        )


def _references(page: HtmlPage) -> None:
    page.table(
        ("made by hand", ">parameters", ">last epoch, mean of 3", ">published, best epoch"),
        [
            (r.name, f"{r.num_params:,}", f"{r.accuracy:.2%}", f"{r.published:.2%}")
            for r in REFERENCES
        ],
    )


def _confusion(page: HtmlPage, result: StudyResult, winner: TrialRecord, predict: Predict) -> None:
    try:
        predictions = predict(result, winner.number)
    except NasError:  # its text may say where the images were looked for
        page.heading("What it takes for what")
        page.paragraph(
            "Not drawn: this needs the weights and the validation images of the study, and one of "
            "them was not at hand when the page was made.",
            "note",
        )
        return
    page.figure("What it takes for what", lambda width: confusion_plot(predictions, width))
    mistakes = predictions.mistakes(MOST_MISTAKES)
    if not mistakes:
        return
    page.heading("The validation images that it misses", 3)
    if predictions.num_wrong > len(mistakes):
        page.paragraph(
            f"The {len(mistakes)} of {predictions.num_wrong:,} of which it was surest come first "
            "and are shown."
        )
    page.gallery([
        (
            mistake.url,
            f"image of class {mistake.label}, taken for {mistake.predicted}",
            f"{mistake.label} taken for {mistake.predicted}, {mistake.probability:.0%} sure",
        )
        for mistake in mistakes
    ])  # fmt: skip


def _certificates(page: HtmlPage, study: optuna.Study) -> None:
    page.heading("How much the score is worth")
    tables = certificate_tables(study)
    for table in tables:
        page.paragraph(_sentence(table.title))
        page.table(table.columns, table.rows)
    if not tables:
        page.paragraph(
            "Nothing is certified yet: an accuracy of the search is one draw, and another seed "
            "gives another one."
        )
    if decided_trial(study) is None and best_trial(study) is not None:
        page.command(command("certify", study=study.study_name))


def _leaderboard(page: HtmlPage, study: optuna.Study) -> None:
    records, num_valid = best_trials(study, 10), num_valid_of(study)
    if not records:
        return
    page.heading("The best trials")
    page.table(
        ("trial", ">accuracy", ">parameters", ">MACs", "epochs", "recipe"),
        [
            (
                str(r.number), percent(r.valid_accuracy or 0, num_valid),
                f"{r.num_params or 0:,}",
                f"{r.num_macs or 0:,}",
                epochs_cell(r),
                recipe_text(r),
            )
            for r in records
        ],
    )  # fmt: skip


def _reproduce(
    page: HtmlPage, study: optuna.Study, facts: StudyFacts, data: DataFacts,
    winner: TrialRecord | None,
) -> None:  # fmt: skip
    page.heading("How to reproduce it")
    line = repetition(study)
    if line is None:
        page.paragraph("In Python, where its images or its space were made.")
    else:
        page.command(line)
        page.paragraph(_where(study, line))
        page.paragraph(
            f"With {option('timeout')} and {option('workers')}, in older studies also "
            f"{option('sampler')}, as they were given, which a study does not store."
        )
    parts = [f"{data.num_train:,} images to train on, {data.num_valid:,} to validate"]
    parts += [f"data {facts.data_sha256[:12]}, split {facts.split_sha256[:12]}"]
    parts += [f"space {facts.space} {facts.space_sha256[:12]} (SHA-256)"]
    if winner is not None:
        parts += [f"trial {winner.number}: seed {winner.seed}, {winner.device or 'device unknown'}"]
        parts += [f"{name} {version}" for name, version in winner.versions.items()]
    page.paragraph("; ".join(parts) + ".")


def _where(study: optuna.Study, line: str) -> str:
    """In which folder the line works, and how its space is made there."""
    files = files_beside(line)
    space = next((name for name in files if name.endswith(".py")), None)
    text = f"In a folder that holds {' and '.join(files)}." if files else "In any folder."
    if space is not None:
        call = f"nas.load_study({study.study_name!r}).save_space()"
        writes = call_or_command(call, "spaces", study=study.study_name)
        text += f" {writes} writes {space} as it was searched."
    return text


def _compare(page: HtmlPage, studies: Sequence[optuna.Study]) -> None:
    rows = []
    for study in studies:
        winner, facts = winner_of(study), study_facts(study)
        assert facts is not None
        if winner is None:
            rows.append((study.study_name, "no network yet", "-", facts.limits.text, "-"))
            continue
        accuracy, remark = accuracy_of(study, study_data(study), winner)
        rows.append((study.study_name, accuracy, f"{winner.num_params or 0:,}",
                     facts.limits.text, f"trial {winner.number}: {remark}"))  # fmt: skip
    page.table(("study", "accuracy", ">parameters", ">budget", "measured"), rows)
    page.heading("Is the difference real?")
    for first, second in combinations(studies, 2):
        page.paragraph(verdict(first, second))
    page.figure("Accuracy over parameters", lambda width: frontier_plot(studies, width))
    page.heading("What was searched differently")
    differing = differing_facts(studies)
    if differing:
        page.table(("what", *(study.study_name for study in studies)), differing)
    else:
        page.paragraph("Nothing: these studies differ in their candidates alone.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
