"""Where and how precisely to compute, steps as one CUDA graph, and how much of the machine training uses."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from ferlab import networks
from torch import nn
from toy_training import SHORT, STRONG, fit, numbers, same_weights, small_network, trainer

from fercore.training import device


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one_and_none_is_named(monkeypatch, there, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert [device.choose_device(*name).type for name in ((), ("cpu",))] == [kind, "cpu"]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("precision", "inside"), [("float32", False), ("tf32", True), ("bfloat16", True)])
def test_rounding_is_let_inside_the_block_only(request, before, precision, inside):
    def rounding(*wanted):
        """Set, if asked, and return whether matrix products and convolutions of a GPU may round."""
        if wanted:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = wanted
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    request.addfinalizer(lambda kept=rounding(): rounding(*kept))  # noqa: B008
    rounding(before, not before)
    with pytest.raises(KeyError), device.matrix_products(precision):
        assert rounding() == (inside, inside)
        raise KeyError
    assert rounding() == (before, not before)


def test_a_compiled_network_trains_to_nearly_the_same_numbers(tmp_path, monkeypatch):
    """Traced and differentiated as ever, but not turned into machine code, which takes a compiler and a minute."""
    asked = []
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(
        torch, "compile", lambda model, real=torch.compile: asked.append(model) or real(model)
    )
    start = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 7))
    recipe, model = replace(SHORT, epochs=2), copy.deepcopy(start)
    plain, expected = fit(tmp_path / "plain", recipe, model=start)
    _, found = fit(tmp_path / "compiled", recipe, model=model, compiled=True)
    assert asked == [model]
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    for name, tensor in plain.state_dict().items():  # by the names of the network itself
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


# Steps as a CUDA graph, with a graph that computes on the CPU: fixed places, warm-up undone, failure survived


@pytest.fixture
def stub(monkeypatch):
    """Stand in for CUDA: what runs under the graph is not kept, a replay computes the step from the fixed places."""

    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: SimpleNamespace(wait_stream=lambda other: None))
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)

    class Graph(device.Replay):
        def __call__(self, plan, step):
            monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: self)
            return super().__call__(plan, step)

        def replay(self):
            self.total.copy_(self.trainer.step(self.plan, self.rows, self.number))

    return Graph


def trained(recipe, replay=None):
    state = trainer(recipe, small_network(recipe.batch_norm, dropout=recipe.dropout))
    state.replay = None if replay is None else replay(state)
    return state, [state.epoch(number, progress=False) for number in (1, 2)]


@pytest.mark.parametrize("changes", [None, {}, {"mixup": 0.0, "cutmix": 1.0, "dropout": 0.2}], ids=str)
def test_replayed_steps_are_the_plain_ones(stub, changes):
    recipe = SHORT if changes is None else replace(STRONG, **changes)
    plain, expected = trained(recipe)
    state, found = trained(recipe, stub)
    assert state.replay.graph is state.replay
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for one, other in zip(state.kept.state_dict().values(), plain.kept.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_capture_that_fails_is_told_once_and_leaves_nothing_behind(stub, monkeypatch, capsys):
    @contextlib.contextmanager
    def broken(_):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield

    monkeypatch.setattr(torch.cuda, "graph", broken)
    plain, expected = trained(STRONG)
    state, found = trained(STRONG, stub)
    assert capsys.readouterr().out.count("not be captured as a CUDA graph (operation not permitted") == 1
    assert found == expected
    assert same_weights(plain.kept, state.kept)


# Operations


@pytest.mark.parametrize("training", [False, True])
def test_operations_of_a_training_image_are_counted_as_in_a_closed_form(training):
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6 * 5, 7)]
    model = nn.Sequential(*layers).train(training)
    before = copy.deepcopy(model)
    convolution = 2 * (3 * 3 * 3) * 4 * (6 * 5)  # a product and a sum per weight and pixel
    linear = 2 * (4 * 6 * 5) * 7
    # Backwards the weights take as much again, and so do the inputs, except those of the first layer.
    assert networks.flops_per_image(model, (6, 5)) == 2 * convolution + 3 * linear
    assert model.training == training
    assert same_weights(model, before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_ceiling_is_what_the_fastest_product_reached(monkeypatch, precision):
    kinds, real = set(), torch.mm
    monkeypatch.setitem(networks.SIDE, "cpu", 64)
    monkeypatch.setattr(torch, "mm", lambda one, other: kinds.add(one.dtype) or real(one, other))
    clock = iter([0.0, 1.0, 3.0, 3.0, 4.0, 5.0, 6.0])  # two products, of two and of one second
    monkeypatch.setattr(networks.time, "perf_counter", lambda: next(clock))
    assert networks.ceiling(torch.device("cpu"), precision, seconds=5.5) == 2 * 64**3 / 1.0
    assert kinds == {getattr(torch, precision)}
