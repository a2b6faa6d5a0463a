"""Folders of images: what is read, what is kept back, and the cache of decoded images."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from nas.data import decoding, split, whole
from nas.data import folder as folder_module
from nas.data.folder import load_folder
from nas.data.preparation import Preparation
from nas.errors import DataError


def save(path, value, mode="L", size=(4, 4), **options):
    """An image of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)


def make_classes(root, num=7, names=("cats", "dogs")):
    """Class folders; the image in row `i` of class `c` has the value 100 * c + 10 * i."""
    for label, name in enumerate(names):
        for i in range(num):
            save(root / name / f"{i}.png", 100 * label + 10 * i)
    return root


def first_pixels(data):
    return data.images[:, 0, 0, 0].tolist()


@pytest.fixture
def images(tmp_path):
    return make_classes(tmp_path / "pets")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and from then on no image can be opened."""

    def refuse(*args, **kwargs):
        raise AssertionError("an image was decoded")

    return lambda: monkeypatch.setattr(Image, "open", refuse)


# What is read


def test_class_folders_are_classes_and_every_sixth_image_is_kept_back(images, cache):
    data = load_folder(images, cache, None)
    assert (data.name, data.classes) == ("pets", ("cats", "dogs"))
    # Images 0 and 6 of each class are for testing.
    assert first_pixels(data) == [10, 20, 30, 40, 50, 110, 120, 130, 140, 150]
    assert data.labels.tolist() == [0] * 5 + [1] * 5
    assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
    assert data.images.shape == (10, 1, 4, 4)
    assert data.flips is False
    assert data.notes == (
        "14 images of 2 classes (cats, dogs), of which 4 are kept back to test on",
    )


def test_images_kept_back_are_never_decoded(images, cache, monkeypatch):
    decoded = []
    real = decoding.read_picture
    monkeypatch.setattr(decoding, "read_picture", lambda p: decoded.append(p) or real(p))
    load_folder(images, cache, None)
    assert {path.name for path in decoded} == {"1.png", "2.png", "3.png", "4.png", "5.png"}


def test_text_among_the_images_does_not_change_which_are_kept_back(images, cache):
    before = load_folder(images, cache)
    (images / "cats" / "0.txt").write_text("first by name")
    after = load_folder(images, cache)
    assert torch.equal(before.images, after.images)
    assert after.notes[1:] == ("1 file could not be read (no picture): cats/0.txt",)


def test_train_folder_is_used_whole_and_test_folder_not_at_all(tmp_path, cache):
    root = tmp_path / "pets"
    make_classes(root / "train", num=7)
    make_classes(root / "test", num=3, names=("cats", "dogs", "birds"))
    data = load_folder(root, cache, None)
    assert data.classes == ("cats", "dogs")
    assert len(data.images) == 14


def test_images_below_class_folders_are_found_whatever_their_suffix(tmp_path, cache):
    root = tmp_path / "pets" / "train"
    for i, suffix in enumerate(("png", "PNG", "jpg", "bmp", "gif", "tiff", "webp", "pgm")):
        save(root / "cats" / "deep" / f"{i}.{suffix}", 200)
    save(root / "dogs" / "a.jpeg", 200)
    (root / "dogs" / "notes.txt").write_text("no image")
    data = load_folder(root.parent, cache, None)
    assert data.labels.tolist() == [0] * 8 + [1]
    assert data.notes[1:] == ("1 file could not be read (no picture): train/dogs/notes.txt",)
    assert data.images.sub(200).eq(0).all()


@pytest.mark.parametrize("hidden", [".git", ".thumbnails"])
def test_hidden_folders_are_no_classes(images, cache, hidden):
    save(images / hidden / "x.png", 255)
    assert load_folder(images, cache, None).classes == ("cats", "dogs")


def test_hidden_folders_inside_a_class_are_ignored(images, cache):
    before = load_folder(images, cache, None)
    save(images / "cats" / ".thumbnails" / "x.png", 255)
    assert torch.equal(load_folder(images, cache, None).images, before.images)


# Test images


def test_every_sixth_image_of_class_folders_is_a_test_image(images, cache):
    data = load_folder(images, cache, None, is_test=True)
    assert (data.name, data.classes) == ("pets", ("cats", "dogs"))
    assert first_pixels(data) == [0, 60, 100, 160]
    assert data.labels.tolist() == [0, 0, 1, 1]


def test_every_image_of_class_folders_is_in_one_of_the_two_parts(images, cache):
    train, test = (load_folder(images, cache, None, is_test) for is_test in (False, True))
    every = [100 * label + 10 * i for label in range(2) for i in range(7)]
    assert sorted(first_pixels(train) + first_pixels(test)) == every


def test_test_folder_is_used_whole_and_train_folder_not_at_all(tmp_path, cache):
    root = tmp_path / "pets"
    make_classes(root / "train", num=3)
    make_classes(root / "test", num=7)
    data = load_folder(root, cache, None, is_test=True)
    assert data.classes == ("cats", "dogs")
    assert first_pixels(data) == [*range(0, 70, 10), *range(100, 170, 10)]


def test_train_folder_without_a_test_folder_has_no_test_images(tmp_path, cache):
    make_classes(tmp_path / "pets" / "train")
    with pytest.raises(DataError, match="pets: there is no folder `test` with images to test on"):
        load_folder(tmp_path / "pets", cache, None, is_test=True)


def test_test_images_have_a_cache_of_their_own(images, cache, no_decoding):
    train, test = (load_folder(images, cache, None, is_test) for is_test in (False, True))
    no_decoding()
    for before, is_test in ((train, False), (test, True)):
        assert torch.equal(load_folder(images, cache, None, is_test).images, before.images)
    assert len(list(cache.iterdir())) == 2


# Pixels


def test_grey_images_have_one_channel(tmp_path, cache):
    root = tmp_path / "pets" / "train"
    save(root / "a" / "1.png", 1, mode="1")
    save(root / "a" / "2.png", (77, 255), mode="LA")
    save(root / "b" / "3.jpg", 130)
    data = load_folder(root.parent, cache, None)
    assert data.images.shape[1] == 1
    assert first_pixels(data) == [255, 77, 130]


def test_one_colour_image_makes_all_of_them_colour(tmp_path, cache):
    root = tmp_path / "pets" / "train"
    save(root / "a" / "1.png", 50)
    save(root / "a" / "2.png", (10, 20, 30), mode="RGB")
    save(root / "b" / "3.png", (40, 50, 60, 255), mode="RGBA")
    data = load_folder(root.parent, cache, None)
    assert data.images[:, :, 0, 0].tolist() == [[50, 50, 50], [10, 20, 30], [40, 50, 60]]


def test_palette_images_are_read_through_their_palette(tmp_path, cache):
    root = tmp_path / "pets" / "train"
    colour = Image.new("RGB", (4, 4), (200, 0, 100))
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        colour.convert("P", palette=Image.Palette.ADAPTIVE).save(root / name / "1.png")
    data = load_folder(root.parent, cache, None)
    assert data.images[:, :, 0, 0].tolist() == [[200, 0, 100]] * 2


def test_channels_rows_and_columns_keep_their_order(tmp_path, cache):
    root = tmp_path / "pets" / "train"
    for name in ("a", "b"):
        image = Image.new("RGB", (3, 2))
        image.putpixel((2, 1), (10, 20, 30))
        (root / name).mkdir(parents=True)
        image.save(root / name / "1.png")
    data = load_folder(root.parent, cache, None)
    assert data.images.shape == (2, 3, 2, 3)
    assert data.images[0].nonzero().tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2]]
    assert data.images[0, :, 1, 2].tolist() == [10, 20, 30]


# Sizes


def test_images_of_several_sizes_need_image_size(images, cache):
    save(images / "cats" / "3.png", 1, size=(5, 9))
    with pytest.raises(DataError, match=r"2 sizes \(4x4, 5x9.*image_size") as error:
        load_folder(images, cache, None)
    assert "\n" not in str(error.value)


def test_image_size_brings_all_to_one_size(images, cache):
    save(images / "cats" / "3.png", 30, size=(5, 9))
    data = load_folder(images, cache, 8)
    assert data.images.shape == (10, 1, 8, 8)
    assert first_pixels(data) == [10, 20, 30, 40, 50, 110, 120, 130, 140, 150]


def test_each_image_size_has_a_cache_of_its_own(images, cache):
    assert load_folder(images, cache, 8).images.shape[-1] == 8
    assert load_folder(images, cache, 16).images.shape[-1] == 16
    assert load_folder(images, cache, None).images.shape[-1] == 4


def test_more_than_fits_in_memory_is_refused_before_it_is_taken(images, cache, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_BYTES", 10 * 4 * 4 - 1)
    with pytest.raises(DataError, match=r"GiB of memory.*image_size"):
        load_folder(images, cache, None)
    monkeypatch.setattr(decoding, "MAX_BYTES", 10 * 4 * 4)
    assert len(load_folder(images, cache, None).images) == 10


# What cannot be read


def test_unreadable_files_are_counted_and_named_with_the_reason(images, cache):
    (images / "cats" / "1.png").write_bytes(b"no image")
    (images / "dogs" / "2.png").write_bytes(b"")
    whole = (images / "dogs" / "3.png").read_bytes()
    (images / "dogs" / "3.png").write_bytes(whole[:-20])
    data = load_folder(images, cache, None)
    assert first_pixels(data) == [20, 30, 40, 50, 110, 140, 150]
    assert data.labels.tolist() == [0] * 4 + [1] * 3
    assert data.notes == (
        "11 images of 2 classes (cats, dogs), of which 4 are kept back to test on",
        "1 file could not be read (no picture): cats/1.png",
        "1 file could not be read (an empty file): dogs/2.png",
        "1 file could not be read (cut short): dogs/3.png",
    )


def test_only_a_few_of_many_unreadable_files_are_named(images, cache):
    for i in range(1, 5):
        (images / "cats" / f"{i}.png").write_bytes(b"no image")
    note = load_folder(images, cache, None).notes[1]
    assert note.startswith("4 files could not be read (no picture)")
    assert note.endswith("and 1 more")
    assert note.count(".png") == 3


def test_class_whose_images_cannot_be_read_is_refused_with_the_reason(images, cache):
    for i in range(1, 6):
        (images / "cats" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"class 'cats' has 2 images, .* could not be read \(no picture\)"
    ):
        load_folder(images, cache)


def test_unreadable_files_are_named_again_when_read_from_the_cache(images, cache, no_decoding):
    (images / "cats" / "1.png").write_bytes(b"no image")
    notes = load_folder(images, cache, None).notes
    no_decoding()
    assert load_folder(images, cache, None).notes == notes != ()


def test_dangling_link_is_named_as_unreadable(images, cache):
    (images / "cats" / "1.png").unlink()
    (images / "cats" / "1.png").symlink_to(images / "gone.png")
    data = load_folder(images, cache, None)
    assert len(data.images) == 9
    assert data.notes[1:] == ("1 file could not be read (a link to nothing): cats/1.png",)


def test_folder_named_like_an_image_is_a_folder(images, cache):
    (images / "cats" / "1.png").unlink()
    save(images / "cats" / "1.png" / "1.png", 77)
    assert first_pixels(load_folder(images, cache, None))[0] == 77


def test_nothing_readable_is_refused(tmp_path, cache):
    for name in ("a", "b"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
        (tmp_path / "pets" / "train" / name / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of its 2 images can be read"):
        load_folder(tmp_path / "pets", cache, None)


def test_missing_folder_is_refused(tmp_path, cache):
    with pytest.raises(DataError, match="gone: no such folder"):
        load_folder(tmp_path / "gone", cache, None)


@pytest.mark.parametrize("name", ["", "cats"], ids=["itself", "a class"])
def test_folder_that_cannot_be_listed_is_refused(images, cache, name, monkeypatch):
    """As one that is removed at this moment; root may read all others."""
    there, scandir, listdir = str(images / name), os.scandir, os.listdir

    def fail(path, list_it):
        if str(path) == there:
            raise OSError(errno.EIO, "Input/output error", there)
        return list_it(path)

    monkeypatch.setattr(os, "scandir", lambda path: fail(path, scandir))
    monkeypatch.setattr(os, "listdir", lambda path: fail(path, listdir))
    with pytest.raises(DataError) as error:
        load_folder(images, cache, None)
    assert str(error.value).endswith(f"{there} cannot be read: Input/output error")


def test_file_in_place_of_a_folder_is_refused(tmp_path, cache):
    (tmp_path / "pets").write_text("")
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "pets", cache, None)


def test_empty_folder_is_refused(tmp_path, cache):
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match="0 class folders, two or more are needed"):
        load_folder(tmp_path / "pets", cache, None)


def test_one_class_folder_is_refused(tmp_path, cache):
    make_classes(tmp_path / "pets", names=("cats",))
    with pytest.raises(DataError, match="1 class folder, two or more are needed"):
        load_folder(tmp_path / "pets", cache, None)


def test_class_folders_without_images_are_refused(tmp_path, cache):
    for name in ("a", "b"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="no images in"):
        load_folder(tmp_path / "pets", cache, None)


# The cache


def test_second_load_reads_the_cache(images, cache, no_decoding):
    first = load_folder(images, cache, None)
    no_decoding()
    again = load_folder(images, cache, None)
    assert torch.equal(again.images, first.images)
    assert torch.equal(again.labels, first.labels)
    assert (again.name, again.classes) == (first.name, first.classes)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_changed_image_is_decoded_again(images, cache):
    load_folder(images, cache, None)
    save(images / "cats" / "1.png", 255)
    os.utime(images / "cats" / "1.png", ns=(1, 1))
    assert first_pixels(load_folder(images, cache, None))[0] == 255
    assert len(list(cache.iterdir())) == 2


def test_added_image_is_decoded(images, cache):
    load_folder(images, cache, None)
    save(images / "cats" / "7.png", 255)
    assert len(load_folder(images, cache, None).images) == 11


def test_removed_image_is_gone(images, cache):
    load_folder(images, cache, None)
    (images / "cats" / "5.png").unlink()
    assert 50 not in first_pixels(load_folder(images, cache, None))


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_truncated_cache_is_decoded_again_and_mended(images, cache, no_decoding, kept):
    first = load_folder(images, cache, None)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    assert torch.equal(load_folder(images, cache, None).images, first.images)
    no_decoding()
    assert torch.equal(load_folder(images, cache, None).images, first.images)


def test_cache_folder_that_cannot_be_made_costs_only_time(images, cache):
    cache.write_text("a file in its place")
    assert len(load_folder(images, cache, None).images) == 10
    assert len(load_folder(images, cache / "below", None).images) == 10


def test_full_disk_costs_only_the_cache(images, cache, monkeypatch):
    def fail(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    assert len(load_folder(images, cache, None).images) == 10
    assert list(cache.iterdir()) == []


# Greys of more than 8 bits: one range for the whole set


def save_deep(path, *values):
    """An image of 16 bits with these values in a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([values], np.uint16)).save(path)


