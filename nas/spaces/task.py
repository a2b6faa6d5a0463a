"""Task: what a search space may know when it proposes a candidate."""

from __future__ import annotations

from dataclasses import dataclass

from nas.candidates.budget import NO_LIMITS, Budget, Limits
from nas.candidates.recipe import MAX_EPOCHS


@dataclass(frozen=True)
class Task:
    """The images to classify, and what a network for them may cost."""

    input_shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    num_classes: int
    max_params: int
    """A candidate fits when it has fewer parameters than this."""
    epochs: int = MAX_EPOCHS
    """The most epochs a candidate may train for."""
    flips: bool = False
    """Whether a mirrored image is still of its class (not so for digits and letters)."""
    limits: Limits = NO_LIMITS
    """What else a candidate must keep to; usually nothing."""

    @property
    def budget(self) -> Budget:
        return Budget(self.max_params, self.limits)
