"""Regions, shares of mass, AUROC and the test against dealt-out masks: closed forms and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ferlab import faces, landmarks
from ferlab.figures import facial
from ferlab.landmarks.regions import LABELS
from ferlab.measures import facs
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize(("height", "width"), [(96, 96), (60, 96), (120, 100)])
def test_regions_are_those_of_the_embedded_faces_and_move_with_their_points(sample, height, width):
    deep = np.column_stack((sample.landmarks, np.full(468, 7.0)))
    h, w = min(height, 96), min(width, 96)
    for points in (sample.landmarks, deep):
        labels = landmarks.region_labels(points, height, width)
        assert labels.shape == (height, width)
        np.testing.assert_array_equal(labels[:h, :w], sample.regions[:h, :w])
    none = np.full((468, 2), np.nan)
    labels = landmarks.region_maps([sample.landmarks + (11, -6), none], height, width, progress=False)
    np.testing.assert_array_equal(labels[0, : h - 6, 11:w], sample.regions[6:h, : w - 11])
    assert labels.dtype == np.uint8
    assert not labels[1].any()


def test_primary_regions_are_where_the_embedded_faces_move():
    """The action units' own displacements, an oracle that knows nothing of the table."""
    assert set(SIX) == {emotion for emotion, units in emotions.ACTION_UNITS.items() if units}
    hits = []
    for emotion in SIX:
        face = faces.render_face(faces.make_character(0), emotion, size=96)
        primary = facs.primary_mask(face.regions, emotion)
        hits.append(face.moved[primary].mean() / face.moved[(face.regions > 0) & ~primary].mean())
    assert np.mean(np.array(hits) > 1) >= 5 / 6
    assert np.median(hits) > 1.5


def test_mass_area_and_lift_by_hand():
    maps = np.zeros((1, 4, 6))
    maps[0, :, 2], maps[0, 0, 5], maps[0, :, 4] = 1.0, 4.0, -2.0
    for scale in (1, 1e-6, 1e6):
        np.testing.assert_allclose(facs.region_mass(scale * maps, halves()), [[0, 0, 0.5, 0, 0, 0, 0.5, 0]])
    absolute = facs.region_mass(maps, halves(), "absolute")
    np.testing.assert_allclose(absolute, [[0, 0, 0.25, 0, 0.5, 0, 0.25, 0]])
    area = np.array([[1, 1, 1, 1, 1, 0, 1, 0]]) / 6
    np.testing.assert_allclose(facs.region_area(halves()), area)
    np.testing.assert_allclose(facs.lift(maps, halves()), [[0, 0, 3, 0, 0, np.nan, 3, np.nan]])


def test_wrong_requests_are_named():
    maps = np.ones((1, 4, 6))
    with pytest.raises(ValueError, match="one shape"):
        facs.region_mass(maps, halves(2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        facs.region_mass(maps * np.nan, halves())
    with pytest.raises(ValueError, match="468 points"):
        landmarks.region_labels(np.zeros((2, 468, 2)), 96, 96)
    for fit in (np.full((2, 2), np.nan), np.zeros((2, 3)), np.zeros((9, 9))):
        with pytest.raises(ValueError, match="square of 1 to 8"):
            facs.rotation_test(fit)


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
    all_or_none = np.full_like(regions, LABELS.index("mouth"))
    assert np.isnan(facs.auroc(maps, all_or_none, SIX)).all()


def test_profiles_average_what_can_be_used_and_count_the_rest():
    maps, regions = np.ones((6, 4, 6)), halves(6)
    maps[0, :, 1:] = 0.0  # all outside
    maps[2], regions[3], regions[5] = -1.0, 0, 0
    labels = np.array([3, 3, 3, 3, 6, 0])
    for values in (facs.lift(maps, regions), facs.auroc(maps, regions, SIX, within_face=True)):
        assert np.isnan(values).all(axis=1)[1:].tolist() == [False, True, True, False, True]
    assert facs.mask_fit(maps, regions, labels).emotions == (Emotion.HAPPY,)  # of the others none counts
    profile = facs.profile(maps, regions, labels)
    assert profile.emotions == (Emotion.ANGRY, Emotion.HAPPY, Emotion.NEUTRAL)
    counts = np.array([profile.images, profile.faceless, profile.massless, profile.used])
    assert counts.tolist() == [[1, 4, 1], [1, 1, 0], [0, 1, 0], [0, 2, 1]]
    assert np.isnan(profile.mass[0]).all()
    np.testing.assert_allclose(profile.mass[1, :2], [(1 + 1 / 6) / 2, 1 / 12])
    np.testing.assert_allclose(profile.lift[1, :2], [3.5, 0.5])  # of means, not the mean of lifts
    np.testing.assert_allclose(profile.area[2], np.array([1, 1, 1, 1, 1, 0, 1, 0]) / 6)


def ideal(sample, labels):
    """Maps that are the primary masks of their labels, and their regions."""
    regions = np.repeat(sample.regions[None], len(labels), axis=0)
    maps = [facs.primary_mask(sample.regions, Emotion(x)) if x in SIX else np.ones((96, 96)) for x in labels]
    return np.array(maps, float), regions


@pytest.mark.parametrize("within_face", [False, True])
def test_ideal_maps_fit_their_own_masks_best(sample, within_face):
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0])
    fit = facs.mask_fit(*ideal(sample, labels), labels, within_face=within_face)
    assert fit.emotions == SIX
    assert fit.counts.tolist() == [2, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(fit.fit.diagonal(), 1)
    assert (fit.fit < 1).sum() == 30
    result = facs.rotation_test(fit.fit)
    assert (result.permutations, result.p_value) == (720, pytest.approx(1 / 720))


@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_the_p_value_counts_permutations_and_ignores_what_all_share(seed, count):
    rng = np.random.default_rng(seed)
    fit = rng.integers(0, 3, (count, count)) / 2  # with ties
    sums = [sum(fit[e, m] for e, m in enumerate(order)) for order in itertools.permutations(range(count))]
    wanted = np.mean(np.array(sums) >= np.trace(fit) - 1e-9)
    shifted = fit + rng.uniform(0, 5, (count, 1)) + rng.uniform(0, 5, (1, count))  # sharp maps, large masks
    for square in (fit, shifted):
        result = facs.rotation_test(square)
        assert (result.p_value, result.permutations) == (pytest.approx(wanted), len(sums))
        assert result.statistic == pytest.approx(np.trace(square) / count)
        assert result.expected == pytest.approx(square.mean())


def test_figures_show_lifts_by_emotion_and_faces_with_their_regions(sample):
    labels = np.array([0, 3, 6, 4])
    maps, regions = ideal(sample, labels)
    regions[3] = 0  # no face, no numbers
    axes = facial.lift_heatmap(facs.profile(maps, regions, labels)).axes[0]
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["Angry (1)", "Happy (1)", "Sad (0)", "Neutral (1)"]
    assert len(axes.texts) == 3 * 8
    empty = facs.profile(np.ones((0, 4, 6)), halves(0), np.zeros(0, int))
    assert facial.lift_heatmap(empty).axes[0].texts[0].get_text() == "There are no maps."
    points = np.stack((sample.landmarks, np.full((468, 2), np.nan, np.float32)))
    found = landmarks.FaceLandmarks(points, np.array([True, False]), np.ones(2, np.float32))
    figure = facial.region_faces(np.stack([sample.image] * 2), found, ["a", "b"], columns=3)
    tinted = [axes.images[1].get_array().count() for axes in figure.axes[:2]]
    assert tinted == [(sample.regions > 0).sum(), 0]
