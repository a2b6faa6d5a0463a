"""A stage computes what batch norm and ReLU of PyTorch do, and so do its gradients.

What dropout adds is in test_stage_dropout.py. The exact result is that of PyTorch in float64.
"""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from tests.training.cpu.stages import (
    BFLOAT16,
    DTYPES,
    FLOAT32,
    Kind,
    gradient_for,
    images,
    make_norm,
    make_plain,
    make_stage,
    step,
)

KINDS = [Kind(*flags) for flags in itertools.product([False, True], repeat=3)]
KINDS_WITH_NORM = [kind for kind in KINDS if kind.norm]
SHAPES = [
    (2, 1, 1, 1),
    (2, 3, 1, 1),
    (128, 33, 1, 1),
    (2, 16, 7, 7),
    (5, 9, 7, 7),
    (3, 4, 5, 3),
    (128, 3, 7, 7),
    (2, 21, 28, 28),
    (3, 1, 28, 28),
]

for_each_type = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
for_each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
for_each_kind_with_norm = pytest.mark.parametrize("kind", KINDS_WITH_NORM, ids=str)


def steps(kind, x, y_grad, exact=False):
    """What a step of a stage gives, and a step of PyTorch; in float64 when `exact`."""
    norm = make_norm(x.shape[1]) if kind.norm else None
    plain_norm = copy.deepcopy(norm)
    actual = step(make_stage(kind, norm), x, y_grad, norm)
    if exact:
        x, y_grad = x.double(), y_grad.double()
        plain_norm = plain_norm and plain_norm.double()
    return actual, step(make_plain(kind, plain_norm), x, y_grad, plain_norm)


def largest(values):
    return values.abs().max().item()


def sizes(kind, x, y_grad, y):
    """For each result of a step the size of the numbers that it is computed from."""
    if not kind.norm:
        return {"y": largest(y), "x_grad": largest(y_grad)}
    num_values = x.numel() / x.shape[1]
    seen = (x.relu() if kind.relu_before else x).double().transpose(0, 1).flatten(1)
    gain = make_norm(x.shape[1]).weight / (seen.var(1, correction=0) + 1e-5).sqrt()
    return {
        "y": largest(y) + largest(gain.unsqueeze(1) * seen),
        "x_grad": largest(gain) * largest(y_grad),
        "weight_grad": num_values * largest(y_grad),
        "bias_grad": num_values * largest(y_grad),
        "running_mean": 1 + largest(x),
        "running_var": 1 + largest(x) ** 2,
        "num_batches_tracked": 0,
    }


def assert_equal_steps(actual, expected, sizes, tolerance, rtol=0.0):
    """Equal but for a tolerance that is relative to `sizes`, or `rtol` relative to the value."""
    assert actual.keys() == expected.keys() == sizes.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name].to(value.dtype),
            value,
            rtol=rtol,
            atol=tolerance * sizes[name],
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_is_exact_but_for_rounding(kind, x, y_grad):
    actual, expected = steps(kind, x, y_grad, exact=True)
    rtol = 2**-8 if x.dtype == BFLOAT16 else 0.0  # half of the last bit
    limits = sizes(kind, x, y_grad, expected["y"])
    assert_equal_steps(actual, expected, limits, tolerance=2e-6, rtol=rtol)


@pytest.mark.slow
@for_each_type
@pytest.mark.parametrize("shape", SHAPES)
@for_each_kind
def test_output_gradients_and_statistics_are_exact_but_for_rounding(kind, shape, dtype):
    x = images(shape, dtype)
    assert_is_exact_but_for_rounding(kind, x, gradient_for(x))


# PyTorch sums gradients of bfloat16 less precisely than a stage does.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(FLOAT32, 2e-5), (BFLOAT16, 0.02)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("shape", SHAPES)
@for_each_kind
def test_output_gradients_and_statistics_equal_torchs(kind, shape, dtype, tolerance):
    x = images(shape, dtype)
    y_grad = gradient_for(x)
    actual, expected = steps(kind, x, y_grad)
    limits = sizes(kind, x, y_grad, expected["y"])
    assert_equal_steps(actual, expected, limits, tolerance)
    # Of two that are rounded one may have the next number: 2**-7 away or less.
    one_bit = 2**-7 if dtype == BFLOAT16 else 0.0
    for name in actual.keys() & {"y", "running_mean", "running_var"}:
        rtol = one_bit if name == "y" else 0.0
        torch.testing.assert_close(
            actual[name], expected[name], rtol=rtol, atol=2e-5 * limits[name]
        )


