"""Fused residual and tied modules are the same modules: same scores, gradients and statistics."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.candidates.layers.modules import Residual as ResidualModule
from nas.candidates.layers.modules import Tied as TiedModule
from nas.training.cpu import fuse
from nas.training.cpu.fusion import FusedTied
from nas.training.cpu.max_pool import MaxPool2x2
from nas.training.cpu.pooled_stage import PooledStage
from nas.training.cpu.stage import Stage

STEM = [Conv(5), BatchNorm(), ReLU()]
HEAD = [LearnedPool(), Flatten(), Linear(4)]
NETWORKS = {
    "residual": [
        *STEM, Residual([Conv(5), BatchNorm(), ReLU(), Conv(5), BatchNorm()]), ReLU(), MaxPool(),
    ],
    "norm-reads-what-is-added": [*STEM, Residual([BatchNorm(), ReLU(), Conv(5)]), MaxPool()],
    "relu-reads-what-is-added": [Conv(5), Residual([ReLU(), Conv(5)]), MaxPool()],
    "ends-in-relu": [
        *STEM, MaxPool(),
        Residual([DepthwiseConv(5), BatchNorm(), Conv(5, 1), BatchNorm(), ReLU()]),
    ],
    "strides": [
        Conv(5, stride=2), BatchNorm(), ReLU(), DepthwiseConv(5, stride=2), BatchNorm(), ReLU(),
    ],
    "tied": [*STEM, Tied(3), MaxPool(), Conv(7), BatchNorm(), ReLU(), Tied(2, 5)],
    "tied-within-residual": [*STEM, Residual([Tied(2), BatchNorm()]), ReLU()],
    "tied-separable": [*STEM, Tied(3, separable=True), MaxPool(), Tied(2, 5, True)],
    "all": [
        *STEM, Tied(2), MaxPool(), Conv(9, 1), Dropout(0), Residual([ReLU(), BatchNorm()]),
        Residual([Conv(3), BatchNorm(), ReLU(), Dropout(0), Conv(9)]), MaxPool(),
    ],
}  # fmt: skip

each_network = pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS.keys())


def build(layers):
    """The network for images of 1x12x12 in 4 classes."""
    torch.manual_seed(3)
    model = Architecture((1, 12, 12), [*layers, *HEAD]).build()
    return model.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def batches():
    """10 batches of noise with one brighter corner, which tells the class."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(10, 16, 1, 12, 12, generator=generator)
    labels = torch.randint(4, (10, 16), generator=generator)
    for i, (row, column) in enumerate([(0, 0), (0, 6), (6, 0), (6, 6)]):
        images[labels == i, :, row : row + 6, column : column + 6] += 1
    return [(x.to(memory_format=torch.channels_last), y) for x, y in zip(images, labels)]  # noqa: B905


@pytest.mark.slow
@each_network
def test_scores_gradients_and_statistics_of_each_step_are_those_of_the_plain_network(
    layers, batches
):
    """Several steps of the optimiser, each of both from the same weights on."""
    plain, model = build(layers), build(layers)
    fused = fuse(model, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for images, labels in batches:
        plain.load_state_dict(model.state_dict())
        scores, losses = [], []
        for network, running in ((plain, plain), (model, fused)):
            network.zero_grad()
            scores.append(running(images))
            losses.append(F.cross_entropy(scores[-1], labels))
            losses[-1].backward()
        torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-4)
        gradients = [{n: p.grad for n, p in m.named_parameters()} for m in (model, plain)]
        # Of 16 images of noise; where a ReLU is at its edge the two may take different sides.
        largest = max(float(g.abs().max()) for g in gradients[1].values())
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * largest)
        buffers = [dict(m.named_buffers()) for m in (model, plain)]
        assert buffers[0].keys() == buffers[1].keys()
        torch.testing.assert_close(*buffers, rtol=1e-4, atol=1e-5)
        optimizer.step()


