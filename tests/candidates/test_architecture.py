"""A chain of layers: counted, built, compared and stored."""

import json

import numpy as np
import pytest
import torch
import torchinfo
from torch import nn

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
)
from nas.errors import CountMismatchError, InvalidCandidateError
from tests.odd_layers import FrozenConv, LyingConv, TiedConv

MLP = Architecture((1, 28, 28), [Flatten(), Linear(24), ReLU(), Dropout(0.2), Linear(10)])
PLAIN = Architecture(
    (1, 28, 28),
    [
        *(Conv(8), BatchNorm(), ReLU(), MaxPool()),
        *(Conv(16, 5, bias=True), ReLU(), AvgPool(3)),
        *(Conv(10, 1), GlobalAvgPool(), Flatten()),
    ],
)
COLOUR = Architecture(
    (3, 32, 24),
    [Conv(12, 3, "valid"), BatchNorm(), ReLU(), MaxPool(2), Conv(6, 5), Flatten(), Linear(5)],
)


@pytest.mark.parametrize(
    ("architecture", "num_params"),
    [
        (MLP, 784 * 24 + 24 + 24 * 10 + 10),
        (PLAIN, 8 * 9 + 16 + (8 * 16 * 25 + 16) + 160),
        (COLOUR, 3 * 12 * 9 + 24 + 12 * 6 * 25 + 6 * 15 * 11 * 5 + 5),
    ],
    ids=["mlp", "plain", "colour"],
)
def test_count_is_that_of_the_module_and_of_torchinfo(architecture, num_params):
    model = architecture.build()
    shown = torchinfo.summary(model, (1, *architecture.input_shape), verbose=0)
    assert architecture.num_params == num_params
    assert sum(p.numel() for p in model.parameters()) == num_params
    assert shown.total_params == num_params
    assert architecture.num_macs == sum(row.num_macs for row in architecture.rows) > 0


@pytest.mark.parametrize("architecture", [MLP, PLAIN, COLOUR], ids=["mlp", "plain", "colour"])
def test_built_network_gives_one_score_for_each_class(architecture):
    model = architecture.build()
    scores = model(torch.rand(3, *architecture.input_shape))
    assert scores.shape == (3, architecture.num_classes)
    assert scores.isfinite().all()


def test_network_leaves_its_input_unchanged():
    images = torch.randn(3, 1, 28, 28)
    given = images.clone()
    Architecture((1, 28, 28), [ReLU(), Conv(4), ReLU(), Flatten()]).build()(images)
    assert torch.equal(images, given)


def test_building_leaves_the_architecture_unchanged_and_shares_no_weights():
    before = PLAIN.to_json()
    first, second = PLAIN.build(), PLAIN.build()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(7)
    assert PLAIN.to_json() == before
    assert not any((p == 7).all() for p in second.parameters())


@pytest.mark.parametrize(
    ("layers", "num_params"),
    [
        ([Conv(4), TiedConv(), Flatten(), Linear(2)], 36 + 144 + 256 * 2 + 2),
        ([Conv(4), FrozenConv(), Flatten(), Linear(2)], 36 + 16 + 256 * 2 + 2),
        ([Conv(4), BatchNorm(), Flatten(), Linear(2)], 36 + 8 + 256 * 2 + 2),
    ],
    ids=["tied-once", "frozen-too", "buffers-not"],
)
def test_tied_parameters_count_once_frozen_ones_too_and_buffers_not(layers, num_params):
    architecture = Architecture((1, 8, 8), layers)
    assert architecture.num_params == num_params
    model = architecture.build()
    assert sum(p.numel() for p in model.parameters()) == num_params
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 2)


@pytest.mark.parametrize("error", [1, -1, 1000])
def test_layer_that_counts_wrong_cannot_be_built(error):
    architecture = Architecture((1, 8, 8), [LyingConv(4, error=error), Flatten()])
    with pytest.raises(CountMismatchError, match=f"counted {36 + error:,} parameters but built 36"):
        architecture.build()


@pytest.mark.parametrize(
    ("layers", "number", "words"),
    [
        ([Linear(10)], 1, "linear needs features"),
        ([Conv(4), ReLU(), Linear(10)], 3, "linear needs features"),
        ([Flatten(), Conv(4), Linear(10)], 2, "conv needs an image"),
        ([MaxPool(), MaxPool(), MaxPool(), MaxPool(), Flatten()], 4, "max-pool 2x2 does not fit"),
        ([Flatten(), Flatten()], 2, "flatten needs an image"),
        ([Conv(4), "relu", Flatten()], 2, "is no layer but 'relu'"),
        ([Conv(4), ReLU, Flatten()], 2, "is no layer but <class"),
    ],
)
def test_layer_that_does_not_fit_is_named_by_its_number(layers, number, words):
    with pytest.raises(InvalidCandidateError, match=f"^layer {number}:? {words}"):
        Architecture((1, 8, 8), layers)


