"""Dropout of a stage: as many dropped as stated, independently, and a gradient of what is kept."""

import itertools

import pytest
import torch

from tests.training.cpu.stages import (
    BFLOAT16,
    DTYPES,
    FLOAT32,
    Kind,
    gradient_for,
    images,
    make_norm,
    make_stage,
    step,
)

SHAPE = (64, 16, 28, 28)
NUM_VALUES = 64 * 16 * 28 * 28
PROBABILITIES = [0.01, 0.1, 0.5]
KINDS = [Kind(*flags) for flags in itertools.product([False, True], repeat=3)]

for_each_type = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
for_each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def ones(*shape, dtype=FLOAT32):
    x = torch.ones(shape, dtype=dtype)
    return x.to(memory_format=torch.channels_last) if len(shape) == 4 else x


def is_dropped(stage, *shape):
    """Where the next step drops, as (places,) in the order of memory."""
    return (stage(ones(*shape)) == 0).movedim(1, -1).flatten()


def deviation(p, num_values=NUM_VALUES):
    """Standard deviation of the share that is dropped."""
    return (p * (1 - p) / num_values) ** 0.5


# What is dropped


@for_each_type
@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("shape", [SHAPE, (4000, 33)], ids=["images", "features"])
def test_share_that_is_dropped_is_the_probability(shape, p, dtype):
    y = make_stage(p=p)(ones(*shape, dtype=dtype))
    share = (y == 0).double().mean().item()
    assert share == pytest.approx(p, abs=5 * deviation(p, y.numel()))


@pytest.mark.parametrize("p", PROBABILITIES)
def test_share_is_the_same_after_batch_norm_in_every_channel(p):
    y = make_stage(Kind(norm=True), make_norm(16), p)(images(SHAPE))
    shares = (y == 0).double().mean(dim=(0, 2, 3))
    assert (shares - p).abs().max() < 5 * deviation(p, NUM_VALUES / 16)


def test_every_place_is_dropped_equally_often():
    stage = make_stage(p=0.3)
    steps = torch.stack([is_dropped(stage, 3, 37) for _ in range(2000)])  # 111: no whole tile
    assert (steps.double().mean(0) - 0.3).abs().max() < 5 * deviation(0.3, 2000)


def correlation(a, b):
    return torch.corrcoef(torch.stack([a, b]).double())[0, 1].abs().item()


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("lag", [1, 16, 16 * 28, 16 * 28 * 28], ids=["channel", "x", "y", "image"])
def test_neighbours_are_dropped_independently(lag, p):
    stage = make_stage(p=p)
    for _ in range(3):
        dropped = is_dropped(stage, *SHAPE)
        assert correlation(dropped[lag:], dropped[:-lag]) < 5 / NUM_VALUES**0.5


@pytest.mark.parametrize("p", PROBABILITIES)
def test_steps_drop_independently(p):
    stage = make_stage(p=p)
    a, b, c = (is_dropped(stage, *SHAPE) for _ in range(3))
    for one, other in ((a, b), (b, c), (a, c)):
        assert correlation(one, other) < 5 / NUM_VALUES**0.5


def test_same_seed_drops_the_same_and_another_seed_others():
    masks = []
    for seed in (1, 1, 2):
        stage = make_stage(p=0.5, seed=seed)
        masks.append(torch.cat([is_dropped(stage, 20, 30) for _ in range(2)]))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_global_random_state_is_neither_read_nor_changed():
    before = torch.random.get_rng_state()
    masks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        masks.append(is_dropped(make_stage(p=0.5), 20, 30))
    assert torch.equal(masks[0], masks[1])
    torch.random.set_rng_state(before)
    make_stage(p=0.5)(ones(20, 30))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_probability_0_is_no_dropout():
    x = images((8, 16, 9, 9))
    assert torch.equal(make_stage(p=0.0)(x), x)


# What is kept


@for_each_type
@pytest.mark.parametrize("p", PROBABILITIES)
def test_kept_values_are_scaled_by_one_over_the_share_that_is_kept(p, dtype):
    x = images((32, 9, 14, 14), dtype)
    y = make_stage(p=p)(x)
    scaled = (x.float() * torch.tensor(1 / (1 - p))).to(dtype)
    assert torch.equal(y[y != 0], scaled[y != 0])


