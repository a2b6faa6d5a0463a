"""What happens in a search, in lines for people: the same on a terminal and in a pipe."""

from __future__ import annotations

from collections import Counter

from nas.errors import count
from nas.metrics import Speed, percent
from nas.searching.events import (
    EpochEnded,
    PlanMade,
    SearchEnded,
    SearchStarted,
    SpeedMeasured,
    TrialEnded,
)
from nas.storage.counts import PROMOTED
from nas.storage.reasons import TRAINED, Reason
from nas.storage.trials import epochs_text


def start_text(event: SearchStarted) -> str:
    verb = "new" if event.is_new else "continuing"
    text = (
        f"{verb} study {event.study}: space {event.space} on {event.dataset} "
        f"({count(event.num_train, 'image')} to train on, {event.num_valid:,} to validate), "
        f"{event.budget}, up to {count(event.epochs, 'epoch')}, {event.workers} at a time "
        f"on {event.device}"
    )
    if not event.is_new:
        text += f"\nso far: {counts_text(Counter(event.counts))}"
    return text


def plan_text(plan: PlanMade) -> str:
    """For example `10 min: about 8 candidates, the best for 7 of 19 epochs`."""
    seconds = plan.seconds_left
    time = f"{seconds:.0f} s" if seconds < 120 else duration_text(seconds)
    if not plan.longest_epochs:
        return (
            f"{time}: too short to train anything here, where an epoch takes about "
            f"{duration_text(plan.epoch_seconds)}"
        )
    if not plan.num_candidates:
        return f"{time}: no new candidates, the best for {_epochs(plan)}"
    return f"{time}: about {count(plan.num_candidates, 'candidate')}, the best for {_epochs(plan)}"


def _epochs(plan: PlanMade) -> str:
    if plan.longest_epochs == plan.epochs:
        return f"all {plan.epochs} epochs" if plan.epochs > 1 else "its one epoch"
    return epochs_text(plan.longest_epochs, plan.epochs)


def epoch_text(event: EpochEnded, num_valid: int | None) -> str:
    """Of the first epoch: the next line of a long training may be minutes away."""
    metrics = event.metrics
    return (
        f"trial {event.trial}: first epoch took {metrics.seconds:.1f} s, "
        f"validation accuracy {percent(metrics.valid_accuracy, num_valid)}"
    )


def first_speed_text(event: SpeedMeasured) -> str:
    return speed_text(event.device, event.workers, event.speed, "the first epoch")


def speed_text(device: str, workers: int, speed: Speed, what: str) -> str:
    """For example `engine: cpu, eager engine, fp32, 2 workers of 1 thread; the first epoch reached
    14% of the peak of a wide convolution here`.
    """
    each = " of 1 thread" if device.startswith("cpu") else ""
    share = f"{speed.share:.0%}" if speed.share >= 0.095 else f"{100 * speed.share:.2g}%"
    return (
        f"engine: {device}, {count(workers, 'worker')}{each}; {what} reached {share} of the "
        "peak of a wide convolution here"
    )


def trial_text(event: TrialEnded, num_valid: int | None) -> str:
    parts = [f"trial {event.trial}:"]
    if event.valid_accuracy is not None:
        parts.append(percent(event.valid_accuracy, num_valid))
    if event.num_params is not None and event.reason != Reason.OVER_BUDGET:
        parts.append(f"{event.num_params:,} parameters")
    if event.train_seconds is not None:
        parts.append(f"{event.train_seconds:.1f} s")
    if event.reason is not None:
        parts.append(f"{event.reason} ({event.detail})")
    elif event.detail:
        parts.append(event.detail)
    if event.is_best:
        parts.append("best so far")
    return "  ".join(parts)


def summary_text(event: SearchEnded, start: SearchStarted | None = None) -> str:
    lines = [f"search ended: {event.why}", f"trials: {counts_text(Counter(event.counts))}"]
    if event.best_trial is None or event.best_accuracy is None:
        lines.append("no network yet: no candidate has come to the end of a schedule")
    else:
        num_valid, share = (start.num_valid, start.largest_share) if start else (None, None)
        accuracy = percent(event.best_accuracy, num_valid) + beside(share)
        best = (
            f"best: trial {event.best_trial}, validation accuracy {accuracy}, "
            f"{event.best_num_params:,} parameters"
        )
        if event.best_schedule:
            best += f", trained for {event.best_schedule}"
        lines.append(best)
    return "\n".join(lines)


def beside(largest_share: float | None) -> str:
    """What stands beside a score: an accuracy says little where one class has most images."""
    return "" if largest_share is None else f" (largest class {largest_share:.0%})"


def counts_text(counts: Counter[str]) -> str:
    """For example `12 trained, 3 stopped by pruner, 40 over budget`."""
    return ", ".join(counts_parts(counts)) or "none yet"


def counts_parts(counts: Counter[str]) -> list[str]:
    order = [TRAINED, Reason.STOPPED_BY_PRUNER, PROMOTED, *Reason]
    names = sorted(
        (name for name in counts if counts[name]),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    return [f"{counts[name]:,} {name}" for name in names]


def duration_text(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s" if seconds >= 0.5 else "under 1 s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
