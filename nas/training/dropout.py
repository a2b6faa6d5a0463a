"""Dropout that draws from a training's own random numbers.

torch's draws from the one generator of the device: trainings beside each other in one process would
change each other's draws, and none could be repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OwnDropout(nn.Module):
    """`nn.Dropout(p)` with a generator of its own.

    Args:
        p: share of the values set to 0 while training; the others are divided by 1 - p.
        generator: on the device of the values.
    """

    def __init__(self, p: float, generator: torch.Generator) -> None:
        super().__init__()
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)


def own_dropout(model: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    """The same model, with `OwnDropout` in place of every `nn.Dropout` in it."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, OwnDropout(child.p, generator))
    return model
