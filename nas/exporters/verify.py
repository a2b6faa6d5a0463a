"""Prove an export again: anywhere, later, without the study it came from.

What is compared: the SHA-256 of each file; the parameters, counted anew from the description; and
what each format's code makes of the stored images, in a process of its own, with the scores that
were stored beside them. A hash can be rewritten by whoever changes a file: then the scores tell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from nas.candidates.architecture import Architecture
from nas.errors import ExportError, NasError, VerifyError
from nas.exporters.contract import Expected
from nas.exporters.formats import FORMATS
from nas.exporters.manifest import NAME, check_sums

SPEC, VECTORS = "spec.json", "vectors.safetensors"


@dataclass(frozen=True)
class Verified:
    """An export that is what it was."""

    folder: Path
    formats: tuple[str, ...]
    not_run: tuple[str, ...]  # those of them whose code could not be run here
    num_params: int
    num_files: int
    num_vectors: int
    lines: tuple[str, ...]  # what was compared, or why it could not be


def verify_export(folder: Path) -> Verified:
    """Run the code in the folder, which should come from somebody you trust.

    Raises:
        ExportError: the folder is no export that can be verified.
        VerifyError: something in it is not what was exported; the message says what.
    """
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder: give one that `nas export` has made")
    if not (folder / NAME).is_file():
        raise ExportError(
            f"{folder} holds no {NAME}, so it cannot be verified: "
            "make it with `nas export`, or again if it is from an early version"
        )
    names = check_sums(folder)
    spec = read_spec(folder)
    formats = spec.get("formats")
    if not isinstance(formats, dict) or not formats or not formats.keys() <= FORMATS.keys():
        raise VerifyError(f"{folder / SPEC} names no formats that are known here")
    needed = {SPEC, VECTORS}
    for name in formats:
        place = Path(FORMATS[name].FOLDER)
        needed |= {(place / file).as_posix() for file in FORMATS[name].FILES}
    if absent := sorted(needed - names):
        raise VerifyError(f"{folder / NAME} does not list {', '.join(absent)}")

    try:
        num_params = Architecture.from_json(spec.get("architecture")).num_params
    except NasError as error:
        raise VerifyError(f"{folder / SPEC} describes no network: {error}") from error
    if num_params != spec.get("num_params"):
        raise VerifyError(
            f"the network of {folder / SPEC} has {num_params:,} parameters, "
            f"not {spec.get('num_params')!r}"
        )
    try:
        vectors = load_file(folder / VECTORS)
        images = vectors["images"]
        expected = {name: Expected(images, vectors[name], num_params) for name in formats}
    except (OSError, SafetensorError, KeyError) as error:
        raise VerifyError(f"{folder / VECTORS} cannot be read: {error}") from error
    lines: list[str] = []
    not_run = []
    for name in formats:
        if why := FORMATS[name].missing():
            lines.append(f"{name}: not run: {why}")
            not_run.append(name)
            continue
        try:
            proof = FORMATS[name].check(folder / FORMATS[name].FOLDER, expected[name])
        except ExportError as error:
            raise VerifyError(f"{folder} is not what was exported: {error}") from error
        lines += proof.lines
        not_run += [] if proof.was_run else [name]
    return Verified(
        folder, tuple(formats), tuple(not_run), num_params, len(names), len(images), tuple(lines)
    )


def read_spec(folder: Path) -> dict[str, Any]:
    """What spec.json says.

    Raises:
        VerifyError: it cannot be read.
    """
    try:
        spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VerifyError(f"{folder / SPEC} cannot be read: {error}") from error
    if not isinstance(spec, dict):
        raise VerifyError(f"{folder / SPEC} holds no description of a network")
    return spec
