"""What a network comes to without weights: the operations that its export has with them."""

from __future__ import annotations

import pytest

from nas.candidates.arena import plan
from nas.candidates.operations import operations
from nas.exporters import arena, integer
from tests.exporters.networks import NETWORKS, build, integers

KERNELS = {
    integer.AffineOp: "affine", integer.AddOp: "add", integer.ReLUOp: "relu",
    integer.MaxPoolOp: "max_pool", integer.AvgPoolOp: "avg_pool", integer.FlattenOp: "flatten",
}  # fmt: skip
CASES = [(name, shape) for name in NETWORKS for shape in [(1, 9, 9), (3, 9, 10)]]
CASES.remove(("features", (3, 9, 10)))  # its residual is for 9 features


def kernel(op):
    if isinstance(op, integer.ConvOp):
        return "depthwise" if op.is_depthwise else "conv"
    return KERNELS[type(op)]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_operations_are_those_of_the_exported_network(name, shape):
    exported, _, _ = integers(NETWORKS[name], shape)
    architecture, _ = build(NETWORKS[name], shape)
    found = operations(architecture.input_shape, architecture.layers)
    assert [op.kernel for op in found.ops] == [kernel(op) for op in exported.ops]
    assert [(op.inputs, op.output, op.is_in_place) for op in found.ops] == [
        (op.inputs, op.output, op.is_in_place) for op in exported.ops
    ]
    assert found.sizes == [m.size for m in exported.maps]
    assert plan(found.ops, found.sizes) == arena.plan(exported)
    assert sum(op.num_weights for op in found.ops) == sum(
        weights.size for weights in exported.weights.values()
    )
    assert [op.num_scaled for op in found.ops if op.num_scaled] == [
        len(op.multipliers)
        for op in exported.ops
        if isinstance(op, integer.ConvOp | integer.AffineOp)
    ]
