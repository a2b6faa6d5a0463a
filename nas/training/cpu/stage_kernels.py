"""The loops of `Stage`: batch norm, ReLU and dropout, forward and backward.

These are a few operations on each value, so their time is that of reading and writing the
activations. PyTorch passes over them for each of the modules; here two passes do all of it in
each direction.

Activations are flat arrays in channels-last order: value `i` belongs to channel `i % C`. Loops run
over `LANES` pixels at once, so that whole vectors are worked on whatever the number of channels.
"""

from __future__ import annotations

import numpy as np

from nas.training.cpu.formats import (
    CHUNK,
    Floats,
    Values,
    add_tiled,
    bits,
    compiled,
    from_bits,
    load,
    store,
    tiled,
)

LANES = 16
SIGN = np.uint32(0x80000000)


# The two passes forward


@compiled
def apply(
    x: Values,
    y: Values,
    base: Values,
    gain: Floats,
    shift: Floats,
    relu_before: bool,
    relu_after: bool,
    has_base: bool,
    threshold: int,
    seeds: tuple[int, int],
) -> None:
    """y = dropout(relu(gain * relu(x) + shift)), each of the three where asked for.

    Args:
        base: with `has_base` added to y, where there is no dropout.
        gain, shift: (C,); dropout's 1/(1-p) is part of them.
        threshold: p * 2**32, uint32; 0 is no dropout. Every value has its own random number, a hash
            of its place and the two seeds (uint32). A dropped value becomes -0.0, which no other
            value of y is, so that y tells the backward pass what was dropped.
    """
    tile = LANES * gain.size
    gains, shifts = tiled(gain, tile), tiled(shift, tile)
    zero, minus_zero = np.float32(0), from_bits(SIGN)
    floor = zero if relu_before else np.float32(-np.inf)
    floor_after = zero if relu_after else np.float32(-np.inf)
    for start in range(0, x.size, tile):
        length = min(tile, x.size - start)
        x_row, y_row = x[start : start + length], y[start : start + length]
        base_row = base[start : start + length]
        if threshold > 0:
            for i in range(length):
                value = load(x_row, i)
                value = (floor if value < floor else value) * gains[i] + shifts[i]
                value = (floor_after if value < floor_after else value) + zero  # never -0.0
                # numba's product of two uint32 is a uint64: each is cut down again.
                draw = np.uint32((np.uint32(start + i) ^ seeds[0]) * np.uint32(0x9E3779B1))
                draw = np.uint32(draw ^ (draw >> np.uint32(16)))
                draw = np.uint32((draw ^ np.uint32(draw << np.uint32(7))) + seeds[1])
                draw = np.uint32(draw * np.uint32(0x85EBCA77))
                store(y_row, i, minus_zero if draw < threshold else value)
        else:
            for i in range(length):
                value = load(x_row, i)
                value = (floor if value < floor else value) * gains[i] + shifts[i]
                value = (floor_after if value < floor_after else value) + zero
                value = value + load(base_row, i) if has_base else value
                store(y_row, i, value)


@compiled
def moments(x: Values, relu_before: bool, mean: Floats, variance: Floats) -> None:
    """Mean and (biased) variance of each channel of relu(x), into (C,) `mean` and `variance`."""
    num_channels = mean.size
    tile = LANES * num_channels
    floor = np.float32(0) if relu_before else np.float32(-np.inf)
    # Sums of differences from some value of the channel: squares of large means would cancel.
    origin = np.empty(tile, np.float32)
    for i in range(tile):
        origin[i] = max(load(x, i % num_channels), floor)
    sums, squares = np.empty(tile, np.float32), np.empty(tile, np.float32)
    sum_total, square_total = np.zeros(num_channels), np.zeros(num_channels)
    for chunk in range(0, x.size, CHUNK * tile):
        sums[:], squares[:] = 0, 0
        chunk_end = min(chunk + CHUNK * tile, x.size)
        for start in range(chunk, chunk_end, tile):
            row = x[start : min(start + tile, chunk_end)]
            for i in range(row.size):
                value = load(row, i)
                value = (floor if value < floor else value) - origin[i]
                sums[i] += value
                squares[i] += value * value
        add_tiled(sums, sum_total)
        add_tiled(squares, square_total)
    count = x.size // num_channels
    for c in range(num_channels):
        offset = sum_total[c] / count
        mean[c] = origin[c] + offset
        variance[c] = max(square_total[c] / count - offset * offset, 0.0)


