"""One file as people see it: a row for each kind of file."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from nas.data import picture as picture_module
from nas.data.picture import CMYK, FRAMES, OTHER_FORMAT, UnreadableError, read_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 255, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65535, (5, 7)).astype(np.uint16)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def png(path, width, height, depth, colour, rows, *chunks):
    """A PNG of which each byte is chosen: Pillow cannot write all that others do."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", body), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


# Orientation

TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
TURNED = [
    ("png", RGB, {}), ("png", GREY, {}), ("png", DEEP, {}), ("webp", RGB, {"lossless": True}),
    ("tif", RGB, {}), ("tif", DEEP, {}), ("tif", DEEP, {"compression": "tiff_lzw"}),
    ("tif", DEEP.astype(np.float32), {}), ("tif", DEEP.astype(np.int32), {}),
]  # fmt: skip


@pytest.mark.parametrize("tag", TURNS)
@pytest.mark.parametrize(("suffix", "pixels", "options"), TURNED)
def test_pictures_are_turned_as_exif_says(tmp_path, tag, suffix, pixels, options):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = saved(tmp_path / f"1.{suffix}", pixels, exif=exif, **options)
    assert np.array_equal(read_picture(path).pixels, TURNS[tag](pixels))


@pytest.mark.parametrize("tag", [3, 6, 8])
def test_photographs_are_turned_as_exif_says(tmp_path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    plain = read_picture(saved(tmp_path / "1.jpg", RGB)).pixels
    turned = read_picture(saved(tmp_path / "2.jpg", RGB, exif=exif)).pixels
    assert np.array_equal(turned, TURNS[tag](plain))


@pytest.mark.parametrize("tag", [0, 9, 65535])
def test_orientations_that_do_not_exist_turn_nothing(tmp_path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    assert np.array_equal(read_picture(saved(tmp_path / "1.png", RGB, exif=exif)).pixels, RGB)


def test_damaged_exif_turns_nothing(tmp_path):
    path = saved(tmp_path / "1.png", RGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert np.array_equal(read_picture(path).pixels, RGB)


# Transparency


def on_white(rgba):
    alpha = rgba[..., 3:].astype(float) / 255
    return (rgba[..., :3] * alpha + 255 * (1 - alpha)).round()


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_what_is_transparent_shows_white_paper(tmp_path, suffix):
    rgba = RNG.integers(0, 255, (5, 7, 4), dtype=np.uint8)
    rgba[:2, :, 3] = 0
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    found = read_picture(saved(tmp_path / f"1.{suffix}", rgba, **options))
    assert np.abs(found.pixels - on_white(rgba)).max() <= 1
    assert (found.pixels[:2] == 255).all()


def test_grey_with_transparency_stays_grey(tmp_path):
    Image.merge("LA", [Image.new("L", (7, 5), 10), Image.fromarray(GREY)]).save(tmp_path / "1.png")
    found = read_picture(tmp_path / "1.png")
    rgba = np.dstack([np.full((5, 7, 3), 10, np.uint8), GREY])
    assert np.abs(found.pixels - on_white(rgba)[..., 0]).max() <= 1


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 255)])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_colour_of_a_palette_is_white(tmp_path, suffix, hidden):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*hidden, 9, 9, 9])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / f"1.{suffix}", transparency=0)
    found = read_picture(tmp_path / f"1.{suffix}").pixels
    assert found[1, 1].tolist() == [9, 9, 9]
    assert (np.delete(found.reshape(16, 3), 5, axis=0) == 255).all()


def test_opacities_of_a_palette_are_read(tmp_path):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "1.png", transparency=bytes([128, 255]))
    assert read_picture(tmp_path / "1.png").pixels[0, :, 0].tolist() == [127, 0]


