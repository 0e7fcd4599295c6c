"""Where and how to compute: the device, mixed precision, memory that runs out, steps as CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fercore.errors import FercoreError
from fercore.training.augmentation import Plan
from fercore.training.recipes import Precision

WARM_UP = 3  # steps before the capture, in which libraries choose their algorithms; undone afterwards


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
        precision: As in :class:`fercore.training.recipes.Recipe`.
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
        precision: As in :class:`fercore.training.recipes.Recipe`.
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


class Replay:
    """Replay a trainer's step with other rows of the epoch's plan; captured at the first call.

    Where the capture fails (no memory, an operation that cannot be captured), says so once and computes steps one by
    one, with the same results up to rounding.

    Args:
        trainer: The state of a training run; its ``step`` reads the plan, the rows, the learning rate and the decay
            from fixed places on the device.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.graph, self.failed = trainer, None, False
        size, device = trainer.recipe.batch_size, trainer.device
        self.rows, self.number = (
            torch.arange(size, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
        )
        self.plan: Plan | None = None
        self.current: Plan | None = None  # whose contents lie in `plan`
        self.total: Tensor | None = None

    def __call__(self, plan: Plan, step: int) -> Tensor:
        """Take one step on a full batch; return its summed loss and hits, (2,) float64 on the device."""
        size = len(self.rows)
        self._hold(plan)
        self.rows.copy_(torch.arange(step * size, (step + 1) * size, device=self.rows.device))
        self.number.fill_(step)
        if self.graph is None and not self.failed:
            self._capture()
        if self.failed:
            return self.trainer.step(plan, slice(step * size, (step + 1) * size), step)
        self.graph.replay()
        return self.total

    def _hold(self, plan: Plan) -> None:
        """Copy an epoch's plan to where the graph reads it."""
        if self.current is plan:
            return
        tensors = {f.name: getattr(plan, f.name) for f in fields(Plan) if f.name != "side"}
        if self.plan is None:
            self.plan = replace(plan, **{n: None if t is None else t.clone() for n, t in tensors.items()})
        for name, tensor in tensors.items():
            if tensor is not None:
                getattr(self.plan, name).copy_(tensor)
        self.current = plan

    def _capture(self) -> None:
        device = self.trainer.device
        before = {id(tensor): tensor.clone() for tensor in self._state()}
        benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                self._record()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            self.graph, self.failed = None, True
            torch.cuda.synchronize(device)
            print(
                f"The step could not be captured as a CUDA graph ({str(error).splitlines()[0]}): one by one."
            )
        finally:
            torch.backends.cudnn.benchmark = benchmark
            with torch.no_grad():
                for tensor in self._state():  # states that the warm-up began, begin at zero
                    tensor.copy_(before[id(tensor)]) if id(tensor) in before else tensor.zero_()

    def _record(self) -> None:
        """Warm up beside the main stream, as CUDA graphs want it, then capture one step."""
        trainer, device = self.trainer, self.trainer.device
        beside = torch.cuda.Stream(device)
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                trainer.step(self.plan, self.rows, self.number)
        torch.cuda.current_stream(device).wait_stream(beside)
        trainer.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.total = trainer.step(self.plan, self.rows, self.number)

    def _state(self) -> list[Tensor]:
        """Return everything that a step changes: weights, statistics, averaged weights, state of the optimiser."""
        trainer = self.trainer
        networks = [trainer.model, *([] if trainer.averaged is None else [trainer.averaged])]
        found = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
        states = trainer.optimizer.state.values()
        return found + [value for state in states for value in state.values() if isinstance(value, Tensor)]