# The two passes backward


@compiled
def gradient_sums(
    x: Values,
    y: Values,
    y_grad: Values,
    gain: Floats,
    shift: Floats,
    mean: Floats,
    relu_before: bool,
    relu_after: bool,
    has_dropout: bool,
    grad_sum: Floats,
    product_sum: Floats,
) -> None:
    """For each channel the sums of g and of g * (relu(x) - mean), into (C,) arrays.

    g is `y_grad` where `apply` passed the value on, and 0 where ReLU or dropout stopped it.

    Args:
        y: read with dropout only; without, computing a value again is faster than reading it.
        gain, shift: as of `apply`.
    """
    num_channels = mean.size
    tile = LANES * num_channels
    means, gains, shifts = tiled(mean, tile), tiled(gain, tile), tiled(shift, tile)
    zero = np.float32(0)
    floor = zero if relu_before else np.float32(-np.inf)
    sums, products = np.empty(tile, np.float32), np.empty(tile, np.float32)
    sum_total, product_total = np.zeros(num_channels), np.zeros(num_channels)
    for chunk in range(0, x.size, CHUNK * tile):
        sums[:], products[:] = 0, 0
        chunk_end = min(chunk + CHUNK * tile, x.size)
        for start in range(chunk, chunk_end, tile):
            end = min(start + tile, chunk_end)
            x_row, y_row, grad_row = x[start:end], y[start:end], y_grad[start:end]
            for i in range(end - start):
                value = load(x_row, i)
                value = floor if value < floor else value
                out = load(y_row, i) if has_dropout else value * gains[i] + shifts[i]
                is_stopped = (has_dropout & (bits(out) == SIGN)) | (relu_after & (out <= zero))
                grad = zero if is_stopped else load(grad_row, i)
                sums[i] += grad
                products[i] += grad * (value - means[i])
        add_tiled(sums, sum_total)
        add_tiled(products, product_total)
    for c in range(num_channels):
        grad_sum[c], product_sum[c] = sum_total[c], product_total[c]


@compiled
def apply_backward(
    x: Values,
    y: Values,
    y_grad: Values,
    x_grad: Values,
    gain: Floats,
    shift: Floats,
    slope: Floats,
    rest: Floats,
    relu_before: bool,
    relu_after: bool,
    has_dropout: bool,
) -> None:
    """x_grad = (gain * g + slope * relu(x) + rest), 0 where a ReLU before stopped x.

    Args:
        y: read with dropout only.
        gain, shift: as of `apply`.
        slope, rest: (C,).
    """
    tile = LANES * gain.size
    gains, shifts = tiled(gain, tile), tiled(shift, tile)
    slopes, rests = tiled(slope, tile), tiled(rest, tile)
    zero = np.float32(0)
    floor = zero if relu_before else np.float32(-np.inf)
    for start in range(0, x.size, tile):
        end = min(start + tile, x.size)
        x_row, y_row = x[start:end], y[start:end]
        y_grad_row, x_grad_row = y_grad[start:end], x_grad[start:end]
        for i in range(end - start):
            value = load(x_row, i)
            value = floor if value < floor else value
            out = load(y_row, i) if has_dropout else value * gains[i] + shifts[i]
            is_stopped = (has_dropout & (bits(out) == SIGN)) | (relu_after & (out <= zero))
            grad = zero if is_stopped else load(y_grad_row, i)
            grad = gains[i] * grad + slopes[i] * value + rests[i]
            grad = zero if relu_before & (value <= zero) else grad
            store(x_grad_row, i, grad)
