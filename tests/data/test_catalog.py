"""Data sets by name. Every test here runs without a network."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import socket
import sys
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from nas.cli.main import main
from nas.data import (
    NAMES,
    LabelledImages,
    catalog,
    default_data_dir,
    source_of,
    split,
)
from nas.errors import DataError

RAW = Path("MNIST", "raw")
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"

_recorders: list[list[Path]] = []


def _record(event, args):
    is_path = event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | Path)
    for recorder in _recorders if is_path else ():
        recorder.append(Path(args[0]))


@pytest.fixture(scope="module")
def audited():
    sys.addaudithook(_record)  # for the life of the process: a hook cannot be taken away


@pytest.fixture
def opened(audited):
    """A context manager: the files and folders that Python opens within it."""

    @contextmanager
    def record():
        paths: list[Path] = []
        _recorders.append(paths)
        try:
            yield paths
        finally:
            _recorders.remove(paths)

    return record


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Names that somebody asked the network for; none can be reached."""
    asked = []

    def refuse(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror("offline")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.fixture
def copy_of_mnist(mnist_dir, tmp_path):
    """A data folder with files of MNIST to write to."""
    (tmp_path / RAW).mkdir(parents=True)
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        shutil.copyfile(mnist_dir / RAW / name, tmp_path / RAW / name)
    return tmp_path


@pytest.fixture
def made_up_cifar10(tmp_path, monkeypatch):
    """A data folder with CIFAR-10 of two random images a file, and their checksums."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    random = np.random.default_rng(0)
    md5s = {
        name: write(name, {"data": random.integers(0, 256, (2, 3072), np.uint8), "labels": [0, 1]})
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    }
    meta = {"filename": "batches.meta", "key": "label_names"}
    meta["md5"] = write(meta["filename"], {meta["key"]: ["cats", "dogs"]})
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", [[n, md5s[n]] for n in md5s if n != "test_batch"])
    monkeypatch.setattr(cifar10, "test_list", [["test_batch", md5s["test_batch"]]])
    monkeypatch.setattr(cifar10, "meta", meta)
    return tmp_path


def set_byte(path, offset, value):
    """Give one byte, counted from the end when negative, another value."""
    data = bytearray(path.read_bytes())
    data[offset] = value
    path.write_bytes(data)


# digits


def test_digits_are_1493_images_of_every_class():
    data = source_of("digits", data_dir=Path("unused")).training_images()
    assert data.images.shape == (1493, 1, 8, 8)
    assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
    assert data.classes == tuple("0123456789")
    assert torch.bincount(data.labels).tolist() == [
        148,
        151,
        147,
        152,
        150,
        151,
        150,
        149,
        145,
        150,
    ]
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.flips is False


def test_digits_without_their_test_images_are_the_bundled_ones():
    from sklearn.datasets import load_digits

    bundle = load_digits()
    kept, left_out = [], set()
    seen = [0] * 10
    for image, label in zip(bundle.images, bundle.target, strict=True):
        pixels = tuple((image * 255 / 16).round().astype(int).flatten().tolist())
        if seen[label] % 6:
            kept.append((pixels, int(label)))
        else:
            left_out.add(pixels)
        seen[label] += 1

    data = source_of("digits", data_dir=Path("unused")).training_images()
    found = [tuple(pixels) for pixels in data.images.flatten(1).tolist()]
    assert len(left_out) == 304
    assert left_out.isdisjoint(found)
    assert list(zip(found, data.labels.tolist(), strict=True)) == kept


def test_digits_need_no_data_folder(tmp_path, offline):
    source_of("digits", data_dir=tmp_path / "none").training_images()
    assert not (tmp_path / "none").exists()
    assert offline == []


# Names


def test_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(DataError) as error:
        source_of("imagenet", data_dir=tmp_path).training_images()
    assert str(error.value) == (
        "dataset 'imagenet' is neither a folder, nor an .npz, nor a known data set: "
        + f"there are {', '.join(NAMES)}"
    )


@pytest.mark.parametrize(("typed", "meant"), [("digts", "digits"), ("cifar-10", "cifar10")])
def test_mistyped_name_is_refused_with_the_nearest(tmp_path, typed, meant):
    with pytest.raises(DataError, match=f"'{typed}' is neither .*: did you mean {meant}\\?$"):
        source_of(typed, data_dir=tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_named_data_set_has_its_own_size(tmp_path, name):
    with pytest.raises(
        DataError, match=f"image_size is for folders of images, those of {name} have"
    ):
        source_of(name, data_dir=tmp_path, image_size=16).training_images()


def test_name_without_slash_is_a_folder_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
        Image.new("L", (4, 4), 9).save(tmp_path / "pets" / "train" / name / "1.png")
    assert source_of("pets", data_dir=tmp_path / "data").training_images().classes == ("a", "b")


def test_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parent)
    for name in "ab":
        (tmp_path / "pets" / name).mkdir(parents=True)
        for grey in range(6):
            Image.new("L", (4, 4), grey).save(tmp_path / "pets" / name / f"{grey}.png")
    images = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4)
    np.savez(tmp_path / "pets.npz", images=images, labels=np.arange(12) % 2)
    found = source_of("~/pets", data_dir="~/data")
    assert found.record == str(tmp_path / "pets")
    assert found.training_images().images.shape == (10, 1, 4, 4)
    assert {path.name for path in tmp_path.iterdir()} >= {"data", "pets"}
    found = source_of("~/pets.npz", test="~/pets.npz")
    assert (found.record, found.test_record) == (str(tmp_path / "pets.npz"),) * 2


# The data folder


def test_data_folder_is_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("NAS_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_data_dir() == Path("/home/somebody/.cache/nas")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_data_dir() == Path("/caches/nas")


def test_data_folder_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.setenv("NAS_DATA_DIR", "/data")
    assert default_data_dir() == Path("/data")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("NAS_DATA_DIR", "~/data")
    assert default_data_dir() == Path("/home/somebody/data")
    monkeypatch.setenv("NAS_DATA_DIR", "")
    assert default_data_dir() == Path("/caches/nas")


def test_user_without_a_home_is_told_to_say_where_data_is(monkeypatch, tmp_path, capsys):
    pwd = pytest.importorskip("pwd")  # as in a container that runs under any number
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.chdir(tmp_path)
    for name in ("NAS_DATA_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["search", "--budget", "20k", "--dataset", "digits"]) == 2
    out, err = capsys.readouterr()
    assert (out, list(tmp_path.iterdir())) == ("", [])
    assert err == (
        "nas: this user has no home folder: say where data sets are kept with --data-dir or "
        "NAS_DATA_DIR\n"
    )


# Without MNIST


def test_without_mnist_the_digits_are_taken_and_a_note_says_so(tmp_path, offline, capfd):
    data = source_of(None, data_dir=tmp_path).training_images()
    assert offline  # a download was tried
    assert (data.name, len(data.images)) == ("digits", 1493)
    (note,) = data.notes
    assert "MNIST is neither on disk nor to be downloaded" in note
    assert "data_dir" in note
    assert capfd.readouterr() == ("", "")


def test_failed_download_leaves_the_time_limit_of_sockets_alone(tmp_path):
    before = socket.getdefaulttimeout()
    source_of(None, data_dir=tmp_path).training_images()
    assert socket.getdefaulttimeout() == before


def test_failed_download_leaves_no_folder_behind(tmp_path, offline):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "a" / "b", tmp_path / "mine"):
        with pytest.raises(DataError, match="cannot be downloaded"):
            source_of("kmnist", data_dir=folder).training_images()
    assert [p.name for p in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_data_set_that_cannot_be_downloaded_is_one_line_of_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as error:
        source_of(name, data_dir=tmp_path).training_images()
    assert str(error.value) == (
        f"{name} is not in {tmp_path} and cannot be downloaded: say where it is with data_dir "
        "or NAS_DATA_DIR, go online, or take dataset='digits'"
    )


def test_data_folder_that_cannot_be_made_is_one_line_too(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be downloaded: say where it is with data_dir"):
        source_of("mnist", data_dir=tmp_path / "file" / "data").training_images()


def test_command_line_says_where_mnist_could_come_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--budget", "20000", "--dataset", "mnist", "--data-dir", str(tmp_path / "data")]
    assert main(["search", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert all(word in err for word in ("--data-dir", "NAS_DATA_DIR", "--dataset digits"))
    assert not (tmp_path / "studies.db").exists()


# MNIST


def test_mnist_is_60000_images_of_28x28(mnist_dir, offline):
    data = source_of("mnist", data_dir=mnist_dir).training_images()
    assert data.images.shape == (60000, 1, 28, 28)
    assert data.images.dtype == torch.uint8
    assert torch.bincount(data.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert len(data.classes) == 10
    assert (data.flips, data.notes) == (False, ())
    assert offline == []


def test_a_twelfth_of_mnist_is_exactly_5000_images(mnist_dir):
    done = split(source_of("mnist", data_dir=mnist_dir).training_images(), Fraction(1, 12), seed=0)
    assert (len(done.train_index), len(done.valid_index)) == (55000, 5000)
    share = torch.bincount(done.labels[done.valid_index]) / torch.bincount(done.labels)
    assert share.sub(1 / 12).abs().max() < 1 / 5421


def test_mnist_is_taken_without_asking_where_it_is_at_hand(mnist_dir, offline):
    data = source_of(None, data_dir=mnist_dir).training_images()
    assert (data.name, len(data.images)) == ("mnist", 60000)
    (note,) = data.notes
    assert f"searching on MNIST, in {mnist_dir}" in note
    assert offline == []


def test_test_images_of_mnist_are_never_opened(mnist_dir, opened):
    with opened() as paths:
        source_of("mnist", data_dir=mnist_dir).training_images()
    names = [path.name for path in paths]
    assert TRAIN_IMAGES in names  # the recording works
    assert not [name for name in names if name.startswith("t10k")]


def test_test_images_of_cifar10_are_never_opened(made_up_cifar10, opened):
    with opened() as paths:
        data = source_of("cifar10", data_dir=made_up_cifar10).training_images()
    assert data.images.shape == (10, 3, 32, 32)
    names = [path.name for path in paths]
    assert "data_batch_1" in names
    assert "test_batch" not in names


def test_images_in_a_test_folder_are_never_opened(tmp_path, opened):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            size = (4, 4) if part == "train" else (40, 40)  # no file is as long as one to train on
            Image.effect_noise(size, 99).save(tmp_path / "pets" / part / name / "1.png")
    with opened() as paths:
        source_of(str(tmp_path / "pets"), data_dir=tmp_path / "data").training_images()
    train_folder = tmp_path / "pets" / "train"
    assert {train_folder, train_folder / "a", train_folder / "a" / "1.png"} <= set(paths)
    test_folder = tmp_path / "pets" / "test"  # its files are listed, to be counted
    assert not [path for path in paths if path.suffix and test_folder in path.parents]


@pytest.mark.parametrize("dataset", ["mnist", None])
@pytest.mark.parametrize(
    ("file", "offset"),
    [(TRAIN_IMAGES, -1), (TRAIN_IMAGES, 16), (TRAIN_LABELS, -1), (TRAIN_LABELS, 8)],
    ids=["last pixel", "first pixel", "last label", "first label"],
)
def test_damaged_mnist_is_refused_whether_asked_for_or_not(copy_of_mnist, dataset, file, offset):
    set_byte(copy_of_mnist / RAW / file, offset, 9)
    with pytest.raises(DataError, match="damaged"):
        source_of(dataset, data_dir=copy_of_mnist).training_images()


@pytest.mark.parametrize("file", [TRAIN_IMAGES, TRAIN_LABELS])
@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 255), (2, 9), (2, 10), (2, 255), (3, 2), (3, 255), (5, 255), (7, 0)],
    ids=["magic", "other type", "no type", "bad type", "dimensions", "many dimensions",
         "too long", "too short"],
)  # fmt: skip
def test_mnist_with_a_damaged_header_is_refused(copy_of_mnist, file, offset, value):
    set_byte(copy_of_mnist / RAW / file, offset, value)
    with pytest.raises(DataError):
        source_of(None, data_dir=copy_of_mnist).training_images()


@pytest.mark.parametrize("size", [0, 3, 1000])
@pytest.mark.parametrize("file", [TRAIN_IMAGES, TRAIN_LABELS])
def test_mnist_cut_short_is_refused(copy_of_mnist, file, size):
    path = copy_of_mnist / RAW / file
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError):
        source_of(None, data_dir=copy_of_mnist).training_images()


def test_copy_of_mnist_is_good_before_it_is_damaged(copy_of_mnist):
    assert source_of(None, data_dir=copy_of_mnist).training_images().name == "mnist"


# Test images


def training(name, data_dir, image_size=None):
    source = source_of(name, data_dir=data_dir, image_size=image_size)
    return split(source.training_images(), Fraction(1, 12), seed=0)


def images_to_test(name, data_dir):
    return source_of(name, data_dir=data_dir).test_images(training(name, data_dir))


def like(*shape, classes):
    """Training images of that shape and those classes, two of each and all black."""
    labels = torch.arange(2 * len(classes)) % len(classes)
    images = torch.zeros((len(labels), *shape), dtype=torch.uint8)
    return split(LabelledImages("made", images, labels, tuple(classes)), Fraction(1, 2), seed=0)


@pytest.fixture
def mnist_like():
    return like(1, 28, 28, classes=torchvision.datasets.MNIST.classes)


def make_pets(root, part, names=("cats", "dogs"), num=3, size=(4, 4), value=9):
    for name in names:
        (root / part / name).mkdir(parents=True)
        for i in range(num):
            Image.new("L", size, value + i).save(root / part / name / f"{i}.png")


def test_test_images_of_digits_are_the_304_that_no_search_sees(tmp_path):
    from sklearn.datasets import load_digits

    train = training("digits", tmp_path)
    test = source_of("digits", data_dir=tmp_path).test_images(train)
    assert test.images.shape == (304, 1, 8, 8)
    assert (test.name, test.classes) == ("digits", train.classes)
    assert torch.bincount(test.labels).tolist() == [30, 31, 30, 31, 31, 31, 31, 30, 29, 30]

    def rows(images, labels):
        pixels = [tuple(image) for image in images.reshape(len(images), -1).tolist()]
        return list(zip(pixels, labels.tolist(), strict=True))

    seen, unseen = rows(train.images, train.labels), rows(test.images, test.labels)
    assert set(seen).isdisjoint(unseen)
    bundle = load_digits()
    whole = rows((bundle.images * 255 / 16).round().astype(int), bundle.target)
    assert len(whole) == 1797
    assert sorted(seen + unseen) == sorted(whole)


def test_mnist_has_10000_test_images(mnist_dir, mnist_like, offline, opened):
    with opened() as paths:
        test = source_of("mnist", data_dir=mnist_dir).test_images(mnist_like)
    assert (test.images.shape, test.images.dtype) == ((10000, 1, 28, 28), torch.uint8)
    assert torch.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert test.flips is False
    assert {path.name for path in paths if "ubyte" in path.name} == {TEST_IMAGES, TEST_LABELS}
    assert offline == []


def test_test_images_of_cifar10_are_those_of_its_test_file(made_up_cifar10):
    train = training("cifar10", made_up_cifar10)
    test = source_of("cifar10", data_dir=made_up_cifar10).test_images(train)
    content = pickle.loads((made_up_cifar10 / "cifar-10-batches-py" / "test_batch").read_bytes())
    assert test.images.shape == (2, 3, 32, 32)
    assert test.images.flatten(1).numpy().tolist() == content["data"].tolist()
    assert (test.labels.tolist(), test.classes, test.flips) == ([0, 1], ("cats", "dogs"), True)


def test_test_images_of_a_folder_are_those_of_its_test_folder(tmp_path):
    make_pets(tmp_path / "pets", "train")
    make_pets(tmp_path / "pets", "test", num=2, value=100)
    source = str(tmp_path / "pets")
    test = images_to_test(source, tmp_path / "data")
    assert test.images[:, 0, 0, 0].tolist() == [100, 101, 100, 101]
    assert test.labels.tolist() == [0, 0, 1, 1]


def test_test_images_of_a_folder_are_brought_to_the_size_of_the_search(tmp_path):
    make_pets(tmp_path / "pets", "train")
    make_pets(tmp_path / "pets", "test", size=(6, 5))
    source = str(tmp_path / "pets")
    train = training(source, tmp_path / "data", 8)
    test = source_of(source, data_dir=tmp_path / "data", image_size=8).test_images(train)
    assert test.images.shape == (6, 1, 8, 8)


def test_class_folders_alone_have_every_sixth_image_to_test_on(tmp_path):
    make_pets(tmp_path, "pets", num=8)
    source = str(tmp_path / "pets")
    test = images_to_test(source, tmp_path / "data")
    assert test.images[:, 0, 0, 0].tolist() == [9, 15, 9, 15]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"names": ("cats", "owls")}, "test/ has owls, which train/ has not"),
        ({"names": ("cats", "dogs", "owls")}, "test/ has owls, which train/ has not"),
        ({"names": ("dogs",)}, "test/ has no images of cats"),
        ({"size": (5, 5)}, "an image of 5x5 among those to test on, where those to train on"),
    ],
    ids=["other class", "more classes", "fewer classes", "other size"],
)
def test_test_images_unlike_the_training_images_are_refused(tmp_path, changes, fault):
    make_pets(tmp_path / "pets", "train")
    make_pets(tmp_path / "pets", "test", **changes)
    source = str(tmp_path / "pets")
    with pytest.raises(DataError, match=fault):
        images_to_test(source, tmp_path / "data")


@pytest.mark.parametrize(
    "train",
    [like(1, 9, 9, classes="0123456789"), like(3, 8, 8, classes="0123456789"),
     like(1, 8, 8, classes="01")],
    ids=["size", "colour", "classes"],
)  # fmt: skip
def test_test_images_of_another_data_set_are_refused(tmp_path, train):
    with pytest.raises(DataError, match="the test images of digits have other classes or another"):
        source_of("digits", data_dir=tmp_path).test_images(train)


def test_folder_without_test_images_is_refused_in_one_line(tmp_path):
    make_pets(tmp_path / "pets", "train")
    source = str(tmp_path / "pets")
    with pytest.raises(
        DataError, match="pets: there is no folder `test` with images to test on"
    ) as error:
        images_to_test(source, tmp_path / "data")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", [TEST_IMAGES, TEST_LABELS])
def test_missing_test_images_that_cannot_be_downloaded_are_refused(
    copy_of_mnist, mnist_like, offline, file
):
    (copy_of_mnist / RAW / file).unlink()
    with pytest.raises(DataError, match=r"mnist is not in .* and cannot be downloaded"):
        source_of("mnist", data_dir=copy_of_mnist).test_images(mnist_like)
    assert offline


@pytest.mark.parametrize("file", [TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize("size", [0, 3, 1000])
def test_test_images_cut_short_are_refused(copy_of_mnist, mnist_like, file, size):
    path = copy_of_mnist / RAW / file
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError):
        source_of("mnist", data_dir=copy_of_mnist).test_images(mnist_like)


@pytest.mark.parametrize(
    ("file", "offset", "value"),
    [(TEST_IMAGES, 2, 9), (TEST_IMAGES, 3, 2), (TEST_IMAGES, 7, 0), (TEST_LABELS, 3, 3),
     (TEST_LABELS, 6, 1), (TEST_LABELS, -1, 10)],
    ids=["other type", "fewer dimensions", "fewer images", "more dimensions", "fewer labels",
         "no such class"],
)  # fmt: skip
def test_damaged_test_images_are_refused(copy_of_mnist, mnist_like, file, offset, value):
    set_byte(copy_of_mnist / RAW / file, offset, value)
    with pytest.raises(DataError):
        source_of("mnist", data_dir=copy_of_mnist).test_images(mnist_like)


def test_help_names_every_data_set(capsys):
    assert main(["search", "--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in catalog.NAMES if not re.search(rf"\b{name}\b", text)] == []
