"""Every kind of layer: what it states is what PyTorch does."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.candidates.layers import (
    LAYERS,
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Shape,
    Tied,
    layer_from_json,
    modules,
)
from nas.errors import InvalidCandidateError

ROWS: dict[str, tuple[Layer, Shape]] = {
    "conv": (Conv(8), (3, 9, 7)),
    "conv-bias": (Conv(8, bias=True), (3, 9, 7)),
    "conv-1x1": (Conv(5, 1), (4, 6, 6)),
    "conv-1x1-valid-bias": (Conv(5, 1, "valid", bias=True), (4, 6, 6)),
    "conv-5x5": (Conv(4, 5), (2, 8, 8)),
    "conv-5x5-wider-than-image": (Conv(4, 5), (2, 3, 1)),
    "conv-valid": (Conv(8, 3, "valid"), (3, 9, 7)),
    "conv-5x5-valid-bias": (Conv(4, 5, "valid", bias=True), (2, 8, 9)),
    "conv-2x2-valid": (Conv(4, 2, "valid"), (2, 8, 8)),
    "conv-valid-to-one-pixel": (Conv(4, 7, "valid"), (2, 7, 7)),
    "conv-stride": (Conv(8, stride=2), (3, 9, 8)),
    "conv-1x1-stride": (Conv(8, 1, stride=2), (3, 9, 8)),
    "conv-5x5-stride-bias": (Conv(8, 5, bias=True, stride=2), (3, 3, 8)),
    "conv-4x4-valid-stride": (Conv(8, 4, "valid", stride=2), (3, 9, 8)),
    "depthwise-conv": (DepthwiseConv(), (3, 9, 7)),
    "depthwise-conv-stride": (DepthwiseConv(stride=2), (3, 9, 8)),
    "depthwise-conv-5x5-valid": (DepthwiseConv(5, "valid"), (2, 8, 9)),
    "batch-norm": (BatchNorm(), (6, 5, 4)),
    "relu": (ReLU(), (6, 5, 4)),
    "relu-of-features": (ReLU(), (24,)),
    "dropout": (Dropout(0.25), (6, 5, 4)),
    "dropout-0": (Dropout(0), (24,)),
    "max-pool": (MaxPool(), (3, 8, 6)),
    "max-pool-3-drops-rest": (MaxPool(3), (3, 8, 7)),
    "avg-pool": (AvgPool(2), (3, 7, 6)),
    "avg-pool-whole-image": (AvgPool(4), (3, 4, 4)),
    "global-avg-pool": (GlobalAvgPool(), (5, 6, 3)),
    "learned-pool": (LearnedPool(), (5, 6, 3)),
    "residual": (Residual([Conv(4), BatchNorm(), ReLU(), Conv(4, 1, bias=True)]), (4, 6, 5)),
    "tied": (Tied(3), (4, 6, 5)),
    "flatten": (Flatten(), (2, 3, 4)),
    "linear": (Linear(10), (12,)),
}

each_row = pytest.mark.parametrize(("layer", "shape"), ROWS.values(), ids=ROWS.keys())


def test_table_covers_every_kind_of_layer():
    assert {type(layer) for layer, _ in ROWS.values()} == set(LAYERS.values())


def test_every_kind_is_listed_under_its_own_name():
    assert all(kind == layer.kind for kind, layer in LAYERS.items())


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
        module(torch.rand(1, *shape))
    assert layer.num_macs(shape) == counter.get_total_flops() // 2


@each_row
def test_values_held_at_once_are_those_of_input_and_output_or_of_one_in_place(layer, shape):
    output = layer.build(shape)(torch.rand(1, *shape))
    if isinstance(layer, Residual):
        pytest.skip("holds its input beside what its layers hold")
    both = math.prod(shape) + output.numel()
    assert layer.peak_values(shape) == (both // 2 if layer.is_in_place else both)


@pytest.mark.parametrize(
    ("layer", "shape"), [row for row in ROWS.values() if row[0].is_in_place], ids=str
)
def test_layer_that_works_in_place_makes_each_value_of_the_one_in_the_same_place(layer, shape):
    module = layer.build(shape).eval()
    x = torch.rand(1, *shape)
    other = x.flatten().clone()
    other[0] += 1
    changed = module(other.view(x.shape)).flatten() != module(x).flatten()
    assert changed.tolist() == [True] + [False] * (x.numel() - 1)


@each_row
def test_layer_that_works_in_place_gives_as_many_values_as_it_takes(layer, shape):
    assert not layer.is_in_place or math.prod(layer.out_shape(shape)) == math.prod(shape)


SLIDING = {
    name: (layer, shape)
    for name, (layer, shape) in ROWS.items()
    if len(shape) == 3
    and not isinstance(layer, GlobalAvgPool | LearnedPool | Flatten | Residual | Tied)
}


@pytest.mark.parametrize(("layer", "shape"), SLIDING.values(), ids=SLIDING.keys())
def test_window_and_stride_explain_the_output_size(layer, shape):
    size, stride = layer.window(shape)
    padding = size - 1 if getattr(layer, "padding", "") == "same" else 0
    expected = [(n + padding - size) // stride + 1 for n in shape[1:]]
    assert list(layer.out_shape(shape)[1:]) == expected


@pytest.mark.parametrize("layer", [GlobalAvgPool(), LearnedPool(), Flatten()])
def test_window_of_a_layer_that_sees_everything_is_the_larger_side(layer):
    assert layer.window((2, 5, 9)) == layer.window((2, 9, 5)) == (9, 1)


@each_row
def test_json_text_gives_the_layer_back(layer, shape):
    again = layer_from_json(json.loads(json.dumps(layer.to_json())))
    assert again == layer
    assert type(again) is type(layer)


def test_json_without_a_stride_is_of_stride_1():
    assert layer_from_json({"kind": "conv", "out_channels": 8}) == Conv(8, stride=1)
    assert layer_from_json({"kind": "depthwise-conv", "kernel_size": 5}) == DepthwiseConv(5)


@each_row
def test_source_builds_the_same_module(layer, shape):
    module = eval(layer.call(shape).source(), {"nn": nn, **vars(modules)})
    assert repr(module) == repr(layer.build(shape))


@each_row
def test_layer_is_frozen(layer, shape):
    name = next((f.name for f in dataclasses.fields(layer)), "kind")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(layer, name, 1)


def test_source_is_plain_python():
    assert Conv(8).call((3, 9, 9)).source() == "nn.Conv2d(3, 8, 3, padding=1, bias=False)"
    strided = Conv(8, stride=2).call((3, 9, 9)).source()
    assert strided == "nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)"
    assert Dropout(0.5).call((8,)).source() == "nn.Dropout(0.5)"
    assert Flatten().call((8, 2, 2)).source() == "nn.Flatten()"


def test_numpy_probability_is_written_as_a_plain_number():
    assert Dropout(np.float64(0.25)).call((8,)).source() == "nn.Dropout(0.25)"


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (Conv(4, 5, "valid"), (1, 4, 9), "conv 5x5 valid does not fit an input of 4x9"),
        (Conv(4, 5, "valid"), (1, 9, 4), "conv 5x5 valid does not fit an input of 9x4"),
        (Conv(4), (16,), "conv needs an image"),
        (BatchNorm(), (16,), "batch-norm needs an image"),
        (MaxPool(), (4, 1, 8), "max-pool 2x2 does not fit an input of 1x8"),
        (AvgPool(3), (4, 8, 2), "avg-pool 3x3 does not fit an input of 8x2"),
        (MaxPool(), (16,), "max-pool needs an image"),
        (GlobalAvgPool(), (16,), "global-avg-pool needs an image"),
        (Flatten(), (16,), "flatten needs an image"),
        (Linear(10), (4, 1, 1), "linear needs features"),
    ],
)
def test_misfit_is_an_error_that_names_the_layer(layer, shape, words):
    with pytest.raises(InvalidCandidateError) as error:
        layer.out_shape(shape)
    assert str(error.value).startswith(words)


NO_WHOLE_NUMBERS = [0, -1, 1.5, 3.0, True, "3", None, math.nan]


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        (Conv, "out_channels", {}),
        (Conv, "kernel_size", {"out_channels": 4}),
        (Conv, "kernel_size", {"out_channels": 4, "padding": "valid"}),
        (Conv, "stride", {"out_channels": 4}),
        (MaxPool, "kernel_size", {}),
        (AvgPool, "kernel_size", {}),
        (Linear, "out_features", {}),
    ],
)
def test_a_size_that_is_no_whole_number_is_rejected(kind, name, others, value):
    with pytest.raises(InvalidCandidateError, match=f"{kind.kind}: {name} must be .* was "):
        kind(**{name: value}, **others)


@pytest.mark.parametrize("kind", [MaxPool, AvgPool])
def test_pooling_windows_of_one_pixel_are_rejected(kind):
    with pytest.raises(InvalidCandidateError, match=f"{kind.kind}: kernel_size must be"):
        kind(1)


@pytest.mark.parametrize("padding", ["full", "SAME", "", 1, None, []], ids=repr)
def test_unknown_padding_is_rejected(padding):
    with pytest.raises(InvalidCandidateError, match="conv: padding must be one of"):
        Conv(4, 3, padding)


@pytest.mark.parametrize("bias", [0, 1, "yes", None], ids=repr)
def test_bias_that_is_no_bool_is_rejected(bias):
    with pytest.raises(InvalidCandidateError, match="conv: bias must be True or False"):
        Conv(4, bias=bias)


@pytest.mark.parametrize("kernel_size", [2, 4])
def test_even_kernel_cannot_keep_the_size(kernel_size):
    with pytest.raises(InvalidCandidateError, match="conv: padding 'same' needs an odd"):
        Conv(4, kernel_size)


@pytest.mark.parametrize("p", [1, 1.0, -0.1, 1.5, math.nan, math.inf, True, "0.5", None], ids=repr)
def test_dropout_probability_out_of_range_is_rejected(p):
    with pytest.raises(InvalidCandidateError, match="dropout: p must be in 0 <= p < 1"):
        Dropout(p)


@pytest.mark.parametrize(
    "data",
    [
        None,
        "conv",
        7,
        ["conv", 8],
        {},
        {"out_channels": 8},
        {"kind": "transformer"},
        {"kind": "Conv", "out_channels": 8},
        {"kind": None},
        {"kind": ["conv"], "out_channels": 8},
        {"kind": {}},
    ],
    ids=repr,
)
def test_json_of_no_known_layer_is_rejected_with_the_kinds_there_are(data):
    with pytest.raises(InvalidCandidateError, match=f"the kinds are {', '.join(LAYERS)}"):
        layer_from_json(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "conv"}, "out_channels"),
        ({"kind": "linear"}, "out_features"),
        ({"kind": "dropout"}, "p"),
        ({"kind": "conv", "out_channels": 8, "dilation": 2}, "dilation"),
        ({"kind": "conv", "out_channels": 8, "stride": 3}, "stride must be 1 or 2, was 3"),
        ({"kind": "relu", "inplace": True}, "inplace"),
        ({"kind": "conv", "out_channels": "8"}, "out_channels must be a whole number"),
        ({"kind": "linear", "out_features": 10.0}, "out_features must be a whole number"),
    ],
)
def test_json_with_a_wrong_field_is_rejected_by_its_name(data, words):
    with pytest.raises(InvalidCandidateError, match=words):
        layer_from_json(data)
