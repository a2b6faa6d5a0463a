"""Max pooling over windows of 2x2 pixels on a CPU, forward and backward.

Letters: N images, C channels, H height, W width of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.training.cpu import pool_kernels as kernels
from nas.training.cpu.formats import dense, flat


class MaxPool2x2(nn.Module):
    """`nn.MaxPool2d(2)`: a row or column left over is dropped, the first of equals is chosen."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _MaxPoolFunction.apply(x)
        return y


class _MaxPoolFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = dense(x)
        n, c, height, width = x.shape
        size = (n, c, height // 2, width // 2)
        y = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        corners = np.empty(y.numel(), np.uint8)
        kernels.max_pool(flat(x), flat(y), corners, n, c, height, width)
        ctx.corners, ctx.x_shape = corners, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, y_grad: Tensor) -> Tensor:
        n, c, height, width = ctx.x_shape
        y_grad = dense(y_grad)
        x_grad = torch.empty(ctx.x_shape, dtype=y_grad.dtype, memory_format=torch.channels_last)
        kernels.max_pool_backward(flat(y_grad), ctx.corners, flat(x_grad), n, c, height, width)
        return x_grad
