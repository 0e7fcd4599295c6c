"""At the public door every mistake gives one error that says what is wrong and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shapley_games import means
from torch import nn

from fercore.errors import ModelOutputError
from fercore.shapley import Background, Blur, DnCShap, Inpaint

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()


def explain(images=X, targets=None, channels=None, model=means, **settings):
    return DnCShap(model, **{"depth": 2, **settings}).attribute(images, targets, channels)


REFUSED = [  # before there is an image
    (DnCShap, {"model": "model.pt"}, r"torch\.nn\.Module"),
    (DnCShap, {"contexts": "none"}, "'absent', 'present', 'both', 'exact' or a number"),
    *((DnCShap, {"contexts": k}, "power of two from 2 on") for k in (1, 3, 4.0, True, None)),
    *((DnCShap, {"evaluations": m}, "whole number") for m in (1, 100.0, True)),
    (DnCShap, {"evaluations": 100, "contexts": "both"}, "budget of contexts='adaptive'"),
    (DnCShap, {"output": "softmax"}, "'probability', 'logit' or a callable"),
    (DnCShap, {"share": "area"}, "'pixels' or 'half'"),
    (DnCShap, {"tree": "squares"}, "'longest', 'alternate', 'quadtree', or a label image"),
    *((DnCShap, {"tree": tree}, "label image: an integer array") for tree in (np.zeros((8, 8)), None)),
    (DnCShap, {"precision": torch.float16}, "'bfloat16', 'float16', or None"),
    *((DnCShap, {"depth": depth}, "depth is the number of cuts") for depth in (-1, 2.5, True)),
    *((DnCShap, {"batch_size": b}, "batch_size is 'auto' or a whole number") for b in (0, "large", True)),
    *((Blur, {"sigma": sigma}, "sigma") for sigma in (0, float("nan"))),
    (Inpaint, {"method": "patch"}, "'telea' or 'ns'"),
    (Inpaint, {"radius": 0}, "radius"),
    (Background, {"images": []}, "background images cannot be used.*nothing to explain"),
    (Background, {"images": "white"}, "background images cannot be used.*str"),
    (Background, {"images": torch.tensor([0.0, torch.nan]).reshape(2, 1, 1, 1)}, r"image 1 .* \(1 of 2 do\)"),
]


@pytest.mark.parametrize(("kind", "settings", "words"), REFUSED)
def test_settings(kind, settings, words):
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        kind(**({"model": means} if kind is DnCShap else {}) | settings)
    wrong_type = "model" in settings or isinstance(settings.get("images"), str)
    assert caught.type is (TypeError if wrong_type else ValueError)


ARGUMENTS = [
    *(({"images": none}, ValueError, "nothing to explain") for none in (X[:0], [])),
    ({"images": torch.zeros(8, 8)}, ValueError, "channel axis"),
    ({"images": torch.zeros(2, 8, 8, 3)}, ValueError, "channels='last'"),
    *(
        ({"images": np.zeros((2, 3, 8, 8)), "channels": c}, ValueError, "channels='first'")
        for c in (None, "last")
    ),
    ({"images": torch.zeros(2, 5, 8, 8)}, ValueError, "5 channels.*channels='first' to confirm"),
    ({"channels": "middle"}, ValueError, "'first' or 'last'"),
    ({"images": "face.png"}, TypeError, "not str"),
    ({"images": [X[0], X[1].numpy()]}, TypeError, "image 1 is a ndarray"),
    ({"images": [X[0], X[1, :, :4]]}, ValueError, "one shape"),
    *(({"targets": t}, ValueError, "one class per image: 2, or K") for t in ([0], [[[0, 1]]], [[0, 1]] * 3)),
    ({"targets": []}, ValueError, "targets is empty"),
    *(({"targets": t}, ValueError, "out of range: .* 0 to 2") for t in (3, [0, -1], [[0, 1], [2, 3]])),
    *(({"targets": t}, TypeError, "integers") for t in (1.0, True)),
    ({"targets": "every"}, ValueError, "'all', not 'every'"),
    ({"depth": 7}, ValueError, r"depth=7 is too deep for an image of 8 x 8.*depth=6 \(64 regions\)"),
    ({"tree": np.zeros((8, 7), dtype=int), "depth": None}, ValueError, r"shape \(8, 7\), the images 8 x 8"),
    ({"baseline": "grey"}, ValueError, "Unknown baseline 'grey'.*'zero', 'mean', 'blur', 'inpaint'.*Blur"),
    *(({"baseline": np.zeros(shape)}, ValueError, "does not fit") for shape in (3, (8, 8, 3), (3, 3, 8, 8))),
    *(({"baseline": b}, ValueError, "NaN or infinity") for b in (float("nan"), X[0] + torch.inf)),
    *(({"baseline": b}, TypeError, "is no baseline") for b in (None, object())),
    ({"baseline": Background(X[:, :, :4])}, ValueError, r"\(3, 4, 8\) cannot fill in images \(3, 8, 8\)"),
    ({"class_names": ["a", "b"]}, ValueError, "2 names; the model has 3 classes"),
    ({"model": LINEAR, "device": "meta"}, ValueError, r"is on cpu, not on meta.*model\.to\('meta'\)"),
    ({"model": nn.Linear(2, 2, device="meta").eval()}, ValueError, "weights hold no numbers"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), ARGUMENTS)
def test_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        explain(**arguments)


OUTPUTS = [
    *(
        ({"model": lambda x, bad=bad: means(x) + bad}, r"4 of 4 rows.*Check")
        for bad in (torch.nan, -torch.inf)
    ),
    # NaN where the last pixel is hidden
    ({"model": lambda x: torch.where(x[:, :1, -1, -1] == 0, torch.nan, means(x))}, "2 of 4 rows"),
    ({"model": lambda x: x.mean()}, r"shape \(\) for 4 rows"),
    ({"model": lambda x: means(x)[:1]}, r"\(1, 3\) .* expected a tensor \(4, classes\)"),
    ({"model": lambda x: means(x)[:, :0]}, r"shape \(4, 0\)"),
    ({"model": lambda x: (means(x), None)}, "a tuple"),
    ({"model": lambda x: means(x)[:, :1]}, "softmax is always 1"),
    ({"output": lambda out: out[:, 0]}, "output callable returned shape"),
    (
        {"model": lambda x: means(x)[:, : len(x)], "output": "logit", "batch_size": 3},
        "3 classes for one batch and 1 for another",
    ),
]


@pytest.mark.parametrize(("settings", "words"), OUTPUTS)
def test_outputs(settings, words):
    with pytest.raises(ModelOutputError, match=words):
        explain(**settings)
