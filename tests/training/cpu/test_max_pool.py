"""Max pooling of 2x2 gives the very numbers of `nn.MaxPool2d(2)`, forward and backward."""

import math

import pytest
import torch
from torch import nn

from nas.training.cpu.max_pool import MaxPool2x2

DTYPES = [torch.float32, torch.bfloat16]


def output_and_gradient(module, x, y_grad):
    x = x.detach().requires_grad_()
    y = module(x)
    y.backward(y_grad)
    return y.detach(), x.grad


def images(*shape, dtype=torch.float32):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(dtype=dtype, memory_format=torch.channels_last)


def gradient_for(x):
    """Random values, all of them different from 0, of the shape of pooled `x`."""
    n, c, height, width = x.shape
    return images(n, c, height // 2, width // 2, dtype=x.dtype).exp()


def assert_equals_torch(x, y_grad=None):
    y_grad = gradient_for(x) if y_grad is None else y_grad
    y, x_grad = output_and_gradient(MaxPool2x2(), x, y_grad)
    expected_y, expected_grad = output_and_gradient(nn.MaxPool2d(2), x, y_grad)
    assert y.dtype == x_grad.dtype == x.dtype
    assert torch.equal(y, expected_y)
    assert torch.equal(x_grad, expected_grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 9, 16, 33])
@pytest.mark.parametrize(
    "size", [(2, 2), (3, 2), (2, 3), (7, 7), (8, 13), (14, 14), (29, 28), (28, 29)]
)
def test_output_and_gradient_equal_torchs(channels, size, dtype):
    assert_equals_torch(images(3, channels, *size, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 9, 16, 33])
def test_of_equal_values_the_first_is_chosen_as_in_torch(channels, dtype):
    x = images(8, channels, 9, 10, dtype=dtype)
    assert_equals_torch(x.relu())  # many zeros
    assert_equals_torch((2 * x).round())  # few different values
    assert_equals_torch(torch.zeros_like(x))


def test_each_corner_can_be_chosen_and_equals_go_to_the_first():
    windows = [
        ([9, 1, 1, 1], 0), ([1, 9, 1, 1], 1), ([1, 1, 9, 1], 2), ([1, 1, 1, 9], 3),
        ([9, 9, 9, 9], 0), ([1, 9, 9, 9], 1), ([1, 1, 9, 9], 2), ([0, -0.0, 0, 0], 0),
    ]  # fmt: skip
    for values, corner in windows:
        x = torch.tensor(values).float().view(1, 1, 2, 2)
        y, x_grad = output_and_gradient(MaxPool2x2(), x, torch.full((1, 1, 1, 1), 5.0))
        assert y.item() == max(values)
        assert x_grad.flatten().tolist() == [5.0 * (i == corner) for i in range(4)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_and_column_left_over_get_gradient_0(dtype):
    x = images(2, 3, 5, 7, dtype=dtype)
    x[:, :, -1], x[..., -1] = 100, 100
    y, x_grad = output_and_gradient(MaxPool2x2(), x, gradient_for(x))
    assert y.max() < 100
    assert x_grad[:, :, -1].count_nonzero() + x_grad[..., -1].count_nonzero() == 0
    assert x_grad.count_nonzero() == y.numel()


def test_infinities_are_values_like_others():
    x = images(2, 3, 6, 6)
    x[x > 1], x[x < 0] = torch.inf, -torch.inf
    assert_equals_torch(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_in_memory_makes_no_difference(dtype):
    x = images(4, 6, 8, 10, dtype=dtype)
    assert_equals_torch(x.contiguous())
    assert_equals_torch(x[:, ::2, :, 1:])
    assert_equals_torch(x, gradient_for(x).contiguous())
    assert_equals_torch(x, torch.tensor(2.0, dtype=dtype).expand(4, 6, 4, 5))
    y = MaxPool2x2()(x.contiguous())
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("corner", range(4))
def test_a_nan_anywhere_in_the_window_is_the_result(corner):
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    x[corner] = math.nan
    assert MaxPool2x2()(x.view(1, 1, 2, 2)).isnan().all()
