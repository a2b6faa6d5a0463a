"""A fused network is the same network: same modules, weights and statistics, same training."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nas.training.cpu import fuse
from nas.training.cpu.max_pool import MaxPool2x2
from nas.training.cpu.pooled_stage import PooledStage
from nas.training.cpu.stage import Stage

CHANNELS = 6


def conv(inputs=CHANNELS):
    return nn.Conv2d(inputs, CHANNELS, 3, padding=1, bias=False)


def norm():
    return nn.BatchNorm2d(CHANNELS)


class Unknown(nn.ReLU):
    """What a user may have made of a known module."""


def described(network):
    """Each module of a fused network in words."""
    words = []
    for module in network:
        if isinstance(module, Stage):
            parts = [
                "relu" if module.relu_before else "",
                "norm" if module.norm else "",
                "relu" if module.relu_after else "",
                "dropout" if module.threshold else "",
            ]
            words.append("+".join(part for part in parts if part))
        elif isinstance(module, PooledStage):
            words.append("norm+relu+pool" if module.has_relu else "norm+pool")
        else:
            words.append(type(module).__name__)
    return words


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (
            [conv(), norm(), nn.ReLU(), nn.Dropout(0.1), nn.MaxPool2d(2)],
            ["Conv2d", "norm+relu+dropout", "MaxPool2x2"],
        ),
        ([conv(), nn.ReLU(), norm(), nn.Dropout(0.1)], ["Conv2d", "relu+norm+dropout"]),
        ([nn.ReLU(), norm(), nn.ReLU(), nn.Dropout(0.1)], ["relu+norm+relu+dropout"]),
        ([norm(), nn.ReLU(), norm()], ["norm+relu", "norm"]),
        ([norm(), nn.Dropout(0.1), nn.ReLU()], ["norm+dropout", "relu"]),
        ([nn.Dropout(0.1), norm()], ["dropout", "norm"]),
        ([nn.ReLU(), nn.Dropout(0.1), norm()], ["relu+dropout", "norm"]),
        ([nn.ReLU(), nn.ReLU()], ["relu", "relu"]),
        ([conv(), nn.ReLU(), conv()], ["Conv2d", "relu", "Conv2d"]),
        ([nn.Linear(2, 2), nn.Dropout(0.1)], ["Linear", "dropout"]),
        ([conv(), norm(), nn.ReLU(), nn.MaxPool2d(2)], ["Conv2d", "norm+relu+pool"]),
        ([norm(), nn.MaxPool2d(2), nn.ReLU()], ["norm+pool", "relu"]),
        ([nn.ReLU(), norm(), nn.MaxPool2d(2)], ["relu+norm", "MaxPool2x2"]),
        ([norm(), nn.ReLU(), nn.MaxPool2d(3)], ["norm+relu", "MaxPool2d"]),
        ([nn.ReLU(), nn.MaxPool2d(2)], ["relu", "MaxPool2x2"]),
        ([nn.MaxPool2d(3)], ["MaxPool2d"]),
        ([Unknown(), nn.GELU(), nn.AvgPool2d(2)], ["Unknown", "GELU", "AvgPool2d"]),
        ([nn.BatchNorm1d(2), nn.Dropout2d(0.1)], ["BatchNorm1d", "Dropout2d"]),
        ([nn.Flatten(), nn.Linear(2, 2)], ["Flatten", "Linear"]),
        ([], []),
    ],
)
def test_runs_of_relu_norm_relu_dropout_become_one_stage(modules, expected):
    assert described(fuse(nn.Sequential(*modules), seed=0)) == expected


def test_modules_that_are_no_part_of_a_stage_are_the_same_objects():
    model = nn.Sequential(conv(), norm(), nn.GELU(), nn.MaxPool2d(3), nn.Flatten())
    fused = fuse(model, seed=0)
    assert [fused[i] for i in (0, 2, 3, 4)] == [model[i] for i in (0, 2, 3, 4)]
    assert fused[1].norm is model[1]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_probability_of_dropout_reaches_the_stage(p):
    (stage,) = fuse(nn.Sequential(nn.Dropout(p)), seed=0)
    assert stage.threshold / 2**32 == pytest.approx(p)
    assert stage.scale == pytest.approx(1 / (1 - p))


def test_model_has_the_same_modules_after_it_is_fused():
    model = network(p=0.1)
    modules, text = list(model.modules()), str(model)
    fuse(model, seed=0)
    assert list(model.modules()) == modules
    assert str(model) == text


def network(p):
    """A network with every kind of stage, for images of 1x14x14 in 4 classes."""
    torch.manual_seed(3)
    model = nn.Sequential(
        conv(1), norm(), nn.ReLU(), nn.Dropout(p), nn.MaxPool2d(2),
        conv(), nn.ReLU(), norm(), nn.Dropout(p),
        nn.Conv2d(CHANNELS, CHANNELS, 3, bias=False), norm(), nn.ReLU(), norm(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(CHANNELS * 4, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 4),
    )  # fmt: skip
    return model.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def batches():
    """20 batches of noise with one brighter corner, which tells the class."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(20, 16, 1, 14, 14, generator=generator)
    labels = torch.randint(4, (20, 16), generator=generator)
    for i, corner in enumerate([(0, 0), (0, 7), (7, 0), (7, 7)]):
        row, column = corner
        images[labels == i, :, row : row + 7, column : column + 7] += 1
    return list(zip(images, labels, strict=True))


