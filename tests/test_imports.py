"""The import rule: a module of nas imports only from those above it, in the order data flows."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import nas

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nas"

# A module or a package stands below everything that it imports.
ORDER = (
    "errors",
    "metrics",
    "layers",
    "architecture",
    "candidate",
    "budget",
    "task",
    "fitting",
    "recipes",
    "datasets",
    "training",
    "worker",
    "workers",
    "search_space",
    "survey",
    "parts",
    "reading",
    "patience",
    "storage",
    "certainty",
    "trials",
    "tally",
    "studies",
    "rungs",
    "planning",
    "pace",
    "probe",
    "samplers",
    "warm_start",
    "weights",
    "stopping",
    "timetable",
    "events",
    "journal",
    "ownership",
    "running",
    "standing",
    "settings",
    "gate",
    "trainings",
    "search",
    "launch",
    "check",
    "frontier",
    "certificates",
    "certify",
    "comparison",
    "display",
    "report",
    "dashboard",
    "export",
    "verbs",
    "options",
    "cli",
    "__main__",
)

# Who may import the two libraries that are slow to load. What `nas --help` loads is not among them.
MAY_IMPORT = {
    "torch": {
        "layers", "architecture", "datasets", "training", "worker", "workers", "export",
        "weights", "certify", "check", "running", "journal",
    },
    "optuna": {
        "recipes",  # for type checkers
        "reading", "patience", "storage", "trials", "tally", "studies", "rungs", "samplers",
        "warm_start", "weights", "timetable", "search", "certificates", "certify", "comparison",
        "report",
        "dashboard", "launch", "frontier", "journal", "ownership", "running", "standing",
        "gate", "trainings", "verbs",  # for type checkers
    },
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import statement's module, or name in a module, and where it stands."""

    name: str  # dotted, for example nas.errors.NasError
    line: int


def imports_of(source):
    """Every import in a file: at the top, in functions, and those for type checkers."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [Import(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def files_of(name):
    path = PACKAGE / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def where(path, found):
    return f"{path.relative_to(ROOT)}:{found.line} imports {found.name}"


def upward(name, path):
    """Imports in a file of module `name` from nas, but not from above it or from itself."""
    allowed = ORDER[: ORDER.index(name)]
    if (PACKAGE / name).is_dir():
        allowed += (name,)
    for found in imports_of(path.read_text(encoding="utf-8")):
        root, _, rest = found.name.partition(".")
        is_ours = root in ("nas", "")  # "" where the import is relative
        if is_ours and found.name != "nas.__version__" and rest.split(".")[0] not in allowed:
            yield found


def test_order_names_every_module_and_no_other():
    there = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert there - {"__init__"} == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("name", ORDER)
def test_module_imports_only_from_above_itself(name):
    assert [where(path, found) for path in files_of(name) for found in upward(name, path)] == []


def test_package_itself_imports_its_modules_for_type_checkers_alone():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_run_time = [
        node.names[0].name if isinstance(node, ast.Import) else node.module
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert set(at_run_time) <= sys.stdlib_module_names


def test_names_for_type_checkers_are_those_that_are_there():
    declared = {
        found.name.rpartition(".")[2]
        for found in imports_of((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
        if found.name.startswith("nas.")
    }
    assert declared == set(nas.__all__) - {"__version__", "Trial"}
    for name in nas.__all__:
        assert getattr(nas, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Architektur'"):
        nas.Architektur  # noqa: B018


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_slow_library_is_imported_only_where_it_is_needed(library):
    assert [
        where(path, found)
        for name in set(ORDER) - MAY_IMPORT[library]
        for path in files_of(name)
        for found in imports_of(path.read_text(encoding="utf-8"))
        if found.name.split(".")[0] == library
    ] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "search_spaces").glob("*.py")), ids=lambda p: p.stem
)
def test_search_space_imports_public_names_and_the_standard_library_alone(path):
    allowed = {f"nas.{name}" for name in nas.__all__}
    assert [
        where(path, found)
        for found in imports_of(path.read_text(encoding="utf-8"))
        if found.name not in allowed and found.name.split(".")[0] not in sys.stdlib_module_names
    ] == []


def test_recorded_space_leans_on_nothing_that_searches_change():
    """It stands for what was recorded, whatever becomes of spaces, recipes and widths."""
    path = ROOT / "benchmarks" / "recorded_space.py"
    homes = {"nas.architecture", "nas.candidate", "nas.layers", "nas.task"}
    allowed = {f"nas.{name}" for name, home in nas._HOME.items() if home in homes}
    assert [
        where(path, found)
        for found in imports_of(path.read_text(encoding="utf-8"))
        if found.name not in allowed and found.name.split(".")[0] not in sys.stdlib_module_names
    ] == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("nas", "search_spaces", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nothing_is_read_that_could_run_code(path):
    """Weights and records come from files and databases of others."""
    source = path.read_text(encoding="utf-8")
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    assert [
        where(path, found)
        for found in imports_of(source)
        if found.name.split(".")[0] in unsafe or found.name == "torch.load"
    ] == []
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and unpickles(node)
    ] == []


def unpickles(call):
    """Whether a call does so, or may be told to."""
    may = any(keyword.arg == "allow_pickle" for keyword in call.keywords)
    return may or ast.unparse(call.func) in ("torch.load", "torch.hub.load", "pd.read_pickle")


@pytest.mark.parametrize(
    "line", ["torch.load(p)", "torch.hub.load('a', 'b')", "np.load(p, allow_pickle=True)"]
)
def test_calls_that_could_run_code_are_found(line):
    assert unpickles(ast.parse(line).body[0].value)


def test_the_rule_finds_what_breaks_it(tmp_path):
    """The checks above, on files that break the rule in each way that is known."""
    path = tmp_path / "candidate.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from nas import __version__, errors\n"
        "from nas.errors import NasError\n"
        "from nas.budget import Budget\n"
        "from nas import studies\n"
        "import nas.search\n"
        "from . import verbs\n"
        "if TYPE_CHECKING:\n    from nas.task import Task\n"
        "def later():\n    from nas import Conv\n"
        "import nas\n"
    )
    assert sorted(found.line for found in upward("candidate", path)) == [4, 5, 6, 7, 9, 11, 12]
