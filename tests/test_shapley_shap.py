"""Agreement with shap.PartitionExplainer on the same tree, and the Explanation that shap draws."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from shapley_games import network

from fercore.shapley import DnCShap, PaperDnCShap, build_tree

shap = pytest.importorskip("shap")
mpl.use("Agg")

# height, width, channels, depth: square, non-square, odd; down to single pixels on 7 x 5
CASES = [
    (16, 16, 3, 4),
    (16, 16, 1, 5),
    (12, 10, 1, 5),
    (12, 10, 3, 4),
    (9, 13, 3, 4),
    (7, 5, 1, 4),
    (7, 5, 3, 4),
]


def stop_at(clustering, depth):
    """Give the nodes at ``depth`` a negative distance: PartitionExplainer does not split them further."""
    leaves = len(clustering) + 1
    clustering[:, 2] = 0.0
    level = [2 * leaves - 2]  # the root is the last row
    for _ in range(depth):
        level = [int(child) for node in level if node >= leaves for child in clustering[node - leaves, :2]]
    clustering[[node - leaves for node in level if node >= leaves], 2] = -1.0


def partition_explainer(net, images, baseline, depth, fixed_context, max_evals=10**9):
    """shap's values (N, H, W, C, K) on regions of depth ``depth``, and the rows it evaluated per image."""
    rows = []

    def f(nhwc):
        rows.append(len(nhwc))
        with torch.inference_mode():
            return net(torch.from_numpy(np.ascontiguousarray(nhwc)).permute(0, 3, 1, 2)).softmax(1).numpy()

    masker = shap.maskers.Image(baseline, images.shape[1:])
    stop_at(masker.clustering, depth)
    explainer = shap.PartitionExplainer(f, masker)
    values = explainer(
        images, max_evals=max_evals, batch_size=min(max_evals, 256), silent=True, fixed_context=fixed_context
    )
    return values, sum(rows)


@pytest.mark.parametrize(("contexts", "fixed_context"), [("exact", None), ("absent", 0), ("present", 1)])
@pytest.mark.parametrize(("height", "width", "channels", "depth"), CASES)
def test_agrees_with_partition_explainer(height, width, channels, depth, contexts, fixed_context):
    rng = np.random.default_rng(0)
    images, baseline = rng.random((1, height, width, channels)), rng.random((height, width, channels))
    net = network(channels)
    theirs, rows = partition_explainer(net, images, baseline, depth, fixed_context)
    explainer = DnCShap(net, baseline.transpose(2, 0, 1), contexts=contexts, depth=depth)
    ours = explainer(images, "all")
    assert ours.values.shape == theirs.values.shape
    assert np.abs(theirs.values).max() > 1e-6
    assert np.abs(ours.values - theirs.values).max() < 1e-12
    assert ours.base_values == pytest.approx(theirs.base_values, abs=1e-12)
    assert ours.evaluations[0] == rows


def test_same_boxes_as_the_image_masker():
    for height, width in ((16, 16), (12, 10), (7, 5), (5, 11)):
        clustering = shap.maskers.Image(np.zeros((height, width, 1)), (height, width, 1)).clustering
        leaves = height * width
        pixels = {leaf: {leaf} for leaf in range(leaves)}
        for row, (a, b, *_) in enumerate(clustering):
            pixels[leaves + row] = pixels[int(a)] | pixels[int(b)]
        tree = build_tree(height, width, 3)
        level = [2 * leaves - 2]
        for depth in range(1, 4):
            level = [int(child) for node in level for child in clustering[node - leaves, :2]]
            labels = tree.labels(depth).ravel()
            ours = [set(np.flatnonzero(labels == i).tolist()) for i in range(2**depth)]
            assert ours == [pixels[node] for node in reversed(level)]  # shap has the second half first


