"""Figures of the course on games and masking: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab.figures import course
from ferlab.landmarks.regions import LABELS


def said(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_picture_grid_has_every_picture_under_its_own_caption():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    figure = course.picture_grid(pictures, list("abcde"), 3, headings=["one", "two"], sides=["s", "t"])
    drawn = [axes for axes in figure.axes if axes.images]
    assert [int(axes.images[0].get_array().max()) for axes in drawn] == [0, 1, 2, 3, 4]
    assert [axes.get_title() for axes in drawn] == ["one\na", "two\nb", "c", "d", "e"]
    assert said(figure) == ["s", "t"]
    assert len(figure.axes) == 6
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize("seconds", [0.001, 2.0])
def test_waiting_time_doubles_with_every_player(seconds):
    axes = course.waiting_time(seconds, [3, 10], most=20).axes[0]
    line, dots = axes.lines[0].get_xydata(), [axes.lines[k].get_xydata()[0] for k in (1, 2)]
    np.testing.assert_allclose(10 ** line[:, 1], seconds * 2.0 ** np.arange(1, 21))
    np.testing.assert_allclose([10**y for _, y in dots], [8 * seconds, 1024 * seconds])


def test_edges_of_two_players_are_their_marginal_contributions():
    texts = said(course.four_nodes([10, 30, 20, 90]))
    assert {text for text in texts if "adds" in text} == {
        "player 1 adds 20",
        "player 1 adds 70",
        "player 2 adds 10",
        "player 2 adds 60",
    }
    assert {"∅\n10", "{1}\n30", "{2}\n20", "{1, 2}\n90"} <= set(texts)


@pytest.mark.parametrize("channels", [1, 3])
def test_players_are_named_and_each_has_a_colour_of_its_own(channels):
    image, labels = np.zeros((4, 4, channels), np.uint8), np.arange(16).reshape(4, 4) % 8
    figure = course.players(image, labels, LABELS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(LABELS)
    overlay = figure.axes[1].images[1]
    colors = overlay.to_rgba(overlay.get_array())[..., :3].reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) == len(LABELS)
    shown = [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()]
    np.testing.assert_allclose(colors[:8], shown)
