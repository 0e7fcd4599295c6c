"""The paper's sentences as tests: closed forms of the statistics, planted truths and planted falsehoods."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab.studies import regions
from hypothesis import given
from hypothesis import strategies as st

from fercore.emotions import Emotion

SIZE = 12
FACE = np.zeros((SIZE, SIZE), bool)
FACE[1:11, 2:10] = True
PARTS = {name: np.zeros_like(FACE) for name in ("eyes", "mouth", "upper lip")}
PARTS["eyes"][3:5, 3:9] = True
PARTS["mouth"][8:10, 4:8] = True
PARTS["upper lip"][8:9, 4:8] = True


def masks(count: int) -> dict[str, np.ndarray]:
    return {name: np.repeat(mask[None], count, axis=0) for name, mask in {**PARTS, "face": FACE}.items()}


def test_a_flat_map_is_at_chance():
    flat = np.ones((2, SIZE, SIZE))
    for part in ("eyes", "mouth", regions.HEIGHT):
        assert regions.statistic(part, flat, masks(2)) == pytest.approx([1, 1])


@given(st.floats(0.01, 100), st.integers(0, 5))
def test_a_map_in_one_part_has_the_inverse_of_its_area(scale, seed):
    rng = np.random.default_rng(seed)
    inside = scale * rng.random((1, SIZE, SIZE)) * PARTS["eyes"]
    outside = -rng.random((1, SIZE, SIZE)) + 50.0 * ~FACE  # neither negative nor outside the face counts
    found = regions.emphasis(np.where(PARTS["eyes"], inside, outside), masks(1)["eyes"], masks(1)["face"])
    assert found == pytest.approx(FACE.sum() / PARTS["eyes"].sum())


def test_elongation_compares_spreads_with_those_of_the_face():
    column, row = np.zeros((2, SIZE, SIZE))
    column[1:11, 5:7] = 1  # all of the height, a quarter of the width
    row[5:7, 2:10] = 1
    found = regions.elongation(np.stack([column, row]), masks(2)["face"])
    deviation = {n: np.arange(n).std() for n in (2, 8, 10)}
    assert found[0] == pytest.approx(deviation[8] / deviation[2])
    assert found[1] == pytest.approx(deviation[2] / deviation[10])


def test_maps_without_positive_mass_are_left_out():
    maps = np.stack([-np.ones((SIZE, SIZE)), np.zeros((SIZE, SIZE))])
    for part in ("eyes", regions.HEIGHT):
        assert np.isnan(regions.statistic(part, maps, masks(2))).all()
    none = {**masks(2), "eyes": np.zeros((2, SIZE, SIZE), bool)}
    assert np.isnan(regions.statistic("eyes", np.ones((2, SIZE, SIZE)), none)).all()


def noisy(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, SIZE, SIZE)) - 0.2


def test_planted_sentences_are_supported_and_others_are_not():
    labels = np.repeat([Emotion.HAPPY, Emotion.SURPRISE, Emotion.SAD, Emotion.ANGRY], 40)
    maps = noisy(len(labels))
    maps[labels == Emotion.HAPPY] += 2 * PARTS["mouth"]
    maps[labels == Emotion.SURPRISE] += 2 * PARTS["eyes"]
    found = {(f.sentence.emotion, f.part): f for f in regions.check(maps, maps, labels, masks(len(labels)))}
    verdicts = {key: f.verdict for key, f in found.items()}
    assert verdicts[Emotion.HAPPY, "mouth"] == regions.SUPPORTED
    assert verdicts[Emotion.SURPRISE, "eyes"] == regions.SUPPORTED
    assert verdicts[Emotion.SURPRISE, "upper lip"] == regions.UNSUPPORTED
    assert verdicts[Emotion.ANGRY, "eyes"] == regions.UNSUPPORTED
    happy = found[Emotion.HAPPY, "mouth"]
    assert happy.faces == 40
    assert happy.low < happy.mean < happy.high
    assert happy.difference > happy.difference_low > 0


def test_what_all_emotions_emphasise_belongs_to_none():
    labels = np.repeat([Emotion.ANGRY, Emotion.HAPPY], 40)
    maps = noisy(80) + 2 * PARTS["eyes"]
    found = [f for f in regions.check(maps, maps, labels, masks(80)) if f.part == "eyes"]
    assert [f.verdict for f in found if f.sentence.emotion == Emotion.ANGRY] == [regions.UNSUPPORTED]


def test_what_only_the_released_masking_shows_is_an_artefact():
    labels = np.repeat([Emotion.SAD, Emotion.HAPPY], 40)
    bands = noisy(80, 1)
    bands[:, :, 5:7] += 3  # vertical bands
    rows = noisy(80)
    rows[:, 5:7] += 3
    (sad,) = (f for f in regions.check(rows, bands, labels, masks(80)) if f.sentence.emotion == Emotion.SAD)
    assert sad.verdict == regions.ARTEFACT
    assert sad.released > 1 > sad.mean
    both = regions.check(rows + 0.5 * bands, rows + 0.5 * bands, labels, masks(80))
    (same,) = (f for f in both if f.sentence.emotion == Emotion.SAD)
    assert same.excess_low == 0  # what both maskings show alike is no artefact of one
    assert same.verdict != regions.ARTEFACT


def test_an_emotion_with_few_or_no_faces_is_not_tested():
    labels = np.repeat([Emotion.SAD, Emotion.HAPPY, Emotion.FEAR], [2, 40, 20])
    found = regions.check(noisy(62), noisy(62), labels, masks(62))
    untested = {f.sentence.emotion for f in found if f.verdict == regions.UNTESTED}
    assert untested == {Emotion.SAD, Emotion.SURPRISE, Emotion.ANGRY}
    assert {f.faces for f in found if f.sentence.emotion == Emotion.SURPRISE} == {0}
    assert {f.row()["mean"] for f in found if f.verdict == regions.UNTESTED} == {"–"}
    (happy,) = (f.row() for f in found if f.sentence.emotion == Emotion.HAPPY)
    assert happy["measured"] == "mouth"
    assert " to " in happy["mean"]


def test_the_upper_lip_is_what_lies_above_where_the_lips_meet():
    from ferlab import faces

    sample = faces.render_face(faces.make_character(0), Emotion.SURPRISE, size=96)
    found = regions.masks(sample.regions[None], sample.landmarks[None])
    mouth, upper = found["mouth"][0], found[regions.UPPER_LIP][0]
    assert 0.2 < upper.sum() / mouth.sum() < 0.8
    rows = np.indices(mouth.shape)[0]
    assert rows[upper].max() <= sample.landmarks[[13, 14], 1].mean() + 2
    assert rows[mouth & ~upper].min() >= sample.landmarks[[13, 14], 1].mean() - 2
    turned = regions.masks(np.rot90(sample.regions, 2)[None], 96 - sample.landmarks[None])
    assert (np.rot90(turned[regions.UPPER_LIP][0], 2) == upper).mean() > 0.99
    assert found["face"][0].sum() == (sample.regions > 0).sum()


def test_every_part_has_a_row_in_the_figure():
    from ferlab.figures import charts

    labels = np.repeat([Emotion.HAPPY, Emotion.FEAR], 20)
    findings = regions.check(noisy(40), noisy(40), labels, masks(40))
    axes = charts.sentence_dots(findings).axes[0]
    named = [tick.get_text() for tick in axes.get_yticklabels()]
    assert named == [f"{f.sentence.emotion.title}: {f.part}" for f in findings]
    assert sum(text.get_text() == "too few faces" for text in axes.texts) == 5


def test_the_bootstrap_interval_is_that_of_the_mean():
    labels = np.repeat([Emotion.HAPPY, Emotion.SAD], 200)
    maps = noisy(400)
    values = regions.statistic("mouth", maps, masks(400))[:200]
    (happy,) = (f for f in regions.check(maps, maps, labels, masks(400)) if f.part == "mouth")
    error = values.std(ddof=1) / np.sqrt(200)
    assert happy.mean == pytest.approx(values.mean())
    assert (happy.high - happy.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)
