"""Another way to run a network while training on a CPU, of fewer and larger steps."""

from __future__ import annotations

import random
from typing import Any

from torch import Tensor, nn

from nas.candidates.layers.modules import Residual, Tied
from nas.training.cpu.max_pool import MaxPool2x2
from nas.training.cpu.pooled_stage import PooledStage
from nas.training.cpu.stage import Stage


def fuse(model: nn.Sequential, seed: int) -> nn.Sequential:
    """A network of the same modules that trains faster on a CPU.

    It shares weights and running statistics with `model`, which stays as it is; call it in
    training mode only. Each run of (ReLU, batch norm, ReLU, dropout), of which any may be missing,
    becomes one `Stage`; (batch norm, ReLU, max pooling of 2x2), with or without the ReLU, becomes a
    `PooledStage`; other max pooling of 2x2 a `MaxPool2x2`; also within residual and tied modules.

    Args:
        seed: of what dropout drops.
    """
    return nn.Sequential(*_fuse(list(model), random.Random(seed)))


def _fuse(modules: list[nn.Module], rng: random.Random) -> list[nn.Module]:
    steps: list[nn.Module] = []
    while modules:
        relu_before = _take(modules, nn.ReLU)
        norm = _take(modules, nn.BatchNorm2d)
        relu_after = _take(modules, nn.ReLU) if norm else None
        dropout = _take(modules, nn.Dropout)
        is_pooled = norm and not relu_before and not dropout and modules and _is_halving(modules[0])
        if is_pooled:
            del modules[0]
            steps.append(PooledStage(norm, relu_after is not None))
            continue
        if relu_before or norm or dropout:
            p = dropout.p if dropout else 0.0
            steps.append(Stage(norm, relu_before is not None, relu_after is not None, p, rng))
            continue
        module = modules.pop(0)
        if _is_halving(module):
            module = MaxPool2x2()
        elif isinstance(module, Residual):
            module = Residual(*_fuse(list(module), rng))
        elif isinstance(module, Tied):
            module = FusedTied(module, rng)
        steps.append(module)
    return steps


class FusedTied(nn.Module):
    """A `Tied` whose norms and ReLUs are stages."""

    def __init__(self, tied: Tied, rng: random.Random) -> None:
        super().__init__()
        self.conv = tied.conv
        self.stages = nn.ModuleList(Stage(n, False, True, 0.0, rng) for n in _norms(tied))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(self.conv(x), x)
        return x


def _norms(tied: Tied) -> list[nn.BatchNorm2d]:
    return [norm for norm in tied.norms if isinstance(norm, nn.BatchNorm2d)]


def _is_halving(module: nn.Module) -> bool:
    """Whether it is `nn.MaxPool2d(2)` with nothing else set."""
    if type(module) is not nn.MaxPool2d:
        return False
    settings = (module.kernel_size, module.stride, module.padding, module.dilation)
    return settings == (2, 2, 0, 1) and not module.ceil_mode and not module.return_indices


def _take(modules: list[nn.Module], kind: type[nn.Module]) -> Any:
    """Remove and return the first module if it is of that kind."""
    return modules.pop(0) if modules and type(modules[0]) is kind else None
