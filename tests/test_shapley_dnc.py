"""DnCShap at the door: images and classes as users have them, results and maps, levels, progress, no side effects."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from shapley_games import EVERY, network, pictures
from torch import nn

from fercore.shapley import DnCShap

X = pictures(2, 3, 9, 7)


def explain(images=X, targets="all", channels=None, net=None, **settings):
    return DnCShap(net or network(), **{"depth": 3, **settings}).attribute(images, targets, channels)


# --- images


def test_layouts_agree():
    expected, nhwc = explain(), X.permute(0, 2, 3, 1)
    layouts = [(nhwc.numpy(), None), (nhwc, "last"), (X.numpy(), "first"), (X, "first"), (list(X), None)]
    for images, channels in [*layouts, (tuple(X), None), (list(nhwc.numpy()), None)]:
        result = explain(images, channels=channels)
        assert result.pixel_map() == pytest.approx(expected.pixel_map(), abs=1e-14)
        assert (result.data == nhwc.numpy()).all()
    assert explain(X[0]).region_scores == pytest.approx(expected.region_scores[:1], abs=1e-14)


def test_channels_and_types():
    colour = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), network(1)).double().eval()
    with torch.no_grad():
        colour[0].weight.fill_(1 / 3)  # the mean of three equal channels is the grey image
    grey = explain(X[:, :1], net=network(1))
    assert grey.pixel_map().shape == (2, 9, 7, 1, 4)
    three = explain(X[:, :1].expand(2, 3, 9, 7), net=colour)
    assert three.region_scores == pytest.approx(grey.region_scores, abs=1e-14)
    five = explain(pictures(1, 5, 8, 8), channels="first", net=network(5))  # unusual, but said to be right
    assert five.pixel_map().shape == (1, 8, 8, 5, 4)
    assert explain((X * 255).to(torch.uint8)).data.dtype == np.uint8
    for dtype in (torch.float16, torch.bfloat16):
        assert explain(X.to(dtype)).region_scores == pytest.approx(explain().region_scores, abs=2e-3)
    single = explain(net=network().float()).region_scores
    assert single.dtype == np.float64
    assert single == pytest.approx(explain().region_scores, abs=1e-6)


# --- classes and outputs


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        (3, [[3], [3]]),
        ([2, 0], [[2], [0]]),
        ([[2, 0], [1, 1]], [[2, 0], [1, 1]]),  # a class may come twice
        ([[2, 0]], [[2, 0], [2, 0]]),
        (np.array([[1], [2]], dtype=np.uint8), [[1], [2]]),
        (None, None),
    ],
)
def test_classes(targets, classes):
    everything, result = explain(contexts="both"), explain(targets=targets, contexts="both")
    classes = everything.predictions.argmax(axis=1)[:, None].tolist() if classes is None else classes
    assert everything.classes.tolist() == [[0, 1, 2, 3]] * 2
    assert result.classes.tolist() == classes
    assert (result.evaluations == everything.evaluations).all()  # all classes cost no more than one
    expected = np.stack([everything.region_scores[i][:, chosen] for i, chosen in enumerate(classes)])
    assert result.region_scores == pytest.approx(expected, abs=1e-12)
    named = np.array(["a", "b", "c", "d"])[classes]
    shared = (named == named[0]).all()
    result = explain(targets=targets, contexts="both", class_names=["a", "b", "c", "d"])
    assert result.output_names.tolist() == (named[0] if shared else named).tolist()


def test_outputs():
    logit = explain(output="logit", contexts="exact")
    assert logit.predictions == pytest.approx(network()(X).detach().numpy())
    own = explain(output=lambda out: out.softmax(dim=1), contexts="exact").region_scores
    assert own == pytest.approx(explain(contexts="exact").region_scores, abs=1e-15)
    margin = explain(output=lambda out: out[:, :1] - out[:, 1:2], contexts="exact").region_scores
    assert margin[..., 0] == pytest.approx(logit.region_scores @ [1, -1, 0, 0], abs=1e-14)


# --- results


@pytest.mark.parametrize("contexts", ["adaptive", "both", 2])
def test_maps(contexts):
    result = explain(depth=5, contexts=contexts)
    labels = result.tree.labels()
    pixels, leaf = np.bincount(labels.ravel()), labels[2, 5]
    assert result.region_map()[1, 2, 5] == pytest.approx(result.region_scores[1, leaf])
    assert result.region_map(0)[1, 2, 5] == pytest.approx(result.levels[0][1, 0])
    assert result.pixel_map()[1, 2, 5, 0] == pytest.approx(result.region_scores[1, leaf] / pixels[leaf] / 3)
    if contexts == "both":
        assert result.error_map() is None
    else:
        errors = result.error_map()
        assert errors.shape == result.pixel_map().shape == (2, 9, 7, 3, 4)
        assert errors[1, 2, 5, 0] == pytest.approx(result.standard_errors[1, leaf] / pixels[leaf] / 3)
    with pytest.raises(ValueError, match="levels 0 to 5"):
        result.region_map(6)


@pytest.mark.parametrize("contexts", EVERY)
def test_levels_come_coarse_to_fine(contexts):
    rows, net = [], network()
    net.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    maps = DnCShap(net, contexts=contexts, depth=4).levels(X[:1])
    found = [(regions, sum(rows)) for regions in maps]
    result = explain(X[:1], None, depth=4, contexts=contexts)
    for level, (regions, _) in enumerate(found):
        assert regions == pytest.approx(result.region_map(level), abs=1e-15)
    spent = [count for _, count in found]
    assert sorted(set(spent)) == spent or contexts == "adaptive"  # evaluated when they are asked for
    assert spent[:2] == [2, 4] or contexts == "adaptive"  # the two ends, the two halves


# --- side effects


def test_no_random_state_is_touched():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for contexts in EVERY:
        x = X.clone().requires_grad_()
        first, second, other = (
            explain(x, contexts=contexts, depth=5, seed=s).region_scores for s in (7, 7, 8)
        )
        assert (first == second).all()
        assert (first != other).any() == (contexts in (2, 4))
        assert x.grad is None
    assert (torch.get_rng_state() == states[0]).all()
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_progress_bar(capsys):
    explain(contexts="both", progress=True)
    assert "56/56" in capsys.readouterr().err  # 2 images, 4 * 8 - 4 evaluations each
    explainer = DnCShap(network(), depth=4, evaluations=50, progress=True)
    result = explainer.attribute(X)
    assert "100/100" in capsys.readouterr().err
    explainer.refine(result, 20)
    assert "40/40" in capsys.readouterr().err
    explain()
    assert capsys.readouterr().err == ""


def test_shap_is_imported_late(monkeypatch):
    code = "import sys, fercore.shapley; assert not {'shap', 'tqdm.auto', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "shap", None)
    assert explain().pixel_map().shape == (2, 9, 7, 3, 4)
    with pytest.raises(ImportError, match=r"fercore\[shap\].*attribute"):
        DnCShap(network(), depth=2)(X)
