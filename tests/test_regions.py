"""Regions, shares of mass, AUROC and the test against dealt-out masks: closed forms and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from ferlab import faces, landmarks
from ferlab.figures import facial
from ferlab.landmarks.regions import LABELS
from ferlab.measures import facs
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from sklearn.metrics import roc_auc_score

from fercore import emotions
from fercore.emotions import Emotion

SIX = tuple(facs.EXPECTED)


@pytest.fixture(scope="module")
def sample():
    return faces.render_face(faces.make_character(2), Emotion.HAPPY, size=96)


def halves(count=1):
    """Regions of 4 x 6 pixels: outside, forehead, brows, eyes, nose and mouth, a column each."""
    return np.tile(np.array([0, 1, 2, 3, 4, 6], np.uint8), (count, 4, 1))


# --- regions ----------------------------------------------------------------------------------------------------------


def test_regions_are_those_of_the_embedded_faces(sample):
    np.testing.assert_array_equal(landmarks.region_labels(sample.landmarks, 96, 96), sample.regions)
    deep = np.column_stack((sample.landmarks, np.full(468, 7.0)))
    np.testing.assert_array_equal(landmarks.region_labels(deep, 96, 96), sample.regions)


@pytest.mark.parametrize(("height", "width"), [(60, 96), (96, 70), (120, 100)])
def test_regions_of_images_that_are_not_square(sample, height, width):
    labels = landmarks.region_labels(sample.landmarks, height, width)
    assert labels.shape == (height, width)
    h, w = min(height, 96), min(width, 96)
    np.testing.assert_array_equal(labels[:h, :w], sample.regions[:h, :w])


def test_regions_move_with_their_points(sample):
    moved = landmarks.region_labels(sample.landmarks + (11, -6), 96, 96)
    np.testing.assert_array_equal(moved[:90, 11:], sample.regions[6:, :85])


def test_an_image_without_a_face_is_all_outside(sample):
    points = np.stack((sample.landmarks, np.full((468, 2), np.nan, np.float32)))
    labels = landmarks.region_maps(points, 96, 96, progress=False)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[0], sample.regions)
    assert not labels[1].any()
    with pytest.raises(ValueError, match="468 points"):
        landmarks.region_labels(points, 96, 96)


# --- what FACS expects ------------------------------------------------------------------------------------------------


def test_expectations_are_of_the_emotions_with_action_units_and_tell_them_apart():
    assert set(SIX) == {emotion for emotion, units in emotions.ACTION_UNITS.items() if units}
    for expectation in facs.EXPECTED.values():
        named = [*expectation.primary, *expectation.secondary, *expectation.low]
        assert set(named) <= set(faces.REGIONS)
        assert len(named) == len(set(named))
    assert len({expectation.primary for expectation in facs.EXPECTED.values()}) == 6


def test_primary_regions_are_where_the_embedded_faces_move():
    """The action units' own displacements, an oracle that knows nothing of the table."""
    hits = []
    for emotion in SIX:
        face = faces.render_face(faces.make_character(0), emotion, size=96)
        primary = facs.primary_mask(face.regions, emotion)
        assert primary.any()
        hits.append(face.moved[primary].mean() / face.moved[(face.regions > 0) & ~primary].mean())
    assert np.mean(np.array(hits) > 1) >= 5 / 6
    assert np.median(hits) > 1.5


def test_primary_masks_by_hand():
    mask = facs.primary_mask(halves(), Emotion.ANGRY)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask[0, 0], [False, False, True, True, False, True])


# --- mass, area and lift ----------------------------------------------------------------------------------------------


