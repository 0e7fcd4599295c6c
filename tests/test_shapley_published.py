"""The as-published variants compute what is known about them: closed form, rank, sums, evaluations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shapley_games import network, pictures

from fercore.shapley import PaperDnCShap, ReleasedDnCShap

VARIANTS = [PaperDnCShap, ReleasedDnCShap]
NET = network(classes=5, seed=1, gain=8.0)  # a network with an opinion
IMAGE = pictures(1, 3, 32, 32)


def probability(masked, target):
    with torch.inference_mode():
        return NET(masked).softmax(1)[0, target].item()


def strips(image, target, axis, start, end):
    """f of the whole image before and after the middle of [start, end) along an axis; the rest black."""
    middle = (start + end) // 2
    first, second = image.clone(), image.clone()
    first.narrow(axis, middle, image.shape[axis] - middle).zero_()
    second.narrow(axis, 0, middle).zero_()
    return middle, probability(first, target), probability(second, target)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("times", [1, 2, 3, 9])
def test_maps_are_a_row_profile_plus_a_column_profile(variant, times):
    """Of rank 2 at most, so they cannot localise an eye; and the sums of the printed one double."""
    result = variant(NET, times).attribute(IMAGE, 2)
    values = result.region_map()[0, :, :, 0]
    gap = probability(IMAGE, 2) - probability(torch.zeros_like(IMAGE), 2)
    additive = values.mean(0, keepdims=True) + values.mean(1, keepdims=True) - values.mean()
    assert values == pytest.approx(additive, abs=1e-12)
    ratio = result.region_scores.sum() / gap
    if variant is PaperDnCShap:
        assert ratio == pytest.approx(2 ** max(0, times - 2))
    else:
        assert (abs(ratio - 1) < 1e-12) == (times == 1)


def walk(image, target, times, released):
    """The recursion written out, one call at a time, on a 2-D map; also counts model calls."""
    value, calls = np.zeros(image.shape[2:]), 0

    def recurse(level, box, pred_b, pred_f, score):
        nonlocal calls
        if level == times:
            value[box[0] : box[1], box[2] : box[3]] = score
            return
        axis = level % 2
        middle, pred_1, pred_2 = strips(image, target, 2 + axis, *box[2 * axis : 2 * axis + 2])
        calls += 2
        scale = 2 if level == 0 else 4
        score_1 = ((pred_1 - pred_b) + (pred_f - pred_2)) / scale
        wrong = pred_2 if released and level else pred_1
        score_2 = ((pred_2 - pred_b) + (pred_f - wrong)) / scale
        first, second = list(box), list(box)
        first[2 * axis + 1] = second[2 * axis] = middle
        recurse(level + 1, first, pred_b + pred_2, pred_1 + pred_f, score_1)
        recurse(level + 1, second, pred_b + pred_1, pred_2 + pred_f, score_2)

    ends = probability(torch.zeros_like(image), target), probability(image, target)
    recurse(0, [0, image.shape[2], 0, image.shape[3]], *ends, 0.0)
    return value, calls + 2


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("times", "size"), [(1, (8, 8)), (2, (8, 8)), (5, (11, 13)), (6, (16, 16))])
def test_recursion_step_by_step(variant, times, size):
    x = pictures(3, 3, *size, seed=5)
    result = variant(NET, times).attribute(x, 1)
    for i in range(3):
        expected, calls = walk(x[i : i + 1], 1, times, variant is ReleasedDnCShap)
        assert result.pixel_map()[i, :, :, 0, 0] == pytest.approx(expected, abs=1e-13)
        assert result.calls == calls == 2 ** (times + 1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("times", "distinct", "calls"), [(9, 94, 1024), (3, 10, 16), (1, 4, 4)])
def test_evaluations(variant, times, distinct, calls):
    rows = []
    handle = NET.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    result = variant(NET, times).attribute(IMAGE, "all")
    handle.remove()
    assert result.evaluations.tolist() == [distinct] == [sum(rows)]
    assert result.calls == calls
    assert result.map_kind == "score"
    assert (result.pixel_map()[..., 0, :] == result.region_map()).all()  # not a density
    assert [maps.shape for maps in variant(NET, times).levels(IMAGE)] == [(1, 32, 32, 1)] * (times + 1)


def test_second_part_of_the_released_code_is_blind():
    """Of the last cut (columns), the second cells of each pair share one value per column cut above them."""
    last = ReleasedDnCShap(NET, 4).attribute(IMAGE, 0).levels[-1].reshape(-1, 2)[:, 1]
    passed_on = PaperDnCShap(NET, 4).attribute(IMAGE, 0).levels[-1].reshape(-1, 2).mean(axis=1)
    assert last == pytest.approx(passed_on, abs=1e-14)


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors(variant):
    with pytest.raises(ValueError, match="times"):
        variant(NET, 0)
    with pytest.raises(ValueError, match="too deep"):
        variant(NET, 11).attribute(IMAGE)
