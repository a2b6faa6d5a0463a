"""One file as a picture, as people see it on a screen.

It is turned as its EXIF orientation says, laid on white where it is transparent, read through its
palette. Grey pictures of 16 or 32 bits a value keep their values: what is black and what is white
is decided for a whole set (`Preparation`), never for one picture. Colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from nas.errors import DataError

DECODER = f"1, Pillow {PIL.__version__}"  # raise the number with every change of what is read
MAX_FILE_BYTES = 2**30
MAX_PIXELS = 2 * 89_478_485  # beyond, Pillow takes a picture for a decompression bomb

FRAMES = "with several frames or pages, of which the first is taken"
CMYK = "in CMYK, brought to RGB without a colour profile, so that colours differ a little"
OTHER_FORMAT = "of another format than the suffix says, read all the same"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112  # of EXIF
_TIFF_BITS, _TIFF_COMPRESSION, _TIFF_PHOTOMETRIC, _TIFF_SAMPLES = 258, 259, 262, 339
# Greys that Pillow knows in one byte order alone: by photometric, sample format and bits.
for _grey, _modes in {
    (0, (1,), (16,)): ("I;16", "I;16B"),
    (1, (1,), (32,)): ("I", "I;32B"),
}.items():
    TiffImagePlugin.OPEN_INFO.setdefault((b"MM", _grey[0], _grey[1], 1, _grey[2], ()), _modes)
_WITH_FRAMES = {"AVIF", "DCX", "FLI", "GIF", "HEIF", "PNG", "TIFF", "WEBP"}
_DRAWINGS = {"EPS", "WMF"}  # Pillow would start other programs for them
_RAW_SUFFIXES = {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2"}
# What a path itself may be at fault for; all other errors are those of a disk or of permissions.
_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_SAME_FORMATS = ({"JPEG", "MPO"}, {"BMP", "DIB"})
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
# How the files of usual formats begin: PNG, JPEG, GIF, BMP, PSD.
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"8BPS")


class UnreadableError(DataError):
    """A file without pixels for us; the message is the reason, without the file's name."""

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        self.is_passing = is_passing  # the same file may be read another time
        super().__init__(reason)


@dataclass(frozen=True)
class Picture:
    """What a person sees, and what that person should know about it."""

    pixels: NDArray[Any]
    """Grey (H, W) or RGB (H, W, 3): uint8, or float64 for greys of more than 8 bits."""
    is_float: bool = False
    """The values were floating point, which often means 0 to 1."""
    remarks: tuple[str, ...] = ()
    """Of `FRAMES`, `CMYK`, `OTHER_FORMAT`."""

    @property
    def size(self) -> tuple[int, int]:
        """(W, H)."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def is_colour(self) -> bool:
        return self.pixels.ndim == 3

    @property
    def is_deep(self) -> bool:
        """A grey of 16 or 32 bits a value."""
        return self.pixels.dtype != np.uint8


def read_picture(path: Path) -> Picture:
    """The picture in a file, whatever the suffix of its name.

        read_picture(Path("cats/1.jpg")).pixels.shape

    Raises:
        UnreadableError: the file is no picture, is damaged, or cannot be read now.
    """
    content = _content(path)
    if path.suffix.lower() in _RAW_SUFFIXES:  # what could be read is a small preview
        raise UnreadableError("a camera's raw file: develop it to PNG or JPEG first")
    _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, and of odd EXIF
            with Image.open(io.BytesIO(content)) as image:
                if image.format in _DRAWINGS:
                    raise UnreadableError("a drawing without pixels: render it to PNG first")
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableError(f"more than {MAX_PIXELS:,} pixels")
                image.load()
                return _as_seen(image, content, path.suffix.lower())
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError(_why_unidentified(content)) from None
    except Image.DecompressionBombError:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise UnreadableError("there is too little memory for it", is_passing=True) from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file makes them meet
        raise UnreadableError(_why_damaged(error)) from error


def has_heif() -> bool:
    """Whether HEIC files can be read: it tells caches of decoded pictures apart."""
    _register_heif()
    return "HEIF" in Image.OPEN


def _register_heif() -> None:
    if "HEIF" not in Image.OPEN:
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()


def _content(path: Path) -> bytes:
    """Every byte of the file: what fails later is the file's fault, not the disk's."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for ever
            raise UnreadableError("neither a file nor a folder")
        if found.st_size > MAX_FILE_BYTES:
            raise UnreadableError(f"larger than {MAX_FILE_BYTES // 2**20:,} MiB")
        content = path.read_bytes()
    except OSError as error:
        is_link = path.is_symlink() and error.errno in _OF_THE_FILE
        reason = "a link to nothing" if is_link else os.strerror(error.errno or errno.EIO)
        is_passing = error.errno not in _OF_THE_FILE
        raise UnreadableError(reason, is_passing=is_passing) from error
    if not content:
        raise UnreadableError("an empty file")
    return content


