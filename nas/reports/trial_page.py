"""The page of one trial: what it is, its network layer by layer, its learning curve."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from rich.console import Group, RenderableType

from nas.candidates.architecture import Architecture
from nas.candidates.budget import to_bytes
from nas.candidates.device import device_bytes, names_bytes
from nas.certification.records import Protocol
from nas.metrics import EpochMetrics, percent
from nas.reports.certificates import measured_runs, spread_of
from nas.reports.columns import Columns
from nas.reports.layer_names import inner_names, layer_name
from nas.reports.lines import beside
from nas.storage.studies import StudyFacts, largest_share_of, num_valid_of, study_data, study_facts
from nas.storage.trials import TrialRecord

_BAR_WIDTH = 30


def trial_page(study: optuna.Study, record: TrialRecord) -> RenderableType:
    """One trial: what it is, its network layer by layer, its learning curve."""
    parts: list[RenderableType] = [f"study {study.study_name}, trial {record.number}"]
    if record.reason:
        parts.append(f"{record.reason}: {record.detail}")
    if record.result is not None:
        score = percent(record.result.valid_accuracy, num_valid_of(study))
        score += beside(largest_share_of(study))
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
            layer_name(row.layer),
            "x".join(map(str, module.output_size[1:])),
            f"{module.num_params:,}",
            f"{row.num_macs:,}",
            f"{side}x{side}",
        )
        for name in inner_names(row.layer):
            table.add_row(f"  {name}", "", "", "", "")
    table.add_row("total", "", f"{info.total_params:,}", f"{architecture.num_macs:,}", "")
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
