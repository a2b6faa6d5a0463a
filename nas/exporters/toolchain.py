"""Compile the C of an export and run it: on this machine, and on a simulated Cortex-M4.

Only programs that are there are used; none is installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.errors import ExportError

TIMEOUT_SECONDS = 600

CFLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-O3")
ARM_FLAGS = (
    "-std=c99", "-Wall", "-Wextra", "-O2", "-mcpu=cortex-m4", "-mthumb", "-ffunction-sections",
    "-fdata-sections", "-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs",
    "-Wl,--gc-sections",
)  # fmt: skip
SIZE_FLAGS = ("-std=c99", "-Os", "-mcpu=cortex-m0plus", "-mthumb")
QEMU_FLAGS = (
    "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0",
    "-semihosting-config", "enable=on,target=native",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What the network takes on a Cortex-M4, compiled with -O2."""

    flash_bytes: int  # of net.c: code, weights and tables
    ram_bytes: int  # of net.c: its static buffer
    stack_bytes: int  # of a call of nas_scores
    instructions: int  # an image; no cycles, no time
    compiler: str

    def to_json(self) -> dict[str, int | str]:
        return asdict(self)

    def rows(self) -> tuple[tuple[str, str], ...]:
        """What is counted, and how much of it there is."""
        return (
            ("flash for code, weights and tables", f"{self.flash_bytes:,} bytes"),
            ("RAM", f"{self.ram_bytes:,} bytes"),
            ("stack", f"{self.stack_bytes:,} bytes"),
            ("instructions an image", f"{self.instructions:,}"),
        )


@dataclass(frozen=True)
class Sizes:
    """What net.c takes on a Cortex-M0+, compiled with -Os."""

    flash_bytes: int  # code, weights and tables
    ram_bytes: int  # its static buffer
    stacks: dict[str, int]  # bytes of each function's frame
    compiler: str

    @property
    def stack_bytes(self) -> int:
        """The frames of a call of nas_predict, without those of the compiler's own functions."""
        outer = ("nas_predict", "nas_scores")
        inner = [n for name, n in self.stacks.items() if name not in (*outer, "to_byte")]
        frames = [self.stacks.get(name, 0) for name in (*outer, "to_byte")]
        return sum(frames) + max(inner, default=0)


def sizes_on_cortex_m0(folder: Path) -> Sizes | str:
    """What the compiled code takes on a small processor, or why that cannot be said here."""
    arm, size = "arm-none-eabi-gcc", "arm-none-eabi-size"
    for program in (arm, size):
        if shutil.which(program) is None:
            return f"not measured: no {program}"
    with tempfile.TemporaryDirectory() as temporary:
        compiled = Path(temporary) / "net.o"
        source = str(folder / "net.c")
        done = run([arm, *SIZE_FLAGS, "-fstack-usage", "-c", source, "-o", str(compiled)])
        if done.returncode != 0:
            return f"not measured: {arm} does not compile it: {error_of(done)}"
        sections = run([size, str(compiled)]).stdout.decode().splitlines()[-1].split()
        frames = [line.split("\t") for line in compiled.with_suffix(".su").read_text().splitlines()]
    text, data, bss = map(int, sections[:3])
    stacks = {where.split(":")[-1].split(".")[0]: int(frame) for where, frame, *_ in frames}
    return Sizes(text + data, data + bss, stacks, version([arm]))


def host_compiler() -> list[str] | None:
    """$CC, cc, gcc or clang, with the arguments that $CC may hold."""
    given = shlex.split(os.environ.get("CC", ""))
    for command in ([given] if given else []) + [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def version(command: list[str]) -> str:
    """The first line of what a compiler says about itself."""
    done = run([command[0], "--version"])
    return (done.stdout.decode(errors="replace").splitlines() or [command[0]])[0].strip()


def run_on_host(compiler: list[str], folder: Path, pixels: bytes) -> bytes:
    """Compile test.c, compare its vectors, and give the scores of these images.

    Raises:
        ExportError: it does not compile or run, or a byte of its own vectors differs.
    """
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / "run-test"
        sources = [str(folder / name) for name in ("test.c", "net.c")]
        done = run([*compiler, *CFLAGS, *sources, "-o", str(program)])
        if done.returncode != 0:
            raise ExportError(f"{compiler[0]} does not compile the C code: {error_of(done)}")
        done = run([str(program)])
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip().splitlines()
            raise ExportError(f"the C code fails on vectors.h: {said[-1] if said else 'no output'}")
        done = run([str(program), "-"], pixels)
        if done.returncode != 0:
            raise ExportError(f"the C code does not run: exit code {done.returncode}")
        return done.stdout


def measure_on_cortex_m4(folder: Path) -> Measured | str:
    """What the network takes on the simulated processor, or why that cannot be said here.

    Raises:
        ExportError: it runs there, and a byte of the scores differs.
    """
    arm, size, qemu = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
    for program in (arm, size, qemu):
        if shutil.which(program) is None:
            return f"not measured: no {program}"
    with tempfile.TemporaryDirectory() as temporary:
        image, compiled = Path(temporary) / "image", Path(temporary) / "net.o"
        link = ["-T", str(folder / "cortex-m4" / "link.ld"), "-I", str(folder)]
        sources = [str(folder / "cortex-m4" / "main.c"), str(folder / "net.c")]
        for command in (
            [arm, *ARM_FLAGS, *link, *sources, "-o", str(image)],
            [arm, *ARM_FLAGS, "-c", sources[1], "-o", str(compiled)],
        ):
            done = run(command)
            if done.returncode != 0:
                return f"not measured: {arm} does not link it: {error_of(done)}"
        sections = run([size, str(compiled)]).stdout.decode().splitlines()[-1].split()
        done = run([qemu, *QEMU_FLAGS, "-kernel", str(image)])
    said = (done.stdout + done.stderr).decode(errors="replace")
    found = {name: int(n) for name, n in re.findall(r"^(\w+) (\d+)$", said, re.M)}
    if {"differ", "stack", "instructions"} - found.keys():
        return f"not measured: {qemu} ended with exit code {done.returncode}: {error_of(done)}"
    if found["differ"]:
        raise ExportError(f"on a Cortex-M4 {found['differ']} bytes of the scores differ")
    text, data, bss = map(int, sections[:3])
    return Measured(text + data, data + bss, found["stack"], found["instructions"], version([arm]))


def run(command: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program with that on its standard input; raises ExportError where it cannot run."""
    try:
        return subprocess.run(
            command, input=given, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{Path(command[0]).name} did not end within {TIMEOUT_SECONDS} s"
        ) from None
    except OSError as error:
        raise ExportError(f"{command[0]} does not run: {error.strerror}") from error


def error_of(done: subprocess.CompletedProcess[bytes]) -> str:
    """The line of its complaints that says most."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()]
    return " ".join((errors or lines or ["no message"])[0].split())[:200]
