"""Measure what grows with the size of a study: the tables of many records, the plan of a grid, the maps of many images.

    python benchmarks/load.py                        # all of it, about two minutes
    python benchmarks/load.py --only mapping --output /tmp/load

Writes ``load.json`` (every number of every round) and ``load.md`` (a table) after each section; a section that is run
again replaces only itself. Records, grid and images are made up, in a temporary folder; memory is that of a process of
its own, so that nothing that ran before counts.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _memory import peak_bytes
from _snakemake import snakemake_command
from ferlab import provenance
from ferlab.runs import records as results
from ferlab.studies import maps, tables
from torch import nn

from fercore import checkpoints, models
from fercore.datasets import DATASETS, splits
from fercore.training import recipes

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = 20  # of the history in a made-up record: real ones have as many, and it is most of a record
SIZE, DEPTH = 8, 2  # pixels a side of the images that are mapped; 2^DEPTH regions
BARS = {"records": 5.0, "growth": 64e6}  # seconds; bytes from the smaller to the larger set


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    records: int = 10_000
    jobs: int = 1_000
    images: tuple[int, int] = (5_000, 50_000)
    rounds: int = 3


QUICK = Plan(records=60, jobs=12, images=(128, 4_096), rounds=1)


def make_record(run: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the record of a run of accuracy, of the size and shape of real ones.

    Args:
        run: Dataset, model, protocol, width and fold.
        number: Which run it is, for its accuracy.
    """
    recipe = asdict(recipes.recipe("paper", epochs=EPOCHS))
    row = {
        "lr": 8e-4,
        "train_loss": 1.7,
        "train_accuracy": 0.3,
        "validation_loss": 1.6,
        "validation_accuracy": 0.4,
    }
    history = [
        {"epoch": epoch, **row, "seconds": 70.15327, "images_per_second": 435.78} for epoch in range(EPOCHS)
    ]
    score = {"accuracy": 0.4 + 0.2 * (number % 97) / 97, "images": 3589, "balanced_accuracy": 0.41}
    parameters = {**run, "fusion": "concatenate", "pretrained": False, "recipe": "paper", **recipe}
    modules = {f"fercore/module_{index}.py": f"{index:064x}" for index in range(60)}
    return {
        "schema": results.SCHEMA,
        "experiment": "accuracy",
        **{name: run[name] for name in ("dataset", "model", "protocol", "fold")},
        "parameters": parameters,
        "metrics": {"test": score, "without_copies": score, "parameters": 1_802_183},
        "training": {
            "key": f"{number:064x}",
            "seconds": 911.1,
            "hardware": "a processor",
            "history": history,
        },
        "provenance": {
            "notebook": "notebooks/accuracy.py",
            "versions": provenance.versions(),
            "code": modules,
        },
    }


def write_records(folder: Path, count: int) -> list[Path]:
    """Write records of different runs, five folds each."""
    widths = itertools.count(1)
    runs = (
        {"dataset": dataset, "model": model, "protocol": protocol, "width": width / 1000, "fold": fold}
        for width, dataset, model, protocol, fold in (
            (width, *run)
            for width in widths
            for run in itertools.product(DATASETS, models.MODELS, ("paper", "subject"), range(splits.FOLDS))
        )
    )
    paths = []
    for number, run in enumerate(itertools.islice(runs, count)):
        path = folder / "accuracy" / run["dataset"] / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make_record(run, number), indent=2) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def records(plan: Plan) -> dict[str, Any]:
    """Time :func:`ferlab.studies.tables.rows` and the writing of the tables."""
    with tempfile.TemporaryDirectory() as place:
        paths = write_records(Path(place), plan.records)
        rounds, rows = [], []
        for _ in range(plan.rounds):
            started = time.perf_counter()
            rows = tables.rows(paths)
            rounds.append(time.perf_counter() - started)
        started = time.perf_counter()
        tables.write(Path(place, "tables"), rows)
        writing = time.perf_counter() - started
        size = sum(path.stat().st_size for path in paths)
    return {
        "records": len(paths),
        "bytes": size,
        "rows": len(rows),
        "folds": sum(row["folds"] for row in rows),
        "rounds": rounds,
        "seconds": statistics.median(rounds),
        "writing_seconds": writing,
    }


