"""The figures of the networks made by hand are those of the benchmark and of the space."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from nas.reports.references import REFERENCES
from nas.spaces.loader import load_space
from nas.spaces.random_trial import RandomTrial
from nas.spaces.task import Task

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "references.json"


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda r: r.name)
def test_reference_has_the_measured_accuracy_and_the_parameters_of_its_network(reference):
    runs = [
        run for run in json.loads(RESULTS.read_text())
        if (run["recipe"], run["name"]) == ("own", reference.name)
    ]  # fmt: skip
    measured = statistics.mean(run["test_accuracy"][-1] for run in runs)
    assert len(runs) == 3
    assert reference.accuracy == pytest.approx(measured, abs=6e-6)
    trial = RandomTrial(fixed={"reference": reference.name})
    candidate = load_space("references").propose(trial, Task((1, 28, 28), 10, 20_000))
    assert candidate.architecture.num_params == reference.num_params
