"""What chapters 3 to 5 of the course stand on: the stepper's scores, how the published recursion is mended, figures."""

from __future__ import annotations

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import brightness_faces
from ferlab import interactive
from ferlab.figures import course as figures
from ferlab.studies import course
from shapley_games import network, pictures
from torch import nn

from fercore.emotions import Emotion
from fercore.errors import FercoreError
from fercore.shapley import DnCShap, PaperDnCShap, build_tree

mpl.use("Agg")


class Brightness(nn.Module):
    """A network that is sure of the class that an image's brightness names."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        said = (255 * images.mean((1, 2, 3)) - 7.5) / 34
        return -self.scale * (said[:, None] - torch.arange(7)) ** 2


def test_the_example_is_a_test_face_that_the_network_is_sure_of():
    toy = brightness_faces()
    index = course.example(toy, Brightness(9.0), Emotion.SAD)
    assert toy.labels[index] == Emotion.SAD
    assert course.as_input(toy, index).shape == (1, 3, 32, 32)
    with pytest.raises(FercoreError, match=r"No sad face .* of Toy is recognised"):
        course.example(toy, Brightness(0.1), Emotion.SAD)


@pytest.fixture(scope="module")
def stepped():
    """Five levels of a random image of 16 x 12 pixels, which alternate halving cuts into odd sides."""
    net, image = network(), pictures(1, 3, 16, 12)
    return net, image, course.stepper_rules(net, image, target=1, depth=5)


def test_every_level_is_what_a_tree_of_that_depth_gives_and_keeps_the_sum(stepped):
    net, image, rules = stepped
    gain = rules["both"][0][0].sum()
    for level in range(6):
        about = {"depth": max(level, 1), "tree": "alternate", "share": "half"}
        found = {name: DnCShap(net, contexts=name, **about) for name in ("absent", "both")}
        found[course.PUBLISHED] = PaperDnCShap(net, times=max(level, 1))
        for name, explainer in found.items():
            scores, evaluations = rules[name][0][level], rules[name][1][level]
            doubled = 2 ** max(level - 2, 0) if name == course.PUBLISHED else 1
            assert scores.sum() == pytest.approx(doubled * gain, abs=1e-12)
            if level:
                result = explainer.attribute(image, 1)
                np.testing.assert_allclose(scores, result.region_scores[0, :, 0], rtol=0, atol=1e-12)
                assert evaluations == result.evaluations[0], (name, level)
            else:
                assert evaluations == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_kept_faces_come_back_from_a_small_record(stepped, channels):
    image = np.random.default_rng(0).integers(0, 256, (16, 12, channels)).astype(np.uint8)
    name, back, again = course.restore(json.loads(json.dumps(course.keep("One", image, stepped[2]))))
    assert name == "One"
    np.testing.assert_array_equal(back, image[..., 0] if channels == 1 else image)
    for rule, (scores, evaluations) in stepped[2].items():
        assert again[rule][1] == evaluations
        for old, new in zip(scores, again[rule][0], strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-3)
    assert "One" in interactive.stepper([interactive.stepper_face(name, back, again)])


def test_boxes_and_means_mend_the_published_recursion():
    """Chapter 5: with boxes for strips and means for sums it is the fixed context "absent" with equal shares."""
    net, image, leaves = network(), pictures(1, 3, 16, 16), []

    def worth(rows, columns):
        masked = torch.zeros_like(image)
        masked[..., rows, columns] = image[..., rows, columns]
        return net(masked).softmax(1)[0, 1].item()

    def recurse(times, axis, box, pred_b, pred_f):
        if times == 0:
            leaves.append(pred_f - pred_b)
            return
        middle = (box[axis].start + box[axis].stop) // 2
        halves = slice(box[axis].start, middle), slice(middle, box[axis].stop)
        parts = [(half, box[1]) if axis == 0 else (box[0], half) for half in halves]
        pred_1, pred_2 = (worth(*part) for part in parts)
        recurse(times - 1, 1 - axis, parts[0], (pred_b + pred_2) / 2, (pred_1 + pred_f) / 2)
        recurse(times - 1, 1 - axis, parts[1], (pred_b + pred_1) / 2, (pred_2 + pred_f) / 2)

    whole, nothing = (slice(0, 16), slice(0, 16)), (slice(0, 0), slice(0, 0))
    recurse(5, 0, whole, worth(*nothing), worth(*whole))
    settings = {"depth": 5, "tree": "alternate", "contexts": "absent", "share": "half"}
    mended = DnCShap(net, **settings).attribute(image, 1)
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


def test_figures_show_what_they_were_given():
    n, counted = [4, 8, 16], {"linear": [8, 16, 32], "quadratic": [16, 64, 256], "two": [1, 2, None]}
    table = pd.DataFrame(counted, index=n).astype("Int64")
    assert figures.slopes(table).to_dict() == pytest.approx({"linear": 1, "quadratic": 2, "two": 1})
    drawn = [list(map(float, line.get_ydata())) for line in figures.costs(table).axes[0].lines]
    assert drawn == [[8, 16, 32], [16, 64, 256], [1, 2]]
    image, mask = np.full((4, 4, 3), 200, np.uint8), np.arange(16).reshape(4, 4) < 8
    shown = figures.coalitions(image, {"top": mask}, {"top": 0.25}).axes[0].images[0].get_array()
    assert ((shown[:2] == 200).all(), (shown[2:] == 0).all()) == (True, True)
    labels = build_tree(8, 8, 2, "alternate").labels()
    figure = figures.region_values(np.zeros((8, 8, 1), np.uint8), labels, {"x": [0.1, -0.2, 0.3, 0.4]})
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert texts == {"0.100": (1.5, 1.5), "-0.200": (5.5, 1.5), "0.300": (1.5, 5.5), "0.400": (5.5, 5.5)}
    scores = {"2": np.eye(4), "4": 9 * np.eye(4)}
    figure = figures.by_level(image, scores, {name: values / 4 for name, values in scores.items()})
    limits = [axes.images[1].get_clim()[1] for axes in figure.axes[:4]]
    assert limits[0] == limits[1] == pytest.approx(4 * limits[2])  # one scale per row
    assert limits[2] == limits[3]