def _as_seen(image: Image.Image, content: bytes, suffix: str) -> Picture:
    """A loaded image as a picture."""
    remarks = [CMYK] if image.mode == "CMYK" else []
    named = Image.registered_extensions().get(suffix, image.format)
    if named != image.format and {named, image.format} not in _SAME_FORMATS:
        remarks.append(OTHER_FORMAT)
    turned = _turned(image)
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = _deep_pixels(turned, getattr(image, "tag_v2", {}))
    else:
        pixels = _eight_bits(turned, content)
    with contextlib.suppress(Exception):  # later frames may be damaged, and nobody asks for them
        if image.format in _WITH_FRAMES and getattr(image, "is_animated", False):
            remarks.append(FRAMES)
    return Picture(pixels, image.mode == "F", tuple(remarks))


def _turned(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF, which viewers pass over
        turn = None
    return image if turn is None else image.transpose(turn)


def _deep_pixels(image: Image.Image, tags: Mapping[int, Any]) -> NDArray[Any]:
    """(H, W) in float64, which holds every integer of 32 bits."""
    is_16_bit = image.mode.startswith("I;")
    is_packed = tags.get(_TIFF_COMPRESSION, 1) != 1
    if is_packed and not is_16_bit and getattr(tags, "prefix", b"") == b"MM":
        # Pillow does not put the bytes of each value into the order of this machine.
        raise UnreadableError(
            "a compressed TIFF of 32-bit or signed values with the high byte first: save it "
            "uncompressed"
        )
    pixels = np.asarray(image.convert("I") if is_16_bit else image)
    is_unsigned = tags.get(_TIFF_BITS) == (32,) and tags.get(_TIFF_SAMPLES, (1,)) == (1,)
    if image.mode == "I" and is_unsigned:
        pixels = pixels.view(np.uint32)  # Pillow takes them for signed ones
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
        raise UnreadableError("some of its values are no finite numbers")
    if is_16_bit and tags.get(_TIFF_PHOTOMETRIC) == 0:  # 0 is white
        pixels = 65535 - pixels
    key = image.info.get("transparency")
    if isinstance(key, int):
        pixels[pixels == key] = 65535
    return pixels


def _eight_bits(image: Image.Image, content: bytes) -> NDArray[Any]:
    """uint8, grey (H, W) or RGB (H, W, 3), without transparency."""
    is_grey = image.mode in ("1", "L", "LA", "La")
    key = image.info.get("transparency")
    if key is not None and image.mode in ("1", "L", "RGB"):  # one value is transparent
        pixels = np.array(image.convert("L" if is_grey else "RGB"))
        is_clear = pixels == _in_8_bits(key, content)
        pixels[is_clear if is_grey else is_clear.all(axis=-1)] = 255
        return pixels
    if image.mode in ("La", "RGBa"):  # colours that are multiplied by their opacity
        image = image.convert("LA" if is_grey else "RGBA")
    if image.has_transparency_data or image.mode == "P":
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return np.array(image.convert("L" if is_grey else "RGB"))


def _in_8_bits(key: Any, content: bytes) -> NDArray[Any]:
    """A transparent value as the pixels have it; a PNG writes it in its own number of bits."""
    value = np.asarray(key, dtype=np.int64)
    depth = content[24] if content.startswith(b"\x89PNG") else 8
    return value >> 8 if depth == 16 else value * 255 // (2**depth - 1)


def _why_unidentified(content: bytes) -> str:
    """Why Pillow does not know what a file is."""
    brands = content[8:32] if content[4:8] == b"ftyp" else b""
    if brands[:4] in _HEIC or (brands[:4] in (b"mif1", b"msf1") and b"heic" in brands):
        return "HEIC, which needs: python -m pip install pillow-heif"
    if brands[:4] in (b"avif", b"avis") or (brands and b"avif" in brands):
        return "AVIF, which needs: python -m pip install -U pillow"
    if content.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL, which is not read: save it as PNG or JPEG"
    if brands:
        return "a video"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "damaged, or a kind of TIFF that is not read: save it with 8 or 16 bits a value"
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if is_webp or content.startswith(_STARTS):
        return "damaged: not even its size can be read"
    return "no picture"


def _why_damaged(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "truncated" in text:
        return "cut short"
    return f"damaged: {text[:60] or type(error).__name__}"
