"""Which faces are drawn, averages of maps by hand, and scores of many images: exact, resumed, found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ferlab.figures import panels
from ferlab.studies import maps
from torch import nn

from fercore import models
from fercore.emotions import Emotion
from fercore.shapley import DnCShap


class Linear(nn.Linear):
    """A network whose logits are linear in the pixels, without a softmax to bend them: scores are additive."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return super().forward(images.flatten(1))


with torch.random.fork_rng():
    torch.manual_seed(0)
    NETWORK = Linear(3 * 8 * 8, 7, bias=False).eval()


def pictures(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def explain(folder, images, **options):
    about = {"folder": folder, "progress": False, "depth": 4, **options}
    return maps.explain_all(NETWORK, images, "toy", "net", **about)


@pytest.fixture
def calls(monkeypatch):
    """Chunks of four images; the seed and size of each that is explained."""
    monkeypatch.setattr(maps, "CHUNK", 4)
    found, real = [], maps._explain
    monkeypatch.setattr(maps, "_explain", lambda e, part: found.append((e.seed, len(part))) or real(e, part))
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_those_of_dncshap_and_keep_their_sum(tmp_path, channels):
    images = pictures(5, channels)
    found = explain(tmp_path, images, contexts="exact")
    direct = DnCShap(NETWORK, contexts="exact", depth=4).attribute(models.to_input(images, "cpu"))
    size = np.abs(direct.region_scores).max(axis=1)
    assert (np.abs(found.scores - direct.region_scores[..., 0]) <= 5e-4 * size).all()
    worth = (direct.predictions - direct.base_values)[:, 0]
    np.testing.assert_allclose(found.worth, worth, rtol=1e-6)
    np.testing.assert_array_equal(found.classes, direct.classes[:, 0])
    assert found.evaluations == direct.evaluations[0]
    np.testing.assert_allclose(found.maps().sum(axis=(1, 2)), found.scores.sum(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.maps(slice(1, 3)), found.maps()[1:3])


def test_a_kill_costs_one_chunk_and_changes_nothing(tmp_path, calls, monkeypatch):
    images = pictures(10)
    whole = explain(tmp_path / "whole", images, seed=2)
    assert calls == [(2000, 4), (2001, 4), (2002, 2)]  # random contexts differ between chunks
    assert explain(tmp_path / "whole", images, seed=1).key != whole.key
    with monkeypatch.context() as patch:
        counted = maps._explain
        patch.setattr(maps, "_explain", lambda e, part: counted(e, part) if e.seed < 2002 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            explain(tmp_path / "killed", images, seed=2)
    (chunk,) = (tmp_path / "killed").glob("runs/toy/maps-*/chunk-0000.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:100])  # one of the two is damaged besides: it is computed again
    for expected in ([(2000, 4), (2002, 2)], []):
        calls.clear()
        resumed = explain(tmp_path / "killed", images, seed=2)
        assert calls == expected
        np.testing.assert_array_equal(resumed.scores, whole.scores)


def test_wrong_requests_are_named(tmp_path):
    with pytest.raises(ValueError, match="no images to explain"):
        explain(tmp_path, pictures(2)[:0])
    with pytest.raises(ValueError, match="depth"):
        explain(tmp_path, pictures(2), depth=9)
    for count, eligible, named in ((-1, True, "-1 faces per emotion"), (3, False, "none correctly")):
        with pytest.raises(ValueError, match=named):
            maps.choose(np.zeros(3, int), np.full(3, eligible), count)


def test_faces_are_drawn_by_emotion_seeded_and_only_if_eligible():
    labels = np.repeat([0, 3, 5], [50, 40, 2])
    eligible = np.arange(92) >= 49
    chosen = maps.choose(labels, eligible, 3, seed=1)
    assert labels[chosen].tolist() == [0, 3, 3, 3, 5, 5]
    assert chosen[0] == 49
    assert len(set(chosen)) == 6
    assert (chosen == maps.choose(labels, eligible, 3, seed=1)).all()
    assert (chosen != maps.choose(labels, eligible, 3, seed=2)).any()


def test_mean_maps_their_errors_and_what_the_maps_have_in_common():
    one, rng = np.arange(6.0).reshape(2, 3), np.random.default_rng(2)
    images = np.zeros((5, 2, 3, 1), np.uint8)
    images[1] = 200
    mean = maps.average(np.stack([one, one, one, -one, one]), images, np.array([0, 0, 3, 3, 6]))
    assert mean.emotions == (Emotion.ANGRY, Emotion.HAPPY, Emotion.NEUTRAL)
    assert mean.counts.tolist() == [2, 2, 1]
    assert mean.shared_energy == pytest.approx([1, 0, 1])
    assert mean.worth == pytest.approx([15, 0, 15])
    assert (mean.maps[0] == one).all()
    assert (mean.faces[0] == 100).all()
    signed = rng.standard_normal((52, 40, 40)) * (np.arange(52) < 51)[:, None, None]
    mean = maps.average(signed, np.zeros((52, 40, 40, 1), np.uint8), np.repeat([0, 1, 2], [50, 1, 1]))
    assert mean.shared_energy == pytest.approx([1 / 50, 1, 0], rel=0.1)
    assert mean.errors[0] == pytest.approx(signed[:50].std(axis=0, ddof=1) / np.sqrt(50))
    assert np.isnan(mean.errors[1]).all()


def test_figures_have_every_face_and_the_mean_and_say_what_is_missing():
    labels = np.repeat([0, 3], [2, 5])
    images, signed = pictures(7), np.random.default_rng(1).standard_normal((7, 8, 8))
    mean = maps.average(signed, images, labels)
    drawn = panels.Gallery(images, signed, labels, ["p"] * 7, mean)
    assert [sum(bool(a.images) for a in panels.emotion(drawn, e, 3).axes) for e in (0, 3)] == [9, 12]
    assert "mean of 5" in [axes.get_title() for axes in panels.emotion(drawn, Emotion.HAPPY, 3).axes]
    for reason in ("No test image is labelled Sad.", ""):
        (axes,) = panels.emotion(drawn, Emotion.SAD, 3, reason).axes
        assert [text.get_text() for text in axes.texts] == [reason or "There is no map of Sad."]
    figure = panels.mean_maps(mean.faces, mean.maps, mean.emotions, mean.counts)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["Angry (2)", "Happy (5)"]


def test_why_an_emotion_has_no_map():
    labels = np.array([0, 0, 3, 5, 5])
    correct = np.array([True, True, False, True, True])
    eligible = np.array([True, False, False, False, False])
    said = [maps.why_none(Emotion(e), labels, correct, eligible) for e in (0, 3, 5, 6)]
    assert said == [
        "",
        "None of the 1 images of Happy is classified correctly.",
        "All correctly classified images of Surprise are copies of training images.",
        "No test image is labelled Neutral.",
    ]
