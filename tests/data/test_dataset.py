"""The split into train and validation images, and what a data set states about itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from nas.data import LabelledImages, into_folds, split, whole, with_test
from nas.errors import DataError

TWELFTH = Fraction(1, 12)


def make_images(sizes, channels=1, size=4, seed=0):
    """Random images, `sizes[label]` of each class, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    shape = (len(labels), channels, size, size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return LabelledImages("made", images, labels, tuple(f"class {i}" for i in range(len(sizes))))


@pytest.mark.parametrize("sizes", [(60, 60), (50, 37, 41), (500, 24, 123, 77, 13)])
@pytest.mark.parametrize("share", [TWELFTH, Fraction(1, 10), Fraction(1, 3), Fraction(1, 2)])
def test_split_is_stratified_and_exact_in_total(sizes, share):
    data = make_images(sizes)
    done = split(data, share, seed=0)
    per_class = torch.bincount(data.labels[done.valid_index], minlength=len(sizes)).tolist()
    assert sum(per_class) == round(sum(sizes) * share)
    assert all(abs(n - size * share) < 1 for n, size in zip(per_class, sizes, strict=True))


def test_split_is_disjoint_and_complete():
    data = make_images((50, 37, 41))
    done = split(data, TWELFTH, seed=0)
    both = torch.cat([done.train_index, done.valid_index])
    assert both.sort().values.tolist() == list(range(128))


def test_train_images_come_shuffled():
    done = split(make_images((60, 60)), TWELFTH, seed=0)
    assert done.train_index.tolist() != sorted(done.train_index.tolist())
    assert set(done.labels[done.train_index[:20]].tolist()) == {0, 1}


def test_same_seed_gives_same_split_whatever_the_global_random_state():
    data = make_images((50, 37, 41))
    first = split(data, TWELFTH, seed=7)
    torch.manual_seed(99)
    again = split(data, TWELFTH, seed=7)
    assert torch.equal(first.train_index, again.train_index)
    assert torch.equal(first.valid_index, again.valid_index)
    assert (first.sha256, first.split_sha256) == (again.sha256, again.split_sha256)


def test_split_leaves_the_global_random_state_alone():
    data = make_images((50, 37, 41))
    before = torch.get_rng_state()
    split(data, TWELFTH, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_seed_gives_other_split_of_the_same_images():
    data = make_images((50, 37, 41))
    first, other = split(data, TWELFTH, seed=0), split(data, TWELFTH, seed=1)
    assert set(first.valid_index.tolist()) != set(other.valid_index.tolist())
    assert first.split_sha256 != other.split_sha256
    assert first.sha256 == other.sha256


def test_one_other_pixel_changes_the_hash_of_the_data_alone():
    data = make_images((50, 37, 41))
    images = data.images.clone()
    images[17, 0, 2, 3] ^= 1
    before, after = split(data, TWELFTH, 0), split(replace(data, images=images), TWELFTH, 0)
    assert after.sha256 != before.sha256
    assert after.split_sha256 == before.split_sha256


def test_one_other_label_changes_the_hash_of_the_data():
    data = make_images((50, 37, 41))
    labels = data.labels.clone()
    labels[17] = (labels[17] + 1) % 3
    after = split(replace(data, labels=labels), TWELFTH, 0)
    assert after.sha256 != split(data, TWELFTH, 0).sha256


def test_images_of_another_shape_have_another_hash():
    data = make_images((50, 37, 41))
    wide = replace(data, images=data.images.reshape(-1, 1, 2, 8))
    assert split(wide, TWELFTH, 0).sha256 != split(data, TWELFTH, 0).sha256


@pytest.mark.parametrize("share", [Fraction(1, 1000), TWELFTH, Fraction(1, 2)])
def test_every_class_is_in_both_parts_even_when_tiny(share):
    data = make_images((2, 3, 200))
    done = split(data, share, seed=0)
    assert set(data.labels[done.valid_index].tolist()) == {0, 1, 2}
    assert set(data.labels[done.train_index].tolist()) == {0, 1, 2}


def test_one_class_is_refused():
    with pytest.raises(DataError, match="has 1 class: two or more are needed"):
        split(make_images((20,)), TWELFTH, 0)


@pytest.mark.parametrize("size", [0, 1])
def test_class_that_cannot_be_split_is_named(size):
    with pytest.raises(DataError, match=f"'class 1' has {size} images?: 2 or more are needed"):
        split(make_images((20, size, 20)), TWELFTH, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std_are_those_of_the_train_images(channels):
    data = make_images((50, 37, 41), channels)
    data.images[:, 0] //= 3  # channels that differ
    done = split(data, TWELFTH, seed=0)
    train = data.images[done.train_index].double() / 255
    assert done.mean == pytest.approx(train.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert done.std == pytest.approx(train.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-6)


def test_validation_images_have_no_part_in_mean_and_std():
    data = make_images((50, 37, 41))
    before = split(data, TWELFTH, seed=0)
    images = data.images.clone()
    images[before.valid_index] = 255
    after = split(replace(data, images=images), TWELFTH, seed=0)
    assert (after.mean, after.std) == (before.mean, before.std)


def test_channel_of_one_value_has_std_1():
    data = make_images((20, 20))
    done = split(replace(data, images=torch.full_like(data.images, 51)), TWELFTH, 0)
    assert (done.mean, done.std) == ((0.2,), (1.0,))


def test_whole_data_set_trains_on_every_image_and_normalises_by_all():
    data = make_images((50, 37, 41), channels=3)
    data.images[:, 0] //= 3
    before = split(data, TWELFTH, seed=0)
    done = whole(before)
    assert done.train_index.sort().values.tolist() == list(range(128))
    assert torch.equal(done.valid_index, before.valid_index)
    assert torch.equal(done.images, data.images)
    images = data.images.double() / 255
    assert done.mean == pytest.approx(images.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert done.std == pytest.approx(images.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-6)
    assert done.sha256 == before.sha256
    assert done.split_sha256 != before.split_sha256
    assert whole(done).split_sha256 == done.split_sha256


def test_test_images_are_added_to_be_validated_on_and_never_trained_on():
    train, test = make_images((50, 37, 41)), make_images((9, 5, 6), seed=1)
    before = split(train, TWELFTH, seed=0)
    done = with_test(before, test)
    assert done.train_index.sort().values.tolist() == list(range(128))
    assert torch.equal(done.images[done.train_index], train.images)
    assert torch.equal(done.labels[done.train_index], train.labels)
    assert torch.equal(done.images[done.valid_index], test.images)
    assert torch.equal(done.labels[done.valid_index], test.labels)
    assert (done.name, done.classes) == (before.name, before.classes)
    assert len(before.images) == 128  # as it was


def test_test_images_have_no_part_in_mean_and_std():
    train, test = make_images((50, 37, 41)), make_images((9, 5, 6), seed=1)
    before = split(train, TWELFTH, seed=0)
    dark = replace(test, images=torch.zeros_like(test.images))
    first, second = with_test(before, test), with_test(before, dark)
    assert (first.mean, first.std) == (second.mean, second.std)
    assert (first.mean, first.std) == (whole(before).mean, whole(before).std)


def test_one_other_test_label_changes_the_hash_of_the_data():
    before = split(make_images((50, 37, 41)), TWELFTH, seed=0)
    test = make_images((9, 5, 6), seed=1)
    labels = test.labels.clone()
    labels[3] = (labels[3] + 1) % 3
    first, second = with_test(before, test), with_test(before, replace(test, labels=labels))
    assert len({before.sha256, first.sha256, second.sha256}) == 3
    assert first.split_sha256 == second.split_sha256 != before.split_sha256


def test_input_shape_is_channels_height_width():
    data = make_images((20, 20), channels=3)
    data = replace(data, images=data.images.reshape(-1, 3, 2, 8))
    assert split(data, TWELFTH, 0).input_shape == (3, 2, 8)


def test_to_moves_every_tensor_and_changes_nothing_else():
    done = split(make_images((20, 20)), TWELFTH, 0)
    moved = done.to(torch.device("meta"))
    tensors = ("images", "labels", "train_index", "valid_index")
    assert {getattr(moved, name).device.type for name in tensors} == {"meta"}
    back = replace(moved, **{name: getattr(done, name) for name in tensors})
    assert vars(back) == vars(done)


def test_folds_measure_each_image_once_and_train_on_all_others():
    done = split(make_images((10, 7, 8)), TWELFTH, 0)
    parts = into_folds(done, 5, seed=0)
    measured = torch.cat([part.valid_index for part in parts])
    assert sorted(measured.tolist()) == list(range(25))
    assert [len(part.valid_index) for part in parts] == [5] * 5
    for part in parts:
        together = [*part.valid_index.tolist(), *part.train_index.tolist()]
        assert sorted(together) == list(range(25))
        counts = torch.bincount(done.labels[part.valid_index], minlength=3)
        assert counts[0] == 2
        assert all(1 <= count <= 2 for count in counts[1:])
        assert part.sha256 == done.sha256
    assert len({part.split_sha256 for part in parts}) == 5


def test_folds_follow_from_their_seed_alone():
    done = split(make_images((10, 7, 8)), TWELFTH, 0)
    hashes = [[p.split_sha256 for p in into_folds(done, 3, seed)] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_more_folds_than_images_of_a_class_are_refused():
    done = split(make_images((10, 4)), TWELFTH, 0)
    with pytest.raises(DataError, match=r"folds=5 needs as many images of each class: class .* 4$"):
        into_folds(done, 5, seed=0)