def test_mass_area_and_lift_by_hand():
    maps = np.zeros((1, 4, 6))
    maps[0, :, 2], maps[0, 0, 5], maps[0, :, 4] = 1.0, 4.0, -2.0
    np.testing.assert_allclose(facs.region_mass(maps, halves()), [[0, 0, 0.5, 0, 0, 0, 0.5, 0]])
    absolute = facs.region_mass(maps, halves(), "absolute")
    np.testing.assert_allclose(absolute, [[0, 0, 0.25, 0, 0.5, 0, 0.25, 0]])
    area = facs.region_area(halves())
    np.testing.assert_allclose(area, np.array([[1, 1, 1, 1, 1, 0, 1, 0]]) / 6)
    lift = facs.lift(maps, halves())
    np.testing.assert_allclose(lift, [[0, 0, 3, 0, 0, np.nan, 3, np.nan]])


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6))
def test_shares_sum_to_one_and_do_not_depend_on_scale(seed, scale):
    rng = np.random.default_rng(seed)
    maps, regions = rng.standard_normal((2, 5, 7)), rng.integers(0, 8, (2, 5, 7), dtype=np.uint8)
    for part in facs.PARTS:
        mass = facs.region_mass(maps, regions, part)
        np.testing.assert_allclose(mass.sum(axis=1), 1)
        np.testing.assert_allclose(facs.region_mass(scale * maps, regions, part), mass)
    mean = (facs.lift(maps, regions) * facs.region_area(regions))[0]
    assert np.nansum(mean) == pytest.approx(1)  # lift is 1 on the average over pixels


def test_a_map_without_preference_has_lift_one_everywhere():
    np.testing.assert_allclose(facs.lift(np.ones((1, 4, 6)), halves())[0, [0, 1, 2, 3, 4, 6]], 1)


def test_maps_without_mass_and_images_without_face_give_nan():
    maps = np.ones((3, 4, 6))
    maps[0] = -1.0
    regions = halves(3)
    regions[1] = 0
    with np.errstate(all="raise"):
        mass, values = facs.region_mass(maps, regions), facs.auroc(maps, regions, SIX)
        lift = facs.lift(maps, regions)
    assert np.isnan(mass).all(axis=1).tolist() == [True, True, False]
    assert np.isnan(values).all(axis=1).tolist() == [True, True, False]
    assert np.isnan(lift).all(axis=1).tolist() == [True, True, False]
    assert np.isfinite(facs.region_mass(maps, regions, "absolute")[0]).all()


