"""Max pooling over windows of 2x2 pixels on a CPU, forward and backward.

Letters: N images, C channels, H height, W width of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.training.cpu.formats import Values, compiled, dense, flat, load, store


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
        _max_pool(flat(x), flat(y), corners, n, c, height, width)
        ctx.corners, ctx.x_shape = corners, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, y_grad: Tensor) -> Tensor:
        n, c, height, width = ctx.x_shape
        y_grad = dense(y_grad)
        x_grad = torch.empty(ctx.x_shape, dtype=y_grad.dtype, memory_format=torch.channels_last)
        _max_pool_backward(flat(y_grad), ctx.corners, flat(x_grad), n, c, height, width)
        return x_grad


# Windows are short runs of C values, too short for vectors. So the runs are only copied, to or
# from rows that hold one corner of each window, and the work is done on whole rows.


@compiled
def _max_pool(
    x: Values, y: Values, corners: Values, num_images: int, c: int, height: int, width: int
) -> None:
    """The largest value of each window, and which corner it came from: 0 1 above, 2 3 below."""
    length = width // 2 * c
    upper_left, upper_right = np.empty(length, x.dtype), np.empty(length, x.dtype)
    lower_left, lower_right = np.empty(length, x.dtype), np.empty(length, x.dtype)
    for row in range(num_images * (height // 2)):
        image, line = divmod(row, height // 2)
        upper = (image * height + 2 * line) * width * c
        for column in range(width // 2):
            start = upper + 2 * column * c
            above = x[start : start + 2 * c]
            below = x[start + width * c : start + (width + 2) * c]
            run = slice(column * c, column * c + c)
            a, b, d, e = upper_left[run], upper_right[run], lower_left[run], lower_right[run]
            for k in range(c):
                a[k], b[k], d[k], e[k] = above[k], above[c + k], below[k], below[c + k]
        y_row = y[row * length : (row + 1) * length]
        corner_row = corners[row * length : (row + 1) * length]
        for i in range(length):
            largest, corner = load(upper_left, i), np.uint8(0)
            value = load(upper_right, i)
            is_larger = (value > largest) | (value != value)  # a NaN is the largest of all
            corner, largest = (np.uint8(1), value) if is_larger else (corner, largest)
            value = load(lower_left, i)
            is_larger = (value > largest) | (value != value)  # a NaN is the largest of all
            corner, largest = (np.uint8(2), value) if is_larger else (corner, largest)
            value = load(lower_right, i)
            is_larger = (value > largest) | (value != value)  # a NaN is the largest of all
            corner, largest = (np.uint8(3), value) if is_larger else (corner, largest)
            store(y_row, i, largest)
            corner_row[i] = corner


@compiled
def _max_pool_backward(
    y_grad: Values,
    corners: Values,
    x_grad: Values,
    num_images: int,
    c: int,
    height: int,
    width: int,
) -> None:
    """The gradient of each window goes to the corner that was chosen; the others get 0."""
    length = width // 2 * c
    if height % 2 or width % 2:
        x_grad[:] = 0
    grads = np.empty(2 * length, y_grad.dtype)
    is_here = np.empty(2 * length, y_grad.dtype)  # 0: above in this column, 2: below in it
    for row in range(num_images * (height // 2)):
        for column in range(width // 2):
            run = slice(row * length + column * c, row * length + column * c + c)
            grad_run, corner_run = y_grad[run], corners[run]
            left = slice(2 * column * c, 2 * column * c + c)
            right = slice(2 * column * c + c, 2 * column * c + 2 * c)
            grad_left, grad_right = grads[left], grads[right]
            here_left, here_right = is_here[left], is_here[right]
            for k in range(c):
                grad_left[k] = grad_right[k] = grad_run[k]
                here_left[k], here_right[k] = corner_run[k], corner_run[k] ^ np.uint8(1)
        image, line = divmod(row, height // 2)
        upper = (image * height + 2 * line) * width * c
        above = x_grad[upper : upper + 2 * length]
        below = x_grad[upper + width * c : upper + width * c + 2 * length]
        for i in range(2 * length):
            above[i] = grads[i] if is_here[i] == 0 else 0
            below[i] = grads[i] if is_here[i] == 2 else 0
