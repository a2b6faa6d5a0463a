"""The last layer computes in float32 under autocast; everything before it does not."""

from __future__ import annotations

import torch
from torch import nn

from nas.training.float32_head import Float32, with_float32_head


def formats(network):
    """The type of each module's output under autocast to bfloat16."""
    seen = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, i, out: seen.append((type(m), out.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(2, 1, 8, 8))
    return seen


def test_linear_head_is_in_float32_and_the_convolutions_are_not():
    body = [nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    seen = formats(with_float32_head(nn.Sequential(*body, nn.Linear(4, 3))))
    assert seen[0] == (nn.Conv2d, torch.bfloat16)
    assert seen[-1] == (nn.Linear, torch.float32)


def test_convolution_as_the_last_layer_is_in_float32_with_what_follows_it():
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1)]
    seen = formats(with_float32_head(nn.Sequential(*layers, nn.Flatten())))
    assert [dtype for _, dtype in seen] == [torch.bfloat16] * 2 + [torch.float32] * 3


def test_network_shares_its_weights_and_gives_the_same_scores_in_float32():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    headed = with_float32_head(network)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(headed(images), network(images))
    assert {id(p) for p in headed.parameters()} == {id(p) for p in network.parameters()}


def test_gradients_pass_through_the_change_of_format():
    headed = with_float32_head(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)))
    with torch.autocast("cpu", torch.bfloat16):
        headed(torch.rand(2, 1, 8, 8)).sum().backward()
    for parameter in headed.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
        assert parameter.grad.dtype == torch.float32


def test_network_without_weights_is_a_head_alone():
    headed = with_float32_head(nn.Sequential(nn.Flatten()))
    assert [type(module) for module in headed] == [Float32]
