"""Networks for the tests of exporters: with statistics of all kinds, and images to run them on."""

from __future__ import annotations

import torch
from optuna.trial import TrialState
from torch import nn

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
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
from nas.exporters.contract import Subject
from nas.exporters.folding import graph_of
from nas.exporters.provenance import Provenance
from nas.exporters.quantize import quantize
from nas.storage.studies import DataFacts
from nas.storage.trials import TrialRecord

END = [LearnedPool(), Flatten(), Linear(3)]
PAIR = Residual([Conv(6), BatchNorm(), ReLU(), Conv(6), BatchNorm()])

# Every kind of layer, and what stands beside what in the search spaces.
NETWORKS = {
    "blocks": [Conv(6), BatchNorm(), ReLU(), Dropout(0.1), MaxPool(2), Conv(5, 1), *END],
    "valid": [Conv(6, 5, "valid", bias=True), ReLU(), Conv(4, 2, "valid"), *END],
    "average": [Conv(6), ReLU(), AvgPool(2), Conv(4), GlobalAvgPool(), Flatten()],
    "average-3-drops-rest": [Conv(6), AvgPool(3), Flatten(), Linear(4), ReLU(), Linear(3)],
    "wide-map-to-linear": [Conv(4), BatchNorm(), MaxPool(3), ReLU(), Flatten(), Linear(3)],
    "features": [MaxPool(3), Flatten(), Residual([Linear(9), ReLU()]), Linear(3)],
    "map-as-scores": [Conv(2), MaxPool(4), Flatten()],
    "relu-before-norm": [Conv(6), ReLU(), BatchNorm(), Conv(6), BatchNorm(), BatchNorm(), *END],
    "norm-first": [BatchNorm(), ReLU(), Conv(5), *END],
    "residual": [Conv(6), BatchNorm(), ReLU(), PAIR, ReLU(), MaxPool(2), PAIR, *END],
    "residual-of-relu": [Conv(6), Residual([ReLU(), Conv(6)]), Residual([BatchNorm()]), *END],
    "residual-of-nothing": [Conv(6), Residual([Dropout(0.1)]), ReLU(), *END],
    "separable": [
        Conv(6), Residual([DepthwiseConv(5), BatchNorm(), ReLU(), Conv(6, 1)]),
        DepthwiseConv(3, "valid"), BatchNorm(), *END,
    ],
    "strides": [
        Conv(6, 5, stride=2), BatchNorm(), ReLU(), DepthwiseConv(stride=2), BatchNorm(),
        Conv(4, 2, "valid", stride=2), ReLU(), *END,
    ],
    "tied": [Conv(6), BatchNorm(), ReLU(), Tied(3), MaxPool(2), Tied(2, 5), *END],
    "tied-within-residual": [Conv(6), Residual([Tied(2), Conv(6)]), *END],
    "tied-separable": [
        Conv(6), BatchNorm(), ReLU(), Tied(3, 3, True), MaxPool(2), Tied(2, 5, True), *END,
    ],
    "tied-separable-of-one-channel": [Conv(1), Tied(2, separable=True), *END],
    "one-channel": [DepthwiseConv(), BatchNorm(), Conv(1), ReLU(), *END],
}  # fmt: skip


def build(layers, shape=(1, 9, 9), seed=0):
    """An architecture and its model, whose norms have factors of each sign, and none at all."""
    torch.manual_seed(seed)
    architecture = Architecture(shape, layers)
    model = architecture.build().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.05, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, 0, 0.3)
            module.weight.data[0] = 0
    return architecture, model


def images(num, shape=(1, 9, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, *shape), dtype=torch.uint8, generator=generator)


def mean_and_std(shape):
    return (0.3, 0.4, 0.5)[: shape[0]], (0.3, 0.2, 0.25)[: shape[0]]


def normalised(x):
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in mean_and_std(x.shape[1:]))
    return (x.float() / 255 - mean) / std


def integers(layers, shape=(1, 9, 9), seed=0):
    """The network in integers, beside its graph and model."""
    architecture, model = build(layers, shape, seed)
    graph = graph_of(architecture, model)
    return quantize(graph, images(64, shape, seed), *mean_and_std(shape)), graph, model


@torch.no_grad()
def subject_of(layers, shape=(1, 9, 9), has_calibration=True):
    """A network on its way out, with 20 images to compare and 64 to calibrate on."""
    architecture, model = build(layers, shape)
    x = images(20, shape, seed=1)
    classes = tuple(str(n) for n in range(architecture.num_classes))
    facts = DataFacts("d", None, "1/12", 0, shape, classes, *mean_and_std(shape), 64, 20)
    made = Provenance("s", 3, "d", 0.9, 20, 2, 2, 1, {"nas": "0"})
    return Subject(
        architecture, model, model.state_dict(), made, facts, x, model(normalised(x)), 4,
        images(64, shape) if has_calibration else None,
    )  # fmt: skip


def trial_of(architecture, data):
    """A trial's record, its untrained weights, and the facts of its images."""
    torch.manual_seed(1)
    recipe = Recipe(epochs=2, batch_size=32)
    candidate = Candidate(architecture, recipe)
    record = TrialRecord(
        number=3, state=TrialState.COMPLETE, valid_accuracy=0.9, reason=None, detail="", params={},
        num_params=architecture.num_params, num_macs=architecture.num_macs,
        spec={"architecture": architecture.to_json(), "recipe": recipe.to_json()},
        fingerprint=candidate.fingerprint, seed=1, epochs=2, history=(), rungs=(), result=None,
        continues=None, train_seconds=1.0, device="cpu", versions={"nas": "0"},
    )  # fmt: skip
    facts = DataFacts(
        "tiny", None, "1/4", 0, data.input_shape, data.classes, data.mean, data.std,
        len(data.train_index), len(data.valid_index),
    )  # fmt: skip
    return record, architecture.build().state_dict(), facts