def test_deep_greys_are_scaled_by_one_range_for_the_whole_set(tmp_path, cache):
    root = tmp_path / "scans"
    save_deep(root / "train" / "dark" / "1.png", 1000, 1100)
    save_deep(root / "train" / "light" / "1.png", 2900, 3000)
    save_deep(root / "valid" / "dark" / "1.png", 2000, 2000)
    data = load_folder(root, cache)
    assert data.images[:, 0, 0].tolist() == [[0, 13], [242, 255], [128, 128]]
    assert data.preparation.value_range == (1000, 3000)
    assert data.notes[-1] == (
        "3 grey images of more than 8 bits a value: 1000 to 3000, one range for all, becomes 0 to "
        "255"
    )


def test_test_images_are_scaled_by_the_range_of_the_training_images(tmp_path, cache):
    root = tmp_path / "scans"
    for name, value in (("dark", 1000), ("light", 3000)):
        save_deep(root / "train" / name / "1.png", value)
        save_deep(root / "test" / name / "1.png", value - 500)
    like = load_folder(root, cache).preparation
    test = load_folder(root, cache, is_test=True, like=like)
    assert test.images.flatten().tolist() == [0, 191]
    assert test.notes == (
        "1 image with values beyond the range of the training images, which are cut off",
    )


@pytest.mark.parametrize(("value", "scaled"), [(65535, 255), (32768, 128), (1000, 4), (0, 0)])
def test_deep_greys_of_one_value_are_scaled_by_their_number_format(tmp_path, cache, value, scaled):
    for name in ("a", "b"):
        save(tmp_path / "train" / name / "1.png", value, mode="I;16")
    assert first_pixels(load_folder(tmp_path, cache)) == [scaled, scaled]


