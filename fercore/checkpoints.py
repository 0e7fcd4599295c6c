"""Checkpoints as safetensors: weights for use, and the full state of a training run for resuming. No pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fercore.errors import CheckpointError

if TYPE_CHECKING:  # torch takes seconds to import, and writing a file needs none of it
    from torch import Tensor, nn
    from torch.optim import Optimizer

About = dict[str, Any]  # a description that JSON can hold


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, with its suffix, and rename it to ``path`` on success.

    A reader never sees half a file, and a failed or killed writer leaves ``path`` as it was. Its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; NaN is refused rather than written as invalid JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal checksum of a file, read in blocks so that its size does not matter."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def save(path: str | Path, tensors: dict[str, Tensor], about: About) -> None:
    """Write tensors, a JSON-able description and a checksum of both, atomically; a full disk is an ``OSError``."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole, said = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}, json.dumps(about)
    with atomic_path(path) as temporary:
        try:
            # One entry: of several, safetensors changes the order from run to run.
            save_file(whole, temporary, metadata={"about": f"{_digest(whole, said)} {said}"})
        except SafetensorError as error:  # safetensors' own, for a full disk too
            raise OSError(f"{path} could not be written ({error}).") from error


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    """Return the SHA-256 of names, types, shapes and bits of tensors, and of their description."""
    import torch

    content = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        content.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def read(path: str | Path) -> tuple[dict[str, Tensor], About]:
    """Read back what :func:`save` wrote; a damaged file is a :class:`CheckpointError` that names it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            checksum, _, said = (file.metadata() or {})["about"].partition(" ")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        if checksum != _digest(tensors, said):
            raise ValueError("its checksum is another")
        return tensors, json.loads(said)
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint of this project ({error}). Delete it and train again."
        ) from error


def save_training(
    path: Path, model: nn.Module, optimizer: Optimizer, about: About, averaged: nn.Module | None = None
) -> None:
    """Write weights, optimiser state and averaged weights in one file, so that all are always of the same epoch."""
    states = {f"optimizer.{k}": state for k, state in optimizer.state_dict()["state"].items()}
    states |= {"model": model.state_dict(), "average": {} if averaged is None else averaged.state_dict()}
    tensors = {f"{place}.{name}": t for place, state in states.items() for name, t in state.items()}
    save(path, tensors, about)


def load_training(
    path: Path, model: nn.Module, optimizer: Optimizer, key: str, averaged: nn.Module | None = None
) -> About:
    """Restore weights, optimiser state and averaged weights in place; return their description.

    A damaged file, one of another key and the weights of another network are a :class:`CheckpointError`.
    """
    import torch

    tensors, about = read(path)
    if about.get("key") != key:
        raise CheckpointError(
            f"{path} belongs to a training run with other settings, data or code. Delete it or choose another folder."
        )

    def part(place: str) -> dict[str, Tensor]:
        return {n.removeprefix(place): t for n, t in tensors.items() if n.startswith(place)}

    restore(path, model, part("model."))
    if averaged is not None:
        restore(path, averaged, part("average."))
    groups = optimizer.state_dict()["param_groups"]
    state = {k: found for k in groups[0]["params"] if (found := part(f"optimizer.{k}."))}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # CUDA's fused steps ask for states that lie in memory as their weights do.
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
    return about


def restore(path: str | Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights of any floating type into ``model``; those of another network are a :class:`CheckpointError`."""
    own = model.state_dict()
    if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in tensors.items()}:
        raise CheckpointError(f"{path} holds the weights of another network (layers, width, size or fusion).")
    model.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})
