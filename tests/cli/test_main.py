"""The command line: help, and one line on standard error for whatever was typed wrong."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

import nas
from nas import __version__
from nas.candidates.architecture import Architecture
from nas.candidates.device import device_bytes, names_bytes
from nas.candidates.layers import Flatten, Linear
from nas.cli.main import COMMAND, main
from nas.errors import NasError
from nas.exporters.formats import FORMATS
from nas.storage.database import open_storage
from nas.storage.reasons import Reason
from nas.storage.studies import (
    DataFacts,
    StudyFacts,
    open_or_create_study,
    open_study,
    study_data,
    study_facts,
)
from nas.storage.trials import record_rejection
from tests.reports.studies import make_study

VERBS = (
    "search", "check", "ladder", "spaces", "show", "studies", "report", "plot", "export", "verify",
    "predict", "certify", "dashboard",
)  # fmt: skip
READERS = ("show", "studies", "report", "plot", "export", "certify", "dashboard")
DIGITS = ("search", "--dataset", "digits", "--budget", "20000")
IN_MEMORY = "sqlite://"  # a search that should have been refused leaves nothing behind


@pytest.fixture(autouse=True)
def cwd(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NAS_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def run(capsys):
    """Runs one command; its exit code and what it wrote."""

    def run_command(*arguments):
        code = main(arguments)
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run_command


@pytest.fixture
def refuse(run, cwd):
    """Runs a command that must be refused; its one line."""

    def run_refused(*arguments):
        before = contents(cwd)
        done = run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert re.fullmatch(r"nas[ a-z]*: [^\n]+\n", done.err)
        assert "Traceback" not in done.err
        assert contents(cwd) == before
        return done.err

    return run_refused


def contents(folder):
    """Every file below a folder with what is in it."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