@pytest.mark.parametrize(("mode", "other"), [("RGB", (1, 2, 3)), ("L", 7)])
def test_deep_greys_among_others_are_scaled_by_their_number_format(tmp_path, cache, mode, other):
    save(tmp_path / "train" / "a" / "1.png", 32768, mode="I;16")
    save(tmp_path / "train" / "a" / "2.png", 256, mode="I;16")
    save(tmp_path / "train" / "b" / "1.png", other, mode=mode)
    assert first_pixels(load_folder(tmp_path, cache))[:2] == [128, 1]


def test_floating_point_is_scaled_by_one_range_too(tmp_path, cache):
    for name, values in (("a", [0.0, 0.25]), ("b", [0.5, 1.0])):
        (tmp_path / "train" / name).mkdir(parents=True)
        pixels = np.array([values], np.float32)
        Image.fromarray(pixels).save(tmp_path / "train" / name / "1.tif")
    assert load_folder(tmp_path, cache).images.flatten().tolist() == [0, 64, 128, 255]


# Sizes and shapes


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_images_are_brought_to_the_size_as_asked(images, cache, fit):
    save(images / "cats" / "3.png", 30, size=(5, 9))
    data = load_folder(images, cache, 8, fit=fit)
    assert data.preparation == Preparation(8, 8, 1, fit)
    assert not any("stretched" in note for note in data.notes)
    assert data.images[2].eq(0).any() == (fit == "pad")