def trained(model, running, batches, is_half=False):
    """Losses of SGD on the parameters of `model`, while `running` is what computes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for images, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            scores = running(images)
        loss = F.cross_entropy(scores.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_fused_equals_plain_training(batches):
    model = network(p=0)
    plain = copy.deepcopy(model)
    losses = trained(model, fuse(model, seed=0), batches)
    assert losses == pytest.approx(trained(plain, plain, batches), rel=1e-3, abs=1e-4)
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-4)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.slow
def test_training_fused_under_autocast_is_about_that_in_float32(batches):
    losses = []
    for is_half in (False, True):
        model = network(p=0)
        losses.append(trained(model, fuse(model, seed=0), batches, is_half))
    assert losses[1][:5] == pytest.approx(losses[0][:5], rel=0.05)
    assert losses[1] != losses[0]
    assert losses[1][-1] < 0.1 * losses[1][0]


def test_every_weight_and_statistic_of_the_model_changes_when_the_fused_network_trains(batches):
    model = network(p=0.1)
    before = copy.deepcopy(model.state_dict())
    trained(model, fuse(model, seed=0), batches[:1])
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_same_seed_gives_the_same_training(batches):
    results = []
    for _ in range(2):
        model = network(p=0.2)
        torch.rand(7)  # the global random state makes no difference
        losses = trained(model, fuse(model, seed=5), batches[:5])
        results.append((losses, model.state_dict()))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=0)


def test_other_seed_drops_others(batches):
    model = network(p=0.2)
    losses = [
        trained(copied, fuse(copied, seed=seed), batches[:1])
        for seed, copied in ((1, copy.deepcopy(model)), (2, copy.deepcopy(model)))
    ]
    assert losses[0] != losses[1]


def test_stages_of_a_network_drop_independently():
    first, second = fuse(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)), seed=0)
    ones = torch.ones(1000, 10)
    dropped = torch.stack([first(ones) == 0, second(ones) == 0]).flatten(1).double()
    assert torch.corrcoef(dropped)[0, 1].abs() < 5 / 10_000**0.5


def test_pooling_of_the_fused_network_is_the_fast_one():
    (pool,) = fuse(nn.Sequential(nn.MaxPool2d(2)), seed=0)
    assert type(pool) is MaxPool2x2


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(3),
    ],
    ids=repr,
)
def test_other_max_pooling_stays_torchs(pool):
    assert list(fuse(nn.Sequential(pool), 0)) == [pool]
