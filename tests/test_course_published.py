"""What chapter 5 of the course says of the published recursion: how it is mended, and whom it pays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fercore.shapley import DnCShap, PaperDnCShap


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
