"""DnCShap: counters, axioms, agreement with enumeration, and invariance to how the work is split up."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import listed, network, pictures, play, random_table
from torch import nn

from fercore.shapley import DnCShap, exact_owen, exact_shapley
from fercore.shapley.dnc import CONTEXTS
from fercore.shapley.game import TargetGame

FIXED = ("absent", "present", "both")
EVERY = (*CONTEXTS, 2, 4)


# --- evaluations


def counted(contexts, depth, size):
    rows = []

    def model(x):
        rows.append(len(x))
        return torch.stack([x.sum((1, 2, 3)), x.square().sum((1, 2, 3))], dim=1)

    result = DnCShap(model, contexts=contexts, depth=depth).attribute(pictures(2, 1, size, size))
    assert result.evaluations.tolist() == [sum(rows) / 2] * 2
    return result.evaluations[0]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_evaluation_counts(depth):
    n = 2**depth
    exact = 2 * (n * n - 1) // 3 + 2
    assert counted("absent", depth, 16) == 2 * n == 2 * (n - 1) + 2
    assert counted("present", depth, 16) == 2 * n
    assert (
        counted("both", depth, 16) == 4 * n - 4
    )  # 2 + 2 (2n - 2), less 2: to hide one half is to show the other
    assert counted("exact", depth, 16) == exact
    assert counted("adaptive", depth, 16) == min(8 * n, exact)
    assert counted(2, depth, 16) == 2 + 2 + 2 * 2 * (n - 2)


def test_evaluation_counts_at_256_regions():
    counts = {contexts: counted(contexts, 8, 16) for contexts in (*CONTEXTS, 8)}
    assert counts == {
        "adaptive": 2048,
        "absent": 512,
        "present": 512,
        "both": 1020,
        "exact": 43_692,
        8: 4012,
    }


def test_evaluation_counts_at_64_regions():
    assert [counted(contexts, 6, 16) for contexts in (*CONTEXTS, 8)] == [512, 128, 128, 252, 2732, 940]


def test_no_input_is_evaluated_twice():
    seen = []

    def model(x):
        seen.extend(row.numpy().tobytes() for row in x.contiguous())
        return x.flatten(1)[:, :5]

    for contexts in EVERY:
        seen.clear()
        result = DnCShap(model, contexts=contexts, depth=4).attribute(pictures(1, 1, 8, 8))
        assert len(seen) == len(set(seen)) == result.evaluations[0]


# --- exact values


def test_two_players_by_hand():
    table = torch.tensor([[0.1], [0.5], [0.3], [0.9]])  # v(∅), v(A), v(B), v(A ∪ B)
    for contexts in EVERY:
        scores = play(table, depth=1, contexts=contexts).region_scores[0, :, 0]
        assert scores == pytest.approx([0.5, 0.3], abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(8, 12),
    st.integers(8, 12),
    st.sampled_from(["longest", "alternate"]),
)
def test_exact_is_the_mean_over_tree_orders(seed, depth, height, width, rule):
    table = random_table(seed, depth)
    scores = play(table, height, width, depth, tree=rule, contexts="exact").region_scores[0]
    assert scores == pytest.approx(exact_owen(listed(table), 2**depth), abs=1e-12)
    if depth == 1:
        assert scores == pytest.approx(exact_shapley(listed(table), 2), abs=1e-12)


def test_exact_of_a_network_is_the_mean_over_tree_orders():
    explainer = DnCShap(network(), contexts="exact", depth=3, baseline=0.3)
    batch, _, tree, baseline = explainer._prepare(pictures(1, 3, 9, 7), "all", None)
    game = explainer._game(batch.tensor, baseline, tree, None)
    scores = explainer.attribute(batch.tensor, "all").region_scores[0]
    assert scores == pytest.approx(exact_owen(game, 8), abs=1e-14)
    assert TargetGame(game, tree, "all").evaluations == game.evaluations  # the ends were among the prefixes


# --- axioms


@pytest.mark.parametrize("contexts", EVERY)
def test_pixel_map_sums_to_the_prediction(contexts):
    net, x = network(), pictures(3, 3, 11, 13)
    explanation = DnCShap(net, contexts=contexts, depth=4, baseline="mean")(x, "all")
    with torch.inference_mode():
        mean = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        expected = (net(x).softmax(1) - net(mean).softmax(1)).numpy()
    assert explanation.values.sum(axis=(1, 2, 3)) == pytest.approx(expected, abs=1e-13)
    assert explanation.efficiency_gap < 1e-13


def test_both_is_the_mean_of_absent_and_present():
    for share in ("pixels", "half"):
        maps = [
            DnCShap(network(), contexts=c, depth=5, share=share)
            .attribute(pictures(2, 3, 9, 11))
            .region_scores
            for c in FIXED
        ]
        assert maps[2] == pytest.approx((maps[0] + maps[1]) / 2, abs=1e-15)


def test_shares_differ_on_odd_sides_only():
    for contexts in FIXED:
        for size, same in ((8, True), (9, False)):
            maps = [
                DnCShap(network(), contexts=contexts, depth=4, share=share)
                .attribute(pictures(1, 3, size, size))
                .region_scores
                for share in ("pixels", "half")
            ]
            assert np.allclose(*maps, atol=1e-12) == same
    # With halves as shares, one context gives Equation 4 at the root whatever the sizes.
    table = random_table(0, 1)
    halves = play(table, 9, 9, 1, contexts="absent", share="half").region_scores[0]
    assert halves == pytest.approx(exact_shapley(listed(table), 2), abs=1e-12)


# --- how the work is split up


@pytest.mark.parametrize("contexts", EVERY)
def test_batches_do_not_matter(contexts):
    net, x = network(), pictures(5, 3, 8, 6)
    expected = DnCShap(net, contexts=contexts, depth=3).attribute(x, "all")
    for batch_size in (1, 7, 64):
        result = DnCShap(net, contexts=contexts, depth=3, batch_size=batch_size).attribute(x, "all")
        assert result.region_scores == pytest.approx(expected.region_scores, abs=1e-14)
    for i in range(5):
        one = DnCShap(net, contexts=contexts, depth=3).attribute(x[i], "all")
        assert one.region_scores[0] == pytest.approx(expected.region_scores[i], abs=1e-14)
        assert one.data.shape == (1, 8, 6, 3)


def test_groups_of_images_do_not_matter(monkeypatch):
    net, x, b = network(), pictures(5, 3, 8, 8), pictures(5, 3, 8, 8, seed=1)
    together = DnCShap(net, depth=3, baseline=b).attribute(x, [0, 1, 2, 3, 0])
    monkeypatch.setattr("fercore.shapley.base._GROUP_IMAGES", 2)
    apart = DnCShap(net, depth=3, baseline=b).attribute(x, [0, 1, 2, 3, 0])
    for level, other in zip(together.levels, apart.levels, strict=True):
        assert level == pytest.approx(other, abs=1e-14)
    for name in ("base_values", "predictions", "classes", "data", "evaluations"):
        assert getattr(together, name) == pytest.approx(getattr(apart, name), abs=1e-14)
    assert (
        together.output_names.tolist() == apart.output_names.tolist() == [["0"], ["1"], ["2"], ["3"], ["0"]]
    )


def test_layouts_agree():
    net, x = network(), pictures(2, 3, 9, 7)
    nhwc = x.permute(0, 2, 3, 1)
    expected = DnCShap(net, depth=3)(x, "all")
    for images, channels in ((nhwc.numpy(), None), (nhwc, "last"), (x.numpy(), "first"), (x, "first")):
        explanation = DnCShap(net, depth=3)(images, "all", channels)
        assert explanation.values == pytest.approx(expected.values, abs=1e-14)
        assert (explanation.data == nhwc.numpy()).all()


def test_grey_images():
    explanation = DnCShap(network(1), depth=4)(pictures(2, 10, 8, 1).numpy())
    assert explanation.values.shape == (2, 10, 8, 1, 1)
    colour = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), network(1)).double()
    with torch.no_grad():
        colour[0].weight.fill_(1 / 3)  # the mean of three equal channels is the grey image
    grey = pictures(2, 1, 10, 8)
    one = DnCShap(network(1), depth=4).attribute(grey).region_scores
    three = DnCShap(colour, depth=4).attribute(grey.expand(2, 3, 10, 8)).region_scores
    assert one == pytest.approx(three, abs=1e-14)


def test_classes():
    net, x = network(), pictures(3, 3, 8, 8)
    rows = []
    handle = net.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    everything = DnCShap(net, depth=3).attribute(x, "all")
    cost = sum(rows)
    assert everything.classes.tolist() == [[0, 1, 2, 3]] * 3
    for c in range(4):
        rows.clear()
        one = DnCShap(net, depth=3).attribute(x, c)
        assert sum(rows) == cost
        assert one.region_scores[..., 0] == pytest.approx(everything.region_scores[..., c], abs=1e-15)
    handle.remove()
    predicted = everything.predictions.argmax(axis=1)
    default = DnCShap(net, depth=3).attribute(x)
    assert default.classes[:, 0].tolist() == predicted.tolist()
    for targets in (predicted, predicted.tolist(), torch.from_numpy(predicted)):
        assert DnCShap(net, depth=3).attribute(x, targets).region_scores == pytest.approx(
            default.region_scores
        )


def test_outputs():
    net, x = network(), pictures(1, 3, 8, 8)
    logit = DnCShap(net, depth=2, output="logit").attribute(x, "all")
    assert logit.predictions == pytest.approx(net(x).detach().numpy())
    own = DnCShap(net, depth=2, output=lambda out: out.softmax(dim=1)).attribute(x, "all")
    assert own.region_scores == pytest.approx(
        DnCShap(net, depth=2).attribute(x, "all").region_scores, abs=1e-15
    )
    contrast = DnCShap(net, depth=2, output="logit").attribute(x, "all").region_scores @ [1, -1, 0, 0]
    margin = DnCShap(net, depth=2, output=lambda out: out[:, :1] - out[:, 1:2]).attribute(x)
    assert margin.region_scores[..., 0] == pytest.approx(contrast, abs=1e-14)


def test_baselines():
    net, x = network(), pictures(2, 3, 8, 8)
    grey = DnCShap(net, depth=2, baseline=0.1).attribute(x).region_scores
    for same in (np.full((3, 1, 1), 0.1), torch.full((3, 8, 8), 0.1, dtype=torch.float64), np.float64(0.1)):
        assert DnCShap(net, depth=2, baseline=same).attribute(x).region_scores == pytest.approx(
            grey, abs=1e-15
        )
    itself = DnCShap(net, depth=2, baseline=x).attribute(x)
    assert np.abs(itself.region_scores).max() < 1e-15


def test_integer_images_are_not_rescaled():
    x = (pictures(1, 8, 8, 3).numpy() * 255).astype(np.uint8)
    explanation = DnCShap(network(), depth=2)(x)
    assert explanation.data.dtype == np.uint8
    expected = DnCShap(network(), depth=2).attribute(x.astype(np.float64)).region_scores
    assert DnCShap(network(), depth=2).attribute(x).region_scores == pytest.approx(expected, abs=1e-14)


def test_float32_models():
    net, x = network(), pictures(1, 3, 16, 16)
    double = DnCShap(net, contexts="exact", depth=4).attribute(x).region_scores
    single = DnCShap(net.float(), contexts="exact", depth=4).attribute(x).region_scores
    assert single.dtype == np.float64
    assert single == pytest.approx(double, abs=1e-6)


@pytest.mark.parametrize("contexts", EVERY)
def test_levels_come_coarse_to_fine(contexts):
    explainer, x = DnCShap(network(), contexts=contexts, depth=3), pictures(2, 3, 8, 8)
    result = explainer.attribute(x)
    maps = list(explainer.levels(x))
    assert len(maps) == 4
    for level, regions in enumerate(maps):
        assert regions == pytest.approx(result.region_map(level), abs=1e-15)
    assert (np.unique(maps[1][0]).size, maps[3].shape) == (2, (2, 8, 8, 1))


# --- side effects


def test_nothing_is_left_behind():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).train()
    net[1].eval()  # a frozen batch norm in a network that trains
    x = pictures(2, 3, 8, 8).float().requires_grad_()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
        random.getstate(),
    )
    first = DnCShap(net, contexts="exact", depth=3).attribute(x)
    second = DnCShap(net, contexts="exact", depth=3).attribute(x)
    assert (first.region_scores == second.region_scores).all()
    assert [part.training for part in net] == [True, False, True, True, True]
    assert net.training
    assert all((net.state_dict()[name] == value).all() for name, value in state.items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert x.grad is None
    assert (torch.get_rng_state() == torch_state).all()
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert random.getstate() == python_state


def test_mode_is_restored_after_an_error():
    net = network().train()
    with pytest.raises(RuntimeError):
        DnCShap(net, depth=2).attribute(pictures(1, 1, 8, 8))  # the network wants 3 channels
    assert net.training


def test_batch_is_halved_when_the_gpu_runs_out_of_memory():
    net, sizes = network(), []

    def model(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return net(x)

    x = pictures(8, 3, 8, 8)
    result = DnCShap(model, depth=1, batch_size=12).attribute(x)
    assert result.region_scores == pytest.approx(DnCShap(net, depth=1).attribute(x).region_scores, abs=1e-14)
    # 16 rows of ends, then 16 of halves: the batch that fits is kept, and no row is lost.
    assert sizes == [12, 6, 3, 3, 3, 3, 3, 1] + [3, 3, 3, 3, 3, 1]

    def hopeless(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        DnCShap(hopeless, depth=2).attribute(x)


def test_cpu_batches_are_channels_last():
    def model(x):
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert not x.requires_grad
        return x.mean((2, 3))

    DnCShap(model, depth=2).attribute(pictures(2, 3, 8, 8))


def test_models_that_use_view():
    net, x = network(), pictures(2, 3, 8, 8)
    expected = DnCShap(net, depth=3).attribute(x).region_scores

    def model(inputs):
        return net[-1](net[:5](inputs).view(len(inputs), -1))  # fails on channels-last activations

    assert DnCShap(model, depth=3).attribute(x).region_scores == pytest.approx(expected, abs=1e-14)


def test_half_precision_images():
    x = pictures(1, 3, 8, 8)
    for dtype in (torch.float16, torch.bfloat16):
        result = DnCShap(network(), depth=2).attribute(x.to(dtype))
        assert result.region_scores == pytest.approx(
            DnCShap(network(), depth=2).attribute(x).region_scores, abs=1e-3
        )


def test_a_tree_of_one_region():
    x = pictures(2, 3, 1, 1)
    for contexts in EVERY:
        result = DnCShap(network(), depth=0, contexts=contexts).attribute(x)
        assert result.region_scores[:, 0] == pytest.approx(result.predictions - result.base_values)
        assert result.evaluations.tolist() == [2, 2]


def test_progress_bar(capsys):
    x = pictures(2, 3, 8, 8)
    DnCShap(network(), depth=3, contexts="both", progress=True).attribute(x)
    assert "56/56" in capsys.readouterr().err  # 2 images, 4 * 8 - 4 evaluations each
    explainer = DnCShap(network(), depth=4, evaluations=50, progress=True)
    result = explainer.attribute(x)
    assert "100/100" in capsys.readouterr().err
    explainer.refine(result, 20)
    assert "40/40" in capsys.readouterr().err


def test_levels_are_evaluated_when_they_are_asked_for():
    for contexts in ("absent", "both", 2, "exact"):
        rows, net = [], network()

        def model(x, rows=rows, net=net):
            rows.append(len(x))
            return net(x)

        maps = DnCShap(model, contexts=contexts, depth=4).levels(pictures(1, 3, 8, 8))
        spent = [sum(rows) for _ in maps]
        assert spent[:2] == [2, 4]  # the two ends, the two halves
        assert sorted(set(spent)) == spent


def test_shap_is_imported_late():
    code = "import sys, fercore.shapley; assert not {'shap', 'tqdm.auto', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_shap(monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    explainer, x = DnCShap(network(), depth=2), pictures(1, 3, 8, 8)
    assert explainer.attribute(x).pixel_map().shape == (1, 8, 8, 3, 1)
    with pytest.raises(ImportError, match=r"fercore\[shap\].*attribute"):
        explainer(x)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU; this machine has none that torch can use"
)
@pytest.mark.parametrize("contexts", ["absent", "both", 4, "exact"])
def test_gpu_and_cpu_agree(contexts):
    x = pictures(2, 3, 24, 24).float()
    net = network().float()
    on_cpu = DnCShap(net, contexts=contexts, depth=4).attribute(x).region_scores
    on_gpu = DnCShap(net.cuda(), contexts=contexts, depth=4).attribute(x.cuda()).region_scores
    assert on_gpu == pytest.approx(on_cpu, abs=1e-4)
