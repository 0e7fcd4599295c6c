"""The one cache of the companion: what took long is computed once, found by its key, and refused when damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor, nn

from fercore import checkpoints
from fercore.errors import CheckpointError
from ferlab import definitions, provenance

Kept = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and a description that JSON can hold


def key_of(*parts: Any) -> str:
    """Return the SHA-256 of everything that decides a result.

    Arrays and tensors count by type, shape and bits; networks by class and weights; functions and classes of these
    packages by what they and all that they reach say; dataclasses by their fields; the rest as JSON.
    """
    content = hashlib.sha256()
    for part in parts:
        _add(content, part)
    return content.hexdigest()


def _add(content: Any, part: Any) -> None:
    if isinstance(part, nn.Module):
        part = [f"{type(part).__module__}.{type(part).__qualname__}", *sorted(part.state_dict().items())]
    if isinstance(part, Tensor):
        part = part.detach().cpu().contiguous().numpy()
    if isinstance(part, np.ndarray):
        content.update(f"{part.dtype}{part.shape}".encode())
        content.update(np.ascontiguousarray(part))  # not its `tobytes`, which is a copy of the whole set
    elif callable(part) and part.__module__.split(".")[0] in definitions.ROOTS:
        content.update(definitions.code(part).encode())
    elif is_dataclass(part) and not isinstance(part, type):
        _add(content, [[known.name, getattr(part, known.name)] for known in fields(part)])
    elif isinstance(part, list | tuple):
        content.update(f"{len(part)}[".encode())
        for one in part:
            _add(content, one)
    else:
        content.update(f"{json.dumps(part, sort_keys=True)};".encode())


def find(places: Iterable[Path], key: str) -> Kept | None:
    """Read the first of some files that is there and of this key; a damaged one is a ``CheckpointError``."""
    for path in filter(Path.exists, places):
        tensors, about = checkpoints.read(path)
        if about.get("key") == key:
            return tensors, about
    return None


def kept(
    path: Path, key: str, compute: Callable[[], Kept], elsewhere: Iterable[Path] = (), strict: bool = False
) -> Kept:
    """Return what a file keeps for a key, or one ``elsewhere``; else compute it. Keep it in the file, in one rename.

    A file of another key is replaced. So is a damaged one, and a full disk is but a warning, unless ``strict``: then
    they are errors, since what took hours should not be made again unasked, nor by two processes at once.
    """
    places = [path, *elsewhere]
    found = _first(places, key, strict)
    with _alone(path, key) if strict and not found else contextlib.nullcontext():
        found = found or _first(places, key, strict)  # another process may have made it meanwhile
        (tensors, about), place = found or (compute(), None)
        about = {**about, "key": key}
        try:
            if place != path:
                checkpoints.save(path, tensors, about)
        except OSError as error:
            if strict:
                raise
            warnings.warn(f"{path}: could not be kept ({error}); it will be computed again.", stacklevel=2)
    return tensors, about


def _first(places: Iterable[Path], key: str, strict: bool) -> tuple[Kept, Path] | None:
    """Return what the first file of this key holds, and that file."""
    for place in places:
        try:
            if found := find([place], key):
                return found, place
        except CheckpointError:
            if strict:
                raise
    return None


@contextlib.contextmanager
def _alone(path: Path, key: str) -> Iterator[None]:
    """Let one process at a time compute what a file is to keep; the lock dies with its process."""
    name = hashlib.sha256(f"{path} {key}".encode()).hexdigest()[:16]
    lock = FileLock(provenance.project_root() / "runs" / "locks" / f"{name}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is computing {path.name}: waiting for it.", flush=True)
        held = lock.acquire()
    with held:
        yield
