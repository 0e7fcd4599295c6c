"""Time DnCShap beside shap.PartitionExplainer on the same network, images and regions.

    python benchmarks/dncshap.py --images 4 --depth 6

Both compute the same values on the same tree ("absent" and ``fixed_context=0``; "exact" and unlimited evaluations), so
the table also gives the largest difference. Rounds alternate between the methods and the fastest round of each counts,
so a busy machine disturbs all of them alike; only the ratios of one run mean anything.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from fercore.shapley import DnCShap


@dataclass
class Method:
    """One row of the table: how to run it, and what the runs gave."""

    name: str
    run: Callable[[], tuple[np.ndarray, int]]  # () -> values (N, H, W, C, K) and evaluations
    reference: str | None = None
    seconds: list[float] = field(default_factory=list)
    values: np.ndarray | None = None
    evaluations: int = 0


def tiny_vgg(channels: int, width: int, classes: int, seed: int) -> nn.Module:
    """Return a VGG of three blocks of two convolutions each, with random weights."""
    torch.manual_seed(seed)
    layers, inputs = [], channels
    for block in range(3):
        outputs = width * 2**block
        for _ in range(2):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    layers += [
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(9 * inputs, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    ]
    return nn.Sequential(*layers).eval()


def dnc(net: nn.Module, images: np.ndarray, args: argparse.Namespace, contexts: str) -> Method:
    """Return DnCShap with some contexts, all classes."""
    explainer = DnCShap(net, contexts=contexts, depth=args.depth, batch_size=args.batch_size)

    def run() -> tuple[np.ndarray, int]:
        explanation = explainer(images, "all")
        return explanation.values, int(explanation.evaluations.sum())

    return Method(f"DnCShap {contexts}", run)


def partition(
    net: nn.Module, images: np.ndarray, args: argparse.Namespace, fixed_context: int | None, reference: str
) -> Method:
    """Return PartitionExplainer on the same regions, all classes and all evaluations."""
    import shap

    device = next(net.parameters()).device
    rows = 0

    def f(nhwc: np.ndarray) -> np.ndarray:
        nonlocal rows
        rows += len(nhwc)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(nhwc)).to(device).permute(0, 3, 1, 2)
            return net(x).softmax(dim=1).cpu().numpy()

    masker = shap.maskers.Image(np.zeros(images.shape[1:], dtype=images.dtype), images.shape[1:])
    stop_at(masker.clustering, args.depth)

    def run() -> tuple[np.ndarray, int]:
        nonlocal rows
        rows = 0
        explainer = shap.PartitionExplainer(f, masker)
        size = 256 if args.batch_size == "auto" else args.batch_size
        settings = {"max_evals": 10**9, "batch_size": size, "silent": True, "fixed_context": fixed_context}
        explanation = explainer(images, **settings)
        return explanation.values, rows

    name = "unlimited" if fixed_context is None else f"fixed_context={fixed_context}"
    return Method(f"PartitionExplainer {name}", run, reference)


def stop_at(clustering: np.ndarray, depth: int) -> None:
    """Give the nodes at a depth a negative distance: PartitionExplainer splits them no further."""
    leaves = len(clustering) + 1
    clustering[:, 2] = 0.0
    nodes = [2 * leaves - 2]
    for _ in range(depth):
        nodes = [int(child) for node in nodes if node >= leaves for child in clustering[node - leaves, :2]]
    clustering[[node - leaves for node in nodes if node >= leaves], 2] = -1.0


def measure(methods: list[Method], rounds: int) -> None:
    """Run every method once to warm up, then in turn."""
    for round_ in range(rounds + 1):
        for method in methods:
            start = time.perf_counter()
            method.values, method.evaluations = method.run()
            if round_:
                method.seconds.append(time.perf_counter() - start)


def report(methods: list[Method]) -> None:
    """Print the table."""
    best = {method.name: min(method.seconds) for method in methods}
    values = {method.name: method.values for method in methods}
    print(f"{'method':<36}{'evaluations':>12}{'seconds':>10}{'ms/eval':>9}{'time ratio':>12}{'max diff':>11}")
    for method in methods:
        seconds = best[method.name]
        line = f"{method.name:<36}{method.evaluations:>12,}{seconds:>10.3f}{1e3 * seconds / method.evaluations:>9.3f}"
        if method.reference:
            ratio = best[method.name] / best[method.reference]
            line += f"{ratio:>11.2f}x{np.abs(method.values - values[method.reference]).max():>11.1e}"
        print(line)
    print(
        "time ratio: PartitionExplainer / DnCShap on the same values; max diff: largest difference of a pixel's value"
    )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4, help="images explained together (default 4)")
    parser.add_argument("--size", type=int, default=48, help="height and width in pixels (default 48)")
    parser.add_argument("--channels", type=int, default=3, choices=(1, 3))
    parser.add_argument(
        "--depth", type=int, default=6, help="levels of the tree: 2^depth regions (default 6)"
    )
    parser.add_argument("--width", type=int, default=16, help="channels of the first block (default 16)")
    parser.add_argument("--batch-size", default="auto", type=lambda s: s if s == "auto" else int(s))
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds; the fastest counts (default 3)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--no-exact", action="store_true", help="leave out the exact methods, O(n^2) evaluations"
    )
    parser.add_argument("--no-shap", action="store_true", help="leave out shap")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    net = tiny_vgg(args.channels, args.width, 7, args.seed).to(args.device)
    shape = (args.images, args.size, args.size, args.channels)
    images = np.random.default_rng(args.seed).random(shape, dtype=np.float32)
    methods = [dnc(net, images, args, contexts) for contexts in ("absent", "both")]
    if not args.no_shap:
        methods.append(partition(net, images, args, 0, "DnCShap absent"))
    if not args.no_exact:
        methods.append(dnc(net, images, args, "exact"))
        if not args.no_shap:
            methods.append(partition(net, images, args, None, "DnCShap exact"))
    measure(methods, args.rounds)
    print(
        f"{args.images} images of {args.size} x {args.size} x {args.channels}, {2**args.depth} regions, "
        f"{sum(p.numel() for p in net.parameters()):,} weights, {args.device}, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, {platform.machine()}"
    )
    report(methods)


if __name__ == "__main__":
    main()
