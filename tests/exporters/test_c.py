"""The C code: the bytes of the simulation, on this machine and on a simulated Cortex-M4."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from nas.candidates.layers import Conv, Flatten, GlobalAvgPool
from nas.exporters import c, c_source
from nas.exporters.contract import Expected
from nas.exporters.toolchain import CFLAGS, Measured, host_compiler, measure_on_cortex_m4
from tests.exporters.networks import NETWORKS, build, images, integers

CC = pytest.mark.skipif(host_compiler() is None, reason="no C compiler (cc, gcc, clang)")
ARM = pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc or no qemu-system-arm",
)
STRICT = [*CFLAGS[:-1], "-O1", "-Werror", "-Wconversion", "-Wshadow", "-Wstrict-prototypes"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def write(folder, layers, shape=(1, 9, 9), classes="abc", num_vectors=4):
    """The C of a network, as the format writes it; the images it has, and their scores."""
    network, _, _ = integers(layers, shape)
    architecture, _ = build(layers, shape)
    x = images(20, shape, seed=1).numpy()
    scores = network.run(x)
    names = classes if len(classes) == scores.shape[1] else [str(n) for n in range(scores.shape[1])]
    shutil.copytree(c_source.CODE, folder, dirs_exist_ok=True)
    (folder / "net.c").write_text(c_source.source(network, architecture, "T", ["o"], names))
    (folder / "net.h").write_text(c_source.header(network, architecture, "T"))
    (folder / "vectors.h").write_text(c_source.vectors(x[:num_vectors], scores[:num_vectors]))
    return x, scores


def compile_and_run(folder, x):
    program = str(folder / "program")
    compiler = host_compiler()
    command = [*compiler, *STRICT, str(folder / "test.c"), str(folder / "net.c"), "-o", program]
    done = subprocess.run([*command, *SANITIZE], capture_output=True, text=True, check=False)
    if "sanitize" in done.stderr or "cannot find" in done.stderr:  # not every compiler has them
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pixels = x.transpose(0, 2, 3, 1).tobytes()
    done = subprocess.run([program, "-"], input=pixels, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, np.int8).reshape(len(x), -1)


def cases():
    """Every network on grey and on coloured images; those of the search spaces come first."""
    for name in NETWORKS:
        for shape in [(1, 9, 9), (3, 9, 10)]:
            if name == "features" and shape[0] > 1:
                continue  # its residual is for 9 features
            is_quick = shape[0] == 1 and name in ("residual", "strides", "tied", "average")
            marks = () if is_quick else (pytest.mark.slow,)
            yield pytest.param(name, shape, marks=marks, id=f"{name}-{shape[0]}")


@CC
@pytest.mark.parametrize(("name", "shape"), list(cases()))
def test_every_byte_is_that_of_the_simulation_without_a_warning_or_an_overflow(
    name, shape, tmp_path
):
    x, scores = write(tmp_path, NETWORKS[name], shape)
    assert np.array_equal(compile_and_run(tmp_path, x), scores)


@CC
def test_names_of_classes_are_any_text(tmp_path):
    names = ['"', "\\", "??/", "größe 😀", "*/ // \n\x1b", "%s"]
    write(tmp_path, [Conv(6), GlobalAvgPool(), Flatten()], classes=names)
    main = """
#include <stdio.h>
#include <string.h>
#include "net.h"
int main(void) {
    for (int i = 0; i < NAS_NUM_CLASSES; i++)
        fwrite(nas_classes[i], strlen(nas_classes[i]), 1, stdout);
    return 0;
}"""
    (tmp_path / "test.c").write_text(main)
    compile_args = [*host_compiler(), *STRICT, "test.c", "net.c", "-o", "names"]
    subprocess.run(compile_args, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert said.decode() == "".join(names)


def test_code_has_no_heap_no_library_and_only_the_kernels_it_uses(tmp_path):
    write(tmp_path, NETWORKS["blocks"])
    text = (tmp_path / "net.c").read_text()
    assert set(re.findall(r"#include (.*)", text)) == {'"net.h"', "<limits.h>"}
    assert "malloc" not in text
    assert "add(" not in text
    assert "float" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_weights_of_a_tied_convolution_are_written_once(tmp_path):
    write(tmp_path, NETWORKS["tied"])
    text = (tmp_path / "net.c").read_text()
    assert text.count("static const int8_t weights2[") == 1
    assert text.count(".weights = weights2,") == 3


@CC
@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_test_passes_and_fails_when_a_weight_has_changed(tmp_path):
    write(tmp_path, NETWORKS["residual"])
    values = {"cflags": "-std=c99", "arm_flags": "", "qemu_flags": ""}
    (tmp_path / "Makefile").write_text(c_source.template("Makefile", **values))
    done = subprocess.run(
        ["make", "test"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 of 12 bytes differ"
    text = (tmp_path / "net.c").read_text()
    row = re.search(r"weights1\[\d+\] = \{[^\n]*\n(.*?)\n", text)[1]
    (tmp_path / "net.c").write_text(text.replace(row, re.sub(r"-?\d+", "7", row), 1))
    done = subprocess.run(["make", "test"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_example_compiles_as_arduino_would(tmp_path):
    write(tmp_path, NETWORKS["blocks"])
    stub = """
