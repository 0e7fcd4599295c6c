"""The four sections of the benchmark: speed, agreement with the exact values, time against regions, memory."""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _floor import NETWORKS, Floor, Network, Watched, pictures, synchronise
from _machine import peak_bytes
from _rivals import LIME_SAMPLES, Case, Method, dnc, exact_count, expected_rows, methods
from tqdm import tqdm

from fercore.shapley.inputs import auto_batch_size

# A guess, for planning alone: seconds of an explainer's own work per row of 48 x 48 pixels.
OWN_WORK = {"fercore": 5e-5, "shap": 4e-4, "captum": 3e-4, "lime": 7e-4}
SIZES = {"proposed": 48, "paper": 48, "small": 48, "vgg16": 224, "cheap": 224}


@dataclass
class Plan:
    """How much is measured; the defaults are for two CPU cores and about half an hour.

    Attributes:
        cells: (network, depth, images) of the speed tables, in the order in which they run.
        wide: The same for the paper's network at its full width.
        limit: Seconds that one run of a method may take, by network.
        minutes: After so many nothing is started any more but what is required.
        rounds: Most rounds of a method.
        target: Seconds per method: as many rounds as fit, at least one.
        required: Whether (network, depth, images, method) runs whatever it takes.
    """

    cells: list[tuple[str, int, int]]
    wide: list[tuple[str, int, int]]
    limit: dict[str, float]
    minutes: float = 20.0
    rounds: int = 7
    target: float = 5.0
    required: Callable[[str, int, int, str], bool] = lambda *cell: False
    lime_samples: int = LIME_SAMPLES
    accuracy: tuple[str, int, int] = ("proposed", 8, 2)
    slopes: tuple[tuple[str, str], ...] = (("small", "absent"), ("small", "both"), ("proposed", "absent"))
    slope_size: int = 64
    slope_depths: tuple[int, ...] = (6, 8, 10, 12)
    slope_rounds: int = 3
    memory: tuple[str, int, int] = ("cheap", 224, 10)
    started: float = field(default_factory=time.monotonic)


def network(name: str, args: argparse.Namespace, size: int | None = None) -> Network:
    """Build a network on the device."""
    found = NETWORKS[name](size or (32 if args.quick else SIZES[name]), args.seed)
    found.module.to(args.device)
    return found


def make_case(net: Network, images: int, depth: int, args: argparse.Namespace, **settings: Any) -> Case:
    """Set up what is explained, and work out beforehand what no explainer should be timed for."""
    device = torch.device(args.device)
    faces = pictures(images, net.size, args.seed)
    case = Case(net.module, faces, depth, seed=args.seed, device=device, **settings)
    _ = case.labels, case.tensor, case.classes
    return case


# Speed


def run_once(method: Method, case: Case, floor: Floor, same: bool, every: int) -> tuple[dict[str, Any], Any]:
    """Run a method with its floor in between (on a GPU: behind it); return the figures and what it gave."""
    inside = case.device.type == "cpu"
    watched = Watched(case.model, floor if inside else None, same=same, every=every).eval()
    run = method.prepare(case.with_model(watched))
    gc.collect()
    synchronise(case.device)
    start = time.perf_counter()
    raw = run()
    synchronise(case.device)
    seconds = time.perf_counter() - start - watched.paused
    below = watched.floor_seconds(floor)
    figures = {"seconds": seconds, "floor_seconds": below, "ratio": seconds / below}
    return figures | {"evaluations": watched.rows, "calls": watched.calls}, raw


def warm_up(size: int, args: argparse.Namespace) -> None:
    """Run everything once on four regions and the cheapest network, so that nobody is timed while compiling."""
    net = network("cheap", args, size)
    case = make_case(net, 1, 2, args)
    for method in methods(lime_samples=10):
        if method.refusal(case) is None:
            method.prepare(case)()


