"""A folder of photographs from the command line: check, search, go on, certify, export."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from nas.cli.main import main
from nas.data.folder import list_images
from nas.data.picture import read_picture
from nas.data.preparation import Preparation
from nas.metrics import percent

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_here")]

QUICK = ["--epochs", "4", "--pruner", "none", "--workers", "1", "--device", "cpu"]
SEARCH = ["search", "--budget", "4000", "--dataset", "photos", *QUICK]
DECIDED = "train/ 90, valid/ 12, test/ 13 images of 3 classes; the search validates on valid/"
HEIC = "1 file could not be read (HEIC, which needs: python -m pip install pillow-heif): "
TWIN = "1 file of test/ also in train/, byte for byte: test/dot/copy.jpg"


def photo(rng, name):
    """Wide or high, turned by EXIF now and then; the drawing is the same as people see it."""
    height, width = ((36, 54), (48, 30))[int(rng.integers(2))]
    pixels = rng.integers(90, 130, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    shapes = {
        "dot": (y - height / 2) ** 2 + (x - width / 2) ** 2 < 64,
        "rows": y % 12 < 4,
        "columns": x % 12 < 4,
    }
    pixels[shapes[name]] = (210, 60, 40)
    image, exif = Image.fromarray(pixels.astype(np.uint8)), Image.Exif()
    if rng.integers(2):
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    return image, exif


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    rng = np.random.default_rng(0)
    for part, num in (("train", 30), ("valid", 4), ("test", 4)):
        for name in ("dot", "rows", "columns"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(num):
                image, exif = photo(rng, name)
                image.save(folder / f"{i:02}.jpg", quality=95, exif=exif)
    folder = tmp_path / "photos" / "train" / "dot"
    shutil.copy(folder / "00.jpg", tmp_path / "photos" / "test" / "dot" / "copy.jpg")
    (folder / "new.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    return tmp_path / "photos"


def test_photographs_go_all_the_way_as_they_were_prepared(photos, tmp_path, capsys):
    search = [*SEARCH, "--image-size", "16", "--fit", "crop", "--json"]
    assert main([*search, "--trials", "1"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes[:2] == [DECIDED, f"{HEIC}train/dot/new.heic"]
    assert [note.partition(",")[0] for note in notes[2:3]] == ["only 12 images to validate on"]
    started = next(event for event in events if event["event"] == "search_started")
    assert (started["num_train"], started["num_valid"]) == (90, 12)

    # The study remembers how the images were brought to their size.
    assert main([*SEARCH, "--trials", "2"]) == 0
    assert "continuing study blocks-photos-4000" in capsys.readouterr().out
    for other, said in (
        (["--fit", "pad"], "--fit was crop, now it is pad"),
        (["--image-size", "16", "--fit", "pad"], "--fit was crop, now it is pad"),
        (["--image-size", "20"], "--image-size was 16, now it is 20"),
    ):
        assert main([*SEARCH, "--trials", "3", *other]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    assert main(["certify", "--top", "1", "--seeds", "1", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    for line in (
        DECIDED,
        TWIN,
        "to be tested, the best is trained on all 102 images: the 12 to validate on, too",
    ):
        assert out.count(line) == 1
    assert "then 13 test images" in out

    # Whoever has the export alone can prepare other images in the same way.
    assert main(["export", "--out", "winner"]) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "winner" / "spec.json").read_text())["preparation"]
    assert (record["fit"], record["keeps_ratio"], record["resampling"]) == (
        "crop",
        True,
        "bilinear",
    )
    source = (tmp_path / "winner" / "network.py").read_text()
    assert "cropped to their middle" in source
    spec = importlib.util.spec_from_file_location("network", tmp_path / "winner" / "network.py")
    network = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(network)
    preparation = Preparation.from_json(record)
    files, _ = list_images(photos, is_test=False)
    valid = [path for path, _ in files if "valid" in path.parts]
    images = [torch.from_numpy(preparation.apply(read_picture(path))) for path in valid]
    with torch.inference_mode():
        labels = network.load()(network.normalise(torch.stack(images))).argmax(1).tolist()
    right = [network.CLASSES[label] for label in labels]
    accuracy = np.mean([name == path.parent.name for name, path in zip(right, valid, strict=True)])
    assert f"validation accuracy {percent(accuracy, 12)}" in printed

    # So does `nas predict`, with the export and with the trial.
    printed = []
    for network in ("winner", "best"):
        assert main(["predict", network, *map(str, valid), "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert [row["class"] for row in printed[0]] == right
    assert main(["predict", "winner", "photos/valid", "photos/train/dot/new.heic"]) == 1
    done = capsys.readouterr()
    assert len(done.out.splitlines()) == len(valid)
    assert done.err.startswith("nas: photos/train/dot/new.heic could not be read (HEIC")


def test_check_says_what_was_decided_and_left_out(capsys):
    arguments = ["--budget", "4000", "--dataset", "photos", "--image-size", "16", "--draws", "10"]
    assert main(["check", *arguments, "--epochs", "1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        DECIDED,
        f"{HEIC}train/dot/new.heic",
        "102 images stretched to 16x16, whatever the shape: --fit crop or --fit pad keeps it",
    ]
