"""Augmentation: what is drawn, and what it does to images, against NumPy, SciPy and torchvision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from fercore.training import augmentation
from fercore.training.recipes import Recipe

CPU = torch.device("cpu")
PLAIN = Recipe(flip=False)
EVERYTHING = Recipe(shift=0.1, rotation=10, zoom=0.1, erase=0.5, mixup=0.4, batch_size=8)
FIELDS = ("order", "flips", "maps", "boxes", "blends")


def noise(count=6, channels=1, size=(32, 32), seed=0):
    """Random bytes (n, C, H, W)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, *size), dtype=np.uint8))


def smooth(count=4, size=33):
    """Images without sharp edges (n, 1, S, S), whose bilinear interpolation is nearly exact."""
    rng = np.random.default_rng(0)
    waves = ndimage.gaussian_filter(rng.normal(size=(count, size, size)), (0, 4, 4))
    low, high = waves.min(axis=(1, 2), keepdims=True), waves.max(axis=(1, 2), keepdims=True)
    return torch.from_numpy(((waves - low) / (high - low) * 255).round().astype(np.uint8)[:, None])


def still(count, **changes):
    """A plan that leaves every image as it is, with some parts replaced."""
    plan = augmentation.Plan(torch.arange(count), torch.zeros(count, dtype=torch.bool), None, None, (0, 0))
    return replace(plan, **changes)


def moved(images, maps):
    """Apply (n, 2, 3) maps to all images and nothing else."""
    maps = torch.as_tensor(np.array(maps, dtype=np.float32)).expand(len(images), 2, 3)
    plan = still(len(images), maps=maps, side=tuple(images.shape[2:]))
    return augmentation.batch(images, plan, slice(0, len(images)))


def altered(images, recipe, epoch=1):
    """Return a recipe's plan and all images altered by it."""
    plan = augmentation.draw(recipe, len(images), tuple(images.shape[2:]), epoch, CPU)
    return plan, augmentation.batch(images, plan, slice(0, len(images)))


def lists(plan):
    return [getattr(plan, name).tolist() for name in FIELDS]


def test_a_plan_depends_on_seed_and_epoch_alone():
    plan = augmentation.draw(EVERYTHING, 50, (32, 32), 3, CPU)
    np.random.seed(7)  # noqa: NPY002  the global generators must not matter
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert lists(augmentation.draw(EVERYTHING, 50, (32, 32), 3, CPU)) == lists(plan)
    assert torch.equal(torch.get_rng_state(), before)
    others = [
        augmentation.draw(EVERYTHING, 50, (32, 32), 4, CPU),
        augmentation.draw(replace(EVERYTHING, seed=1), 50, (32, 32), 3, CPU),
    ]
    for other in others:
        assert all(one != two for one, two in zip(lists(plan), lists(other), strict=True))


def test_a_plan_visits_every_image_once_in_another_order():
    order = augmentation.draw(PLAIN, 500, (32, 32), 1, CPU).order.numpy()
    assert sorted(order) == list(range(500))
    assert abs(np.corrcoef(order, np.arange(500))[0, 1]) < 0.2


def test_a_plain_recipe_only_shuffles():
    images = noise(10, channels=3)
    plan, found = altered(images, PLAIN)
    assert (plan.maps, plan.boxes, plan.blends) == (None, None, None)
    assert torch.equal(found, images[plan.order].float() / 255)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_flips_mirror_the_image_and_nothing_else(channels):
    images = noise(70, channels)
    before = images.clone()
    plan, found = altered(images, replace(PLAIN, flip=True))
    straight = images[plan.order].numpy() / np.float32(255)
    expected = np.where(plan.flips.numpy()[:, None, None, None], straight[..., ::-1], straight)
    assert (found.numpy() == expected).all()
    assert 20 < plan.flips.sum() < 50
    assert torch.equal(images, before)


def test_steps_take_their_share_of_the_epoch():
    images = noise(20)
    plan, whole = altered(images, EVERYTHING)
    parts = [augmentation.batch(images, plan, slice(start, start + 8)) for start in (0, 8, 16)]
    assert [len(part) for part in parts] == [8, 8, 4]
    torch.testing.assert_close(torch.cat(parts), whole)


@given(st.integers(0, 2**31), st.sampled_from([(32, 32), (48, 48), (40, 57)]), st.sampled_from([1, 3]))
def test_everything_at_once_stays_in_range(seed, size, channels):
    images = noise(9, channels, size, seed=seed)
    _, found = altered(images, replace(EVERYTHING, seed=seed))
    assert found.shape == (9, 3, *size)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.min() >= 0
    assert found.max() <= 1
    if channels == 1:
        assert torch.equal(found[:, 0], found[:, 1])
        assert torch.equal(found[:, 0], found[:, 2])


