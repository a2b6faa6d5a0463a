"""The names of layers for people: in tables, notes and pictures."""

from __future__ import annotations

from nas.candidates.layers import Layer


def layer_name(layer: Layer) -> str:
    """The kind of a layer and what was chosen of it; its channels stand in the shape beside it.

    >>> from nas import Dropout, GlobalAvgPool
    >>> layer_name(Dropout(0.05)), layer_name(GlobalAvgPool())
    ('dropout 0.05', 'global avg pool')
    """
    name = layer.kind.replace("-", " ")
    if getattr(layer, "separable", False):
        name += " separable"
    if kernel := getattr(layer, "kernel_size", None):
        name += f" {kernel}×{kernel}"
    if (share := getattr(layer, "p", None)) is not None:
        name += f" {share:g}"
    if getattr(layer, "padding", "same") != "same":
        name += f", {layer.padding}"  # type: ignore[attr-defined]
    if (stride := getattr(layer, "stride", 1)) > 1:
        name += f", stride {stride}"
    if times := getattr(layer, "times", None):
        name += f", {times} times"
    return name


def inner_names(layer: Layer) -> list[str]:
    """What a layer is made of, without what works in place, such as its norms."""
    return [layer_name(part) for part in layer.parts if not part.is_in_place]


def full_name(layer: Layer) -> str:
    """Its name and, behind a colon, what it is made of."""
    return ": ".join(filter(None, (layer_name(layer), ", ".join(inner_names(layer)))))
