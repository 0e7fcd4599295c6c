"""Augmentation: what is drawn, and what it does to images, against NumPy, SciPy and torchvision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from fercore.training import augmentation
from fercore.training.recipes import Recipe

PLAIN = Recipe(flip=False)
EVERYTHING = Recipe(shift=0.1, rotation=10, zoom=0.1, erase=0.5, mixup=0.4, batch_size=8)


def noise(count=6, channels=1, size=(32, 32), seed=0):
    """Random bytes (n, C, H, W)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, *size), dtype=np.uint8))


def draw(recipe, count=50, size=(32, 32), epoch=1):
    return augmentation.draw(recipe, count, size, epoch, torch.device("cpu"))


def altered(images, recipe):
    """Return a recipe's plan and all images altered by it."""
    plan = draw(recipe, len(images), tuple(images.shape[2:]))
    return plan, augmentation.batch(images, plan, slice(0, len(images)))


def still(count, **changes):
    """A plan that leaves every image as it is, with some parts replaced."""
    plan = augmentation.Plan(torch.arange(count), torch.zeros(count, dtype=torch.bool), (0, 0))
    return replace(plan, **changes)


def even(values, low, high):
    """Whether values are drawn evenly from a range."""
    assert low - 1e-6 <= min(values) <= max(values) <= high + 1e-6
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_a_plan_depends_on_seed_and_epoch_alone():
    def numbers(plan):
        return [getattr(plan, name).tolist() for name in ("order", "flips", "maps", "boxes", "blends")]

    plan = numbers(draw(EVERYTHING, epoch=3))
    torch.manual_seed(7)  # the global generators must not matter
    before = torch.get_rng_state()
    assert numbers(draw(EVERYTHING, epoch=3)) == plan
    assert torch.equal(torch.get_rng_state(), before)
    for other in (draw(EVERYTHING, epoch=4), draw(replace(EVERYTHING, seed=1), epoch=3)):
        assert all(one != two for one, two in zip(plan, numbers(other), strict=True))
    assert sorted(plan[0]) == list(range(50)) != plan[0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_recipe_shuffles_and_mirrors_half(channels, flip):
    images = noise(70, channels)
    plan, found = altered(images, replace(PLAIN, flip=flip))
    straight = images[plan.order].numpy() / np.float32(255)
    mirrored = plan.flips.numpy()[:, None, None, None]
    assert (found.numpy() == np.where(mirrored, straight[..., ::-1], straight)).all()
    assert plan.flips.sum() == 0 if not flip else 20 < plan.flips.sum() < 50
    assert torch.equal(images, noise(70, channels))


@given(st.integers(0, 2**31), st.sampled_from([(32, 32), (48, 48), (40, 57)]), st.sampled_from([1, 3]))
def test_everything_at_once_stays_in_range(seed, size, channels):
    images = noise(9, channels, size, seed=seed)
    plan, found = altered(images, replace(EVERYTHING, seed=seed))
    assert found.shape == (9, 3, *size)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= found.min() <= found.max() <= 1
    parts = [augmentation.batch(images, plan, slice(start, start + 4)) for start in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts), found)


@given(st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([(32, 32), (40, 57)]))
def test_a_shift_by_whole_pixels_moves_pixels_by_exactly_that(down, right, size):
    images, (height, width) = noise(2, size=size), size
    maps = torch.tensor([[1, 0, 2 * right / width], [0, 1, 2 * down / height]]).expand(2, 2, 3)
    found = augmentation.batch(images, still(2, maps=maps, side=size), slice(0, 2))[:, 0].numpy() * 255
    # Beyond the border the image goes on as its own mirror image.
    padded = np.pad(images[:, 0].numpy(), ((0, 0), (8, 8), (8, 8)), mode="symmetric")
    expected = padded[:, 8 + down : 8 + down + height, 8 + right : 8 + right + width]
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize(
    "motion", [{"rotation": 30.0}, {"zoom": 0.5}, {"rotation": 20.0, "zoom": 0.2, "shift": 0.1}], ids=str
)
def test_turn_zoom_and_shift_are_those_of_torchvision(motion):
    """About the centre, clockwise, shifted last; of smooth images, whose bilinear interpolation is nearly exact."""
    waves = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(4, 33, 33)), (0, 4, 4))
    images = torch.from_numpy((255 * (waves - waves.min()) / np.ptp(waves)).round().astype(np.uint8)[:, None])
    plan, found = altered(images, replace(PLAIN, **motion))
    inside = np.s_[9:-9, 9:-9]

    def moved(image, angle, away, scale):
        options = {"translate": list(away), "scale": scale, "shear": [0.0, 0.0]}
        found = oracle.affine(image / 255, angle, interpolation=InterpolationMode.BILINEAR, **options)
        return found[0][inside]

    matrices = plan.maps.double().numpy()
    for image, changed, matrix in zip(images[plan.order], found[:, 0], matrices, strict=True):
        scale = 1 / np.sqrt(np.linalg.det(matrix[:, :2]))
        angle = -np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        # The map leads from the output back to the input, torchvision's arguments from the input to the output.
        away = -np.linalg.solve(matrix[:, :2], matrix[:, 2]) * image.shape[-1] / 2
        torch.testing.assert_close(changed[inside], moved(image, angle, away, scale), rtol=0, atol=0.01)
        other = moved(image, -angle, -away, 1 / scale)
        assert (changed[inside] - other).abs().max() > 0.02  # the tolerance tells directions apart


