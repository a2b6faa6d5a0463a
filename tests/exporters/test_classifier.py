"""Files as the set's own loader reads them: the same pixels, so exactly the same scores."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nas.candidates.architecture import Architecture
from nas.candidates.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Linear, ReLU
from nas.data.dataset import split
from nas.data.folder import list_images, load_folder
from nas.data.preparation import FITS, Preparation
from nas.errors import DataError, ExportError, NasError
from nas.exporters import classifier
from nas.exporters.classifier import Classifier, list_files
from nas.exporters.provenance import Provenance
from nas.exporters.pytorch import network_source


def pictures(rng, is_colour):
    """Files of all usual kinds: name and a function that writes one."""

    def pixels(*shape, top=256):
        return rng.integers(0, top, shape)

    def eight(*shape):
        return Image.fromarray(pixels(*shape).astype(np.uint8))

    def turned(path):
        exif = Image.Exif()
        exif[0x0112] = 6
        eight(30, 20).save(path, exif=exif, quality=95)

    grey = {
        "turned.jpg": turned,
        "grey.png": lambda path: eight(24, 24).save(path),
        "grey-clear.png": lambda path: eight(25, 31, 2).save(path),
        "black-white.png": lambda path: eight(26, 40).convert("1").save(path),
    }
    colour = {
        "colour.jpg": lambda path: eight(40, 21, 3).save(path, quality=95),
        "clear.png": lambda path: eight(19, 33, 4).save(path),
        "palette.gif": lambda path: eight(30, 30, 3).quantize(16).save(path),
        "cmyk.jpg": lambda path: eight(22, 28, 3).convert("CMYK").save(path, quality=95),
    }
    return grey | colour if is_colour else grey


def deep(rng):
    def write(path):
        Image.fromarray(rng.integers(100, 40_000, (20, 30)).astype(np.uint16)).save(path)

    return {"deep1.png": write, "deep2.tif": write}


def make_folder(folder, kinds, num=4):
    """Two classes of such files."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(num):
            for file, write in kinds(rng).items():
                write(folder / name / f"{i}-{file}")
    return folder


SETS = {
    "colour": lambda rng: pictures(rng, is_colour=True),
    "grey": lambda rng: pictures(rng, is_colour=False),
    "deep": deep,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    return {name: make_folder(place / name, kinds) for name, kinds in SETS.items()}


def network(data):
    """A network for these images with some weights, in evaluation."""
    torch.manual_seed(0)
    layers = [Conv(4), BatchNorm(), ReLU(), GlobalAvgPool(), Flatten(), Linear(len(data.classes))]
    architecture = Architecture(data.input_shape, layers)
    return architecture, architecture.build().eval()


def load(folder, tmp_path, fit="stretch"):
    images = load_folder(folder, tmp_path / "cache", 16, fit=fit)
    data = split(images, Fraction(1, 4), 0)
    files = [path for path, _ in list_images(folder, is_test=False)[0]]
    return data, [files[i] for i in data.valid_index.tolist()]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", SETS)
def test_scores_of_validation_files_are_exactly_those_of_the_loader(folders, name, fit, tmp_path):
    data, files = load(folders[name], tmp_path, fit)
    _, model = network(data)
    done = Classifier(model, data.classes, data.mean, data.std, data.preparation).predict(files)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (data.mean, data.std))
    with torch.inference_mode():
        scores = model((data.images[data.valid_index].float() / 255 - mean) / std)
    assert torch.equal(done.scores, scores)
    assert [found.file for found in done.predictions] == files
    assert [found.label for found in done.predictions] == ["ab"[i] for i in scores.argmax(1)]
    assert done.unreadable == {}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", SETS)
def test_exported_file_reads_the_same_pixels(folders, name, fit, tmp_path):
    data, files = load(folders[name], tmp_path, fit)
    architecture, _ = network(data)
    made = Provenance("s", 1, name, None, 1, 1, 1, 1, {})
    source = network_source(architecture, made, data.classes, data.mean, data.std, data.preparation)
    module = {"__name__": "network", "__file__": str(tmp_path / "network.py")}
    exec(compile(source, "network.py", "exec"), module)
    for file, image in zip(files, data.images[data.valid_index], strict=True):
        assert torch.equal(module["read_image"](str(file)), image), file.name


def test_exported_file_refuses_values_that_no_training_image_had(folders, tmp_path):
    data, _ = load(folders["grey"], tmp_path)
    architecture, _ = network(data)
    made = Provenance("s", 1, "grey", None, 1, 1, 1, 1, {})
    module = {"__name__": "network", "__file__": str(tmp_path / "network.py")}
    source = network_source(architecture, made, data.classes, data.mean, data.std)
    exec(compile(source, "network.py", "exec"), module)
    with pytest.raises(ValueError, match="more than 8 bits a value"):
        module["read_image"](str(folders["deep"] / "a" / "0-deep1.png"))


