"""Figures: a reader finds in them what was given, under the right names and on the right scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ferlab.figures import charts, course, panels
from ferlab.landmarks.regions import LABELS
from ferlab.studies.photo import Box
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fercore.emotions import NAMES

FACE = np.full((8, 8, 1), 100, np.uint8)
MAP = np.arange(-16.0, 48.0).reshape(8, 8)
NUMBERS = st.floats(-10, 10).map(lambda value: round(value, 3))


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def said(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def rows(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def shown(axes) -> np.ndarray:
    return np.asarray(axes.images[-1].get_array())


def scale(axes) -> tuple[float, float]:
    return axes.images[-1].get_clim()


# --- faces and maps ---------------------------------------------------------------------------------------------------

MAPS = {"a": MAP, "b": -MAP, "c": 3 * MAP}
BOX, GHOST = [(slice(k, k + 2), slice(k, k + 3)) for k in (0, 3)]
PICTURES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
HEADED = {"headings": ["one", "two"], "sides": ["s", "t"]}


@pytest.mark.parametrize(
    ("draw", "headings"),
    [
        (lambda: panels.labelled_maps(FACE, MAPS), ["face", "a", "b", "c"]),
        (lambda: panels.in_rows(FACE, MAPS, columns=3), ["face", "a", "b", "c", "", ""]),
        (lambda: panels.riddle(np.stack([MAP] * 5)), ["A", "B", "C", "D", "E", ""]),
        (
            lambda: course.picture_grid(PICTURES, "abcde", 3, **HEADED),
            ["one\na", "two\nb", "c", "d", "e", ""],
        ),
        (
            lambda: course.planted(FACE, {"one": ([BOX], MAPS), "two": ([BOX], MAPS)}, {"one": [GHOST]}),
            ["one", *MAPS, "two", *MAPS],
        ),
    ],
    ids=["beside", "rows", "riddle", "captions", "planted"],
)
def test_every_picture_has_its_heading_and_the_last_places_stay_empty(draw, headings):
    figure = draw()
    assert titles(figure) == headings
    assert [bool(axes.images) for axes in figure.axes] == [bool(heading) for heading in headings]


def test_maps_have_a_scale_each_or_share_one():
    own, shared = panels.labelled_maps(FACE, MAPS), panels.class_maps(FACE, np.stack([*MAPS.values()]), "abc")
    for axes, values in zip(own.axes[1:], MAPS.values(), strict=True):
        np.testing.assert_array_equal(shown(axes), values)
        assert scale(axes) == pytest.approx((-panels.color_limit(values), panels.color_limit(values)))
    assert len({scale(axes) for axes in shared.axes[1:4]}) == 1


@pytest.mark.parametrize(
    ("wide", "headings", "places"),
    [
        (3, ["face", "v", "w", "x", "", "", "", ""], [1, 2, 3, 5, 6, 7]),
        # Five maps: two blocks of two rows and three columns.
        (5, ["face", "v", "w", "", "", "", "x", "y", "z", "", "", ""], [1, 2, 6, 7, 8, 4, 5, 9, 10, 11]),
    ],
)
def test_a_table_has_each_map_in_its_cell_on_its_own_scale(wide, headings, places):
    maps = np.stack([[MAP * (1 + wide * row + column) for column in range(wide)] for row in range(2)])
    figure = panels.map_table(np.stack([FACE, FACE]), maps, list("vwxyz")[:wide], ("one", "two"))
    assert titles(figure) == headings
    assert said(figure) == ["one", "two"] * (2 if wide > 3 else 1)
    for place, values in zip(places, maps.reshape(-1, 8, 8), strict=True):
        np.testing.assert_array_equal(shown(figure.axes[place]), values)


def test_a_sheet_of_maps_has_a_row_of_faces_per_method_in_two_blocks():
    maps = {name: np.stack([MAP * (1 + k), -MAP]) for k, name in enumerate(("dnc", "lime", "random"))}
    figure = panels.map_sheet(np.stack([FACE, FACE]), maps)
    names = [axes.get_title("left") for axes in figure.axes]
    assert names == ["face", "", "LIME", "", "DnCShap", "", "random map", ""]
    np.testing.assert_array_equal(shown(figure.axes[3]), -MAP)


def test_what_is_within_the_errors_is_hatched():
    errors = np.full((8, 8), 8.0)
    figure = panels.certainty(FACE, MAP, errors)
    np.testing.assert_array_equal(shown(figure.axes[2]), errors)
    assert "17% of largest" in titles(figure)[2]
    assert figure.axes[3].collections
    assert not panels.certainty(FACE, MAP, np.zeros((8, 8)) - 1.0).axes[3].collections


def test_the_three_scales_differ_in_where_zero_is_and_in_what_is_left_out():
    symmetric, rainbow, high, _, own, common = panels.scales(FACE, MAP, MAP / 100, ("Happy", "Sad")).axes
    assert scale(symmetric)[0] == -scale(symmetric)[1]
    assert scale(rainbow) == (MAP.min(), MAP.max())
    assert (~np.ma.getmaskarray(high.images[-1].get_array())).sum() == 7  # a tenth of 64
    np.testing.assert_allclose(np.array(scale(own)) * 100, scale(symmetric))
    assert scale(common) == scale(symmetric)


# --- the course -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.001, 2.0])
def test_waiting_time_doubles_with_every_player(seconds):
    line, *dots = course.waiting_time(seconds, [3, 10], most=20).axes[0].lines[:3]
    np.testing.assert_allclose(10 ** line.get_ydata(), seconds * 2.0 ** np.arange(1, 21))
    np.testing.assert_allclose([10 ** dot.get_ydata()[0] for dot in dots], [8 * seconds, 1024 * seconds])


def test_edges_of_two_players_are_their_marginal_contributions():
    texts = said(course.four_nodes([10, 30, 20, 90]))
    added = {"player 1 adds 20", "player 1 adds 70", "player 2 adds 10", "player 2 adds 60"}
    assert set(texts) == added | {"∅\n10", "{1}\n30", "{2}\n20", "{1, 2}\n90"}


def test_players_are_named():
    figure = course.players(np.zeros((4, 4, 1), np.uint8), np.arange(16).reshape(4, 4) % 8, LABELS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(LABELS)


def test_the_box_is_drawn_where_it_is_and_written_as_the_parameter():
    left, right = course.found(np.zeros((60, 90, 3), np.uint8), Box(10.4, 20, 30), FACE).axes
    assert left.patches[0].get_bbox().bounds == (10.4, 20, 30, 30)
    assert left.get_title() == "box = [10, 20, 30]"
    assert shown(right).shape[:2] == (8, 8)


@given(arrays.arrays(float, (8, 8), elements=NUMBERS))
@settings(max_examples=5, deadline=None)
def test_profiles_beside_a_map_fit_it_best_in_least_squares(values):
    above, _, _, beside = course.profiles(FACE, values).axes
    left = values - beside.lines[0].get_xdata()[:, None] - above.lines[0].get_ydata()
    assert left.sum(axis=0) == pytest.approx(np.zeros(8), abs=1e-9)
    assert left.sum(axis=1) == pytest.approx(np.zeros(8), abs=1e-9)


# --- dots, lines and bars ---------------------------------------------------------------------------------------------


def test_the_answer_has_a_bar_and_a_tick_for_every_emotion():
    given, blank = np.arange(7) / 21, np.arange(7)[::-1] / 21
    figure = charts.answer(given, blank)
    (axes,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], given)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), blank)
    assert rows(axes) == list(NAMES)
    assert said(figure) == [f"{p:.3f}" for p in given]


ROW = {"data": "A", "protocol": "p", "classifier": "c", "accuracy": 0.5, "spread": 0.1, "floor": 0.3}
ROW |= {"variant": "v", "rule": "r", "difference": 0.02, "low": 0.01, "high": 0.03}
ROW |= {"method": "m", "per region": 8, "share": 0.02, "wilson low": 0.0, "wilson high": 0.04}


@pytest.mark.parametrize(
    ("draw", "place", "name"),
    [(charts.protocol_dots, 0.5, "p"), (charts.gain_dots, 2, "v"), (charts.coverage, 0.02, "m, 8n")],
)
def test_a_dot_stands_at_its_number_in_a_row_of_its_name(draw, place, name):
    (axes,) = draw(pd.DataFrame([ROW])).axes
    assert rows(axes) == [name]
    assert place in [line.get_xdata()[0] for line in axes.lines]


def test_variants_without_accuracy_are_left_out_and_every_count_has_a_bar():
    table = pd.DataFrame({"accuracy": [0.5, np.nan, 0.75], "error": 0.1}, index=["a", "b", "c"])
    (axes,) = charts.accuracy_dots(table, "c").axes
    assert rows(axes) == ["a", "c"]
    assert axes.lines[0].get_xdata() == pytest.approx([0.5, 0.75])
    (axes,) = charts.part_counts(pd.DataFrame({"train": [3, 1], "test": [2, 4]}, index=["a", "b"])).axes
    assert [bar.get_height() for bar in axes.patches] == [3, 1, 2, 4]


def test_doubling_draws_faces_their_mean_and_the_fall_of_independent_draws():
    frame = pd.DataFrame({"method": "sampled", "face": [0, 0, 1, 1], "per region": [4, 16, 4, 16]})
    frame = frame.assign(evaluations=64 * frame["per region"], error=[0.2, 0.1, 0.4, 0.1])
    (axes,) = charts.doubling(frame).axes
    *faces, mean, slope = [line.get_ydata() for line in axes.lines]
    assert [line.tolist() for line in faces] == [[0.2, 0.1], [0.4, 0.1]]
    assert mean == pytest.approx([0.3, 0.1])
    assert slope == pytest.approx([0.3, 0.15])  # four times the evaluations: half the error


def test_scatter_is_relative_to_the_norm_of_the_truth():
    (axes,) = charts.against(np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]]), ("a", "b")).axes
    assert axes.lines[1].get_xydata() == pytest.approx(np.array([[0.6, 0.6], [0.8, 0.0]]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("b / norm", "a / norm")
