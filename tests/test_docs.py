"""The pages are true: their commands and code run, their links lead somewhere, none is stale.

In a page, blocks marked `sh` and `python` are run in their order, with fewer and shorter trainings,
which start no workers; those marked `bash` and `py` take long, or need a server, and are checked
for names that exist. A block that follows "Put this into `FILE`:" becomes that file. A block after
`<!-- output: COMMAND -->` is what the command prints; `pytest --rewrite-golden` writes it.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import pytest

import nas
from nas.cli.main import COMMAND, VERBS, main
from nas.searching.config import FIELDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
LINKING = [
    *PAGES,
    *(ROOT / page for page in ("CONTRIBUTING.md", "benchmarks/README.md", "champions/README.md")),
]
GENERATED = {"commands.md", "api.md"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
OUTPUT = re.compile(r"^<!-- output: (.*) -->\n```text\n(.*?)^```$", re.S | re.M)
SHORT = {"search": "--trials 1 --epochs 1 --workers 1", "certify": "--top 1 --seeds 1 --workers 1"}
SHORT["ladder"] = SHORT["search"]
SHORT["check"] = "--draws 50 --trials 1 --workers 1"
SHORT_PYTHON = {
    "trials=12, epochs=3": "trials=1, epochs=1, workers=1",
    "top=3, seeds=5": "top=1, seeds=1, workers=1",
}


class Block(NamedTuple):
    language: str
    text: str
    file: str | None  # where the reader is to put it


def names(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


def each(pages):
    return pytest.mark.parametrize("page", pages, ids=names(pages))


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        before = re.search(r"Put this into `([^`]+)`:\s*$", text[: match.start()])
        yield Block(match[1], match[2], before and before[1])


def commands_in(text):
    """The words of every command line; comments and set-up of a shell are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words and words[0] in ("nas", "python"):
                yield words


def options_of(command):
    return {name for param in command.params for name in param.opts if name.startswith("-")}


@pytest.fixture(scope="session")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the studies of the repository."""
    shutil.copy(ROOT / "studies.db", tmp_path)
    shutil.copytree(ROOT / "studies-artifacts", tmp_path / "studies-artifacts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_pages_say_what_the_code_says(generate, name):
    page = (DOCS / name).read_text(encoding="utf-8")
    assert generate.PAGES[name]() == page, "stale: run python docs/generate.py"


@pytest.mark.slow
def test_pictures_are_those_that_nas_draws(generate, tmp_path):
    drawn = generate.draw(tmp_path)
    assert {path.name for path in drawn} == {path.name for path in DOCS.glob("pictures/*")}
    for path in drawn:
        stored = (DOCS / "pictures" / path.name).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") == stored, "stale: run python docs/generate.py"


def test_first_page_lists_all_others():
    listed = re.findall(r"^- \[.*\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text(), re.M)
    assert sorted([*listed, "index.md"]) == sorted(path.name for path in DOCS.glob("*.md"))


def test_every_verb_is_explained():
    text = "".join(page.read_text() for page in PAGES if page.name not in GENERATED)
    assert [verb.name for verb in VERBS if f"nas {verb.name}" not in text] == []


@each(PAGES)
def test_commands_have_the_options_they_are_given(page):
    for language, text, _ in blocks_of(page):
        if language in ("sh", "bash"):
            for words in commands_in(text):
                if words[0] == "nas":
                    verb = COMMAND.commands[words[1]]
                    try:
                        verb.make_context(verb.name, words[2:])
                    except click.UsageError as error:
                        pytest.fail(f"{shlex.join(words)}: {error.message or error.option_name}")


@each(PAGES)
def test_options_that_are_named_exist(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    every = options_of(COMMAND).union(*(options_of(verb) for verb in VERBS))
    for code in re.findall(r"`([^`\n]+)`", prose):
        words = code.split()
        if words[0] == "nas" and len(words) > 1 and words[1] in COMMAND.commands:
            known = options_of(COMMAND.commands[words[1]])
        elif words[0].startswith("--"):
            known = every
        else:
            continue
        assert {word for word in words if word.startswith("--")} <= known, code


@each(PAGES)
def test_python_names_keywords_that_exist(page):
    for language, text, _ in blocks_of(page):
        if language not in ("python", "py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("nas."):
                continue
            function = getattr(nas, ast.unparse(node.func).split(".")[1])
            known = set(inspect.signature(function).parameters)
            if "options" in known:
                known |= set(FIELDS)
            assert {keyword.arg for keyword in node.keywords} <= known, ast.unparse(node)


def anchors_of(path):
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each(LINKING)
def test_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"`[^`]*`", "", prose)):
        if "://" in target:
            parts = urlsplit(target)
            assert parts.scheme == "https", target
            assert re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc), target
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors_of(there), target


PRINTED = [
    (page, match) for page in PAGES for match in OUTPUT.finditer(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "match"), PRINTED, ids=[match[1] for _, match in PRINTED])
def test_output_on_a_page_is_what_the_command_prints(page, match, clone, capsys, request):
    assert main(shlex.split(match[1])[1:]) == 0
    printed = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    if request.config.getoption("--rewrite-golden"):
        text = page.read_text(encoding="utf-8")
        block = f"<!-- output: {match[1]} -->\n```text\n{printed}```"
        page.write_text(text.replace(match[0], block), encoding="utf-8")
    else:
        assert printed == match[2], "stale: pytest tests/test_docs.py --rewrite-golden writes it"


@pytest.mark.slow
@each([page for page in PAGES if page.name not in GENERATED])
def test_page_runs_from_top_to_bottom(page, clone, capsys, monkeypatch, trained_here):
    monkeypatch.syspath_prepend(clone)
    before = set(sys.modules)
    space = {"__name__": "page"}
    for language, text, file in blocks_of(page):
        if file:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_text(text, encoding="utf-8")
        elif language == "python":
            for long, short in SHORT_PYTHON.items():
                text = text.replace(long, short)
            exec(compile(text, page.name, "exec"), space)
        elif language == "sh":
            for words in commands_in(text):
                run(words)
                assert capsys.readouterr().out or words[0] == "python", words
    for name in set(sys.modules) - before:
        if name.startswith("winner"):
            del sys.modules[name]


def run(words):
    if words[0] == "nas":
        short = SHORT.get(words[1], "").split()
        if words[1] in ("search", "ladder") and "--dataset" not in words:
            short += ["--dataset", "digits"]
        assert main([*words[1:], *short]) == 0, words
    elif words[1] != "-m":  # pip and pytest have run: this is the test
        subprocess.run([sys.executable, *words[1:]], check=True)
