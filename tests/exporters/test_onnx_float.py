"""ONNX: the scores of PyTorch in ONNX Runtime, and nothing of this machine in the files."""

from __future__ import annotations

import getpass
import importlib.util
import json
import shutil
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import nas
from nas.candidates.architecture import Architecture
from nas.candidates.layers import BatchNorm, Conv, DepthwiseConv, Flatten, Linear, ReLU
from nas.errors import ExportError, VerifyError
from nas.exporters import onnx_float, onnx_int8
from nas.exporters.contract import Expected
from nas.exporters.export import export_trial
from nas.exporters.formats import parse_formats
from nas.exporters.manifest import write_sums
from nas.exporters.verify import verify_export
from nas.spaces.draws import draw
from nas.spaces.loader import load_space
from nas.spaces.task import Task
from tests.exporters.networks import NETWORKS, subject_of, trial_of

SPACES = ("blocks-space", "residual-space", "separable-space", "tied-space")
FILES = ("network.onnx", "network-int8.onnx")


@pytest.fixture(scope="module")
def once(tiny_data, tiny_architecture, tmp_path_factory):
    """An export in both formats, beside that of PyTorch."""
    trial = trial_of(tiny_architecture, tiny_data)
    out = tmp_path_factory.mktemp("export") / "out"
    formats = ("pytorch", "onnx", "onnx-int8")
    return export_trial(*trial, "my-study", tiny_data, out, formats=formats)


@pytest.fixture
def folder(once, tmp_path):
    """A copy of it elsewhere."""
    return shutil.copytree(once.folder, tmp_path / "elsewhere")


@pytest.mark.slow
def test_network_with_strides_is_exported_and_verified_in_each_format(tiny_data, tmp_path):
    layers = [
        Conv(6, 5, stride=2), BatchNorm(), ReLU(), DepthwiseConv(stride=2), BatchNorm(),
        Conv(5, 2, "valid", stride=2), ReLU(), Flatten(), Linear(4),
    ]  # fmt: skip
    trial = trial_of(Architecture(tiny_data.input_shape, layers), tiny_data)
    formats = ("pytorch", "onnx", "onnx-int8", "html")
    done = export_trial(*trial, "s", tiny_data, tmp_path / "out", formats=formats)
    assert [result.name for result in done.results] == list(formats)
    assert all(result.num_other_labels <= done.num_checked // 20 for result in done.results)
    assert verify_export(tmp_path / "out").formats == formats


def test_both_stand_in_one_folder_and_are_measured_in_onnx_runtime(once, tiny_data):
    assert sorted(p.name for p in (once.folder / "onnx").iterdir()) == sorted(FILES)
    num = len(tiny_data.valid_index)
    _, floats, int8 = once.results
    assert floats.accuracy == once.accuracy
    assert floats.figures["max_difference"] < 1e-4
    assert int8.figures["num_unlike_simulation"] <= num // 4
    assert f"of {num} images differ by at most" in once.lines[1]
    assert "onnx-int8: validation accuracy" in once.lines[3]
    assert "in floats" in once.lines[3]


def test_card_has_a_section_for_each(once):
    text = (once.folder / "README.md").read_text()
    for words in ("### onnx\n", "### onnx-int8\n", "validation accuracy, int8 (onnx-int8) | "):
        assert words in text
    assert text.count("\n- onnx\n") == 1  # a tag of both


@pytest.mark.parametrize("name", FILES)
def test_no_path_or_name_of_this_machine_is_in_the_bytes(once, name):
    content = (once.folder / "onnx" / name).read_bytes()
    places = [
        Path.home(), Path.cwd(), Path(tempfile.gettempdir()), sys.prefix, sys.base_prefix,
        Path(nas.__file__).parents[1], Path(torch.__file__).parents[1], once.folder,
    ]  # fmt: skip
    told = {str(place) for place in places if str(place) != "/"} | {socket.gethostname()}
    told |= {"File ", ".py", "site-packages", "stack_trace", "nas.exporters"}
    told |= {user for user in [getpass.getuser()] if len(user) > 4}
    assert [text for text in told if text.encode() in content] == []
    model = onnx.load(once.folder / "onnx" / name)
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)


@pytest.mark.parametrize("name", FILES)
def test_metadata_say_classes_input_and_where_it_came_from(once, name, tiny_data):
    model = onnx.load(once.folder / "onnx" / name)
    about = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(about["classes"]) == list(tiny_data.classes)
    assert json.loads(about["mean"]) == pytest.approx(tiny_data.mean)
    assert about["study"] == "my-study"
    assert about["trial"] == "3"
    assert about["parameters"] == "454"
    assert about["numbers"] == ("int8" if "int8" in name else "float32")
    (images,) = model.graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert images.type.tensor_type.shape.dim[0].dim_param


def test_verify_proves_both_again(folder):
    done = verify_export(folder)
    assert done.formats == ("pytorch", "onnx", "onnx-int8")
    assert done.not_run == ()
    assert "scores of 10 images differ by at most" in done.lines[1]
    assert "0 of 40 scores of 10 images differ" in done.lines[2]


def change_weights(path):
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda t: np.prod(t.dims))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[:8] = values.flat[:8] + 0.1 if values.dtype.kind == "f" else 255
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_changed_weights_are_found_by_the_hash_and_with_it_rewritten_by_the_scores(folder, name):
    change_weights(folder / "onnx" / name)
    with pytest.raises(VerifyError, match=f"onnx/{name} has changed"):
        verify_export(folder)
    write_sums(folder)
    with pytest.raises(VerifyError, match="scores"):
        verify_export(folder)


def test_without_onnx_runtime_verify_says_that_they_were_not_run(folder, monkeypatch):
    without(monkeypatch, "onnxruntime")
    done = verify_export(folder)
    assert done.not_run == ("onnx", "onnx-int8")
    assert done.lines[1].endswith("python -m pip install onnxruntime")


def without(monkeypatch, *absent):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in absent else find(name)
    )


def test_format_whose_packages_are_missing_says_how_to_install_them(monkeypatch):
    without(monkeypatch, "onnx", "onnxscript", "onnxruntime")
    line = "python -m pip install onnx onnxscript onnxruntime"
    with pytest.raises(ExportError, match=rf"format='onnx': .* must be installed: {line}$"):
        parse_formats("onnx")
    names, left_out = parse_formats("all")
    assert not {"onnx", "onnx-int8"} & set(names)
    assert left_out[0].startswith("onnx is left out: ")
    assert left_out[1].endswith("python -m pip install onnx onnxruntime")


def test_network_that_torch_cannot_write_is_refused_in_one_line(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2

    subject = replace(subject_of(NETWORKS["map-as-scores"]), model=Odd())
    with pytest.raises(ExportError, match=r"^torch cannot write the network as ONNX: [^\n]+$"):
        onnx_float.write(subject, tmp_path)


def drawn(space):
    """The layers of the first network that a space draws."""
    draws = draw(load_space(space), Task((1, 9, 9), 3, 3000), 1)
    return next(c for c in draws if isinstance(c, nas.Candidate)).architecture.layers


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, *SPACES])
def test_every_kind_of_layer_and_every_space_is_written_and_proved(name, tmp_path):
    subject = subject_of(NETWORKS.get(name) or drawn(name.removesuffix("-space")))
    for format in (onnx_float, onnx_int8):
        written = format.write(subject, tmp_path)
        format.check(
            tmp_path, Expected(subject.images, written.scores, subject.architecture.num_params)
        )
