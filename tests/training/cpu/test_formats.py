"""Activations as flat arrays: bfloat16 is rounded as torch does it, and no memory is copied."""

import importlib
import linecache
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

from nas.training.cpu import formats
from nas.training.cpu.formats import dense, flat, load, store

DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(3, 5, 4, 6), (3, 1, 4, 6), (3, 5, 1, 1), (1, 5, 4, 6), (2, 1, 1, 1), (4, 7)]


@njit  # not `compiled`: what that keeps on disk would outlive a change of `load` and `store`
def copy(source, target):
    for i in range(source.size):
        store(target, i, load(source, i))


def copied(source, dtype):
    """The values of `source` as another type, by `load` and `store`."""
    target = torch.empty(source.shape, dtype=dtype)
    copy(flat(source), flat(target))
    return target


def from_bits(bits, dtype):
    """Numbers whose bits are given: of float32 (uint32) or of bfloat16 (uint16)."""
    integers = np.asarray(bits).astype(np.uint32 if dtype == torch.float32 else np.uint16)
    return torch.from_numpy(integers).view(dtype)


def bits(values):
    return values.view(torch.int32 if values.dtype == torch.float32 else torch.int16)


def assert_same_bits_or_both_nan(actual, expected):
    is_nan = expected.isnan()
    assert torch.equal(actual.isnan(), is_nan)
    assert torch.equal(bits(actual)[~is_nan], bits(expected)[~is_nan])


@pytest.fixture
def all_bfloat16():
    """Every bfloat16 that there is: infinities, subnormals and 254 kinds of NaN among them."""
    return from_bits(np.arange(2**16), torch.bfloat16)


# How far a float32 is above the bfloat16 below it, of 2**16: 0x8000 is a tie.
@pytest.mark.parametrize("low_half", [0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
def test_store_rounds_as_torch_does_next_to_every_bfloat16(low_half):
    values = from_bits(np.arange(2**16) << 16 | low_half, torch.float32)
    values = values[~values.isnan()]
    assert_same_bits_or_both_nan(copied(values, torch.bfloat16), values.bfloat16())


def test_store_rounds_random_values_of_all_magnitudes_as_torch_does():
    random = np.random.default_rng(0).integers(2**32, size=10**6)
    values = from_bits(random, torch.float32)
    values = values[values.isfinite()]
    assert_same_bits_or_both_nan(copied(values, torch.bfloat16), values.bfloat16())


def test_store_keeps_infinities_and_nan_and_overflows_to_infinity():
    largest = torch.finfo(torch.float32).max
    values = torch.tensor([math.inf, -math.inf, largest, -largest, math.nan, -math.nan])
    result = copied(values, torch.bfloat16).float()
    assert result[:4].tolist() == [math.inf, -math.inf, math.inf, -math.inf]
    assert result[4:].isnan().all()


def test_load_of_every_bfloat16_is_exact(all_bfloat16):
    assert_same_bits_or_both_nan(copied(all_bfloat16, torch.float32), all_bfloat16.float())


def test_every_bfloat16_is_the_same_after_load_and_store(all_bfloat16):
    assert_same_bits_or_both_nan(copied(all_bfloat16, torch.bfloat16), all_bfloat16)


def test_float32_is_stored_as_it_is():
    values = from_bits(np.random.default_rng(1).integers(2**32, size=10**4), torch.float32)
    assert_same_bits_or_both_nan(copied(values, torch.float32), values)


def activations(shape, dtype):
    """Numbers from 0 that are exact in bfloat16, channels last when images."""
    return dense(torch.arange(math.prod(shape), dtype=torch.float32).view(shape).to(dtype))


def channels_last_order(x):
    return (x.movedim(1, -1) if x.dim() == 4 else x).flatten()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_flat_is_in_channels_last_order(shape, dtype):
    x = activations(shape, dtype)
    assert flat(x).shape == (x.numel(),)
    assert torch.equal(torch.from_numpy(flat(x)).view(dtype), channels_last_order(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_to_flat_is_in_the_tensor(shape, dtype):
    x = activations(shape, dtype)
    written = -channels_last_order(x).clone() - 1
    flat(x)[:] = flat(written)
    assert torch.equal(channels_last_order(x), written)


@pytest.mark.parametrize("dtype", DTYPES)
def test_flat_of_some_of_the_images_holds_those_alone(dtype):
    x = activations((5, 3, 2, 2), dtype)
    some = x[2:4]
    assert torch.equal(torch.from_numpy(flat(some)).view(dtype), channels_last_order(some))
    expected = x.clone()
    expected[2:4] = 0
    flat(some)[:] = 0
    assert torch.equal(x, expected)


def test_flat_of_what_needs_a_gradient_is_an_array():
    x = torch.ones(2, 3, requires_grad=True)
    assert flat(x).tolist() == [1] * 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_leaves_a_dense_tensor_alone(shape, dtype):
    x = activations(shape, dtype)
    assert dense(x) is x


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(2, 3, 4, 5),
        torch.rand(2, 3, 4, 10)[..., ::2],
        torch.rand(2, 3, 5, 4).to(memory_format=torch.channels_last).mT,
        torch.rand(3, 1, 1).expand(2, 3, 4, 5),
        torch.rand(1).expand(2, 3, 4, 5),
        torch.rand(4, 3).mT,
        torch.rand(1).expand(3, 4),
    ],
    ids=["rows", "gaps", "columns", "expanded", "one-value", "features", "expanded-features"],
)
def test_dense_of_anything_else_has_the_same_values_without_gaps(x):
    result = dense(x)
    assert torch.equal(result, x)
    assert torch.equal(torch.from_numpy(flat(result)), channels_last_order(x))


KERNEL = """from formats_copy import compiled, helper

@compiled
def raised(x):
    return helper(x)
"""
HELPER = """

@njit
def helper(x):
    return x + {}
"""


def test_code_that_is_kept_is_made_anew_when_what_it_calls_has_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "raising.py").write_text(KERNEL)
    text = Path(formats.__file__).read_text(encoding="utf-8")

    def raised(by):
        (tmp_path / "formats_copy.py").write_text(text + HELPER.format(by))
        for name in ("formats_copy", "raising"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        kernel = importlib.import_module("raising").raised
        return kernel(1.0), sum(kernel.stats.cache_hits.values())

    try:
        assert [raised(1), raised(1), raised(20)] == [(2.0, 0), (2.0, 1), (21.0, 0)]
    finally:
        for name in ("formats_copy", "raising"):
            sys.modules.pop(name, None)