def planned(
    method: Method, case: Case, floor: Floor, cell: tuple[str, int, int], plan: Plan
) -> dict[str, Any]:
    """Decide whether a method runs in a cell, how often, and with how much of its floor."""
    row: dict[str, Any] = {"method": method.name, "skipped": method.refusal(case)}
    row |= {"rounds": [], "own_rounds": []}
    if row["skipped"] is not None and method.expected is None:
        return row | {"expected": None}
    rows = expected_rows(method, case)
    pace = floor.tried[1] if method.name.startswith("released") else floor.row_seconds
    every = 1 if rows * floor.row_seconds < 5.0 else 2
    own = OWN_WORK[method.needs] * case.images.shape[1] ** 2 / 48**2
    cost = rows * (own + pace + floor.row_seconds / every)
    must = plan.required(*cell, method.name)
    late = time.monotonic() - plan.started > 60 * plan.minutes
    if row["skipped"] is None and not must and (cost > plan.limit[cell[0]] or late):
        row["skipped"] = "takes too long here"
    count = int(np.clip(plan.target / max(cost, 1e-9), 1, plan.rounds))
    return row | {"expected": rows, "planned_rounds": count, "floor_every": every, "expected_seconds": cost}


def speed_cell(
    net: Network, floor: Floor, cell: tuple[str, int, int], plan: Plan, args: argparse.Namespace
) -> dict:
    """Measure all methods of one cell in turn, round by round."""
    _, depth, images = cell
    case = make_case(net, images, depth, args, batch=floor.batch)
    listed = [(method, planned(method, case, floor, cell, plan)) for method in methods(plan.lime_samples)]
    running = [(method, row) for method, row in listed if row["skipped"] is None]
    values: dict[str, np.ndarray] = {}
    for number in range(max((row["planned_rounds"] for _, row in running), default=0)):
        for method, row in running:
            spent = sum(r["seconds"] + r["floor_seconds"] for r in row["rounds"])
            if number >= row["planned_rounds"] or spent > plan.target:
                continue
            figures, raw = run_once(method, case, floor, False, row["floor_every"])
            row["rounds"].append(figures)
            values[method.name] = method.regions(case, raw)
            if method.own_floor and case.device.type == "cpu" and row["expected_seconds"] < 20:
                row["own_rounds"].append(run_once(method, case, floor, True, 1)[0])
    rows = [summary(row, values) for _, row in listed]
    about = {"network": net.name, "title": net.about, "regions": 2**depth, "images": images}
    tried = {str(k): v for k, v in floor.tried.items()}
    return about | {"floor_batch": floor.batch, "floor_tried": tried, "rows": rows}


