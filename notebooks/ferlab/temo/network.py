"""T-EMO: one small network per emotion on landmark clips, and several of them side by side.

Stated by the second paper's abstract and summary: deep *binary* networks, one per emotion, on the landmarks of video
frames, retrained with fewer landmarks. Not public: its layers. Ours are

    embed     every frame alone: k landmarks x C coordinates -> H channels (affine)
    temporal  two convolutions over time, width 3, H -> H, each after a ReLU
    read out  the mean over the frames that exist, then H -> 1 logit

The authors' work before it is on *randomised* networks ("Randomized Neural Network" is among the paper's keywords);
``frozen=True`` leaves the embedding at its random start. Which layers theirs freezes is not public either.

Networks that have nothing in common can be computed together. A module holds S sets of landmarks with E networks on
each, M = S·E in all; each has parameters of its own, so training their summed loss trains each as if it were alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

HIDDEN = 8
WIDTH = 3


class TEmo(nn.Module):
    """T-EMO: ``networks`` (E) for each of S sets of landmarks, int (k,) or (S, k), of clips with C coordinates a point.

    Each gives one logit, or as many ``outputs`` as there are classes, and has ``hidden`` (H) channels.
    """

    def __init__(
        self,
        landmarks: np.ndarray,
        coordinates: int = 2,
        networks: int = 1,
        outputs: int = 1,
        hidden: int = HIDDEN,
        frozen: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sets = np.atleast_2d(np.asarray(landmarks, dtype=np.int64))
        if not sets.size or any(len(np.unique(row)) < len(row) for row in sets):
            raise ValueError("Choose at least one landmark, and none twice in one set.")
        self.sets, self.k = sets.shape
        self.coordinates, self.hidden, self.outputs = coordinates, hidden, outputs
        self.per_set, self.networks = networks, self.sets * networks  # E, M
        self.register_buffer("landmarks", torch.from_numpy(sets))
        # Standardisation: the mean of the training frames, and the spread around it.
        self.register_buffer("centre", torch.zeros(0))
        self.register_buffer("spread", torch.ones(()))
        random = torch.Generator().manual_seed(seed)

        def drawn(*shape: int, fan_in: int) -> nn.Parameter:  # as torch.nn.Linear does
            return nn.Parameter((2 * torch.rand(shape, generator=random) - 1) / fan_in**0.5)

        inputs, taps = self.k * coordinates, WIDTH * hidden
        self.weight = drawn(self.sets, inputs, networks * hidden, fan_in=inputs)
        self.bias = drawn(self.sets, 1, networks * hidden, fan_in=inputs)
        self.temporal = nn.ParameterList(drawn(self.networks, taps, hidden, fan_in=taps) for _ in range(2))
        self.offsets = nn.ParameterList(drawn(self.networks, 1, hidden, fan_in=taps) for _ in range(2))
        self.read_out = drawn(self.networks, hidden, outputs, fan_in=hidden)
        self.offset = drawn(self.networks, 1, outputs, fan_in=hidden)
        self.weight.requires_grad_(not frozen)
        self.bias.requires_grad_(not frozen)

    @torch.no_grad()
    def standardise(self, points: Tensor, mask: Tensor, each: bool = False) -> TEmo:
        """Take centre and spread, one or one of ``each`` coordinate, from the frames (N, T) of clips (N, T, P, C)."""
        frames = points[mask]
        self.centre = frames.mean(dim=0)
        spread = (frames - self.centre).square().mean(dim=0 if each else None).sqrt()
        self.spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        return self

    def choose(self, points: Tensor) -> Tensor:
        """Return the standardised landmarks of every set: (N, T, P, C) to (S, N, T, k·C)."""
        if self.centre.numel():
            points = (points - self.centre) / self.spread
        flat = points.flatten(start_dim=2)
        columns = self.landmarks[..., None] * self.coordinates + torch.arange(self.coordinates)
        return torch.stack([flat.index_select(2, row.flatten()) for row in columns])

    def embed(self, chosen: Tensor) -> Tensor:
        """Return every frame embedded: (S, N, T, k·C) from :meth:`choose` to (M, N, T, H), an affine map."""
        count, frames = chosen.shape[1:3]
        hidden = torch.baddbmm(self.bias, chosen.reshape(self.sets, count * frames, -1), self.weight)
        hidden = hidden.view(self.sets, count, frames, self.per_set, self.hidden)
        return hidden.permute(0, 3, 1, 2, 4).reshape(self.networks, count, frames, self.hidden)

    def tail(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits (N, M, outputs) of embedded clips (M, N, T, H), from the frames (N, T) that exist."""
        count, frames = hidden.shape[1:3]
        there = hidden.new_ones(count, frames, 1) if mask is None else mask[..., None].to(hidden.dtype)
        hidden = functional.relu(hidden) * there
        for weight, offset in zip(self.temporal, self.offsets, strict=True):
            padded = functional.pad(hidden, (0, 0, WIDTH // 2, WIDTH // 2))
            taps = torch.cat([padded[:, :, tap : tap + frames] for tap in range(WIDTH)], dim=3)
            hidden = torch.baddbmm(offset, taps.view(self.networks, count * frames, -1), weight)
            hidden = functional.relu(hidden).view(self.networks, count, frames, -1) * there
        mean = hidden.sum(dim=2) / there.sum(dim=1)
        return torch.baddbmm(self.offset, mean, self.read_out).transpose(0, 1)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (N, M, outputs) logits of clips (N, T, P, C) whose frames (N, T) exist; all by default."""
        return self.tail(self.embed(self.choose(points)), mask)

    def seen(self) -> Tensor:
        """Return the landmarks that each of the networks sees, (M, k)."""
        return self.landmarks.repeat_interleave(self.per_set, dim=0)

    @torch.no_grad()
    def only(self, which: int) -> TEmo:
        """Return one of the M networks alone, a copy."""
        place, part = divmod(which, self.per_set)
        alone = TEmo(self.landmarks[place].numpy(), self.coordinates, 1, self.outputs, self.hidden)
        alone.centre, alone.spread = self.centre.clone(), self.spread.clone()
        own = {name: value[which : which + 1] for name, value in self.named_parameters()}
        channels = slice(part * self.hidden, (part + 1) * self.hidden)
        own["weight"] = self.weight[place : place + 1, :, channels]
        own["bias"] = self.bias[place : place + 1, :, channels]
        for name, value in alone.named_parameters():
            value.copy_(own[name])
        return alone.eval()

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Carry gradients from the embedding (M, N, T, H) back to the points of each network, (M, N, T, k, C)."""
        count, frames = gradient.shape[1:3]
        weight = self.weight.view(self.sets, -1, self.per_set, self.hidden)
        weight = weight.permute(0, 2, 3, 1).reshape(self.networks, self.hidden, -1)
        pulled = torch.bmm(gradient.reshape(self.networks, -1, self.hidden), weight)
        pulled = pulled.view(self.networks, count, frames, self.k, self.coordinates)
        return pulled / (self.spread[self.seen()][:, None, None] if self.spread.ndim else self.spread)


def cost(network: TEmo, points: Tensor, repeats: int = 5) -> dict[str, float]:
    """Return what one clip costs, at the batch size of clips (N, T, P, C), on one thread.

    ``flops`` counts a multiplication and an addition as two; ``microseconds`` is the least of ``repeats``."""
    network.eval()
    seconds = []
    with one_thread(), torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(points[:1])
        for _ in range(repeats):
            start = time.perf_counter()
            network(points)
            seconds.append(time.perf_counter() - start)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops": counter.get_total_flops(),
        "microseconds": 1e6 * min(seconds, default=float("nan")) / len(points),
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread: for matrices as small as these, more of them wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def expected_flops(k: int, coordinates: int, frames: int, hidden: int = HIDDEN, outputs: int = 1) -> int:
    """Return the operations of one network on one clip in closed form, without biases and means, as PyTorch counts."""
    return 2 * frames * (k * coordinates * hidden + 2 * WIDTH * hidden * hidden) + 2 * hidden * outputs