def test_motions_are_drawn_evenly_from_their_range():
    maps = draw(Recipe(rotation=15.0, zoom=0.25, shift=0.1), 4000, (48, 48)).maps.double().numpy()
    assert even(np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0])), -15, 15)
    assert even(-np.log(np.linalg.det(maps[:, :, :2])) / 2, -np.log(1.25), np.log(1.25))
    for axis in (0, 1):
        assert even(maps[:, axis, 2] / 2, -0.1, 0.1)  # -1 ... 1 are two sides long


def test_rectangles_cover_their_share_and_lie_anywhere():
    boxes = draw(replace(PLAIN, erase=0.25), 4000, (48, 40)).boxes.numpy()
    erased = boxes[:, 1] > boxes[:, 0]
    assert erased.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))
    top, bottom, left, right = boxes[erased].T
    assert [top.min(), left.min(), bottom.max(), right.max()] == [0, 0, 48, 40]
    # Sides are rounded to whole pixels, so the exact ones lie within half a pixel of them.
    tall, wide = bottom - top, right - left
    least, most = (tall - 0.5) * (wide - 0.5) / (48 * 40), (tall + 0.5) * (wide + 0.5) / (48 * 40)
    assert least.min() < 0.03 < 0.18 < most.max()
    assert ((least <= 0.2) & (most >= 0.02)).all()
    assert (((tall - 0.5) / (wide + 0.5) <= 1 / 0.3) & ((tall + 0.5) / (wide - 0.5) >= 0.3)).all()


@given(st.integers(0, 2**31), st.sampled_from([(32, 32), (33, 48)]))
def test_rectangles_are_black_and_nothing_else_changes(seed, size):
    images = noise(8, size=size) // 2 + 100  # never black by itself
    plan, found = altered(images, replace(PLAIN, erase=0.5, seed=seed))
    expected = images[plan.order].numpy() / np.float32(255)
    for image, (top, bottom, left, right) in zip(expected, plan.boxes.tolist(), strict=True):
        image[0, top:bottom, left:right] = 0
    assert (found.numpy() == expected).all()


@given(st.floats(0, 1), st.integers(1, 5))
def test_blending_is_a_weighted_mean_with_the_batch_reversed(weight, count):
    images = torch.rand(count, 3, 4, 5, generator=torch.Generator().manual_seed(count))
    found = augmentation.mix(images, still(count, blends=torch.tensor([0.5, weight])), 1)
    torch.testing.assert_close(found, weight * images + (1 - weight) * images.flip(0))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_blends_are_drawn_from_a_beta_distribution_folded_at_a_half(alpha):
    blends = draw(replace(PLAIN, mixup=alpha, batch_size=2), 7999).blends.double().numpy()
    assert blends.shape == (4000,)  # one per step, the last one smaller
    assert 0.5 <= blends.min() <= blends.max() <= 1
    # Folding keeps w (1 - w), whose mean under Beta(a, a) is a / (2 (2 a + 1)).
    assert (blends * (1 - blends)).mean() == pytest.approx(alpha / (2 * (2 * alpha + 1)), rel=0.06)


def test_windows_are_pixels_of_the_image_at_every_place():
    images = noise(3000, size=(48, 40))
    plan, found = altered(images, replace(PLAIN, crop=36))
    assert found.shape == (3000, 3, 36, 36)
    place = (plan.maps[:, :, 2] / 2 * torch.tensor([40, 48]) + torch.tensor([2.0, 6.0])).numpy()
    assert even(place[:, 0], 0, 4)
    assert even(place[:, 1], 0, 12)
    exact = still(1, side=(36, 36), maps=torch.tensor([[[0.9, 0, 2 / 20], [0, 0.75, -4 / 24]]]))
    window = augmentation.batch(images[:1], exact, slice(0, 1))[0, 0]
    torch.testing.assert_close(window, images[0, 0, 2:38, 4:40] / 255, rtol=0, atol=1e-5)


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0]))
def test_cutmix_takes_a_rectangle_from_the_batch_reversed_and_weighs_by_area(seed, alpha):
    plan = draw(replace(PLAIN, cutmix=alpha, batch_size=6, seed=seed), 18, (32, 40))
    images = torch.rand(6, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    for step, (top, bottom, left, right) in enumerate(plan.pastes.tolist()):
        expected = images.clone()
        expected[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
        assert torch.equal(augmentation.mix(images, plan, step), expected)
        assert plan.blends[step].item() == pytest.approx(1 - (bottom - top) * (right - left) / (32 * 40))


def test_cutmix_draws_its_share_and_its_place():
    plan = draw(replace(PLAIN, cutmix=1.0, batch_size=1), 4000, (48, 48))
    pastes = plan.pastes.double().numpy()
    whole = ((pastes > 0) & (pastes < 48)).all(axis=1)  # not cut off at the border
    assert 0.05 < whole.mean() < 0.3
    top, bottom, left, right = pastes[whole].T
    assert abs((bottom - top) - (right - left)).max() <= 1  # of the image's shape
    # A side is 48 sqrt(s) with s even in 0..1, and lies whole inside with probability (1 - sqrt(s))^2.
    assert (bottom - top).mean() / 48 == pytest.approx(0.4, abs=0.04)
