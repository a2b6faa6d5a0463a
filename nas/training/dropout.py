"""Dropout that costs little on a CPU, where drawing its random mask takes half of a training step.

Masks are slices of one pool of random values, each from a random place. A value of the pool is 0
with probability p and 1/(1-p) otherwise, independently of all others, so a mask is distributed as
that of `torch.nn.Dropout`; the pool is drawn anew every `REFRESH_STEPS` steps, so two steps rarely
see the same piece of it.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

REFRESH_STEPS = 64  # steps that share a pool
ROOM = 2**20  # values in a pool beyond the longest mask: as many places where a slice may start


class MaskPool:
    """Random masks of every probability that one training needs.

    Args:
        generator: on the CPU; everything random here comes from it.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._places = random.Random(generator.initial_seed())  # reads no tensor, unlike torch
        self._pools: dict[tuple[float, torch.dtype], Tensor] = {}
        self._ages: dict[tuple[float, torch.dtype], int] = {}

    def mask(self, like: Tensor, p: float) -> Tensor:
        """A mask with the shape, the strides and the type of `like`, to multiply it by."""
        key = (p, like.dtype)
        pool, age = self._pools.get(key), self._ages.get(key, 0)
        if pool is None or len(pool) < like.numel() + ROOM or age >= REFRESH_STEPS:
            size = max(like.numel() + ROOM, 0 if pool is None else len(pool))
            pool, age = _draw(size, p, like.dtype, self._generator), 0
            self._pools[key] = pool
        self._ages[key] = age + 1
        start = self._places.randint(0, len(pool) - like.numel())
        return pool.as_strided(like.size(), like.stride(), start)


class PooledDropout(nn.Module):
    """`nn.Dropout(p)` with masks from a pool."""

    def __init__(self, p: float, pool: MaskPool) -> None:
        super().__init__()
        self.p = p
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * self.pool.mask(x, self.p)


def pool_dropout(model: nn.Module, generator: torch.Generator) -> None:
    """Put `PooledDropout` in the place of every `nn.Dropout` of a model, in place."""
    pool = MaskPool(generator)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, PooledDropout(child.p, pool))


def _draw(size: int, p: float, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """(size,) values: 0 with probability p, else 1/(1-p)."""
    draws = torch.rand(size, generator=generator)
    scale = 1 / (1 - p)
    # bfloat16 has no such number as 1.05: taking the nearest would scale every activation by up to
    # 0.4 % too much or too little. The two neighbours, mixed, have the right mean.
    nearest = torch.tensor(scale).to(dtype)
    away = float("inf") if nearest.float() < scale else float("-inf")
    other = torch.nextafter(nearest, torch.tensor(away, dtype=dtype))
    gap = float(other.float() - nearest.float())
    share = (scale - float(nearest.float())) / gap if dtype != torch.float32 else 0.0
    values = torch.where(draws < p + (1 - p) * share, other, nearest)
    return values.masked_fill_(draws < p, 0)
