"""Format `html`: a page to draw on, with int8 in JavaScript, proved byte by byte in node."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from nas.data.preparation import Preparation
from nas.errors import ExportError
from nas.exporters.contract import Expected, Proof, Subject, Written
from nas.exporters.html_source import CODE, network_script, page
from nas.exporters.provenance import origin, title
from nas.exporters.toolchain import error_of, run

FOLDER = "html"
FILES = ("index.html",)
NUMBERS = "int8"
NEEDS_IMAGES = True
TAGS = ("javascript",)
USAGE = """\
`html/index.html` is one page that loads nothing else: open it in any browser, draw where the images
are grey, or drop a picture on it. The same integers as in C are in its first script, in plain
JavaScript: `scoresOf(pixels)` gives the scores of rows of pixels, the channels side by side.
"""
PART = 500  # images a process


def missing() -> str | None:
    """Nothing: node is used where it is found."""
    return None


def write(subject: Subject, folder: Path) -> Written:
    """index.html.

    Raises:
        ExportError: a layer has no integer form, or there are no images to calibrate on.
    """
    network, scores = subject.integers
    architecture, facts, provenance = subject.architecture, subject.facts, subject.provenance
    line = title(architecture).replace("A network", "An int8 network")
    script = network_script(network, line, origin(architecture, provenance), facts.classes)
    preparation = Preparation.for_network(facts.input_shape, facts.preparation)
    name = f"{provenance.study}, trial {provenance.trial}"
    text = page(script, name, line, preparation, facts.mean)
    (folder / "index.html").write_text(text, encoding="utf-8", newline="\n")
    size = (folder / "index.html").stat().st_size
    figures = {"file_bytes": size, "calibration_images": subject.num_calibration}
    return Written(torch.from_numpy(scores), (("`html/index.html`", f"{size:,} bytes"),), figures)


def check(folder: Path, expected: Expected) -> Proof:
    """Run the script of the page in node, and compare every byte of every score.

    Raises:
        ExportError: it does not run, or a byte differs.
    """
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        return Proof(("html: not run: no node was found",), was_run=False)
    pixels = expected.images.permute(0, 2, 3, 1).contiguous()
    said = b""
    for part in pixels.split(PART):
        command = [node, str(CODE / "run.js"), str(folder / "index.html")]
        done = run(command, part.numpy().tobytes())
        if done.returncode != 0:
            raise ExportError(f"the page's script does not run: {error_of(done)}")
        said += done.stdout
    found = np.frombuffer(said, np.int8)
    if found.size != expected.scores.numel():
        raise ExportError(
            f"the page gives {found.size:,} bytes of scores instead of {expected.scores.numel():,}"
        )
    num_different = int((found != expected.scores.flatten().numpy()).sum())
    if num_different:
        raise ExportError(
            f"{num_different:,} of {found.size:,} bytes that the page computes are not those of "
            "its simulation"
        )
    version = run([node, "--version"]).stdout.decode(errors="replace").strip()
    line = (
        f"html: run by node {version}: 0 of {found.size:,} bytes of the scores of "
        f"{len(expected.images):,} images differ from the simulation"
    )
    return Proof((line,), figures={"node": version, "num_compared": len(expected.images)})