@each_network
def test_training_fused_comes_to_the_weights_of_plain_training(layers, batches):
    model = build(layers)
    plain = copy.deepcopy(model)
    losses = []
    for network, running in ((model, fuse(model, seed=0)), (plain, plain)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
        losses.append([])
        for images, labels in batches:
            loss = F.cross_entropy(running(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-2, abs=1e-3)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-2, atol=1e-3)
    assert min(losses[0]) < losses[0][0]
    images, _ = batches[0]
    torch.testing.assert_close(model.eval()(images), plain.eval()(images), rtol=1e-2, atol=1e-2)


@each_network
def test_every_weight_and_statistic_changes_when_the_fused_network_trains(layers, batches):
    model = build(layers)
    before = copy.deepcopy(model.state_dict())
    images, labels = batches[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(fuse(model, seed=0)(images), labels).backward()
    optimizer.step()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@each_network
def test_model_is_as_it_was_after_it_is_fused(layers):
    model = build(layers)
    modules, text, names = list(model.modules()), str(model), list(model.state_dict())
    fuse(model, seed=0)
    assert list(model.modules()) == modules
    assert (str(model), list(model.state_dict())) == (text, names)


def test_no_plain_norm_relu_or_pooling_is_left_anywhere():
    for layers in NETWORKS.values():
        fused = fuse(build(layers), seed=0)
        left = [
            type(module)
            for parent in fused.modules()
            if not isinstance(parent, Stage | PooledStage)
            for module in parent.children()
            if isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.Dropout | nn.MaxPool2d | TiedModule)
        ]
        assert left == []


def test_runs_within_a_residual_become_stages_and_the_rest_stays_the_same_objects():
    residual = Residual([Conv(4), BatchNorm(), ReLU(), Conv(4), Dropout(0.1)]).build((4, 8, 8))
    (fused,) = fuse(nn.Sequential(residual), seed=0)
    assert type(fused) is ResidualModule
    assert fused is not residual
    first, norm_relu, second, dropout = fused
    assert (first, second) == (residual[0], residual[3])
    assert norm_relu.norm is residual[1]
    assert norm_relu.relu_after
    assert dropout.norm is None
    assert dropout.threshold == round(0.1 * 2**32)


def test_runs_do_not_reach_across_the_edge_of_a_residual():
    model = nn.Sequential(nn.ReLU(), Residual([BatchNorm(), ReLU()]).build((4, 8, 8)), nn.ReLU())
    before, residual, after = fuse(model, seed=0)
    assert (before.relu_before, before.norm, before.relu_after) == (True, None, False)
    assert after.norm is None
    (inside,) = residual
    assert (inside.relu_before, inside.norm, inside.relu_after) == (False, model[1][0], True)


def test_fused_tied_has_the_convolution_and_the_norms_of_the_tied():
    tied = Tied(3).build((4, 8, 8))
    (fused,) = fuse(nn.Sequential(tied), seed=0)
    assert type(fused) is FusedTied
    assert fused.conv is tied.conv
    assert [stage.norm for stage in fused.stages] == list(tied.norms)
    assert all((s.relu_before, s.relu_after, s.threshold) == (False, True, 0) for s in fused.stages)
    assert {id(p) for p in fused.parameters()} == {id(p) for p in tied.parameters()}


def test_pooling_within_a_residual_is_the_fast_one():
    module = ResidualModule(nn.MaxPool2d(2))  # no layer makes this one: its shapes do not fit
    ((pool,),) = fuse(nn.Sequential(module), seed=0)
    assert type(pool) is MaxPool2x2


def test_dropout_within_residuals_drops_each_its_own_and_by_the_seed():
    def dropped(seed):
        layers = [Residual([Dropout(0.5)]), Residual([Dropout(0.5)])]
        model = nn.Sequential(*(layer.build((4, 16, 16)) for layer in layers))
        first, second = fuse(model, seed)
        ones = torch.ones(50, 4, 16, 16).to(memory_format=torch.channels_last)
        return torch.stack([first(ones) == 1, second(ones) == 1]).flatten(1)

    one = dropped(1)
    assert one.double().mean(1).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert torch.corrcoef(one.double())[0, 1].abs() < 5 / one.shape[1] ** 0.5
    assert torch.equal(one, dropped(1))
    assert not torch.equal(one, dropped(2))
