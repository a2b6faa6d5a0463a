"""Comparison: what differs between studies, and whether one winner is really better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import optuna

from nas.certification.records import Protocol, answers_of, openings, stack
from nas.certification.statistics import Difference, compare, compare_folds
from nas.errors import command
from nas.reports.certificates import measured_runs, winner_of
from nas.storage.studies import StudyFacts, study_facts

_NAMES = {"space_sha256": "the space's text", "data_sha256": "images", "split_sha256": "split"}
_WHERE = {Protocol.HONEST: "test images", Protocol.VALIDATION: "validation images"}


def differing_facts(studies: Sequence[optuna.Study]) -> list[tuple[str, ...]]:
    """What was searched differently: the name of a fact, then its value in each study."""
    facts = [study_facts(study) for study in studies]
    rows = []
    for fact in fields(StudyFacts):
        values = ["-" if f is None else _value(f, fact.name) for f in facts]
        if len(set(values)) > 1:
            rows.append((_NAMES.get(fact.name, fact.name.replace("_", " ")), *values))
    return rows


def _value(facts: StudyFacts, name: str) -> str:
    value = getattr(facts, name)
    if value is None:
        return "not limited"
    return str(value)[:8] if name.endswith("sha256") else f"{value}"


def verdict(first: optuna.Study, second: optuna.Study) -> str:
    """In a sentence, whether the winner of one study is better than that of another.

    Certified winners are compared image by image over their seeds, or fold by fold, see
    `nas.certification.statistics`; others cannot be.
    """
    names = f"{first.study_name} and {second.study_name}"
    winners = [winner_of(study) for study in (first, second)]
    if None in winners:
        return f"{names}: one of them has no network yet."
    for protocol in (Protocol.HONEST, Protocol.VALIDATION, Protocol.FOLDS):
        if not _has_same_images(first, second, protocol):
            continue
        runs = [
            measured_runs(study, protocol, winner.number) if winner else []
            for study, winner in zip((first, second), winners, strict=True)
        ]
        if all(runs) and protocol == Protocol.FOLDS:
            if len(runs[0]) == len(runs[1]) > 1:
                found = compare_folds(*map(answers_of, runs))
                said = _words(first.study_name, second.study_name, found)
                return f"{said} (paired on the same {len(runs[0])} folds)."
        elif all(runs):
            found = compare(stack(runs[0]), stack(runs[1]))
            counts = " and ".join(str(len(some)) for some in runs)
            said = _words(first.study_name, second.study_name, found)
            return f"{said} (paired on the same {_WHERE[protocol]}, {counts} trainings)."
    return (
        f"{names}: whether the difference is real cannot be told, because their winners are not "
        f"both certified on the same images. {command('certify', study='NAME')} does that for each."
    )


def _has_same_images(first: optuna.Study, second: optuna.Study, protocol: Protocol) -> bool:
    facts = [study_facts(study) for study in (first, second)]
    if facts[0] is None or facts[1] is None:
        return False
    if protocol != Protocol.HONEST:
        names = ("data_sha256", "split_sha256")
        return all(getattr(facts[0], name) == getattr(facts[1], name) for name in names)
    opened = [
        {o["test_sha256"] for o in openings(study) if o["protocol"] == Protocol.HONEST}
        for study in (first, second)
    ]
    return len(opened[0] | opened[1]) == 1 and bool(opened[0]) and bool(opened[1])


def _words(first: str, second: str, found: Difference) -> str:
    better, worse, sign = (first, second, 1) if found.mean >= 0 else (second, first, -1)
    low, high = sorted((sign * found.low, sign * found.high))
    points = f"{abs(100 * found.mean):.3f} points (95 %: {100 * low:+.3f} to {100 * high:+.3f})"
    if low > 0:
        return f"The winner of {better} is really better than that of {worse}, by {points}"
    return f"The winner of {better} is ahead of that of {worse} by {points}, which may be chance"
