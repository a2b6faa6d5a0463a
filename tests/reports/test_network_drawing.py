"""A network, drawn to scale."""

from __future__ import annotations

import pytest

from nas.candidates.architecture import Architecture
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear, Residual, Tied
from nas.reports.network_drawing import network_drawing
from nas.reports.picture import Area, Text
from nas.reports.plots import NARROW, WIDE
from tests.reports.studies import network


def texts(picture):
    return [mark.text for mark in picture.marks if isinstance(mark, Text)]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_each_layer_has_its_size_and_parameters(width):
    architecture = network(8)
    picture = network_drawing(architecture, width)
    shown = texts(picture)
    # Batch norm's 16 are with the convolution's 72.
    for text in ("input", "conv 3×3", "max pool 2×2", "16×14×14", "88", "1,152", "linear", "170"):
        assert text in shown
    assert f"{architecture.num_params:,} parameters" in picture.caption
    ends = [x for mark in picture.marks if isinstance(mark, Area) for x, _ in mark.points]
    assert max(ends) <= width


def test_boxes_are_to_one_scale():
    picture = network_drawing(network(8))
    fronts = [m.points for m in picture.marks if isinstance(m, Area) and m.ink == "blue"][::3]
    length = [points[1][0] - points[0][0] for points in fronts]
    height = [points[2][1] - points[1][1] for points in fronts]
    # Input, convolution, pool, convolution.
    assert length[3] == pytest.approx(2 * length[1])
    assert length[1] == pytest.approx(length[2])
    assert height[0] == pytest.approx(height[1]) == pytest.approx(2 * height[2])


def test_layers_made_of_others_name_them():
    layers = [Conv(4, stride=2), Residual([Conv(4), Conv(4, 5)]), Tied(3), GlobalAvgPool(),
              Flatten(), Linear(3)]  # fmt: skip
    shown = texts(network_drawing(Architecture((3, 16, 8), layers)))
    assert "conv 3×3, stride 2" in shown
    assert "residual: conv 3×3, conv 5×5" in shown
    assert "tied 3×3, 3 times" in shown