# Help


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_is_shown(run, verb, golden, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run(*filter(None, [verb]), "--help")
    assert (done.code, done.err) == (0, "")
    assert run(*filter(None, [verb]), "-h").out == done.out
    golden(f"help-{verb or 'nas'}", done.out)
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_fits_a_narrow_terminal(run, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text, _, examples = run(*filter(None, [verb]), "--help").out.partition("Examples:")
    assert max(map(len, text.splitlines())) <= 40
    assert verb is None or len(examples.strip().splitlines()) == 2


def test_command_alone_shows_its_help(run):
    done = run()
    assert (done.code, done.err) == (0, "")
    assert done.out == run("--help").out
    assert "nas search --budget 20k" in done.out


def test_there_are_no_other_verbs():
    assert tuple(COMMAND.commands) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_argument_has_a_help_text(verb):
    assert [param.name for param in COMMAND.commands[verb].params if not param.help] == []


@pytest.mark.parametrize("verb", VERBS)
def test_examples_of_a_verb_are_of_that_verb_and_can_be_read(verb):
    """Both of them; one that names another verb shows what comes next."""
    examples = COMMAND.commands[verb].examples
    assert examples[0].startswith(f"nas {verb}")
    for line in examples:
        words = shlex.split(line)[1:]
        with COMMAND.make_context("nas", words) as context:
            name, found, rest = COMMAND.resolve_command(context, words)
            found.make_context(name, rest, parent=context).close()


def test_version_is_shown(run):
    assert run("--version").out == f"nas {__version__}\n"


def test_neither_torch_nor_optuna_is_loaded_for_help_or_what_is_mistyped():
    lines = (
        "", "--help", "search --help", "spaces", "serach", "search --bugdet 9", "search",
        "search --budget 9 --trials many", "search --budget 9 --valid-share 2",
        "search --budget 9 --timeout soon", "search --budget 9 --json --quiet", "certify best",
        "ladder --budgets 1k,", "export --out",
    )  # fmt: skip
    code = (
        "import sys\nfrom nas.cli.main import main\n"
        f"for line in {lines}:\n"
        "    main(line.split())\n"
        "    loaded = {'torch', 'optuna', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "    assert not loaded, (line, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_torch_is_not_loaded_to_show_studies(searched):
    code = (
        "import sys\nfrom nas.cli.main import main\n"
        "main(['show']), main(['studies'])\n"
        "sys.exit(str({'torch', 'sklearn', 'torchvision', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=searched.folder, capture_output=True, text=True
    )
    assert done.stderr == "set()\n"
    assert done.stdout.count("tiny-digits-20000") == 2


def test_python_m_nas_is_the_command():
    done = subprocess.run([sys.executable, "-m", "nas", "nope"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("nas: ")


# Completion


@pytest.fixture
def complete(monkeypatch, capsys):
    """What bash is offered for the last word of a line."""

    def complete_line(line):
        monkeypatch.setenv("_NAS_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        assert main([]) == 0
        return [item.partition(",")[2] for item in capsys.readouterr().out.splitlines()]

    return complete_line


def test_shell_completes_verbs_options_choices_and_spaces(complete, cwd):
    assert complete("nas s") == ["search", "show", "spaces", "studies"]
    assert complete("nas search --max-") == [
        "--max-flash", "--max-ram", "--max-macs", "--max-weight-bytes", "--max-activation-bytes",
        "--max-rejected",
    ]  # fmt: skip
    assert complete("nas check --pruner ") == ["squeezed", "median", "none"]
    assert complete("nas search --bits 1") == ["16"]
    assert complete("nas show b") == ["best"]
    assert {"blocks", "tied"} <= set(complete("nas ladder --space "))
    (cwd / "search_spaces").mkdir()
    (cwd / "search_spaces" / "tiles.py").write_text(TINY_SPACE)
    assert complete("nas search --space ti") == ["tied", "tiles"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_shell_takes_the_script_that_switches_completion_on():
    made = subprocess.run(
        [sys.executable, "-m", "nas"], env=os.environ | {"_NAS_COMPLETE": "bash_source"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    subprocess.run(["bash", "-n"], input=made.stdout, text=True, check=True)
    assert "complete " in made.stdout


# Refused by the parser


def test_unknown_verb_is_refused_with_the_nearest_or_the_known_ones(refuse):
    assert "there is no verb 'serach': did you mean search?" in refuse("serach")
    line = refuse("xyzzy")
    assert "did you mean" not in line
    assert all(verb in line for verb in VERBS)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("search --budget 2k --dataset digts", "digits"),
        ("search --budget 2k --dataset digits --space tyed", "tied"),
        ("search --budget 2k --sampler random-search", "random"),
        ("search --budget 2k --fit strech", "stretch"),
        ("check --budget 2k --pruner squeeze", "squeezed"),
        ("plot --kind curve", "curves"),
        ("certify --protocol honnest", "honest"),
    ],
)
def test_mistyped_word_is_refused_with_the_nearest_that_there_is(refuse, line, meant):
    refused = refuse(*line.split())
    assert f": did you mean {meant}?" in refused
    assert repr(line.split()[-1]) in refused


@pytest.mark.parametrize("word", ["a" * 5000, "~nobody-of-this-name", "a\0b"], ids=len)
def test_word_that_is_no_name_of_a_file_is_refused_like_any_other(refuse, word):
    assert "there is no argument " in refuse("search", word, "--budget", "2k")


@pytest.mark.parametrize("word", ["my parts", "parts.npz", "digits", "own.py"])
def test_word_by_itself_is_refused_with_the_option_that_takes_it(refuse, cwd, word):
    (cwd / "my parts").mkdir()
    option = "--space" if word == "own.py" else "--dataset"
    line = refuse("search", word, "--budget", "2k")
    assert f"there is no argument {word!r} (did you mean {option} {shlex.quote(word)}?)" in line


def test_word_unlike_any_choice_is_refused_with_the_choices(refuse):
    line = refuse("plot", "--kind", "xyzzy")
    assert "plot: --kind 'xyzzy' is unknown: there are frontier, curves, " in line


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--trails", "--trials"), ("--epoch", "--epochs"), ("--timeuot", "--timeout")],
)
def test_unknown_option_is_refused_with_the_nearest(refuse, typed, meant):
    for arguments in ([typed, "5"], [f"{typed}=5"]):
        assert f"(did you mean {meant}?)" in refuse(*DIGITS, *arguments)


def test_mistyped_option_that_is_required_is_refused_with_the_nearest(refuse):
    assert "did you mean --budget?" in refuse("search", "--bugdet", "20000")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("ladder --budgets 1k --study mine", "(an option of nas search, nas spaces, nas show, "),
        ("check --budget 1k --quiet", "(an option of nas search, nas ladder)"),
        ("search --budget 1k --budgets 1k,2k", "(an option of nas ladder)"),
        ("studies --version", "(an option of nas)"),
    ],
)
def test_option_of_another_verb_is_refused_with_the_verbs_that_have_it(refuse, line, hint):
    assert hint in refuse(*line.split())


def test_option_unlike_any_of_the_verb_is_refused_without_a_guess(refuse):
    assert "did you mean" not in refuse(*DIGITS, "--xyzzy")
    assert "did you mean" not in refuse("show", "--bugdet", "5")  # near one of `search` alone


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--trial", "--trials"),
        ("--see", "--seed"),
        ("--js", "--json"),
        ("--split", "--split-seed"),
        ("--max-w", "--max-weight-bytes"),
        (
            "--max-",
            "--max-flash or --max-ram or --max-macs or --max-weight-bytes or "
            "--max-activation-bytes or --max-rejected",
        ),
    ],
)
def test_abbreviated_option_is_refused_with_those_that_begin_so(refuse, typed, meant):
    assert f"there is no option {typed} (did you mean {meant}?)" in refuse(*DIGITS, typed, "1")


def test_option_of_another_verb_is_told_the_like_of_this_one(refuse):
    assert "there is no option --seed (did you mean --seeds?)" in refuse("certify", "--seed", "3")


def test_format_that_was_given_as_an_option_is_told_how_to_give_it(refuse):
    assert "--onnx (did you mean --format onnx?)" in refuse("export", "--onnx")


@pytest.mark.parametrize("word", ["help", "version"])
def test_word_that_is_an_option_in_the_place_of_a_verb_is_told_so(refuse, word):
    assert f"there is no verb '{word}': did you mean nas --{word}?" in refuse(word)


def test_json_and_quiet_exclude_each_other(refuse):
    assert "not allowed with" in refuse(*DIGITS, "--json", "--quiet")


def test_option_without_a_value_is_refused_with_one(refuse):
    assert "--json takes no value" in refuse(*DIGITS, "--json=yes")


def test_last_of_an_option_given_twice_counts(refuse):
    assert "--trials '0'" in refuse(*DIGITS, "--trials", "5", "--trials", "0")
    assert "--trials '-3'" in refuse(*DIGITS, "--trials", "0", "--trials=-3")


def test_words_too_many_are_refused(refuse):
    line = refuse("studies", "x")
    assert "studies: there is no argument 'x': `nas studies --help` has all" in line
    line = refuse("show", "1", "2", "3")
    assert (
        "show: there is no argument '2': a study is named with --study; `nas show --help`" in line
    )


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("plot curves", "--kind curves"),
        ("plot --curves", "--kind curves"),
        ("search --budget 2k random", "--sampler random"),
        ("search --budget 2k tied", "--space tied"),
        ("search --budget 2k digits", "--dataset digits"),
        ("check --budget 2k none", "--pruner none"),
    ],
)
def test_word_that_an_option_takes_is_told_the_option(refuse, line, meant):
    assert f"(did you mean {meant}?)" in refuse(*line.split())


def test_verb_without_what_it_needs_is_refused_with_an_example(refuse):
    assert "DIR_OR_TRIAL is required, such as nas predict winner photo.jpg" in refuse("predict")
    assert "DIR is required, such as nas verify winner" in refuse("verify")


@pytest.mark.parametrize("word", ["best", "mnist-20k"])
def test_certify_of_a_word_says_what_it_takes(refuse, word):
    line = refuse("certify", word)
    assert f"'{word}' is no number of a trial: without one, the best are taken; a study is" in line


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--trials", ["0", "-1", "x", "", "1.5", "1000001", "२०", "1e3", " 5", "5\n"]),
        ("--max-rejected", ["0", "-1", "x"]),
        ("--epochs", ["0", "-1", "x", "1.5", "10001"]),
        ("--timeout", ["0", "-5", "5 parsecs", "inf", "nan", "", "0s", "1d", "1e3", "9" * 9]),
        ("--seed", ["-1", "1.5", "4294967296", "x", ""]),
        ("--split-seed", ["-1", "4294967296", "x"]),
        ("--image-size", ["3", "1025", "x", "32x32"]),
        ("--sampler", ["TPE", "grid", ""]),
        ("--pruner", ["Median", "hyperband", ""]),
        ("--budget", ["", "0", "-1", "1.5", "1e9999", "NaN", "inf", "२०", "0k", "20K", "20 000",
                      "2_0", "20_00", "1000000001", "9" * 5000, "0x20", "+5", "k"]),
        ("--max-macs", ["", "0", "-1", "1.5", "1e6", "2m", "2_0", "1000000000000001", "9" * 5000]),
        ("--max-flash", ["", "0", "-1", "64KB", "1000000000000001"]),
        ("--max-ram", ["", "0", "-1", "64KB", "1000000000000001"]),
        ("--max-weight-bytes", ["", "0", "-1", "64KB", "1000000000000001"]),
        ("--max-activation-bytes", ["", "0", "-1", "64KB", "1000000000000001"]),
        ("--bits", ["", "0", "-8", "1", "64", "8.0", "float32"]),
    ],
)  # fmt: skip
def test_bad_value_is_refused_with_its_option(refuse, option, values):
    for value in values:
        line = refuse("search", "--dataset", "digits", "--budget", "20000", option, value)
        assert option in line
        assert len(line) < 10_000


