"""How a search is asked for: what is searched, on which images, how, and for how long."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from nas.candidates.budget import LARGEST_BUDGET, LARGEST_LIMIT
from nas.errors import NasError, hint, option

SamplerName = Literal["auto", "tpe", "gp", "random"]
FitName = Literal["stretch", "crop", "pad"]
PrunerName = Literal["squeezed", "median", "none"]
PrecisionName = Literal["auto", "bf16", "fp32"]
Bits = Literal[32, 16, 8, 4]
EngineChoice = Literal["auto", "graph", "eager"]

LONGEST_SECONDS = 366 * 24 * 3600
RANGES = {
    "budget": (1, LARGEST_BUDGET), "image_size": (4, 1024), "split_seed": (0, 2**32 - 1),
    "epochs": (1, 10_000), "max_flash": (1, LARGEST_LIMIT), "max_ram": (1, LARGEST_LIMIT),
    "max_macs": (1, LARGEST_LIMIT), "max_weight_bytes": (1, LARGEST_LIMIT),
    "max_activation_bytes": (1, LARGEST_LIMIT), "trials": (1, 10**6), "max_rejected": (1, 10**6),
    "seed": (0, 2**32 - 1), "workers": (1, 1024),
}  # fmt: skip
CHOICES: dict[str, tuple[Any, ...]] = {
    "bits": get_args(Bits), "sampler": get_args(SamplerName), "pruner": get_args(PrunerName),
    "precision": get_args(PrecisionName), "engine": get_args(EngineChoice),
    "fit": get_args(FitName),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What a search is asked for. The names are those of the options of `nas search`.

        SearchConfig(budget=20_000, dataset="digits", trials=12, epochs=3)

    Raises:
        NasError: a value is out of range, or of the wrong kind; the line names the option.
    """

    budget: int
    """A network fits when it has fewer parameters than this."""
    space: str | Callable[..., Any] | None = None
    """A space by its name or path, or a function `suggest(trial, task)`; None for the `blocks` that
    came with nas."""

    dataset: Any = None
    """The name of a data set, the path of a folder or an .npz, `(images, labels)` as arrays, or a
    torch Dataset; None for MNIST, or else the digits."""
    test: Any = None
    """The images to test on, where `dataset` is arrays, a torch Dataset or an .npz: one of these,
    too; None for those that it holds itself, or else one sixth of it, which is kept back."""
    data_dir: Path | None = None
    """Where data sets are kept and downloaded to; None for `$NAS_DATA_DIR`, else a cache folder."""
    image_size: int | None = None
    """Pixels a side to which images of a folder are brought; None for that of the study, if any."""
    fit: FitName | None = None
    """How images of another shape are brought to it; None for that of the study, else `stretch`."""
    valid_share: str | float = "1/12"
    """Share of the training images held out to validate on."""
    split_seed: int = 0
    """Of the choice of validation images."""

    max_flash: int | None = None
    """The most bytes of flash that the network may take as int8 C: weights, tables, code."""
    max_ram: int | None = None
    """The most bytes of RAM that it may take so: the buffer of its maps, and its stack."""
    max_macs: int | None = None
    """The most multiply-accumulates to classify an image."""
    max_weight_bytes: int | None = None
    """Deprecated, see `max_flash`: the most bytes that all parameters may take."""
    max_activation_bytes: int | None = None
    """Deprecated, see `max_ram`: the most bytes of values held at once for an image."""
    bits: Bits = 32
    """Deprecated: of one value, for the two limits above."""

    epochs: int = 19
    """The most that a candidate trains for."""
    trials: int = 50
    """Trained candidates the study is to hold at the end; those it already has count."""
    timeout: float | str | None = None
    """Seconds, or a text such as `10m`, after which the search ends."""
    max_rejected: int = 500
    """Proposals in a row turned away at the gate before the search gives up."""

    sampler: SamplerName = "auto"
    """How candidates are proposed."""
    pruner: PrunerName = "squeezed"
    """How weak candidates are stopped early."""
    seed: int = 0
    """Of proposals and trainings."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    precision: PrecisionName = "auto"
    """The number format of convolutions while training."""
    engine: EngineChoice = "auto"
    """How steps reach the device: `graph` replays captured ones (CUDA alone), `eager` launches each
    operation; auto is `graph` on CUDA, and `eager` where a capture fails."""
    workers: int | None = None
    """Candidates trained at once; None for one a core on a CPU, on a CUDA GPU as many as fit into
    its free memory, 4 at most."""

    study: str | None = None
    """The study's name; None for SPACE-DATA-BUDGET."""
    storage: str | None = None
    """The database, any URL that Optuna takes; None for `$NAS_STORAGE`, else `studies.db` here."""
    warm_start: str | None = None
    """A study of the same space, with whose ten best trials the search begins."""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if not self._may_miss(name) and not (is_whole and low <= value <= high):
                raise NasError(
                    f"{option(name)} {value!r} is no whole number from {low:,} to {high:,}"
                )
        for name, choices in CHOICES.items():
            if not self._may_miss(name) and getattr(self, name) not in choices:
                given = getattr(self, name)
                instead = hint(str(given), map(str, choices))
                raise NasError(f"{option(name)} {given!r} is unknown: {instead}")
        parse_seconds(self.timeout)
        parse_share(self.valid_share)

    def _may_miss(self, name: str) -> bool:
        """Whether the field was not given, and need not be."""
        is_optional = type(self).__dataclass_fields__[name].default is None
        return is_optional and getattr(self, name) is None

    @property
    def timeout_seconds(self) -> float | None:
        """The time limit in seconds."""
        return parse_seconds(self.timeout)


FIELDS = tuple(field.name for field in fields(SearchConfig))


def parse_seconds(value: float | str | None) -> float | None:
    """A time as people write it: `600`, `90s`, `15m`, `1.5h`; None for none.

    Raises:
        NasError: anything else, or a time that is not above 0 and at most a year.
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smh]?)", str(value), re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if not 0 < seconds <= LONGEST_SECONDS:
        raise NasError(
            f"{option('timeout')} {value!r} is no time: give seconds above 0, or a unit as in 90s, "
            "15m, 2h"
        )
    return seconds


def parse_share(value: str | float) -> Fraction:
    """A share of the training images as people write it: `1/12`, `0.1` or `10%`.

    Raises:
        NasError: anything else, or a share that is not above 0 and at most 1/2.
    """
    text = str(value)
    match = re.fullmatch(
        r"(\d{1,9}/\d{1,9}|\d?\.?\d{1,9})|(\d{1,2}(?:\.\d{1,6})?)%", text, re.ASCII
    )
    share = Fraction(0)
    if match and not re.fullmatch(r"\d+/0+", text):
        share = Fraction(match[1]) if match[1] else Fraction(match[2]) / 100
    if not 0 < share <= Fraction(1, 2):
        raise NasError(
            f"{option('valid_share')} {text[:40]!r} is no share of the images: "
            "give one above 0 and at most 1/2, such as 1/12, 0.1 or 10%"
        )
    return share
