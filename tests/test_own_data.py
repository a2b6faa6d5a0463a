"""Images of one's own, from the search to the certificate and the export."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

import nas
from nas.cli.main import main
from nas.storage.studies import study_data, study_facts

IMAGES = (load_digits().images * 255 / 16).round().astype(np.uint8)
LABELS = load_digits().target
TRAIN, TEST = (IMAGES[:1200], LABELS[:1200]), (IMAGES[1200:], LABELS[1200:])
TINY = {"budget": 2_000, "trials": 1, "epochs": 1, "workers": 1, "pruner": "none"}
AGAIN = {"top": 1, "seeds": 1, "workers": 1, "callback": lambda line: None}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, trained_here):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def search(**data):
    return nas.search(**TINY, **data, callback=lambda event: None)


def as_dataset(images, labels):
    return TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "num_test"),
    [
        ({"dataset": (IMAGES, LABELS)}, 304),
        ({"dataset": as_dataset(*TRAIN), "test": as_dataset(*TEST)}, 597),
        ({"dataset": as_dataset(*TRAIN), "test": TEST}, 597),
    ],
    ids=["arrays", "Dataset and test", "Dataset and arrays"],
)
def test_data_in_memory_goes_from_search_to_export(data, num_test, folder):
    study = search(**data)
    facts = study_data(study.optuna_study)
    assert facts.input_shape == (1, 8, 8)
    assert facts.classes == tuple("0123456789")
    kept = 0 if "test" in data else 304
    given = 1200 if "test" in data else 1797
    assert (facts.num_train + facts.num_valid, facts.num_test) == (given - kept, num_test)
    assert study_facts(study.optuna_study).test_sha256

    found = nas.certify(study, **data, **AGAIN)
    assert found.best.number == study.best.number
    assert len(found.runs[-1].is_right) == num_test
    done = nas.export(study, folder / "winner", **data)
    assert done.is_real
    assert done.accuracy == pytest.approx(study.best.accuracy)
    assert search(**data).name == study.name  # and goes on with it
    assert len(nas.list_studies()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["own keys", "keras"])
def test_npz_goes_from_search_to_export_on_the_command_line(layout, folder, capsys):
    arrays = {"images": IMAGES, "labels": LABELS}
    if layout == "keras":
        names = ("x_train", "y_train", "x_test", "y_test")
        arrays = dict(zip(names, (*TRAIN, *TEST), strict=True))
    np.savez_compressed("photos.npz", **arrays)
    options = ["--budget", "2000", "--trials", "1", "--epochs", "1", "--workers", "1"]
    assert main(["search", "--dataset", "photos.npz", *options]) == 0
    assert "study blocks-photos-2000: space blocks on photos" in capsys.readouterr().out
    (folder / "elsewhere").mkdir()
    where = ["--storage", f"sqlite:///{folder}/studies.db"]
    os.chdir("elsewhere")  # the path is remembered
    assert main(["certify", "--top", "1", "--seeds", "1", "--workers", "1", *where]) == 0
    num_test = 597 if layout == "keras" else 304
    assert f"{num_test} test images" in " ".join(capsys.readouterr().out.split())
    assert main(["export", "--out", "winner", *where]) == 0
    assert "validation images" in capsys.readouterr().out


@pytest.mark.slow
def test_data_in_memory_is_needed_again_from_python_and_no_other(folder, capsys):
    study = search(dataset=TRAIN, test=TEST)
    capsys.readouterr()
    needed = (
        f"study '{study.name}' searched on images that were given in Python: give the same again, "
        "from Python, with dataset=... and test=..."
    )
    assert main(["certify"]) == 2
    assert capsys.readouterr().err == f"nas: {needed}\n"
    assert main(["export", "--out", "winner"]) == 0
    out, err = capsys.readouterr()
    assert err == f"nas: {needed}; the export is checked on random images\n"
    assert "256 random images" in out

    changed = TRAIN[0].copy()
    changed[3, 3, 3] ^= 1
    other_labels = np.array([*TEST[1][:-1], (TEST[1][-1] + 1) % 10])
    words = [np.array([f"c{label}" for label in labels]) for _, labels in (TRAIN, TEST)]
    lost = f"are not those that study '{study.name}' had"
    other_images = f"arrays changed since the search: images or labels {lost}"
    other_tests = f"arrays changed since the search: the test images {lost}"
    refused = [
        ({}, needed),
        ({"dataset": TRAIN}, needed.replace("dataset=... and ", "")),
        ({"dataset": (changed, TRAIN[1]), "test": TEST}, other_images),
        ({"dataset": TRAIN, "test": (TEST[0], other_labels)}, other_tests),
        ({"dataset": (TRAIN[0], words[0]), "test": (TEST[0], words[1])}, other_images),
    ]
    for data, message in refused:
        with pytest.raises(nas.NasError) as error:
            nas.certify(study, **data, **AGAIN)
        assert str(error.value) == message
        if "dataset" in data:
            with pytest.raises(nas.NasError) as error:
                nas.export(study, folder / "other", **data)
            assert str(error.value) == message
    assert not (folder / "other").exists()

    with pytest.raises(nas.NasError, match="cannot go on: the images to test on changed"):
        search(dataset=TRAIN, test=(TEST[0], other_labels))


@pytest.mark.slow
def test_test_images_are_left_out_where_the_search_kept_its_own_back():
    study = search(dataset=(IMAGES, LABELS))
    with pytest.raises(nas.NasError, match="was given no images to test on: leave out test"):
        nas.certify(study, dataset=(IMAGES, LABELS), test=TEST, **AGAIN)


@pytest.mark.slow
def test_check_takes_arrays():
    found = nas.check(budget=2_000, dataset=TRAIN, test=TEST, draws=10, trials=1, workers=1)
    assert found.dataset.startswith("arrays-")
    assert found.num_train + found.num_valid == 1200


@pytest.mark.slow
def test_ladder_takes_arrays():
    options = {name: value for name, value in TINY.items() if name != "budget"}
    found = nas.ladder([1_000, 2_000], dataset=TRAIN, test=TEST, callback=lambda e: None, **options)
    assert [study.name.split("-")[1] for study in found.studies] == ["arrays", "arrays"]


def test_bad_data_is_refused_before_anything_is_written(folder):
    with pytest.raises(nas.NasError, match="images are float64 from 0 to 16, which are not 0 to"):
        search(dataset=(load_digits().images, LABELS))
    with pytest.raises(nas.NasError, match="class '7' has 1 image, 1 of them kept back"):
        search(dataset=(IMAGES[:2], [7, 8]))
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_page_and_confusion_matrix_take_the_data_again(folder):
    study = search(dataset=TRAIN, test=TEST)
    lines = []
    nas.report(study, dataset=TRAIN, test=TEST, callback=lines.append)
    assert lines == []
    nas.plot(study, "confusion", "confusion.svg", dataset=TRAIN, test=TEST)
    assert (folder / "confusion.svg").stat().st_size > 1000
    nas.report(study, callback=lines.append)
    assert lines[0].endswith(f"the page of {study.name} has no confusion matrix")