@pytest.mark.parametrize(
    ("verb", "option", "values"),
    [
        ("show", "--top", ["0", "-1", "x"]),
        ("certify", "--top", ["0", "-1", "x", "101"]),
        ("certify", "--seeds", ["0", "-1", "x", "1.5", "1001", ""]),
        ("certify", "--protocol", ["Honest", "test", ""]),
        ("certify", "--workers", ["0", "x"]),
        ("dashboard", "--port", ["-1", "65536", "http"]),
    ],
)
def test_bad_value_of_another_verb_is_refused(refuse, verb, option, values):
    for value in values:
        assert option in refuse(verb, option, value)


@pytest.mark.parametrize(
    ("verb", "trials"),
    [
        ("show", ["x", "-1", "1.5", "Best", ""]),
        ("export", ["x", "-1", "1.5", "Best", ""]),
        ("certify", ["x", "-1", "1.5", "best", ""]),
    ],
)
def test_bad_trial_is_refused(refuse, verb, trials):
    for trial in trials:
        line = refuse(verb, trial)
        assert "TRIAL" in line or "there is no option -1" in line


@pytest.mark.parametrize(
    "value",
    ["a" * 300, "a/" * 5000, "a\0b", "\ud800", "x" * 10**6],
    ids=["long", "deep", "nul", "surrogate", "huge"],
)
@pytest.mark.parametrize(
    "option", ["--dataset", "--data-dir", "--space", "--warm-start", "--storage"]
)
def test_value_that_no_file_may_have_for_a_name_is_refused(refuse, option, value):
    line = refuse(*DIGITS, f"{option}={value}")
    assert line.startswith(f"nas search: {option} '")
    assert len(line) < 300


