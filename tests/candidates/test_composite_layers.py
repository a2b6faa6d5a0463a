"""Layers of several modules, or with shared weights: what they state is what they are."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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
    layer_from_json,
    modules,
)
from nas.errors import InvalidCandidateError, SpaceError
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task
from tests.fakes import make_space
from tests.fakes import suggest as suggest_toy
from tests.odd_layers import FrozenConv

PAIR = [Conv(4), BatchNorm(), ReLU(), Conv(4), BatchNorm()]
SEPARABLE = [DepthwiseConv(5), BatchNorm(), Conv(4, 1), BatchNorm(), ReLU()]
ROWS = {
    "depthwise": (DepthwiseConv(), (3, 9, 7)),
    "depthwise-5x5": (DepthwiseConv(5), (4, 3, 6)),
    "depthwise-valid": (DepthwiseConv(3, "valid"), (3, 9, 7)),
    "depthwise-2x2-valid": (DepthwiseConv(2, "valid"), (3, 4, 5)),
    "depthwise-of-one-channel": (DepthwiseConv(), (1, 5, 5)),
    "learned-pool": (LearnedPool(), (5, 4, 4)),
    "learned-pool-not-square": (LearnedPool(), (2, 3, 7)),
    "learned-pool-of-one-pixel": (LearnedPool(), (3, 1, 1)),
    "residual": (Residual(PAIR), (4, 6, 5)),
    "residual-of-one": (Residual([BatchNorm()]), (3, 4, 4)),
    "residual-before-activation": (Residual([BatchNorm(), ReLU(), Conv(4)]), (4, 5, 5)),
    "residual-wide-inside": (Residual([Conv(9), ReLU(), Conv(4, 1, bias=True)]), (4, 5, 6)),
    "residual-separable": (Residual(SEPARABLE), (4, 7, 7)),
    "residual-with-dropout": (Residual([Conv(2), Dropout(0.1)]), (2, 5, 5)),
    "residual-of-features": (Residual([Linear(6), ReLU(), Linear(8)]), (8,)),
    "residual-of-tied": (Residual([Tied(2), Conv(3, 1)]), (3, 6, 6)),
    "tied-once": (Tied(1), (3, 6, 5)),
    "tied-separable": (Tied(3, 3, True), (4, 6, 5)),
    "tied-separable-of-one-channel": (Tied(2, 5, True), (1, 6, 5)),
    "residual-of-tied-separable": (Residual([Tied(1, separable=True), BatchNorm()]), (3, 6, 6)),
    "tied-5": (Tied(5), (4, 6, 6)),
    "tied-1x1": (Tied(3, 1), (4, 6, 6)),
    "tied-5x5-wider-than-image": (Tied(2, 5), (2, 3, 1)),
}

each_row = pytest.mark.parametrize(("layer", "shape"), ROWS.values(), ids=ROWS.keys())


@each_row
def test_stated_parameters_are_those_of_the_module(layer, shape):
    module = layer.build(shape)
    assert layer.num_params(shape) == sum(p.numel() for p in module.parameters())


@each_row
def test_stated_shape_is_that_of_a_real_output(layer, shape):
    output = layer.build(shape)(torch.rand(2, *shape))
    assert tuple(output.shape) == (2, *layer.out_shape(shape))


@each_row
def test_stated_macs_are_half_of_the_counted_flops(layer, shape):
    module = layer.build(shape)
    with FlopCounterMode(display=False) as counter:
        module(torch.rand(2, *shape))
    assert layer.num_macs(shape) == counter.get_total_flops() // 4


@each_row
def test_json_text_gives_the_layer_back(layer, shape):
    again = layer_from_json(json.loads(json.dumps(layer.to_json())))
    assert again == layer
    assert type(again) is type(layer)
    assert hash(again) == hash(layer)


@each_row
def test_source_builds_the_same_module(layer, shape):
    names = {"nn": nn, "Residual": modules.Residual, "Tied": modules.Tied}
    assert repr(eval(layer.call(shape).source(), names)) == repr(layer.build(shape))


def test_source_of_a_composite_holds_the_sources_of_its_parts():
    assert Residual([BatchNorm(), ReLU()]).call((4, 5, 5)).source() == (
        "Residual(nn.BatchNorm2d(4), nn.ReLU())"
    )
    assert Tied(3).call((4, 5, 5)).source() == (
        "Tied(nn.Conv2d(4, 4, 3, padding=1, bias=False), 3)"
    )
    assert Tied(3, separable=True).call((4, 5, 5)).source() == (
        "Tied(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=4), "
        "nn.Conv2d(4, 4, 1, bias=False)), 3)"
    )
    assert LearnedPool().call((4, 5, 6)).source() == (
        "nn.Conv2d(4, 4, (5, 6), groups=4, bias=False)"
    )


def test_architecture_of_composites_is_read_back_and_counted_alike():
    layers = [Conv(4), *(layer for layer, _ in ROWS.values() if layer.parts or type(layer) is Tied)]
    layers = [layer for layer in layers if layer != Residual([Linear(6), ReLU(), Linear(8)])]
    fitting = [layer for layer in layers if _fits(layer, (4, 8, 8))]
    assert len(fitting) >= 6
    network = Architecture((1, 8, 8), [Conv(4), *fitting, LearnedPool(), Flatten(), Linear(3)])
    again = Architecture.from_json(json.loads(json.dumps(network.to_json())))
    assert again == network
    assert again.fingerprint == network.fingerprint
    assert sum(p.numel() for p in network.build().parameters()) == again.num_params


def _fits(layer, shape):
    try:
        return layer.out_shape(shape) == shape
    except InvalidCandidateError:
        return False


# What they compute


def test_residual_adds_what_its_layers_make_to_its_input():
    module = Residual([Conv(4), BatchNorm(), ReLU()]).build((4, 6, 6)).eval()
    x = torch.randn(3, 4, 6, 6)
    conv, norm, relu = module
    torch.testing.assert_close(module(x), x + relu(norm(conv(x))))


def test_tied_adds_a_normed_and_rectified_convolution_to_its_input_each_time():
    module = Tied(3).build((4, 6, 6)).train()
    plain = copy.deepcopy(module)
    x = torch.randn(5, 4, 6, 6)
    expected = x
    for norm in plain.norms:
        expected = expected + torch.relu(norm(plain.conv(expected)))
    torch.testing.assert_close(module(x), expected)
    assert len(module.norms) == 3
    assert len({id(norm) for norm in module.norms}) == 3


def test_tied_has_the_weights_of_one_convolution_and_a_norm_for_each_use():
    assert [Tied(times).num_params((6, 5, 5)) for times in (1, 2, 4)] == [
        9 * 6 * 6 + times * 2 * 6 for times in (1, 2, 4)
    ]
    weights = [p for p in Tied(4).build((6, 5, 5)).parameters() if p.dim() == 4]
    assert [tuple(w.shape) for w in weights] == [(6, 6, 3, 3)]
    assert Tied(4).num_macs((6, 5, 5)) == 4 * Tied(1).num_macs((6, 5, 5))


def test_the_one_convolution_of_tied_learns_from_each_of_its_uses():
    """Its gradient is the sum of those of convolutions of their own with the same weights."""
    torch.manual_seed(0)
    tied = Tied(3).build((4, 6, 6))
    convs = [copy.deepcopy(tied.conv) for _ in tied.norms]
    norms = copy.deepcopy(tied.norms)
    x = torch.randn(8, 4, 6, 6)
    y = x
    for conv, norm in zip(convs, norms, strict=True):
        y = y + norm(conv(y)).relu()
    target = torch.randn_like(y)
    ((y - target) ** 2).sum().backward()
    ((tied(x) - target) ** 2).sum().backward()
    parts = torch.stack([conv.weight.grad for conv in convs])
    assert all(part.abs().max() > 0 for part in parts)
    torch.testing.assert_close(tied.conv.weight.grad, parts.sum(0), rtol=1e-4, atol=1e-3)


def test_learned_pool_weighs_every_place_of_each_channel_by_itself():
    module = LearnedPool().build((3, 4, 5))
    x = torch.randn(2, 3, 4, 5)
    expected = (module.weight[:, 0] * x).sum((2, 3), keepdim=True)
    torch.testing.assert_close(module(x), expected)


def test_depthwise_convolution_keeps_channels_apart():
    module = DepthwiseConv(3).build((3, 5, 5))
    x = torch.zeros(1, 3, 5, 5)
    x[:, 1] = 1
    assert [bool(channel.any()) for channel in module(x)[0]] == [False, True, False]


# What they cost


@pytest.mark.parametrize(
    ("layer", "shape", "values"),
    [
        (Residual([BatchNorm()]), (4, 5, 5), 2 * 100),  # cannot write over the input that is kept
        (Residual([Conv(4)]), (4, 5, 5), 2 * 100),
        (Residual(PAIR), (4, 5, 5), 3 * 100),  # kept, and in and out of the second convolution
        (Residual([Conv(8), Conv(4)]), (4, 5, 5), 100 + 200 + 100),
        (Residual([Conv(8), ReLU(), Conv(2), Conv(4)]), (4, 5, 5), 100 + 200 + 50),
        (Residual([Conv(1), Conv(4)]), (4, 5, 5), 100 + 25 + 100),
        (Residual([Conv(4), ReLU()]), (4, 5, 5), 2 * 100),
        (Residual([ReLU()]), (4, 5, 5), 2 * 100),
        # Dropout does nothing where memory counts.
        (Residual([Dropout(0.1), Conv(8), Conv(4)]), (4, 5, 5), 100 + 200 + 100),
        (Residual([Dropout(0.0), Conv(4)]), (4, 5, 5), 2 * 100),
        (Residual([Dropout(0.1)]), (4, 5, 5), 2 * 100),
        # Kept, the sum so far, and what the convolution makes of it.
        (Residual([Tied(2)]), (4, 5, 5), 3 * 100),
        (Residual([ReLU(), Tied(2)]), (4, 5, 5), 3 * 100),
        (Residual([Tied(1)]), (4, 5, 5), 2 * 100),
        (Tied(4), (4, 5, 5), 2 * 100),
        # A depthwise convolution writes what the one behind it reads, beside what is kept.
        (Tied(4, separable=True), (4, 5, 5), 3 * 100),
        (Residual([Tied(1, separable=True)]), (4, 5, 5), 3 * 100),
        (Residual([Tied(2, separable=True)]), (4, 5, 5), 4 * 100),
        (DepthwiseConv(3, "valid"), (4, 5, 5), 100 + 36),
        (LearnedPool(), (4, 5, 5), 100 + 4),
    ],
    ids=str,
)
def test_values_held_at_once(layer, shape, values):
    assert layer.peak_values(shape) == values


def test_values_of_a_network_held_at_once_are_those_of_its_residual():
    layers = [Conv(4), Residual(PAIR), GlobalAvgPool(), Flatten(), Linear(3)]
    assert Architecture((1, 5, 5), layers).peak_values == 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers",
    [
        [Conv(6), Residual([Conv(6), ReLU(), Conv(6)])],
        [Conv(6, 5), MaxPool(), Residual([DepthwiseConv(5), Conv(6, 1)])],
        [Conv(6), AvgPool(), Tied(2), Conv(6)],
        [Conv(6, 1), Tied(2, 1), Tied(1, 5)],
        [Conv(6), Tied(2, separable=True), Tied(1, 5, True)],
        [Conv(6), Residual([Tied(2), BatchNorm()]), AvgPool(), DepthwiseConv(3, "valid")],
    ],
    ids=str,
)
def test_receptive_field_is_what_reaches_one_value_of_a_real_output(layers):
    torch.manual_seed(0)
    network = Architecture((1, 33, 33), [*layers, GlobalAvgPool(), Flatten(), Linear(2)])
    stated = network.rows[len(layers) - 1].receptive_field
    model = network.build().eval()[: len(layers)]
    reached = torch.zeros(33, 33, dtype=torch.bool)
    for _ in range(5):  # a ReLU hides some pixels, others at another time
        images = torch.randn(4, 1, 33, 33, requires_grad=True)
        output = model(images)
        middle = output.shape[2] // 2
        output[:, :, middle, middle].abs().sum().backward()
        reached |= (images.grad != 0).any(0)[0]
    rows, columns = reached.any(1).nonzero(), reached.any(0).nonzero()
    assert int(rows.max() - rows.min()) + 1 == stated
    assert int(columns.max() - columns.min()) + 1 == stated


def test_learned_pool_sees_the_whole_image():
    network = Architecture((1, 9, 12), [LearnedPool(), Flatten(), Linear(2)])
    assert network.rows[0].receptive_field == 12
    assert LearnedPool().window((3, 12, 9)) == LearnedPool().window((3, 9, 12)) == (12, 1)


# What cannot be


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Conv(5)], r"make \(5, 6, 6\) of \(4, 6, 6\), .*keep channels and size"),
        ([Conv(4, 3, "valid")], r"make \(4, 4, 4\) of \(4, 6, 6\)"),
        ([MaxPool()], r"make \(4, 3, 3\)"),
        ([Flatten()], r"make \(144,\)"),
        ([GlobalAvgPool()], r"make \(4, 1, 1\)"),
    ],
)
def test_residual_that_changes_the_shape_is_refused_with_both_shapes(layers, words):
    with pytest.raises(InvalidCandidateError, match=f"^residual: its layers {words}"):
        Residual(layers).out_shape((4, 6, 6))
    with pytest.raises(InvalidCandidateError, match=f"^layer 2: residual: its layers {words}"):
        Architecture((1, 6, 6), [Conv(4), Residual(layers), Flatten()])


def test_layer_that_does_not_fit_within_a_residual_is_named():
    with pytest.raises(InvalidCandidateError, match="layer 1: max-pool 7x7 does not fit an input"):
        Architecture((4, 6, 6), [Residual([Conv(4), MaxPool(7)]), Flatten()])


@pytest.mark.parametrize("layers", [[], (), [3], [Conv(4), None], ["conv"], "ab"], ids=repr)
def test_residual_of_no_layers_is_refused(layers):
    with pytest.raises(InvalidCandidateError, match="residual: needs layers"):
        Residual(layers)


def test_residual_within_a_residual_is_refused():
    with pytest.raises(InvalidCandidateError, match="residual: cannot hold another residual"):
        Residual([Conv(4), Residual([Conv(4)])])


def nested(depth):
    data = {"kind": "relu"}
    for _ in range(depth):
        data = {"kind": "residual", "layers": [data]}
    return data


@pytest.mark.parametrize("depth", [2, 3, 10_000])
def test_json_of_nested_residuals_is_refused_however_deep(depth):
    with pytest.raises(InvalidCandidateError, match="cannot stand inside another"):
        layer_from_json(nested(depth))


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "nothing", "layers": nested(10_000)},
        {"kind": "relu", "extra": nested(10_000)},
        {"kind": "residual", "layers": nested(10_000)},
        {"kind": "residual", "layers": [{"kind": "nothing", "extra": nested(10_000)}]},
    ],
    ids=["unknown", "extra", "no-list", "unknown-inside"],
)
def test_json_with_anything_deep_in_it_is_refused(data):
    with pytest.raises(InvalidCandidateError):
        layer_from_json(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "residual"}, "layers"),
        ({"kind": "residual", "layers": None}, "needs layers"),
        ({"kind": "residual", "layers": []}, "needs layers"),
        ({"kind": "residual", "layers": [{"kind": "nothing"}]}, "the kinds are"),
        ({"kind": "residual", "layers": [{"kind": "conv"}]}, "out_channels"),
        ({"kind": "residual", "layers": [{"kind": "relu"}], "more": 1}, "more"),
        ({"kind": "conv", "out_channels": 4, "layers": []}, "layers"),
        ({"kind": "tied"}, "times"),
        ({"kind": "tied", "times": "3"}, "times must be a whole number >= 1"),
        ({"kind": "learned-pool", "kernel_size": 3}, "kernel_size"),
    ],
    ids=str,
)
def test_json_with_a_wrong_field_is_refused_by_its_name(data, words):
    with pytest.raises(InvalidCandidateError, match=words):
        layer_from_json(data)


@pytest.mark.parametrize("times", [0, -1, 1.5, 2.0, True, "2", None], ids=repr)
def test_tied_that_is_used_no_whole_number_of_times_is_refused(times):
    with pytest.raises(InvalidCandidateError, match="tied: times must be a whole number >= 1"):
        Tied(times)


@pytest.mark.parametrize("separable", [1, "yes", None], ids=repr)
def test_tied_that_is_neither_separable_nor_not_is_refused(separable):
    with pytest.raises(InvalidCandidateError, match="tied: separable must be True or False"):
        Tied(2, separable=separable)


@pytest.mark.parametrize("kernel_size", [0, 2, 4, 1.5, True, "3", None], ids=repr)
def test_kernel_size_that_keeps_no_size_is_refused(kernel_size):
    for kind in (lambda: Tied(2, kernel_size), lambda: DepthwiseConv(kernel_size)):
        with pytest.raises(InvalidCandidateError, match=r"^(tied|depthwise-conv): .*kernel_size"):
            kind()


@pytest.mark.parametrize("layer", [Tied(2), DepthwiseConv(), LearnedPool()], ids=str)
def test_layer_of_images_refuses_features(layer):
    with pytest.raises(InvalidCandidateError, match="needs an image"):
        Architecture((1, 4, 4), [Flatten(), layer, Flatten()])


def test_depthwise_convolution_that_does_not_fit_is_refused():
    with pytest.raises(InvalidCandidateError, match="5x5 valid does not fit an input of 4x9"):
        DepthwiseConv(5, "valid").out_shape((1, 4, 9))
    with pytest.raises(InvalidCandidateError, match=r"^depthwise-conv: padding must be one of"):
        DepthwiseConv(3, "full")


def test_space_with_a_layer_of_its_own_within_a_residual_is_refused():
    def suggest(trial, task):
        candidate = suggest_toy(trial, task)
        conv, *others = candidate.architecture.layers
        layers = [conv, Residual([ReLU(), FrozenConv()]), *others]
        return type(candidate)(Architecture(task.input_shape, layers), candidate.recipe)

    with pytest.raises(SpaceError, match="a layer of its own, FrozenConv"):
        make_space(suggest).propose(RandomTrial(), Task((1, 8, 8), 4, 1000))


# Which networks are the same


def fingerprint(*layers):
    return Architecture((1, 8, 8), [Conv(4), *layers, Flatten(), Linear(3)]).fingerprint


def test_fingerprints_differ_where_networks_do():
    networks = [
        PAIR,
        [Residual(PAIR)],
        [Residual(PAIR[:2]), *PAIR[2:]],
        [Residual(PAIR[:2]), Residual(PAIR[2:])],
        [Residual([*PAIR, ReLU()])],
        [Residual(PAIR), ReLU()],
        [Residual(SEPARABLE)],
        [Tied(1)],
        [Tied(2)],
        [Tied(1), Tied(1)],
        [Tied(2, 5)],
        [Tied(2, separable=True)],
        [Tied(2, 5, True)],
        [Residual([Tied(2)])],
        [DepthwiseConv()],
        [Conv(4)],
        [DepthwiseConv(5)],
        [DepthwiseConv(3, "valid")],
        [GlobalAvgPool()],
        [LearnedPool()],
    ]
    assert len({fingerprint(*layers) for layers in networks}) == len(networks)


def test_fingerprints_are_equal_where_networks_are():
    assert fingerprint(Residual(list(PAIR))) == fingerprint(Residual(tuple(PAIR)))
    assert fingerprint(Residual(PAIR), Dropout(0)) == fingerprint(Residual(PAIR))


def test_dropout_of_nothing_within_a_residual_makes_no_other_network():
    assert fingerprint(Residual([*PAIR, Dropout(0)])) == fingerprint(Residual(PAIR))