@pytest.fixture
def export(folders, tmp_path):
    """A folder as an export leaves it, as far as it is read."""
    data, files = load(folders["colour"], tmp_path)
    architecture, model = network(data)
    folder = tmp_path / "winner"
    folder.mkdir()
    spec = {
        "architecture": architecture.to_json(), "classes": data.classes, "mean": data.mean,
        "std": data.std, "preparation": data.preparation.to_json(),
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    save_file(model.state_dict(), folder / "weights.safetensors")
    made = Provenance("s", 1, "colour", None, 1, 1, 1, 1, {})
    source = network_source(architecture, made, data.classes, data.mean, data.std, data.preparation)
    (folder / "network.py").write_text(source)
    expected = Classifier(model, data.classes, data.mean, data.std, data.preparation)
    return folder, expected.predict(files), files


def test_exported_folder_gives_the_same_scores(export):
    folder, expected, files = export
    assert torch.equal(Classifier.of_export(folder).predict(files).scores, expected.scores)


def test_parts_do_not_lose_or_mix_files(export, monkeypatch):
    folder, expected, files = export
    monkeypatch.setattr(classifier, "PART", 3)
    done = Classifier.of_export(folder).predict(files)
    assert [p.file for p in done.predictions] == files
    assert torch.allclose(done.scores, expected.scores, atol=1e-5)


def test_file_that_cannot_be_read_is_named_and_the_others_are_classified(export, tmp_path):
    folder, expected, files = export
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    given = [tmp_path / "broken.png", *files, tmp_path / "nothing.jpg"]
    done = Classifier.of_export(folder).predict(given)
    assert torch.equal(done.scores, expected.scores)
    assert [path.name for path in done.unreadable] == ["broken.png", "nothing.jpg"]
    rows = done.rows()
    assert [set(row) for row in rows[-2:]] == [{"file", "error"}] * 2
    assert rows[0]["class"] == done.predictions[0].label
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1)
    assert json.loads(json.dumps(rows)) == rows


def test_size_unlike_that_of_every_training_image_is_said(tmp_path):
    _, model = network(split_of(shape=(1, 8, 8)))
    made = Classifier(model, ("a", "b"), (0.1,), (0.3,), Preparation.for_network((1, 8, 8), None))
    Image.new("L", (8, 8)).save(tmp_path / "same.png")
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    assert made.predict([tmp_path / "same.png"]).notes == ()
    (note,) = made.predict([tmp_path / "same.png", tmp_path / "wide.png"]).notes
    assert note.startswith("1 file stretched to 8x8, though the network was trained on images of")


def split_of(shape):
    class Data:
        input_shape, classes = shape, ("a", "b")

    return Data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "spec.json").unlink(), "holds no spec.json: give a folder"),
        (lambda folder: (folder / "spec.json").write_text("{"), "spec.json cannot be read"),
        (lambda folder: (folder / "spec.json").write_text("{}"), "describes no classifier"),
        (lambda folder: edit(folder, classes=["a"]), "describes no classifier"),
        (lambda folder: edit(folder, mean="x"), "describes no classifier"),
        (lambda folder: edit(folder, preparation=None, mean=[0.1, 0.2]), "describes no classifier"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "export the format pytorch"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), "cannot be read"),
        (lambda folder: save_file({}, folder / "weights.safetensors"), "another network"),
    ],
)
def test_folder_that_holds_no_network_is_refused_in_one_line(export, change, why):
    folder, _, _ = export
    change(folder)
    with pytest.raises(NasError, match=why) as refused:
        Classifier.of_export(folder)
    assert "\n" not in str(refused.value)


def edit(folder, **changes):
    spec = json.loads((folder / "spec.json").read_text()) | changes
    (folder / "spec.json").write_text(json.dumps(spec))


def test_folders_stand_for_the_pictures_in_them_and_no_file_is_taken_twice(folders, tmp_path):
    folder = folders["grey"]
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("no picture")
    (tmp_path / "copy" / ".hidden.png").write_text("")
    found = list_files([tmp_path / "copy", tmp_path / "copy" / "a" / "0-grey.png"])
    assert len(found) == len(set(found)) == sum(1 for p in folder.rglob("*") if p.is_file())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        list_files([tmp_path / "empty"])
    with pytest.raises(DataError, match="no images are given"):
        list_files([])


def test_folder_without_an_export_is_refused_with_what_to_give(tmp_path):
    with pytest.raises(ExportError, match="give a folder that `nas export` has made, or a trial"):
        Classifier.of_export(tmp_path)


@pytest.mark.slow
def test_exported_file_classifies_by_itself_and_says_what_it_needs(export):
    folder, expected, files = export
    (folder / "broken.png").write_bytes(b"\x89PNG")
    names = [str(path) for path in files]

    def run(*arguments, before=""):
        start = (
            f"import sys, runpy; sys.argv[:] = sys.argv[1:]; sys.modules['nas'] = None; {before}"
        )
        code = f"{start}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
        command = [sys.executable, "-c", code, str(folder / "network.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(*names)
    assert done.returncode == 0, done.stderr
    for line, prediction in zip(done.stdout.splitlines(), expected.predictions, strict=True):
        assert line.startswith(
            f"{prediction.file}: {prediction.label} {prediction.probability:.1%}"[:-2]
        )
    done = run(str(folder / "broken.png"), names[0])
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == len(done.stderr.splitlines()) == 1
    done = run(names[0], before="sys.modules['PIL'] = None")
    assert done.stderr == "reading pictures needs Pillow: python -m pip install pillow\n"
    assert run().stderr == "usage: python network.py IMAGE...\n"
    (folder / "weights.safetensors").rename(folder / "elsewhere")
    lines = run(names[0]).stderr.splitlines()
    (folder / "elsewhere").rename(folder / "weights.safetensors")
    assert len(lines) == 1
    assert "weights.safetensors is missing: network.py reads its weights there" in lines[0]
