"""Every mistake gives one error that says what is wrong and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fercore.errors import ModelOutputError
from fercore.shapley import DnCShap


def means(x):
    """A model of three classes: the channel means."""
    return x.mean((2, 3)).expand(-1, 3) if x.shape[1] == 1 else x.mean((2, 3))


X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def explain(images=X, targets=None, channels=None, model=means, **settings):
    return DnCShap(model, **{"depth": 2, **settings}).attribute(images, targets, channels)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"contexts": "none"}, "'absent', 'present', 'both', 'exact'"),
        ({"contexts": 3}, "power of two"),
        ({"output": "softmax"}, "'probability', 'logit' or a callable"),
        ({"share": "area"}, "'pixels', 'half'"),
        ({"tree": "squares"}, "'longest', 'alternate'"),
        ({"tree": np.zeros((8, 8))}, "label image: an integer array"),
        ({"tree": None}, "label image: an integer array"),
        ({"precision": "double"}, "'bfloat16', 'float16', or None"),
        ({"depth": -1}, "depth"),
        ({"depth": 2.5}, "depth"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "large"}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
    ],
)
def test_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        DnCShap(means, **settings)


def test_model_must_be_callable():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        DnCShap("model.pt")


def test_depth_too_deep():
    with pytest.raises(
        ValueError, match=r"depth=7 is too deep for an image of 8 x 8.*depth=6 \(64 regions\)"
    ):
        explain(depth=7)


def test_trees_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shape \(8, 7\), the images have 8 x 8 pixels"):
        explain(tree=np.zeros((8, 7), dtype=int), depth=None)
    with pytest.raises(ValueError, match=r"depth=4 .*'quadtree'.*depth=3 \(64 regions\)"):
        explain(tree="quadtree", depth=4)


@pytest.mark.parametrize(
    ("images", "channels", "words"),
    [
        (torch.zeros(0, 3, 8, 8), None, "nothing to explain"),
        (np.zeros((0, 8, 8, 3)), None, "nothing to explain"),
        (torch.zeros(8, 8), None, "channel axis"),
        (torch.zeros(1, 1, 3, 8, 8), None, "3 axes"),
        (torch.zeros(2, 8, 8, 3), None, "channels='last'"),
        (np.zeros((2, 3, 8, 8)), None, "channels='first'"),
        (np.zeros((2, 3, 8, 8)), "last", "channels='first'"),
        (torch.zeros(2, 5, 8, 8), None, "5 channels.*channels='first' to confirm"),
        (X, "middle", "'first' or 'last'"),
    ],
)
def test_images(images, channels, words):
    with pytest.raises(ValueError, match=words):
        explain(images, channels=channels)


def test_images_must_be_tensors_or_arrays():
    with pytest.raises(TypeError, match="list"):
        explain([[0.0]])


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        ([], ValueError, "nothing to explain: the list of images is empty"),
        ([X[0], X[1, :, :4]], ValueError, r"image 0 has \(3, 8, 8\), image 1 has \(3, 4, 8\)"),
        ([X[0], X[1].numpy()], TypeError, "a Tensor and a ndarray"),
        ([X, X], ValueError, r"3 axes .*, not shape \(2, 3, 8, 8\)"),
        ([X[0, 0]], ValueError, r"3 axes .*, not shape \(8, 8\)"),
        (["face.png"], TypeError, "not a list of str"),
        ("face.png", TypeError, "not str"),
    ],
)
def test_lists_of_images_that_make_no_batch(images, error, words):
    with pytest.raises(error, match=words):
        explain(images)


def test_lists_of_images():
    expected = explain(targets="all")
    channels_last = X.permute(0, 2, 3, 1).numpy()
    for images in (list(X), tuple(X), list(channels_last)):
        result = explain(images, targets="all")
        assert result.region_scores == pytest.approx(expected.region_scores, abs=1e-7)
        assert (result.data == expected.data).all()


def test_several_classes_per_image():
    everything = explain(targets="all").region_scores
    for targets, classes in (
        ([[2, 0], [1, 1]], [[2, 0], [1, 1]]),  # a class may come twice
        ([[2, 0]], [[2, 0], [2, 0]]),
        (np.array([[1], [2]], dtype=np.uint8), [[1], [2]]),
        (torch.tensor([[0, 1, 2]]), [[0, 1, 2]] * 2),
    ):
        result = explain(targets=targets)
        assert result.classes.tolist() == classes
        expected = np.stack([everything[i][:, chosen] for i, chosen in enumerate(classes)])
        assert result.region_scores == pytest.approx(expected, abs=1e-12)


def test_unusual_channels_can_be_confirmed():
    result = explain(torch.rand(1, 5, 8, 8), channels="first")
    assert result.pixel_map().shape == (1, 8, 8, 5, 1)


@pytest.mark.parametrize(
    ("targets", "error", "words"),
    [
        ([0], ValueError, "one class per image: 2"),
        ([0, 1, 2], ValueError, "one class per image: 2"),
        ([[[0, 1]]], ValueError, r"one class per image: 2, or K classes per image: \(2, K\) or \(1, K\)"),
        ([[0, 1]] * 3, ValueError, r"its shape is \(3, 2\)"),
        ([[0, 1], [2, 3]], ValueError, "Target 3 is out of range"),
        ([[-1, 1]], ValueError, "Target -1 is out of range"),
        ([], ValueError, "targets is empty"),
        (np.zeros((2, 0), dtype=int), ValueError, r"targets is empty \(shape \(2, 0\)\)"),
        ([[0.5, 1]], TypeError, "integers"),
        (3, ValueError, "Target 3 is out of range: the model has classes 0 to 2"),
        ([0, -1], ValueError, "Target -1 is out of range"),
        ("every", ValueError, "'all'"),
        (1.0, TypeError, "integers"),
        (True, TypeError, "integers"),
        ([0.5, 1.5], TypeError, "integers"),
    ],
)
def test_targets(targets, error, words):
    with pytest.raises(error, match=words):
        explain(targets=targets)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("grey", "Unknown baseline 'grey'.*'zero', 'mean', 'blur', 'inpaint'"),
        (np.zeros((8, 8, 3)), r"\(8, 8, 3\) does not fit images of shape \(N, C, H, W\) = \(2, 3, 8, 8\)"),
        (np.zeros(3), "does not fit"),
        (np.zeros((3, 3, 8, 8)), "does not fit"),
        (float("nan"), "NaN"),
    ],
)
def test_baselines(baseline, words):
    with pytest.raises(ValueError, match=words):
        explain(baseline=baseline)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_model_that_returns_nan(bad):
    with pytest.raises(ModelOutputError, match=r"4 of 4 rows.*Check"):
        explain(model=lambda x: means(x) + bad)


def test_nan_in_some_rows_only():
    def model(x):
        return torch.where(x[:, :1, -1, -1] == 0, torch.nan, means(x))  # NaN where the last pixel is hidden

    with pytest.raises(ModelOutputError, match="2 of 4 rows"):
        explain(model=model, baseline="zero")


def test_nan_while_weights_are_bad():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with torch.no_grad():
        net[1].weight[0, 0] = torch.nan
    with pytest.raises(ModelOutputError, match="weights"):
        explain(model=net)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x.mean((1, 2, 3)), r"shape \(4,\) for 4 rows"),
        (lambda x: means(x)[:1], r"expected \(4, classes\)"),
        (lambda x: x, "expected"),
        (lambda x: (means(x), None), "tuple"),
        (lambda x: means(x)[:, :1], "softmax is always 1"),
    ],
)
def test_model_of_the_wrong_shape(model, words):
    with pytest.raises(ModelOutputError, match=words):
        explain(model=model)


def test_output_callable_of_the_wrong_shape():
    with pytest.raises(ModelOutputError, match="output callable"):
        explain(output=lambda out: out[:, 0])


def test_class_names_must_fit():
    with pytest.raises(ValueError, match="2 names; the model has 3 classes"):
        explain(class_names=["a", "b"])
    assert explain(class_names=["a", "b", "c"], targets=[2, 0]).output_names.tolist() == [["c"], ["a"]]


def test_device_must_be_the_models_own():
    with pytest.raises(ValueError, match=r"model\.to\('meta'\)"):
        explain(model=nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), device="meta")


def test_region_map_of_a_level_that_is_not_there():
    with pytest.raises(ValueError, match="levels 0 to 2"):
        explain().region_map(3)
