"""Event files, read back as TensorBoard reads them."""

from __future__ import annotations

import pytest

import nas
from nas.cli.main import main
from nas.errors import NasError
from nas.metrics import EpochMetrics
from nas.reports.tensorboard import TensorBoard
from nas.searching.events import EpochEnded, SearchStarted, TrialEnded, TrialStarted
from nas.storage.reasons import Reason

STARTED = SearchStarted("s", "blocks", "mnist", 10, 2, "cpu", 1, 99, "", 5, 3, {}, None, None, None)


@pytest.fixture
def tensorboard():
    return pytest.importorskip("tensorboard")


def read(folder):
    """Scalars of a run by tag, as (step, value), and the values of its parameters."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run = EventAccumulator(str(folder)).Reload()
    tags = run.Tags()["scalars"]
    scalars = {tag: [(e.step, pytest.approx(e.value)) for e in run.Scalars(tag)] for tag in tags}
    values = {}
    for content in run.PluginTagToContent("hparams").values() if _has_hparams(run) else ():
        data = HParamsPluginData.FromString(content)
        for name, value in data.session_start_info.hparams.items():
            values[name] = getattr(value, value.WhichOneof("kind"))
    return scalars, values


def _has_hparams(run):
    return "hparams" in run._plugin_to_tag_to_content


def epoch(trial, number, accuracy, epochs, rate):
    metrics = EpochMetrics(number, 1.5, 0.5, accuracy, 2.0)
    return EpochEnded(trial, metrics, epochs, rate)


def test_each_training_is_a_run_with_curve_and_learning_rate(tensorboard, tmp_path):
    params = {"width": 4, "rate": 0.1, "padding": "same", "none": None}
    with TensorBoard(tmp_path) as board:
        for event in (
            STARTED,
            TrialStarted(3, 50, 700, 1, "sgd 0.1", None, params),
            epoch(3, 1, 0.6, 1, 0.01),
            epoch(3, 1, 0.5, 19, 0.05),
            epoch(3, 2, 0.7, 19, 0.02),
            TrialEnded(3, None, "", 50, 0.7, 6.0, True),
            TrialEnded(4, Reason.OVER_BUDGET, "", 5000, None, None, False),
        ):
            board(event)
    trial = tmp_path / "s" / "trial-3"
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["trial-3"]
    scalars, _ = read(trial / "epochs-1")
    assert scalars["validation/accuracy"] == [(1, 0.6)]
    scalars, _ = read(trial / "epochs-19")
    assert scalars["validation/accuracy"] == [(1, 0.5), (2, 0.7)]
    assert scalars["train/learning_rate"] == [(1, 0.05), (2, 0.02)]
    assert scalars["train/loss"] == [(1, 1.5), (2, 1.5)]
    assert scalars["validation/loss"] == [(1, 0.5), (2, 0.5)]
    scalars, values = read(trial)
    assert scalars["result/accuracy"] == [(0, 0.7)]
    assert scalars["result/seconds"] == [(0, 6.0)]
    assert values["width"] == 4
    assert values["padding"] == "same"
    assert values["none"] == "None"
    assert values["num_params"] == 50


def test_trial_that_was_given_up_leaves_its_curve(tensorboard, tmp_path):
    with TensorBoard(tmp_path) as board:
        board(STARTED)
        board(TrialStarted(0, 50, 700, 3, "sgd"))
        board(epoch(0, 1, 0.6, 3, 0.01))
    scalars, _ = read(tmp_path / "s" / "trial-0" / "epochs-3")
    assert scalars["validation/accuracy"] == [(1, 0.6)]


def test_missing_package_is_named_with_the_line_that_installs_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NasError, match="tensorboard needs tensorboard: python -m pip install"):
        nas.TensorBoard(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    args = ["search", "--budget", "5k", "--dataset", "digits", "--tensorboard", "runs"]
    assert main(args) == 2
    assert "--tensorboard needs tensorboard: python -m pip install" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_file_in_place_of_the_folder_is_refused(tensorboard, tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(NasError, match="is a file: give a folder for event files"):
        TensorBoard(tmp_path / "runs")
