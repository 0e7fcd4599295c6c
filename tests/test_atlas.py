"""Scores of many images: the same as one by one, resumed after a kill, found again; figures of single emotions."""

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


class Linear(nn.Module):
    """A network whose logits are linear in the pixels, without a softmax to bend them: scores are additive."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(7, 3 * size * size, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return images.flatten(1) @ self.weight.T


def pictures(count: int, channels: int = 1, size: int = 8) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def explain(folder, images, **options):
    return maps.explain_all(
        Linear().eval(), images, "toy", "net", folder=folder, progress=False, **{"depth": 4, **options}
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_those_of_dncshap_and_keep_their_sum(tmp_path, channels):
    images = pictures(5, channels)
    found = explain(tmp_path, images, contexts="exact")
    direct = DnCShap(Linear().eval(), contexts="exact", depth=4).attribute(models.to_input(images, "cpu"))
    size = np.abs(direct.region_scores).max(axis=1)
    assert (np.abs(found.scores - direct.region_scores[..., 0]) <= 5e-4 * size).all()
    worth = (direct.predictions - direct.base_values)[:, 0]
    np.testing.assert_allclose(found.worth, worth, rtol=1e-6)
    np.testing.assert_array_equal(found.classes, direct.classes[:, 0])
    assert found.evaluations == direct.evaluations[0]
    np.testing.assert_allclose(found.maps().sum(axis=(1, 2)), found.scores.sum(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.maps(slice(1, 3)), found.maps()[1:3])


def test_a_kill_costs_one_chunk_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "CHUNK", 4)
    images = pictures(10)
    whole = explain(tmp_path / "whole", images)
    calls, explain_chunk = [], maps._explain

    def killed(explainer, part):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(part))
        return explain_chunk(explainer, part)

    monkeypatch.setattr(maps, "_explain", killed)
    with pytest.raises(KeyboardInterrupt):
        explain(tmp_path / "killed", images)
    assert calls == [4, 4]
    (chunk,) = (tmp_path / "killed").glob("runs/toy/maps-*/chunk-0000.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:100])  # one of the two is damaged besides: it is computed again
    calls.clear()
    monkeypatch.setattr(maps, "_explain", lambda e, part: calls.append(len(part)) or explain_chunk(e, part))
    resumed = explain(tmp_path / "killed", images)
    assert calls == [4, 2]
    np.testing.assert_array_equal(resumed.scores, whole.scores)
    calls.clear()
    np.testing.assert_array_equal(explain(tmp_path / "killed", images).scores, whole.scores)
    assert calls == []


def test_what_the_scores_depend_on_has_a_key_of_its_own(tmp_path):
    images = pictures(3)
    keys = [explain(tmp_path, images, **o).key for o in ({}, {"seed": 1}, {"depth": 3}, {"contexts": "both"})]
    keys.append(explain(tmp_path, images[:2]).key)
    assert len(set(keys)) == 5
    assert explain(tmp_path, images).key == keys[0]


def test_random_contexts_differ_between_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "CHUNK", 1)
    seeds, explain_chunk = [], maps._explain
    monkeypatch.setattr(maps, "_explain", lambda e, part: seeds.append(e.seed) or explain_chunk(e, part))
    explain(tmp_path, pictures(3), seed=2)
    assert seeds == [2000, 2001, 2002]


def test_wrong_requests_are_named(tmp_path):
    with pytest.raises(ValueError, match="no images to explain"):
        explain(tmp_path, pictures(2)[:0])
    with pytest.raises(ValueError, match="depth"):
        explain(tmp_path, pictures(2), depth=9)


def gallery(labels: np.ndarray, channels: int = 1) -> panels.Gallery:
    images = pictures(len(labels), channels)
    signed = np.random.default_rng(1).standard_normal((len(labels), 8, 8))
    return panels.Gallery(images, signed, labels, ["p"] * len(labels), maps.average(signed, images, labels))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_of_an_emotion_has_its_faces_and_the_mean(channels):
    drawn = gallery(np.repeat([0, 3], [2, 5]), channels)
    assert [sum(bool(a.images) for a in panels.emotion(drawn, e, 3).axes) for e in (0, 3)] == [9, 12]
    titles = [axes.get_title() for axes in panels.emotion(drawn, Emotion.HAPPY, 3).axes]
    assert "mean of 5" in titles


def test_an_emotion_without_maps_is_said_not_drawn():
    drawn = gallery(np.zeros(3, int))
    figure = panels.emotion(drawn, Emotion.NEUTRAL, 3, "No test image is labelled Neutral.")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["No test image is labelled Neutral."]
    assert panels.emotion(drawn, Emotion.SAD, 3).axes[0].texts[0].get_text() == "There is no map of Sad."


def test_why_an_emotion_has_no_map():
    labels = np.array([0, 0, 3, 5, 5])
    correct = np.array([True, True, False, True, True])
    eligible = np.array([True, False, False, False, False])
    said = [maps.why_none(Emotion(e), labels, correct, eligible) for e in (0, 3, 5, 6)]
    assert said[0] == ""
    assert said[1] == "None of the 1 images of Happy is classified correctly."
    assert said[2] == "All correctly classified images of Surprise are copies of training images."
    assert said[3] == "No test image is labelled Neutral."


def test_standard_errors_of_mean_maps_are_those_of_the_mean():
    signed = np.random.default_rng(2).standard_normal((400, 3, 3))
    mean = maps.average(signed, np.zeros((400, 3, 3, 1), np.uint8), np.repeat([0, 1], [399, 1]))
    assert mean.errors[0] == pytest.approx(signed[:399].std(axis=0, ddof=1) / np.sqrt(399))
    assert np.isnan(mean.errors[1]).all()
