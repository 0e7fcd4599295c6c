"""Figures and claims of the course's chapters 5 and 6."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ferlab.figures import charts, panels
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from fercore.shapley import DnCShap, PaperDnCShap

FACE = np.full((12, 8, 1), 120, dtype=np.uint8)
NUMBERS = st.floats(-10, 10).map(lambda value: round(value, 3))


@given(arrays.arrays(float, (5,), elements=NUMBERS), arrays.arrays(float, (3,), elements=NUMBERS))
def test_profiles_of_a_sum_of_profiles_are_found(rows, columns):
    found = panels.additive_parts(rows[:, None] + columns)
    assert found[0][:, None] + found[1] == pytest.approx(rows[:, None] + columns, abs=1e-9)
    assert found[1].sum() == pytest.approx(0, abs=1e-9)


@given(arrays.arrays(float, (4, 6), elements=NUMBERS))
def test_profiles_are_the_least_squares_fit(values):
    rows, columns = panels.additive_parts(values)
    left = values - rows[:, None] - columns
    assert left.sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)
    assert left.sum(axis=1) == pytest.approx(np.zeros(4), abs=1e-9)


def test_profile_figure_shows_both_curves():
    values = np.random.default_rng(0).normal(size=(12, 8))
    figure = panels.profiles(FACE, values)
    above, _, _, beside = figure.axes
    rows, columns = panels.additive_parts(values)
    assert above.lines[0].get_ydata() == pytest.approx(columns)
    assert beside.lines[0].get_xdata() == pytest.approx(rows)


def test_planted_figure_frames_every_box_in_every_picture():
    one, other = (slice(0, 3), slice(1, 5)), (slice(6, 9), slice(4, 8))
    maps = {"a": np.eye(12, 8), "b": -np.eye(12, 8)}
    figure = panels.planted(FACE, {"one": ([one], maps), "two": ([one, other], maps)})
    assert [len(axes.patches) for axes in figure.axes] == [2, 2, 2, 4, 4, 4]
    frame = figure.axes[3].patches[-1]
    assert (frame.get_x(), frame.get_y()) == (3.5, 5.5)
    assert (frame.get_width(), frame.get_height()) == (4, 3)
    assert [axes.get_title() for axes in figure.axes[3:]] == ["two", "a", "b"]


def test_planted_figure_dashes_the_frames_of_ghosts():
    one, ghost = (slice(0, 3), slice(1, 5)), (slice(6, 9), slice(4, 8))
    figure = panels.planted(FACE, {"one": ([one], {"a": np.eye(12, 8)})}, {"one": [ghost]})
    for axes in figure.axes:
        styles = [patch.get_linestyle() for patch in axes.patches]
        assert styles[:3] == ["-", "-", "-"]
        assert styles[3] not in ("-", "solid")
        assert (axes.patches[3].get_x(), axes.patches[3].get_y()) == (3.5, 5.5)


def test_maps_in_rows_leave_the_last_places_empty():
    maps = {"a": np.eye(12, 8), "b": -np.eye(12, 8), "c": np.ones((12, 8))}
    figure = panels.in_rows(FACE, maps, columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["face", "a", "b", "c", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 2, 2, 2, 0, 0]


def test_coverage_figure_draws_both_intervals():
    row = {"method": "sampled", "per region": 8, "share": 0.9, "low": 0.8, "high": 0.95}
    figure = charts.coverage(pd.DataFrame([row | {"wilson low": 0.85, "wilson high": 0.93}]))
    bars = [bar.get_segments()[0][:, 0] for bar in figure.axes[0].collections]
    assert bars[0] == pytest.approx([0.8, 0.95])
    assert bars[1] == pytest.approx([0.85, 0.93])
    assert figure.axes[0].get_yticklabels()[0].get_text() == "sampled, 8n"


def test_doubling_figure_has_a_line_for_each_face_their_mean_and_the_slope():
    rows = [
        {"method": m, "face": f, "per region": b, "evaluations": 64 * b, "error": (1 + f) / b}
        for m in ("sampled", "adaptive")
        for f in range(3)
        for b in (4, 16)
    ]
    figure = charts.doubling(pd.DataFrame(rows))
    assert [axes.get_title() for axes in figure.axes] == ["sampled", "adaptive"]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        *faces, mean, slope = [line.get_ydata() for line in axes.lines]
        assert len(faces) == 3
        assert mean == pytest.approx([0.5, 0.125])
        assert slope == pytest.approx([0.5, 0.25])  # four times the evaluations: half the error


def test_scatter_is_relative_to_the_norm_of_the_truth():
    figure = charts.against(np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]]), ("a", "b"))
    points = figure.axes[0].lines[1].get_xydata()
    assert points == pytest.approx(np.array([[0.6, 0.6], [0.8, 0.0]]))


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(64, 3)).double().eval().requires_grad_(False)


def test_boxes_and_means_mend_the_published_recursion(network):
    """Chapter 5: with boxes for strips and means for sums it is the fixed context "absent" with equal shares."""
    image = torch.from_numpy(np.random.default_rng(4).random((1, 1, 16, 16)))
    leaves = []

    def worth(box):
        masked = torch.zeros_like(image)
        inside = (..., slice(*box[0]), slice(*box[1]))
        masked[inside] = image[inside]
        return network(masked).softmax(1)[0, 1].item()

    def recurse(times, axis, box, pred_b, pred_f):
        if times == 0:
            leaves.append(pred_f - pred_b)
            return
        start, end = box[axis]
        sides = (start, (start + end) // 2), ((start + end) // 2, end)
        parts = [(side, box[1]) if axis == 0 else (box[0], side) for side in sides]
        pred_1, pred_2 = map(worth, parts)
        recurse(times - 1, 1 - axis, parts[0], (pred_b + pred_2) / 2, (pred_1 + pred_f) / 2)
        recurse(times - 1, 1 - axis, parts[1], (pred_b + pred_1) / 2, (pred_2 + pred_f) / 2)

    whole = ((0, 16), (0, 16))
    recurse(5, 0, whole, worth(((0, 0), (0, 0))), worth(whole))
    settings = {"depth": 5, "tree": "alternate", "contexts": "absent", "share": "half"}
    mended = DnCShap(network, **settings).attribute(image, 1)
    assert mended.region_scores[0, :, 0] == pytest.approx(leaves, abs=1e-12)


def test_ghosts_are_paid_as_much_as_the_places_that_count():
    """Chapter 5: a network that sees two boxes only, and the printed algorithm."""
    image = torch.from_numpy(np.random.default_rng(5).random((1, 1, 16, 16))) + 0.1
    boxes = [(slice(4, 8), slice(0, 4)), (slice(8, 12), slice(8, 12))]

    def planted(images):
        seen = [images[(..., *b)].sum((1, 2, 3)) / image[(..., *b)].sum() for b in boxes]
        p = 0.05 + 0.45 * sum(seen)
        return torch.stack([p, 1 - p], dim=1).log()

    drawn = PaperDnCShap(planted, times=8).attribute(image, 0).region_map()[0, ..., 0]
    ghosts = [(boxes[0][0], boxes[1][1]), (boxes[1][0], boxes[0][1])]
    true, false = (sum(drawn[box].mean() for box in places) for places in (boxes, ghosts))
    assert false == pytest.approx(true)
    owen = DnCShap(planted, depth=4, tree="alternate", contexts="exact").attribute(image, 0)
    density = owen.pixel_map()[0, ..., 0, 0]
    assert sum(np.abs(density[box]).sum() for box in boxes) == pytest.approx(np.abs(density).sum())