def test_explanation_carries_what_its_docs_say():
    x = np.random.default_rng(0).random((2, 12, 10, 3))
    explainer = DnCShap(network(3), depth=3, evaluations=28, class_names=["a", "b", "c", "d"])
    explanation = explainer(x, "all")
    assert isinstance(explanation, shap.Explanation)
    assert explanation.values.shape == (2, 12, 10, 3, 4)
    assert explanation.base_values.shape == (2, 4)
    assert (explanation.data == x).all()
    assert list(explanation.output_names) == ["a", "b", "c", "d"]
    assert [scores.shape for scores in explanation.levels] == [(2, n, 4) for n in (1, 2, 4, 8)]
    assert (explanation.hierarchical_values[:, explanation.tree.nodes(2)] == explanation.levels[2]).all()
    assert (explanation[1].hierarchical_values == explanation.hierarchical_values[1]).all()
    assert (explanation[1].values == explanation.values[1]).all()
    assert (explanation[..., 2].values == explanation.values[..., 2]).all()
    assert explanation.tree.n_leaves == 8
    assert explanation.evaluations.tolist() == [28, 28]
    assert explanation.efficiency_gap < 1e-14
    assert explanation.compute_time > 0
    assert explanation.map_kind == "density"
    result = explainer.attribute(x, "all")
    assert (explanation.standard_errors == result.standard_errors).all()
    assert (explanation.error_std == result.error_map()).all()
    assert explanation.error_std.shape == (2, 12, 10, 3, 4)
    assert (explanation[0].error_std == explanation.error_std[0]).all()
    assert (explanation[..., 2].error_std == explanation.error_std[..., 2]).all()


@pytest.mark.parametrize("contexts", ["adaptive", 2, "both"])
@pytest.mark.parametrize("targets", [None, 1, "all"])
def test_explanations_of_single_images(contexts, targets):
    x = np.random.default_rng(0).random((2, 12, 10, 3))
    explainer = DnCShap(network(3), contexts=contexts, depth=5)
    explanation = explainer(x, targets)
    assert explanation[0].values.shape == explanation.values.shape[1:]
    assert (explanation[1].values == explanation.values[1]).all()
    errors = explainer.attribute(x, targets).error_map()
    if contexts == "both":
        assert explanation.error_std is None
    else:
        assert (explanation[1].error_std == errors[1]).all()


def test_closer_than_partition_explainer_at_the_same_evaluations():
    """Networks sure of themselves, eight evaluations per region; shap splits what has the largest score first."""
    errors = []
    for seed in range(12):
        net = network(1, seed=seed, gain=20.0)
        x = np.random.default_rng(seed).random((1, 16, 16, 1))
        baseline = np.zeros((16, 16, 1))
        exact = DnCShap(net, contexts="exact", depth=5)(x, "all").values
        target = int(np.abs(exact).sum(axis=(0, 1, 2, 3)).argmax())
        theirs, rows = partition_explainer(net, x, baseline, 5, None, max_evals=256)
        ours = DnCShap(net, depth=5)(x, "all")
        assert rows >= ours.evaluations[0] - 2  # shap stops before it would exceed its budget
        sizes = [np.linalg.norm(v[..., target] - exact[..., target]) for v in (ours.values, theirs.values)]
        errors.append(np.array(sizes) / np.linalg.norm(exact[..., target]))
    ours, theirs = np.mean(errors, axis=0)
    assert ours < theirs


@pytest.mark.parametrize("explainer", [DnCShap(network(3), depth=4), PaperDnCShap(network(3), times=4)])
@pytest.mark.parametrize("targets", [None, "all", 1])
def test_image_plot_draws_it(explainer, targets):
    import matplotlib.pyplot as plt

    x = np.random.default_rng(0).random((2, 16, 12, 3))
    explanation = explainer(x, targets)
    shap.image_plot(explanation, show=False)
    figure = plt.gcf()
    classes = 4 if targets == "all" else 1
    assert len(figure.axes) >= 2 * (1 + classes)
    drawn = figure.axes[1].images[-1].get_array()
    assert drawn.shape == (16, 12)
    assert np.asarray(drawn) == pytest.approx(explanation.values[0, ..., 0].sum(axis=-1))
    plt.close(figure)


@pytest.mark.parametrize(("images", "channels"), [(1, 1), (3, 3), (2, 3)])
def test_one_class_per_image(images, channels):
    import matplotlib.pyplot as plt

    x = np.random.default_rng(0).random((images, 16, 16, channels))
    targets = [2, 0, 1][:images]
    explanation = DnCShap(network(channels), depth=4, class_names=["sad", "happy", "angry", "other"])(
        x, targets
    )
    names = [["angry"], ["sad"], ["happy"]][:images]
    if images > 1:
        assert explanation.output_names.tolist() == names
    if images != channels:  # shap cannot slice the other case
        assert list(explanation[1].output_names) == ["sad"]
        assert explanation[1].values.shape == (16, 16, channels, 1)
    shap.image_plot(explanation, show=False)
    assert [axes.get_title() for axes in plt.gcf().axes if axes.get_title()] == [name for (name,) in names]
    plt.close("all")
