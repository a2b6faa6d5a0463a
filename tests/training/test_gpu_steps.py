"""What a step asks of a GPU: nothing crosses between devices, and nothing is read back.

Without a GPU: tensors that have a device and no values. What cannot run so (the backward pass, the
optimiser) is left out.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.candidates.recipe import Recipe
from nas.training.dropout import OwnDropout, own_dropout
from nas.training.float32_head import with_float32_head
from nas.training.step import Evaluation, Step

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
BLOCK = [Conv(6), BatchNorm(), ReLU()]
END = [GlobalAvgPool(), Flatten(), Linear(4)]
NETWORKS = {
    "depthwise": [DepthwiseConv(3), Conv(6, 1), BatchNorm(), ReLU(), AvgPool(2), *END],
    "residual": [*BLOCK, Residual([Conv(6), BatchNorm(), ReLU(), Dropout(0.1)]), *END],
    "tied": [*BLOCK, Tied(2), *END],
    "learned pool": [*BLOCK, MaxPool(2), LearnedPool(), Flatten(), Linear(4)],
    "dropout": [*BLOCK, Dropout(0.1), *END],
}
RECIPE = Recipe(flip=True, brightness=0.2, contrast=0.2, label_smoothing=0.1)


class DeviceWatch(TorchDispatchMode):
    """Notes every operation that reads a value back, or takes tensors of two devices."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.num_calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.num_calls += 1
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        name = func.overloadpacket.__name__
        if name in READS or len({t.device.type for t in tensors}) > 1:
            self.found.append(name)
        return result


def fake_data(height, width):
    """32 images on a GPU, without values."""
    images = torch.zeros(32, 1, height, width, dtype=torch.uint8, device="cuda")
    labels, index = (torch.zeros(32, dtype=torch.int64, device="cuda") for _ in range(2))
    return SimpleNamespace(
        images=images, labels=labels, train_index=index, valid_index=index, mean=(0.5,), std=(0.2,)
    )


@pytest.mark.parametrize("side", [(8, 8), (1, 8), (8, 1)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_and_an_evaluation_stay_on_the_device(monkeypatch, name, side):
    layers = NETWORKS[name]
    if side != (8, 8):
        layers = [layer for layer in layers if not isinstance(layer, MaxPool | AvgPool)]
    monkeypatch.setattr(Tensor, "backward", lambda loss: None)
    optimizer = SimpleNamespace(zero_grad=lambda: None, step=lambda: None)
    with FakeTensorMode(), torch.device("cuda"):
        model = own_dropout(Architecture((1, *side), layers).build(), None)
        network = with_float32_head(model)
        data = fake_data(*side)
        step = Step(network, optimizer, data, RECIPE, torch.float32, None)
        evaluation = Evaluation(model, data, 16)
        model.train()
        with DeviceWatch() as watch:
            loss = step(data.train_index)
            sums = evaluation()
    assert watch.found == []
    assert watch.num_calls > 50
    assert (loss.device.type, sums.device.type) == ("cuda", "cuda")


# Dropout from a generator of its own


def test_dropout_draws_from_its_own_generator_alone():
    x = torch.ones(4, 8, 5, 5)
    draws = []
    for noise in range(2):
        torch.manual_seed(noise)  # what others do
        module = OwnDropout(0.25, torch.Generator().manual_seed(3))
        draws.append(module(x))
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(noise))
    assert torch.equal(draws[0], draws[1])
    kept = draws[0] != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.05)
    torch.testing.assert_close(draws[0][kept], torch.full_like(draws[0][kept], 1 / 0.75))
    assert not torch.equal(module(x), draws[1])  # the next draw is another


def test_dropout_drops_the_same_gradients_and_nothing_in_evaluation():
    module = OwnDropout(0.5, torch.Generator().manual_seed(0))
    x = torch.ones(100, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert module.eval()(x) is x


def test_every_dropout_of_a_network_is_replaced_and_names_stay():
    inner = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 3))
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1), inner)
    names = list(model.state_dict())
    generator = torch.Generator()
    assert own_dropout(model, generator) is model
    found = [m for m in model.modules() if isinstance(m, OwnDropout)]
    assert [(m.p, m.generator is generator) for m in found] == [(0.1, True), (0.2, True)]
    assert not any(type(m) is nn.Dropout for m in model.modules())
    assert list(model.state_dict()) == names
