"""Stages, the same of PyTorch, and activations for both."""

import random
from typing import NamedTuple

import torch
from torch import nn

from nas.training.cpu.stage import Stage

FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
DTYPES = [FLOAT32, BFLOAT16]


class Kind(NamedTuple):
    """What a stage does."""

    relu_before: bool = False
    norm: bool = False
    relu_after: bool = False

    def __str__(self):
        names = [name for name, is_there in zip(self._fields, self, strict=True) if is_there]
        return "-".join(names) or "nothing"


def images(shape, dtype=FLOAT32, seed=0):
    """Images whose channels have different means and deviations."""
    generator = torch.Generator().manual_seed(seed)
    channels = torch.arange(shape[1]).view(1, -1, 1, 1)
    x = torch.randn(shape, generator=generator) * (1 + 0.1 * channels) + 0.5 * channels % 3 - 1
    return x.to(dtype=dtype, memory_format=torch.channels_last)


def gradient_for(x):
    return torch.empty_like(x).normal_(generator=torch.Generator().manual_seed(9))


def make_norm(num_channels):
    """A batch norm as in the middle of a training; some weights are negative, one is 0."""
    norm = nn.BatchNorm2d(num_channels, momentum=0.3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean):
            values.copy_(torch.randn(num_channels, generator=generator))
        norm.running_var.copy_(torch.rand(num_channels, generator=generator) + 0.5)
        norm.weight[2:3] = 0
        norm.num_batches_tracked += 7
    return norm


def make_stage(kind=Kind(), norm=None, p=0.0, seed=0):  # noqa: B008
    return Stage(norm, kind.relu_before, kind.relu_after, p, random.Random(seed))


def make_plain(kind, norm):
    """What a stage stands for, without dropout."""
    before, after = [nn.ReLU()] * kind.relu_before, [nn.ReLU()] * kind.relu_after
    return nn.Sequential(*before, *([norm] if norm else []), *after)


def step(module, x, y_grad, norm=None):
    """Everything that a forward and a backward pass give."""
    x = x.detach().requires_grad_()
    y = module(x)
    y.backward(y_grad)
    results = {"y": y.detach(), "x_grad": x.grad}
    if norm:
        results |= {"weight_grad": norm.weight.grad, "bias_grad": norm.bias.grad}
        results |= {name: value.clone() for name, value in norm.named_buffers()}
    return results