def test_stretching_is_said_where_nobody_asked_for_it(images, cache):
    assert len(load_folder(images, cache, 8).notes) == 1
    save(images / "cats" / "3.png", 30, size=(5, 9))
    data = load_folder(images, cache, 8)
    assert data.preparation.fit == "stretch"
    assert data.notes[1] == (
        "1 image stretched to 8x8, whatever the shape: fit='crop' or fit='pad' keeps it"
    )
    assert load_folder(images, cache, 8).notes == data.notes  # from the cache


def test_fit_without_a_size_is_refused(images, cache):
    with pytest.raises(DataError, match="fit='pad' is for image_size: give both, such as image_"):
        load_folder(images, cache, fit="pad")


def test_photographs_shown_in_one_size_have_one_size(tmp_path, cache):
    for i, (size, tag) in enumerate((((6, 4), 1), ((4, 6), 6), ((4, 6), 8))):
        exif = Image.Exif()
        exif[0x0112] = tag
        for name in ("a", "b"):
            save(tmp_path / "train" / name / f"{i}.jpg", 9, size=size, exif=exif)
    assert load_folder(tmp_path, cache).images.shape == (6, 1, 4, 6)


# Images to validate on, and images in two parts


def test_valid_folder_is_validated_on_and_nothing_else_is(tmp_path, cache):
    make_classes(tmp_path / "pets" / "train", num=4)
    make_classes(tmp_path / "pets" / "valid", num=2)
    data = load_folder(tmp_path / "pets", cache)
    assert data.valid_index.tolist() == [8, 9, 10, 11]
    done = split(data, Fraction(1, 12), seed=3)
    assert sorted(done.train_index.tolist()) == list(range(8))
    assert done.valid_index.tolist() == [8, 9, 10, 11]
    assert len(whole(done).train_index) == 12


