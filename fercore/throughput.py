"""How much of the machine training uses: images per second beside the measured ceiling of matrix products."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fercore import compute
from fercore.recipes import Precision

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices: large enough that nothing but the product counts


def ceiling(device: torch.device, precision: Precision, seconds: float = 0.5) -> float:
    """Measure the fastest product of two square matrices, in floating-point operations per second.

    Args:
        device: Where to compute.
        precision: As in :class:`fercore.recipes.Recipe`.
        seconds: How long to go on; the fastest product counts.
    """
    side = SIDE.get(device.type, SIDE["cpu"])
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    best, started = float("inf"), time.perf_counter()
    with compute.matrix_products(precision):
        while best == float("inf") or time.perf_counter() - started < seconds:
            before = time.perf_counter()
            torch.mm(one, other)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def flops_per_image(model: nn.Module, size: tuple[int, int]) -> int:
    """Count the floating-point operations of one training image, forwards and backwards (torch's own counter).

    Args:
        model: A network that takes (N, 3, H, W).
        size: Height and width of the images.
    """
    training, device = model.training, next(model.parameters()).device
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)  # else the count would add into the gradients that are there
    model.eval()  # batch normalisation refuses a single image while training
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size, device=device)).sum().backward()
    for name, parameter in model.named_parameters():
        parameter.grad = gradients[name]
    model.train(training)
    return counter.get_total_flops()
