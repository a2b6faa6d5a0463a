"""The exported folder and its check in a clean process."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from optuna.trial import TrialState
from safetensors.torch import load_file

from nas.candidates.candidate import Candidate
from nas.candidates.recipe import Recipe
from nas.errors import ExportError, StudyError
from nas.exporters import c, c_source, contract, export_trial, subject
from nas.exporters.check import check_export
from nas.exporters.quantize import quantize
from nas.exporters.toolchain import host_compiler
from nas.storage.studies import DataFacts
from nas.storage.trials import TrialRecord
from nas.training import train


@pytest.fixture(scope="module")
def trained(tiny_data, tiny_architecture):
    """A trained trial: its record, weights and the facts of its images."""
    recipe = Recipe(epochs=2, batch_size=32)
    result = train(tiny_architecture, recipe, tiny_data, seed=1)
    candidate = Candidate(tiny_architecture, recipe)
    record = TrialRecord(
        number=3, state=TrialState.COMPLETE, valid_accuracy=result.history[-1].valid_accuracy,
        reason=None, detail="", params={}, num_params=tiny_architecture.num_params,
        num_macs=tiny_architecture.num_macs,
        spec={"architecture": tiny_architecture.to_json(), "recipe": recipe.to_json()},
        fingerprint=candidate.fingerprint, seed=1, epochs=2, history=result.history, rungs=(),
        result=None, continues=None, train_seconds=1.0, device="cpu", versions={"nas": "0"},
    )  # fmt: skip
    facts = DataFacts(
        "tiny", None, str(Fraction(1, 4)), 0, tiny_data.input_shape, tiny_data.classes,
        tiny_data.mean, tiny_data.std, len(tiny_data.train_index), len(tiny_data.valid_index),
    )  # fmt: skip
    return record, result.state_dict, facts


def test_export_holds_code_weights_and_spec_and_measures_the_recorded_accuracy(
    trained, tiny_data, tmp_path
):
    record, weights, facts = trained
    done = export_trial(record, weights, facts, "s", tiny_data, tmp_path / "out")
    assert {p.name for p in done.folder.iterdir()} == {
        "network.py", "weights.safetensors", "spec.json", "README.md", "vectors.safetensors",
        "SHA256SUMS",
    }  # fmt: skip
    assert done.accuracy == pytest.approx(record.valid_accuracy)
    assert done.is_real
    assert done.num_checked == len(tiny_data.valid_index)
    spec = json.loads((done.folder / "spec.json").read_text())
    assert spec["num_params"] == record.num_params
    assert spec["fingerprint"] == record.fingerprint
    assert spec["from"]["trial"] == 3


def test_whoever_may_read_one_file_may_read_all(trained, tiny_data, tmp_path):
    done = export_trial(trained[0], trained[1], trained[2], "s", tiny_data, tmp_path / "out")
    assert len({path.stat().st_mode for path in done.folder.iterdir() if path.is_file()}) == 1


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """An export without the images, for tests that only look."""
    record, weights, facts = trained
    out = tmp_path_factory.mktemp("plain") / "out"
    return export_trial(record, weights, facts, "s", None, out)


def test_export_without_the_images_is_checked_on_random_ones(plain):
    assert not plain.is_real
    assert plain.accuracy is None
    assert plain.num_checked > 0


def test_existing_folder_is_replaced_only_when_forced_and_only_if_it_is_an_export(
    trained, plain, tmp_path
):
    record, weights, facts = trained
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(ExportError):
            export_trial(record, weights, facts, "s", None, out, force=force)
    assert (out / "precious.txt").read_text() == "mine"
    shutil.copytree(plain.folder, tmp_path / "new")
    with pytest.raises(ExportError, match="force=True"):
        export_trial(record, weights, facts, "s", None, tmp_path / "new")
    export_trial(record, weights, facts, "s", None, tmp_path / "new", force=True)
    (tmp_path / "new" / "notes.txt").write_text("mine, too")
    with pytest.raises(ExportError, match="holds more than an export"):
        export_trial(record, weights, facts, "s", None, tmp_path / "new", force=True)


def test_trial_that_was_never_trained_is_refused(trained, tmp_path):
    record, weights, facts = trained
    rejected = replace(record, spec=None)
    with pytest.raises(ExportError, match="never trained"):
        export_trial(rejected, weights, facts, "s", None, tmp_path / "out")


def test_weights_of_another_network_are_refused_in_one_line(trained, tmp_path):
    record, weights, facts = trained
    name = next(iter(weights))
    for wrong in (weights | {name: torch.ones(2, 3)}, {name: weights[name]}, {}):
        with pytest.raises(StudyError, match=r"^the weights of trial 3 are [^\n]+$"):
            export_trial(record, wrong, facts, "s", None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_failed_check_leaves_nothing_behind(trained, tmp_path, monkeypatch):
    def fail(*args):
        raise ExportError("no")

    monkeypatch.setattr("nas.exporters.pytorch.check_export", fail)
    record, weights, facts = trained
    with pytest.raises(ExportError):
        export_trial(record, weights, facts, "s", None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def exported(trained, plain, tmp_path):
    """A copy of it, images with scores that are not its own, and its number of parameters."""
    record, _, facts = trained
    folder = shutil.copytree(plain.folder, tmp_path / "out")
    images = torch.zeros(2, *facts.input_shape, dtype=torch.uint8)
    return folder, images, torch.zeros(2, len(facts.classes)), record.num_params


def test_check_notices_other_scores(exported):
    with pytest.raises(ExportError, match="scores images differently"):
        check_export(*exported)


def test_check_notices_another_size(exported):
    folder, images, scores, num_params = exported
    with pytest.raises(ExportError, match=f"instead of {num_params + 1:,}"):
        check_export(folder, images, scores, num_params + 1)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["import nas", "from nas.candidates.layers import Conv", "1 / 0"])
def test_check_notices_code_that_needs_nas_or_does_not_run(exported, line):
    folder, images, scores, num_params = exported
    (folder / "network.py").write_text(line + "\n" + (folder / "network.py").read_text())
    with pytest.raises(ExportError, match="does not run by itself"):
        check_export(folder, images, scores, num_params)


def test_check_notices_weights_cut_short(exported):
    folder, images, scores, num_params = exported
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ExportError, match="does not run by itself"):
        check_export(folder, images, scores, num_params)


# Several formats


@pytest.fixture(autouse=True)
def no_simulated_processor(monkeypatch):
    """tests/exporters/test_c.py has what runs there."""
    monkeypatch.setattr(c, "measure_on_cortex_m4", lambda folder: "not measured: test")


CC = pytest.mark.skipif(host_compiler() is None, reason="no C compiler (cc, gcc, clang)")


@CC
def test_formats_stand_side_by_side_and_each_is_measured(trained, tiny_data, tmp_path):
    record, weights, facts = trained
    done = export_trial(
        record, weights, facts, "s", tiny_data, tmp_path / "out", formats=("pytorch", "c"),
        calibration=100,
    )  # fmt: skip
    assert {"network.py", "c"} <= {p.name for p in done.folder.iterdir()}
    assert [result.name for result in done.results] == ["pytorch", "c"]
    int8 = done.results[1]
    assert int8.figures["calibration_images"] == 100
    assert int8.figures["num_compared"] == len(tiny_data.valid_index)
    assert abs(int8.accuracy - done.accuracy) < 0.1
    spec = json.loads((done.folder / "spec.json").read_text())
    assert spec["formats"]["c"]["accuracy"] == int8.accuracy
    assert any("0 of 240 bytes" in line for line in done.lines)


def test_format_that_is_not_asked_for_leaves_nothing(trained, tiny_data, tmp_path):
    record, weights, facts = trained
    done = export_trial(record, weights, facts, "s", tiny_data, tmp_path / "o", formats=("c",))
    assert not (done.folder / "network.py").exists()
    assert (done.folder / "c" / "net.c").is_file()


def test_integers_without_training_images_are_refused_and_nothing_is_left(trained, tmp_path):
    record, weights, facts = trained
    with pytest.raises(ExportError, match="training images set the ranges"):
        export_trial(record, weights, facts, "s", None, tmp_path / "out", formats=("c",))
    assert list(tmp_path.iterdir()) == []


@CC
def test_code_that_computes_other_bytes_is_not_exported(trained, tiny_data, tmp_path, monkeypatch):
    def source(network, *args):
        last = replace(network.ops[-1], offsets=network.ops[-1].offsets + 2**16)
        return c_source.source(replace(network, ops=(*network.ops[:-1], last)), *args)

    monkeypatch.setattr(c, "source", source)
    record, weights, facts = trained
    with pytest.raises(
        ExportError, match=r"^the C code fails on vectors.h: \d+ of 40 bytes differ$"
    ):
        export_trial(record, weights, facts, "s", tiny_data, tmp_path / "out", formats=("c",))
    assert list(tmp_path.iterdir()) == []


def test_loss_of_accuracy_is_said_with_what_to_do(trained, tiny_data, tmp_path, monkeypatch):
    def coarse(graph, images, mean, std):
        network = quantize(graph, images, mean, std)
        return replace(network, weights={k: v >> 7 for k, v in network.weights.items()})

    monkeypatch.setattr(contract, "quantize", coarse)
    record, weights, facts = trained
    done = export_trial(
        record, weights, facts, "s", tiny_data, tmp_path / "out", formats=("c",), calibration=20
    )
    assert done.accuracy - done.results[0].accuracy > 0.002
    assert re.search(r"points less accurate .*; try calibration=80 \(it was 20\)", done.notes[0])
    assert done.notes[0].split("%")[0] in (done.folder / "README.md").read_text()


def test_calibration_on_no_image_is_refused(trained, tiny_data, tmp_path):
    record, weights, facts = trained
    with pytest.raises(ExportError, match="calibration=0"):
        export_trial(record, weights, facts, "s", tiny_data, tmp_path / "o", calibration=0)


def test_stored_images_are_of_several_classes_whatever_their_order(trained, tiny_data, tmp_path):
    record, weights, facts = trained
    valid = tiny_data.valid_index
    by_class = replace(tiny_data, valid_index=valid[tiny_data.labels[valid].argsort()])
    done = export_trial(record, weights, facts, "s", by_class, tmp_path / "out", formats=("c",))
    stored = load_file(done.folder / "vectors.safetensors")["c"]
    assert len(stored) == 10
    assert len(set(stored.argmax(1).tolist())) >= 3
    assert done.accuracy == pytest.approx(record.valid_accuracy)


def test_large_networks_are_compared_on_fewer_images_and_that_is_said(
    trained, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(subject, "MOST_MACS", 30 * trained[0].candidate.architecture.num_macs)
    monkeypatch.setattr(subject, "LEAST_COMPARED", 4)
    record, weights, facts = trained
    done = export_trial(record, weights, facts, "s", tiny_data, tmp_path / "c", formats=("c",))
    assert done.num_checked == 30
    assert "on 30 images" in (done.folder / "README.md").read_text()
