"""Write the pages and pictures that are made from the code and from `studies.db`.

    python docs/generate.py

`commands.md` is made from the options of the command line, `api.md` from signatures and docstrings,
`pictures/` by `nas plot`. `tests/test_docs.py` says when one of them is stale.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nas
from nas.cli.command import Option
from nas.cli.main import COMMAND, VERBS

HERE = Path(__file__).parent
STALE = "<!-- Made by docs/generate.py: change the code, and run that. -->\n"
STUDY = "mnist-20k"
PICTURES = ("frontier", "curves", "spending", "network")

GROUPS = {
    "Functions": (
        "search", "check", "ladder", "certify", "export", "verify", "report", "plot", "dashboard",
        "load_study", "list_studies", "list_spaces", "predict",
    ),
    "What a search is asked for": ("SearchConfig",),
    "For search spaces": (
        "Task", "Trial", "fit", "Width", "Architecture", "Recipe", "suggest_recipe",
        "GOOD_RECIPE", "Candidate",
    ),
    "Errors": ("NasError",),
}  # fmt: skip
RESULTS = (
    ("nas.reports.results", "StudyResult"),
    ("nas.reports.results", "TrialResult"),
    ("nas.api.searches", "LadderResult"),
    ("nas.api.certificates", "CertifyResult"),
    ("nas.searching.estimate", "CheckResult"),
    ("nas.exporters.export", "Exported"),
    ("nas.exporters.verify", "Verified"),
)


def commands_page() -> str:
    """Every verb with its options, as the command line itself knows them."""
    parts = [
        "# Commands and options\n",
        STALE,
        "`nas VERB --help` says the same in the terminal; options may stand in any order. "
        "Exit codes: 0 done, 2 bad input (nothing was written), 130 interrupted, 1 anything "
        "else.\n",
        "| verb | |\n| --- | --- |",
        *(f"| [`nas {verb.name}`](#nas-{verb.name}) | {verb.short_help} |" for verb in VERBS),
        "",
    ]
    for verb in VERBS:
        context = verb.make_context(verb.name, [], resilient_parsing=True)
        usage = " ".join(["nas", verb.name, *verb.collect_usage_pieces(context)])
        parts += [f"## nas {verb.name}\n", f"{verb.help}\n", f"```text\n{usage}\n```\n"]
        title = "Options"
        groups: dict[str, list[str]] = {}
        for param in verb.get_params(context):
            if isinstance(param, Option):
                title = param.group or title
                names, text = param.get_help_record(context)
                groups.setdefault(title, []).append(f"- `{names}`: {text}")
        for title, lines in groups.items():
            parts += [f"**{title}**\n", *lines, ""]
        if verb.examples:
            parts += ["```bash", *verb.examples, "```\n"]
    parts += ["## Environment variables\n"]
    parts += [f"- `{name}`: {text}" for name, text in COMMAND.environment.items()]
    return "\n".join(parts) + "\n"


def api_page() -> str:
    """Every public name, with its signature and its docstring."""
    from nas.candidates.layers import LAYERS

    layers = tuple(sorted(getattr(kind, "__name__", str(kind)) for kind in _values(LAYERS)))
    groups = dict(GROUPS) | {"Layers": (*layers, "Layer")}
    parts = [
        "# The Python API\n",
        STALE,
        "Everything here is a name of `nas`, loaded when it is used; [Python](python.md) shows how "
        "the pieces go together. Keywords have the names of [the options](commands.md).\n",
    ]
    for title, names in groups.items():
        parts.append(f"## {title}\n")
        for name in names:
            if name in nas.__all__:
                parts.append(_entry(f"nas.{name}", getattr(nas, name)))
    left = set(nas.__all__) - {"__version__", *(n for names in groups.values() for n in names)}
    parts += [_entry(f"nas.{name}", getattr(nas, name)) for name in sorted(left)]
    parts.append("## Results\n")
    for module, name in RESULTS:
        value = getattr(__import__(module, fromlist=[name]), name)
        parts.append(_entry(name, value))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _values(layers: Any) -> list[Any]:
    return list(layers.values() if isinstance(layers, dict) else layers)


def _entry(title: str, value: Any) -> str:
    lines = [f"### {title}\n"]
    if inspect.isclass(value) and value.__module__.startswith("optuna"):
        lines.append("Optuna's `BaseTrial`: see its documentation.\n")
    elif inspect.isclass(value):
        is_layer = issubclass(value, nas.Layer) and value is not nas.Layer
        if is_layer:
            lines.append(f"```text\n{_signature(title, value)}\n```\n".replace(" -> None", ""))
        lines.append(_docstring(value))
        lines += [] if is_layer else _members(value)
    elif callable(value):
        lines += [f"```text\n{_signature(title, value)}\n```\n", _docstring(value)]
    else:
        lines.append(f"```text\n{title} = {value!r}\n```\n")
    return "\n".join(lines)


def _signature(title: str, function: Any) -> str:
    """As `def` has it: one parameter a line where it is long."""
    signature = inspect.signature(function)
    parameters, is_keyword = [], False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            parameters.append("*")
        is_keyword |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        text = f"{stars.get(parameter.kind, '')}{name}: {parameter.annotation}"
        default = parameter.default
        if default is not parameter.empty:  # of a function the name: its text has its address
            shown = getattr(default, "__name__", None) or repr(default)
            text += f" = {'...' if shown == '<lambda>' else shown}"
        parameters.append(text)
    result = signature.return_annotation or "None"
    line = f"{title}({', '.join(parameters)}) -> {result}"
    if len(line) <= 80:
        return line
    return "\n".join([f"{title}(", *(f"    {part}," for part in parameters), f") -> {result}"])


def _members(kind: type) -> list[str]:
    """Fields with the text beneath each, then what can be read and called."""
    source = textwrap.dedent(inspect.getsource(kind))
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)
    is_data = dataclasses.is_dataclass(kind)
    lines = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not (is_data and isinstance(node, ast.AnnAssign)):
            continue
        name = ast.unparse(node.target)
        if name.startswith("_") or "ClassVar" in ast.unparse(node.annotation):
            continue
        default = "" if node.value is None else f" = {ast.unparse(node.value)}"
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        _, _, text = source.splitlines()[node.lineno - 1].partition("  # ")
        if is_text:
            text = str(after.value.value)
        text = f": {' '.join(text.split())}" if text else ""
        lines.append(f"- `{name}: {ast.unparse(node.annotation)}{default}`{text}")
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        said = ast.get_docstring(node)
        is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
        arguments = "" if is_property else f"({ast.unparse(node.args).removeprefix('self')})"
        arguments = arguments.replace("(, ", "(")
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        first = " ".join(said.split("\n\n")[0].split()) if said else ""
        lines.append(f"- `{node.name}{arguments}{returns}`" + (f": {first}" if first else ""))
    return [*lines, ""]


def _docstring(value: Any) -> str:
    """As Markdown: indented code in fences, `Args:` and `Raises:` as lists."""
    text = inspect.getdoc(value) if value.__doc__ else ""
    if not text or (dataclasses.is_dataclass(value) and text.startswith(f"{value.__name__}(")):
        return ""
    return "\n".join(_markdown(text)) + "\n"


def _markdown(text: str) -> Iterator[str]:
    for block in re.split(r"\n{2,}", text):
        lines = block.split("\n")
        if re.fullmatch(r"[A-Z][a-z]+:", lines[0]):
            yield f"**{lines[0][:-1]}**\n"
            for entry in re.split(r"\n(?=\S)", textwrap.dedent("\n".join(lines[1:]))):
                name, colon, rest = entry.partition(": ")
                yield (
                    f"- `{name}`: {' '.join(rest.split())}"
                    if colon and re.fullmatch(r"[\w, ]+", name) and lines[0] != "Returns:"
                    else f"- {' '.join(entry.split())}"
                )
            yield ""
        elif all(line.startswith("    ") for line in lines):
            yield f"```py\n{textwrap.dedent(block)}\n```\n"
        else:
            yield " ".join(block.split()) + "\n"


def draw(folder: Path) -> list[Path]:
    """The pictures of the study that is in the repository."""
    storage = f"sqlite:///{HERE.parent / 'studies.db'}"
    return [
        nas.plot(STUDY, kind, folder / f"{kind}.svg", storage=storage, force=True)
        for kind in PICTURES
    ]


PAGES = {"commands.md": commands_page, "api.md": api_page}


def main() -> None:
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
    (HERE / "pictures").mkdir(exist_ok=True)
    draw(HERE / "pictures")


if __name__ == "__main__":
    main()