@pytest.mark.parametrize("option", ["--budget", "--trials", "--study", "--storage", "--dataset"])
def test_option_without_its_value_is_refused(refuse, option):
    assert f"{option} needs a value" in refuse(*DIGITS, option)
    assert f"{option} needs a value" in refuse(*DIGITS, option, "--quiet")


@pytest.mark.parametrize("verb", VERBS)
def test_passwords_are_not_repeated(refuse, verb):
    assert "hunter2" not in refuse(verb, "x", "postgresql://me:hunter2@127.0.0.1:1/x")


def test_budget_is_required(refuse):
    assert "--budget is required" in refuse("search", "--dataset", "digits")


# Refused by a search, before it writes


@pytest.mark.parametrize(
    "name",
    ["", "  ", "a/b", "a\\b", "-x", "a" * 129, "a\nb", "a\0b", "\x1b[31m", " a", "a "],
    ids=lambda name: repr(name)[:12],
)
def test_bad_study_name_is_refused(refuse, name):
    assert "is no good name" in refuse(*DIGITS, f"--study={name}")


@pytest.mark.parametrize("share", ["0", "1", "2/3", "x", "", "1/0", "1/00", "-1/12", "nan"])
def test_bad_share_is_refused(refuse, share):
    assert "--valid-share" in refuse(*DIGITS, f"--valid-share={share}", "--storage", IN_MEMORY)


@pytest.mark.parametrize("device", ["cuda:9", "gpu", "", "cpu:0", "CPU"])
def test_device_that_is_not_here_is_refused(refuse, device):
    line = refuse(*DIGITS, "--device", device)
    assert "is not here: choose auto or " in line
    assert "cpu" in line


@pytest.mark.parametrize("space", ["block", "nope", "", "gone.py", "./gone", "../here"])
def test_space_that_is_not_there_is_refused(refuse, space):
    assert "--space" in refuse(*DIGITS, "--space", space)


def test_broken_space_is_refused_with_its_line(refuse, cwd):
    (cwd / "mine.py").write_text("import nas\n\nraise ValueError('a\\nb')\n")
    assert refuse(*DIGITS, "--space", "mine.py") == "nas: mine.py:3: ValueError: a b\n"


@pytest.mark.parametrize("dataset", ["imagenet", "", "./gone", "Digits"])
def test_data_set_that_is_not_there_is_refused(refuse, dataset):
    assert "--dataset" in refuse("search", "--budget", "20000", "--dataset", dataset)


def test_address_in_place_of_a_data_set_is_refused_without_its_password(refuse):
    line = refuse("search", "--budget", "20000", "--dataset", "postgresql://u:hunter2@host/x")
    assert "--dataset postgresql://u:***@host/x is an address: give a folder" in line


def test_image_size_of_a_named_data_set_is_refused(refuse):
    assert "--image-size" in refuse(*DIGITS, "--image-size", "16")


def test_budget_of_the_smallest_network_is_refused_and_one_more_is_not(refuse):
    """The limit is strict: a network of as many parameters as the budget does not fit."""
    line = refuse("search", "--dataset", "digits", "--budget", "1")
    smallest, enough = re.search(r"has ([\d,]+) parameters, so give (\d+) or more", line).groups()
    smallest, enough = (int(number.replace(",", "")) for number in (smallest, enough))
    assert enough == smallest + 1
    line = refuse("search", "--dataset", "digits", "--budget", str(smallest))
    assert f"--budget {smallest:,} is too small" in line
    # This one gets past the budget, to be refused for its storage.
    line = refuse("search", "--dataset", "digits", "--budget", str(enough), "--storage", "x")
    assert "--storage" in line


# The one network of TINY_SPACE: 650 parameters, 64 values in and 10 out.
TINY_DEVICE = device_bytes(
    Architecture((1, 8, 8), [Flatten(), Linear(10)]), names_bytes("0123456789")
)
LIMIT_OPTIONS = (
    "--max-flash", "--max-ram", "--max-macs", "--max-weight-bytes", "--max-activation-bytes"
)  # fmt: skip
LIMITS = [
    ("--max-macs", 32, 640, "multiply-accumulates"),
    ("--max-weight-bytes", 32, 2600, "bytes of weights"),
    ("--max-weight-bytes", 4, 325, "bytes of weights"),
    ("--max-activation-bytes", 32, 296, "bytes of activations"),
    ("--max-activation-bytes", 8, 74, "bytes of activations"),
    ("--max-flash", 32, TINY_DEVICE.flash, "bytes of flash"),
    ("--max-ram", 32, TINY_DEVICE.ram, "bytes of RAM"),
]


@pytest.mark.parametrize(("option", "bits", "cost", "unit"), LIMITS)
def test_limit_below_the_smallest_network_is_refused_with_what_is_enough(
    refuse, cwd, option, bits, cost, unit
):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    arguments = [*DIGITS, "--space", "tiny.py", "--bits", str(bits), option]
    assert refuse(*arguments, str(cost - 1)) == (
        f"nas: {option} {cost - 1:,} is too small: the smallest network of space tiny for digits "
        f"has {cost:,} {unit}, so give {cost} or more\n"
    )
    # This one gets past the limit, to be refused for its storage.
    assert "--storage" in refuse(*arguments, str(cost), "--storage", "x")


