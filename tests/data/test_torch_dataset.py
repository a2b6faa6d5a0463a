"""A torch Dataset as a data set, item by item."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.transforms import v2

from nas.data import source_of
from nas.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (24, 8, 9)).astype(np.uint8)
LABELS = [i % 2 for i in range(24)]


class Listed(Dataset):
    """Items from a list."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def pairs(images, labels=LABELS):
    return list(zip(images, labels, strict=True))


def everything(dataset):
    """All images and labels, those that are kept back included."""
    source = source_of(dataset)
    train = source.training_images()
    test = source.read_test_images(None)
    images = torch.cat([train.images, test.images])
    return {tuple(image.flatten().tolist()) for image in images}, images.shape, train


@pytest.mark.parametrize(
    "images",
    [
        [Image.fromarray(image) for image in GREY],
        [torch.from_numpy(image)[None] for image in GREY],
        [torch.from_numpy(image) for image in GREY],
        list(GREY),
        [torchvision.transforms.ToTensor()(Image.fromarray(image)) for image in GREY],
    ],
    ids=["PIL", "uint8 tensors", "without channels", "arrays", "ToTensor"],
)
def test_images_of_each_kind_are_the_same_pixels(images):
    found, shape, _ = everything(Listed(pairs(images)))
    assert shape == (24, 1, 8, 9)
    assert found == {tuple(image.flatten().tolist()) for image in GREY}


def test_colour_is_kept():
    colour = np.random.default_rng(1).integers(0, 256, (24, 8, 9, 3)).astype(np.uint8)
    found, shape, _ = everything(Listed(pairs([Image.fromarray(image) for image in colour])))
    assert shape == (24, 3, 8, 9)
    assert found == {tuple(image.transpose(2, 0, 1).flatten().tolist()) for image in colour}


def test_classes_of_the_dataset_are_the_names_also_of_a_part_of_it():
    dataset = Listed(pairs(GREY), classes=["cat", "dog"])
    assert source_of(dataset).training_images().classes == ("cat", "dog")
    part = Subset(Subset(dataset, range(20)), range(16))
    assert source_of(part).training_images().classes == ("cat", "dog")


@pytest.mark.parametrize(
    "labels",
    [["ab"[i] for i in LABELS], torch.tensor(LABELS), np.array(LABELS)],
    ids=["strings", "tensors", "numbers of numpy"],
)
def test_labels_of_each_kind_are_classes(labels):
    train = source_of(Listed(pairs(GREY, labels))).training_images()
    assert len(train.classes) == 2
    assert torch.bincount(train.labels).tolist() == [10, 10]


def test_image_folder_of_torchvision_is_read(tmp_path):
    for name, images in (("cats", GREY[:12]), ("dogs", GREY[12:])):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{i:02}.png")
    dataset = torchvision.datasets.ImageFolder(tmp_path, v2.Grayscale())
    found, _, train = everything(dataset)
    assert found == {tuple(image.flatten().tolist()) for image in GREY}
    assert train.classes == ("cats", "dogs")
    assert train.name.startswith("ImageFolder-")


def broken():
    class Broken(Listed):
        def __getitem__(self, place):
            raise ValueError("no such\nfile")

    return Broken([0])


class WithoutLength(Dataset):
    def __getitem__(self, place):
        return GREY[0], 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs(GREY))


NORMALISED = torch.from_numpy(GREY)[:, None].float().div(255).sub(0.13).div(0.31)
FLIP = v2.RandomHorizontalFlip()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Listed([]), "Listed is empty"),
        (Listed(pairs([*GREY[:23], GREY[0][:, :5]])), "item 23 has an image of shape (8, 5), item "
         "0 of (8, 9): bring all to one, such as with torchvision.transforms.Resize((32, 32))"),
        (Listed(pairs(NORMALISED)), "item 0: images are float32 from -0.41"),
        (Listed(pairs(torch.linspace(0.01, 0.99, 24 * 72).view(24, 1, 8, 9))), "item 0: images are "
         "float32 from 0.0"),
        (Listed(pairs([Image.fromarray(image).convert("RGBA") for image in GREY])), "item 0 is a "
         "PIL image of mode RGBA: make it grey or RGB, such as image.convert('RGB')"),
        (Listed(pairs(["1.png"] * 24)), "item 0 has a str for an image: give a PIL image or a "
         "tensor"),
        (Listed(list(GREY)), "item 0 is a ndarray: give pairs (image, label)"),
        (Listed([(*pair, 1) for pair in pairs(GREY)]), "item 0 is a tuple of 3: give pairs"),
        (Listed(pairs(GREY, list(np.eye(24)))), "item 0 has a label of shape (24,): give one "
         "integer or string"),
        (Listed(pairs(GREY, [0.5] * 24)), "labels are of type float64"),
        (Listed(pairs(GREY), ["cat"]), "there are names for 1 classes, so labels are 0 to 0"),
        (TensorDataset(torch.from_numpy(GREY)), "item 0 is a tuple of 1: give pairs"),
        (broken(), "item 0 cannot be read: ValueError: no such file"),
        (WithoutLength(), "WithoutLength has no length: give it a method __len__"),
        (Stream(), "an IterableDataset: give (images, labels) or a Dataset with a length"),
        (DataLoader(Listed(pairs(GREY))), "a DataLoader: give its Dataset, which is "
         "loader.dataset"),
        (Listed(pairs(GREY.transpose(1, 2, 0)[:3, :, None].repeat(8, 0))), "images have shape "
         "(24, 9, 1, 24)" ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_dataset_that_cannot_be_searched_on_is_refused_in_one_line(dataset, message):
    with pytest.raises(DataError) as error:
        source_of(dataset).training_images()
    assert str(error.value).startswith(f"dataset: {message}")
    assert "\n" not in str(error.value)


def test_transforms_that_draw_at_random_are_refused():
    class Flipped(Listed):
        def __getitem__(self, place):
            image, label = super().__getitem__(place)
            return FLIP(torch.from_numpy(image)[None]), label

    torch.manual_seed(0)
    with pytest.raises(DataError, match=r"is another image each time: leave out transforms that"):
        source_of(Flipped(pairs(GREY))).training_images()


def test_test_images_of_other_classes_are_refused():
    """Label 1 of one is not label 1 of the other."""
    train, test = (Listed(pairs(GREY), classes) for classes in (["cat", "dog"], ["cat", "owl"]))
    with pytest.raises(DataError) as error:
        source_of(train, test).training_images()
    assert str(error.value) == (
        "the test images have other classes (cat, owl) than those to train on (cat, dog): bring "
        "them to the same"
    )


def test_images_that_would_fill_the_memory_are_refused():
    class Huge(Listed):
        def __len__(self):
            return 10**9

    with pytest.raises(DataError, match=r"1,000,000,000 images of shape \(8, 9\) take 67.1 GiB"):
        source_of(Huge(pairs(GREY))).training_images()
