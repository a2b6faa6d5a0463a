"""A changed byte of an export is found: by its hash, and with the hash rewritten, by the scores."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

from nas.errors import ExportError, VerifyError
from nas.exporters import verify
from nas.exporters.export import export_trial
from nas.exporters.manifest import write_sums
from nas.exporters.toolchain import host_compiler
from nas.exporters.verify import verify_export
from tests.exporters.networks import trial_of

CC = pytest.mark.skipif(host_compiler() is None, reason="no C compiler (cc, gcc, clang)")


@pytest.fixture(scope="module")
def once(tiny_data, tiny_architecture, tmp_path_factory):
    """An export in three formats; tests/exporters/test_c.py has what runs on another processor."""
    trial = trial_of(tiny_architecture, tiny_data)
    out = tmp_path_factory.mktemp("export") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.exporters.c.measure_on_cortex_m4", lambda folder: "not measured: test")
        yield export_trial(*trial, "s", tiny_data, out, formats=("pytorch", "c", "html")).folder


@pytest.fixture
def folder(once, tmp_path):
    """A copy of it elsewhere."""
    return shutil.copytree(once, tmp_path / "elsewhere")


@CC
def test_export_is_proved_again_elsewhere_and_nothing_is_left_behind(folder):
    before = {path for path in folder.rglob("*")}
    done = verify_export(folder)
    assert done.formats == ("pytorch", "c", "html")
    assert done.num_params == 454
    assert done.num_vectors == 10
    assert "0 of 40 bytes of the scores of 10 images differ" in done.lines[1]
    assert set(folder.rglob("*")) == before


FILES = (
    "network.py", "weights.safetensors", "spec.json", "vectors.safetensors", "README.md", "c/net.c",
    "c/vectors.h", "c/cortex-m4/main.c", "html/index.html",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_changed_byte_is_found_by_its_hash(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        VerifyError, match=rf"not what was exported: {re.escape(name)} has changed$"
    ):
        verify_export(folder)


def test_file_that_is_gone_or_not_listed_is_found(folder):
    (folder / "c" / "net.h").unlink()
    with pytest.raises(VerifyError, match=r"c/net\.h is gone$"):
        verify_export(folder)
    write_sums(folder)
    with pytest.raises(VerifyError, match=r"does not list c/net\.h$"):
        verify_export(folder)


def edit(path, pattern, change):
    text = path.read_text()
    found = re.search(pattern, text)
    path.write_text(text[: found.start(1)] + change(found[1]) + text[found.end(1) :])


def change_weight(folder):
    path = folder / "weights.safetensors"
    weights = load_file(path)
    weights["0.weight"][0, 0, 0, 0] += 0.5
    save_file(weights, path)


def change_vector(folder):
    path = folder / "vectors.safetensors"
    vectors = load_file(path)
    vectors["images"][3] = 255 - vectors["images"][3]
    save_file(vectors, path)


def change(name, pattern, new):
    """Puts `new` in the place of the pattern's first group."""
    return lambda folder: edit(folder / name, pattern, lambda old: new)


CHANGES = {
    "weight of pytorch": change_weight,
    "weight of c": change("c/net.c", r"weights2\[\d+\][^\n]*\n\s+(-?\d+)", "99"),
    "weight of html": change("html/index.html", r"weights2: [^\n]*\n\s+(-?\d+)", "99"),
    "count": change("spec.json", r'"num_params": (\d+)', "455"),
    "code of pytorch": change("network.py", r"return \((images)\.float", "(images // 2)"),
    "code of c": change("c/net.c", r"(\+=) \(x", "-="),
    "code of html": change("html/index.html", r"sum (\+=) values", "-="),
    "vector": change_vector,
    "score of vectors.h": lambda folder: edit(
        folder / "c/vectors.h",
        r"vector_scores[^\n]*\n[^\n]*\n\s+(-?\d+)",
        lambda old: str(-int(old) - 1),
    ),
}
QUICK = 2  # the others are of the same kinds


@CC
@pytest.mark.parametrize(
    "make_change",
    [
        pytest.param(f, marks=() if n < QUICK else (pytest.mark.slow,), id=name)
        for n, (name, f) in enumerate(CHANGES.items())
    ],
)
def test_change_whose_hash_was_rewritten_is_found_by_the_scores_or_the_count(
    folder, make_change, request
):
    if "html" in request.node.callspec.id and shutil.which("node") is None:
        pytest.skip("no node")
    make_change(folder)
    write_sums(folder)
    with pytest.raises(VerifyError) as found:
        verify_export(folder)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("{", "cannot be read"), ("[]", "holds no description"), ("{}", "names no formats"),
        ('{"formats": {"fortran": {}}}', "names no formats"),
        ('{"formats": {"c": {}}, "architecture": 3}', "describes no network"),
    ],
)  # fmt: skip
def test_damaged_description_is_refused_in_one_line(folder, spec, why):
    (folder / "spec.json").write_text(spec)
    write_sums(folder)
    with pytest.raises(VerifyError, match=why):
        verify_export(folder)


def test_damaged_vectors_are_refused_in_one_line(folder):
    (folder / verify.VECTORS).write_bytes(b"no tensors")
    write_sums(folder)
    with pytest.raises(VerifyError, match=r"vectors\.safetensors cannot be read"):
        verify_export(folder)


@pytest.mark.parametrize("line", ["x", "0" * 64 + "  ../up", "0" * 64 + "  /etc/passwd", "\x00"])
def test_list_that_leads_elsewhere_or_is_damaged_is_refused(folder, line):
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(VerifyError, match="is damaged"):
        verify_export(folder)


def test_folder_that_is_no_export_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ExportError, match="is no folder: give one that `nas export` has made"):
        verify_export(tmp_path / "nothing")
    with pytest.raises(ExportError, match="holds no SHA256SUMS"):
        verify_export(tmp_path)


def test_without_a_compiler_it_is_said_that_the_c_code_was_not_run(folder, monkeypatch):
    monkeypatch.setattr("nas.exporters.c.host_compiler", lambda: None)
    done = verify_export(folder)
    assert "not compiled" in done.lines[1]
    assert done.not_run[0] == "c"  # without node the page is not run, either


def test_spec_names_every_format_with_its_figures(folder):
    spec = json.loads((folder / "spec.json").read_text())
    assert list(spec["formats"]) == ["pytorch", "c", "html"]
    assert spec["formats"]["c"]["weight_bytes"] == 6 * 9 + 96 * 4
