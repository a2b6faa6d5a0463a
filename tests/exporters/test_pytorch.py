"""The exported file, as text."""

from __future__ import annotations

import ast
import random
import re
import shutil
import subprocess
import sys
import types
from dataclasses import replace

import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LearnedPool,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Tied,
)
from nas.exporters.provenance import Provenance
from nas.exporters.pytorch import network_source

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
    made_with = {"nas": "0.1.0", "torch": "2.15"}
    return Provenance(study, 7, dataset, 0.9876, 500, 19, 19, 42, made_with)


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


def test_exported_file_imports_nothing_but_torch_the_standard_library_and_pillow_for_files(
    architecture,
):
    tree = ast.parse(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"torch", "json", "pathlib", "sys", "PIL"}
    assert imported - {"torch", "PIL"} <= set(sys.stdlib_module_names)


def test_docstring_says_what_it_is_and_where_it_came_from(architecture):
    text = ast.get_docstring(
        ast.parse(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    )
    for words in ("a study, trial 7", "98.8%", f"{architecture.num_params:,}", "seed 42", "10x10"):
        assert words in text
    assert "after 19 epochs" in text


@pytest.mark.parametrize("epochs", [7, 0.25])
def test_docstring_says_that_the_schedule_was_short(architecture, epochs):
    short = replace(provenance(), epochs=epochs)
    source = network_source(architecture, short, "ab", (0.1,), (0.3,))
    assert f"after a schedule of {epochs} of 19 epochs" in source


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(architecture, tmp_path, name):
    tame = network_source(architecture, provenance(), ("x", "y"), (0.1,), (0.3,))
    source = network_source(architecture, provenance(name, name), (name, "y"), (0.1,), (0.3,))
    assert source.isascii()
    kinds = [[type(node) for node in ast.walk(ast.parse(text))] for text in (tame, source)]
    assert kinds[0] == kinds[1]
    assert (name, "y") == run(source, tmp_path).CLASSES


PIECES = [
    '"', "'", '"""', "\'\'\'", "\\", "\n", "\r", "\r\n", "\0", "\t", "\f", "\v", "\x1a", "\x85",
    "\u2028", "\u202e", "\u2066", "\ufeff", "\udcff", "\\N{DIGIT ONE}", "\\x22", "\\u0022", "{",
    "}", "{title}", "%s", "#", "# -*- coding: utf-7 -*-", "# coding: rot13", "+ADw-", ");", "(",
    ")", "import os", "os.system", "print(1)", "\nraise SystemExit\n", ",", "a", "é", "😀", " ",
    "${x}", "`x`", "<x>",
]  # fmt: skip


def test_thousands_of_random_names_stay_text(architecture):
    rng, num = random.Random(0), 40

    def source_with(names):
        made = replace(provenance(*names[:2]), versions={names[2]: names[3]})
        return network_source(architecture, made, names, (0.1,), (0.3,))

    tame = kinds_of(source_with(["x"] * num))
    for _ in range(75):
        names = ["".join(rng.choices(PIECES, k=rng.randint(0, 6))) for _ in range(num)]
        source = source_with(names)
        assert source.isascii()
        assert source.replace("\n", "").isprintable()
        assert kinds_of(source) == tame
        (literal,) = re.findall(r"^CLASSES = (\(.*?^\))$", source, re.MULTILINE | re.DOTALL)
        assert ast.literal_eval(literal) == tuple(names)


def kinds_of(source):
    return [type(node) for node in ast.walk(ast.parse(source.encode()))]


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_exported_file_is_formatted_and_clean(architecture, tmp_path):
    path = tmp_path / "network.py"
    path.write_text(network_source(architecture, provenance(), "ab", (0.1,), (0.3,)))
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            ["ruff", *command, "--isolated", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# Layers that torch does not have


PAIR = Residual([Conv(6), BatchNorm(), ReLU(), Conv(6), BatchNorm()])
COMPOSITES = {
    "residual": [Conv(6), PAIR, ReLU(), MaxPool(2), PAIR],
    "residual-of-one": [Residual([BatchNorm()]), Conv(6)],
    "separable": [Conv(6), Residual([DepthwiseConv(5), BatchNorm(), Conv(6, 1), ReLU()])],
    "tied": [Conv(6), Tied(3), MaxPool(2), Tied(2, 5)],
    "tied-within-residual": [Conv(6), Residual([Tied(2), Dropout(0.1), Conv(6)])],
    "both": [Conv(6), Tied(3), PAIR, DepthwiseConv(3, "valid")],
}
each_composite = pytest.mark.parametrize("layers", COMPOSITES.values(), ids=COMPOSITES.keys())


def composite(layers, shape=(1, 10, 10)):
    return Architecture(shape, [*layers, LearnedPool(), Flatten(), Linear(2)])


def source_of(architecture):
    return network_source(architecture, provenance(), ("a", "b"), (0.1,), (0.3,))


@each_composite
def test_exported_composites_give_the_scores_of_what_was_built(layers, tmp_path):
    architecture = composite(layers)
    module = run(source_of(architecture), tmp_path)
    torch.manual_seed(1)
    built, exported = architecture.build(), module.Network()
    built.train()(torch.randn(20, 1, 10, 10) + 1)  # so that the norms have seen something
    exported.load_state_dict(built.state_dict())
    images = torch.randn(4, 1, 10, 10)
    assert torch.equal(built.eval()(images), exported.eval()(images))
    num_params = sum(p.numel() for p in exported.parameters())
    assert num_params == module.NUM_PARAMS == architecture.num_params


@each_composite
def test_exported_composites_need_nothing_but_torch(layers):
    tree = ast.parse(source_of(composite(layers)))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported == {"torch", "json", "pathlib", "sys", "PIL"}


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("residual", ["Residual", "Network"]),
        ("tied", ["Tied", "Network"]),
        ("tied-within-residual", ["Residual", "Tied", "Network"]),
        ("both", ["Residual", "Tied", "Network"]),
    ],
)
def test_exported_file_defines_the_classes_it_uses_and_no_others(name, classes):
    tree = ast.parse(source_of(composite(COMPOSITES[name])))
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == classes


def test_network_of_plain_layers_is_exported_without_other_classes(architecture):
    tree = ast.parse(source_of(architecture))
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == ["Network"]


def test_each_module_of_a_residual_has_a_line_of_its_own():
    lines = source_of(composite(COMPOSITES["separable"])).splitlines()
    first = lines.index("            Residual(")
    assert lines[first + 1 : first + 6] == [
        "                nn.Conv2d(6, 6, 5, padding=2, bias=False, groups=6),",
        "                nn.BatchNorm2d(6),",
        "                nn.Conv2d(6, 6, 1, bias=False),",
        "                nn.ReLU(),",
        "            ),  # 6x10x10",
    ]


WIDE = [Conv(1000), Residual([DepthwiseConv(11), Conv(1000, 1)])]
FORMATTED = {name: composite(layers) for name, layers in COMPOSITES.items()} | {
    "wide": composite(WIDE, (3, 224, 224)),
    "wide-tied": composite([Conv(1000), Tied(100)], (3, 224, 224)),
}


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize(
    "names",
    [
        ("residual", "residual-of-one", "separable", "wide"),
        ("tied", "tied-within-residual", "both", "wide-tied"),
    ],
    ids=["residual", "tied"],
)
def test_exported_composites_are_formatted_and_clean(tmp_path, names):
    for name in names:
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(source_of(FORMATTED[name]))
    for command in (["format", "--diff"], ["check"]):
        done = subprocess.run(
            ["ruff", *command, "--isolated", "."],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
