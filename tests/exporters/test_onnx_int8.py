"""int8 as ONNX: what ONNX Runtime computes is near the integers of C, on any processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from nas.candidates.layers import BatchNorm, Conv, ReLU, Tied
from nas.errors import ExportError
from nas.exporters import onnx_int8
from nas.exporters.contract import Expected
from nas.exporters.folding import graph_of
from nas.exporters.onnx_file import save
from nas.exporters.provenance import Certified
from nas.exporters.qdq import qdq_model
from nas.exporters.quantize import quantize
from tests.exporters.networks import (
    END,
    NETWORKS,
    build,
    images,
    integers,
    mean_and_std,
    subject_of,
)

LEVELS = onnxruntime.GraphOptimizationLevel


def model_of(network, shape=(1, 9, 9)):
    return qdq_model(network, *mean_and_std(shape))


def run(model, x, level=LEVELS.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["scores"], {"images": x})[0]


def steps_apart(network, scores, x):
    """How far the scores are from those of the simulation, in steps of a byte."""
    found = np.round(scores / np.float32(network.scores.scale) + network.scores.zero)
    return np.abs(found - network.run(x))


def cases():
    for name in NETWORKS:
        for shape in [(1, 9, 9), (3, 9, 10)]:
            if not (name == "features" and shape[0] > 1):  # its residual is for 9 features
                yield name, shape


@pytest.mark.parametrize(("name", "shape"), list(cases()), ids=str)
def test_scores_are_those_of_the_simulation_but_for_roundings(name, shape):
    network, _, _ = integers(NETWORKS[name], shape)
    x = images(200, shape, seed=1).numpy()
    model = model_of(network, shape)
    onnx.checker.check_model(model, full_check=True)
    # In integers, as ONNX Runtime makes them of it, and in floats, as it is written.
    for level in (LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_DISABLE_ALL):
        apart = steps_apart(network, run(model, x, level), x)
        assert apart.max() <= 3
        assert apart.mean() < 0.1


def test_no_byte_is_signed_so_that_no_kernel_overflows():
    for layers in NETWORKS.values():
        network, _, _ = integers(layers)
        kinds = {tensor.data_type for tensor in model_of(network).graph.initializer}
        assert TensorProto.INT8 not in kinds
        assert TensorProto.UINT8 in kinds


def test_batches_are_of_any_size():
    network, _, _ = integers(NETWORKS["residual"])
    x = images(30).numpy()
    model = model_of(network)
    one_by_one = np.concatenate([run(model, x[i : i + 1]) for i in range(30)])
    assert np.array_equal(run(model, x), one_by_one)


def tied(is_positive):
    """A trained network's norms have positive factors, nearly always."""
    architecture, model = build([Conv(6), BatchNorm(), ReLU(), Tied(3), *END])
    with torch.no_grad():
        for norm in model[3].norms:
            norm.weight.abs_().add_(0.1)
            norm.weight[0] *= 1 if is_positive else -1
    return quantize(graph_of(architecture, model), images(64), *mean_and_std((1,)))


def test_weights_of_a_tied_convolution_are_stored_once_with_scales_of_each_use():
    network = tied(is_positive=True)
    model = model_of(network)
    assert [name for name in network.weights if name.startswith("weights2")] == ["weights2"]
    tables = [t.name for t in model.graph.initializer if t.name.startswith("weights2")]
    uses = [node for node in model.graph.node if node.input[0] == "weights2"]
    assert tables == ["weights2"]
    assert len(uses) == 3
    assert len({node.input[1] for node in uses}) == 3


def test_tied_weights_whose_factors_are_of_several_signs_are_right_and_stored_for_each():
    architecture, model = build([Conv(6), BatchNorm(), ReLU(), Tied(2), *END])
    with torch.no_grad():
        for norm, sign in zip(model[3].norms, (1, -1), strict=True):
            norm.weight.copy_(torch.full((6,), 0.7 * sign))
    network = quantize(graph_of(architecture, model), images(64), *mean_and_std((1,)))
    made = model_of(network)
    tables = {t.name: numpy_helper.to_array(t).astype(int) - 128 for t in made.graph.initializer}
    assert np.array_equal(tables["weights2"], -tables["weights2.4"])
    x = images(100, seed=1).numpy()
    assert steps_apart(network, run(made, x), x).max() <= 2


