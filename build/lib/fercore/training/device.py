"""Where and how to compute: the device, mixed precision, memory that runs out, steps as CUDA graphs."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import replace
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
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextlib.contextmanager
def matrix_products(precision: Precision) -> Iterator[None]:
    """Let a GPU round products and convolutions to TF32 inside the ``with`` block, unless ``"float32"`` is asked."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def forked(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the ``with`` block after which torch's random numbers go on as before it."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextlib.contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """Let torch's own random numbers (dropped units) depend on (seed, epoch) alone inside the ``with`` block."""
    with forked(device):
        torch.manual_seed(int(np.random.default_rng([seed, epoch, 1]).integers(2**31)))
        yield


def smaller(size: int, batch_size: int) -> int:
    """Return half of a number of images that memory did not hold, and say that a step still takes ``batch_size``."""
    if size == 1:
        raise FercoreError(
            "Memory does not hold one training image: lower width, or train on another device."
        )
    torch.cuda.empty_cache()  # nothing without a GPU
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
        self.trainer, self.graph = trainer, None
        self.rows = torch.arange(trainer.recipe.batch_size, device=trainer.device)
        self.number = torch.zeros(1, dtype=torch.int64, device=trainer.device)
        self.plan: Plan | None = None  # where the graph reads
        self.current: Plan | None = None  # whose contents lie there
        self.total: Tensor | None = None

    def __call__(self, plan: Plan, step: int) -> Tensor:
        """Take one step on a full batch; return its summed loss and hits, (2,) float64 on the device."""
        start, stop = step * len(self.rows), (step + 1) * len(self.rows)
        if self.current is not plan:
            tensors = {name: value for name, value in vars(plan).items() if isinstance(value, Tensor)}
            if self.plan is None:
                self.plan = replace(plan, **{name: tensor.clone() for name, tensor in tensors.items()})
            for name, tensor in tensors.items():
                getattr(self.plan, name).copy_(tensor)
            self.current = plan
        self.rows.copy_(torch.arange(start, stop, device=self.rows.device))
        self.number.fill_(step)
        if self.graph is None:
            self._capture()
        if self.graph is None:
            self.trainer.replay = None  # not tried again
            return self.trainer.step(plan, slice(start, stop), step)
        self.graph.replay()
        return self.total

    def _capture(self) -> None:
        device = self.trainer.device
        before = {id(tensor): tensor.clone() for tensor in self._state()}
        benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            with forked(device):
                self._record()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            self.graph = None
            torch.cuda.synchronize(device)
            reason = str(error).splitlines()[0]
            print(f"The step could not be captured as a CUDA graph ({reason}): one by one.")
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
        gc.collect()  # an older graph that is freed during the capture would break it
        gc.disable()
        try:
            with torch.cuda.graph(self.graph):
                self.total = trainer.step(self.plan, self.rows, self.number)
        finally:
            gc.enable()

    def _state(self) -> list[Tensor]:
        """Return everything that a step changes: weights, statistics, averaged weights, state of the optimiser."""
        networks = [self.trainer.model, *([] if self.trainer.averaged is None else [self.trainer.averaged])]
        found = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
        states = self.trainer.optimizer.state.values()
        return found + [value for state in states for value in state.values() if isinstance(value, Tensor)]
