"""The steps of a network: what they make is what the network makes, with less in between."""

from __future__ import annotations

import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import LAYERS, BatchNorm, Conv, Flatten, Linear, ReLU, Tied
from nas.errors import ExportError
from nas.exporters import graph as g
from nas.exporters.folding import graph_of
from tests.candidates.test_layers import ROWS as LAYER_ROWS
from tests.exporters.networks import END, NETWORKS, build, images, normalised
from tests.odd_layers import TiedConv


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 9, 10)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_steps_make_the_scores_of_the_network(name, shape):
    if name == "features" and shape[0] > 1:
        pytest.skip("its residual is for 9 features")
    architecture, model = build(NETWORKS[name], shape)
    x = normalised(images(20, shape))
    maps = dict(graph_of(architecture, model).run(x))
    assert torch.allclose(maps[max(maps)].flatten(1), model(x), atol=1e-4)


def test_every_kind_of_layer_is_among_these_networks_or_refused_by_name():
    layers = [layer for network in NETWORKS.values() for layer in network]
    layers += [part for layer in layers for part in layer.parts]
    others = set(LAYERS) - {layer.kind for layer in layers}
    rows = [row for row in LAYER_ROWS.values() if row[0].kind in others]
    for layer, shape in rows:
        architecture = Architecture(shape, [layer, *([Flatten()] if len(shape) == 3 else [])])
        with pytest.raises(ExportError, match=f"^layer 1 .{layer.kind}. cannot"):
            graph_of(architecture, architecture.build())
    assert {layer.kind for layer, _ in rows} == others


def test_norm_and_relu_behind_a_convolution_are_part_of_its_step():
    graph = graph_of(*build([Conv(6), BatchNorm(), ReLU(), *END]))
    assert [type(step) for step in graph.steps] == [g.Conv, g.Conv, g.Conv]
    assert [step.has_relu for step in graph.steps] == [True, False, False]


def test_map_that_is_read_twice_is_not_changed_by_what_reads_it_first():
    kinds = [type(s) for s in graph_of(*build(NETWORKS["residual-of-relu"])).steps]
    assert kinds[:4] == [g.Conv, g.ReLU, g.Conv, g.Add]


def test_weights_that_are_used_several_times_are_kept_once():
    graph = graph_of(*build([Conv(6), Tied(3), *END]))
    assert [s.weights for s in graph.steps if isinstance(s, g.Conv)] == [
        "weights1", "weights2", "weights2", "weights2", "weights3", "weights4",
    ]  # fmt: skip
    assert len(graph.weights) == 4


def test_layer_without_steps_is_refused_with_its_place_and_kind():
    architecture = Architecture((1, 9, 9), [Conv(2), TiedConv(), Flatten(), Linear(2)])
    with pytest.raises(ExportError, match=r"^layer 2 \(tied-conv\) cannot [^\n]+$"):
        graph_of(architecture, architecture.build())
