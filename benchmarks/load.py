"""Measure what grows with the size of a study: the tables of many records, the plan of a grid, the maps of many images.

    python benchmarks/load.py                        # all of it, about two minutes
    python benchmarks/load.py --only mapping --output /tmp/load

Writes ``load.json`` (every number of every round) after each section; a section that is run again replaces only itself.
Records, grid and images are made up, in a temporary folder; memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import RESULTS, ROOT, machine, peak_bytes, snakemake_command
from ferlab.studies import maps, tables
from torch import nn

from fercore import checkpoints, models
from fercore.datasets import DATASETS, splits

SIZE, DEPTH = 8, 2  # pixels a side of the images that are mapped; 2^DEPTH regions
# At most: seconds; bytes from small to large set.
BARS = {"records": ("seconds", 5.0), "mapping": ("growth", 64e6)}


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    records: int = 10_000
    jobs: int = 1_000
    images: tuple[int, int] = (5_000, 50_000)
    rounds: int = 3


QUICK = Plan(records=60, jobs=12, images=(128, 4_096), rounds=1)


def write_records(folder: Path, count: int) -> list[Path]:
    """Write copies of a real record as those of different runs, five folds each."""
    template = min((ROOT / "results" / "accuracy" / "fer2013").glob("*.json"))
    real = json.loads(template.read_text(encoding="utf-8"))
    choices = list(itertools.product(DATASETS, models.MODELS, ("paper", "subject"), range(splits.FOLDS)))
    paths = []
    for number in range(count):
        record, (dataset, model, protocol, fold) = copy.deepcopy(real), choices[number % len(choices)]
        run = {"dataset": dataset, "model": model, "protocol": protocol, "fold": fold}
        record["parameters"] |= run | {"width": (1 + number // len(choices)) / 1000}
        paths.append(folder / "accuracy" / dataset / f"{number}.json")
        checkpoints.write_json(paths[-1], record | run)
    return paths


def records(plan: Plan) -> dict[str, Any]:
    """Time :func:`ferlab.studies.tables.rows` and the writing of the tables."""
    with tempfile.TemporaryDirectory() as place:
        paths, rounds, rows = write_records(Path(place), plan.records), [], []
        for _ in range(plan.rounds):
            started = time.perf_counter()
            rows = tables.rows(paths)
            rounds.append(time.perf_counter() - started)
        started = time.perf_counter()
        tables.write(Path(place, "tables"), rows)
        found = {"writing_seconds": time.perf_counter() - started, "records": len(paths), "rows": len(rows)}
        found["bytes"] = sum(path.stat().st_size for path in paths)
        found["folds"] = sum(row["folds"] for row in rows)
    return found | {"rounds": rounds, "seconds": statistics.median(rounds)}


def grid(plan: Plan) -> dict[str, Any]:
    """Time a dry run of Snakemake on a grid of so many trainings."""
    folds = list(range(plan.jobs // len(models.MODELS)))
    lists = {"models": models.MODELS, "folds": folds, "protocols": ["loso"], "datasets": ["ckplus"]}
    rounds, said = [], ""
    for _ in range(plan.rounds):
        with tempfile.TemporaryDirectory() as place:
            for name in ("Snakefile", "workflow"):
                Path(place, name).symlink_to(ROOT / name)
            started, command = time.perf_counter(), [*snakemake_command(lists), "--dry-run"]
            said = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout
            rounds.append(time.perf_counter() - started)
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE)}
    return {"jobs": jobs, "rounds": rounds, "seconds": statistics.median(rounds)}


class Cheap(nn.Module):
    """Logits linear in the pixels: next to nothing, so that what is measured is the mapping."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(7, 3 * SIZE * SIZE, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return images.flatten(1) @ self.weight.T


def map_images(count: int) -> dict[str, Any]:
    """Map so many random images in this process; return its peak before and after."""
    images = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 1), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as place:
        model, options = Cheap().eval(), {"folder": place, "progress": False}
        maps.explain_all(model, images[: maps.CHUNK], "warm-up", "x", DEPTH, **options)
        before, started = peak_bytes(), time.perf_counter()
        scores = maps.explain_all(model, images, "load", "x", DEPTH, **options).scores
        seconds = time.perf_counter() - started
        chunks = len(list(Path(place).glob("runs/load/maps-*/chunk-*")))
    found = {"images": count, "regions": scores.shape[1], "mapped": len(scores), "chunks": chunks}
    return found | {"before": before, "peak": peak_bytes(), "seconds": seconds}


def mapping(plan: Plan) -> dict[str, Any]:
    """Measure the peak memory of two sets of images, in a process each."""
    sets = []
    for count in plan.images:
        command = [sys.executable, str(Path(__file__)), "--map", str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sets.append(json.loads(done.stdout.splitlines()[-1]))
    small, large = sets
    growth = large["peak"] - small["peak"]
    return {"sets": sets, "growth": growth, "per_image": growth / (large["images"] - small["images"])}


SECTIONS = {"records": records, "grid": grid, "mapping": mapping}


def main(given: Sequence[str] | None = None) -> None:
    """Run the sections and say whether their bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="a section (repeatable; default all)"
    )
    parser.add_argument("--quick", action="store_true", help="little of everything: only whether it runs")
    parser.add_argument("--output", type=Path, help="folder of the results (default benchmarks/results)")
    parser.add_argument("--map", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.map:
        print(json.dumps(map_images(args.map)))
        return
    if args.quick and args.output is None:
        parser.error("--quick needs --output: its figures mean nothing and must not replace real ones.")
    path = (args.output or RESULTS) / "load.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in args.only or SECTIONS:
        found = SECTIONS[name](QUICK if args.quick else Plan())
        whole[name] = {"about": machine(), "content": found}
        checkpoints.write_json(path, whole)
        figure, most = BARS.get(name, ("seconds", float("inf")))
        print(f"{name}: {figure} {found[figure]:,.1f}, at most {most:,g}: {found[figure] <= most}")
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
