"""Where and how precisely to compute: the device, mixed precision, and memory that runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from fercore.errors import FercoreError
from fercore.recipes import Precision


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; ``"auto"`` is the GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


@contextlib.contextmanager
def matrix_products(precision: Precision) -> Iterator[None]:
    """Let products and convolutions of a GPU round to TF32 inside the ``with`` block, unless ``"float32"`` is asked.

    The settings of torch are then as they were before. Gradients belong into the block too.

    Args:
        precision: As in :class:`fercore.recipes.Recipe`.
    """
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def layers(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the ``with`` block in which the layers of a network compute in mixed precision, if that is asked.

    Args:
        device: Where the layers compute.
        precision: As in :class:`fercore.recipes.Recipe`.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextlib.contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Let torch's own random numbers (dropped units) depend on (seed, epoch) alone inside the ``with`` block."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.default_rng([seed, epoch, 1]).integers(2**31)))
        yield


def smaller(size: int, batch_size: int) -> int:
    """Return half of a number of images that did not fit into the device's memory, and say so.

    Args:
        size: How many images were computed at once.
        batch_size: How many make a step; the gradients of the parts are summed, so the step stays the same.

    Raises:
        FercoreError: If a single image does not fit.
    """
    if size == 1:
        raise FercoreError(
            "The device's memory does not hold one training image: lower width, or train on another device."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = -(-size // 2)
    print(
        f"The device's memory does not hold {size} images at once: computing {half} at a time and adding up the "
        f"gradients, so that a step still takes {batch_size}. Batch normalisation sees the smaller batches."
    )
    return half