@for_each_type
@pytest.mark.parametrize("p", PROBABILITIES)
def test_mean_is_preserved(p, dtype):
    x = (1 + torch.rand(NUM_VALUES, 1, generator=torch.Generator().manual_seed(0))).to(dtype)
    mean = make_stage(p=p)(x).double().mean() / x.double().mean()
    assert mean.item() == pytest.approx(1, abs=6 * (p / (1 - p) / NUM_VALUES) ** 0.5)


# Gradients


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("shape", [(32, 9, 14, 14), (50, 33)], ids=["images", "features"])
def test_gradient_passes_where_the_value_was_kept_times_the_scale(shape, p):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    y_grad = gradient_for(x)
    results = step(make_stage(p=p), x, y_grad)
    is_kept = results["y"] != 0
    assert 0 < is_kept.double().mean() < 1
    assert torch.equal(results["x_grad"], torch.where(is_kept, y_grad * (1 / (1 - p)), 0))


@for_each_type
def test_gradient_passes_where_a_kept_value_is_0(dtype):
    x = torch.zeros(40, 50, dtype=dtype)
    x_grad = step(make_stage(p=0.5), x, torch.ones_like(x))["x_grad"]
    is_kept = make_stage(p=0.5)(torch.ones_like(x)) != 0  # the same seed
    assert torch.equal(x_grad, 2 * is_kept.to(dtype))


@for_each_type
@pytest.mark.parametrize("weight", [1.0, 0.0])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_gradient_of_the_bias_sums_what_was_kept_where_all_values_are_0(zero, weight, dtype):
    x = images((16, 5, 6, 6), dtype)
    x = torch.full_like(x, 2.0) if weight else x  # in either case y is the bias
    counts = []
    for bias in (1.0, zero):
        norm = make_norm(5)
        torch.nn.init.constant_(norm.weight, weight)
        torch.nn.init.constant_(norm.bias, bias)
        results = step(make_stage(Kind(norm=True), norm, p=0.5), x, torch.ones_like(x), norm)
        counts.append(results["bias_grad"] / 2)
    assert results["y"].count_nonzero() == 0
    assert torch.equal(counts[1], counts[0])
    assert (counts[0] > 0).all()
    assert (counts[0] < 16 * 6 * 6).all()


def reference(kind, x, y_grad, is_kept, p):
    """Output and gradients by autograd, from the formulas in float64."""
    norm = make_norm(x.shape[1])
    x, weight, bias = (
        values.detach().double().requires_grad_() for values in (x, norm.weight, norm.bias)
    )
    y = x.relu() if kind.relu_before else x
    if kind.norm:
        mean = y.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((y - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        y = (y - mean) / (variance + norm.eps).sqrt() * weight.view(1, -1, 1, 1)
        y = y + bias.view(1, -1, 1, 1)
    y = y.relu() if kind.relu_after else y
    y = y * is_kept / (1 - p)
    y.backward(y_grad.double())
    results = {"y": y.detach(), "x_grad": x.grad}
    return results | ({"weight_grad": weight.grad, "bias_grad": bias.grad} if kind.norm else {})


@for_each_type
@pytest.mark.parametrize("shape", [(2, 1, 7, 7), (8, 5, 6, 7), (4, 16, 14, 14), (128, 33, 1, 1)])
@for_each_kind
def test_gradients_are_those_of_the_formulas_with_what_was_dropped(kind, shape, dtype):
    x = images(shape, dtype)
    y_grad = gradient_for(x)
    norm = make_norm(shape[1]) if kind.norm else None
    actual = step(make_stage(kind, norm, p=0.3), x, y_grad, norm)
    # A value that a ReLU made 0 counts as dropped here: its gradient is 0 either way.
    expected = reference(kind, x, y_grad, actual["y"] != 0, p=0.3)
    for name, value in expected.items():
        rtol = 2**-8 if actual[name].dtype == BFLOAT16 else 0.0
        torch.testing.assert_close(
            actual[name].double(), value, rtol=rtol, atol=1e-5 * value.abs().max().item()
        )
