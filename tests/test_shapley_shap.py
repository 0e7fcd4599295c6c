"""Agreement with shap.PartitionExplainer on the same tree, and the Explanation that shap draws."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from shapley_games import network

from fercore.shapley import DnCShap, PaperDnCShap

shap = pytest.importorskip("shap")
mpl.use("Agg")

# height, width, channels, depth: square, non-square, odd; down to single pixels on 7 x 5
CASES = [(16, 16, 3, 4), (12, 10, 1, 5), (9, 13, 3, 4), (7, 5, 3, 4)]


def nodes_at(clustering, depth):
    """The numbers of shap's nodes at a depth; the root is the last row, and leaves have no row."""
    leaves = len(clustering) + 1
    level = [2 * leaves - 2]
    for _ in range(depth):
        level = [int(child) for node in level if node >= leaves for child in clustering[node - leaves, :2]]
    return level


def partition_explainer(net, images, baseline, depth, fixed_context, max_evals=10**9):
    """shap's values (N, H, W, C, K) on regions of depth ``depth``, and the rows it evaluated per image."""
    rows = []

    def f(nhwc):
        rows.append(len(nhwc))
        with torch.inference_mode():
            return net(torch.from_numpy(np.ascontiguousarray(nhwc)).permute(0, 3, 1, 2)).softmax(1).numpy()

    masker = shap.maskers.Image(baseline, images.shape[1:])
    masker.clustering[:, 2] = 0.0
    leaves = len(masker.clustering) + 1
    last = [node - leaves for node in nodes_at(masker.clustering, depth) if node >= leaves]
    masker.clustering[last, 2] = -1.0  # a negative distance: PartitionExplainer does not split them further
    options = {"batch_size": min(max_evals, 256), "silent": True, "fixed_context": fixed_context}
    return shap.PartitionExplainer(f, masker)(images, max_evals=max_evals, **options), sum(rows)


@pytest.mark.parametrize(("contexts", "fixed_context"), [("exact", None), ("absent", 0), ("present", 1)])
@pytest.mark.parametrize(("height", "width", "channels", "depth"), CASES)
def test_agrees_with_partition_explainer(height, width, channels, depth, contexts, fixed_context):
    rng = np.random.default_rng(0)
    images, baseline = rng.random((1, height, width, channels)), rng.random((height, width, channels))
    net = network(channels)
    theirs, rows = partition_explainer(net, images, baseline, depth, fixed_context)
    ours = DnCShap(net, baseline.transpose(2, 0, 1), contexts=contexts, depth=depth)(images, "all")
    assert np.abs(theirs.values).max() > 1e-6
    assert ours.values == pytest.approx(theirs.values, abs=1e-12)
    assert ours.base_values == pytest.approx(theirs.base_values, abs=1e-12)
    assert ours.evaluations[0] == rows


def test_closer_than_partition_explainer_at_the_same_evaluations():
    """Networks sure of themselves, eight evaluations per region; shap splits what has the largest score first."""
    errors = []
    for seed in range(12):
        net, x = network(1, seed=seed, gain=20.0), np.random.default_rng(seed).random((1, 16, 16, 1))
        exact = DnCShap(net, contexts="exact", depth=5)(x, "all").values
        target = int(np.abs(exact).sum(axis=(0, 1, 2, 3)).argmax())
        theirs, rows = partition_explainer(net, x, np.zeros((16, 16, 1)), 5, None, max_evals=256)
        ours = DnCShap(net, depth=5)(x, "all")
        assert rows >= ours.evaluations[0] - 2  # shap stops before it would exceed its budget
        sizes = [np.linalg.norm(v[..., target] - exact[..., target]) for v in (ours.values, theirs.values)]
        errors.append(np.array(sizes) / np.linalg.norm(exact[..., target]))
    ours, theirs = np.mean(errors, axis=0)
    assert ours < theirs


@pytest.mark.parametrize("contexts", ["adaptive", "both"])
@pytest.mark.parametrize("targets", [None, 1, "all"])
def test_explanation_carries_what_its_docs_say(contexts, targets):
    x = np.random.default_rng(0).random((2, 12, 10, 3))
    explainer = DnCShap(network(3), depth=3, contexts=contexts, class_names=["a", "b", "c", "d"])
    explanation, result = explainer(x, targets), explainer.attribute(x, targets)
    assert isinstance(explanation, shap.Explanation)
    names = ["base_values", "data", "standard_errors", "evaluations", "efficiency_gap", "map_kind", "calls"]
    for name in names:
        assert np.array_equal(getattr(explanation, name), getattr(result, name))
    assert (explanation.values == result.pixel_map()).all()
    assert (np.asarray(explanation.output_names) == result.output_names).all()
    assert (explanation.hierarchical_values[:, explanation.tree.nodes(2)] == explanation.levels[2]).all()
    assert explanation.compute_time > 0
    for i in (1, (..., 0)):  # shap slices them together
        assert (explanation[i].values == explanation.values[i]).all()
        if contexts == "both":
            assert explanation.error_std is None
        else:
            assert (explanation[i].error_std == result.error_map()[i]).all()


@pytest.mark.parametrize("explainer", [DnCShap(network(3), depth=4), PaperDnCShap(network(3), times=4)])
@pytest.mark.parametrize("targets", [None, "all", [2, 0]])
def test_image_plot_draws_it(explainer, targets):
    import matplotlib.pyplot as plt

    x = np.random.default_rng(0).random((2, 16, 12, 3))
    explanation = explainer(x, targets)
    shap.image_plot(explanation, show=False)
    figure = plt.gcf()
    assert len(figure.axes) >= 2 * (1 + (4 if targets == "all" else 1))
    drawn = np.asarray(figure.axes[1].images[-1].get_array())
    assert drawn == pytest.approx(explanation.values[0, ..., 0].sum(axis=-1))
    if targets == [2, 0]:
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["2", "0"]
        assert list(explanation[1].output_names) == ["0"]
    plt.close(figure)
