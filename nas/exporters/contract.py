"""What every format of an export keeps: it writes its files, and proves them again later."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from nas.candidates.architecture import Architecture
from nas.errors import ExportError
from nas.exporters.folding import graph_of
from nas.exporters.integer import Bytes, IntegerNetwork
from nas.exporters.provenance import Provenance
from nas.exporters.quantize import quantize
from nas.storage.studies import DataFacts


@dataclass(frozen=True)
class Subject:
    """A trained network on its way out."""

    architecture: Architecture
    model: nn.Sequential  # with its weights, in evaluation, on the CPU
    state_dict: dict[str, Tensor]
    provenance: Provenance
    facts: DataFacts
    images: Tensor  # uint8 (N, C, H, W): validation images, or random ones
    scores: Tensor  # float (N, classes) of these
    num_vectors: int  # of these, from the first on: as many are stored in the export
    calibration: Tensor | None  # uint8 (N, C, H, W): training images, where they are at hand

    @property
    def num_calibration(self) -> int:
        return 0 if self.calibration is None else len(self.calibration)

    @cached_property
    def integers(self) -> tuple[IntegerNetwork, Bytes]:
        """The network in integers, and the scores (N, classes) that it gives to the images.

        Raises:
            ExportError: a layer has no integer form, or there are no images to calibrate on.
        """
        if self.calibration is None:
            raise ExportError("training images set the ranges of integers, and none are at hand")
        graph = graph_of(self.architecture, self.model)
        network = quantize(graph, self.calibration, self.facts.mean, self.facts.std)
        return network, network.run(self.images.numpy())


Rows = tuple[tuple[str, str], ...]
"""What is counted, and how much of it there is, in Markdown."""


@dataclass(frozen=True)
class Written:
    """What a format has written."""

    scores: Tensor  # (N, classes): what its code must make of the subject's images
    rows: Rows  # for the card
    figures: dict[str, Any] = field(default_factory=dict)  # in plain JSON, for spec.json


@dataclass(frozen=True)
class Expected:
    """What the code of an export must compute."""

    images: Tensor  # uint8 (N, C, H, W)
    scores: Tensor  # (N, classes), in the format's own numbers
    num_params: int


@dataclass(frozen=True)
class Proof:
    """What a check has found; it raises when something is wrong."""

    lines: tuple[str, ...]  # for people: what was compared, or why it could not be
    rows: Rows = ()
    was_run: bool = True
    figures: dict[str, Any] = field(default_factory=dict)


class Format(Protocol):
    """A module of this wing that writes a network in one form."""

    @property
    def FOLDER(self) -> str:
        """Below that of the export; '' where its files stand beside README.md."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """In that folder; all of them are written."""

    @property
    def NUMBERS(self) -> str:
        """What it computes in, such as int8."""

    @property
    def NEEDS_IMAGES(self) -> bool:
        """Whether training images set its ranges."""

    @property
    def TAGS(self) -> tuple[str, ...]:
        """For the card: words that Hugging Face finds it by."""

    @property
    def USAGE(self) -> str:
        """For the card: how its files are used, in Markdown."""

    def missing(self) -> str | None:
        """What must be installed before it can be written here; None: nothing."""

    def write(self, subject: Subject, folder: Path) -> Written:
        """Write the files; raises ExportError when the network has no such form."""

    def check(self, folder: Path, expected: Expected) -> Proof:
        """Run what lies in the folder, away from this process; raises ExportError."""
