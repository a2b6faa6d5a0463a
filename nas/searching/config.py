"""How long and how to search."""

from __future__ import annotations

from dataclasses import dataclass

from nas.searching.pruners import PrunerName
from nas.searching.samplers import SamplerName


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and how to search."""

    trials: int = 50
    """Trained candidates the study is to hold at the end; those it already has count."""
    max_rejected: int = 500
    """Proposals in a row turned away at the gate before the search gives up."""
    sampler: SamplerName = "auto"
    pruner: PrunerName = "squeezed"
    seed: int = 0