def test_wrong_requests_are_named():
    maps = np.ones((1, 4, 6))
    with pytest.raises(ValueError, match="one shape"):
        facs.region_mass(maps, halves(2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        facs.region_mass(maps * np.nan, halves())
    with pytest.raises(ValueError, match="positive, absolute"):
        facs.auroc(maps, halves(), SIX, "negative")
    with pytest.raises(ValueError, match="choose auroc"):
        facs.mask_fit(maps, halves(), np.zeros(1, int), "lift", within_face=True)


# --- AUROC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within_face", [False, True])
@pytest.mark.parametrize("part", facs.PARTS)
def test_auroc_is_scikit_learns(part, within_face):
    rng = np.random.default_rng(1)
    maps = rng.integers(-3, 4, (4, 12, 12)).astype(np.float32)  # many ties
    regions = rng.integers(0, 8, (4, 12, 12), dtype=np.uint8)
    values = facs.auroc(maps, regions, SIX, part, within_face)
    mass = np.maximum(maps, 0) if part == "positive" else np.abs(maps)
    for row, column in itertools.product(range(4), range(6)):
        inside = (regions[row] > 0) | (not within_face)
        primary = np.isin(regions[row], [LABELS.index(n) for n in facs.EXPECTED[SIX[column]].primary])
        assert values[row, column] == pytest.approx(roc_auc_score(primary[inside], mass[row][inside]))


def test_a_map_that_is_its_mask_scores_one_and_a_flat_one_chance(sample):
    regions = sample.regions[None]
    for column, emotion in enumerate(SIX):
        mask = facs.primary_mask(regions, emotion)
        assert facs.auroc(mask.astype(float), regions, SIX)[0, column] == 1
        assert facs.auroc(1.0 - mask, regions, SIX)[0, column] == 0
    np.testing.assert_allclose(facs.auroc(np.ones((1, 96, 96)), regions, SIX), 0.5)


def test_masks_of_no_pixel_or_of_all_have_no_auroc():
    only = np.full((1, 4, 6), LABELS.index("mouth"), np.uint8)
    maps = np.arange(24.0).reshape(1, 4, 6)
    assert np.isnan(facs.auroc(maps, only, SIX)).all()
    assert np.isnan(facs.auroc(maps, np.ones_like(only), [Emotion.ANGRY])).all()


# --- averages by emotion ----------------------------------------------------------------------------------------------


def test_profiles_average_what_can_be_used_and_count_the_rest():
    maps, regions = np.ones((6, 4, 6)), halves(6)
    maps[0, :, 1:] = 0.0  # all outside
    maps[2] = -1.0
    regions[3] = 0
    regions[5] = 0
    profile = facs.profile(maps, regions, np.array([3, 3, 3, 3, 6, 0]))
    assert profile.emotions == (Emotion.ANGRY, Emotion.HAPPY, Emotion.NEUTRAL)
    assert profile.images.tolist() == [1, 4, 1]
    assert profile.faceless.tolist() == [1, 1, 0]
    assert profile.massless.tolist() == [0, 1, 0]
    assert profile.used.tolist() == [0, 2, 1]
    assert np.isnan(profile.mass[0]).all()
    np.testing.assert_allclose(profile.mass[1, :2], [(1 + 1 / 6) / 2, 1 / 12])
    np.testing.assert_allclose(profile.lift[1, :2], [3.5, 0.5])
    np.testing.assert_allclose(profile.area[2], np.array([1, 1, 1, 1, 1, 0, 1, 0]) / 6)


def test_lift_of_a_profile_is_the_ratio_of_means():
    regions = np.stack((np.full((4, 6), 1), halves()[0])).astype(np.uint8)
    profile = facs.profile(np.ones((2, 4, 6)), regions, np.zeros(2, int))
    np.testing.assert_allclose(profile.lift[0, [0, 1]], 1)
    maps = np.ones((2, 4, 6))
    maps[1, :, 1] = 7.0
    lift = facs.profile(maps, regions, np.zeros(2, int)).lift[0, 1]
    assert lift == pytest.approx((1 + 7 / 12) / (1 + 1 / 6))


def ideal(sample, labels):
    """Maps that are the primary masks of their labels, and their regions."""
    regions = np.repeat(sample.regions[None], len(labels), axis=0)
    maps = [facs.primary_mask(sample.regions, Emotion(x)) if x in SIX else np.ones((96, 96)) for x in labels]
    return np.array(maps, float), regions


@pytest.mark.parametrize("options", [{}, {"within_face": True}, {"score": "lift"}])
def test_ideal_maps_fit_their_own_masks_best(sample, options):
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0])
    fit = facs.mask_fit(*ideal(sample, labels), labels, **options)
    assert fit.emotions == SIX
    assert fit.counts.tolist() == [2, 1, 1, 1, 1, 1]
    result = facs.rotation_test(fit.fit)
    assert result.permutations == 720
    assert result.p_value == pytest.approx(1 / 720)
    if not options.get("score"):
        np.testing.assert_allclose(fit.fit.diagonal(), 1)
        assert (fit.fit < 1).sum() == 30


def test_the_lift_of_a_fit_by_hand():
    maps = np.zeros((2, 4, 6))
    maps[0, :, 2], maps[1, :, 5], maps[1, :, 0] = 1.0, 1.0, 3.0
    fit = facs.mask_fit(
        maps, halves(2), np.array([0, 3]), "lift"
    )  # brows, eyes, mouth; mouth (no cheeks here)
    assert fit.emotions == (Emotion.ANGRY, Emotion.HAPPY)
    np.testing.assert_allclose(fit.fit, [[2, 0], [0.5, 1.5]])