# Bits, colour type, row of two pixels, the transparent value: what a person sees.
TRNS = {
    "1 bit": (1, 0, b"\x40", b"\0\0", [255, 255]),
    "2 bits": (2, 0, b"\x60", b"\0\1", [255, 170]),
    "4 bits": (4, 0, b"\x5a", b"\0\5", [255, 170]),
    "8 bits": (8, 0, b"\x05\xaa", b"\0\5", [255, 170]),
    "16 bits": (16, 0, b"\x01\x02\x00\x05", b"\x01\x02", [65535, 5]),
    "colour": (8, 2, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3", [[255] * 3, [4, 5, 6]]),
    "deep colour": (16, 2, b"\1\0\2\0\3\0\4\0\5\0\6\0", b"\1\0\2\0\3\0", [[255] * 3, [4, 5, 6]]),
}


@pytest.mark.parametrize("name", TRNS)
def test_a_transparent_value_of_a_png_is_white(tmp_path, name):
    depth, colour, row, key, shown = TRNS[name]
    path = png(tmp_path / "1.png", 2, 1, depth, colour, [row], (b"tRNS", key))
    assert read_picture(path).pixels.tolist() == [shown]


# Values


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("suffix", ["tif", "png", "pgm"])
def test_16_bit_greys_keep_their_values_in_both_byte_orders(tmp_path, order, suffix):
    path = tmp_path / f"1.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 7 5 65535\n" + DEEP.astype(">u2").tobytes())
    elif order == ">u2" and suffix == "tif":
        Image.frombytes("I;16B", (7, 5), DEEP.astype(order).tobytes()).save(path)
    else:
        saved(path, DEEP)
    found = read_picture(path)
    assert found.is_deep
    assert np.array_equal(found.pixels, DEEP)


def tiff(path, order, samples, bits, values, photometric=1, is_packed=False):
    """A TIFF of one row, in a byte order of choice."""
    data = np.asarray(values).astype(f"{order}{ {1: 'u', 2: 'i', 3: 'f'}[samples] }{bits // 8}")
    data = zlib.compress(data.tobytes()) if is_packed else data.tobytes()
    tags = [
        (256, len(values)), (257, 1), (258, bits), (259, 8 if is_packed else 1),
        (262, photometric), (273, 8), (277, 1), (278, 1), (279, len(data)), (339, samples),
    ]  # fmt: skip
    at = 8 + len(data)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("samples", "bits", "values"),
    [(1, 16, [0, 1, 65535]), (2, 16, [-5, 0, 32767]), (1, 32, [0, 7, 2**32 - 1]),
     (2, 32, [-(2**31), 0, 2**31 - 1]), (3, 32, [-0.5, 0.25, 1e6])],
    ids=["u16", "i16", "u32", "i32", "f32"],
)  # fmt: skip
def test_tiffs_keep_their_values_in_both_byte_orders(tmp_path, order, samples, bits, values):
    found = read_picture(tiff(tmp_path / "1.tif", order, samples, bits, values))
    assert found.pixels.tolist() == [values]
    assert found.is_float == (samples == 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_which_0_is_white_are_turned_round(tmp_path, order):
    path = tiff(tmp_path / "1.tif", order, 1, 16, [0, 65535, 5], photometric=0)
    assert read_picture(path).pixels.tolist() == [[65535, 0, 65530]]


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_packed_tiffs_with_the_high_byte_first_are_refused(tmp_path, samples):
    """Pillow leaves the bytes of their values in the order of the file."""
    values = [1, 2, 70_000]
    path = tiff(tmp_path / "1.tif", "<", samples, 32, values, is_packed=True)
    assert read_picture(path).pixels.tolist() == [values]
    path = tiff(tmp_path / "2.tif", ">", samples, 32, values, is_packed=True)
    with pytest.raises(UnreadableError, match="save it uncompressed"):
        read_picture(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    path = saved(tmp_path / "1.tif", np.full((2, 2), value, np.float32))
    with pytest.raises(UnreadableError, match="no finite numbers"):
        read_picture(path)


def test_black_and_white_is_grey(tmp_path):
    Image.fromarray(GREY > 99).save(tmp_path / "1.png")
    assert np.array_equal(read_picture(tmp_path / "1.png").pixels, (GREY > 99) * np.uint8(255))


def test_cmyk_becomes_rgb_and_says_so(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "1.jpg", quality=100)
    found = read_picture(tmp_path / "1.jpg")
    assert np.abs(found.pixels.astype(int) - [255, 0, 0]).max() < 4
    assert found.remarks == (CMYK,)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_of_several_frames_is_taken_and_said(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"1.{suffix}", save_all=True, append_images=frames[1:], **options)
    found = read_picture(tmp_path / f"1.{suffix}")
    assert (found.pixels == [255, 0, 0]).all()
    assert found.remarks == (FRAMES,)


@pytest.mark.parametrize("suffix", ["jpg", "jpe", "jfif", "JPEG", "", "dat", "photo"])
def test_the_suffix_does_not_matter(tmp_path, suffix):
    path = tmp_path / f"1.{suffix}"
    Image.fromarray(RGB).save(path, format="JPEG")
    found = read_picture(path)
    assert (found.size, found.is_colour, found.remarks) == ((7, 5), True, ())


def test_a_picture_of_another_format_than_its_suffix_is_read_and_said(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "1.jpg", format="PNG")
    found = read_picture(tmp_path / "1.jpg")
    assert np.array_equal(found.pixels, RGB)
    assert found.remarks == (OTHER_FORMAT,)


# What cannot be read


def content(format, **options):
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (60, 70, 3), dtype=np.uint8)).save(
        stream, format, **options
    )
    return stream.getvalue()