@pytest.mark.parametrize("layers", [[Conv(4)], [Conv(10), GlobalAvgPool()]])
def test_network_that_ends_in_an_image_is_rejected(layers):
    with pytest.raises(InvalidCandidateError, match=r"ends in \(.*Flatten or Linear"):
        Architecture((1, 8, 8), layers)


def test_network_without_layers_is_rejected():
    with pytest.raises(InvalidCandidateError, match="at least one layer"):
        Architecture((1, 8, 8), [])


@pytest.mark.parametrize(
    "shape", [(), (8, 8), (1, 1, 8, 8), (0, 8, 8), (1, -8, 8), (1, 8.0, 8), "1x8", (True, 8, 8)]
)
def test_input_that_is_no_image_is_rejected(shape):
    with pytest.raises(InvalidCandidateError, match=r"input shape must be \(C, H, W\)"):
        Architecture(shape, [Flatten()])


def test_rows_show_shapes_costs_and_receptive_field_of_each_layer():
    network = Architecture(
        (1, 12, 12),
        [Conv(4), MaxPool(2), Conv(8, 3, "valid"), ReLU(), AvgPool(2), Conv(2, 1), Flatten()],
    )
    rows = [
        (row.in_shape, row.out_shape, row.num_params, row.num_macs, row.receptive_field)
        for row in network.rows
    ]
    assert rows == [
        ((1, 12, 12), (4, 12, 12), 36, 36 * 144, 3),
        ((4, 12, 12), (4, 6, 6), 0, 0, 4),
        ((4, 6, 6), (8, 4, 4), 288, 288 * 16, 8),  # 4 + 2 more pixels of 2
        ((8, 4, 4), (8, 4, 4), 0, 0, 8),
        ((8, 4, 4), (8, 2, 2), 0, 0, 10),  # 8 + 1 more pixel of 2
        ((8, 2, 2), (2, 2, 2), 16, 16 * 4, 10),
        ((2, 2, 2), (8,), 0, 0, 12),  # 10 + 1 more pixel of 4, of 12 in all
    ]
    assert [row.layer for row in network.rows] == list(network.layers)
    assert network.num_params == 36 + 288 + 16
    assert network.num_macs == 36 * 144 + 288 * 16 + 16 * 4


@pytest.mark.parametrize(
    ("layers", "peak_values"),
    [
        # The second convolution: 2*64 values in, 6*64 out. Norm and ReLU write over their input.
        (
            [Conv(2), ReLU(), Conv(6), BatchNorm(), ReLU(), MaxPool(2), Flatten(), Linear(10)],
            2 * 64 + 6 * 64,
        ),
        ([Conv(9, 1), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten()], 64 + 9 * 64),  # the first
        ([MaxPool(2), Flatten(), Linear(300)], 16 + 300),  # the last
        ([AvgPool(2), Conv(5, 3, "valid"), Flatten()], 64 + 16),  # 16 + 20 are fewer
        ([Conv(1, 8, "valid"), Flatten()], 64 + 1),
        ([Flatten()], 64),
        ([ReLU(), Dropout(0.1), Flatten()], 64),
    ],
)
def test_peak_is_where_most_values_are_held_at_once(layers, peak_values):
    assert Architecture((1, 8, 8), layers).peak_values == peak_values


def test_peak_counts_every_channel_of_the_images():
    assert Architecture((3, 4, 5), [Conv(2, 1), Flatten()]).peak_values == (3 + 2) * 20


def test_receptive_field_is_what_a_gradient_reaches():
    network = Architecture((1, 24, 24), [Conv(2), MaxPool(2), Conv(2, 5), AvgPool(3), Flatten()])
    modules = [row.layer.build(row.in_shape) for row in network.rows[:-1]]
    modules[1] = nn.AvgPool2d(2)  # as wide as the largest value, but every pixel has a gradient
    images = torch.ones(1, 1, 24, 24, requires_grad=True)
    nn.Sequential(*modules)(images)[0, 0, 2, 2].backward()
    reached = images.grad[0, 0].any(dim=0).sum().item()
    assert network.rows[-2].receptive_field == reached == 16


def test_receptive_field_behind_a_stride_is_what_a_gradient_reaches():
    network = Architecture(
        (1, 32, 32), [Conv(2, stride=2), DepthwiseConv(5, stride=2), Conv(2), Flatten()]
    )
    modules = [row.layer.build(row.in_shape) for row in network.rows[:-1]]
    for module in modules:
        nn.init.ones_(module.weight)
    images = torch.ones(1, 1, 32, 32, requires_grad=True)
    nn.Sequential(*modules)(images)[0, 0, 4, 4].backward()
    reached = images.grad[0, 0].any(dim=0).sum().item()
    assert network.rows[-2].receptive_field == reached == 1 + 2 + 4 * 2 + 2 * 4


