"""Preparation: how pictures of a set become tensors of one shape.

Whoever classifies a new picture, on a device for example, has to do the same again; so the study
records it, and an export says it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nas.data.picture import Picture

Fit = Literal["stretch", "crop", "pad"]
FITS: tuple[Fit, ...] = ("stretch", "crop", "pad")
DEFAULT_FIT: Fit = "stretch"
RESAMPLING = "bilinear"  # Pillow's, which takes the mean of what lies below a pixel
PADDING = 0  # black
WHOLE_RANGE = (0.0, 65535.0)  # of greys of more than 8 bits where none are known

_ACTIONS = {
    "stretch": "stretched to {size} whatever their shape",
    "crop": "cropped to their middle and brought to {size}",
    "pad": "brought to {size} with black beside them",
}


@dataclass(frozen=True)
class Preparation:
    """What is done to each picture of a set; see `apply`."""

    height: int
    width: int
    channels: int
    """1 for grey, 3 for RGB."""
    fit: Fit | None = None
    """How another size is brought to this one; None where every file of the set has this size, and
    a picture of another is stretched."""
    value_range: tuple[float, float] | None = None
    """What is black and white in greys of more than 8 bits; None where there are none."""

    def apply(self, picture: Picture) -> NDArray[np.uint8]:
        """uint8 (C, H, W) of a picture.

        preparation.apply(read_picture(path))
        """
        image = Image.fromarray(self._in_8_bits(picture))
        image = image.convert("L" if self.channels == 1 else "RGB")
        size = (self.width, self.height)
        if image.size != size:
            match self.fit:
                case "crop":
                    image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
                case "pad":
                    image = _padded(image, size)
                case _:
                    image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(image).reshape(self.height, self.width, self.channels)
        return pixels.transpose(2, 0, 1)

    def is_beyond(self, picture: Picture) -> bool:
        """Whether values of a grey of more than 8 bits are cut off."""
        if not picture.is_deep:
            return False
        low, high = self.value_range or WHOLE_RANGE
        return bool(picture.pixels.min() < low or picture.pixels.max() > high)

    def _in_8_bits(self, picture: Picture) -> NDArray[np.uint8]:
        if not picture.is_deep:
            return picture.pixels
        low, high = self.value_range or WHOLE_RANGE
        share = (picture.pixels - low) / (high - low)
        scaled: NDArray[np.uint8] = (share * 255).round().clip(0, 255).astype(np.uint8)
        return scaled

    @property
    def text(self) -> str:
        """In words, for whoever has to do it again."""
        steps = ["turned as EXIF says", "transparency on white"]
        if self.value_range is not None:
            low, high = self.value_range
            steps.append(f"greys of 16 or 32 bits from {low:g}..{high:g} to 0..255")
        steps.append("grey" if self.channels == 1 else "RGB")
        if self.fit is not None:
            action = _ACTIONS[self.fit].format(size=f"{self.width}x{self.height}")
            steps.append(f"{action} (Pillow, {RESAMPLING})")
        return ", ".join(steps)

    def to_json(self) -> dict[str, Any]:
        """For records; `from_json` makes the same of it."""
        return asdict(self) | {
            "colour": "grey" if self.channels == 1 else "RGB",
            "resampling": None if self.fit is None else RESAMPLING,
            "keeps_ratio": self.fit != "stretch",
            "orientation": "as EXIF says",
            "transparency": "on white",
        }

    @classmethod
    def for_network(
        cls, input_shape: tuple[int, int, int], record: dict[str, Any] | None
    ) -> Preparation:
        """How a picture becomes an image of a network, whose own images may have been no files.

        Args:
            input_shape: (C, H, W).
            record: how its own images were made, where they were files.
        """
        channels, height, width = input_shape
        return cls(height, width, channels) if record is None else cls.from_json(record)

    def fits(self, picture: Picture) -> bool:
        """Whether nothing has to be done about the size, or what is done was done in training."""
        return self.fit is not None or picture.size == (self.width, self.height)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preparation:
        """Of a record."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        if known.get("value_range") is not None:
            known["value_range"] = tuple(known["value_range"])
        return cls(**known)


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole image in the middle of that size. `ImageOps.pad` loses the very narrow ones."""
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    paper = Image.new(image.mode, size, PADDING)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    paper.paste(resized, ((size[0] - width) // 2, (size[1] - height) // 2))
    return paper
