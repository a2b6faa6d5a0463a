"""Export networks in every format, and compare what their code computes with what was measured.

    python benchmarks/exports.py [--storage URL] [--study NAME ...] [--calibration N]
    python benchmarks/exports.py formats [the same]
    python benchmarks/exports.py random [--space NAME ...] [--count 10] [--images 10]
                                        [--budget 3000] [--seed 0]

Without a word the best network of each study is exported as int8 C to a folder that is thrown away,
by `nas.export`: all bytes of the scores of all validation images are those of the integer
simulation, or no export. Prints a table: accuracy on validation images in floats and in int8,
labels that differ, bytes, and what a simulated Cortex-M4 says where `arm-none-eabi-gcc` and
`qemu-system-arm` are there.

`formats` exports it as `pytorch,onnx,onnx-int8,c` and prints a row for each: accuracy, labels that
differ from those of the trained network, bytes, and how many times as fast as PyTorch's modules an
image is classified, by itself, on one core of this machine (median of rounds that take turns).

`random` draws networks of every shipped space for grey and coloured images, gives them random
weights and norms with factors of any sign, compiles each with warnings as errors, and compares all
bytes of the scores of random images. Where `arm-none-eabi-gcc` is there, what it makes of each for
a Cortex-M0+ is compared with what --max-flash and --max-ram say; `object` is what the compiler of
this machine makes of net.c with -Os (code, constants, data), for information: with pointers of 64
bits and aligned arrays it is larger. The exit code is 1 when a byte differs, or a size on the
Cortex-M0+ by more than 5 % and 512 bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import nas
from nas.candidates.architecture import Architecture
from nas.candidates.device import device_bytes, names_bytes
from nas.exporters.c_source import CODE, header, source, vectors
from nas.exporters.folding import graph_of
from nas.exporters.quantize import quantize
from nas.exporters.toolchain import CFLAGS, Sizes, host_compiler, run_on_host, sizes_on_cortex_m0
from nas.spaces.draws import draw
from nas.spaces.loader import load_space
from nas.spaces.places import list_spaces
from nas.spaces.task import Task

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 16, 12), (1, 10, 14), (3, 48, 48))
NUM_CLASSES = 10
FORMATS = "pytorch,onnx,onnx-int8,c"
ROUNDS, CALLS = 21, 20
TOLERANCE = (0.05, 512)  # a share and bytes: a size may be off by the larger of them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "mode", nargs="?", choices=["studies", "formats", "random"], default="studies"
    )
    parser.add_argument("--storage")
    parser.add_argument("--study", nargs="+", default=[])
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--count", type=int, default=10, help="networks of each space")
    parser.add_argument("--space", nargs="+", help="of random networks (default: all)")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--budget", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if host_compiler() is None:
        sys.exit("no C compiler (cc, gcc, clang): nothing can be compared")
    if options.mode == "random":
        sys.exit(compare_random(options))
    (compare_formats if options.mode == "formats" else compare_studies)(options)


def compare_studies(options: argparse.Namespace) -> None:
    print(
        "| study | parameters | float | int8 | other labels | bytes that differ | int8 weights | "
        "flash | RAM | stack | instructions an image | a MAC |"
    )
    print("|" + " --- |" * 12)
    for name in options.study or nas.list_studies(storage=options.storage):
        best = nas.load_study(name, storage=options.storage).best
        with tempfile.TemporaryDirectory() as folder:
            done = nas.export(
                best, Path(folder) / "out", format="c", calibration=options.calibration
            )
        (result,) = done.results
        figures = result.figures
        compared = figures["num_compared"] * best.architecture.num_classes
        m4 = figures.get("cortex_m4")
        measured = ["not measured"] * 5
        if m4 is not None:
            per_mac = m4["instructions"] / best.architecture.num_macs
            measured = [f"{m4[n]:,}" for n in ("flash_bytes", "ram_bytes", "stack_bytes")]
            measured += [f"{m4['instructions']:,}", f"{per_mac:.1f}"]
        cells = [
            name, f"{done.num_params:,}", f"{done.accuracy:.2%}", f"{result.accuracy:.2%}",
            f"{result.num_other_labels:,} of {done.num_checked:,}", f"0 of {compared:,}",
            f"{figures['weight_bytes']:,}", *measured,
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def compare_formats(options: argparse.Namespace) -> None:
    print("| study | format | accuracy | other labels | bytes | times as fast as PyTorch |")
    print("|" + " --- |" * 6)
    for name in options.study or nas.list_studies(storage=options.storage):
        best = nas.load_study(name, storage=options.storage).best
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "out"
            done = nas.export(best, folder, format=FORMATS, calibration=options.calibration)
            seconds = latencies(folder, best.model().eval(), best.architecture)
        for result in done.results:
            num_bytes = result.figures.get("file_bytes", result.figures.get("weight_bytes"))
            cells = [
                name, result.name, "" if result.accuracy is None else f"{result.accuracy:.2%}",
                f"{result.num_other_labels:,} of {done.num_checked:,}",
                f"{num_bytes:,}" + (" of weights" if result.name == "c" else ""),
                f"{seconds['pytorch'] / seconds[result.name]:.1f}",
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


def latencies(folder: Path, model: nn.Module, architecture: Architecture) -> dict[str, float]:
    """Seconds that an image takes in each format, one by one on one core."""
    import onnxruntime

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (1, *architecture.input_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    scores = ctypes.create_string_buffer(architecture.num_classes)

    def session(name: str) -> Callable[[], object]:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        made = onnxruntime.InferenceSession(
            folder / "onnx" / name, settings, providers=["CPUExecutionProvider"]
        )
        given = {"images": images.numpy()}
        return lambda: made.run(None, given)

    compiler = host_compiler()
    assert compiler is not None
    library, source_file = folder / "net.so", folder / "c" / "net.c"
    subprocess.run(
        [*compiler, *CFLAGS, "-shared", "-fPIC", str(source_file), "-o", str(library)], check=True
    )
    code = ctypes.CDLL(str(library)).nas_scores
    calls: dict[str, Callable[[], object]] = {
        "pytorch": lambda: model(images.float()),
        "onnx": session("network.onnx"),
        "onnx-int8": session("network-int8.onnx"),
        "c": lambda: code(pixels, scores),
    }
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for number in range(ROUNDS + 1):
            for name, call in calls.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    call()
                if number:  # the first one only warms up
                    rounds[name].append((time.perf_counter() - start) / CALLS)
    return {name: statistics.median(found) for name, found in rounds.items()}


def compare_random(options: argparse.Namespace) -> int:
    print(
        "| space | networks | refused | bytes compared | bytes that differ | flash | off by at "
        "most | RAM | off by at most | object | off by at most | too far off |"
    )
    print("|" + " --- |" * 12)
    num_wrong, classes = 0, [str(label) for label in range(NUM_CLASSES)]
    for name in options.space or [entry.name for entry in list_spaces()]:
        space, num_compared, num_different, num_refused = load_space(name), 0, 0, 0
        sizes: dict[str, list[tuple[int, int]]] = {"flash": [], "RAM": [], "object": []}
        for number in range(options.count):
            shape = SHAPES[number % len(SHAPES)]
            budget = 20_000 if name == "references" else options.budget
            shape = (1, 28, 28) if name == "references" else shape
            draws = draw(space, Task(shape, NUM_CLASSES, budget), options.seed + number)
            candidate = next(c for c in draws if isinstance(c, nas.Candidate))
            try:
                compared, different, found, here = compare(candidate.architecture, options, number)
            except nas.NasError as error:
                num_refused += 1
                print(f"# {name} {number}: {error}", file=sys.stderr)
                continue
            num_compared += compared
            num_different += different
            said = device_bytes(candidate.architecture, names_bytes(classes))
            if here is not None:
                sizes["object"].append((said.flash, here))
            if isinstance(found, Sizes):
                sizes["flash"].append((said.flash, found.flash_bytes))
                sizes["RAM"].append((said.ram, found.ram_bytes + found.stack_bytes))
        num_off = sum(
            abs(said - real) > max(real * TOLERANCE[0], TOLERANCE[1])
            for said, real in sizes["flash"] + sizes["RAM"]
        )
        num_wrong += num_different + num_refused + num_off
        cells = [f"{options.count}", f"{num_refused}", f"{num_compared:,}", f"{num_different:,}"]
        for pairs in sizes.values():
            real = sorted(real for _, real in pairs) or [0]
            off = max((abs(said - real) for said, real in pairs), default=0)
            share = max((abs(said - real) / real for said, real in pairs), default=0)
            cells += [f"{real[0]:,} to {real[-1]:,}", f"{off:,} ({share:.1%})"]
        print(f"| {' | '.join([name, *cells, str(num_off)])} |", flush=True)
    return int(num_wrong > 0)


def compare(
    architecture: Architecture, options: argparse.Namespace, seed: int
) -> tuple[int, int, Sizes | str, int | None]:
    """Bytes of scores that were compared, and that differ; the sizes on a Cortex-M0+, and here."""
    torch.manual_seed(seed)
    model = architecture.build().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.01, 3)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, 0, 0.5)
    channels = architecture.input_shape[0]
    images = torch.randint(0, 256, (options.images, *architecture.input_shape), dtype=torch.uint8)
    graph = graph_of(architecture, model)
    network = quantize(graph, images, (0.4,) * channels, (0.3,) * channels)
    scores = network.run(images.numpy())
    names = [str(label) for label in range(architecture.num_classes)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "net.c").write_text(source(network, architecture, "", [], names))
        (folder / "net.h").write_text(header(network, architecture, ""))
        (folder / "vectors.h").write_text(vectors(images[:2].numpy(), scores[:2]))
        (folder / "test.c").write_bytes((CODE / "test.c").read_bytes())
        compiler = host_compiler()
        assert compiler is not None
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
        found = np.frombuffer(run_on_host([*compiler, "-Werror"], folder, pixels), np.int8)
        sizes, here = sizes_on_cortex_m0(folder), object_bytes(compiler, folder)
    return scores.size, int((found != scores.ravel()).sum()), sizes, here


def object_bytes(compiler: list[str], folder: Path) -> int | None:
    """Code, constants and data of net.c as this machine compiles it; None where none says so."""
    if shutil.which("size") is None:
        return None
    compiled = str(folder / "net.o")
    command = [*compiler, *CFLAGS, "-Os", "-c", str(folder / "net.c"), "-o", compiled]
    subprocess.run(command, check=True)
    sections = subprocess.run(["size", "-A", compiled], check=True, capture_output=True, text=True)
    found = re.findall(r"^\.(?:text|rodata|data)\S* +(\d+)", sections.stdout, re.MULTILINE)
    return sum(int(number) for number in found)


if __name__ == "__main__":
    main()
