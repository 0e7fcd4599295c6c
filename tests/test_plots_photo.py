"""Figures of the course's chapters on a photo and on pitfalls: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab.figures import panels
from ferlab.studies.photo import Box

from fercore.emotions import NAMES

FACE = np.full((8, 8, 1), 100, np.uint8)
MAP = np.arange(-16.0, 48.0).reshape(8, 8)


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_the_box_is_drawn_where_it_is_and_written_as_the_parameter():
    photo = np.zeros((60, 90, 3), np.uint8)
    left, right = panels.found(photo, Box(10.4, 20, 30), FACE).axes
    assert left.patches[0].get_bbox().bounds == (10.4, 20, 30, 30)
    assert left.get_title() == "box = [10, 20, 30]"
    assert right.images[0].get_array().shape[:2] == (8, 8)


def test_the_answer_has_a_bar_and_a_tick_for_every_emotion():
    given, blank = np.arange(7) / 21, np.arange(7)[::-1] / 21
    axes = panels.answer(given, blank).axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], given)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), blank)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert [text.get_text() for text in axes.texts] == [f"{p:.3f}" for p in given]


def test_what_is_within_the_errors_is_hatched():
    errors = np.full((8, 8), 8.0)
    face, plain, uncertain, hatched = panels.certainty(FACE, MAP, errors).axes
    np.testing.assert_array_equal(uncertain.images[0].get_array(), errors)
    assert "17% of largest" in uncertain.get_title()
    assert [len(axes.collections) for axes in (face, plain, uncertain, hatched)] == [0, 0, 0, 1]
    none = panels.certainty(FACE, MAP, np.zeros((8, 8)) - 1.0)
    assert len(none.axes[3].collections) == 0


def test_class_maps_share_one_scale():
    maps = np.stack([MAP * factor for factor in (0.1, 1, 2)])
    figure = panels.class_maps(FACE, maps, ["a", "b", "c"])
    assert titles(figure)[:4] == ["face", "a", "b", "c"]
    limits = {axes.images[-1].get_clim() for axes in figure.axes[1:4]}
    assert len(limits) == 1


@pytest.mark.parametrize("sides", [(), ("one", "two")])
def test_a_table_of_maps_has_each_map_in_its_cell_on_its_own_scale(sides):
    maps = np.stack([[MAP * (1 + 3 * row + column) for column in range(3)] for row in range(2)])
    figure = panels.map_table(np.stack([FACE, FACE]), maps, list("xyz"), sides)
    assert titles(figure)[:4] == ["face", "x", "y", "z"]
    drawn = [axes.images[-1] for k, axes in enumerate(figure.axes) if k % 4]
    for image, values in zip(drawn, maps.reshape(6, 8, 8), strict=True):
        np.testing.assert_array_equal(image.get_array(), values)
    assert len({image.get_clim() for image in drawn}) == 6
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert written == list(sides)


def test_a_wide_table_is_broken_into_blocks_with_the_sides_in_each():
    maps = np.stack([[MAP * (1 + 5 * row + column) for column in range(5)] for row in range(2)])
    figure = panels.map_table(np.stack([FACE, FACE]), maps, list("vwxyz"), ("one", "two"))
    assert titles(figure) == ["face", "v", "w", "", "", "", "x", "y", "z", "", "", ""]
    places = [1, 2, 6, 7, 8, 4, 5, 9, 10, 11]  # two blocks of two rows and three columns
    for place, values in zip(places, maps.reshape(10, 8, 8), strict=True):
        np.testing.assert_array_equal(figure.axes[place].images[-1].get_array(), values)
    written = {k: axes.texts[0].get_text() for k, axes in enumerate(figure.axes) if axes.texts}
    assert written == {0: "one", 3: "two", 6: "one", 9: "two"}


def test_the_three_scales_differ_in_where_zero_is_and_in_what_is_left_out():
    figure = panels.scales(FACE, MAP, MAP / 100, ("Happy", "Sad"))
    symmetric, rainbow, high, _, own, common = (axes.images[-1] for axes in figure.axes)
    assert symmetric.get_clim()[0] == -symmetric.get_clim()[1]
    assert rainbow.get_clim() == (MAP.min(), MAP.max())
    assert (~np.ma.getmaskarray(high.get_array())).sum() == 7  # a tenth of 64
    np.testing.assert_allclose(np.array(own.get_clim()) * 100, symmetric.get_clim())
    assert common.get_clim() == symmetric.get_clim()
    assert "Sad: on the scale of Happy" in titles(figure)


def test_the_riddle_shows_maps_alone_under_letters():
    figure = panels.riddle(np.stack([MAP, -MAP, MAP]))
    assert titles(figure) == ["A", "B", "C"]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), -MAP)
    five = panels.riddle(np.stack([MAP] * 5))
    assert titles(five) == ["A", "B", "C", "D", "E", ""]
    assert five.axes[0].get_gridspec().ncols == 3
