"""The benchmarks that take too long to run here still fit the package: each arm of a short one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.exporters.toolchain import host_compiler

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arm", ["naive", "peer", "nas-one", "nas-all", "without fused-passes"])
def test_arm_of_the_engine_benchmark_trains(arm, mnist_dir):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "engine.py", "--data-dir", mnist_dir,
         "--images", "2200", "--arm", arm, "--network", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figure = json.loads(done.stdout.splitlines()[-1])
    assert figure["accuracy"] > 0.3
    assert figure["seconds"] > 0
    assert 0 < figure.get("share_outside", 0.5) < 1
    assert figure["gflops"] > 0
    assert figure["peak_gflops"] > 0


def test_engine_benchmark_stores_each_training_and_goes_on_where_it_was_broken_off(tmp_path):
    run_beside_benchmarks(
        "import argparse, engine, json\n"
        "from pathlib import Path\n"
        f"out = Path({str(tmp_path)!r})\n"
        "begun = []\n"
        "def run_arm(arm, network, options):\n"
        "    begun.append((arm, network))\n"
        "    if len(begun) == 4:\n"
        "        raise KeyboardInterrupt\n"
        "    return {'seconds': 2.0, 'gflops': 5.0, 'peak_gflops': 50.0}\n"
        "engine.run_arm = run_arm\n"
        "options = argparse.Namespace(device='cpu', precision='fp32', ablation=None, whole=False,\n"
        "    only=[1], batch_size=128, networks=2, pairs=2, images=1100, epochs=19, out=out)\n"
        "try:\n"
        "    engine.compare(options)\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
        "path = out / 'engine-cpu-fp32.json'\n"
        "assert len(json.loads(path.read_text())['runs']) == 3\n"
        "engine.compare(options)\n"
        "runs = json.loads(path.read_text())['runs']\n"
        "assert len({engine.key(run) for run in runs}) == len(runs) == 8\n"
        "assert len(begun) == 9  # the one that was broken off is begun again\n"
        "path.write_text(path.read_text().replace('fp32', 'bf16'))\n"
        "try:\n"
        "    engine.compare(options)\n"
        "except SystemExit as refusal:\n"
        "    assert 'of another precision' in str(refusal)\n"
        "else:\n"
        "    raise AssertionError('figures of two precisions in one file')\n"
    )


def test_replay_reads_the_record():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "replay.py", "signals", "choice"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = [r for r in done.stdout.splitlines() if "schedule squeezed into 4" in r][:1]
    assert float(row.split("|")[3]) > 0.5


def test_checks_for_a_gpu_save_what_they_find(tmp_path):
    out = tmp_path / "checks.json"
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", "checks", "--only", "card", "memory",
         "--device", "cpu", "--out", out],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["card"]["torch"]
    assert found["memory"]["skipped"] == "no card"


def test_random_command_lines_run_or_are_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "arguments.py", "--count", "150", "--seed", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = {end: int(num) for num, end in (part.split() for part in done.stdout.split(", "))}
    assert set(ends) == {"accepted", "refused"}
    assert min(ends.values()) > 30


def run_beside_benchmarks(code):
    path = f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_recorded_candidates_are_drawn_again_as_they_were():
    """Or the record would go on with networks of another kind under the same numbers."""
    run_beside_benchmarks(
        "import curves\n"
        "from dataclasses import replace\n"
        "from proposals import candidate_of\n"
        "from recorded_space import RandomTrial, suggest\n"
        "runs = curves.read()\n"
        "drawn = dict(enumerate(curves.candidates(200))) | {-1: curves.candidate_of(-1)}\n"
        "for candidate, params in drawn.values():\n"
        "    assert suggest(RandomTrial(params), curves.TASK) == candidate\n"
        "assert {run['candidate'] for run in runs} == set(drawn)\n"
        "for run in runs:\n"
        "    candidate, params = drawn[run['candidate']]\n"
        "    recipe = replace(candidate.recipe, epochs=run['epochs'])\n"
        "    candidate, recorded = replace(candidate, recipe=recipe), candidate_of(run)\n"
        "    assert candidate == recorded and params == run['params']\n"
        "    assert candidate.fingerprint == recorded.fingerprint\n"
        "    counts = candidate.architecture.num_params, candidate.architecture.num_macs\n"
        "    assert counts == (run['num_params'], run['num_macs'])\n"
    )


def test_networks_of_the_engine_benchmark_are_those_that_were_measured():
    run_beside_benchmarks(
        "import arms, engine, json\n"
        "kept = json.loads((engine.RESULTS / 'engine-cpu-bf16.json').read_text())['networks']\n"
        "drawn = arms.networks(len(kept))\n"
        "assert [network.fingerprint for network in drawn] == [k['fingerprint'] for k in kept]\n"
    )


def test_each_way_to_search_trains_as_many_epochs_as_it_is_given(mnist_dir):
    code = (
        "import sys, optuna\n"
        "from dataclasses import replace\n"
        "from fractions import Fraction\n"
        "from pathlib import Path\n"
        "from nas.data import source_of, split\n"
        "from nas.searching import pruners\n"
        "from ways import Meter, search\n"
        "pruners.FIRST_RUNG = 300\n"
        "optuna.logging.set_verbosity(optuna.logging.ERROR)\n"
        "images = source_of('mnist', data_dir=Path(sys.argv[1])).training_images()\n"
        "data = split(images, Fraction(1, 12), seed=0)\n"
        "train, valid = data.train_index[:300], data.valid_index[:100]\n"
        "data = replace(data, train_index=train, valid_index=valid)\n"
        "for arm in ('plain', 'random', 'optuna', 'blind', 'nas'):\n"
        "    study, meter = optuna.create_study(direction='maximize'), Meter(22)\n"
        "    ends = search(study, arm, 0, meter, data)\n"
        "    print(arm, meter.num_epochs, len(ends), len(study.trials))\n"
    )
    path = f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"
    done = subprocess.run(
        [sys.executable, "-c", code, mnist_dir], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 5
    for arm, num_epochs, num_ends, num_trials in rows:
        assert num_epochs == "22"
        if arm in ("blind", "nas"):  # the first sixteen are trained for an epoch each
            assert int(num_trials) >= 17
        else:
            assert int(num_ends) >= 1


def test_spaces_are_compared_under_a_budget(mnist_dir):
    run_beside_benchmarks(
        "import time\n"
        "from argparse import Namespace\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "import search\n"
        "import spaces\n"
        "options = Namespace(data_dir=Path(r'" + str(mnist_dir) + "'), images=300, trainings=1,\n"
        "                    budget=1000, seeds=1)\n"
        "search.prepare(options)\n"
        "for name in ('data', 'truth'):\n"
        "    few = spaces.STATE[name].valid_index[:200]\n"
        "    spaces.STATE[name] = replace(spaces.STATE[name], valid_index=few)\n"
        "runs = [spaces.run_space(space, 0, time.time() + 99) for space in ('tied', 'residual')]\n"
        "assert all(0.3 < run['answers'][-1]['truth'] <= 1 for run in runs), runs\n"
        "assert all(run['answers'][-1]['num_params'] < 1000 for run in runs)\n"
        "assert spaces.run_space('tied', 1, 0.0) is None\n"
        "assert any('ahead at the end' in line for line in spaces.table(runs, options))\n"
    )


@pytest.mark.skipif(host_compiler() is None, reason="no C compiler (cc, gcc, clang)")
def test_random_networks_of_every_space_compute_the_same_bytes_in_c():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "exports.py", "random", "--count", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "| 0 | 200 | 0 |" in line]
    assert len(rows) == 5
