"""The verbs report and plot, and the leaderboard for programs."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from nas.cli.main import main
from nas.storage.database import open_storage
from tests.reports.studies import make_study


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The file of two studies."""
    path = tmp_path_factory.mktemp("studies") / "s.db"
    storage = open_storage(f"sqlite:///{path}", create=True)
    for name in ("a", "b"):
        make_study(6, name, storage)
    storage.engine.dispose()
    return path


@pytest.fixture
def url(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setattr("nas.data.published.DOWNLOAD_TIMEOUT_SECONDS", 0.01)
    shutil.copy(database, tmp_path)
    return f"sqlite:///{tmp_path}/s.db"


def test_leaderboard_is_printed_as_json_and_csv(url, capsys):
    assert main(["show", "--study", "a", "--storage", url, "--json", "--top", "3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["show", "--study", "a", "--storage", url, "--csv", "--top", "3"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [int(row["number"]) for row in table] == [row["number"] for row in rows]
    assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in rows]
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--csv", "--json"], "--csv is not allowed with --json"),
        (["show", "best", "--csv"], "--csv is for the leaderboard"),
        (["report", "--out", "x.pdf"], "must end in .html"),
        (["report", "--study", "nope"], "'nope'"),
        (["plot", "--out", "x.jpg"], "must end in .png or .svg"),
        (["plot", "--kind", "curve"], "curve"),
        (["plot", "--kind", "confusion"], "mnist is not in"),  # its images
        (["plot", "--study", "a", "--kind", "importance"], "needs 20"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(arguments, message, url, capsys):
    verb, *rest = arguments
    assert main([verb, *rest, "--storage", url]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_report_of_two_studies_is_one_page(url, tmp_path, capsys):
    arguments = ["report", "--study", "a", "--study", "b", "--storage", url, "--out", "two.html"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "wrote two.html" in said.out
    assert "the page of a has no confusion matrix" in said.err
    assert "2 studies side by side" in (tmp_path / "two.html").read_text()


@pytest.mark.parametrize("kind", ["frontier", "curves", "spending", "network"])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot_writes_a_picture(kind, suffix, url, tmp_path, capsys):
    name = f"{kind}{suffix}"
    arguments = ["plot", "--study", "a", "--storage", url, "--kind", kind, "--out", name]
    assert main(arguments) == 0
    begin = (tmp_path / name).read_bytes()[:4]
    assert begin == (b"\x89PNG" if suffix == ".png" else b"<svg")
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
