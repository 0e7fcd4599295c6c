"""A step as one CUDA graph, with a graph that computes on the CPU: fixed places, warm-up undone, failure survived."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from toy_training import SHORT, STRONG, same_weights, small_network, trainer

from fercore.training import device as capture

RECIPES = {
    "paper": SHORT,
    "mixup": STRONG,
    "cutmix": replace(STRONG, mixup=0.0, cutmix=1.0, dropout=0.2),
}


@pytest.fixture
def stub(monkeypatch):
    """Stand in for CUDA: what runs under the graph is not kept, a replay computes the step from the fixed places."""

    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", lambda *_: Stream())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)

    class Graph(capture.Replay):
        def _capture(self):
            torch.cuda.CUDAGraph = lambda: self
            super()._capture()

        def replay(self):
            self.total.copy_(self.trainer.step(self.plan, self.rows, self.number))

    return Graph


def trained(recipe, replay=None):
    state = trainer(recipe, small_network(recipe.batch_norm, dropout=recipe.dropout))
    state.replay = None if replay is None else replay(state)
    return state, [state.epoch(number, progress=False) for number in (1, 2)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_replayed_steps_are_the_plain_ones(stub, recipe):
    plain, expected = trained(recipe)
    state, found = trained(recipe, stub)
    assert state.replay.graph is state.replay
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for one, other in zip(state.kept.state_dict().values(), plain.kept.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_capture_that_fails_is_told_and_leaves_nothing_behind(stub, monkeypatch, capsys):
    @contextlib.contextmanager
    def broken(_):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield

    monkeypatch.setattr(torch.cuda, "graph", broken)
    plain, expected = trained(STRONG)
    state, found = trained(STRONG, stub)
    assert (
        capsys.readouterr().out.count("could not be captured as a CUDA graph (operation not permitted") == 1
    )
    assert found == expected
    assert same_weights(plain.kept, state.kept)
