"""The one cache: computed once, found by its key wherever it lies, made again after damage, never half written."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import torch
from ferlab.kept import kept, key_of

from fercore import checkpoints
from fercore.errors import CheckpointError
from fercore.training import evaluation


class Cache:
    """A file of the cache, and what was computed for it."""

    def __init__(self, file):
        self.file, self.computed = file, []

    def ask(self, key, value, **options):
        """Return the value that is kept for a key, else this one."""

        def compute():
            self.computed.append(value)
            return {"value": torch.tensor([value])}, {"said": "so"}

        tensors, about = kept(self.file, key, compute, **options)
        assert (about["said"], about["key"]) == ("so", key)
        return tensors["value"].item()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "rooms" / "one.safetensors")


def test_computed_once_for_each_key_and_found_wherever_it_lies(cache, tmp_path):
    asked = [("a", 1.0), ("a", 2.0), ("b", 3.0), ("b", 4.0)]
    assert [cache.ask(*one) for one in asked] == [1.0, 1.0, 3.0, 3.0]
    assert cache.computed == [1.0, 3.0]
    other = Cache(tmp_path / "other.safetensors")
    assert other.ask("b", 5.0, elsewhere=[tmp_path / "absent", cache.file]) == 3.0
    assert other.computed == []
    assert checkpoints.read(other.file)[1]["key"] == "b"  # copied


def test_what_takes_hours_is_computed_by_one_process_and_the_other_waits_for_it(cache, capsys):
    begun, may_end = threading.Event(), threading.Event()

    def slowly():
        begun.set()
        may_end.wait()
        return {"value": torch.tensor([1.0])}, {"said": "so"}

    with ThreadPoolExecutor() as pool:
        first = pool.submit(kept, cache.file, "k", slowly, strict=True)
        begun.wait()
        second = pool.submit(cache.ask, "k", 2.0, strict=True)
        while "one.safetensors: waiting for it" not in capsys.readouterr().out:
            time.sleep(0.01)
        may_end.set()
        assert (first.result()[0]["value"].item(), second.result(), cache.computed) == (1.0, 1.0, [])


@pytest.mark.parametrize(
    "harm", [lambda w: w[: len(w) // 2], lambda w: w[:-1] + bytes([w[-1] ^ 1]), lambda w: b""]
)
def test_damage_is_named_where_it_is_strict_and_else_made_again(cache, harm):
    cache.ask("k", 1.0)
    hurt = harm(cache.file.read_bytes())
    cache.file.write_bytes(hurt)
    with pytest.raises(CheckpointError, match=r"one\.safetensors"):
        cache.ask("k", 2.0, strict=True)
    assert cache.file.read_bytes() == hurt  # what took hours is not thrown away unasked
    assert [cache.ask("k", 2.0), cache.ask("k", 3.0)] == [2.0, 2.0]


def test_a_kill_or_a_full_disk_leaves_what_was_there(cache, monkeypatch):
    cache.ask("old", 1.0)
    before = cache.file.read_bytes()
    monkeypatch.setattr(os, "replace", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.ask("new", 2.0)
    monkeypatch.setattr(os, "replace", mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.warns(UserWarning, match="No space left"):
        assert cache.ask("new", 2.0) == 2.0
    with pytest.raises(OSError, match="No space left"):
        cache.ask("new", 2.0, strict=True)
    assert {path: path.read_bytes() for path in cache.file.parent.iterdir()} == {cache.file: before}


@dataclass(frozen=True)
class Two:
    one: int = 1
    two: object = None


def weights(scale: float) -> torch.nn.Module:
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(layer.weight, scale)
    torch.nn.init.zeros_(layer.bias)
    return layer


DIFFERENT = [
    *(1, "1", 1.5, None, [1], [[1], []], [[], [1]], {"a": 1}, True, [1, 2], [2, 1]),
    *(np.zeros(4, np.float32), np.zeros(4), np.zeros((2, 2)), np.ones(4)),
    *(torch.ones(4), weights(0.0), weights(1.0)),
    *(Two(), Two(2), Two(two=np.ones(1)), Two(two=np.zeros(1)), evaluation.score, evaluation.predict),
]
GRID = np.arange(6).reshape(2, 3)
EQUAL = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (weights(1.0), weights(1.0)),
    (GRID.T, np.ascontiguousarray(GRID.T)),
    (torch.ones(2), np.ones(2, np.float32)),
]


def test_keys_tell_things_apart_and_are_the_same_for_equal_ones():
    keys = [key_of(thing) for thing in DIFFERENT] + [key_of(1, 2)]
    assert len(set(keys)) == len(keys)
    assert all(key_of(one) == key_of(other) for one, other in EQUAL)
    with pytest.raises(TypeError):  # it has no checksum
        key_of(print)
