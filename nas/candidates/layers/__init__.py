"""The vocabulary of networks: one small frozen class for each kind of layer.

A layer is defined once, by the constructor call that makes its module (`Layer.call`): the same call
builds the module and writes it as source, so what is trained and what is exported cannot differ.
Beside it stand the shape, the closed-form count of parameters and of multiply-accumulates.

A new kind of layer is one class, its name in `__all__` of its file, and one row in
tests/candidates/test_layers.py.

Shapes leave out the batch: (C, H, W) channels, height, width of an image; (F,) features.
"""

from __future__ import annotations

import reprlib
from typing import Any

from nas.candidates.layers import composite, plain
from nas.candidates.layers.composite import *  # noqa: F403 - what its __all__ lists
from nas.candidates.layers.layer import Call, Layer, Shape, image_shape
from nas.candidates.layers.plain import *  # noqa: F403 - the same
from nas.errors import InvalidCandidateError

__all__ = ["LAYERS", "Call", "Layer", "Shape", "image_shape", "layer_from_json"]
__all__ += plain.__all__
__all__ += composite.__all__

# Closed: a specification read from a file or a database can name these and nothing else.
LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for module in (plain, composite)
    for layer in (getattr(module, name) for name in module.__all__)
}


def layer_from_json(data: Any, is_inside: bool = False) -> Layer:
    """The layer that `to_json` wrote; `is_inside` when it is part of another.

    Raises:
        InvalidCandidateError: an unknown kind, a missing or unknown field, a value out of range.
    """
    if not isinstance(data, dict) or data.get("kind") not in list(LAYERS):
        raise InvalidCandidateError(
            f"unknown layer {reprlib.repr(data)}: the kinds are {', '.join(LAYERS)}"
        )
    values = {name: value for name, value in data.items() if name != "kind"}
    if isinstance(values.get("layers"), list):
        if is_inside:  # refused here: what is nested very deep would exhaust the stack
            raise InvalidCandidateError(f"{data['kind']}: cannot stand inside another")
        values["layers"] = [layer_from_json(layer, is_inside=True) for layer in values["layers"]]
    try:
        return LAYERS[data["kind"]](**values)
    except TypeError as error:
        raise InvalidCandidateError(f"layer {reprlib.repr(data)}: {error}") from error
