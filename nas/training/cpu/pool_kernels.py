"""The loops of `MaxPool2x2` and `PooledStage`, forward and backward.

Activations are flat arrays in channels-last order. Windows are of 2x2 pixels, and their corners
have numbers: 0 1 above, 2 3 below. A window is short runs of C values, too short for vectors. So
the runs are only copied, to or from rows that hold one corner of each window, and the work is done
on whole rows.

Letters: N images, C channels, H height, W width of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.training.cpu.formats import (
    CHUNK,
    Floats,
    Values,
    add_tiled,
    compiled,
    load,
    store,
    tiled,
)

STOPPED = np.uint8(4)  # in place of a corner: ReLU let nothing through

Corners = NDArray[np.uint8]


# What `store` gets has a name: numba 0.68 dropped a call whose argument was a choice and a `load`.


# Max pooling alone


@compiled
def max_pool(
    x: Values, y: Values, corners: Corners, num_images: int, c: int, height: int, width: int
) -> None:
    """The largest value of each window, and which corner it came from."""
    length = width // 2 * c
    windows = np.empty((4, length), x.dtype)
    for row in range(num_images * (height // 2)):
        _copy_windows(x, windows, row, c, height, width)
        first, second, third, fourth = windows[0], windows[1], windows[2], windows[3]
        y_row = y[row * length : (row + 1) * length]
        corner_row = corners[row * length : (row + 1) * length]
        for i in range(length):
            largest, corner = load(first, i), np.uint8(0)
            value = load(second, i)
            is_larger = (value > largest) | (value != value)  # a NaN is the largest of all
            corner, largest = (np.uint8(1), value) if is_larger else (corner, largest)
            value = load(third, i)
            is_larger = (value > largest) | (value != value)
            corner, largest = (np.uint8(2), value) if is_larger else (corner, largest)
            value = load(fourth, i)
            is_larger = (value > largest) | (value != value)
            corner, largest = (np.uint8(3), value) if is_larger else (corner, largest)
            store(y_row, i, largest)
            corner_row[i] = corner


@compiled
def max_pool_backward(
    y_grad: Values,
    corners: Corners,
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
    is_here = np.empty(2 * length, y_grad.dtype)
    for row in range(num_images * (height // 2)):
        upper = _spread(y_grad, corners, grads, is_here, row, c, height, width)
        above = x_grad[upper : upper + 2 * length]
        below = x_grad[upper + width * c : upper + width * c + 2 * length]
        for i in range(2 * length):
            above[i] = grads[i] if is_here[i] == 0 else 0
            below[i] = grads[i] if is_here[i] == 2 else 0


# Batch norm and ReLU in front of it


@compiled
def norm_and_pool(
    x: Values,
    y: Values,
    winners: Values,
    corners: Corners,
    gain: Floats,
    shift: Floats,
    has_relu: bool,
    num_images: int,
    c: int,
    height: int,
    width: int,
) -> None:
    """The largest relu(gain * x + shift) of each window, the x that it came from, its corner.

    Args:
        gain, shift: (C,).
    """
    length = width // 2 * c
    gains, shifts = tiled(gain, length), tiled(shift, length)
    zero = np.float32(0)
    windows = np.empty((4, length), x.dtype)
    for row in range(num_images * (height // 2)):
        _copy_windows(x, windows, row, c, height, width)
        first, second, third, fourth = windows[0], windows[1], windows[2], windows[3]
        y_row = y[row * length : (row + 1) * length]
        winner_row = winners[row * length : (row + 1) * length]
        corner_row = corners[row * length : (row + 1) * length]
        for i in range(length):
            winner, corner = load(first, i), np.uint8(0)
            largest = winner * gains[i] + shifts[i]
            x_value = load(second, i)
            value = x_value * gains[i] + shifts[i]
            is_larger = (value > largest) | (value != value)
            corner, largest = (np.uint8(1), value) if is_larger else (corner, largest)
            winner = x_value if is_larger else winner
            x_value = load(third, i)
            value = x_value * gains[i] + shifts[i]
            is_larger = (value > largest) | (value != value)
            corner, largest = (np.uint8(2), value) if is_larger else (corner, largest)
            winner = x_value if is_larger else winner
            x_value = load(fourth, i)
            value = x_value * gains[i] + shifts[i]
            is_larger = (value > largest) | (value != value)
            corner, largest = (np.uint8(3), value) if is_larger else (corner, largest)
            winner = x_value if is_larger else winner
            is_stopped = has_relu & (largest <= zero)
            store(y_row, i, zero if is_stopped else largest)
            store(winner_row, i, winner)
            corner_row[i] = STOPPED if is_stopped else corner


@compiled
def pooled_gradient_sums(
    winners: Values,
    corners: Corners,
    y_grad: Values,
    mean: Floats,
    length: int,
    grad_sum: Floats,
    product_sum: Floats,
) -> None:
    """For each channel the sums of g and of g * (x - mean), into (C,) arrays.

    g is `y_grad` where `norm_and_pool` passed the value on, and 0 where ReLU stopped it.

    Args:
        length: values in a row of windows.
    """
    c = mean.size
    means = tiled(mean, length)
    zero = np.float32(0)
    sums, products = np.empty(length, np.float32), np.empty(length, np.float32)
    sum_total, product_total = np.zeros(c), np.zeros(c)
    for chunk in range(0, y_grad.size, CHUNK * length):
        sums[:], products[:] = 0, 0
        for start in range(chunk, min(chunk + CHUNK * length, y_grad.size), length):
            winner_row, corner_row = (
                winners[start : start + length],
                corners[start : start + length],
            )
            grad_row = y_grad[start : start + length]
            for i in range(length):
                grad = zero if corner_row[i] == STOPPED else load(grad_row, i)
                sums[i] += grad
                products[i] += grad * (load(winner_row, i) - means[i])
        add_tiled(sums, sum_total)
        add_tiled(products, product_total)
    for k in range(c):
        grad_sum[k], product_sum[k] = sum_total[k], product_total[k]


@compiled
def norm_and_pool_backward(
    x: Values,
    corners: Corners,
    y_grad: Values,
    x_grad: Values,
    gain: Floats,
    slope: Floats,
    rest: Floats,
    num_images: int,
    height: int,
    width: int,
) -> None:
    """x_grad = gain * g + slope * x + rest; g is the gradient of a chosen corner, else 0.

    Args:
        gain, slope, rest: (C,).
    """
    c = gain.size
    length = width // 2 * c
    gains = tiled(gain, 2 * length)
    slopes, rests = tiled(slope, width * c), tiled(rest, width * c)
    zero = np.float32(0)
    grads = np.empty(2 * length, y_grad.dtype)
    is_here = np.empty(2 * length, y_grad.dtype)
    for row in range(num_images * (height // 2)):
        upper = _spread(y_grad, corners, grads, is_here, row, c, height, width)
        lower = upper + width * c
        x_above, x_below = x[upper : upper + 2 * length], x[lower : lower + 2 * length]
        above, below = x_grad[upper : upper + 2 * length], x_grad[lower : lower + 2 * length]
        for i in range(2 * length):
            grad = gains[i] * load(grads, i)
            value = (grad if is_here[i] == 0 else zero) + slopes[i] * load(x_above, i) + rests[i]
            store(above, i, value)
            value = (grad if is_here[i] == 2 else zero) + slopes[i] * load(x_below, i) + rests[i]
            store(below, i, value)
    # A row and a column left over are part of the norm's statistics.
    for line in range(num_images * height):
        first = 0 if height % 2 and line % height == height - 1 else 2 * length
        for i in range(first, width * c):
            at = line * width * c + i
            value = slopes[i] * load(x, at) + rests[i]
            store(x_grad, at, value)


# What they share


@compiled
def _copy_windows(x: Values, windows: Any, row: int, c: int, height: int, width: int) -> None:
    """A row of windows, into a row for each corner."""
    first, second, third, fourth = windows[0], windows[1], windows[2], windows[3]
    image, line = divmod(row, height // 2)
    upper = (image * height + 2 * line) * width * c
    for column in range(width // 2):
        start = upper + 2 * column * c
        above = x[start : start + 2 * c]
        below = x[start + width * c : start + (width + 2) * c]
        run = slice(column * c, column * c + c)
        a, b, d, e = first[run], second[run], third[run], fourth[run]
        for k in range(c):
            a[k], b[k], d[k], e[k] = above[k], above[c + k], below[k], below[c + k]


@compiled
def _spread(
    y_grad: Values,
    corners: Corners,
    grads: Values,
    is_here: Values,
    row: int,
    c: int,
    height: int,
    width: int,
) -> int:
    """The gradients of a row of windows, once for each of their two columns.

    `is_here` becomes 0 where such a gradient belongs above in its column, 2 where below in it.
    Returns where in the input the row of windows begins.
    """
    length = width // 2 * c
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
    return (image * height + 2 * line) * width * c