def test_limit_too_small_for_any_network_of_blocks_is_refused_with_one_that_is_enough(refuse):
    for option in ("--max-flash", "--max-macs"):
        line = refuse(*DIGITS, option, "9")
        assert line.startswith(f"nas: {option} 9 is too small: ")
        enough = re.search(r"so give (\d+) or more", line)[1]
        assert "--storage" in refuse(*DIGITS, option, enough, "--storage", "x")


def test_flash_alone_that_is_too_small_is_named_itself_not_a_budget_that_was_not_given(refuse):
    line = refuse("search", "--dataset", "digits", "--max-flash", "9")
    assert line.startswith("nas: --max-flash 9 is too small: ")
    assert re.search(r"has [\d,]+ bytes of flash, so give \d{4,} or more\n$", line)


# Storage


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("studies.db", "is no URL"),
        ("sqlite:///.", "is a folder"),
        ("sqlite:///", "is a folder"),
        ("sqlite:///gone/studies.db", "which is no folder"),
        ("sqlite:///empty.db", "is empty"),
        ("sqlite:///text.db", "is no SQLite database"),
        ("sqlite:///text.db/studies.db", "which is no folder"),
        ("nope://x", "cannot be opened"),
        ("://", "cannot be opened"),
    ],
)
@pytest.mark.parametrize("verb", [DIGITS, ("studies",)], ids=["search", "studies"])
def test_bad_storage_is_refused(refuse, cwd, verb, url, words):
    (cwd / "empty.db").touch()
    (cwd / "text.db").write_text("no database")
    line = refuse(*verb, "--storage", url)
    assert "--storage" in line
    assert words in line


def test_database_of_another_program_is_left_as_it_is(refuse, cwd):
    with sqlite3.connect(cwd / "other.db") as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    database.close()
    refuse("show", "--storage", "sqlite:///other.db")


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://somebody:hunter2@127.0.0.1:1/studies",
        "postgresql+psycopg2://somebody:hunter2@127.0.0.1:1/studies",
        "mysql://somebody:hunter2@127.0.0.1:1/studies",
        "redis://:hunter2@127.0.0.1:1/0",
        "nope://somebody:hunter2@127.0.0.1/studies",
        "postgresql://somebody:hunter2@127.0.0.1:port/studies",
        "postgresql://somebody:p@hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p@nowhere:hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p@hunter2/x@127.0.0.1:1/studies",
        "postgresql://somebody:p/hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p?hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p#hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p\nhunter2@127.0.0.1:1/studies",
        "postgresql://somebody:p:hunter2@127.0.0.1:1/studies",
        "postgresql://somebody:hunter2\0@127.0.0.1:1/studies",
        "postgresql://somebody:hunter2" + 300 * "x" + "@127.0.0.1:1/studies",
        "postgresql:/somebody:hunter2@127.0.0.1:1/studies",
        "somebody:hunter2@127.0.0.1:1/studies",
        "postgresql://127.0.0.1:1/studies?user=somebody&password=hunter2",
    ],
    ids=itertools.count(),
)
def test_password_of_a_storage_is_never_shown(refuse, cwd, url):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    assert "hunter2" not in refuse("studies", "--storage", url)
    assert "hunter2" not in refuse(*DIGITS, *QUICK, "--storage", url)


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize(
    "url", [None, "sqlite:///mine.db", "sqlite+pysqlite:///mine.db", "sqlite:///mine.db?timeout=5"]
)
def test_reading_a_missing_database_makes_none(refuse, verb, url, monkeypatch):
    def fail(*args):
        raise AssertionError("the dashboard was started")

    monkeypatch.setattr("nas.reports.dashboard.serve", fail)
    line = refuse(verb, *(["--storage", url] if url else []))
    assert "does not exist" in line
    assert "nas search" in line


# A study


TINY_SPACE = '''\
"""One linear layer, which is quick to train."""

from nas import Architecture, Candidate, Flatten, Linear, Recipe


def suggest(trial, task):
    layers = [Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(augmentation=0))
'''
QUICK = ("--space", "tiny.py", "--trials", "1", "--epochs", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder in which a search was run, and what the search wrote."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.py").write_text(TINY_SPACE)
    done = subprocess.run(
        [sys.executable, "-m", "nas", *DIGITS, *QUICK], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, url=f"sqlite:///{folder}/studies.db", out=done.stdout)


def test_search_makes_a_study_and_says_how_to_go_on(searched, run):
    assert (searched.folder / "studies.db").is_file()
    last = searched.out.splitlines()[-2:]
    assert last == [
        "look at it: nas show best --study tiny-digits-20000",
        "take it home: nas export --study tiny-digits-20000",
    ]
    assert run("studies", "--storage", searched.url).out.count("tiny-digits-20000") == 1


