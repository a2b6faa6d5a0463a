"""What layers are called before people."""

from __future__ import annotations

import pytest

from nas.candidates.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.reports.layer_names import full_name, inner_names, layer_name


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Conv(8), "conv 3×3"),
        (Conv(8, 5, "valid", stride=2), "conv 5×5, valid, stride 2"),
        (DepthwiseConv(3, stride=2), "depthwise conv 3×3, stride 2"),
        (BatchNorm(), "batch norm"),
        (Dropout(0.05), "dropout 0.05"),
        (MaxPool(2), "max pool 2×2"),
        (LearnedPool(), "learned pool"),
        (Linear(10), "linear"),
        (Tied(3), "tied 3×3, 3 times"),
        (Tied(2, 5, separable=True), "tied separable 5×5, 2 times"),
    ],
)
def test_name_says_what_was_chosen(layer, name):
    assert layer_name(layer) == full_name(layer) == name
    assert inner_names(layer) == []


def test_layer_of_layers_names_those_that_make_new_values():
    layer = Residual((DepthwiseConv(3), BatchNorm(), ReLU(), Conv(8, 1), BatchNorm()))
    assert inner_names(layer) == ["depthwise conv 3×3", "conv 1×1"]
    assert full_name(layer) == "residual: depthwise conv 3×3, conv 1×1"
