"""The table of wings in CONTRIBUTING.md against the code, and which names are public."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import nas
from nas.candidates.layers import LAYERS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nas"
TABLE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The wings")[1]
ROWS = re.findall(r"^\| `(\w+(?:\.py|/))` \|.*\|(.*)\|$", TABLE.split("\n## ")[0], re.M)
# Wing: what it may import.
WINGS = {re.split(r"\W", entry)[0]: set(re.findall(r"\w+", may)) for entry, may in ROWS}
SLOW = {"torch", "optuna"}
MODULES = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
INIT = MODULES.pop(PACKAGE / "__init__.py")


def imports_of(source):
    """Line, dotted name, and whether it is for type checkers alone, of each import."""
    tree = ast.parse(source)
    ifs = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    for_types = [node for node in ifs if ast.unparse(node.test).endswith("TYPE_CHECKING")]
    inside = {id(node) for block in for_types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", id(node) in inside


def file_of(name):
    """The file of a module of nas, or of the module that has the name."""
    path = ROOT.joinpath(*name.split("."))
    files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return files[0] if files else file_of(name.rpartition(".")[0])


def wing_of(path):
    if path == PACKAGE / "__init__.py":
        return "api"  # whose names these are, loaded when they are used
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def forbidden(wing, source):
    """Lines of the imports that the table does not allow in a file of this wing."""
    allowed = {"cli"} if wing == "__main__" else WINGS[wing] | {wing}
    for line, name, is_for_types in imports_of(source):
        root = name.split(".")[0]
        is_ours = root == "nas" and name != "nas.__version__"
        if (
            root == ""  # relative
            or (is_ours and wing_of(file_of(name)) not in allowed)
            or (root in SLOW - allowed and not is_for_types)
        ):
            yield line


def test_package_has_the_entries_of_the_table_and_no_other():
    there = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir()}
    listed = [entry for entry, _ in ROWS] + ["__init__.py", "__main__.py", "py.typed"]
    assert there - {"__pycache__/"} == set(listed)
    assert len(listed) <= 16


def test_line_of_the_table_names_only_those_above_it():
    above = list(WINGS)
    assert [w for i, w in enumerate(above) if not WINGS[w] <= SLOW | set(above[:i])] == []


def test_wing_imports_only_what_its_line_names():
    lines = {str(path): list(forbidden(wing_of(path), text)) for path, text in MODULES.items()}
    assert {path: found for path, found in lines.items() if found} == {}


def test_modules_do_not_import_each_other_in_a_circle():
    TopologicalSorter({
        path: {file_of(name) for _, name, _ in imports_of(text) if name.startswith("nas.")}
        for path, text in MODULES.items()
    }).prepare()  # fmt: skip


def test_package_itself_loads_layers_alone_and_declares_all_other_names_for_type_checkers():
    imports = list(imports_of(INIT))
    at_run_time = {name for _, name, is_for_types in imports if not is_for_types}
    layers = {name for name in at_run_time if name.startswith("nas.candidates.layers.")}
    assert {name.split(".")[0] for name in at_run_time - layers} <= sys.stdlib_module_names
    declared = {
        name.rpartition(".")[2]
        for _, name, is_for_types in imports
        if is_for_types and name.startswith("nas.")
    }
    kinds = {layer.__name__ for layer in LAYERS.values()}
    assert declared | kinds | {"Layer"} == set(nas.__all__) - {"__version__", "Trial"}
    assert all(getattr(nas, name) is not None for name in nas.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Architektur'"):
        nas.Architektur  # noqa: B018


def others(*paths):
    """What these files import that is not in the standard library."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    names = {name for text in texts for _, name, _ in imports_of(text)}
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}


def test_search_spaces_import_public_names_and_the_standard_library_alone():
    found = others(*(ROOT / "search_spaces").glob("*.py"))
    assert "nas.Conv" in found
    assert found <= {f"nas.{name}" for name in nas.__all__}


def test_recorded_space_leans_on_nothing_that_searches_change():
    """It stands for what was recorded, whatever becomes of spaces, recipes and widths."""
    homes = {name: getattr(getattr(nas, name), "__module__", "") for name in nas.__all__}
    lasting = ("nas.candidates.", "nas.spaces.task")
    found = others(ROOT / "benchmarks" / "recorded_space.py")
    assert "nas.Conv" in found
    assert found <= {f"nas.{name}" for name, home in homes.items() if home.startswith(lasting)}


def test_the_rule_finds_what_breaks_it():
    source = (
        "import os\nfrom nas.errors import NasError\nfrom nas import __version__, errors, storage\n"
        "import nas.cli.main\nfrom . import x\nimport nas\nimport optuna\nimport torch\n"
        "if TYPE_CHECKING:\n    import optuna\n    from nas.spaces import task\n"
        "def later():\n    from nas import Conv\n"
    )
    assert sorted(forbidden("data", source)) == [3, 4, 5, 6, 7, 11, 13]
