"""The as-published variants compute what is known about them: closed form, rank, sums, evaluations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fercore.shapley import PaperDnCShap, ReleasedDnCShap

VARIANTS = [PaperDnCShap, ReleasedDnCShap]


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(96, 5),
        ]
        net = nn.Sequential(*layers).double().eval()
        net[-1].weight.data.mul_(8)  # a network with an opinion
        return net.requires_grad_(False)


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 32, 32)))


def probability(network, masked, target):
    return network(masked).softmax(1)[0, target].item()


def strips(network, image, target, axis, start, end):
    """f of the whole image before and after the middle of [start, end) along an axis; the rest black."""
    middle = (start + end) // 2
    first, second = image.clone(), image.clone()
    first.narrow(axis, middle, image.shape[axis] - middle).zero_()
    second.narrow(axis, 0, middle).zero_()
    return middle, probability(network, first, target), probability(network, second, target)


def profile(network, image, target, axis, cuts):
    """Σ ±Δ over the cuts along one axis, for each row (axis 2) or column (axis 3) of pixels."""
    result = np.zeros(image.shape[axis])
    intervals = [(0, image.shape[axis])]
    for _ in range(cuts):
        halves = []
        for start, end in intervals:
            middle, first, second = strips(network, image, target, axis, start, end)
            result[start:middle] += first - second
            result[middle:end] -= first - second
            halves += [(start, middle), (middle, end)]
        intervals = halves
    return result


@pytest.mark.parametrize("times", range(1, 8))
def test_closed_form_of_the_paper(network, image, times):
    result = PaperDnCShap(network, times).attribute(image, 2)
    gap = probability(network, image, 2) - probability(network, torch.zeros_like(image), 2)
    rows = profile(network, image, 2, 2, (times + 1) // 2)
    columns = profile(network, image, 2, 3, times // 2)
    expected = (gap + rows[:, None] + columns[None]) / (2 if times == 1 else 4)
    assert result.region_map()[0, :, :, 0] == pytest.approx(expected, abs=1e-14)


def walk(network, image, target, times, released):
    """The recursion written out, one call at a time, on a 2-D map; also counts model calls."""
    value, calls = np.zeros(image.shape[2:]), 0

    def recurse(level, box, pred_b, pred_f, score):
        nonlocal calls
        if level == times:
            value[box[0] : box[1], box[2] : box[3]] = score
            return
        axis = level % 2
        middle, pred_1, pred_2 = strips(network, image, target, 2 + axis, *box[2 * axis : 2 * axis + 2])
        calls += 2
        scale = 2 if level == 0 else 4
        score_1 = ((pred_1 - pred_b) + (pred_f - pred_2)) / scale
        wrong = pred_2 if released and level else pred_1
        score_2 = ((pred_2 - pred_b) + (pred_f - wrong)) / scale
        first, second = list(box), list(box)
        first[2 * axis + 1] = second[2 * axis] = middle
        recurse(level + 1, first, pred_b + pred_2, pred_1 + pred_f, score_1)
        recurse(level + 1, second, pred_b + pred_1, pred_2 + pred_f, score_2)

    pred_b, pred_f = (
        probability(network, torch.zeros_like(image), target),
        probability(network, image, target),
    )
    calls += 2
    recurse(0, [0, image.shape[2], 0, image.shape[3]], pred_b, pred_f, 0.0)
    return value, calls


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("times", "size"), [(1, (8, 8)), (2, (8, 8)), (3, (9, 7)), (5, (11, 13)), (6, (16, 16))]
)
def test_recursion_step_by_step(network, variant, times, size):
    x = torch.from_numpy(np.random.default_rng(5).random((1, 3, *size)))
    expected, calls = walk(network, x, 1, times, variant is ReleasedDnCShap)
    result = variant(network, times).attribute(x, 1)
    assert result.pixel_map()[0, :, :, 0, 0] == pytest.approx(expected, abs=1e-13)
    assert result.calls == calls == 2 ** (times + 1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("times", "distinct", "calls"), [(9, 94, 1024), (3, 10, 16), (1, 4, 4)])
def test_evaluations(network, image, variant, times, distinct, calls):
    rows = []
    handle = network.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    result = variant(network, times).attribute(image)
    handle.remove()
    assert result.evaluations.tolist() == [distinct] == [sum(rows)]
    assert result.calls == calls


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("times", [2, 4, 7, 9])
def test_rank_is_at_most_two(network, image, variant, times):
    values = variant(network, times).attribute(image, 0).region_map()[0, :, :, 0]
    singular = np.linalg.svd(values, compute_uv=False)
    assert singular[2] < 1e-12 * singular[0]
    additive = values.mean(0, keepdims=True) + values.mean(1, keepdims=True) - values.mean()
    assert values == pytest.approx(additive, abs=1e-12)


def sums(variant, network, image):
    """Σ over the cells / (f(x) - f(0)) for times = 1 ... 9."""
    results = [variant(network, times).attribute(image, 3) for times in range(1, 10)]
    return [(r.region_scores.sum(axis=1) / (r.predictions - r.base_values)).item() for r in results]


def test_sums_of_the_paper_double(network, image):
    assert sums(PaperDnCShap, network, image) == pytest.approx([1, 1, 2, 4, 8, 16, 32, 64, 128])


def test_released_code_is_not_efficient(network, image):
    ratios = sums(ReleasedDnCShap, network, image)
    assert ratios[0] == pytest.approx(1)
    assert np.abs(np.array(ratios[1:]) - 1).min() > 0.02
    assert ReleasedDnCShap(network, 2).attribute(image, 3).efficiency_gap > 1e-3
    assert PaperDnCShap(network, 2).attribute(image, 3).efficiency_gap < 1e-14


def test_second_part_of_the_released_code_is_blind(network, image):
    scores = ReleasedDnCShap(network, 4).attribute(image, 0).levels
    changed = image.clone()
    changed[..., 24:, :] = 0.5  # only the last of four row bands
    assert scores[0] != pytest.approx(ReleasedDnCShap(network, 4).attribute(changed, 0).levels[0])
    # Of the last cut (columns), the second cells of each pair share one value per column cut above them.
    last = scores[-1].reshape(-1, 2)[:, 1]
    passed_on = PaperDnCShap(network, 4).attribute(image, 0).levels[-1].reshape(-1, 2).mean(axis=1)
    assert last == pytest.approx(passed_on, abs=1e-14)


def test_map_is_not_a_density(network, image):
    result = PaperDnCShap(network, 3).attribute(image, "all")
    assert result.map_kind == "score"
    assert result.pixel_map().shape == (1, 32, 32, 1, 5)
    assert (result.pixel_map()[..., 0, :] == result.region_map()).all()


def test_several_images(network):
    x = torch.from_numpy(np.random.default_rng(2).random((3, 3, 16, 16)))
    together = PaperDnCShap(network, 4).attribute(x).region_scores
    for i in range(3):
        assert PaperDnCShap(network, 4).attribute(x[i]).region_scores[0] == pytest.approx(
            together[i], abs=1e-14
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors(network, image, variant):
    with pytest.raises(ValueError, match="times"):
        variant(network, 0)
    with pytest.raises(ValueError, match="too deep"):
        variant(network, 11).attribute(image)
