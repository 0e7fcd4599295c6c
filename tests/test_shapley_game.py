"""The game under the explainers: values by hand, counting, masking bit by bit, modes, precision, memory."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapley_games import network, pictures, segments
from torch import nn

from fercore.errors import ModelOutputError
from fercore.shapley import DnCShap, build_tree
from fercore.shapley.baselines import as_baseline
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.inputs import auto_batch_size
from fercore.shapley.tree import pack

TREE = build_tree(8, 6, 3)
X = pictures(3, 3, 8, 6)


def some_coalitions(*shape, seed=0):
    """Random boolean coalitions (..., 8) and their packed form."""
    members = np.random.default_rng(seed).random((*shape, 8)) < 0.5
    return members, np.packbits(members, axis=-1)


def play(model, x=X, baseline=0.3, tree=TREE, **settings_):
    return ImageGame(model, x, as_baseline(baseline, x), tree.labels(), **settings_)


def means(x):
    return x.mean((2, 3))


# --- values


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
@pytest.mark.parametrize("tree", [TREE, build_tree(8, 6, None, segments(8, 8, 6))], ids=["boxes", "segments"])
def test_values_by_hand(tree, batch_size):
    net, (members, packed) = network(), some_coalitions(3, 9)
    expected = np.empty((3, 3, 9, 4))  # of each image, its own coalitions and those of the others
    for i, group, m in np.ndindex(3, 3, 9):
        visible = torch.from_numpy(members[group, m][tree.labels()])
        with torch.inference_mode():
            expected[i, group, m] = net(torch.where(visible, X[i], 0.3)[None]).softmax(1)[0].numpy()
    game = play(net, tree=tree, batch_size=batch_size)
    own = game.each(packed)
    for i in range(3):
        assert game.values(packed[i]) == pytest.approx(expected[:, i], abs=1e-14)
        assert own[i] == pytest.approx(expected[i, i], abs=1e-14)
    assert game(members[0]) == pytest.approx(expected[0, 0], abs=1e-14)
    target = TargetGame(game, tree, np.array([[2, 0], [1, 1], [3, 2]]))
    for i, classes in enumerate(target.classes):
        assert target.values(packed[1])[i] == pytest.approx(expected[i, 1][:, classes], abs=1e-14)
        assert target.each(packed)[i] == pytest.approx(own[i][:, classes], abs=1e-14)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_invalid_coalitions_are_not_evaluated(seed, count, batch_size):
    rows, (_, packed) = [], some_coalitions(3, count, seed=seed)
    valid = np.random.default_rng(seed).random((3, count)) < 0.6
    valid[0, 0] = True
    game = play(means, batch_size=batch_size, on_rows=rows.append)
    values = game.each(packed, valid)
    assert np.isnan(values[~valid]).all()
    assert values[valid] == pytest.approx(play(means).each(packed)[valid], abs=1e-14)
    assert game.evaluations.tolist() == valid.sum(axis=1).tolist()
    assert sum(rows) == valid.sum()
    assert set(rows[:-1]) <= {batch_size}  # batches do not stop where an image does


def test_nothing_to_evaluate():
    game, (_, packed) = play(means), some_coalitions(3, 2)
    nothing = np.zeros((3, 2), dtype=bool)
    with pytest.raises(ValueError, match="at least one"):
        game.each(packed, nothing)
    with pytest.raises(ValueError, match="at least one"):
        game.values(packed[0, :0])
    game.values(packed[0])
    assert np.isnan(game.each(packed, nothing)).all()
    assert game.each(packed[:, :0]).shape == game.values(packed[0, :0]).shape == (3, 0, 3)
    with pytest.raises(ValueError, match=r"needs coalitions .* = \(3, M, 1\)"):
        game.each(packed[:2])


def test_nothing_is_evaluated_twice_or_kept_of_what_failed():
    rows, broken = [], True
    game = play(lambda x: means(x) + (torch.nan if broken else 0), on_rows=rows.append)
    members, packed = some_coalitions(6)
    with pytest.raises(ModelOutputError):
        game.values(packed)
    broken = False
    rows.clear()
    assert np.isfinite(game.values(packed)).all()
    game.values(packed[::-1])
    distinct = len(np.unique(members, axis=0))
    assert game.evaluations.tolist() == [distinct] * 3
    assert sum(rows) == 3 * distinct
    own = some_coalitions(3, 5)[1]
    assert (game.each(own) == game.each(own)).all()  # not remembered
    assert game.evaluations.tolist() == [distinct + 10] * 3
    assert max(rows) <= game.coalitions_per_batch


# --- masking


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("views", [False, True])
def test_masking_copies_every_bit_of_any_type(dtype, views):
    """Rows come channels-last, but plain once a model has failed because it uses ``view``."""
    seen, (members, packed) = [], some_coalitions(4)
    x, b = pictures(2, 3, 8, 6).to(dtype), -pictures(3, 8, 6, seed=1).to(dtype)
    x[0, 0, 0, :2], b[1, 0, 0] = torch.tensor([-0.0, 1e-40]), -0.0

    def model(rows):
        assert not rows.requires_grad
        if not rows.is_contiguous():
            assert rows.is_contiguous(memory_format=torch.channels_last)
            if views:
                raise RuntimeError("view size is not compatible with input tensor's size and stride")
        seen.append(rows.contiguous().clone())
        return torch.zeros(len(rows), 2)

    play(model, x, b, output="logit", batch_size=3).values(packed)
    expected = torch.where(torch.from_numpy(members[:, TREE.labels()])[None, :, None], x[:, None], b)
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[expected.element_size()]
    assert (torch.cat(seen).view(integers) == expected.flatten(0, 1).contiguous().view(integers)).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images_reach_the_model_as_floats(dtype):
    x, packed = (X * 255).to(dtype), some_coalitions(4)[1]
    net = network().float()
    for baseline in ("mean", "blur", 0.5):
        expected = play(net, x.float(), baseline).values(packed)
        assert play(net, x, baseline).values(packed) == pytest.approx(expected)


# --- the user's model


class Stops(nn.Module):
    """Raises on its third call."""

    def __init__(self, error):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)
        )
        self.error, self.calls = error, 0

    def forward(self, x):
        assert not any(part.training for part in self.modules())
        self.calls += 1
        if self.calls == 3 and self.error:
            raise self.error
        return self.body(x).flatten(1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken"), None])
def test_the_model_is_left_as_it_was(error):
    net = Stops(error).train()
    net.body[1].eval()  # a frozen batch norm in a network that trains
    modes = [part.training for part in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    explainer = DnCShap(net, depth=3, contexts=2, batch_size=2)
    ask = explainer.attribute if error else lambda x: next(explainer.levels(x))  # between levels, too
    stops = pytest.raises(type(error)) if error else nullcontext()
    with pytest.warns(UserWarning, match="evaluation mode and put back") as caught, stops:
        ask(torch.rand(2, 3, 8, 8))
    assert len(caught) == 1
    assert [part.training for part in net.modules()] == modes
    assert all((net.state_dict()[name] == value).all() for name, value in state.items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    with warnings.catch_warnings():  # the mode of a container changes nothing
        warnings.simplefilter("error")
        DnCShap(nn.Sequential(Stops(None).eval()), depth=1).attribute(torch.rand(1, 3, 8, 8))


# --- precision, memory, devices


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision(precision, monkeypatch):
    net, types, x, packed = network().float(), [], X.float(), some_coalitions(5)[1]
    net[0].register_forward_hook(lambda module, args, output: types.append(output.dtype))
    low = play(net, x, precision=precision).values(packed)
    assert set(types) == {getattr(torch, precision)}
    assert low.sum(axis=2) == pytest.approx(np.ones((3, 5)), abs=1e-15)  # the softmax is float64
    full = play(net, x).values(packed)
    assert low == pytest.approx(full, abs=5e-3)
    assert (low != full).any()
    mapped = play(net, x, precision=precision, output=lambda out: out.softmax(1)).values(packed)
    assert mapped == pytest.approx(low, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        play(net, x, precision="bfloat16").values(packed)
        net(x).float().sum().backward()  # weights cast in inference mode must not be found in the cache
    assert all(p.grad is not None for p in net.parameters())
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device_type: False)
    with pytest.raises(ValueError, match=r"needs torch\.autocast, which cpu lacks"):
        play(net, precision=precision)


def test_out_of_memory_halves_the_batch():
    sizes, packed = [], pack(np.eye(8))[:5]

    def model(x, most=3):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return means(x)

    game = play(model, batch_size=12)
    values = game.values(packed)
    assert sizes == [12, 6, 3, 3, 3, 3, 3]  # the batch that fits is kept, and no row is lost
    assert game.evaluations.tolist() == [5] * 3
    assert values == pytest.approx(play(means).values(packed))
    with pytest.raises(torch.OutOfMemoryError):
        play(lambda x: model(x, most=0)).values(packed)


def test_automatic_batches_fit_the_memory():
    cpu = torch.device("cpu")
    assert auto_batch_size(48 * 48 * 3 * 4, cpu) == 64
    assert auto_batch_size(224 * 224 * 3 * 4, cpu) == 13  # 512 MiB of activations
    assert auto_batch_size(2**40, cpu) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("contexts", ["both", "exact"])
def test_gpu_and_cpu_agree(contexts):
    x, net = pictures(2, 3, 24, 24).float(), network().float()
    on_cpu = DnCShap(net, contexts=contexts, depth=4).attribute(x).region_scores
    on_gpu = DnCShap(net.cuda(), contexts=contexts, depth=4).attribute(x.cuda()).region_scores
    assert on_gpu == pytest.approx(on_cpu, abs=1e-4)
