"""Format `c`: int8 C99 for small devices, proved byte by byte against its simulation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from nas.candidates.device import device_bytes, names_bytes
from nas.errors import ExportError
from nas.exporters.arena import plan
from nas.exporters.c_source import CODE, header, source, template, vectors
from nas.exporters.contract import Expected, Proof, Subject, Written
from nas.exporters.provenance import origin, title
from nas.exporters.toolchain import (
    ARM_FLAGS,
    CFLAGS,
    QEMU_FLAGS,
    Measured,
    host_compiler,
    measure_on_cortex_m4,
    run_on_host,
    version,
)

FOLDER = "c"
_COPIED = ("test.c", "example/example.ino", "cortex-m4/main.c", "cortex-m4/link.ld")
FILES = ("net.c", "net.h", "vectors.h", "Makefile", *_COPIED)
NUMBERS = "int8"
NEEDS_IMAGES = True
TAGS = ("tinyml", "int8", "c99")
USAGE = """\
`c/net.c` and `c/net.h` are int8 C99 without a heap or a library, for processors with an int of 32
bits or more; AVR is not supported. Calls share one static buffer: not thread-safe.

```c
#include "net.h"

int label = nas_predict(pixels);  /* rows of uint8, the channels of a pixel side by side */
puts(nas_classes[label]);
```

`make -C c test` compiles it and compares the scores of the stored images; `c/example` is a sketch
for Arduino. `c/vectors.h` and `vectors.safetensors` hold validation images: leave them out where
those must not be passed on.
"""


def missing() -> str | None:
    """Nothing: a compiler is used where one is found."""
    return None


def write(subject: Subject, folder: Path) -> Written:
    """net.c, net.h, and what tests and runs them.

    Raises:
        ExportError: a layer has no integer form, or there are no images to calibrate on.
    """
    facts, architecture = subject.facts, subject.architecture
    network, scores = subject.integers
    line = title(architecture).replace("A network", "An int8 network")
    texts = {
        "net.c": source(
            network, architecture, line, origin(architecture, subject.provenance), facts.classes
        ),
        "net.h": header(network, architecture, line),
        "vectors.h": vectors(
            subject.images[: subject.num_vectors].numpy(), scores[: subject.num_vectors]
        ),
        "Makefile": template(
            "Makefile",
            cflags=" ".join(CFLAGS),
            arm_flags=" ".join(ARM_FLAGS),
            qemu_flags=" ".join(QEMU_FLAGS),
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for name in _COPIED:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(CODE / name, folder / name)
    weight_bytes = sum(weights.size for weights in network.weights.values())
    memory_bytes = plan(network).size
    device = device_bytes(architecture, names_bytes(facts.classes))
    rows = (
        ("int8 weights", f"{weight_bytes:,} bytes"),
        ("memory for maps in int8", f"{memory_bytes:,} bytes"),
        ("flash in all on a Cortex-M0+, as `--max-flash` counts it", f"{device.flash:,} bytes"),
        ("RAM in all on a Cortex-M0+, as `--max-ram` counts it", f"{device.ram:,} bytes"),
    )
    figures = {
        "weight_bytes": weight_bytes,
        "memory_bytes": memory_bytes,
        "flash_bytes": device.flash,
        "ram_bytes": device.ram,
        "calibration_images": subject.num_calibration,
    }
    return Written(torch.from_numpy(scores), rows, figures)


def check(folder: Path, expected: Expected) -> Proof:
    """Compile and run the files, and compare every byte of every score.

    Raises:
        ExportError: the code does not compile or run, or a byte differs.
    """
    compiler = host_compiler()
    if compiler is None:
        why = "no C compiler (cc, gcc, clang) was found"
        rows = (("on a Cortex-M4", f"not measured: {why}"),)
        return Proof((f"c: not compiled: {why}",), rows, was_run=False)
    pixels = expected.images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    done = np.frombuffer(run_on_host(compiler, folder, pixels), np.int8)
    if done.size != expected.scores.numel():
        raise ExportError(
            f"the C code gives {done.size:,} bytes of scores instead of {expected.scores.numel():,}"
        )
    num_different = int((done != expected.scores.flatten().numpy()).sum())
    if num_different:
        raise ExportError(
            f"{num_different:,} of {done.size:,} bytes that the C code computes are not those of "
            "its simulation"
        )
    name = version(compiler)
    compiled = (
        f"c: compiled by {name}: 0 of {done.size:,} bytes of the scores of "
        f"{len(expected.images):,} images differ from the simulation"
    )
    figures = {"host_compiler": name, "num_compared": len(expected.images)}
    measured = measure_on_cortex_m4(folder)
    if not isinstance(measured, Measured):
        unknown = (("on a Cortex-M4", measured),)
        return Proof((compiled, f"c: Cortex-M4 {measured}"), unknown, figures=figures)
    line = (
        f"c: simulated Cortex-M4: {measured.flash_bytes:,} bytes of flash, {measured.ram_bytes:,} "
        f"of RAM, {measured.stack_bytes:,} of stack, {measured.instructions:,} instructions an "
        "image; the same scores"
    )
    counts = tuple((f"on a Cortex-M4: {what}", value) for what, value in measured.rows())
    return Proof((compiled, line), counts, figures=figures | {"cortex_m4": measured.to_json()})
