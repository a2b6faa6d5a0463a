"""A network in integers: near the one in floats, and refused where integers are too small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, ReLU, Tied
from nas.errors import ExportError
from nas.exporters.folding import graph_of
from nas.exporters.integer import AvgPoolOp
from nas.exporters.quantize import quantize
from tests.exporters.networks import (
    END,
    NETWORKS,
    build,
    images,
    integers,
    mean_and_std,
    normalised,
)


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 9, 10)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_scores_are_near_those_of_the_network(name, shape):
    if name == "features" and shape[0] > 1:
        pytest.skip("its residual is for 9 features")
    network, _, model = integers(NETWORKS[name], shape)
    x = images(50, shape, seed=1)
    exact = model(normalised(x)).numpy()
    scores = (network.run(x.numpy()) - float(network.scores.zero)) * network.scores.scale
    assert scores.shape == exact.shape
    spread = exact.max() - exact.min()
    assert np.abs(scores - exact).mean() < 0.03 * spread


def test_scores_do_not_depend_on_the_images_beside():
    network, _, _ = integers(NETWORKS["residual"])
    x = images(30).numpy()
    one_by_one = np.concatenate([network.run(x[i : i + 1]) for i in range(30)])
    assert np.array_equal(network.run(x), one_by_one)


def test_each_grey_of_a_pixel_has_a_byte_of_its_own_but_for_one_at_an_end():
    network, _, _ = integers(NETWORKS["blocks"])
    (steps,) = np.diff(network.pixels.astype(int)).tolist()
    assert steps[1:-1] == [1] * 253
    assert steps[0] + steps[-1] >= 1


def test_zero_is_a_byte_of_every_map_and_the_lowest_behind_a_relu():
    network, graph, _ = integers(NETWORKS["residual"])
    assert all(-128 <= m.zero <= 127 for m in network.maps)
    for step in graph.steps:
        if getattr(step, "has_relu", False):
            assert network.maps[step.output].zero == -128


def test_weights_used_several_times_are_stored_once_with_multipliers_of_each_use():
    network, _, _ = integers([Conv(6), Tied(3), *END])
    tied = [op for op in network.ops if getattr(op, "weights", "") == "weights2"]
    assert len(tied) == 3
    assert len({tuple(op.multipliers) for op in tied}) == 3
    assert list(network.weights) == ["weights1", "weights2", "weights3", "weights4"]


def test_numbers_fit_their_integers_and_products_fit_a_double():
    for layers in NETWORKS.values():
        network, _, _ = integers(layers)
        for op in network.ops:
            multipliers = np.abs(np.atleast_1d(getattr(op, "multipliers", 0)))
            assert multipliers.max() < 2**22
            offsets, shift = np.atleast_1d(getattr(op, "offsets", 0)), getattr(op, "shift", 16)
            assert np.abs(offsets).max() < 2**31
            assert 16 <= shift <= 44
            assert np.abs(offsets).max() * 2.0 ** (shift - 16) <= 2**51


@torch.no_grad()
def test_network_of_zeros_and_one_that_never_fires_are_exported():
    for change in (lambda w: w.zero_(), lambda w: w.mul_(1e-30)):
        architecture, model = build([Conv(4), BatchNorm(), ReLU(), *END])
        change(model[0].weight)
        network = quantize(graph_of(architecture, model), images(8), *mean_and_std((1,)))
        for op in network.ops:
            assert np.abs(op.offsets).max() * 2.0 ** (op.shift - 16) <= 2**51
        exact = model(normalised(images(8))).numpy()
        scores = network.run(images(8).numpy()) - float(network.scores.zero)
        assert np.abs(scores * network.scores.scale - exact).max() < 0.05


@torch.no_grad()
def test_mean_over_a_map_that_hardly_ever_fires_fits_its_integers():
    architecture, model = build(
        [Conv(2, bias=True), ReLU(), GlobalAvgPool(), Flatten()], (1, 48, 48)
    )
    model[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3) / 9)
    model[0].bias.fill_(-1.4)  # below that are all windows but those about the dot
    x = torch.full((4, 1, 48, 48), 127, dtype=torch.uint8)
    x[:, :, 20:23, 20:23] = 255
    network = quantize(graph_of(architecture, model), x, *mean_and_std((1,)))
    (pool,) = (op for op in network.ops if isinstance(op, AvgPoolOp))
    assert abs(pool.offset) < 2**31
    exact = model(normalised(x)).numpy()
    assert exact.max() > 0
    scores = (network.run(x.numpy()) - float(network.scores.zero)) * network.scores.scale
    assert np.abs(scores - exact).max() <= network.scores.scale


def test_more_inputs_than_a_sum_can_hold_are_refused_in_one_line():
    layers = [Conv(40, 3), Flatten(), Linear(2)]
    architecture, model = build(layers, (1, 30, 30))
    model[2].weight.data.fill_(1)
    with pytest.raises(ExportError, match=r"^a sum may grow to [^\n]+format='pytorch' exports it$"):
        quantize(graph_of(architecture, model), images(4, (1, 30, 30)), (0.5,), (0.3,))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    architecture, model = build([Conv(4), BatchNorm(), ReLU(), *END])
    for parameter in (model[0].weight, model[1].bias):
        architecture, model = build([Conv(4), BatchNorm(), ReLU(), *END])
        with torch.no_grad():
            (model[0].weight if parameter.dim() > 1 else model[1].bias).flatten()[0] = value
        with pytest.raises(ExportError, match="not finite"):
            quantize(graph_of(architecture, model), images(4), (0.5,), (0.3,))
