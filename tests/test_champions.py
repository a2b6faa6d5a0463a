"""The champions of this repository are what their table says; the script that makes them works."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import nas
from nas.candidates.architecture import Architecture
from nas.certification.records import Protocol, last_certified, read_runs
from nas.data import source_of, split
from nas.storage.studies import study_facts

ROOT = Path(__file__).parents[1]
CHAMPIONS = sorted(path.parent for path in (ROOT / "champions").glob("*/spec.json"))


@pytest.fixture(params=CHAMPIONS, ids=lambda folder: folder.name)
def champion(request):
    """The folder of a champion, and the study that found it."""
    storage = f"sqlite:///{ROOT}/champions/searches.db"
    return request.param, nas.load_study(request.param.name, storage=storage)


def names_of(folder: Path):
    """What the `network.py` in that folder defines, for its users."""
    names = {"__file__": str(folder / "network.py"), "__name__": "network"}
    exec((folder / "network.py").read_text(encoding="utf-8"), names)
    return names


def test_champion_rebuilds_from_its_record_and_is_under_its_budget(champion):
    folder, study = champion
    number = last_certified(study.optuna_study)
    candidate = study.trial(number).record.candidate
    built = Architecture(candidate.architecture.input_shape, candidate.architecture.layers).build()
    shipped = names_of(folder)["load"]()
    count = sum(parameter.numel() for parameter in shipped.parameters())
    assert count == sum(parameter.numel() for parameter in built.parameters())
    assert count < study_facts(study.optuna_study).budget
    assert f"| {count:,} |" in (ROOT / "champions" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_champion_reaches_its_accuracy(champion, mnist_dir):
    folder, study = champion
    number = last_certified(study.optuna_study)
    first = read_runs(study.optuna_study, Protocol.HONEST, number)[0]
    source = source_of("mnist", data_dir=mnist_dir)
    test = source.test_images(split(source.training_images(), Fraction(1, 12), seed=0))
    names = names_of(folder)
    network, normalise = names["load"](), names["normalise"]
    with torch.inference_mode():
        found = torch.cat([network(normalise(part)).argmax(1) for part in test.images.split(500)])
    assert (found == test.labels).double().mean().item() == pytest.approx(first.accuracy, abs=1e-4)


@pytest.mark.slow
def test_script_exports_what_is_certified_and_draws_it(tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    study = nas.search(
        budget=2_000, dataset="digits", trials=1, epochs=2, workers=1, storage=storage,
        study="digits-2k", callback=print,
    )  # fmt: skip
    readme = tmp_path / "champions" / "README.md"
    readme.parent.mkdir()
    readme.write_text("# Before\n<!-- made by benchmarks/champions.py -->\n<!-- end -->\nafter\n")
    script = [sys.executable, ROOT / "benchmarks" / "champions.py", "--storage", storage,
              "--out", readme.parent]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(script, env=environment, check=True)
    assert "digits-2k" not in readme.read_text()  # not certified

    certified = nas.certify(study, top=1, seeds=2, workers=1, callback=print)
    subprocess.run(script, env=environment, check=True)
    mean = sum(run.accuracy for run in certified.runs) / 2
    assert f"{100 * mean:.3f} ± " in readme.read_text()
    assert readme.read_text().startswith("# Before\n")
    assert readme.read_text().endswith("-->\nafter\n")
    assert nas.verify(readme.parent / "digits-2k").lines
    for name in ("accuracy.svg", "accuracy-narrow.svg"):
        svg = (readme.parent / name).read_text()
        assert f"{study.best.num_params:,} parameters {mean:.2%}" in svg
