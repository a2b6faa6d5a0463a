"""A study brought to another database: all of it, but for what names a machine."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from nas.certification.records import Protocol, read_runs, record_run
from nas.storage.artifacts import WeightsStore, default_artifact_dir
from nas.storage.database import open_storage
from nas.storage.leases import Lease
from nas.storage.studies import open_study, space_source, study_data, study_facts
from nas.storage.trials import Rung, read_trials, record_result
from tests.certification.test_records import make_run
from tests.reports.studies import make_study

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "bring_home.py"
BEST = Rung(19, 0.001, 0.9999, 9.5)
WEIGHTS, CERTIFIED = {"0.weight": torch.arange(4.0)}, {"0.weight": torch.ones(4)}


@pytest.fixture
def urls(tmp_path):
    for name in ("away", "home"):
        (tmp_path / name).mkdir()
    return [f"sqlite:///{tmp_path}/{name}/studies.db" for name in ("away", "home")]


@pytest.fixture
def away(urls):
    """A search on another machine, with the weights of a trial and a certificate with its own."""
    study = make_study(5, storage=open_storage(urls[0], create=True), stop=0.5)
    store = WeightsStore(study, default_artifact_dir(urls[0]))
    trial = Lease(study).ask()
    store.keep(trial, WEIGHTS, BEST)
    record_result(trial, BEST)
    study.tell(trial, BEST.valid_accuracy)
    record_run(
        study, make_run(Protocol.HONEST, 5, artifact_id=store.save(CERTIFIED, "trial-5-honest-0"))
    )
    (store.artifact_dir / "of-another").write_bytes(b"")
    return study


def test_study_comes_with_its_trials_certificates_and_weights(urls, away):
    assert runpy.run_path(str(SCRIPT))["bring"](urls[0], "s", urls[1]) == 2
    Path(urls[0].removeprefix("sqlite:///")).unlink()
    home = open_study(open_storage(urls[1]), "s")
    assert read_trials(home) == read_trials(away)
    for read in (study_facts, study_data, space_source):
        assert read(home) == read(away)
    (run,), (before,) = (read_runs(study, Protocol.HONEST, 5) for study in (home, away))
    assert (run.accuracy, run.history) == (before.accuracy, before.history)
    store = WeightsStore(home, default_artifact_dir(urls[1]))
    assert len(list(store.artifact_dir.iterdir())) == 2
    assert torch.equal(store.load(5)["0.weight"], WEIGHTS["0.weight"])
    assert torch.equal(store.read(run.artifact_id)["0.weight"], CERTIFIED["0.weight"])


def test_names_of_machines_stay_behind(urls, away):
    runpy.run_path(str(SCRIPT))["bring"](urls[0], "s", urls[1])
    names = open_study(open_storage(urls[1]), "s").user_attrs.keys()
    assert {name for name in away.user_attrs if name not in names} == {
        name for name in away.user_attrs if name.startswith("process:")
    }
    assert len(away.user_attrs) == len(names) + 1
