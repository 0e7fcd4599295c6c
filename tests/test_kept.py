"""The one cache: computed once, found by its key wherever it lies, made again after damage, never half written."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ferlab.kept import kept, key_of

from fercore import checkpoints
from fercore.errors import CheckpointError


class Counted:
    """Something that takes long, and how often it was done."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.times = value, 0

    def __call__(self):
        self.times += 1
        return {"value": torch.tensor([self.value])}, {"said": "so"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rooms" / "one.safetensors"


def test_computed_once(file):
    work = Counted(2.5)
    for _ in range(2):
        tensors, about = kept(file, "k", work)
        assert tensors["value"].tolist() == [2.5]
        assert (about["said"], about["key"]) == ("so", "k")
    assert work.times == 1


def test_another_key_is_computed_and_replaces(file):
    kept(file, "old", Counted(1.0))
    assert kept(file, "new", Counted(2.0))[0]["value"].item() == 2.0
    assert checkpoints.read(file)[1]["key"] == "new"


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "text"])
def test_damage_is_noticed(file, harm):
    kept(file, "k", Counted(1.0))
    whole = file.read_bytes()
    hurt = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "emptied": b"",
        "text": b"a page of a web server",
    }[harm]
    file.write_bytes(hurt)
    with pytest.raises(CheckpointError, match=r"one\.safetensors"):
        kept(file, "k", Counted(2.0), strict=True)
    assert file.read_bytes() == hurt  # what took hours is not thrown away unasked
    work = Counted(2.0)
    assert kept(file, "k", work)[0]["value"].item() == 2.0
    assert kept(file, "k", work)[0]["value"].item() == 2.0
    assert work.times == 1


def test_a_kill_while_it_is_written_leaves_what_was_there(file, monkeypatch):
    kept(file, "old", Counted(1.0))
    before = file.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        kept(file, "new", Counted(2.0))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_no_room_is_said_and_nothing_is_lost(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert kept(file, "k", Counted(2.0))[0]["value"].item() == 2.0
    with pytest.raises(OSError, match="No space left"):
        kept(file, "k", Counted(2.0), strict=True)


def test_found_elsewhere_and_copied(file, tmp_path):
    published, never = tmp_path / "published.safetensors", Counted()
    kept(published, "k", Counted(3.0))
    assert kept(file, "k", never, elsewhere=[tmp_path / "absent", published])[0]["value"].item() == 3.0
    assert never.times == 0
    assert checkpoints.read(file)[1]["key"] == "k"


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
    *(1, "1", 1.5, None, [1], [[1], []], [[], [1]], {"a": 1}, True),
    *(np.zeros(4, np.float32), np.zeros(4), np.zeros((2, 2)), np.ones(4)),
    *(torch.ones(4), weights(0.0), weights(1.0)),
    *(Two(), Two(2), Two(two=np.ones(1)), Two(two=np.zeros(1)), kept, key_of),
]


def test_keys_tell_things_apart():
    keys = [key_of(thing) for thing in DIFFERENT] + [key_of(1, 2), key_of([1, 2]), key_of(2, 1)]
    same = [(i, j) for i in range(len(keys)) for j in range(i) if keys[i] == keys[j]]
    assert same == []


def test_keys_of_equal_things_are_equal():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of(weights(1.0)) == key_of(weights(1.0))
    assert key_of(np.arange(6).reshape(2, 3)) == key_of(np.arange(6).reshape(3, 2).T.copy().T.reshape(2, 3))
    assert key_of(np.arange(6).reshape(2, 3).T) == key_of(np.ascontiguousarray(np.arange(6).reshape(2, 3).T))
    assert key_of(torch.ones(2)) == key_of(np.ones(2, np.float32))


def test_what_has_no_checksum_is_no_key():
    with pytest.raises(TypeError):
        key_of(print)
