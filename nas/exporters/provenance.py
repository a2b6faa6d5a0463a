"""Where a network came from, in words for those who read its export."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from nas.candidates.architecture import Architecture
from nas.storage.trials import epochs_text


@dataclass(frozen=True)
class Provenance:
    """The study and the training that a network comes from."""

    study: str
    trial: int
    dataset: str
    valid_accuracy: float | None  # 0..1
    num_valid: int
    epochs: float | None  # of the schedule that its weights have ended
    full_epochs: int | None  # of its recipe
    seed: int | None
    versions: dict[str, str]
    images: str | None = None  # how files become images, in words; None where none did

    @property
    def schedule(self) -> str:
        """For example `19 epochs`, or `a schedule of 7 of 19 epochs`."""
        epochs, full = self.epochs or 0, self.full_epochs
        if full is None or epochs >= full:
            return f"{epochs:g} epochs"
        return f"a schedule of {epochs_text(epochs, full)}"


def title(architecture: Architecture) -> str:
    return (
        f"A network of {architecture.num_params:,} parameters for {architecture.num_classes} "
        f"classes of {times(architecture.input_shape)} images."
    )


def origin(architecture: Architecture, provenance: Provenance) -> list[str]:
    """Lines of a comment: whatever the names in them, they cannot end it."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    lines = [
        f"Study                 {provenance.study}, trial {provenance.trial}",
        f"Data set              {provenance.dataset}",
        f"Parameters            {architecture.num_params:,}",
        f"Multiply-accumulates  {architecture.num_macs:,} an image",
    ]
    if provenance.valid_accuracy is not None:
        lines.append(
            f"Validation accuracy   {provenance.valid_accuracy:.2%} of {provenance.num_valid:,} "
            f"images held out, after {provenance.schedule}, seed {provenance.seed}"
        )
    if provenance.images is not None:  # whoever classifies others has to do the same
        indent = " " * 22
        lines += textwrap.wrap(f"{'Images':22}{provenance.images}", 96, subsequent_indent=indent)
    lines.append(f"Made with             {versions}")
    return [plain(line) for line in lines]


def times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def plain(text: str) -> str:
    """Text that cannot end or escape a docstring or a comment: names of studies are anybody's."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()%+-]", "?", text)