def grid(plan: Plan) -> dict[str, Any]:
    """Time a dry run of Snakemake on a grid of so many trainings."""
    folds = list(range(plan.jobs // len(models.MODELS)))
    lists = {"models": models.MODELS, "folds": folds, "protocols": ["loso"], "datasets": ["ckplus"]}
    command = [*snakemake_command(lists), "--dry-run"]
    rounds, said = [], ""
    for _ in range(plan.rounds):
        with tempfile.TemporaryDirectory() as place:
            for name in ("Snakefile", "workflow"):
                Path(place, name).symlink_to(ROOT / name)
            started = time.perf_counter()
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


def machine() -> dict[str, Any]:
    """Say what was measured on."""
    found = {
        "hardware": provenance.hardware("cpu"),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    versions = provenance.versions() | {
        name: metadata.version(name) for name in ("snakemake",) if _installed(name)
    }
    wanted = ("python", "fercore", "torch", "numpy", "snakemake")
    kept = {name: versions[name] for name in wanted if name in versions}
    return found | {"versions": kept, "date": datetime.date.today().isoformat()}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def lines(whole: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return what, how much, the bar and whether it is met, one row per measurement."""
    rows = []
    if found := whole.get("records", {}).get("content"):
        what = f"tables from {found['records']:,} records of accuracy ({found['bytes'] / 1e6:.0f} MB, "
        what += f"{found['rows']:,} rows), median of {len(found['rounds'])}"
        rows.append(
            (what, f"{found['seconds']:.2f} s", f"≤ {BARS['records']:g} s", _met(found, "seconds", "records"))
        )
    if found := whole.get("grid", {}).get("content"):
        what = (
            f"Snakemake's plan of {found['jobs']['total']:,} jobs (dry run), median of {len(found['rounds'])}"
        )
        rows.append((what, f"{found['seconds']:.1f} s", "", ""))
    if found := whole.get("mapping", {}).get("content"):
        for part in found["sets"]:
            what = f"peak memory of mapping {part['images']:,} images of {SIZE} px, {part['regions']} regions"
            speed = f"{part['peak'] / 1e6:.0f} MB, {part['images'] / part['seconds']:,.0f} images/s"
            rows.append((what, speed, "", ""))
        value = f"{found['growth'] / 1e6:.1f} MB, {found['per_image']:.0f} bytes per image"
        bar = f"≤ {BARS['growth'] / 1e6:.0f} MB"
        rows.append(
            ("its growth from the smaller to the larger set", value, bar, _met(found, "growth", "growth"))
        )
    return rows


def _met(found: dict[str, Any], name: str, bar: str) -> str:
    return "yes" if found[name] <= BARS[bar] else "**no**"


def document(whole: dict[str, Any]) -> str:
    """Return the page."""
    table = [f"| {' | '.join(row)} |" for row in lines(whole)]
    machines = []
    for name, section in whole.items():
        about = section["about"]
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        threads = f"{about['hardware']} of {about['cores']} cores"
        machines.append(f"- {name}: {about['date']}, {threads}; {versions}.")
    head = "# Load\n\nWritten by `benchmarks/load.py`; every round is in `load.json`. The records, the grid and the\n"
    head += "images are made up. Memory is the peak of a process of its own (VmHWM), libraries included.\n\n"
    columns = "| what | measured | wanted | met |\n| :-- | --: | --: | --: |\n"
    return head + columns + "\n".join(table) + "\n\nMeasured on:\n\n" + "\n".join(machines) + "\n"


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
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
    if args.quick and args.output is None:
        parser.error("--quick needs --output: its figures mean nothing and must not replace real ones.")
    args.output = args.output or ROOT / "benchmarks" / "results"
    return args


def main(given: Sequence[str] | None = None) -> None:
    """Run the sections."""
    args = parse(given)
    if args.map:
        print(json.dumps(map_images(args.map)))
        return
    path = args.output / "load.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in (name for name in SECTIONS if name in (args.only or SECTIONS)):
        whole[name] = {"about": machine(), "content": SECTIONS[name](QUICK if args.quick else Plan())}
        whole = {name: whole[name] for name in SECTIONS if name in whole}
        checkpoints.write_json(path, whole)
        with checkpoints.atomic_path(args.output / "load.md") as temporary:
            temporary.write_text(document(whole), encoding="utf-8")
    print(f"Written: {args.output / 'load.md'} and .json")


if __name__ == "__main__":
    main()
