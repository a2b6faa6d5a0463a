"""Notes of a study and of its trials, as Markdown: what optuna-dashboard shows beside them.

Narrow on purpose: the dashboard makes its page as wide as the widest line of a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import optuna

from nas.certification.records import Protocol
from nas.errors import command, named_for_shell, sanitize
from nas.metrics import EpochMetrics, percent
from nas.reports.certificates import (
    certificate_tables,
    decided_trial,
    measured_runs,
    winner_of,
)
from nas.reports.layer_names import full_name
from nas.reports.lines import duration_text
from nas.reports.report import accuracy_of
from nas.reports.tables import epochs_cell
from nas.storage.counts import PROMOTED, TrialCounts, count_trials
from nas.storage.ranking import best_trials, no_network
from nas.storage.reasons import TRAINED, UNFINISHED, Reason
from nas.storage.studies import StudyFacts, num_valid_of, study_data, study_facts
from nas.storage.trials import TrialRecord

STUDY_HEADING = "## Summary of this search"
TRIAL_HEADING = "## What was trained"
CERTIFICATES_HEADING = "## Certificates"
NUM_BEST = 10
MOST_EPOCHS = 20  # rows of a learning curve

# What the dashboard calls a trial, and what it means here.
_MEANINGS: dict[str, tuple[str, str]] = {
    TRAINED: ("Complete", "trained with its whole schedule"),
    Reason.STOPPED_BY_PRUNER: (
        "Pruned",
        "no failure: others were better after as much training, so the time went to these",
    ),
    PROMOTED: (
        "Pruned",
        "stopped at first, but one of the best: another trial goes on with it",
    ),
    Reason.OVER_BUDGET: ("Pruned", "too large: turned away before training"),
    Reason.INVALID: ("Pruned", "cannot be built: turned away before training"),
    Reason.DUPLICATE: ("Complete or Pruned", "known already: not trained twice, has its score"),
    Reason.DIVERGED: ("Pruned", "loss or weights became infinite"),
    Reason.ERROR: ("Fail", "its training failed; `detail` says why"),
    Reason.INTERRUPTED: ("Fail", "cut off; trained again when the search goes on"),
    Reason.TIME_LIMIT: ("Fail", "cut off by the time limit"),
    Reason.LOST: ("Fail", "its process died; trained again when the search goes on"),
    Reason.SURPLUS: ("Fail", "another process was faster"),
    UNFINISHED: ("Running", "in work, or its process died"),
}


def study_note(study: optuna.Study) -> str:
    """What was searched and found, what became of the trials, and what to do next."""
    facts = study_facts(study)
    assert facts is not None  # `annotate` leaves other programs' studies alone
    with named_for_shell():
        counted, winner = count_trials(study), winner_of(study)
        parts = [STUDY_HEADING, _answer(study, facts, winner), _task(study, facts, counted)]
        if winner is not None:
            parts.append(_best(study))
        parts += [_outcomes(counted), _next(study, winner, counted)]
        parts += [
            "The charts *Accuracy over parameters*, *Learning curves* and *Error of every trial* "
            "are below the history on the study's page. The history above them puts scores of "
            "short schedules beside those of whole ones, on one scale: *Error of every trial* "
            "tells them apart.",
            f"*Kept up to date by nas, but for what stands above “{STUDY_HEADING[3:]}”.*",
        ]
        if tables := _certificates(study):
            parts += [CERTIFICATES_HEADING, tables]
    return "\n\n".join(parts)


def trial_note(record: TrialRecord, num_valid: int | None = None) -> str:
    """The network of a trial layer by layer, its recipe and its learning curve.

    Args:
        num_valid: images that it was validated on.
    """
    candidate = record.candidate
    assert candidate is not None  # one of the best
    architecture, recipe = candidate.architecture, candidate.recipe
    trained = f"{epochs_cell(record)} of its epochs" if record.is_short else "its whole schedule"
    accuracy = percent(record.valid_accuracy or 0, num_valid)
    parts = [
        TRIAL_HEADING,
        f"**{accuracy}** of the validation images after {trained}, "
        f"**{architecture.num_params:,} parameters**, {architecture.num_macs:,} "
        "multiply-accumulates an image.",
    ]
    if record.outcome in _MEANINGS and record.reason is not None:
        label, meaning = _MEANINGS[record.outcome]
        parts.append(f"*{label}*: {record.outcome}; {meaning}.")
    if record.continues is not None:
        parts.append(f"It goes on with trial {record.continues}, which had been stopped.")
    layers = [
        (
            full_name(row.layer),
            "x".join(map(str, row.out_shape)), f"{row.num_params:,}", f"{row.num_macs:,}",
            f"{row.receptive_field}x{row.receptive_field}",
        )
        for row in architecture.rows
    ]  # fmt: skip
    parts += [
        "### Network",
        table(("layer", ">output", ">parameters", ">MACs", ">sees"), layers),
        "### Recipe",
        table(
            ("what", "value"),
            [
                ("optimiser", f"{recipe.optimizer}, momentum {recipe.momentum:g}"),
                ("learning rate", f"{recipe.learning_rate:.3g} at most, {recipe.schedule}"),
                ("weight decay", f"{recipe.weight_decay:.3g}"),
                ("images in a step", f"{recipe.batch_size}"),
                ("epochs", f"{recipe.epochs}"),
                ("augmentation", f"{recipe.augmentation:.2g}"),
                ("label smoothing", f"{recipe.label_smoothing:.2g}"),
            ],
        ),
    ]
    if record.history:
        parts += ["### Learning curve", _curve(record.history, num_valid)]
    parts.append(f"*Written by nas; what stands above “{TRIAL_HEADING[3:]}” is kept.*")
    return "\n\n".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a column whose name starts with '>' is aligned to the right.

    The dashboard sets columns close to each other: a space that is not left out keeps them apart.
    """
    names = [column.removeprefix(">") for column in columns]
    rules = ["---:" if column.startswith(">") else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rules, *map(_apart, rows)))


