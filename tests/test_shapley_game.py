"""The game under the explainers: values by hand, counting, both ways to evaluate, modes, precision, what goes wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fercore.errors import ModelOutputError
from fercore.shapley import DnCShap, build_tree
from fercore.shapley.baselines import Background, as_baseline
from fercore.shapley.game import ImageGame, TargetGame
from fercore.shapley.tree import pack

TREE = build_tree(8, 6, 3)


def network(channels=3, classes=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(channels, 6, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(24, classes)).double().eval()


def pictures(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def some_coalitions(*shape, seed=0):
    """Random boolean coalitions (..., 8) and their packed form."""
    members = np.random.default_rng(seed).random((*shape, 8)) < 0.5
    return members, pack(members.reshape(-1, 8)).reshape(*shape, 1)


def game(model=None, x=None, baseline=0.3, tree=TREE, **settings_):
    x = pictures(3, 3, 8, 6) if x is None else x
    return ImageGame(model or network(), x, as_baseline(baseline, x), tree.labels(), **settings_)


def by_hand(net, image, members, b=0.3, tree=TREE):
    """v(S), one model call per coalition."""
    visible = torch.from_numpy(members[tree.labels()])
    with torch.inference_mode():
        return net(torch.where(visible, image, b)[None].to(image.dtype)).softmax(1)[0].numpy()


# --- values


@pytest.mark.parametrize("batch_size", [1, 5, 7, "auto"])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_by_hand(channels, batch_size):
    net, x = network(channels), pictures(3, channels, 8, 6)
    members, packed = some_coalitions(9)
    values = game(net, x, batch_size=batch_size).values(packed)
    for image, of_image in zip(x, values, strict=True):
        expected = [by_hand(net, image, coalition) for coalition in members]
        assert of_image == pytest.approx(np.array(expected), abs=1e-14)


@pytest.mark.parametrize("batch_size", [1, 5, "auto"])
def test_each_by_hand(batch_size):
    net, x = network(), pictures(3, 3, 8, 6)
    members, packed = some_coalitions(3, 4)
    values = game(net, x, batch_size=batch_size).each(packed)
    assert (values.shape, values.dtype) == ((3, 4, 4), np.float64)
    for i in range(3):
        expected = [by_hand(net, x[i], coalition) for coalition in members[i]]
        assert values[i] == pytest.approx(np.array(expected), abs=1e-14)


def test_each_agrees_with_values():
    played, (_, packed) = game(baseline="mean"), some_coalitions(6)
    repeated = np.broadcast_to(packed, (3, 6, 1))
    assert played.each(repeated) == pytest.approx(played.values(packed), abs=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_invalid_coalitions_are_not_evaluated(seed, count, batch_size):
    rows = []

    def model(x):
        rows.append(len(x))
        return x.mean((2, 3))

    _, packed = some_coalitions(3, count, seed=seed)
    valid = np.random.default_rng(seed).random((3, count)) < 0.6
    valid[0, 0] = True
    played = game(model, batch_size=batch_size)
    values = played.each(packed, valid)
    assert np.isnan(values[~valid]).all()
    assert values[valid] == pytest.approx(game(model).each(packed)[valid], abs=1e-14)
    assert played.evaluations.tolist() == valid.sum(axis=1).tolist()
    assert max(rows[:-1]) <= max(batch_size, 3 * count)


def test_nothing_valid():
    played, (_, packed) = game(), some_coalitions(3, 2)
    nothing = np.zeros((3, 2), dtype=bool)
    with pytest.raises(ValueError, match="at least one valid coalition"):
        played.each(packed, nothing)
    with pytest.raises(ValueError, match="at least one coalition"):
        played.values(packed[0, :0])
    played.values(packed[0])
    assert np.isnan(played.each(packed, nothing)).all()
    assert played.each(packed[:, :0]).shape == (3, 0, 4)
    assert played.values(packed[0, :0]).shape == (3, 0, 4)


def test_wrong_shapes():
    played, (_, packed) = game(), some_coalitions(3, 2)
    with pytest.raises(ValueError, match=r"\(3, M, 1\), not \(2, 2, 1\)"):
        played.each(packed[:2])
    with pytest.raises(ValueError, match=r"valid must be \(3, 2\), not \(3, 1\)"):
        played.each(packed, np.ones((3, 1), dtype=bool))


def test_target_game_picks_the_classes():
    played = game()
    targets = TargetGame(played, TREE, np.array([[2, 0], [1, 1], [3, 2]]))
    (_, packed), (_, shared) = some_coalitions(3, 4), some_coalitions(5, seed=1)
    for picked, all_classes in (
        (targets.each(packed), played.each(packed)),
        (targets.values(shared), played.values(shared)),
    ):
        assert picked.shape == (*all_classes.shape[:2], 2)
        for i, classes in enumerate(([2, 0], [1, 1], [3, 2])):
            assert (picked[i] == all_classes[i][:, classes]).all()
    assert targets.evaluations is played.evaluations


# --- counting


def test_evaluations_count_rows_of_each_image():
    rows = []

    def model(x):
        rows.append(len(x))
        return x.mean((2, 3))

    played, (members, packed) = game(model), some_coalitions(6)
    distinct = len(np.unique(members, axis=0))
    played.values(packed)
    played.values(packed[::-1])  # nothing new
    assert played.evaluations.tolist() == [distinct] * 3
    assert played.evaluations.dtype == np.int64
    _, own = some_coalitions(3, 5)
    played.each(own)
    played.each(own)  # not remembered
    assert played.evaluations.tolist() == [distinct + 10] * 3
    assert played.evaluations.sum() == sum(rows)


def test_rows_are_bounded_by_the_batch():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.mean((2, 3))

    progress = []
    played = game(model, batch_size=4, on_rows=progress.append)
    played.values(some_coalitions(9)[1])
    assert max(sizes) == 4
    assert progress == sizes
    sizes.clear()
    played.each(some_coalitions(3, 5)[1])
    assert sizes == [4, 4, 4, 3]  # batches do not stop where an image does


def test_outputs_are_fetched_in_parts(monkeypatch):
    _, packed = some_coalitions(9)
    expected = game().values(packed)
    monkeypatch.setattr("fercore.shapley.game._TRANSFER_ROWS", 4)
    assert game().values(packed) == pytest.approx(expected, abs=1e-14)
    x = pictures(3, 3, 8, 6)
    background = Background(pictures(3, 3, 8, 6, seed=1))
    apart = game(x=x, baseline=background).values(packed)
    monkeypatch.undo()
    assert apart == pytest.approx(game(x=x, baseline=background).values(packed), abs=1e-14)


def test_visible_and_hidden_pixels_are_copied_bit_by_bit():
    seen = []

    def model(x):
        seen.append(x.clone())
        return x.mean((2, 3))

    for channels in (1, 3):
        x, b = torch.rand(2, channels, 8, 6), torch.rand(channels, 8, 6)
        members, packed = some_coalitions(4)
        seen.clear()
        game(model, x, b, output="logit").values(packed)
        expected = torch.where(torch.from_numpy(members[:, TREE.labels()])[None, :, None], x[:, None], b)
        assert (torch.cat(seen).reshape(expected.shape) == expected).all()


# --- modes


def trained():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class Stops(nn.Module):
    """Raises on its third call."""

    def __init__(self, error):
        super().__init__()
        self.body, self.error, self.calls = trained(), error, 0

    def forward(self, x):
        assert not any(part.training for part in self.modules())
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return self.body(x)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken"), ModelOutputError("bad")])
def test_modes_are_restored_after_an_interruption(error):
    net = Stops(error).train()
    net.body[1].eval()
    modes = [part.training for part in net.modules()]
    assert len(set(modes)) == 2
    with pytest.warns(UserWarning, match="training mode"), pytest.raises(type(error)):
        DnCShap(net, depth=3, batch_size=2).attribute(torch.rand(2, 3, 8, 8))
    assert [part.training for part in net.modules()] == modes
    assert net.calls == 3


def test_modes_are_restored_between_levels():
    net = trained().train()
    with pytest.warns(UserWarning, match="training mode"):
        levels = DnCShap(net, depth=2).levels(torch.rand(1, 3, 8, 8))
    next(levels)
    assert all(part.training for part in net.modules())
    assert len(list(levels)) == 2
    assert all(part.training for part in net.modules())


def test_one_warning_per_explanation():
    net = trained()
    with pytest.warns(UserWarning, match="training mode") as caught:
        DnCShap(net, depth=3).attribute(torch.rand(2, 3, 8, 8))
    assert len(caught) == 1
    net.eval()
    net[2].train()  # one part is enough
    with pytest.warns(UserWarning, match="explained in evaluation mode and put back"):
        DnCShap(net, depth=1).attribute(torch.rand(2, 3, 8, 8))
    assert [part.training for part in net] == [False, False, True, False, False]


def test_no_warning_without_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (trained().eval(), nn.Sequential(trained().eval()), lambda x: x.mean((2, 3))):
            DnCShap(model, depth=1).attribute(torch.rand(1, 3, 8, 8))


# --- precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision(precision):
    net, types = network().float(), []
    net[0].register_forward_hook(lambda module, args, output: types.append(output.dtype))
    x = torch.rand(2, 3, 8, 6)
    _, packed = some_coalitions(5)
    low = game(net, x, precision=precision).values(packed)
    assert set(types) == {getattr(torch, precision)}
    full = game(net, x).values(packed)
    assert low.dtype == np.float64
    assert low.sum(axis=2) == pytest.approx(np.ones((2, 5)), abs=1e-15)  # the softmax is float64
    assert low == pytest.approx(full, abs=5e-3)
    assert (low != full).any()

    def mapped(out):
        assert out.dtype == torch.float32
        return out.softmax(1)

    assert game(net, x, precision=precision, output=mapped).values(packed) == pytest.approx(low, abs=1e-6)


def test_low_precision_leaves_nothing_behind():
    net = network().float().train()
    x = torch.rand(2, 3, 8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        game(net, x, precision="bfloat16").values(some_coalitions(2)[1])
        net(x).float().sum().backward()  # weights cast in inference mode must not be found in the cache
    assert all(p.grad is not None for p in net.parameters())


def test_unknown_precision():
    for precision in ("double", "half", torch.float16, 16):
        with pytest.raises(ValueError, match="'bfloat16', 'float16', or None"):
            DnCShap(network(), precision=precision)


def test_precision_needs_autocast(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device_type: False)
    with pytest.raises(ValueError, match=r"precision='float16' needs torch\.autocast, which cpu devices"):
        game(precision="float16")


# --- what goes wrong


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x.mean(), r"shape \(\) for 6 rows"),
        (lambda x: x.mean((1, 2, 3)), r"shape \(6,\) for 6 rows"),
        (lambda x: x, r"shape \(6, 3, 8, 6\)"),
        (lambda x: x.mean((2, 3))[:, :0], r"expected \(6, classes\)"),
        (lambda x: x.mean((2, 3)).numpy(), "ndarray"),
        (lambda x: x.mean((2, 3)) / 0, "NaN or infinity in 6 of 6 rows"),
    ],
)
def test_bad_outputs(model, words):
    played, (_, packed) = game(model), some_coalitions(3, 2)
    with pytest.raises(ModelOutputError, match=words):
        played.each(packed)
    with pytest.raises(ModelOutputError, match=words):
        played.values(packed[0])


def test_number_of_classes_must_stay():
    def model(x):
        return x.mean((2, 3))[:, : len(x)]

    with pytest.raises(ModelOutputError, match="2 classes for one batch and 1 for another"):
        game(model, x=pictures(1, 3, 8, 6), batch_size=2, output="logit").values(pack(np.eye(8)[:3]))


def test_a_failed_call_keeps_nothing():
    broken = True

    def model(x):
        return x.mean((2, 3)) + (torch.nan if broken else 0)

    played, (_, packed) = game(model), some_coalitions(4)
    with pytest.raises(ModelOutputError):
        played.values(packed)
    broken = False
    assert np.isfinite(played.values(packed)).all()


@pytest.mark.parametrize("way", ["values", "each"])
def test_out_of_memory_halves_the_batch(way):
    sizes = []

    def model(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.mean((2, 3))

    packed = pack(np.eye(8))[:5] if way == "values" else some_coalitions(3, 5)[1]
    played = game(model, batch_size=12)
    values = getattr(played, way)(packed)
    assert sizes == [12, 6, 3, 3, 3, 3, 3]
    assert played.evaluations.tolist() == [5] * 3
    assert values == pytest.approx(getattr(game(lambda x: x.mean((2, 3))), way)(packed))


def test_devices():
    with pytest.raises(ValueError, match="meta device, so its weights hold no numbers"):
        game(network().to("meta"))
    with pytest.raises(ValueError, match=r"model is on cpu, not on meta"):
        game(network(), device="meta")
    assert game(lambda x: x.mean((2, 3)), device="cpu").device.type == "cpu"
    assert game(network().to(torch.float32)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images_reach_the_model_as_floats(dtype):
    x = (pictures(2, 3, 8, 6) * 255).to(dtype)

    def model(rows):
        assert rows.dtype == torch.float32
        return rows.mean((2, 3))

    _, packed = some_coalitions(4)
    assert game(model, x, "mean").values(packed) == pytest.approx(
        game(model, x.float(), "mean").values(packed)
    )
    net = network().float()
    assert game(net, x, "blur").values(packed) == pytest.approx(game(net, x.float(), "blur").values(packed))


def test_label_images_are_games_too():
    image = np.random.default_rng(0).integers(0, 8, size=(8, 6))
    tree = build_tree(8, 6, None, image)
    net, x = network(), pictures(2, 3, 8, 6)
    members, packed = some_coalitions(5)
    values = game(net, x, tree=tree).values(packed)
    assert values[1, 3] == pytest.approx(by_hand(net, x[1], members[3], tree=tree), abs=1e-14)
