"""Candidate: what a search space proposes. An architecture, and the recipe to train it with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from nas.candidates.architecture import Architecture
from nas.candidates.recipe import Recipe


@dataclass(frozen=True)
class Candidate:
    """A network and the way to train it: everything a trial needs but its seed and its data."""

    architecture: Architecture
    recipe: Recipe

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: the same built network and recipe, the same fingerprint."""
        text = self.architecture.fingerprint + json.dumps(self.recipe.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