def test_study_that_is_complete_is_not_searched_further(searched, run, monkeypatch):
    monkeypatch.chdir(searched.folder)
    before = set(contents(searched.folder))
    done = run(*DIGITS, *QUICK, "--json")
    assert (done.code, done.err) == (0, "")
    events = [json.loads(line) for line in done.out.splitlines()]
    happened = [event["event"] for event in events if event["event"] != "note"]
    assert happened == ["search_started", "search_ended"]
    assert "small data needs more, such as --epochs" in searched.out
    assert "small data needs more" not in done.out  # than this study can still have
    assert set(contents(searched.folder)) == before


def test_study_of_another_budget_is_refused(searched, refuse, cwd):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    line = refuse(
        "search", "--dataset", "digits", "--budget", "30000", "--study", "tiny-digits-20000",
        *QUICK, "--storage", searched.url,
    )  # fmt: skip
    assert "--budget was 20000, now it is 30000" in line


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, "1M") for option in LIMIT_OPTIONS],
)
def test_study_of_other_limits_is_refused(searched, refuse, cwd, option, value):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    line = refuse(*DIGITS, *QUICK, "--storage", searched.url, option, value)
    assert f"cannot go on: {option} was " in line


def test_search_keeps_to_its_limits_and_remembers_them(run, cwd, trained_here):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    limits = ("--max-macs", "1k", "--max-weight-bytes", "700", "--bits", "8",
              "--max-activation-bytes", "80")  # fmt: skip
    done = run(*DIGITS, *QUICK, *limits)
    assert (done.code, done.err) == (0, "")
    words = (
        "fewer than 20,000 parameters, at most 1,000 multiply-accumulates, at most 700 bytes of "
        "weights, at most 80 bytes of activations, 8 bits a value"
    )
    assert words in " ".join(done.out.split())
    assert words in " ".join(run("show").out.split())
    facts = study_facts(open_study(open_storage(None)))
    assert (facts.max_macs, facts.max_weight_bytes, facts.max_activation_bytes) == (1000, 700, 80)
    assert facts.bits == 8
    assert run(*DIGITS, *QUICK, *limits, "--json").code == 0  # the same study goes on


def test_warm_start_from_an_unknown_study_is_refused_with_the_known_ones(searched, refuse, cwd):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    before = contents(searched.folder)
    line = refuse(*DIGITS, *QUICK, "--warm-start", "tiny-digits", "--storage", searched.url)
    assert line == "nas: no study 'tiny-digits' in the storage: did you mean tiny-digits-20000?\n"
    assert contents(searched.folder) == before


def test_warm_start_where_there_are_no_studies_yet_is_refused(refuse, cwd):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    line = refuse(*DIGITS, *QUICK, "--warm-start", "old")
    assert "no studies in studies.db: it does not exist" in line


@pytest.mark.parametrize("verb", ["show", "export", "certify"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "nope"], "no study 'nope' in the storage: there are tiny-digits-20000"),
        (["--study", ""], "no study ''"),
        (["999"], "has no trial 999"),
    ],
)
def test_study_or_trial_that_is_not_there_is_refused(searched, refuse, verb, arguments, words):
    before = contents(searched.folder)
    assert words in refuse(verb, *arguments, "--storage", searched.url)
    assert contents(searched.folder) == before


@pytest.fixture
def copied(searched, cwd):
    """The URL of a copy of its study, in the current folder."""
    shutil.copytree(searched.folder, cwd, dirs_exist_ok=True)
    return f"sqlite:///{cwd}/studies.db"


def test_weights_that_were_swapped_are_not_exported(copied, refuse, cwd):
    (path,) = (cwd / "studies-artifacts").iterdir()
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    assert "is not the file that was kept there" in refuse("export")


def test_formats_that_do_not_exist_are_refused(copied, refuse):
    line = refuse("export", "--format", "pytroch")
    assert "--format 'pytroch' is none: did you mean pytorch?" in line
    assert f"there are {', '.join(FORMATS)}, or all alone" in refuse("export", "--format", "")
    assert "is no whole number" in refuse("export", "--calibration", "0")


@pytest.mark.slow
def test_export_in_c_is_told_verified_and_found_out_when_it_has_changed(copied, run, cwd):
    done = run("export", "--format", "pytorch,c", "--calibration", "200", "--out", "mine")
    assert done.code == 0, done.err
    assert done.out.startswith("exported trial ")
    assert "c: validation accuracy" in done.out
    done = run("verify", "mine")
    assert done.code == 0, done.err
    assert "mine is what was exported: " in done.out
    path = cwd / "mine" / "c" / "net.c"
    path.write_text(path.read_text().replace("127", "126", 1))
    done = run("verify", "mine")
    assert (done.code, done.out) == (1, "")
    assert done.err == "nas: mine is not what was exported: c/net.c has changed\n"


def test_verifying_what_is_no_export_is_refused(refuse, cwd):
    assert "is no folder: give one that `nas export` has made" in refuse("verify", "nothing")
    (cwd / "empty").mkdir()
    assert "holds no SHA256SUMS" in refuse("verify", "empty")


