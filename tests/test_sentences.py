"""The paper's sentences as tests: closed forms of the statistics, planted truths and planted falsehoods."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab import faces
from ferlab.figures import charts
from ferlab.studies import regions
from hypothesis import given
from hypothesis import strategies as st

from fercore.emotions import Emotion

SIZE = 12
FACE, EYES, MOUTH, LIP = np.zeros((4, SIZE, SIZE), bool)
FACE[1:11, 2:10], EYES[3:5, 3:9], MOUTH[8:10, 4:8], LIP[8:9, 4:8] = True, True, True, True


def masks(count: int) -> dict[str, np.ndarray]:
    parts = {"face": FACE, "eyes": EYES, "mouth": MOUTH, regions.UPPER_LIP: LIP}
    return {name: np.repeat(mask[None], count, axis=0) for name, mask in parts.items()}


def noisy(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, SIZE, SIZE)) - 0.2


@given(st.floats(0.01, 100), st.integers(0, 5))
def test_a_map_in_one_part_has_the_inverse_of_its_area(scale, seed):
    rng = np.random.default_rng(seed)
    inside = scale * rng.random((SIZE, SIZE))
    outside = -rng.random((SIZE, SIZE)) + 50.0 * ~FACE  # neither negative nor outside the face counts
    maps = np.stack([np.where(EYES, inside, outside), np.ones_like(inside), -inside])
    wanted = [FACE.sum() / EYES.sum(), 1, np.nan]  # a flat map is at chance, one without mass left out
    assert regions.statistic("eyes", maps, masks(3)) == pytest.approx(wanted, nan_ok=True)


def test_elongation_compares_spreads_with_those_of_the_face():
    column, row = np.zeros((2, SIZE, SIZE))
    column[1:11, 5:7] = 1  # all of the height, a quarter of the width
    row[5:7, 2:10] = 1
    found = regions.elongation(np.stack([column, row]), masks(2)["face"])
    deviation = {n: np.arange(n).std() for n in (2, 8, 10)}
    assert found == pytest.approx([deviation[8] / deviation[2], deviation[2] / deviation[10]])


def test_planted_sentences_are_supported_and_others_are_not():
    labels = np.repeat([Emotion.HAPPY, Emotion.SURPRISE, Emotion.SAD, Emotion.ANGRY], 100)
    maps = noisy(400)
    maps[labels == Emotion.HAPPY] += 2 * MOUTH
    maps[labels == Emotion.SURPRISE] += 2 * EYES
    found = {(f.sentence.emotion, f.part): f for f in regions.check(maps, maps, labels, masks(400))}
    supported = {key for key, f in found.items() if f.verdict == regions.SUPPORTED}
    assert supported == {(Emotion.HAPPY, "mouth"), (Emotion.SURPRISE, "eyes")}
    assert len(found) == 6
    happy, values = found[Emotion.HAPPY, "mouth"], regions.statistic("mouth", maps, masks(400))[:100]
    assert (happy.faces, happy.mean) == (100, pytest.approx(values.mean()))
    normal = 2 * 1.96 * values.std(ddof=1) / 10
    assert happy.high - happy.low == pytest.approx(normal, rel=0.15)
    assert happy.difference > happy.difference_low > 0
    alike = noisy(400) + 2 * EYES  # what all emotions emphasise belongs to none
    eyes = [f for f in regions.check(alike, alike, labels, masks(400)) if f.part == "eyes"]
    assert min(f.low for f in eyes) > 1
    assert {f.verdict for f in eyes} == {regions.UNSUPPORTED}


def test_what_only_the_released_masking_shows_is_an_artefact():
    labels = np.repeat([Emotion.SAD, Emotion.HAPPY], 40)
    rows, bands = noisy(80), noisy(80, 1)
    bands[:, :, 5:7] += 3  # vertical bands
    rows[:, 5:7] += 3
    both = rows + 0.5 * bands  # what both maskings show alike is no artefact of one
    sad, same = (
        next(f for f in regions.check(*pair, labels, masks(80)) if f.sentence.emotion == Emotion.SAD)
        for pair in ((rows, bands), (both, both))
    )
    assert sad.verdict == regions.ARTEFACT
    assert sad.released > 1 > sad.mean
    assert same.excess_low == 0
    assert same.verdict != regions.ARTEFACT


def test_an_emotion_with_few_or_no_faces_is_not_tested():
    labels = np.repeat([Emotion.SAD, Emotion.HAPPY, Emotion.FEAR], [2, 40, 20])
    findings = regions.check(noisy(62), noisy(62), labels, masks(62))
    untested = [f for f in findings if f.verdict == regions.UNTESTED]
    assert {f.sentence.emotion: f.faces for f in untested} == {
        Emotion.SAD: 2,
        Emotion.SURPRISE: 0,
        Emotion.ANGRY: 0,
    }
    assert {f.row()["mean"] for f in untested} == {"–"}
    assert " to " in findings[0].row()["mean"]
    axes = charts.sentence_dots(findings).axes[0]
    named = [tick.get_text() for tick in axes.get_yticklabels()]
    assert named == [f"{f.sentence.emotion.title}: {f.part}" for f in findings]
    assert sum(text.get_text() == "too few faces" for text in axes.texts) == len(untested) == 5


def test_the_upper_lip_is_what_lies_above_where_the_lips_meet():
    sample = faces.render_face(faces.make_character(0), Emotion.SURPRISE, size=96)
    found = regions.masks(sample.regions[None], sample.landmarks[None])
    mouth, upper = found["mouth"][0], found[regions.UPPER_LIP][0]
    assert 0.2 < upper.sum() / mouth.sum() < 0.8
    rows, middle = np.indices(mouth.shape)[0], sample.landmarks[[13, 14], 1].mean()
    assert rows[upper].max() <= middle + 2
    assert rows[mouth & ~upper].min() >= middle - 2
    turned = regions.masks(np.rot90(sample.regions, 2)[None], 96 - sample.landmarks[None])
    assert (np.rot90(turned[regions.UPPER_LIP][0], 2) == upper).mean() > 0.99
    assert found["face"][0].sum() == (sample.regions > 0).sum()