@for_each_kind
@for_each_type
def test_results_have_the_types_and_shapes_of_torchs(dtype, kind):
    x = images((4, 5, 6, 7), dtype)
    actual, expected = steps(kind, x, gradient_for(x))
    for name, value in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (value.dtype, value.shape), name


def test_statistics_equal_torchs_after_several_steps():
    norm = make_norm(5)
    plain = copy.deepcopy(norm)
    stage = make_stage(norm=norm)
    for seed in range(4):
        x = images((6, 5, 4, 4), seed=seed)
        stage(x)
        plain(x)
    torch.testing.assert_close(dict(norm.named_buffers()), dict(plain.named_buffers()))
    assert norm.num_batches_tracked == 11


@pytest.mark.parametrize("relu_before", [False, True])
@pytest.mark.parametrize(("mean", "std"), [(1000, 1), (-1000, 1), (30, 0.01), (0, 1e-3), (0, 1e4)])
def test_moments_are_accurate_where_the_mean_is_large_and_the_variance_small(
    mean, std, relu_before
):
    norm = nn.BatchNorm2d(3, momentum=1.0)
    norm.running_var.zero_()
    x = mean + std * images((64, 3, 14, 14))
    make_stage(Kind(relu_before), norm)(x)
    seen = (x.relu() if relu_before else x).double().transpose(0, 1).flatten(1)
    for actual, exact in ((norm.running_mean, seen.mean(1)), (norm.running_var, seen.var(1))):
        torch.testing.assert_close(actual.double(), exact, rtol=1e-5, atol=1e-6 * std)


def test_output_is_normalised_where_the_mean_is_large():
    x = 1000 + images((64, 3, 14, 14))
    y = make_stage(norm=nn.BatchNorm2d(3))(x).detach().double()
    exact = x.double().transpose(0, 1).flatten(1)
    exact = (exact - exact.mean(1, keepdim=True)) / exact.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(y.transpose(0, 1).flatten(1), exact, rtol=0, atol=1e-3)


@for_each_type
@for_each_kind_with_norm
@pytest.mark.parametrize("constant", [0, 2, -3])
def test_dead_channel_gives_finite_results_and_leaves_the_others_alone(constant, kind, dtype):
    x = images((16, 5, 6, 6), dtype)
    y_grad = gradient_for(x)
    alive, _ = steps(kind, x, y_grad)
    x[:, 3] = constant
    dead, _ = steps(kind, x, y_grad)
    others = [0, 1, 2, 4]
    for name in ("y", "x_grad"):
        assert torch.equal(dead[name][:, others], alive[name][:, others])
    assert all(values.isfinite().all() for values in dead.values())
    assert dead["y"][:, 3].unique().numel() == 1
    assert_is_exact_but_for_rounding(kind, x, y_grad)


def test_gradient_passes_where_the_output_is_minus_0():
    norm = make_norm(5)
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, -0.0)
    x = images((16, 5, 6, 6))
    results = step(make_stage(norm=norm), x, torch.ones_like(x), norm)
    assert results["y"].count_nonzero() == 0
    assert results["bias_grad"].tolist() == [16 * 6 * 6] * 5


@for_each_type
@for_each_kind
@pytest.mark.parametrize("place", [(0, 1, 0, 0), (2, 1, 3, 3)], ids=["first", "inside"])
def test_nan_is_not_swallowed(place, kind, dtype):
    x = images((4, 3, 5, 5), dtype)
    x[place] = math.nan
    actual, expected = steps(kind, x, gradient_for(x))
    assert actual["y"][place].isnan()
    names = actual.keys() if kind.norm else {"y"}
    for name in names:
        assert torch.equal(actual[name].isnan(), expected[name].isnan()), name