HOSTILE_NAMES = {
    "parent": "../up", "absolute": "/tmp/nas-escaped", "inside": "a/../../b", "windows": "..\\up",
    "nul": "a\0b", "line": "a\nb", "escape": "\x1b[31mred", "option": "-rf", "blank": " ",
    "long": "a" * 300, "emoji": "😀" * 100,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_no_folder_is_named_after_a_study_with_a_hostile_name(
    copied, refuse, run, cwd, name, monkeypatch
):
    monkeypatch.setattr("nas.exporters.pytorch.check_export", lambda *_: 0.0)  # takes seconds
    with contextlib.closing(sqlite3.connect("studies.db")) as database, database:
        database.execute("UPDATE studies SET study_name = ?", (name,))
    assert "say with --out" in refuse("export")
    assert run("export", "--out", "mine").code == 0


@pytest.mark.slow
def test_code_in_the_current_folder_runs_only_when_it_is_named(copied, run, cwd, trained_here):
    (cwd / "search_spaces").mkdir()
    for path in (cwd / "tiny.py", *(cwd / "search_spaces" / f"{n}.py" for n in ("tiny", "blocks"))):
        path.write_text("open('ran', 'w')\n" + TINY_SPACE)
    for command in (["spaces"], ["studies"], ["show", "best"], ["export"]):
        assert run(*command).code == 0
    assert run("certify", "--seeds", "1", "--device", "cpu").code == 0
    done = run(*DIGITS, "--storage", IN_MEMORY, "--trials", "1", "--epochs", "1", "--device", "cpu")
    assert done.code == 0
    assert "not in search_spaces/blocks.py; --space blocks takes that" in done.out
    assert not (cwd / "ran").exists()
    assert run("check", "--budget", "20k", "--dataset", "digits", "--space", "blocks").code == 0
    assert (cwd / "ran").exists()


def test_certifying_or_exporting_a_proposal_that_was_turned_away_is_refused_with_the_reason(
    copied, refuse
):
    study = open_study(open_storage(copied))
    trial = study.ask()
    record_rejection(trial, Reason.OVER_BUDGET, "20,001 parameters do not fit", 20_001)
    study.tell(trial, state=TrialState.PRUNED)
    for arguments in (("certify", "0", "1"), ("export", "1")):
        line = refuse(*arguments)
        assert line == "nas: trial 1 was never trained: 20,001 parameters do not fit\n"


def test_certifying_a_study_without_a_trained_trial_is_refused(copied, refuse):
    storage = open_storage(copied)
    facts, data = study_facts(open_study(storage)), study_data(open_study(storage))
    open_or_create_study(storage, "fresh", facts, data, "text").ask()
    assert "study 'fresh' has no trained network yet" in refuse("certify", "--study", "fresh")


def test_certifying_on_a_device_that_is_not_here_is_refused(copied, refuse):
    assert "is not here: choose auto or " in refuse("certify", "--device", "cuda:9")


def test_certifying_on_images_that_have_changed_is_refused(copied, refuse):
    study = open_study(open_storage(copied))
    study.set_user_attr("data_sha256", "0" * 64)
    assert "digits changed since the search" in refuse("certify")


def test_certificate_is_printed_and_then_shown_with_the_study(copied, run, trained_here):
    done = run("certify", "--seeds", "2", "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    *lines, title, head, row = done.out.splitlines()
    assert "for the first time in this study" in "".join(lines)
    assert title.startswith("honest: ")
    assert "304 test images; this study opened them 1 time" in title
    assert head.split() == ["trial", "parameters", "accuracy"]
    assert row.split()[:2] == ["0", "650"]
    assert "(2 seeds, 95 %: " in row
    assert run("show").out.endswith(f"{title}\n{head}\n{row}\n")
    accuracy = row.partition("650")[2].strip()
    assert f"certified, honest: {accuracy}\n" in run("show", "0").out
    study = open_study(open_storage(copied))
    notes = study._storage.get_study_system_attrs(study._study_id)  # the dashboard shows them
    assert accuracy in str(notes)


def test_certificates_of_both_protocols_are_printed_apart(copied, run, trained_here):
    arguments = ("certify", "0", "0", "--seeds", "1", "--device", "cpu")
    assert run(*arguments).code == 0
    done = run(*arguments, "--protocol", "watched")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("trial 0, seed 1 of 1: ") == 1  # named twice, trained once
    before_watched, watched = done.out.split("watched: ")
    assert "opened them 2 times" in before_watched
    assert "best of all" in watched
    again = run(*arguments, "--protocol", "watched")
    assert again.out.strip() == done.out.partition("\n")[2].strip()


@pytest.mark.parametrize("trial", [[], ["best"]])
def test_study_is_shown(searched, run, trial):
    done = run("show", *trial, "--storage", searched.url)
    assert (done.code, done.err) == (0, "")
    assert "tiny-digits-20000" in done.out


def test_output_that_nobody_reads_is_no_fault(searched):
    command = f"{sys.executable} -m nas show --storage {searched.url} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


IN_SHELL = f"set -o pipefail; {sys.executable} -m nas "
SEARCH_IN_SHELL = IN_SHELL + "search --dataset digits --budget 20k --trials 1 --epochs 1 " + (
    "--space tiny.py --device cpu --workers 1 "
)  # fmt: skip


def in_shell(command, **variables):
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | variables
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    "command",
    [
        IN_SHELL + "--help", IN_SHELL + "spaces", IN_SHELL + "show", SEARCH_IN_SHELL,
        SEARCH_IN_SHELL + "--json",
    ],
)  # fmt: skip
def test_output_that_cannot_be_written_is_one_line(copied, command):
    done = in_shell(command + " > /dev/full")
    line = "nas: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, line)


@pytest.mark.slow
def test_lists_need_no_standard_output(copied):
    for verb in ("spaces", "studies", "show best"):
        done = in_shell(f"{IN_SHELL}{verb} >&-")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "--json"])
