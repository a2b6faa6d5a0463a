"""A pooled stage gives what a stage and max pooling give, and what PyTorch does."""

import copy
import random

import pytest
import torch
from torch import nn

from nas.training.cpu.max_pool import MaxPool2x2
from nas.training.cpu.pooled_stage import PooledStage
from nas.training.cpu.stage import Stage
from tests.training.cpu.stages import BFLOAT16, DTYPES, FLOAT32, images, make_norm, step

SHAPES = [(2, 1, 2, 2), (3, 9, 5, 7), (2, 16, 14, 14), (5, 6, 7, 8), (64, 3, 9, 6), (8, 21, 28, 28)]

for_each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
with_and_without_relu = pytest.mark.parametrize("has_relu", [True, False], ids=["relu", "no-relu"])


def gradient_for(x):
    n, c, height, width = x.shape
    size = (n, c, height // 2, width // 2)
    values = torch.randn(size, generator=torch.Generator().manual_seed(9))
    return values.to(dtype=x.dtype, memory_format=torch.channels_last)


def steps(x, has_relu, plain_modules, exact=False):
    """What a step of a pooled stage gives, and a step of other modules with such a norm."""
    norm = make_norm(x.shape[1])
    other = copy.deepcopy(norm)
    y_grad = gradient_for(x)
    actual = step(PooledStage(norm, has_relu), x, y_grad, norm)
    if exact:
        x, y_grad, other = x.double(), y_grad.double(), other.double()
    return actual, step(nn.Sequential(*plain_modules(other)), x, y_grad, other)


def unfused(has_relu):
    return lambda norm: [Stage(norm, False, has_relu, 0.0, random.Random(0)), MaxPool2x2()]


def torchs(has_relu):
    return lambda norm: [norm, *([nn.ReLU()] if has_relu else []), nn.MaxPool2d(2)]


@for_each_shape
@with_and_without_relu
def test_output_and_statistics_are_those_of_stage_and_pooling_to_the_last_bit(has_relu, shape):
    actual, expected = steps(images(shape), has_relu, unfused(has_relu))
    for name in ("y", "running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(actual[name], expected[name]), name


@for_each_shape
@with_and_without_relu
def test_gradients_are_those_of_stage_and_pooling_but_for_the_order_of_sums(has_relu, shape):
    actual, expected = steps(images(shape), has_relu, unfused(has_relu))
    for name in ("x_grad", "weight_grad", "bias_grad"):
        size = expected[name].abs().max().item()
        torch.testing.assert_close(actual[name], expected[name], rtol=0, atol=1e-5 * (size + 1))


@for_each_shape
@with_and_without_relu
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
def test_everything_is_near_what_torch_computes_in_float64(dtype, has_relu, shape):
    x = images(shape, dtype)
    actual, expected = steps(x, has_relu, torchs(has_relu), exact=True)
    rtol = 2**-8 if dtype == BFLOAT16 else 1e-6  # half of the last bit
    for name, value in expected.items():
        limit = 1e-4 * (1 + value.abs().max().item())
        torch.testing.assert_close(actual[name].to(value.dtype), value, rtol=rtol, atol=limit)


@pytest.mark.parametrize("size", [(6, 6), (5, 7)], ids=str)
def test_of_equal_values_the_first_gets_the_gradient(size):
    x = images((8, 5, *size)).round()  # few different values
    actual, expected = steps(x, True, unfused(True))
    torch.testing.assert_close(actual["x_grad"], expected["x_grad"], rtol=0, atol=1e-5)


def test_window_that_relu_stops_passes_no_gradient_on():
    norm = make_norm(2)
    with torch.no_grad():
        norm.bias.fill_(-100)
    x = images((4, 2, 6, 6))
    result = step(PooledStage(norm, True), x, gradient_for(x), norm)
    for name in ("y", "x_grad", "weight_grad", "bias_grad"):
        assert result[name].count_nonzero() == 0


def test_nan_in_a_channel_stays_in_that_channel():
    norm = make_norm(3)
    x = images((4, 3, 6, 6))
    x[0, 1, 2, 2] = torch.nan
    result = step(PooledStage(norm, True), x, gradient_for(x), norm)
    for name in ("y", "x_grad"):
        has_nan = result[name].isnan().transpose(0, 1).flatten(1).any(1).tolist()
        assert has_nan == [False, True, False]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
def test_layout_in_memory_makes_no_difference(dtype):
    x = images((4, 6, 8, 10), dtype)
    first, second = (
        step(PooledStage(norm, True), values, gradient_for(x).contiguous(), norm)
        for values, norm in ((x, make_norm(6)), (x.contiguous(), make_norm(6)))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["y"].dtype == first["x_grad"].dtype == dtype


def test_numbers_of_bfloat16_are_compared_before_they_are_rounded():
    """What a float32 input of the same values gives, rounded at the end."""
    x = images((3, 4, 8, 8), BFLOAT16)
    half, whole = make_norm(4), make_norm(4)
    actual = step(PooledStage(half, True), x, gradient_for(x), half)
    expected = step(PooledStage(whole, True), x.to(FLOAT32), gradient_for(x).to(FLOAT32), whole)
    for name, value in expected.items():
        assert torch.equal(actual[name], value.to(actual[name].dtype)), name