def test_unreadable_images_do_not_shift_those_to_validate_on(tmp_path, cache):
    make_classes(tmp_path / "pets" / "train", num=4)
    make_classes(tmp_path / "pets" / "valid", num=2)
    (tmp_path / "pets" / "train" / "cats" / "0.png").write_bytes(b"")
    (tmp_path / "pets" / "valid" / "cats" / "0.png").write_bytes(b"")
    data = load_folder(tmp_path / "pets", cache)
    assert data.valid_index.tolist() == [7, 8, 9]
    assert data.notes[0].startswith("train/ 7, valid/ 3 images of 2 classes")


def test_files_in_two_parts_are_counted_and_named(tmp_path, cache):
    root = tmp_path / "pets"
    for k, part in enumerate(("train", "valid", "test")):
        make_classes(root / part, num=3)
        for path in (root / part).rglob("*.png"):
            save(path, int(path.stem) + 20 * k + 100 * (path.parent.name == "dogs"))
    shutil.copy(root / "train" / "cats" / "1.png", root / "test" / "cats" / "copy.png")
    shutil.copy(root / "train" / "cats" / "1.png", root / "test" / "dogs" / "other.png")
    shutil.copy(root / "valid" / "dogs" / "2.png", root / "test" / "dogs" / "copy.png")
    shutil.copy(root / "train" / "dogs" / "2.png", root / "valid" / "dogs" / "copy.png")
    data = load_folder(root, cache)
    notes = load_folder(root, cache, is_test=True, like=data.preparation).notes
    assert data.notes[1:] == (
        "1 file of valid/ also in train/, byte for byte: valid/dogs/copy.png",
    )  # no file to test on is opened before it has to be
    assert [note for note in notes if "byte for byte" in note] == [
        "2 files of test/ also in train/, byte for byte: test/cats/copy.png, test/dogs/other.png",
        "1 file of test/ also in valid/, byte for byte: test/dogs/copy.png",
    ]
    assert load_folder(root, cache).notes == data.notes
    assert load_folder(root, cache, is_test=True, like=data.preparation).notes == notes