@for_each_type
@pytest.mark.parametrize("relu_before", [False, True])
def test_infinity_without_batch_norm_is_infinity(relu_before, dtype):
    x = torch.tensor([math.inf, -math.inf, 1.0]).to(dtype)
    expected = [math.inf, 0 if relu_before else -math.inf, 1]
    assert make_stage(Kind(relu_before))(x).tolist() == expected


@for_each_type
@for_each_kind
def test_layout_of_the_input_makes_no_difference(kind, dtype):
    rows = images((4, 6, 8, 10), dtype).contiguous()
    for x in (rows, rows[..., ::2], rows[:, ::2], rows[:, :1].expand(4, 6, 8, 10), rows.mT):
        assert not x.is_contiguous(memory_format=torch.channels_last)
        assert_is_exact_but_for_rounding(kind, x, gradient_for(x))


@for_each_type
@for_each_kind
def test_layout_of_the_gradient_makes_no_difference(kind, dtype):
    x = images((4, 6, 8, 10), dtype)
    one, row = torch.tensor(0.5, dtype=dtype), torch.arange(10).to(dtype)
    for y_grad in (one.expand_as(x), row.expand_as(x), gradient_for(x).contiguous()):
        assert not y_grad.is_contiguous(memory_format=torch.channels_last)
        assert_is_exact_but_for_rounding(kind, x, y_grad)


def test_output_is_channels_last_whatever_the_input_is():
    y = make_stage(norm=make_norm(6))(images((4, 6, 8, 10)).contiguous())
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_input_and_gradient_are_left_as_they_were():
    x = images((4, 6, 8, 10))
    y_grad = gradient_for(x)
    before = x.clone(), y_grad.clone()
    steps(Kind(True, True, True), x, y_grad)
    assert torch.equal(x, before[0])
    assert torch.equal(y_grad, before[1])


def test_features_need_not_be_images():
    x = images((8, 5, 1, 1)).flatten(1)
    y_grad = gradient_for(x)
    actual, expected = steps(Kind(relu_before=True), x, y_grad)
    assert torch.equal(actual["y"], expected["y"])
    assert torch.equal(actual["x_grad"], expected["x_grad"])


@for_each_kind_with_norm
def test_values_that_are_not_finite_make_no_warnings(kind, recwarn):
    x, norm = torch.full((2, 3, 4, 4), 1e38), make_norm(3)
    x[0] = 0
    stage = make_stage(kind, norm)
    for _ in range(2):  # the second time the running variance is infinite as well
        step(stage, x, torch.ones_like(x), norm)
    assert not norm.running_var.isfinite().all()
    assert [str(warning.message) for warning in recwarn] == []


@for_each_type
@for_each_kind
def test_base_is_added_and_gets_the_gradient_as_it_is(kind, dtype):
    x, base = images((3, 5, 6, 7), dtype), images((3, 5, 6, 7), dtype, seed=1).requires_grad_()
    norms = [make_norm(5) if kind.norm else None for _ in range(2)]
    y_grad = gradient_for(x)
    alone = step(make_stage(kind, norms[0]), x, y_grad, norms[0])
    stage = make_stage(kind, norms[1])
    together = step(lambda x: stage(x, base), x, y_grad, norms[1])
    expected = alone.pop("y") + base.detach()
    rounding = 2**-7 if dtype == BFLOAT16 else 0.0  # the sum is rounded once, not twice
    torch.testing.assert_close(together.pop("y"), expected, rtol=rounding, atol=rounding)
    assert all(torch.equal(together[name], alone[name]) for name in alone)
    assert torch.equal(base.grad, y_grad)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_base_of_another_type_or_with_dropout_is_added_as_torch_adds(p):
    x, base = images((2, 3, 4, 4), BFLOAT16), images((2, 3, 4, 4), FLOAT32, seed=1)
    for values in (base, base.to(BFLOAT16)):
        added = make_stage(Kind(relu_after=True), p=p)(x, values)
        assert torch.equal(added, values + make_stage(Kind(relu_after=True), p=p)(x))
        assert added.dtype == values.dtype