BAD = {
    "empty": (b"", "an empty file"),
    "text": (b"label,file\n1,a.png\n", "no picture"),
    "zeros": (bytes(4000), "no picture"),
    "html": (b"<!DOCTYPE html><html>404</html>", "no picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
    "video": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99), "a video"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
    "heif": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99), "HEIC"),
    "jpeg xl": (b"\xff\x0a" + bytes(99), "JPEG XL"),
    "drawing": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "a drawing"),
    "png cut short": (content("PNG")[:-3000], "cut short"),
    "jpg cut short": (content("JPEG")[:-900], "cut short"),
    "bmp cut short": (content("BMP")[:-900], "cut short"),
    "gif cut short": (content("GIF")[:-900], "cut short"),
    "tif cut short": (content("TIFF", compression="tiff_lzw")[:-900], "damaged|cut short"),
    "webp cut short": (content("WEBP")[:-900], "damaged|cut short"),
    "head alone": (content("PNG")[:12], "damaged"),
    "jpg head alone": (content("JPEG")[:20], "damaged|cut short"),
    "bad checksum": (content("PNG")[:40] + b"????" + content("PNG")[44:], "damaged|cut short"),
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "bin"])
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path, capfd, name, suffix):
    (tmp_path / f"1.{suffix}").write_bytes(BAD[name][0])
    with pytest.raises(UnreadableError, match=f"^({BAD[name][1]})") as error:
        read_picture(tmp_path / f"1.{suffix}")
    assert "\n" not in str(error.value)
    assert not error.value.is_passing
    assert capfd.readouterr() == ("", "")  # decoders are in C, and talk


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path):
    rows = [bytes(2500)] * 10
    path = png(tmp_path / "1.png", 20_000, 20_000, 1, 0, rows)
    with pytest.raises(UnreadableError, match="more than 178,956,970 pixels"):
        read_picture(path)


def test_too_long_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_module, "MAX_FILE_BYTES", 2**20)
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UnreadableError, match="larger than 1 MiB"):
        read_picture(tmp_path / "1.png")


def test_a_cameras_raw_file_is_no_small_preview(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "1.dng", format="TIFF")
    with pytest.raises(UnreadableError, match="raw file"):
        read_picture(tmp_path / "1.dng")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(UnreadableError, match="neither a file nor a folder"):
        read_picture(tmp_path / "1.png")


def test_links_to_nothing_and_to_themselves_are_the_files_fault(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "2.png")
    for name in ("1.png", "2.png"):
        with pytest.raises(UnreadableError, match="a link to nothing") as error:
            read_picture(tmp_path / name)
        assert not error.value.is_passing


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_errors_of_the_surroundings_pass(tmp_path, monkeypatch, number):
    saved(tmp_path / "1.png", RGB)

    def fail(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UnreadableError, match=os.strerror(number)) as error:
        read_picture(tmp_path / "1.png")
    assert error.value.is_passing


def test_too_little_memory_passes(tmp_path, monkeypatch):
    saved(tmp_path / "1.png", RGB)

    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UnreadableError, match="too little memory") as error:
        read_picture(tmp_path / "1.png")
    assert error.value.is_passing


# Formats that are not always there


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "1.avif", quality=100)
    assert read_picture(tmp_path / "1.avif").size == (7, 5)


def test_heic_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "1.heic").write_bytes(BAD["heic"][0])
    with pytest.raises(UnreadableError, match="HEIC, which needs: python -m pip install pillow-h"):
        read_picture(tmp_path / "1.heic")


def test_heic_is_read_where_that_is_installed(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    pixels = np.full((64, 48, 3), (200, 40, 40), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.heic", format="HEIF", quality=100)
    found = read_picture(tmp_path / "1.heic").pixels
    assert found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels).max() < 9
