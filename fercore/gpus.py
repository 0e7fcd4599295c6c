"""One GPU for one run where several runs share a workstation.

Snakemake counts the GPUs of a machine and does not say which job gets which. So a run claims one by a lock on a file:
``FERCORE_GPUS=0,1`` names the devices, and a run that finds all of them taken waits. On a cluster the scheduler assigns
them, and the variable stays unset.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fercore import provenance

if TYPE_CHECKING:
    from filelock import FileLock

VARIABLE = "FERCORE_GPUS"
_PAUSE = 0.5  # seconds between two looks for a free device


def listed() -> list[str]:
    """Return the devices named in ``FERCORE_GPUS``: numbers or UUIDs, as ``CUDA_VISIBLE_DEVICES`` takes them.

    Raises:
        ValueError: If a name holds other characters than letters, digits, dots, slashes, underscores and hyphens.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if not all(character.isalnum() or character in "-_/." for character in name):
            raise ValueError(f"{VARIABLE}: {name!r} is not a device; write e.g. {VARIABLE}=0,1.")
    return list(dict.fromkeys(names))


@contextlib.contextmanager
def claimed(folder: Path | None = None) -> Iterator[str | None]:
    """Claim a device for the processes that are started inside; None where ``FERCORE_GPUS`` is not set.

    Args:
        folder: Where the locks lie; ``runs/`` of the project by default.

    Yields:
        The device, which is also in ``CUDA_VISIBLE_DEVICES`` until the end.
    """
    from filelock import FileLock

    names = listed()
    if not names:
        yield None
        return
    folder = provenance.project_root() / "runs" if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    locks = {name: FileLock(folder / f"gpu-{name.replace('/', '_')}.lock") for name in names}
    name = _first_free(locks)
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        yield name
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        locks[name].release()


def _first_free(locks: Mapping[str, FileLock]) -> str:
    """Wait until one of the locks can be taken, and take it."""
    from filelock import Timeout

    while True:
        for name, lock in locks.items():
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return name
        time.sleep(_PAUSE)
