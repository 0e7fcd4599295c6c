"""The networks that are explained, and the floor: as many images through the same network, and nothing else.

The speed of a machine drifts by a third within minutes, so the floor is not measured before or after an explanation but
during it: :class:`Watched` stands between the explainer and the network and runs batches of the floor in between. On a
GPU, where an explainer may queue work ahead of the device, every run is followed by its floor instead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from ferlab import faces
from torch import Tensor, nn

from fercore import load_pretrained, models

CLASSES = 7


@dataclass
class Network:
    """A network, the size of its images, and how the tables call it."""

    name: str
    size: int
    module: nn.Module
    about: str


def proposed(size: int, seed: int) -> Network:
    """Return the paper's network at a quarter of its width: the one that comes with the package at 48 pixels."""
    if size == 48:
        module, about = load_pretrained(), "trained on FER2013"
    else:
        module = models.build("proposed", width=0.25, size=(size, size), seed=seed)
        about = "random weights"
    return Network("proposed", size, module.eval(), f"proposed network (width 0.25, {about}), {size} px")


def paper(size: int, seed: int) -> Network:
    """Return the paper's network at its full width, with random weights."""
    module = models.build("proposed", size=(size, size), seed=seed)
    about = "proposed network (the paper's width, random weights)"
    return Network("paper", size, module.eval(), f"{about}, {size} px")


def small(size: int, seed: int) -> Network:
    """Return three convolutions: so cheap that an explainer's own work shows."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES))
    return Network("small", size, module.eval(), f"small network (3 convolutions, random weights), {size} px")


def cheap(size: int, seed: int) -> Network:
    """Return one strided convolution with a pool behind it, for images that are large."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 8, stride=8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, CLASSES),
    )
    return Network("cheap", size, module.eval(), f"one strided convolution (random weights), {size} px")


def vgg16(size: int, seed: int) -> Network:
    """Return torchvision's VGG-16 with random weights and seven classes."""
    from torchvision.models import vgg16 as build

    torch.manual_seed(seed)
    module = build(weights=None, num_classes=CLASSES).to(memory_format=torch.channels_last)
    return Network("vgg16", size, module.eval(), f"VGG-16 (random weights, {CLASSES} classes), {size} px")


NETWORKS = {build.__name__: build for build in (proposed, paper, small, cheap, vgg16)}


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    """Return faces of the embedded data set, float32 array (count, size, size, 3) in 0..1."""
    characters = -(-count // 7)
    dataset = faces.load(size=size, characters=characters, variants=1, seed=seed, progress=False)
    return dataset.images[:count].astype(np.float32) / 255.0


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Floor:
    """Batches that lie ready on the device, in the layout that suits it, and the network that they run through.

    Attributes:
        batch: The best batch size: of the powers of two tried, the one with the least time per row.
        row_seconds: Time per row at that size, as found when it was looked for.
        tried: {batch size: seconds per row}.
    """

    def __init__(self, module: nn.Module, images: np.ndarray, device: torch.device, seconds: float = 12.0):
        """Prepare the batches and look for the best size, spending about ``seconds``."""
        self.module, self.device = module, device
        layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        rows = torch.from_numpy(images).permute(0, 3, 1, 2)
        most = self._most(rows[0].numel() * rows.element_size())
        rows = rows.repeat(-(-most // len(rows)), 1, 1, 1)[:most]
        self._rows = rows.to(device).contiguous(memory_format=layout)
        self.tried = self._search(most, seconds)
        self.batch = min(self.tried, key=self.tried.__getitem__)
        self.row_seconds = self.tried[self.batch]

    def _most(self, row_bytes: int) -> int:
        """Return the largest batch to try, a power of two: a row costs about 64 times its bytes in a VGG."""
        memory = torch.cuda.mem_get_info(self.device)[0] // 4 if self.device.type == "cuda" else 2**31
        limit = 2048 if self.device.type == "cuda" else 512
        return 2 ** int(np.log2(min(max(memory // (64 * row_bytes), 1), limit)))

    def _search(self, most: int, seconds: float) -> dict[int, float]:
        """Time batches of 1, 2, 4 ... rows in turn, three times over: machines drift, so the fastest of each counts."""
        self.push(1)
        tried: dict[int, float] = {}
        start = time.perf_counter()
        for number in (1, 2, 3):
            for size in 2 ** np.arange(int(np.log2(most)) + 1):
                expected = size * min(tried.values(), default=0.0)
                if tried and time.perf_counter() - start + expected > seconds * number / 3:
                    break
                tried[int(size)] = min(tried.get(int(size), np.inf), self.push(int(size)) / size)
        return tried

    def push(self, rows: int, batch: int | None = None) -> float:
        """Run rows through the network in batches and return the seconds."""
        batch = min(batch or rows, len(self._rows))
        synchronise(self.device)
        start = time.perf_counter()
        with torch.inference_mode():
            for first in range(0, rows, batch):
                self.module(self._rows[: min(batch, rows - first)])
        synchronise(self.device)
        return time.perf_counter() - start


class Watched(nn.Module):
    """The network as the explainers see it: counts rows and calls, and runs the floor in between.

    Args:
        module: The network.
        floor: What to run in between; nothing if None.
        same: Whether the floor runs in the explainer's own batches instead of the best size.
        every: Run the floor for one row in so many, to save time; its time per row counts for all.
    """

    def __init__(self, module: nn.Module, floor: Floor | None = None, same: bool = False, every: int = 1):
        super().__init__()
        self.module, self.floor, self.same, self.every = module, floor, same, every
        self.rows = self.calls = self._owed = self._floor_rows = 0
        self.paused = self._floor_seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output; run the floor for the rows that are due."""
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        scores = self.module(x)
        if self.floor is not None:
            start = time.perf_counter()
            self._owed += len(x)
            size = len(x) if self.same else self.floor.batch
            while self._owed >= size * self.every:
                self._run(size)
                self._owed -= size * self.every
            self.paused += time.perf_counter() - start
        return scores

    def _run(self, rows: int, batch: int | None = None) -> None:
        assert self.floor is not None
        self._floor_seconds += self.floor.push(rows, batch)
        self._floor_rows += rows

    def floor_seconds(self, floor: Floor) -> float:
        """Return the floor of all rows seen; what was not run in between is run now, or counted at the same rate."""
        if self._floor_rows == 0:
            self.floor = floor
            self._run(min(self.rows, max(floor.batch, self.rows // self.every)), floor.batch)
        return self._floor_seconds / self._floor_rows * self.rows
