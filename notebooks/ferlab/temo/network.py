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
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 8
WIDTH = 3


class TEmo(nn.Module):
    """T-EMO networks on landmark clips.

    Args:
        landmarks: Which points the networks see: an int array (k,), or (S, k) for S sets of the same size.
        coordinates: C, coordinates per point.
        networks: E, networks on each set (one per emotion, say).
        outputs: Logits per network: 1 for a binary network, the number of classes for one of all classes.
        hidden: H, channels.
        frozen: Leave the embedding at its random values.
        seed: Of the random values.

    Raises:
        ValueError: If there is no landmark, or one is chosen twice in a set.
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
        if sets.ndim != 2 or not sets.size:
            raise ValueError(f"landmarks must be (k,) or (S, k) with k at least 1, not {sets.shape}.")
        if any(len(np.unique(row)) < len(row) for row in sets):
            raise ValueError("A landmark is chosen twice in one set.")
        self.sets, self.k = sets.shape
        self.coordinates, self.hidden, self.outputs = coordinates, hidden, outputs
        self.networks = self.sets * networks  # M
        self.register_buffer("landmarks", torch.from_numpy(sets))
        # Standardisation: the mean of the training frames, and the spread around it.
        self.register_buffer("centre", torch.zeros(0))
        self.register_buffer("spread", torch.ones(()))
        random = torch.Generator().manual_seed(seed)
        inputs, width = self.k * coordinates, networks * hidden
        self.weight = nn.Parameter(_uniform((self.sets, inputs, width), inputs, random))
        self.bias = nn.Parameter(_uniform((self.sets, 1, width), inputs, random))
        taps = WIDTH * hidden
        self.temporal = nn.ParameterList(
            _uniform((self.networks, taps, hidden), taps, random) for _ in range(2)
        )
        self.offsets = nn.ParameterList(_uniform((self.networks, 1, hidden), taps, random) for _ in range(2))
        self.read_out = nn.Parameter(_uniform((self.networks, hidden, outputs), hidden, random))
        self.offset = nn.Parameter(_uniform((self.networks, 1, outputs), hidden, random))
        if frozen:
            self.weight.requires_grad_(False)
            self.bias.requires_grad_(False)

    @torch.no_grad()
    def standardise(self, points: Tensor, mask: Tensor, each: bool = False) -> TEmo:
        """Take centre and spread from training clips; part of the network from then on.

        Args:
            points: (N, T, P, C) training clips.
            mask: (N, T) bool, frames that exist.
            each: Divide each coordinate of each point by its own spread, for columns of different units. Otherwise one
                number serves all, so that the geometry of the face is kept.

        Returns:
            The module itself.
        """
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
        hidden = hidden.view(self.sets, count, frames, -1, self.hidden)
        return hidden.permute(0, 3, 1, 2, 4).reshape(self.networks, count, frames, self.hidden)

    def tail(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits of embedded clips.

        Args:
            hidden: (M, N, T, H) from :meth:`embed`.
            mask: (N, T) bool, frames that exist; all by default. The others have no influence.

        Returns:
            (N, M, outputs) logits.
        """
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

    @torch.no_grad()
    def only(self, which: int) -> TEmo:
        """Return one of the M networks alone, a copy.

        Raises:
            IndexError: If there is no such network.
        """
        if not 0 <= which < self.networks:
            raise IndexError(f"There are networks 0 to {self.networks - 1}, not {which}.")
        each = self.networks // self.sets
        place, part = divmod(which, each)
        row = self.landmarks[place].numpy()
        alone = TEmo(row, self.coordinates, outputs=self.outputs, hidden=self.hidden)
        channels = slice(part * self.hidden, (part + 1) * self.hidden)
        alone.centre, alone.spread = self.centre.clone(), self.spread.clone()
        alone.weight.copy_(self.weight[place : place + 1, :, channels])
        alone.bias.copy_(self.bias[place : place + 1, :, channels])
        own = (*self.temporal, *self.offsets, self.read_out, self.offset)
        copies = (*alone.temporal, *alone.offsets, alone.read_out, alone.offset)
        for copy, value in zip(copies, own, strict=True):
            copy.copy_(value[which : which + 1])
        return alone.eval()

    def pull_back(self, gradient: Tensor) -> Tensor:
        """Carry gradients with respect to the embedding back to the points.

        Args:
            gradient: (M, N, T, H).

        Returns:
            (M, N, T, k, C), those of network m with respect to the points of its own set.
        """
        count, frames = gradient.shape[1:3]
        weight = self.weight.view(self.sets, -1, self.networks // self.sets, self.hidden)
        weight = weight.permute(0, 2, 3, 1).reshape(self.networks, self.hidden, -1)
        pulled = torch.bmm(gradient.reshape(self.networks, -1, self.hidden), weight)
        pulled = pulled.view(self.networks, count, frames, self.k, self.coordinates)
        if self.spread.ndim == 0:
            return pulled / self.spread
        spread = self.spread[self.landmarks].repeat_interleave(self.networks // self.sets, dim=0)
        return pulled / spread[:, None, None]


def _uniform(shape: tuple[int, ...], fan_in: int, random: torch.Generator) -> Tensor:
    """Draw as ``torch.nn.Linear`` does: uniform in ±1 / sqrt(fan_in)."""
    return (2 * torch.rand(shape, generator=random) - 1) / fan_in**0.5


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
        parameters: Trainable and frozen numbers.
        flops: Floating-point operations (a multiplication and an addition are two) to classify one clip.
        microseconds: Measured time per clip on this machine, the least of several runs; nan where not measured.
    """

    parameters: int
    flops: int
    microseconds: float


def cost(network: TEmo, points: Tensor, repeats: int = 5) -> Cost:
    """Measure a network on clips.

    Time is taken with one thread: more of them do not pay for matrices of this size, and wait for each other.

    Args:
        network: The network; for a module of several, all of them together.
        points: (N, T, P, C) clips, N the batch size that time is measured at.
        repeats: How often to measure; 0 leaves time out.

    Returns:
        Parameters, operations and time of one clip.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    seconds = []
    with one_thread(), torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(points[:1])
        for _ in range(repeats):
            start = time.perf_counter()
            network(points)
            seconds.append(time.perf_counter() - start)
    fastest = 1e6 * min(seconds) / len(points) if seconds else float("nan")
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops(), fastest)


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
    """Return the operations of one network on one clip in closed form, without biases and means, as PyTorch counts.

    Args:
        k: Landmarks.
        coordinates: C, coordinates per point.
        frames: T.
        hidden: H, channels.
        outputs: Logits.
    """
    return 2 * frames * (k * coordinates * hidden + 2 * WIDTH * hidden * hidden) + 2 * hidden * outputs