struct Port {
  template <class T> void print(T) {}
  template <class T> void println(T) {}
  void begin(long) {}
};
static Port Serial;
static unsigned long micros() { return 0; }
static void delay(unsigned long) {}
void setup();
void loop();
int main() { setup(); loop(); }
"""
    (tmp_path / "Arduino.h").write_text(stub)
    example = ["-x", "c++", "-include", "Arduino.h", "example/example.ino"]
    subprocess.run([*host_compiler(), "-std=c99", "-c", "net.c"], cwd=tmp_path, check=True)
    subprocess.run(
        ["g++", "-std=gnu++11", "-Wall", "-Wextra", "-Werror", "-I.", *example, "-x", "none",
         "net.o", "-o", "sketch"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    subprocess.run([tmp_path / "sketch"], check=True)


@ARM
def test_cortex_m4_gives_the_same_bytes_and_says_what_they_took(tmp_path):
    write(tmp_path, NETWORKS["tied"])
    found = measure_on_cortex_m4(tmp_path)
    assert isinstance(found, Measured)
    architecture, _ = build(NETWORKS["tied"])
    assert 2 < found.instructions / architecture.num_macs < 50
    assert 32 < found.stack_bytes < 250
    assert architecture.num_params < found.flash_bytes < 2 * architecture.num_params + 8000
    assert found.ram_bytes <= architecture.peak_values


@ARM
def test_stack_that_is_said_is_that_of_the_call(tmp_path):
    write(tmp_path, NETWORKS["tied"])
    before = measure_on_cortex_m4(tmp_path).stack_bytes
    text = (tmp_path / "net.c").read_text()
    more = "{ volatile int8_t used[4000]; for (int i = 0; i < 4000; i++) used[i] = 0;\n"
    head = "void nas_scores(const uint8_t *pixels, int8_t *scores)\n"
    (tmp_path / "net.c").write_text(text.replace(head + "{\n", head + more))
    assert 4000 <= measure_on_cortex_m4(tmp_path).stack_bytes - before < 4100


@ARM
def test_cortex_m4_that_computes_other_bytes_is_noticed(tmp_path):
    x, scores = write(tmp_path, NETWORKS["blocks"])
    (tmp_path / "vectors.h").write_text(c_source.vectors(x[:2], scores[:2] ^ 1))
    with pytest.raises(c.ExportError, match="on a Cortex-M4 6 bytes of the scores differ"):
        measure_on_cortex_m4(tmp_path)


def test_without_a_compiler_it_is_said_that_nothing_was_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    x, scores = write(tmp_path, NETWORKS["blocks"])
    proof = c.check(tmp_path, Expected(torch.from_numpy(x), torch.from_numpy(scores), 1))
    assert proof.lines == ("c: not compiled: no C compiler (cc, gcc, clang) was found",)


@CC
def test_without_the_cross_compiler_the_rest_is_compared(tmp_path, monkeypatch):
    x, scores = write(tmp_path, NETWORKS["blocks"])
    monkeypatch.setattr(c, "measure_on_cortex_m4", lambda folder: "not measured: no qemu")
    proof = c.check(tmp_path, Expected(torch.from_numpy(x), torch.from_numpy(scores), 1))
    assert "0 of 60 bytes" in proof.lines[0]
    assert proof.lines[1] == "c: Cortex-M4 not measured: no qemu"


@CC
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("#error no\n", "does not compile the C code: .*#error no"),
        ("__attribute__((constructor)) static void f(void) { __builtin_trap(); }\n",
         "the C code fails on vectors.h|does not run"),
    ],
    ids=["compile", "crash"],
)  # fmt: skip
def test_code_that_does_not_compile_or_run_is_refused_in_one_line(tmp_path, change, why):
    x, scores = write(tmp_path, NETWORKS["blocks"])
    (tmp_path / "net.c").write_text((tmp_path / "net.c").read_text() + change)
    with pytest.raises(c.ExportError, match=why) as refused:
        c.check(tmp_path, Expected(torch.from_numpy(x), torch.from_numpy(scores), 1))
    assert "\n" not in str(refused.value)


@CC
def test_other_bytes_are_counted(tmp_path):
    x, scores = write(tmp_path, NETWORKS["blocks"], num_vectors=2)
    wrong = torch.from_numpy(scores.copy())
    wrong[5, 0] ^= 1
    with pytest.raises(c.ExportError, match=r"^1 of 60 bytes that the C code computes are not"):
        c.check(tmp_path, Expected(torch.from_numpy(x), wrong, 1))