@torch.no_grad()
@pytest.mark.parametrize("factor", [0, 1e-30])
def test_channels_that_never_fire_keep_their_offset(factor):
    architecture, model = build([Conv(4), BatchNorm(), ReLU(), *END])
    model[0].weight.mul_(factor)
    model[1].bias.fill_(0.5)
    network = quantize(graph_of(architecture, model), images(8), *mean_and_std((1,)))
    x = images(20, seed=1).numpy()
    assert steps_apart(network, run(model_of(network), x), x).max() <= 1


@pytest.fixture
def written(tmp_path):
    """A file, and what its check expects."""
    subject = subject_of(NETWORKS["blocks"])
    done = onnx_int8.write(subject, tmp_path)
    return tmp_path, Expected(subject.images, done.scores, subject.architecture.num_params)


def test_written_scores_are_those_of_onnx_runtime_and_checked_again(written):
    folder, expected = written
    model = onnx.load(folder / "network-int8.onnx")
    assert np.array_equal(run(model, expected.images.numpy()), expected.scores.numpy())
    proof = onnx_int8.check(folder, expected)
    assert "0 of 60 scores of 20 images differ, by at most 0 of 255 steps" in proof.lines[0]


def test_weight_or_scale_that_has_changed_is_found(written):
    folder, expected = written
    path = folder / "network-int8.onnx"
    for name in ("weights3", "map3.scale", "scores.step"):
        model = onnx.load(path)
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values.flat[:8] = values.flat[0] * 3 if values.dtype.kind == "f" else 255
        tensor.CopyFrom(numpy_helper.from_array(values, name))
        (folder / "changed").mkdir(exist_ok=True)
        onnx.save(model, folder / "changed" / path.name)
        with pytest.raises(ExportError, match="does not compute what was measured"):
            onnx_int8.check(folder / "changed", expected)


def test_runtime_that_overflows_is_found_before_anything_is_exported(tmp_path, monkeypatch):
    """Weights are halved behind the simulation's back, as if sums had been cut off."""

    def overflowing(network, mean, std):
        model = qdq_model(network, mean, std)
        for tensor in model.graph.initializer:
            if tensor.name.startswith("weights"):
                values = numpy_helper.to_array(tensor).astype(int) - 128
                table = (values // 2 + 128).astype(np.uint8)
                tensor.CopyFrom(numpy_helper.from_array(table, tensor.name))
        return model

    monkeypatch.setattr(onnx_int8, "qdq_model", overflowing)
    with pytest.raises(ExportError, match="does not compute what was measured"):
        onnx_int8.write(subject_of(NETWORKS["blocks"]), tmp_path)


def test_file_of_another_network_is_refused(written):
    folder, expected = written
    other = Expected(expected.images, expected.scores, expected.num_params + 1)
    with pytest.raises(ExportError, match="says that it has"):
        onnx_int8.check(folder, other)


def test_without_training_images_nothing_is_written(tmp_path):
    with pytest.raises(ExportError, match="training images set the ranges"):
        onnx_int8.write(subject_of(NETWORKS["blocks"], has_calibration=False), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_invalid_network_is_refused_in_one_line(tmp_path):
    network, _, _ = integers(NETWORKS["blocks"])
    model = model_of(network)
    model.graph.node[0].input[0] = "nothing"
    with pytest.raises(ExportError, match=r"^the network in ONNX is not valid: [^\n]+$"):
        save(model, tmp_path / "x.onnx", subject_of(NETWORKS["blocks"]), "int8")
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_certified_weights_say_their_accuracy_not_that_of_the_search(tmp_path):
    subject = subject_of(NETWORKS["blocks"])
    certified = Certified(0.98, 100, 84, 77, 3, {"nas": "9"})
    origin = replace(subject.provenance, certified=certified)
    onnx_int8.write(replace(subject, provenance=origin), tmp_path)
    about = {p.key: p.value for p in onnx.load(tmp_path / "network-int8.onnx").metadata_props}
    assert about["test_accuracy"] == certified.text
    assert "validation_accuracy" not in about
