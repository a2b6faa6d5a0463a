"""Random affine changes: none when switched off, and never beyond the stated ranges.

Letters: N images, C channels, H height, W width.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from nas.candidates.recipe import Recipe
from nas.training import augmentation
from nas.training.augmentation import augment

SIZE = 28
MIDDLE = (SIZE - 1) / 2
NUM_IMAGES = 400

ROTATION = math.radians(Recipe().rotation)
SCALE = Recipe().scale
SHEAR = math.tan(math.radians(Recipe().shear))
SHIFT = Recipe().shift


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def recipe(strength=1.0, flip=False, only=None, **ranges):
    """A recipe of that strength, with every range but one switched off where one is named."""
    if only:
        ranges |= dict.fromkeys({"rotation", "scale", "shear", "shift"} - {only}, 0.0)
    return Recipe(augmentation=strength, flip=flip, **ranges)


def blob(row, column):
    """NUM_IMAGES equal images of a soft round dot, so that its centre can be measured."""
    rows, columns = torch.arange(SIZE).view(-1, 1), torch.arange(SIZE).view(1, -1)
    distance = (rows - row) ** 2 + (columns - column) ** 2
    return torch.exp(-distance / 4).repeat(NUM_IMAGES, 1, 1, 1)


def centres(images):
    """Centre of mass of each image (N, 1, H, W) as (row, column)."""
    places = torch.arange(SIZE)
    mass = images.sum(dim=(1, 2, 3))
    rows = (images.sum(dim=(1, 3)) * places).sum(1) / mass
    columns = (images.sum(dim=(1, 2)) * places).sum(1) / mass
    return rows, columns


def test_strength_0_without_flip_changes_nothing():
    images = torch.rand(5, 3, 8, 6)
    assert torch.equal(augment(images, recipe(0, False), generator()), images)


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (1, 3, 7, 12), (4, 2, 28, 28)])
def test_shape_and_type_are_kept(shape):
    result = augment(torch.rand(shape), recipe(1.0, True), generator())
    assert result.shape == shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()


def test_images_given_are_not_changed_in_place():
    images = torch.rand(5, 1, 8, 8)
    given = images.clone()
    augment(images, recipe(1.0, True), generator())
    assert torch.equal(images, given)


def test_draws_in_the_middle_of_every_range_give_the_image_back(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 0.5))
    images = torch.linspace(0, 1, 4 * 64).view(4, 1, 8, 8)
    torch.testing.assert_close(augment(images, recipe(1.0, False), generator()), images)


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.75])
def test_flip_gives_the_image_or_its_mirror_whatever_is_drawn(monkeypatch, draw):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, draw))
    image = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    result = augment(image, recipe(0, True), generator())
    # 0.5 is the middle of the draws: neither side, and yet no third kind of image.
    expected = image if torch.allclose(result, image, atol=1e-4) else image.flip(3)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = torch.rand(NUM_IMAGES, 2, 9, 6)
    result = augment(images, recipe(0, True), generator())
    is_same = (result - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    is_mirrored = (result - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (is_same ^ is_mirrored).all()
    assert 0.4 < is_mirrored.float().mean() < 0.6


def test_no_flip_never_mirrors():
    _, columns = centres(augment(blob(MIDDLE, 7), recipe(1.0, False, only="shift"), generator()))
    assert (columns < MIDDLE).all()


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_shift_reaches_but_does_not_exceed_its_range(strength):
    limit = SHIFT * SIZE * strength
    for places in centres(
        augment(blob(MIDDLE, MIDDLE), recipe(strength, False, only="shift"), generator())
    ):
        moved = places - MIDDLE
        assert moved.abs().max() < limit + 0.02
        assert moved.max() > 0.9 * limit
        assert moved.min() < -0.9 * limit


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_rotation_reaches_but_does_not_exceed_its_range(strength):
    limit = ROTATION * strength
    rows, columns = centres(
        augment(blob(MIDDLE, MIDDLE + 8), recipe(strength, False, only="rotation"), generator())
    )
    rows, columns = rows - MIDDLE, columns - MIDDLE
    angles = torch.atan2(rows, columns)
    assert angles.abs().max() < limit + 0.01
    assert angles.max() > 0.9 * limit
    assert angles.min() < -0.9 * limit
    torch.testing.assert_close(
        torch.hypot(rows, columns), torch.full_like(rows, 8), atol=0.1, rtol=0
    )


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_zoom_reaches_but_does_not_exceed_its_range(strength):
    rows, columns = centres(
        augment(blob(MIDDLE, MIDDLE + 6), recipe(strength, False, only="scale"), generator())
    )
    zooms = 6 / (columns - MIDDLE)
    limit = SCALE * strength
    assert (zooms - 1).abs().max() < limit + 0.01
    assert (zooms - 1).max() > 0.9 * limit
    assert (zooms - 1).min() < -0.9 * limit
    torch.testing.assert_close(rows, torch.full_like(rows, MIDDLE), atol=0.02, rtol=0)


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_shear_moves_sideways_alone_and_within_its_range(strength):
    rows, columns = centres(
        augment(blob(MIDDLE - 8, MIDDLE), recipe(strength, False, only="shear"), generator())
    )
    slopes = (columns - MIDDLE) / 8
    limit = SHEAR * strength
    assert slopes.abs().max() < limit + 0.01
    assert slopes.max() > 0.9 * limit
    assert slopes.min() < -0.9 * limit
    torch.testing.assert_close(rows, torch.full_like(rows, MIDDLE - 8), atol=0.02, rtol=0)


@pytest.mark.parametrize("flip", [False, True])
def test_all_changes_together_are_one_affine_map_within_the_stated_ranges(flip):
    # Two channels, column and row: each output pixel shows the position that it was read from.
    places = torch.arange(SIZE) - MIDDLE
    ramps = torch.stack([places.expand(SIZE, SIZE), places.view(-1, 1).expand(SIZE, SIZE)])
    read = augment(ramps.repeat(NUM_IMAGES, 1, 1, 1), recipe(1.0, flip), generator())
    # Pixels 8 and 19 lie at -5.5 and 5.5. Position read = matrix @ (column, row) + shift.
    top_left, top_right, bottom_left = read[:, :, 8, 8], read[:, :, 8, 19], read[:, :, 19, 8]
    matrix = torch.stack([top_right - top_left, bottom_left - top_left], dim=2) / 11
    shift = (top_right + bottom_left) / 2
    mirror = torch.linalg.det(matrix).sign()
    zoom = torch.hypot(matrix[:, 0, 0], matrix[:, 1, 0])
    angle = torch.atan2(mirror * matrix[:, 1, 0], mirror * matrix[:, 0, 0])
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    to_shear = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1) @ matrix

    torch.testing.assert_close(read[:, :, 19, 19] - bottom_left, top_right - top_left)
    assert (zoom - 1).abs().max() < SCALE + 1e-3
    assert angle.abs().max() < ROTATION + 1e-3
    assert shift.abs().max() < SHIFT * SIZE + 1e-3
    assert to_shear[:, 0, 1].abs().max() < SHEAR + 1e-3
    torch.testing.assert_close(to_shear[:, 1, 1], torch.ones(NUM_IMAGES), atol=1e-3, rtol=0)
    assert mirror.unique().tolist() == ([-1, 1] if flip else [1])


def test_what_comes_in_from_outside_is_0():
    result = augment(
        torch.ones(NUM_IMAGES, 1, SIZE, SIZE), recipe(1.0, False, only="shift"), generator()
    )
    corners = result[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.amin(1) < 0.01).any()
    assert result.min() >= 0
    assert result.max() < 1 + 1e-5


def test_seeded_generator_gives_the_same_images_again():
    images = torch.rand(8, 1, 8, 8)
    first, second, other = (
        augment(images, recipe(1.0, True), generator(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_global_random_state_is_not_used():
    before = torch.get_rng_state()
    augment(torch.rand(8, 1, 8, 8, generator=generator()), recipe(1.0, True), generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_is_changed_by_its_own_amount():
    result = augment(torch.rand(1, 1, 8, 8).repeat(20, 1, 1, 1), recipe(1.0, False), generator())
    for i in range(20):
        for j in range(i):
            assert not torch.allclose(result[i], result[j], atol=1e-4)


def test_brightness_multiplies_and_stays_within_the_range():
    images = torch.full((NUM_IMAGES, 1, 4, 4), 0.5)
    result = augment(images, recipe(only="none", brightness=0.4), generator())[:, 0, 1, 1]
    assert result.min() == pytest.approx(0.5 * 0.6, abs=0.01)
    assert result.max() == pytest.approx(0.5 * 1.4, abs=0.01)


def test_contrast_spreads_around_the_mean_of_the_image():
    images = torch.tensor([0.4, 0.6]).repeat(NUM_IMAGES, 1, 4, 2)
    result = augment(images, recipe(only="none", contrast=0.5), generator())[:, 0, 1:3, 1:3]
    spread = result[:, 0, 0] - result[:, 0, 1]
    assert spread.min() == pytest.approx(0.2 * 0.5, abs=0.01)
    assert spread.max() == pytest.approx(0.2 * 1.5, abs=0.01)
    torch.testing.assert_close(result.mean(dim=(1, 2)), torch.full((NUM_IMAGES,), 0.5))


def test_light_never_leaves_the_range_of_images():
    images = torch.rand(NUM_IMAGES, 3, 4, 4, generator=generator())
    result = augment(images, recipe(only="none", brightness=0.9, contrast=0.9), generator())
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6


def test_strength_0_switches_the_light_off_too():
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(augment(images, recipe(0, brightness=0.5), generator()), images)


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (28, 28)], ids=str)
def test_grid_is_that_of_torch(shape):
    matrix = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = F.affine_grid(matrix, [6, 1, *shape], align_corners=False)
    torch.testing.assert_close(augmentation._grid(matrix, *shape), expected)


def test_grid_of_one_pixel_is_its_middle():
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert augmentation._grid(matrix, 1, 1).tolist() == [[[[0, 0]]]]
