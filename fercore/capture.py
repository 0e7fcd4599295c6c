"""A training step as one CUDA graph: launched once a step, so that the host never holds up the device."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fercore.augmentation import Plan

if TYPE_CHECKING:
    from fercore.training import _Trainer

WARM_UP = 3  # steps before the capture, in which libraries choose their algorithms; undone afterwards


class Replay:
    """Replay a trainer's step with other rows of the epoch's plan; captured at the first call.

    Where the capture fails (no memory, an operation that cannot be captured), says so once and computes steps one by
    one, with the same results up to rounding.

    Args:
        trainer: Its ``step`` reads the plan, the rows, the learning rate and the decay from fixed places on the device.
    """

    def __init__(self, trainer: _Trainer) -> None:
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