@pytest.mark.parametrize(
    "layers",
    [
        [Conv(2, 5), Conv(2, 5), Conv(2, 5), Conv(2, 5), Flatten(), Linear(3)],
        [Conv(2), MaxPool(2), Conv(2, 5), GlobalAvgPool(), Flatten()],
        [Flatten(), Linear(3)],
    ],
)
def test_receptive_field_grows_up_to_the_size_of_the_image(layers):
    network = Architecture((1, 6, 8), layers)
    fields = [row.receptive_field for row in network.rows]
    assert fields == sorted(fields)
    assert fields[-1] == 8


CHAIN = [Conv(4), ReLU(), Flatten(), Linear(3)]


@pytest.mark.parametrize(
    "layers",
    [
        [Conv(4, 3, "same", bias=False), ReLU(), Flatten(), Linear(3)],
        [Conv(4), ReLU(), Dropout(0), Flatten(), Linear(3)],
        [Dropout(0.0), Conv(4), ReLU(), Dropout(0.0), Flatten(), Linear(3), Dropout(0)],
    ],
)
def test_one_network_described_differently_has_one_fingerprint(layers):
    expected = Architecture((1, 8, 8), CHAIN).fingerprint
    assert Architecture((1, 8, 8), tuple(layers)).fingerprint == expected


def test_1x1_convolution_has_one_fingerprint_whatever_its_padding():
    same = Architecture((1, 8, 8), [Conv(4, 1, "same"), Flatten()])
    valid = Architecture((1, 8, 8), [Conv(4, 1, "valid"), Flatten()])
    assert same.fingerprint == valid.fingerprint


def test_numpy_numbers_do_not_change_the_fingerprint():
    network = Architecture((1, 8, 8), [Dropout(np.float64(0.25)), *CHAIN])
    again = Architecture.from_json(json.loads(json.dumps(network.to_json())))
    assert again.fingerprint == network.fingerprint


def test_networks_that_differ_have_different_fingerprints():
    networks = [
        Architecture((1, 8, 8), CHAIN),
        Architecture((2, 8, 8), CHAIN),
        Architecture((1, 8, 4), CHAIN),
        Architecture((1, 4, 8), CHAIN),
        Architecture((1, 8, 8), [Conv(5), ReLU(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4, 5), ReLU(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4, 3, "valid"), ReLU(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4, bias=True), ReLU(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [ReLU(), Conv(4), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), ReLU(), Dropout(0.1), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), ReLU(), Dropout(0.2), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), ReLU(), MaxPool(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), ReLU(), AvgPool(), Flatten(), Linear(3)]),
        Architecture((1, 8, 8), [Conv(4), ReLU(), Flatten(), Linear(4)]),
    ]
    assert len({network.fingerprint for network in networks}) == len(networks)


def test_fingerprint_is_the_same_in_every_process_and_version():
    # Stored studies hold it: when this changes, their duplicates are no longer seen.
    assert Architecture((1, 8, 8), CHAIN).fingerprint == "f8ed46cb9d4d8ba4"


@pytest.mark.parametrize("architecture", [MLP, PLAIN, COLOUR], ids=["mlp", "plain", "colour"])
def test_json_text_gives_the_architecture_back(architecture):
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.fingerprint == architecture.fingerprint
    assert again.num_params == architecture.num_params


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "conv",
        [],
        {},
        {"input_shape": [1, 8, 8]},
        {"layers": [{"kind": "flatten"}]},
        {"input_shape": None, "layers": [{"kind": "flatten"}]},
        {"input_shape": 8, "layers": [{"kind": "flatten"}]},
        {"input_shape": "1x8", "layers": [{"kind": "flatten"}]},
        {"input_shape": [1, 8], "layers": [{"kind": "flatten"}]},
        {"input_shape": [1, 8, "8"], "layers": [{"kind": "flatten"}]},
        {"input_shape": [1, 8, 8], "layers": []},
        {"input_shape": [1, 8, 8], "layers": None},
        {"input_shape": [1, 8, 8], "layers": "flatten"},
        {"input_shape": [1, 8, 8], "layers": {"kind": "flatten"}},
        {"input_shape": [1, 8, 8], "layers": [None]},
        {"input_shape": [1, 8, 8], "layers": [{"kind": []}]},
        {"input_shape": [1, 8, 8], "layers": [{"kind": "conv", "out_channels": 4}]},
        {"input_shape": [1, 8, 8], "layers": [{"kind": "conv", "out_channels": 0}]},
    ],
    ids=repr,
)
def test_json_of_no_architecture_is_rejected(data):
    with pytest.raises(InvalidCandidateError):
        Architecture.from_json(data)
