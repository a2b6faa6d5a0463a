"""Plots of a study: accuracy over parameters, learning curves, where the time went, importance.

Each function draws one picture of the width that is asked for: `WIDE` for a screen, `NARROW` for a
phone.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from nas import metrics
from nas.errors import StudyError
from nas.reports.axes import Entry, Scale, frame, legend, mark_point, percent, thousands
from nas.reports.frontier import pareto, points_of
from nas.reports.importance import Importance
from nas.reports.lines import duration_text
from nas.reports.picture import (
    SERIES,
    SHAPES,
    SMALL,
    Dots,
    Line,
    Picture,
    Text,
    shortened,
    text_width,
)
from nas.reports.references import DATASET, REFERENCES
from nas.storage.counts import count_trials
from nas.storage.ranking import best_trials, no_network
from nas.storage.reasons import TRAINED, Reason
from nas.storage.studies import num_valid_of, study_facts
from nas.storage.trials import TrialRecord, read_trials

WIDE, NARROW = 720.0, 340.0
_LEFT, _TOP, _BOTTOM = 58.0, 34.0, 44.0  # of a plot, for its axes
_FINEST = 1e-5  # of an error, so that none is infinitely small
MOST_GREY = 300  # learning curves in grey


def frontier_plot(studies: Sequence[optuna.Study], width: float = WIDE) -> Picture:
    """Accuracy over parameters of every network of one or more studies.

    Accuracies stand in equal ratios of the error, so that 99.0 and 99.5 % do not fall into one.

    Raises:
        StudyError: there is no network yet.
    """
    points = points_of(studies)
    if not points:
        raise StudyError(no_network(studies[0]))
    facts = [study_facts(study) for study in studies]
    references = REFERENCES if all(f and f.dataset == DATASET for f in facts) else ()
    errors = sorted(_error(point.accuracy) for point in points)
    # What is far worse than the others would squeeze these into a line.
    worst = max(errors[int(0.9 * (len(errors) - 1))], _error(pareto(points)[0].accuracy))
    shown = [point for point in points if _error(point.accuracy) <= worst]
    sizes = [p.num_params for p in shown] + [r.num_params for r in references]
    budgets = sorted({f.budget for f in facts if f and not f.limits.is_flash_alone})
    sizes += budgets
    inner = (_LEFT, width - 14)
    heights = errors[:1] + [worst] + [1 - r.accuracy for r in references]
    height = 300.0
    size = 4.0 if len(shown) <= 200 else 2.0
    x = Scale(min(sizes) * 0.93, max(sizes) * 1.07, *inner, is_log=True)
    y = Scale(min(heights) * 0.8, max(heights) * 1.15, _TOP, _TOP + height, is_log=True)
    best = [next(iter(best_trials(study, 1)), None) for study in studies]
    picture = Picture("Accuracy over parameters", width)
    frame(
        picture, x, y, thousands, lambda error: percent(1 - error),
        "parameters", "validation accuracy",
    )  # fmt: skip
    entries: list[Entry] = []
    for budget in budgets:
        line = x.place(budget)
        picture.add(Line([(line, y.start), (line, y.end)], "muted", 1.5, is_dashed=True))
    for i, study in enumerate(studies):
        ink, shape = SERIES[i % len(SERIES)], SHAPES[i % len(SHAPES)]
        mine = [point for point in shown if point.study == study.study_name]
        places = {id(p): (x.place(p.num_params), y.place(_error(p.accuracy))) for p in mine}
        short = [places[id(p)] for p in mine if p.record.is_short]
        if len(studies) == 1:
            picture.add(Dots(short, "grey", 5, is_ring=True))
            entries += [Entry("short schedule", "grey", "ring")] * bool(short)
        front = [places[id(p)] for p in pareto(mine)]
        picture.add(Line(_steps(front, x.end), ink, 1.5, opacity=0.7))
        for point in mine:
            if not point.record.is_short:
                mark_point(picture, shape, places[id(point)], ink, size)
        name = "trained in full" if len(studies) == 1 else study.study_name
        entries += [Entry(name, ink, shape)] * bool(mine)
    for reference in references:
        at = x.place(reference.num_params), y.place(1 - reference.accuracy)
        mark_point(picture, "diamond", at, "purple", 4.5)
    labels = [(r.name, r.num_params, r.accuracy) for r in references]
    for record in filter(None, best):
        mark = x.place(record.num_params or 1), y.place(_error(record.valid_accuracy or 0))
        picture.add(Dots([mark], "text", 15, is_ring=True))
        labels.insert(0, (f"trial {record.number}", record.num_params or 1,
                          record.valid_accuracy or 0))  # fmt: skip
    _name(picture, [(n, x.place(s), y.place(_error(a))) for n, s, a in labels], (x, y))
    entries += [
        Entry(
            "frontier: nothing smaller is as accurate",
            SERIES[0] if len(studies) == 1 else "text",
            "line",
        )
    ]
    entries += [Entry("the best", "text", "ring")]
    entries += [Entry("budget", "muted", "dashes")] * bool(budgets)
    entries += [Entry("made by hand (test images)", "purple", "diamond")] * bool(references)
    picture.height = legend(picture, entries, _TOP + height + _BOTTOM + 16)
    left_out = len(points) - len(shown)
    top = max(shown, key=lambda point: point.accuracy)
    picture.description = (
        f"{len(points):,} networks of {min(p.num_params for p in points):,} to "
        f"{max(p.num_params for p in points):,} parameters; the most accurate one has "
        f"{metrics.percent(top.accuracy, top.num_valid)} with {top.num_params:,} parameters"
    )
    notes = [f"Each mark is a network: {len(points):,} in all."]
    if left_out:
        notes.append(f"{left_out:,} with less than {1 - worst:.1%} are not drawn.")
    if references:
        notes.append(
            "The networks made by hand were trained on all 60,000 training images, three times "
            "each, and measured on the 10,000 test images after the last epoch; the others on "
            "validation images: near each other, not the same."
        )
    picture.caption = " ".join(notes)
    return picture


def curves_plot(study: optuna.Study, width: float = WIDE, most: int = 5) -> Picture:
    """The error after each epoch: the best trials in colours, all others in grey.

    Raises:
        StudyError: no trial has ended an epoch yet.
    """
    records = [record for record in read_trials(study) if record.history]
    if not records:
        raise StudyError(no_network(study))
    best = [record for record in best_trials(study, most) if record.history]
    chosen = {record.number for record in best}
    others = [record for record in records if record.number not in chosen]
    grey = others[:: max(-(-len(others) // MOST_GREY), 1)]
    errors = [_error(m.valid_accuracy) for record in [*grey, *best] for m in record.history]
    longest = max(len(record.history) for record in records)
    height = 280.0
    x = Scale(1, max(longest, 2), _LEFT, width - 14)
    y = Scale(min(errors) * 0.85, max(errors) * 1.15, _TOP + height, _TOP, is_log=True)
    picture = Picture("Learning curves", width)
    frame(picture, x, y, lambda v: f"{v:g}" if v == int(v) else "", percent, "epoch",
          "validation error, log scale")  # fmt: skip
    for record in grey:
        picture.add(_curve(record, x, y, "grey", 1.2))
    entries: list[Entry] = []
    num_valid = num_valid_of(study)
    for ink, record in reversed(list(zip(SERIES, best, strict=False))):
        picture.add(_curve(record, x, y, ink, 2.2))
        score = metrics.percent(record.valid_accuracy or 0.0, num_valid)
        name = f"trial {record.number}: {score}"
        if record.is_short:
            name += f", {record.schedule_text}"
        entries.insert(0, Entry(name, ink, "line"))
    entries += [Entry(f"{len(others):,} others", "grey", "line")] * bool(others)
    picture.height = legend(picture, entries, _TOP + height + _BOTTOM + 16)
    picture.description = (
        f"Validation error over epochs of {len(records):,} trials, {len(best)} of them in colour; "
        f"the lowest error is {percent(round(min(errors), 5))}"
    )
    notes = ["Lower is better. A curve is the last training of its trial; a dot had one epoch."]
    if len(grey) < len(others):
        notes.append(f"Of the {len(others):,} others {len(grey):,} are drawn, spread evenly.")
    picture.caption = " ".join(notes)
    return picture


def spending_plot(study: optuna.Study, width: float = WIDE) -> Picture:
    """How many proposals came to what, and the seconds of training that went into each.

    Raises:
        StudyError: there is no trial yet.
    """
    counted = count_trials(study)
    counts, seconds = counted.counts_now, counted.seconds
    if not counts:
        raise StudyError(f"study {study.study_name!r} has no trial yet")
    names = sorted(counts, key=lambda name: (-seconds.get(name, 0.0), -counts[name], name))
    total, total_seconds = sum(counts.values()), sum(seconds.values())
    picture = Picture("Where proposals and time went", width)
    half = (width - 16) / 2
    picture.add(
        Text((8, 18), f"{total:,} proposals", "muted", SMALL),
        Text((8 + half + 8, 18), f"{duration_text(total_seconds)} of training", "muted", SMALL),
    )
    top = 30.0
    for name in names:
        spent = seconds.get(name, 0.0)
        picture.add(Text((8, top + 12), _OUTCOMES.get(name, name)))
        _bar(picture, 8, top + 19, half - 8, counts[name] / total, "blue",
             f"{counts[name]:,}")  # fmt: skip
        if spent:
            _bar(picture, 16 + half, top + 19, half - 8, spent / total_seconds, "orange",
                 f"{duration_text(spent)}, {spent / total_seconds:.0%}")  # fmt: skip
        top += 42
    picture.height = top + 4
    picture.description = "; ".join(
        f"{name}: {counts[name]:,} proposals, {duration_text(seconds.get(name, 0.0))}"
        for name in names
    )
    picture.caption = "Seconds are those of trainings, added up over all workers."
    return picture


# What stands in the picture, where the short name does not explain itself.
_OUTCOMES = {
    TRAINED: "trained to the end",
    "promoted": "promoted: another trial goes on with it",
    Reason.OVER_BUDGET: "over budget: never trained",
    Reason.DUPLICATE: "duplicate: never trained again",
    Reason.INVALID: "invalid: cannot exist",
    "unfinished": "in work, or its process died",
}


def importance_plot(found: Importance, width: float = WIDE, most: int = 12) -> Picture:
    """How much each parameter of the space has to do with the error."""
    picture = Picture("Importance of parameters", width)
    top, shares = 8.0, list(found.shares.items())
    largest = max(shares[0][1], 1e-9)
    for name, share in shares[:most]:
        picture.add(Text((8, top + 12), shortened(name, width - 16)))
        _bar(
            picture,
            8,
            top + 19,
            width - 16,
            share / largest,
            "green",
            f"{share:.0%}" if share >= 0.01 else "under 1%",
        )
        top += 42
    picture.height = top + 4
    picture.description = ", ".join(f"{name} {share:.0%}" for name, share in shares[:most])
    notes = [
        f"Of {found.num_candidates:,} candidates after {found.schedule}, by Optuna's fANOVA: the "
        "share of the differences in error that a parameter explains, be it for good or ill."
    ]
    if len(shares) > most:
        notes.append(f"{len(shares) - most} less important ones are not drawn.")
    if found.left_out:
        notes.append(f"{found.left_out} that not every candidate has are left out.")
    picture.caption = " ".join(notes)
    return picture


def _error(accuracy: float) -> float:
    return max(1 - accuracy, _FINEST)


def _steps(front: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """The frontier as stairs: what is best up to the next larger network."""
    path: list[tuple[float, float]] = []
    for at in front:
        if path:
            path.append((at[0], path[-1][1]))
        path.append(at)
    return [*path, (end, path[-1][1])] if path else [(end, 0.0)]


def _name(
    picture: Picture, labels: Sequence[tuple[str, float, float]], within: tuple[Scale, Scale]
) -> None:
    """Write names beside marks, where there is room; those that find none are left out."""
    dots = [at for mark in picture.marks if isinstance(mark, Dots) for at in mark.points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    taken += [(x - 7, y - 7, x + 7, y + 7) for _, x, y in labels]
    for text, x, y in labels:
        width = text_width(text, SMALL)
        for left, base in (
            (x - 10 - width, y + 4), (x + 10, y + 4), (x - width / 2, y - 11),
            (x - width / 2, y + 19), (x + 8, y - 10), (x - 8 - width, y - 10), (x + 8, y + 18),
            (x - 8 - width, y + 18),
        ):  # fmt: skip
            box = (left, base - 10, left + width, base + 3)
            inside = within[0].start <= left and box[2] <= picture.width - 2
            inside = inside and within[1].start <= box[1] and box[3] <= within[1].end
            if inside and not any(_overlap(box, other) for other in taken):
                picture.add(Text((left, base), text, "text", SMALL, has_halo=True))
                taken.append(box)
                break


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _curve(record: TrialRecord, x: Scale, y: Scale, ink: str, width: float) -> Line | Dots:
    places = [(x.place(m.epoch), y.place(_error(m.valid_accuracy))) for m in record.history]
    opacity = 0.6 if ink == "grey" else 1.0
    if len(places) == 1:
        return Dots(places, ink, 2 * width + 1.5, opacity=opacity)
    return Line(places, ink, width, opacity=opacity)


def _bar(
    picture: Picture, left: float, top: float, width: float, share: float, ink: str, text: str
) -> None:
    """A bar of a share of the width, less what its text takes, which stands behind it."""
    length = max(share * (width - text_width(text, SMALL) - 10), 2)
    picture.rect(left, top, length, 12, ink)
    picture.add(Text((left + length + 6, top + 10), text, "muted", SMALL))
