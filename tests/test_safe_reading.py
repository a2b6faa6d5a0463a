"""Weights and records come from files and databases of others: none is read as code."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("nas", "search_spaces", "benchmarks")
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.hub.load", "pd.read_pickle"}


def could_run_code(source):
    """Lines that read what may hold code, or may be told to."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            is_allowed = any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                for keyword in node.keywords
            )
            names = ["pickle"] if is_allowed else [ast.unparse(node.func)]
        if any(name in CALLS or name.split(".")[0] in MODULES for name in names):
            yield node.lineno


def test_nothing_is_read_that_could_run_code():
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    lines = {str(path): list(could_run_code(path.read_text(encoding="utf-8"))) for path in files}
    assert len(files) > 50
    assert {path: found for path, found in lines.items() if found} == {}


def test_calls_that_could_run_code_are_found():
    source = (
        "torch.load(p)\ntorch.hub.load('a', 'b')\nnp.load(p, allow_pickle=True)\nimport pickle\n"
        "from torch import load\nfrom pickle import loads\nnp.load(p)\njson.load(file)\n"
        "np.load(p, allow_pickle=False)\n"
    )
    assert sorted(could_run_code(source)) == [1, 2, 3, 4, 5, 6]
