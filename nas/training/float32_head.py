"""The last layer in float32, whatever the others compute in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def with_float32_head(network: nn.Sequential) -> nn.Sequential:
    """The network with everything from its last layer with weights on in float32.

    Scores in bfloat16 have 8 bits: of a score of 10 the last is worth 0.06, and what the loss still
    has to say about an image that is nearly right is lost in it.
    """
    modules = list(network)
    has_weights = [any(True for _ in module.parameters()) for module in modules]
    last = max((i for i, has in enumerate(has_weights) if has), default=0)
    return nn.Sequential(*modules[:last], Float32(nn.Sequential(*modules[last:])))


class Float32(nn.Module):
    """A module whose input is brought to float32, and that no autocast reaches."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = self.module(x.float())
            return y
