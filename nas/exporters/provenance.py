"""Where a network came from, in words for those who read its export."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from nas.candidates.architecture import Architecture
from nas.errors import count
from nas.metrics import percent
from nas.storage.trials import epochs_text


@dataclass(frozen=True)
class Certified:
    """A training of a certificate: of all training images, measured on test images at its end."""

    accuracy: float  # 0..1
    num_images: int  # test images
    num_train: int
    seed: int
    num_seeds: int  # of the certificate; this is the first one, whatever it reached
    versions: dict[str, str]

    @property
    def text(self) -> str:
        return (
            f"{percent(self.accuracy, self.num_images)} of {self.num_images:,} test images, "
            f"trained on all {self.num_train:,} training images; the first of "
            f"{count(self.num_seeds, 'seed')}"
        )


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
    certified: Certified | None = None  # where the weights are not those of the search

    @property
    def is_short(self) -> bool:
        """Whether that schedule is shorter than the recipe's."""
        return self.full_epochs is not None and (self.epochs or 0) < self.full_epochs

    @property
    def schedule(self) -> str:
        """For example `19 epochs`, or `a schedule of 7 of 19 epochs`."""
        if self.full_epochs is None or not self.is_short:
            return f"{self.epochs or 0:g} epochs"
        return f"a schedule of {epochs_text(self.epochs or 0, self.full_epochs)}"


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
    if provenance.certified is not None:
        indent = " " * 22
        text = f"{'Test accuracy':22}{provenance.certified.text}"
        lines += textwrap.wrap(text, 96, subsequent_indent=indent)
    elif provenance.valid_accuracy is not None:
        accuracy = percent(provenance.valid_accuracy, provenance.num_valid)
        lines.append(
            f"Validation accuracy   {accuracy} of {provenance.num_valid:,} "
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
