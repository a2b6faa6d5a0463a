"""What a folder is taken for: a row for each way in which people lay out their pictures."""

from __future__ import annotations

import unicodedata

import pytest

from nas.data.decision import read_layout
from nas.data.roles import role_of
from nas.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def make(root, *folders):
    """Folders with 12 empty files each, or as many as a name says: `cats:3`."""
    for text in folders:
        name, _, number = text.partition(":")
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(int(number or 12)):
            (root / name / f"{i:02}.png").touch()
    return root


def decide(root):
    layout = read_layout(root)
    valid = len(layout.valid.files) if layout.valid else 0
    return layout, layout.text(len(layout.train.files), valid)


# Folders, then the names of the classes, then the decision in a line.
DECIDED = {
    "classes": (
        ("cats", "dogs"),
        "cats dogs",
        "24 images of 2 classes (cats, dogs), of which 4 are kept back to test on",
    ),
    "class called train": (
        ("bus", "car", "train"),
        "bus car train",
        "36 images of 3 classes (bus, car, train), of which 6 are kept back to test on",
    ),
    "class called train with folders inside": (
        ("bus/red", "car/red", "train/steam", "train/electric"),
        "bus car train",
        "48 images of 3 classes (bus, car, train), of which 8 are kept back to test on",
    ),
    "classes with the same folders inside": (
        ("bus/red", "bus/blue", "car/red", "car/blue", "Train/red", "Train/blue"),
        "Train bus car",
        "72 images of 3 classes (Train, bus, car), of which 12 are kept back to test on",
    ),
    "class called train and one other": (
        ("bus", "train"),
        "bus train",
        "24 images of 2 classes (bus, train), of which 4 are kept back to test on",
    ),
    "classes with a part's name in theirs": (
        ("freight_train", "test_tube", "trains"),
        "freight_train test_tube trains",
        "36 images of 3 classes (freight_train, test_tube, trains), of which 6 are kept back to "
        "test on",
    ),
    "train and test": (
        ("train/0", "train/1", "train/2", "test/0:2", "test/1:2", "test/2:2"),
        "0 1 2",
        "train/ 36, test/ 6 images of 3 classes",
    ),
    "training and testing": (
        ("training/0", "training/1", "testing/0", "testing/1"),
        "0 1",
        "training/ 24, testing/ 24 images of 2 classes",
    ),
    "capitals": (
        ("Train/a", "Train/b", "TEST/a", "TEST/b"),
        "a b",
        "Train/ 24, TEST/ 24 images of 2 classes",
    ),
    "with valid": (
        ("train/a", "train/b", "valid/a", "valid/b", "test/a", "test/b"),
        "a b",
        "train/ 24, valid/ 24, test/ 24 images of 2 classes; the search validates on valid/",
    ),
    "with Validation": (
        ("train/a", "train/b", "Validation/a", "Validation/b"),
        "a b",
        "train/ 24, Validation/ 24 images of 2 classes; the search validates on Validation/; "
        "there is no folder `test` with images to test on",
    ),
    "train alone": (
        ("train/a", "train/b"),
        "a b",
        "train/ 24 images of 2 classes; there is no folder `test` with images to test on",
    ),
    "longer names of parts": (
        ("training_set/a", "training_set/b", "test_set/a", "test_set/b"),
        "a b",
        "training_set/ 24, test_set/ 24 images of 2 classes",
    ),
    "the same word beside both": (
        ("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a",
         "seg_test/seg_test/b"),
        "a b",
        "seg_train/seg_train/ 24, seg_test/seg_test/ 24 images of 2 classes",
    ),
    "numbered": (
        ("train1/a", "train1/b", "test1/a", "test1/b"),
        "a b",
        "train1/ 24, test1/ 24 images of 2 classes",
    ),
    "parts in each class": (
        ("cats/train", "cats/test:6", "dogs/train", "dogs/test:6"),
        "cats dogs",
        "*/train/ 24, */test/ 12 images of 2 classes",
    ),
    "a folder around classes": (
        ("pictures/cats", "pictures/dogs"),
        "cats dogs",
        "24 images of 2 classes (cats, dogs), of which 4 are kept back to test on",
    ),
    "a folder around parts": (
        ("set/train/a", "set/train/b", "set/test/a", "set/test/b"),
        "a b",
        "set/train/ 24, set/test/ 24 images of 2 classes",
    ),
    "an empty test": (
        ("train/a", "train/b", "test:0"),
        "a b",
        "train/ 24 images of 2 classes; there is no folder `test` with images to test on",
    ),
    "accents written in two ways": (
        (f"train/{NFC}", "train/tea", f"test/{NFD}", "test/tea"),
        f"{NFC} tea",
        "train/ 24, test/ 24 images of 2 classes",
    ),
    "a class that test lacks": (
        ("train/a", "train/b", "train/c", "test/a", "test/b"),
        "a b c",
        "train/ 36 images of 3 classes; test/ has no images of c, so nothing can be tested",
    ),
    "a class that train lacks": (
        ("train/a", "train/b", "test/a", "test/b", "test/owls"),
        "a b",
        "train/ 24 images of 2 classes; test/ has owls, which train/ has not, so nothing can be "
        "tested",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DECIDED)
def test_layout_is_decided_by_what_is_there(tmp_path, name):
    folders, classes, text = DECIDED[name]
    layout, said = decide(make(tmp_path, *folders))
    assert (" ".join(layout.classes), said) == (classes, text)


@pytest.mark.parametrize("name", DECIDED)
def test_no_file_is_in_two_parts_and_every_label_is_that_of_its_folder(tmp_path, name):
    layout = read_layout(make(tmp_path, *DECIDED[name][0]))
    parts = [part for part in (layout.train, layout.valid, layout.test) if part]
    files = [path for part in parts for path, _ in part.files]
    assert len(files) == len(set(files)) > 0
    for path, label in (pair for part in parts for pair in part.files):
        inside = [unicodedata.normalize("NFC", p) for p in path.relative_to(tmp_path).parts]
        assert layout.classes[label] in inside


# Folders, then what of them is said to be open, then what a person can do.
REFUSED = {
    "parts or classes": (("train", "test"), "`test/` and `train/`", "`train/CLASS/`"),
    "val, too": (("train", "val"), "`train/` and `val/`", "`train/` to `trains/`"),
    "other folders inside": (
        ("train/steam", "train/diesel", "test/lab", "test/bench"), "`test/` and `train/`",
        "`train/` to `trains/`",
    ),
    "test beside classes": (("bus", "car", "test"), "`test/` may hold", "`tests/`"),
    "testing beside classes": (("bus", "car", "Testing"), "`Testing/` may hold", "`Testings/`"),
    "test with the classes": (
        ("cats", "dogs", "test/cats", "test/dogs"), "`test/` may hold",
        "put the other folders into `train/`",
    ),
    "test alone": (("test/a", "test/b"), "`test/` may hold", "`train/`"),
    "two names of one part": (
        ("train/a", "train/b", "training/a", "training/b"), "`train/` and `training/`",
        "dataset=.*/train",
    ),
    "two names of the tests": (
        ("train/a", "train/b", "test/a", "test/b", "testing/a", "testing/b"),
        "`test/`, `testing/`", "Leave one folder for each part",
    ),
    "another folder with the classes": (
        ("train/a", "train/b", "unseen/a", "unseen/b"), "`train/` and `unseen/`",
        "call the one to test on `test/`",
    ),
    "test in a class": (("cats/test", "cats/more", "dogs"), "cats/test/", "`test/cats/`"),
    "test deep in a class": (("cats/a/val", "dogs"), "cats/a/val/", "`val/cats/`"),
    "test in a class of train": (
        ("train/a/test", "train/a", "train/b"), "train/a/test/", "`test/a/`"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(tmp_path, name):
    folders, what, remedy = REFUSED[name]
    with pytest.raises(DataError, match=f"can be read in two ways: .*{what}.*{remedy}") as error:
        read_layout(make(tmp_path, *folders))
    assert "\n" not in str(error.value)


def test_remedies_that_rename_lead_to_classes(tmp_path):
    root = make(tmp_path / "a", "train", "test")
    (root / "train").rename(root / "trains")
    (root / "test").rename(root / "tests")
    assert read_layout(root).classes == ("tests", "trains")


def test_classes_of_valid_that_train_lacks_are_refused_by_name(tmp_path):
    make(tmp_path, "train/a", "train/b", "valid/a", "valid/owls")
    with pytest.raises(DataError, match="valid/ has owls, which train/ has not"):
        read_layout(tmp_path)


def test_classes_that_valid_lacks_are_named(tmp_path):
    make(tmp_path, "train/a", "train/b", "valid/a")
    assert read_layout(tmp_path).notes == ("valid/ has no images of b",)


def test_class_folders_of_one_name_are_one_class(tmp_path):
    make(tmp_path, NFC, NFD, "tea")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this disk composes names itself")
    layout = read_layout(tmp_path)
    assert layout.classes == (NFC, "tea")
    assert layout.notes == (f"2 folders are called {NFC}: they are one class",)


def test_what_systems_leave_is_skipped(tmp_path):
    make(tmp_path, "cats", "dogs", "__MACOSX/cats", ".git/x", "@eaDir/x", "cats/.thumbnails")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "cats/Thumbs.db", "cats/._00.png"):
        (tmp_path / name).touch()
    layout = read_layout(tmp_path)
    assert (layout.classes, layout.notes) == (("cats", "dogs"), ())
    assert len(layout.train.files) + len(layout.test.files) == 24


def test_what_is_left_out_is_named(tmp_path):
    make(tmp_path, "train/a", "train/b", "test/a", "test/b", "unlabelled")
    for name in ("labels.csv", "train/loose.png"):
        (tmp_path / name).touch()
    assert read_layout(tmp_path).notes == (
        "1 file in no class folder left out: labels.csv",
        "unlabelled/ is none of the parts: its 12 pictures are left out",
        "1 file in no class folder left out: train/loose.png",
    )


def test_test_images_without_classes_are_left_out_and_said(tmp_path):
    layout, text = decide(make(tmp_path, "train/a", "train/b", "test"))
    assert layout.notes[0] == "test/ has 12 pictures and no class folders: they are left out"
    assert text.endswith("there is no folder `test` with images to test on")


def test_links_are_followed_and_loops_end(tmp_path):
    root = make(tmp_path / "set", "cats:3", "dogs:3")
    (root / "dogs" / "more").symlink_to(make(tmp_path, "elsewhere:6") / "elsewhere")
    (root / "cats" / "back").symlink_to(root / "cats")
    (root / "cats" / "all").symlink_to(root)
    (root / "birds").symlink_to(make(tmp_path, "aviary:6") / "aviary")
    layout = read_layout(root)
    assert layout.classes == ("birds", "cats", "dogs")
    assert len(layout.train.files) + len(layout.test.files) == 6 + 3 + 9
    assert layout.notes == ("2 links to what is read already left out: cats/all, cats/back",)


def test_links_among_folders_do_not_multiply(tmp_path):
    names = [f"class{i}" for i in range(12)]
    make(tmp_path, *(f"{name}:1" for name in names))
    for name in names:
        for other in names:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    layout = read_layout(tmp_path)
    assert len(layout.train.files) + len(layout.test.files) == 12 * 12


def test_folder_that_is_linked_to_is_still_read_where_it_is(tmp_path):
    make(tmp_path, "train/a:2", "train/b:3", "test/a:1", "test/b:1")
    (tmp_path / "train" / "a" / "more").symlink_to(tmp_path / "train" / "b")
    assert [label for _, label in read_layout(tmp_path).train.files] == [0] * 5 + [1] * 3


@pytest.mark.parametrize(
    ("name", "role"),
    [("train", ("train", "")), ("Training", ("train", "")), ("VAL", ("valid", "")),
     ("validation", ("valid", "")), ("testing", ("test", "")), ("test_images", ("test", "")),
     ("trainset", ("train", "")), ("test2", ("test", "")), ("my-train", ("train", "my")),
     ("trains", None), ("contest", None), ("latest", None), ("trainer", None), ("", None)],
)  # fmt: skip
def test_names_of_parts(name, role):
    assert role_of(name) == role