def test_emotions_without_a_map_that_counts_are_left_out(sample):
    labels = np.array([3, 5, 6, 2])
    maps, regions = ideal(sample, labels)
    maps[1] = 0.0
    fit = facs.mask_fit(maps, regions, labels)
    assert fit.emotions == (Emotion.FEAR, Emotion.HAPPY)
    assert fit.fit.shape == (2, 2)
    nothing = facs.mask_fit(maps[2:3], regions[2:3], labels[2:3])
    assert nothing.emotions == ()
    assert nothing.fit.shape == (0, 0)


# --- the test against dealt-out masks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_perfect_fit_is_one_permutation_in_all(count):
    result = facs.rotation_test(np.eye(count))
    assert result.statistic == 1
    assert result.expected == pytest.approx(1 / count)
    assert result.permutations == math.factorial(count)
    assert result.p_value == pytest.approx(1 / math.factorial(count))


def test_what_fits_nobody_better_is_not_significant():
    assert facs.rotation_test(np.full((4, 4), 0.1)).p_value == 1
    assert facs.rotation_test(1 - np.eye(4)).p_value == 1
    twins = np.eye(4)
    twins[2:, 2:] = 1  # two emotions with the same mask: their swap fits as well
    assert facs.rotation_test(twins).p_value == pytest.approx(2 / 24)


@given(seed=st.integers(0, 10_000))
def test_the_p_value_counts_permutations_and_ignores_what_all_share(seed):
    rng = np.random.default_rng(seed)
    fit = rng.uniform(size=(4, 4))
    sums = [sum(fit[e, m] for e, m in enumerate(order)) for order in itertools.permutations(range(4))]
    wanted = np.mean(np.array(sums) >= np.trace(fit) - 1e-9)
    assert facs.rotation_test(fit).p_value == pytest.approx(wanted)
    shifted = fit + rng.uniform(0, 5, (4, 1)) + rng.uniform(0, 5, (1, 4))  # sharp maps, large masks
    assert facs.rotation_test(shifted).p_value == pytest.approx(wanted)


@pytest.mark.parametrize(
    "fit", [np.zeros((2, 3)), np.full((2, 2), np.nan), np.zeros((0, 0)), np.zeros((9, 9))]
)
def test_other_arrays_are_refused(fit):
    with pytest.raises(ValueError, match="square of 1 to 8"):
        facs.rotation_test(fit)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_the_heatmap_shows_lifts_and_frames_primary_regions(sample):
    labels = np.array([0, 3, 6])
    maps, regions = ideal(sample, labels)
    profile = facs.profile(maps, regions, labels)
    axes = facial.lift_heatmap(profile).axes[0]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    cells = {(int(frame.get_y()), int(frame.get_x())) for frame in frames}
    order = faces.REGIONS
    wanted = {(0, order.index(n)) for n in ("brows", "eyes", "mouth")}
    assert cells == wanted | {(1, order.index(n)) for n in ("cheeks", "mouth")}
    assert [text.get_text() for text in axes.texts][:8] == [
        f"{x:.2f}" for x in [*profile.lift[0, 1:], profile.lift[0, 0]]
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Angry (1)", "Happy (1)", "Neutral (1)"]


def test_the_heatmap_leaves_cells_without_data_empty():
    regions = halves(2)
    regions[1] = 0
    profile = facs.profile(np.ones((2, 4, 6)), regions, np.array([3, 4]))
    assert len(facial.lift_heatmap(profile).axes[0].texts) == 6
    empty = facs.profile(np.ones((0, 4, 6)), halves(0), np.zeros(0, int))
    assert facial.lift_heatmap(empty).axes[0].texts[0].get_text() == "There are no maps."


def test_faces_are_drawn_with_and_without_regions(sample):
    points = np.stack((sample.landmarks, np.full((468, 2), np.nan, np.float32)))
    found = landmarks.FaceLandmarks(points, np.array([True, False]), np.ones(2, np.float32))
    figure = facial.region_faces(np.stack([sample.image] * 2), found, ["a", "b"], columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", ""]
    tinted = [axes.images[1].get_array().count() for axes in figure.axes[:2]]
    assert tinted == [(sample.regions > 0).sum(), 0]
