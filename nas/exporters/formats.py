"""The formats that a network can be exported in, by the name that `--format` gives them."""

from __future__ import annotations

from collections.abc import Sequence

from nas.errors import ExportError, hint, option
from nas.exporters import c, html, onnx_float, onnx_int8, pytorch
from nas.exporters.contract import Format

FORMATS: dict[str, Format] = {
    "pytorch": pytorch,
    "c": c,
    "onnx": onnx_float,
    "onnx-int8": onnx_int8,
    "html": html,
}
ALL = "all"


def parse_formats(wanted: str | Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that were asked for, each once, and a line for each that `all` leaves out.

        parse_formats("pytorch,c")

    Raises:
        ExportError: an unknown name, none at all, or one that cannot be written here.
    """
    names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    if names == [ALL]:
        reasons = {name: format.missing() for name, format in FORMATS.items()}
        left_out = tuple(f"{name} is left out: {why}" for name, why in reasons.items() if why)
        return tuple(name for name, why in reasons.items() if not why), left_out
    known = [*FORMATS, f"or {ALL} alone"]
    if not names:
        raise ExportError(f"no format is given: there are {', '.join(known)}")
    for name in names:
        if name not in FORMATS:
            raise ExportError(f"{option('format')} {name[:40]!r} is none: {hint(name, known)}")
        if why := FORMATS[name].missing():
            raise ExportError(f"{option('format', name)}: {why}")
    return tuple(dict.fromkeys(names)), ()