def test_the_identity_changes_nothing():
    images = noise(5, size=(40, 57))
    found = moved(images, [[1, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(found, images.expand(-1, 3, -1, -1) / 255, rtol=0, atol=1e-5)


@given(st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([(32, 32), (40, 57)]))
def test_a_shift_by_whole_pixels_moves_pixels_by_exactly_that(down, right, size):
    images = noise(2, size=size)
    height, width = size
    found = moved(images, [[1, 0, 2 * right / width], [0, 1, 2 * down / height]])[:, 0].numpy() * 255
    pixels = images[:, 0].numpy()
    rolled = np.roll(pixels, (-down, -right), axis=(1, 2))
    inside = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_allclose(found[inside], rolled[inside], atol=1e-2)
    # Beyond the border the image goes on as its own mirror image.
    padded = np.pad(pixels, ((0, 0), (8, 8), (8, 8)), mode="symmetric")
    expected = padded[:, 8 + down : 8 + down + height, 8 + right : 8 + right + width]
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_a_quarter_turn_is_exact():
    images = noise(3)
    found = moved(images, [[0, -1, 0], [1, 0, 0]])[:, 0].numpy() * 255
    np.testing.assert_allclose(found, np.rot90(images[:, 0].numpy(), axes=(1, 2)), atol=1e-2)


def drawn(**motion):
    """Smooth images altered by one kind of motion, the same in order, and their maps in double precision."""
    images = smooth()
    plan, found = altered(images, replace(PLAIN, **motion))
    return images[plan.order], found[:, 0].numpy(), plan.maps.double().numpy()


def test_rotations_are_those_of_scipy():
    images, found, maps = drawn(rotation=30.0)
    inside = np.s_[8:-8, 8:-8]
    for image, turned, ((cosine, minus, x), (sine, same, y)) in zip(images, found, maps, strict=True):
        angle = np.rad2deg(np.arctan2(sine, cosine))
        assert 0 < abs(angle) <= 30
        assert (minus, same, x, y) == (-sine, cosine, 0, 0)
        assert cosine**2 + sine**2 == pytest.approx(1)
        expected = ndimage.rotate(image[0].numpy() / 255, angle, reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(turned[inside], expected[inside], atol=0.01)
        other = ndimage.rotate(image[0].numpy() / 255, -angle, reshape=False, order=1, mode="reflect")
        assert abs(turned[inside] - other[inside]).max() > 0.02  # the tolerance tells directions apart


def test_zooms_are_those_of_torchvision():
    images, found, maps = drawn(zoom=0.5)
    inside = np.s_[8:-8, 8:-8]
    for image, scaled, matrix in zip(images, found, maps, strict=True):
        scale = 1 / matrix[0, 0]
        assert 1 / 1.5 <= scale <= 1.5
        np.testing.assert_allclose(matrix, [[1 / scale, 0, 0], [0, 1 / scale, 0]], atol=1e-7)
        expected = affine(image, scale=scale)
        np.testing.assert_allclose(scaled[inside], expected[inside], atol=0.01)
        assert abs(scaled[inside] - image[0].numpy()[inside] / 255).max() > 0.02


def affine(image, angle=0.0, translate=(0, 0), scale=1.0):
    """Move one (1, H, W) byte image by torchvision: about its centre, clockwise, shifted last."""
    options = {"translate": list(translate), "scale": scale, "shear": [0.0, 0.0]}
    found = oracle.affine(image / 255, angle, interpolation=InterpolationMode.BILINEAR, **options)
    return found[0].numpy()


def test_turn_zoom_and_shift_together_are_those_of_torchvision():
    images, found, maps = drawn(rotation=20.0, zoom=0.2, shift=0.1)
    inside = np.s_[9:-9, 9:-9]
    for image, changed, matrix in zip(images, found, maps, strict=True):
        scale = 1 / np.sqrt(np.linalg.det(matrix[:, :2]))
        angle = -np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        # The map leads from the output back to the input, torchvision's arguments from the input to the output.
        away = -np.linalg.solve(matrix[:, :2], matrix[:, 2]) * image.shape[-1] / 2
        np.testing.assert_allclose(changed[inside], affine(image, angle, away, scale)[inside], atol=0.01)


def test_motions_are_drawn_evenly_from_their_range():
    recipe = Recipe(rotation=15.0, zoom=0.25, shift=0.1)
    maps = augmentation.draw(recipe, 4000, (48, 48), 1, CPU).maps.double().numpy()
    angles = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    zooms = -np.log(np.linalg.det(maps[:, :, :2])) / 2
    shares = maps[:, :, 2] / 2  # -1 ... 1 are two sides long
    for values, limit in ((angles, 15), (zooms, np.log(1.25)), (shares[:, 0], 0.1), (shares[:, 1], 0.1)):
        even = (values / limit + 1) / 2
        assert even.min() >= -1e-6
        assert even.max() <= 1 + 1e-6
        assert abs(np.sort(even) - np.linspace(0, 1, 4000)).max() < 0.03  # Kolmogorov-Smirnov at about 0.1 %


def test_rectangles_cover_their_share_and_lie_anywhere():
    boxes = augmentation.draw(replace(PLAIN, erase=0.25), 4000, (48, 40), 1, CPU).boxes.numpy()
    top, bottom, left, right = boxes.T
    erased = bottom > top
    assert erased.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))
    assert (boxes >= 0).all()
    assert (bottom <= 48).all()
    assert (right <= 40).all()
    tall, wide = (bottom - top)[erased], (right - left)[erased]
    # Sides are rounded to whole pixels, so the exact ones lie within half a pixel of them.
    assert ((tall - 0.5) * (wide - 0.5) <= 0.2 * 48 * 40).all()
    assert ((tall + 0.5) * (wide + 0.5) >= 0.02 * 48 * 40).all()
    assert ((tall - 0.5) / (wide + 0.5) <= 1 / 0.3).all()
    assert ((tall + 0.5) / (wide - 0.5) >= 0.3).all()
    assert (tall * wide).max() > 0.18 * 48 * 40
    assert (tall * wide).min() < 0.04 * 48 * 40
    assert (top[erased].min(), left[erased].min(), bottom[erased].max(), right[erased].max()) == (
        0,
        0,
        48,
        40,
    )


@given(st.integers(0, 2**31), st.sampled_from([(32, 32), (33, 48)]))
def test_rectangles_are_black_and_nothing_else_changes(seed, size):
    images = noise(8, size=size) // 2 + 100  # never black by itself
    plan, found = altered(images, replace(PLAIN, erase=0.5, seed=seed))
    for image, result, (top, bottom, left, right) in zip(
        images[plan.order], found, plan.boxes.tolist(), strict=True
    ):
        expected = image[0].numpy() / np.float32(255)
        expected[top:bottom, left:right] = 0
        assert (result.numpy() == expected).all()


def test_every_image_is_erased_if_asked():
    boxes = augmentation.draw(replace(PLAIN, erase=1.0), 300, (32, 32), 1, CPU).boxes
    assert (boxes[:, 1] > boxes[:, 0]).all()
    assert (boxes[:, 3] > boxes[:, 2]).all()


@given(st.floats(0, 1), st.integers(1, 5))
def test_blending_is_a_weighted_mean_with_the_batch_reversed(weight, count):
    images = torch.rand(count, 3, 4, 5, generator=torch.Generator().manual_seed(count))
    before = images.clone()
    plan = still(count, blends=torch.tensor([0.5, weight]))
    found = augmentation.mix(images, plan, 1).double().numpy()
    pixels = before.double().numpy()
    np.testing.assert_allclose(found, weight * pixels + (1 - weight) * pixels[::-1], atol=1e-6)
    assert torch.equal(images, before)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_blends_are_drawn_from_a_beta_distribution_folded_at_a_half(alpha):
    recipe = replace(PLAIN, mixup=alpha, batch_size=2)
    blends = augmentation.draw(recipe, 7999, (32, 32), 1, CPU).blends.numpy()
    assert blends.shape == (4000,)  # one per step, the last one smaller
    assert blends.dtype == np.float32
    assert blends.min() >= 0.5
    assert blends.max() <= 1
    # Folding keeps w (1 - w), whose mean under Beta(a, a) is a / (2 (2 a + 1)).
    product = blends.astype(np.float64) * (1 - blends)
    assert product.mean() == pytest.approx(alpha / (2 * (2 * alpha + 1)), rel=0.06)


def test_windows_are_pixels_of_the_image_at_every_place():
    images = noise(3000, size=(48, 40))
    plan, found = altered(images, replace(PLAIN, crop=36))
    assert found.shape == (3000, 3, 36, 36)
    place = (plan.maps[:, :, 2] / 2 * torch.tensor([40, 48]) + torch.tensor([2.0, 6.0])).numpy()
    for limit, values in ((4, place[:, 0]), (12, place[:, 1])):
        assert abs(np.sort(values / limit) - np.linspace(0, 1, 3000)).max() < 0.03
    exact = still(1, side=(36, 36), maps=torch.tensor([[[0.9, 0, 2 / 20], [0, 0.75, -4 / 24]]]))
    (window,) = augmentation.batch(images[:1], exact, slice(0, 1))[:, 0]
    torch.testing.assert_close(window, images[0, 0, 2:38, 4:40] / 255, rtol=0, atol=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0]))
def test_cutmix_takes_a_rectangle_from_the_batch_reversed_and_weighs_by_area(seed, alpha):
    recipe = replace(PLAIN, cutmix=alpha, batch_size=6, seed=seed)
    plan = augmentation.draw(recipe, 18, (32, 40), 1, CPU)
    images = torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    for step, ((top, bottom, left, right), weight) in enumerate(
        zip(plan.pastes.tolist(), plan.blends.tolist(), strict=True)
    ):
        expected = images.clone()
        expected[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
        assert torch.equal(augmentation.mix(images, plan, step), expected)
        assert weight == pytest.approx(1 - (bottom - top) * (right - left) / (32 * 40))


def test_cutmix_covers_the_share_that_its_beta_distribution_draws():
    plan = augmentation.draw(replace(PLAIN, cutmix=1.0, batch_size=1), 4000, (48, 48), 1, CPU)
    top, bottom, left, right = plan.pastes.numpy().T
    whole = (top > 0) & (bottom < 48) & (left > 0) & (right < 48)  # not cut off at the border
    assert 0.05 < whole.mean() < 0.3
    assert abs((bottom - top)[whole] - (right - left)[whole]).max() <= 1
    assert 0 < plan.blends.mean() < 1
