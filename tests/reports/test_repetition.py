"""The command that repeats a search: it does, and says nothing of this machine."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from PIL import Image

import nas
from nas.cli.main import main
from nas.reports.repetition import repetition
from nas.storage.studies import study_facts


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of 12 x 9 pixels, in which class folders differ by their brightness."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "secret home" / "my photos"
    for name, level in (("dark", 40), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = (level + rng.integers(-30, 30, (9, 12))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


@pytest.mark.slow
def test_command_of_a_card_repeats_the_search_beside_its_data(
    storage, pictures, tmp_path, monkeypatch, capsys
):
    study = nas.search(
        budget=3_000, dataset=pictures, image_size=10, fit="crop", valid_share="1/4", split_seed=3,
        trials=2, epochs=2, pruner="none", sampler="random", seed=5, max_macs=900_000, workers=1,
        device="cpu", storage=storage, callback=print, data_dir=tmp_path / "cache",
    )  # fmt: skip
    line = repetition(study.optuna_study)
    assert line == (
        "nas search --budget 3000 --dataset './my photos' --space blocks --max-macs 900000 "
        "--epochs 2 --sampler random --pruner none --seed 5 --image-size 10 --fit crop "
        "--valid-share 1/4 --split-seed 3 --trials 2 --study 'blocks-my photos-3000-again'"
    )
    nas.export(study.best, "out", callback=print, data_dir=tmp_path / "cache")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    where = "in a folder that holds `my photos`"
    assert f"- Trial {study.best.number} of `{line}`, {where}." in card
    for path in (tmp_path / "out").iterdir():
        assert not re.search(rb"secret home", path.read_bytes())

    monkeypatch.chdir(pictures.parent)
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "cache"))
    assert main([*shlex.split(line)[1:], "--workers", "1", "--device", "cpu"]) == 0
    again = nas.load_study(f"{study.name}-again", storage="sqlite:///studies.db")
    assert study_facts(again.optuna_study) == study_facts(study.optuna_study)
    assert [t.accuracy for t in again.trials] == [t.accuracy for t in study.trials]


@pytest.mark.slow
def test_images_of_python_have_no_command_that_repeats_the_search(storage):
    images, labels = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 2
    study = nas.search(
        budget=2_000,
        dataset=(images, labels),
        trials=1,
        epochs=1,
        workers=1,
        storage=storage,
        callback=print,
    )
    assert repetition(study.optuna_study) is None
