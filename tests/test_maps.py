"""Drawing of faces and averaging of maps, against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab.figures import panels
from ferlab.studies import maps

from fercore.emotions import Emotion


def test_faces_are_drawn_by_emotion_seeded_and_only_if_eligible():
    labels = np.repeat([0, 3, 5], [50, 40, 2])
    eligible = np.ones(92, dtype=bool)
    eligible[:49] = False
    chosen = maps.choose(labels, eligible, 3, seed=1)
    assert labels[chosen].tolist() == [0, 3, 3, 3, 5, 5]
    assert chosen[0] == 49
    assert len(set(chosen)) == 6
    assert (chosen == maps.choose(labels, eligible, 3, seed=1)).all()
    assert (chosen != maps.choose(labels, eligible, 3, seed=2)).any()


def test_wrong_requests_are_named():
    with pytest.raises(ValueError, match="-1 faces per emotion"):
        maps.choose(np.zeros(3, int), np.ones(3, bool), -1)
    with pytest.raises(ValueError, match="classifies none correctly"):
        maps.choose(np.zeros(3, int), np.zeros(3, bool), 3)


@pytest.mark.parametrize("emotions", [1, 2, 7])
def test_figures_draw_any_number_of_emotions(emotions):
    labels = np.repeat(np.arange(emotions), 2)
    images, signed = np.zeros((len(labels), 8, 8, 1), np.uint8), np.ones((len(labels), 8, 8))
    figure = panels.emotion_rows(images, signed, labels, ["p"] * len(labels), columns=3)
    assert sum(bool(axes.images) for axes in figure.axes) == 2 * len(labels)
    mean = maps.average(signed, images, labels)
    figure = panels.mean_maps(mean.faces, mean.maps, mean.emotions, mean.counts)
    assert sum(bool(axes.get_title()) for axes in figure.axes) == emotions


def test_equal_maps_share_all_their_energy_and_opposite_ones_none():
    one = np.arange(6.0).reshape(2, 3)
    signed = np.stack([one, one, one, -one, one])
    images = np.zeros((5, 2, 3, 1), np.uint8)
    images[1] = 200
    mean = maps.average(signed, images, np.array([0, 0, 3, 3, 6]))
    assert mean.emotions == (Emotion.ANGRY, Emotion.HAPPY, Emotion.NEUTRAL)
    assert mean.counts.tolist() == [2, 2, 1]
    assert mean.shared_energy == pytest.approx([1, 0, 1])
    assert mean.worth == pytest.approx([15, 0, 15])
    assert (mean.maps[0] == one).all()
    assert (mean.faces[0] == 100).all()


def test_maps_with_nothing_in_common_share_one_over_their_number():
    signed = np.random.default_rng(0).standard_normal((50, 40, 40))
    mean = maps.average(signed, np.zeros((50, 40, 40, 1), np.uint8), np.zeros(50, int))
    assert mean.shared_energy[0] == pytest.approx(1 / 50, rel=0.1)
    silent = maps.average(np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, int))
    assert silent.shared_energy.tolist() == [0]
