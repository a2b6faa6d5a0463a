"""The report of `nas check`: what a space holds, and how long a search in it takes."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from nas.candidates.budget import to_bytes
from nas.candidates.device import device_bytes
from nas.errors import count, option
from nas.reports.columns import Columns
from nas.reports.lines import duration_text, plan_text, speed_text

if TYPE_CHECKING:  # it loads torch
    from nas.searching.estimate import CheckResult


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
        table.add_row(name, f"{min(values):,}", f"{median:,}", f"{max(values):,}")
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
    if expected.speed is not None:
        trained = "two candidates, trained for a second each,"
        lines.append(speed_text(found.device, found.workers, expected.speed, trained))
    return Group(*lines, *([plan_text(found.plan)] if found.plan else []))


def _with_word(word: str, seconds: float) -> str:
    """`about 3 s`, and `under 1 s` without the word."""
    text = duration_text(seconds)
    return text if text.startswith("under") else f"{word} {text}"