def _apart(cells: Sequence[str]) -> list[str]:
    return [*cells[:1], *(f"\N{NO-BREAK SPACE}{cell}" for cell in cells[1:])]


def plain(text: str) -> str:
    """The text as Markdown that shows it as it is, on one line: a name may be a stranger's."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(sanitize(text).split()))


def _answer(study: optuna.Study, facts: StudyFacts, winner: TrialRecord | None) -> str:
    if winner is None:
        text = no_network(study)
        return f"**{plain(text[:1].upper() + text[1:])}.**"
    accuracy, how = accuracy_of(study, study_data(study), winner)
    num_params = winner.num_params or 0
    return (
        f"**Trial {winner.number} classifies {accuracy} of the images rightly with "
        f"{num_params:,} parameters**, {facts.limits.room(num_params)} ({how})."
    )


def _task(study: optuna.Study, facts: StudyFacts, counted: TrialCounts) -> str:
    data = study_data(study)
    shape = "x".join(map(str, data.input_shape))
    images = f"{data.num_train:,} images to train on, {data.num_valid:,} to validate"
    seconds = sum(counted.seconds.values())
    rows = [
        ("data", f"{plain(facts.dataset)}: {images}, {shape}, {len(data.classes)} classes"),
        ("a network has", plain(facts.limits.summary())),
        ("space", plain(facts.space)),
        ("schedule", f"up to {facts.epochs} epochs"),
        ("seed", f"{facts.seed}"),
        ("training so far", duration_text(seconds) if seconds else "none"),
    ]
    return table(("what", "value"), rows)


def _best(study: optuna.Study) -> str:
    num_valid = num_valid_of(study)
    rows = [
        (
            f"{r.number}", percent(r.valid_accuracy or 0, num_valid), f"{r.num_params or 0:,}",
            f"{r.num_macs or 0:,}", epochs_cell(r),
        )
        for r in best_trials(study, NUM_BEST)
    ]  # fmt: skip
    columns = ("trial", ">accuracy", ">parameters", ">MACs", "epochs")
    return "### The best\n\n" + table(columns, rows) + "\n\nEach of these has a note of its own."


def _outcomes(counted: TrialCounts) -> str:
    counts = counted.counts_now
    names = sorted(filter(counts.__getitem__, counts), key=lambda name: -counts[name])
    rows = [
        (f"{counts[name]:,}", name, *_MEANINGS.get(name, ("", ""))) for name in names
    ] or [("0", "no trial yet", "", "")]  # fmt: skip
    return "### What became of the trials\n\n" + table(
        (">trials", "outcome", "label here", "meaning"), rows
    )


def _next(study: optuna.Study, winner: TrialRecord | None, counted: TrialCounts) -> str:
    name = study.study_name
    if winner is None or counted.num_running:
        lines = [command("show", study=name)]
    elif decided_trial(study) is None and not measured_runs(study, Protocol.HONEST, winner.number):
        lines = [command("certify", study=name), command("report", study=name)]
    else:
        lines = [command("export", study=name), command("report", study=name)]
    # A name may hold backquotes: the fence is longer than any row of them.
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", name)), 0)
    return "\n".join(["### Next\n", f"{fence}sh", *lines, fence])


def _certificates(study: optuna.Study) -> str:
    parts = []
    for page in certificate_tables(study):
        parts += [page.title, table(page.columns, page.rows)]
    return "\n\n".join(parts)


def _curve(history: Sequence[EpochMetrics], num_valid: int | None) -> str:
    step = -(-len(history) // MOST_EPOCHS)
    chosen = [*history[: -1 : step], history[-1]]  # fmt: skip
    rows = [
        (
            f"{m.epoch}", f"{m.train_loss:.4f}", f"{m.valid_loss:.4f}",
            percent(m.valid_accuracy, num_valid), f"{m.seconds:.1f}",
        )
        for m in chosen
    ]  # fmt: skip
    return table((">epoch", ">train loss", ">validation loss", ">accuracy", ">seconds"), rows)
