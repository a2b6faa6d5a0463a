"""SHA256SUMS: what every file of an export was, in the format of `sha256sum -c`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nas.errors import VerifyError

NAME = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """List every file that lies in the folder now."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / NAME).write_text("".join(lines), encoding="utf-8", newline="\n")


def check_sums(folder: Path) -> set[str]:
    """The names that are listed, once each file is what it was; others may lie beside them.

    Raises:
        VerifyError: a file is gone or has changed, or the list cannot be read.
    """
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"{folder / NAME} cannot be read: {error}") from error
    sums: dict[str, str] = {}
    for line in lines:
        match = re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+(?:/[\w.-]+)*)", line, re.ASCII)
        if match is None or ".." in match[2].split("/"):
            raise VerifyError(f"{folder / NAME} is damaged: a line is no SHA-256 with a name")
        sums[match[2]] = match[1]
    changed = []
    for name, before in sums.items():
        try:
            if _sha256(folder / name) != before:
                changed.append(f"{name} has changed")
        except OSError:
            changed.append(f"{name} is gone")
    if changed:
        raise VerifyError(f"{folder} is not what was exported: {', '.join(changed)}")
    return set(sums)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