def summary(row: dict[str, Any], values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Add the medians over the rounds, and the agreement with the exact values where those were computed."""
    for key in ("seconds", "floor_seconds", "ratio", "evaluations", "calls"):
        found = [round_[key] for round_ in row["rounds"]]
        row[key] = statistics.median(found) if found else None
    own_ratios = [round_["ratio"] for round_ in row["own_rounds"]]
    row["own_ratio"] = statistics.median(own_ratios) if own_ratios else None
    exact, own = values.get("DnCShap exact"), values.get(row["method"])
    return row | (agreement(own, exact) if exact is not None and own is not None else {})


def agreement(values: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Return correlation and relative L2 error (N, n) per image; None where values are constant."""
    each = [
        float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None
        for a, b in zip(values, exact, strict=True)
    ]
    errors = np.linalg.norm(values - exact, axis=1) / np.linalg.norm(exact, axis=1)
    mean = None if None in each else statistics.mean(each)
    found = {"correlation": mean, "correlations": each}
    return found | {"error": float(errors.mean()), "errors": errors.tolist()}


def width(plan: Plan, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Measure the paper's network at its full width."""
    speed(replace(plan, cells=plan.wide), args, write)


def speed(plan: Plan, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Measure all cells, writing after each."""
    done: list[dict] = []
    nets: dict[str, tuple[Network, Floor]] = {}
    for cell in (bar := tqdm(plan.cells, desc="speed", unit="cell")):
        bar.set_postfix_str(f"{cell[0]}, {2 ** cell[1]} regions, {cell[2]} image(s)")
        if cell[0] not in nets:
            net = network(cell[0], args)
            warm_up(net.size, args)
            images, seconds = pictures(16, net.size, args.seed), 0.5 if args.quick else 12.0
            nets[cell[0]] = net, Floor(net.module, images, torch.device(args.device), seconds)
        done.append(speed_cell(*nets[cell[0]], cell, plan, args))
        write(done)


# Accuracy


def accuracy(plan: Plan, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Compare the region values of every method with the exact ones, on probabilities and logits."""
    name, depth, images = plan.accuracy
    net, rows = network(name, args), []
    exact_method = dnc("exact", exact_count, contexts="exact")
    left_out = ("exact", "best batch", "batch 10")
    compared = [m for m in methods(plan.lime_samples) if not any(word in m.name for word in left_out)]
    for output in ("probability", "logit"):
        case = make_case(net, images, depth, args, output=output)
        exact = exact_method.regions(case, exact_method.prepare(case)())
        for method in tqdm(compared, desc=f"accuracy, {output}", unit="method"):
            rows.append({"method": method.name, "output": output} | compare(method, case, exact))
        write({"network": name, "title": net.about, "regions": 2**depth, "images": images, "rows": rows})


def compare(method: Method, case: Case, exact: np.ndarray) -> dict[str, Any]:
    """Run one method and compare it."""
    refusal = method.refusal(case)
    if refusal is not None:
        return {"skipped": refusal}
    watched = Watched(case.model).eval()
    raw = method.prepare(case.with_model(watched))()
    values = method.regions(case, raw)
    return {"skipped": None, "evaluations": watched.rows / len(case.images)} | agreement(values, exact)


# Slope


def slope(plan: Plan, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Fit time and evaluations against the number of regions, on logarithmic axes."""
    lines = []
    for name, contexts in tqdm(plan.slopes, desc="slope", unit="line"):
        net = network(name, args, plan.slope_size)
        method = dnc(contexts, None, contexts=contexts)
        cases = [make_case(net, 1, depth, args) for depth in plan.slope_depths]
        points: list[dict[str, Any]] = [{"regions": case.regions, "rounds": []} for case in cases]
        for number in range(plan.slope_rounds + 1):
            for case, point in zip(cases, points, strict=True):
                if number == 0 and case.regions > 256:  # the first round warms up
                    continue
                run, tries = method.prepare(case), []
                # A run of milliseconds needs more tries than one of a second to meet a quiet moment.
                for _ in range(max(1, cases[-1].regions // (4 * case.regions))):
                    start = time.perf_counter()
                    point["evaluations"] = int(run().evaluations.sum())
                    tries.append(time.perf_counter() - start)
                if number:
                    point["rounds"].append(min(tries))
        for point in points:
            point["seconds"] = min(point["rounds"])
        logs = {
            key: np.log([point[key] for point in points]) for key in ("regions", "seconds", "evaluations")
        }
        fits = {
            key: float(np.polyfit(logs["regions"], logs[key], 1)[0]) for key in ("seconds", "evaluations")
        }
        about = {"network": name, "title": net.about, "contexts": contexts}
        lines.append(about | {"points": points, "slopes": fits})
        write(lines)


# Memory


def memory_child(args: argparse.Namespace) -> None:
    """Print the peak after one plain batch and after an explanation; runs in a process of its own."""
    import shap  # noqa: F401  its import is not the explanation's memory

    name, size, depth = args.memory_child.split(",")
    net = network(name, args, int(size))
    case = make_case(net, 1, int(depth), args)
    batch = auto_batch_size(case.tensor[0].numel() * 4, case.device)
    rows = case.tensor.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        net.module(rows)
    del rows
    found: dict[str, Any] = {"title": net.about, "regions": case.regions, "batch": batch}
    found["plain"] = peaks(case)
    explanation = dnc("(default)", None).prepare(case)()
    found |= {"explained": peaks(case), "evaluations": int(explanation.evaluations.sum())}
    print(json.dumps(found))


def peaks(case: Case) -> dict[str, int]:
    """Return the peaks so far, in bytes."""
    device = torch.cuda.max_memory_allocated(case.device) if case.device.type == "cuda" else 0
    return {"host": peak_bytes(), "device": device}


def memory(plan: Plan, args: argparse.Namespace, write: Callable[[Any], None]) -> None:
    """Measure in a process of its own."""
    task = ",".join(map(str, plan.memory))
    own = ["--memory-child", task, "--device", args.device, "--seed", str(args.seed)]
    command = [sys.executable, str(Path(__file__).with_name("explainers.py")), *own]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    write(json.loads(done.stdout.splitlines()[-1]))
