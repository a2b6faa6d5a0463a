"""The cheap dropout is dropout: right mean, variance and gradient, nothing in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.training.dropout import REFRESH_STEPS, MaskPool, PooledDropout, pool_dropout

SHAPE = (64, 8, 20, 20)
NUM_VALUES = 64 * 8 * 20 * 20


@pytest.fixture
def pool():
    return MaskPool(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
def test_mask_has_the_mean_and_the_variance_of_dropout(pool, p, dtype):
    mask = pool.mask(torch.ones(SHAPE, dtype=dtype), p).double()
    deviation = (p / (1 - p)) ** 0.5  # of one value
    assert mask.mean() == pytest.approx(1, abs=5 * deviation / NUM_VALUES**0.5)
    assert (mask == 0).double().mean() == pytest.approx(p, abs=5 * (p / NUM_VALUES) ** 0.5)
    assert mask.var() == pytest.approx(p / (1 - p), rel=0.05)
    assert mask.unique().numel() <= (2 if dtype == torch.float32 else 3)


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_mask_agrees_with_torchs_dropout_in_distribution(pool, p):
    ours = pool.mask(torch.ones(SHAPE), p)
    theirs = nn.functional.dropout(torch.ones(SHAPE), p)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.01)
    assert ours.var().item() == pytest.approx(theirs.var().item(), rel=0.05)


def test_masks_of_neighbours_and_of_steps_are_independent(pool):
    like = torch.ones(NUM_VALUES)
    first, second = (pool.mask(like, 0.5) for _ in range(2))
    for a, b in ((first[1:], first[:-1]), (first, second)):
        correlation = torch.corrcoef(torch.stack([a, b]))[0, 1]
        assert abs(correlation) < 5 / NUM_VALUES**0.5


def test_pool_is_drawn_anew_now_and_then(pool):
    like = torch.ones(100)
    pool.mask(like, 0.5)
    (before,) = pool._pools.values()
    for _ in range(REFRESH_STEPS):
        pool.mask(like, 0.5)
    (after,) = pool._pools.values()
    assert not torch.equal(before, after)


def test_pool_grows_for_a_longer_mask(pool):
    pool.mask(torch.ones(10), 0.5)
    assert pool.mask(torch.ones(2**21), 0.5).numel() == 2**21


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_mask_lies_in_memory_as_its_activation_does(pool, memory_format):
    x = torch.randn(SHAPE).contiguous(memory_format=memory_format)
    assert pool.mask(x, 0.5).stride() == x.stride()
    assert (x * pool.mask(x, 0.5)).stride() == x.stride()


def test_gradient_passes_where_the_value_passed(pool):
    x = torch.randn(SHAPE, requires_grad=True)
    layer = PooledDropout(0.4, pool)
    out = layer(x)
    out.sum().backward()
    assert torch.allclose(x.grad * x, out)
    assert 0 < (x.grad == 0).double().mean() < 1


def test_gradient_is_that_of_the_forward_pass_also_when_the_pool_is_renewed_in_between(pool):
    layer = PooledDropout(0.5, pool)
    x = torch.ones(1000, requires_grad=True)
    out = layer(x)
    for _ in range(REFRESH_STEPS + 1):
        pool.mask(x, 0.5)
    out.sum().backward()
    assert torch.equal(x.grad, out)


def test_nothing_happens_in_evaluation_or_without_probability(pool):
    x = torch.randn(SHAPE)
    assert PooledDropout(0.5, pool).eval()(x) is x
    assert PooledDropout(0.0, pool).train()(x) is x


def test_every_dropout_of_a_model_is_replaced_and_its_state_is_unchanged():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.2)))
    names = list(model.state_dict())
    pool_dropout(model, torch.Generator())
    assert [type(m) for m in model.modules() if isinstance(m, nn.Dropout)] == []
    assert [m.p for m in model.modules() if isinstance(m, PooledDropout)] == [0.1, 0.2]
    assert list(model.state_dict()) == names


def test_same_seed_gives_the_same_masks():
    masks = [
        MaskPool(torch.Generator().manual_seed(seed)).mask(torch.ones(99), 0.5)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
