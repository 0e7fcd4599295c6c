"""What chapters 3 and 4 of the course stand on: the stepper's scores, their storage, the figures."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from ferlab import interactive
from ferlab.figures import course as plots_tree
from ferlab.studies import course
from shapley_games import network, pictures

from fercore.shapley import DnCShap, PaperDnCShap, build_tree

mpl.use("Agg")


@pytest.fixture(scope="module")
def stepped():
    """Five levels of a random image of 16 x 12 pixels, which alternate halving cuts into odd sides."""
    net, image = network(), pictures(1, 3, 16, 12)
    return net, image, course.stepper_rules(net, image, target=1, depth=5)


def test_every_level_is_what_a_tree_of_that_depth_gives(stepped):
    net, image, rules = stepped
    for level in range(1, 6):
        about = {"depth": level, "tree": "alternate", "share": "half"}
        found = {name: DnCShap(net, contexts=name, **about) for name in ("absent", "both")}
        found[course.PUBLISHED] = PaperDnCShap(net, times=level)
        for name, explainer in found.items():
            result = explainer.attribute(image, 1)
            scores, evaluations = rules[name]
            np.testing.assert_allclose(scores[level], result.region_scores[0, :, 0], rtol=0, atol=1e-12)
            assert evaluations[level] == result.evaluations[0], (name, level)


def test_sums_are_efficient_but_for_the_published_rule(stepped):
    _, _, rules = stepped
    gain = rules["both"][0][0].sum()
    for name, (scores, evaluations) in rules.items():
        assert evaluations[0] == 2
        for level, values in enumerate(scores):
            doubled = 2 ** max(level - 2, 0) if name == course.PUBLISHED else 1
            assert values.sum() == pytest.approx(doubled * gain, abs=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_kept_faces_come_back(stepped, channels):
    rules = stepped[2]
    image = np.random.default_rng(0).integers(0, 256, (16, 12, channels)).astype(np.uint8)
    kept = course.keep("One", image, rules)
    text = json.dumps(kept)
    name, back, again = course.restore(json.loads(text))
    assert name == "One"
    np.testing.assert_array_equal(back, image[..., 0] if channels == 1 else image)
    for rule, (scores, evaluations) in rules.items():
        assert again[rule][1] == evaluations
        for old, new in zip(scores, again[rule][0], strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-3)
    assert "One" in interactive.stepper([interactive.stepper_face(name, back, again)])


def test_a_face_of_512_regions_is_a_small_record():
    rng = np.random.default_rng(0)
    rules = {
        name: ([rng.normal(size=2**level) / 2**level for level in range(10)], list(range(10)))
        for name in ("absent", "both", course.PUBLISHED)
    }
    image = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    assert len(json.dumps(course.keep("One", image, rules), indent=2)) < 60_000


def test_slopes_are_those_of_the_last_step():
    n = [4, 8, 16]
    table = pd.DataFrame(
        {"linear": [8, 16, 32], "quadratic": [16, 64, 256], "two points": [1, 2, None]}, index=n
    )
    assert plots_tree.slopes(table).to_dict() == pytest.approx({"linear": 1, "quadratic": 2, "two points": 1})


def test_costs_are_drawn_where_they_were_counted():
    table = pd.DataFrame({"a": [4, 8, 16], "b": [16, 256, None]}, index=[4, 8, 16]).astype("Int64")
    axes = plots_tree.costs(table).axes[0]
    drawn = [list(map(float, line.get_ydata())) for line in axes.lines]
    assert drawn == [[4, 8, 16], [16, 256]]


def test_coalitions_show_the_image_on_the_mask_and_black_elsewhere():
    image = np.full((4, 6, 3), 200, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[:2] = True
    figure = plots_tree.coalitions(image, {"top": mask}, {"top": 0.25})
    shown = figure.axes[0].images[0].get_array()
    assert (shown[:2] == 200).all()
    assert (shown[2:] == 0).all()
    assert figure.axes[0].get_xlabel() == "v = 0.250"


def test_region_values_stand_on_their_regions():
    labels = build_tree(8, 8, 2, "alternate").labels()
    figure = plots_tree.region_values(np.zeros((8, 8, 1), np.uint8), labels, {"x": [0.1, -0.2, 0.3, 0.4]})
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert texts == {"0.100": (1.5, 1.5), "-0.200": (5.5, 1.5), "0.300": (1.5, 5.5), "0.400": (5.5, 5.5)}
    assert len(figure.axes[0].patches) == 4


def test_levels_share_one_scale_per_row():
    rng = np.random.default_rng(0)
    scores = {"2 regions": rng.normal(size=(4, 4)), "4 regions": 9 * rng.normal(size=(4, 4))}
    densities = {title: values / 4 for title, values in scores.items()}
    figure = plots_tree.by_level(np.zeros((4, 4, 3), np.uint8), scores, densities)
    limits = [axes.images[1].get_clim() for axes in figure.axes[:4]]
    assert limits[0] == limits[1]
    assert limits[2] == limits[3]
    assert limits[0][1] == pytest.approx(4 * limits[2][1])
