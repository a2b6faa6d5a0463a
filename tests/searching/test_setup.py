"""What a search tells its user before it begins."""

from __future__ import annotations

import pytest

from nas.cli.main import main
from tests.fakes import FakePool
from tests.searching.test_estimate import TOY


class Pool(FakePool):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def search(tmp_path, monkeypatch, capsys):
    """One search of the digits with trainings that cost nothing; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.searching.setup.WorkerPool", lambda *arguments: Pool())
    (tmp_path / "toy.py").write_text(TOY.format(widest=100))

    def run(*options):
        words = "search --dataset digits --space ./toy.py --budget 2k --epochs 4 --trials 1"
        assert main([*words.split(), "--workers", "1", *options]) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("sampler", "pruner", "is_warned"),
    [
        ("gp", "squeezed", True),
        ("gp", "none", False),
        ("tpe", "squeezed", False),
    ],
)
def test_sampler_that_would_hear_of_few_candidates_is_named(
    search, monkeypatch, sampler, pruner, is_warned
):
    monkeypatch.setattr("nas.searching.pruners.FIRST_RUNG", 1000)  # images: one epoch of the digits
    out = search("--sampler", sampler, "--pruner", pruner)
    said = f"--sampler {sampler} learns from candidates trained in full alone"
    assert (said in out) == is_warned


def test_where_nothing_is_stopped_no_sampler_is_named(search):
    assert "learns from candidates" not in search("--sampler", "gp")


def test_bits_without_a_limit_in_bytes_are_said_to_limit_nothing(search):
    assert "--bits 8 limits nothing without --max-weight-bytes or" in search("--bits", "8")
    assert "limits nothing" not in search("--max-macs", "2M", "--study", "other")
    limits = ("--max-weight-bytes", "2k", "--bits", "8")
    assert "limits nothing" not in search(*limits, "--study", "bytes")
