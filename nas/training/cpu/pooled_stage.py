"""Batch norm, ReLU and max pooling of 2x2 as one step on a CPU, forward and backward.

Why: the activations in front of a pooling are the largest of a network, and a step spends its time
on reading and writing them. Here no value is written that the pooling drops, and of the gradient
only what the norm needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.training.cpu import pool_kernels as kernels
from nas.training.cpu.formats import dense, flat
from nas.training.cpu.stage import normed, slopes_of


class PooledStage(nn.Module):
    """`nn.MaxPool2d(2)` of relu(norm(x)) while training, the ReLU where asked for.

    Args:
        norm: its weight, bias and running statistics are used and updated.
    """

    def __init__(self, norm: nn.BatchNorm2d, has_relu: bool) -> None:
        super().__init__()
        self.norm = norm
        self.has_relu = has_relu

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _PooledStageFunction.apply(x, self.norm.weight, self.norm.bias, self)
        return y


class _PooledStageFunction(torch.autograd.Function):
    # NumPy would warn on the terminal of a training that diverges, which the engine tells itself.
    @staticmethod
    @np.errstate(all="ignore")
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stage: PooledStage) -> Tensor:
        x = dense(x)
        n, c, height, width = x.shape
        ctx.mean, ctx.inverse, ctx.gain, shift = normed(stage.norm, flat(x))
        size = (n, c, height // 2, width // 2)
        y, winners = (torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
                      for _ in range(2))  # fmt: skip
        ctx.corners = np.empty(y.numel(), np.uint8)
        kernels.norm_and_pool(
            flat(x), flat(y), flat(winners), ctx.corners, ctx.gain, shift, stage.has_relu,
            n, c, height, width,
        )  # fmt: skip
        ctx.save_for_backward(x, winners)
        return y

    @staticmethod
    @once_differentiable
    @np.errstate(all="ignore")
    def backward(ctx: Any, y_grad: Tensor) -> Any:
        x, winners = ctx.saved_tensors
        n, c, height, width = x.shape
        flat_grad = flat(dense(y_grad))
        grad_sum, product_sum = np.empty((2, c), np.float32)
        kernels.pooled_gradient_sums(
            flat(winners), ctx.corners, flat_grad, ctx.mean, width // 2 * c, grad_sum, product_sum
        )
        sums = grad_sum, product_sum
        slope, rest = slopes_of(ctx.mean, ctx.inverse, ctx.gain, *sums, x.numel())
        x_grad = torch.empty_like(x)
        kernels.norm_and_pool_backward(
            flat(x), ctx.corners, flat_grad, flat(x_grad), ctx.gain, slope, rest, n, height, width
        )
        weight_grad = torch.from_numpy(product_sum * ctx.inverse)
        return x_grad, weight_grad, torch.from_numpy(grad_sum), None