def test_search_whose_output_nobody_reads_ends_quietly_and_can_go_on(cwd, run, how):
    (cwd / "tiny.py").write_text(TINY_SPACE)
    done = in_shell(f"{SEARCH_IN_SHELL} {how} | true")
    assert (done.returncode, done.stderr) == (1, "")
    again = in_shell(SEARCH_IN_SHELL)
    assert (again.returncode, again.stderr) == (0, "")
    assert "the study holds 1 trained candidate," in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("is_plain", [True, False])
def test_colour_is_left_out_where_the_user_asks_for_that(copied, is_plain):
    code = f"import pty; pty.spawn([{sys.executable!r}, '-m', 'nas', 'show', 'best'])"
    variables = {"TERM": "xterm-256color", "COLUMNS": "100"} | (
        {"NO_COLOR": "1"} if is_plain else {}
    )
    done = in_shell(f'{sys.executable} -c "{code}"', **variables)
    assert "tiny-digits-20000" in done.stdout
    assert bool(re.search(r"\x1b\[[\d;]*(3|4|9)\d", done.stdout)) <= (not is_plain)


def test_folder_with_the_name_of_a_data_set_stays_a_folder(run, cwd, trained_here):
    from PIL import Image

    for name, value in (("dark", 20), ("light", 220)):
        (cwd / "digits" / "train" / name).mkdir(parents=True)
        for i in range(8):
            Image.new("L", (8, 8), value + i).save(cwd / "digits" / "train" / name / f"{i}.png")
    (cwd / "tiny.py").write_text(TINY_SPACE)
    done = run(
        "search", "--budget", "20000", "--dataset", "./digits", "--valid-share", "1/4", "--quiet",
        *QUICK,
    )  # fmt: skip
    assert done.code == 0
    facts = study_data(open_study(open_storage(None)))
    assert facts.source == str(cwd / "digits")
    assert facts.classes == ("dark", "light")


# Output


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_output_in_any_encoding_has_substitutes_and_no_traceback(cwd, encoding):
    storage = open_storage("sqlite:///studies.db", create=True)
    make_study(4, "s-\N{CJK UNIFIED IDEOGRAPH-732B}", storage)
    (cwd / "search_spaces").mkdir()
    (cwd / "search_spaces" / "tiles.py").write_text('"""\N{CJK UNIFIED IDEOGRAPH-732B} \x1b[31m"""')
    code = (
        "from nas.cli.main import main\n"
        "for verb in ('show', 'studies', 'spaces'):\n"
        "    assert main([verb]) == 0\n"
        "    print('ended', verb)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding, "FORCE_COLOR": "1", "NO_COLOR": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    *said, rest = done.stdout.decode(encoding).split("ended")
    assert ["?" in part for part in said] == [True] * 3
    assert rest.split() == ["spaces"]
    assert b"\x1b[31m" not in done.stdout


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("verb", ["search", "check"])
def test_first_line_on_a_terminal_comes_before_torch_and_the_images(verb, cwd, monkeypatch):
    def seen(*_, **__):
        raise NasError(sys.stdout.getvalue().splitlines()[0])

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(nas, verb, seen)
    assert main([verb, *DIGITS[1:]]) == 2
    assert sys.stderr.getvalue() == f"nas: nas {verb}: loading digits ...\n"


def test_space_of_a_study_is_written_as_it_was_searched(cwd, capsys):
    storage = open_storage("sqlite:///studies.db", create=True)
    text = '"""Mine."""\nimport nas\n\ndef suggest(trial, task): ...\n'
    digest = hashlib.sha256(text.encode()).hexdigest()
    facts = StudyFacts("mine", digest, 2_000, "digits", "0" * 64, "0" * 64, 19, 0)
    data = DataFacts("digits", None, "1/6", 0, (1, 8, 8), ("0", "1"), (0.3,), (0.4,), 9, 9)
    open_or_create_study(storage, "own", facts, data, text)
    assert main(["spaces", "--study", "own"]) == 0
    assert capsys.readouterr().out == "wrote mine.py; --space ./mine.py takes that\n"
    assert Path("mine.py").read_text() == text
    assert main(["spaces", "--study", "own"]) == 2
    assert "--out mine.py exists" in capsys.readouterr().err
    assert main(["spaces", "--study", "own", "--out", "old/mine.py"]) == 0
    assert main(["spaces", "--out", "x.py"]) == 2
    assert "--out is for the space of one study: give --study NAME" in capsys.readouterr().err


def test_spaces_are_told_in_the_width_of_the_terminal(cwd, monkeypatch):
    for width in (80, 40):
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["spaces"]) == 0
        lines = sys.stdout.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        names = {line.split()[0] for line in lines if line[:1].strip()}
        assert {"blocks", "references", "tied"} <= names
        assert "blocks.py" not in sys.stdout.getvalue()
