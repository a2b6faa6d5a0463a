"""The exported file, as text."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import types

import pytest
import torch

from nas.architecture import Architecture
from nas.export.source import Provenance, network_source
from nas.layers import BatchNorm, Conv, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool, ReLU

HOSTILE = [
    '"""',
    "'''",
    '"); import os; os.system("true") #',
    "a\nb",
    "\\",
    "\\N{BULLET}",
    "{num_params}",
    "\u202e\u2066evil",
    "# -*- coding: utf-7 -*-",
    "\x00\x1b[31m",
]


def provenance(study="a study", dataset="digits"):
    return Provenance(study, 7, dataset, 0.9876, 500, 19, 42, {"nas": "0.1.0", "torch": "2.15"})


@pytest.fixture
def architecture():
    layers = [Conv(6), BatchNorm(), ReLU(), Dropout(0.05), MaxPool(2), Conv(8, 3, "valid")]
    return Architecture((1, 10, 10), [*layers, GlobalAvgPool(), Flatten(), Linear(2)])


def run(source, tmp_path):
    module = types.ModuleType("network")
    module.__file__ = str(tmp_path / "network.py")
    exec(compile(source, "network.py", "exec"), module.__dict__)
    return module


def test_exported_class_is_the_network_that_was_built(architecture, tmp_path):
    module = run(network_source(architecture, provenance(), ("a", "b"), (0.1,), (0.3,)), tmp_path)
    built, exported = architecture.build(), module.Network()
    exported.load_state_dict(built.state_dict())
    images = torch.randn(4, 1, 10, 10)
    assert torch.equal(built.eval()(images), exported.eval()(images))
    assert architecture.num_params == module.NUM_PARAMS
    assert module.INPUT_SHAPE == (1, 10, 10)
    assert module.CLASSES == ("a", "b")


def test_exported_normalisation_is_that_of_the_training(architecture, tmp_path):
    module = run(network_source(architecture, provenance(), "ab", (0.25,), (0.5,)), tmp_path)
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert module.normalise(images).flatten().tolist() == [-0.5, 1.5]


def test_exported_file_imports_nothing_but_torch_and_the_standard_library(architecture):
    tree = ast.parse(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"torch", "json", "pathlib"}
    assert imported - {"torch"} <= set(sys.stdlib_module_names)


def test_docstring_says_what_it_is_and_where_it_came_from(architecture):
    text = ast.get_docstring(
        ast.parse(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    )
    for words in ("a study, trial 7", "98.76%", f"{architecture.num_params:,}", "seed 42", "10x10"):
        assert words in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(architecture, tmp_path, name):
    tame = network_source(architecture, provenance(), ("x", "y"), (0.1,), (0.3,))
    source = network_source(architecture, provenance(name, name), (name, "y"), (0.1,), (0.3,))
    assert source.isascii()
    kinds = [[type(node) for node in ast.walk(ast.parse(text))] for text in (tame, source)]
    assert kinds[0] == kinds[1]
    assert (name, "y") == run(source, tmp_path).CLASSES


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_exported_file_is_formatted_and_clean(architecture, tmp_path):
    path = tmp_path / "network.py"
    path.write_text(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            ["ruff", *command, "--isolated", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
