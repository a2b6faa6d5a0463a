"""Batch norm, ReLU and dropout as one step on a CPU, forward and backward."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.training.cpu import stage_kernels as kernels
from nas.training.cpu.formats import Floats, Values, dense, flat

ONE = np.float32(1)
PERIOD = 32  # without batch norm all channels are alike, and their number does not matter


class Stage(nn.Module):
    """dropout(relu(norm(relu(x)))) while training, each of the four where asked for.

    Called with a `base` of the shape of x, it adds the base to that.

    Args:
        norm: its weight, bias and running statistics are used and updated.
        p: probability that a value is dropped.
        rng: two draws a step seed the random bits of dropout.
    """

    def __init__(
        self,
        norm: nn.BatchNorm2d | None,
        relu_before: bool,
        relu_after: bool,
        p: float,
        rng: random.Random,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.relu_before = relu_before
        self.relu_after = relu_after
        self.scale = 1 / (1 - p)
        self.threshold = round(p * 2**32)
        self._rng = rng

    def forward(self, x: Tensor, base: Tensor | None = None) -> Tensor:
        if base is not None and (self.threshold or base.dtype != x.dtype):
            added: Tensor = base + self(x)
            return added
        seeds = (self._rng.getrandbits(32), self._rng.getrandbits(32)) if self.threshold else (0, 0)
        weight = bias = None
        if self.norm is not None:
            weight, bias = self.norm.weight, self.norm.bias
        y: Tensor = _StageFunction.apply(x, base, weight, bias, self, seeds)
        return y


class _StageFunction(torch.autograd.Function):
    # NumPy would warn on the terminal of a training that diverges, which the engine tells itself.
    @staticmethod
    @np.errstate(all="ignore")
    def forward(
        ctx: Any,
        x: Tensor,
        base: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        stage: Stage,
        seeds: tuple[int, int],
    ) -> Tensor:
        x = dense(x)
        y = torch.empty_like(x)
        flat_x = flat(x)
        if stage.norm is None:
            gain, shift = np.full(PERIOD, stage.scale, np.float32), np.zeros(PERIOD, np.float32)
        else:
            mean, inverse, gain, shift = normed(
                stage.norm, flat_x, stage.relu_before, np.float32(stage.scale)
            )
            ctx.mean, ctx.inverse = mean, inverse
        kernels.apply(
            flat_x,
            flat(y),
            flat_x if base is None else flat(dense(base)),
            gain,
            shift,
            stage.relu_before,
            stage.relu_after,
            base is not None,
            np.uint32(stage.threshold),
            (np.uint32(seeds[0]), np.uint32(seeds[1])),
        )
        ctx.stage, ctx.gain, ctx.shift, ctx.has_base = stage, gain, shift, base is not None
        ctx.save_for_backward(x, y if stage.threshold else x)
        return y

    @staticmethod
    @once_differentiable
    @np.errstate(all="ignore")
    def backward(ctx: Any, y_grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        stage: Stage = ctx.stage
        x_grad = torch.empty_like(x)
        arrays = flat(x), flat(y), flat(dense(y_grad))
        gain, shift, base_grad = ctx.gain, ctx.shift, y_grad if ctx.has_base else None
        flags = stage.relu_before, stage.relu_after, stage.threshold > 0
        if stage.norm is None:
            zeros = np.zeros(PERIOD, np.float32)
            kernels.apply_backward(*arrays, flat(x_grad), gain, shift, zeros, zeros, *flags)
            return x_grad, base_grad, None, None, None, None
        mean, inverse = ctx.mean, ctx.inverse
        grad_sum, product_sum = np.empty((2, len(mean)), np.float32)
        kernels.gradient_sums(*arrays, gain, shift, mean, *flags, grad_sum, product_sum)
        slope, rest = slopes_of(mean, inverse, gain, grad_sum, product_sum, x.numel())
        kernels.apply_backward(*arrays, flat(x_grad), gain, shift, slope, rest, *flags)
        scale = np.float32(stage.scale)
        weight_grad = torch.from_numpy(product_sum * inverse * scale)
        bias_grad = torch.from_numpy(grad_sum * scale)
        return x_grad, base_grad, weight_grad, bias_grad, None, None


def normed(
    norm: nn.BatchNorm2d, flat_x: Values, relu_before: bool = False, scale: np.float32 = ONE
) -> tuple[Floats, Floats, Floats, Floats]:
    """Statistics of a batch, and what a norm makes of a value: gain * x + shift.

    Args:
        scale: of what the norm gives.

    Returns:
        Mean, inverse deviation, gain, shift, each (C,).
    """
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    mean, variance = np.empty((2, len(weight)), np.float32)
    kernels.moments(flat_x, relu_before, mean, variance)
    _track(norm, mean, variance, flat_x.size // len(weight))
    inverse = 1 / np.sqrt(variance + np.float32(norm.eps))
    gain = weight * inverse * scale
    shift = bias * scale - mean * gain
    return mean, inverse, gain, shift


def slopes_of(
    mean: Floats, inverse: Floats, gain: Floats, grad_sum: Floats, product_sum: Floats, size: int
) -> tuple[Floats, Floats]:
    """The gradient of x is gain * g + slope * x + rest: slope and rest, each (C,).

    Args:
        grad_sum, product_sum: for each channel the sums of g and of g * (x - mean).
        size: number of values of x.
    """
    count = np.float32(size // len(mean))
    slope = -gain * inverse * inverse * product_sum / count
    rest = -gain * grad_sum / count - slope * mean
    return slope, rest


def _track(norm: nn.BatchNorm2d, mean: Any, variance: Any, count: int) -> None:
    """Update the running statistics as `nn.BatchNorm2d` does."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    momentum = np.float32(norm.momentum)
    running_mean, running_var = norm.running_mean.numpy(), norm.running_var.numpy()
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (variance * np.float32(count / max(count - 1, 1)) - running_var)
    norm.num_batches_tracked += 1