def test_files_kept_back_that_are_trained_on_as_well_are_named(images, cache):
    shutil.copy(images / "cats" / "1.png", images / "cats" / "0.png")
    data = load_folder(images, cache)
    assert len(data.notes) == 1
    notes = load_folder(images, cache, is_test=True, like=data.preparation).notes
    (note,) = (note for note in notes if "byte for byte" in note)
    said = "1 file kept back to test on also trained on, byte for byte: cats/0.png"
    assert note == said


@pytest.mark.parametrize(
    ("num", "said"),
    [(0, "class 'dogs' has no image to train on"),
     (1, "class 'dogs' has 1 image, kept back to test on, and none to train on")],
)  # fmt: skip
def test_class_without_an_image_to_train_on_is_named(images, cache, num, said):
    for path in sorted((images / "dogs").iterdir())[num:]:
        path.unlink()
    with pytest.raises(DataError, match=said):
        load_folder(images, cache)


def test_true_count_of_a_class_that_cannot_be_split_is_said(images, cache):
    for path in sorted((images / "dogs").iterdir())[2:]:
        path.unlink()
    with pytest.raises(DataError, match="'dogs' has 2 images, 1 of them kept back to test on"):
        split(load_folder(images, cache), Fraction(1, 12), 0)


# What may change meanwhile


def test_errors_of_the_surroundings_are_not_remembered(images, cache, monkeypatch):
    real = Path.read_bytes

    def fail(path):
        if path.name in ("1.png", "2.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        data = load_folder(images, cache)
    assert len(data.images) == 6
    assert data.notes[1].startswith("4 files could not be read (Permission denied): cats/1.png")
    assert len(load_folder(images, cache).images) == 10


@pytest.mark.parametrize("change", ["gone", "cut", "other"])
def test_file_that_changes_between_the_passes_is_one_line(images, cache, monkeypatch, change):
    path = images / "dogs" / "3.png"
    real, times = decoding.read_picture, Counter()

    def change_it(read):
        times[read] += 1
        if max(times.values()) == 1:  # the first pass
            return real(read)
        if change == "gone":
            path.unlink(missing_ok=True)
        elif change == "cut":
            path.write_bytes(path.read_bytes()[:40])
        else:
            save(path, 1, size=(9, 9))
        return real(read)

    monkeypatch.setattr(decoding, "read_picture", change_it)
    with pytest.raises(DataError, match="changed while it was read") as error:
        load_folder(images, cache)
    assert "\n" not in str(error.value)
    assert not list(cache.glob("*"))


@pytest.mark.parametrize("name", ["DECODER", "has_heif"])
def test_another_decoder_does_not_read_the_old_cache(images, cache, monkeypatch, name):
    load_folder(images, cache)
    value = "another" if name == "DECODER" else lambda: "another"
    monkeypatch.setattr(folder_module, name, value)
    load_folder(images, cache)
    assert len(list(cache.iterdir())) == 2


def test_what_is_odd_in_images_is_counted_and_named(tmp_path, cache):
    make_classes(tmp_path / "pets" / "train", num=2)
    cats = tmp_path / "pets" / "train" / "cats"
    frames = [Image.new("L", (4, 4), value) for value in (1, 200)]
    frames[0].save(cats / "8.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (4, 4), 1).save(cats / "9.jpg", format="PNG")
    notes = load_folder(tmp_path / "pets", cache).notes
    assert notes[1:] == (
        "1 file with several frames or pages, of which the first is taken: train/cats/8.gif",
        "1 file of another format than the suffix says, read all the same: train/cats/9.jpg",
    )
