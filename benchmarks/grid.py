"""Time the grid of the Snakefile: the same runs one after the other by hand, and under Snakemake on 1 and 2 workers.

    python benchmarks/grid.py                       # about ten minutes on two cores
    python benchmarks/grid.py --folds 5 --workers 1 2 4

Each way begins in a copy of the project's tracked files, without trained networks, so nothing here is touched.
Every run has one thread. Writes ``results/grid.json``: seconds, speed-up over one worker, and what Snakemake adds to
each job; the book's page "Grid" shows them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import RESULTS, ROOT, machine, snakemake_command
from ferlab.runs.grid import Grid

from fercore import checkpoints

TRAINING = {"width": 0.125, "epochs": 3}


def copy_to(folder: Path) -> Path:
    """Copy the tracked files, as they are now, and return the copy's folder."""
    names = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    for name in filter(None, names.stdout.split("\0")):
        if (source := ROOT / name).is_file() and not name.startswith(("results/", "book/runs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(source.read_bytes())
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which the copy is what is imported, with one thread per process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **threads, "PYTHONPATH": str(folder), "PATH": path}


def timed(command: list[str], folder: Path) -> float:
    """Run a command in a copy and return its seconds; what it says is shown only if it fails."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {folder}:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started


def by_hand(grid: Grid, folder: Path) -> list[float]:
    """Run every training by the command line, one after the other; return the seconds of each."""
    seconds = []
    for name in grid.train_names():
        dataset, model, protocol, fold = name.split("-")
        words = grid.train(dataset, model, protocol, int(fold)).split()
        seconds.append(timed([sys.executable, "-m", "ferlab", "run", *words], folder))
        print(f"  {name}: {seconds[-1]:.1f} s", flush=True)
    return seconds


def snakemake(grid: Grid, folder: Path, workers: int) -> float:
    """Run the grid under Snakemake; return the seconds of the whole."""
    lists = {"models": grid.models, "protocols": grid.protocols, "folds": grid.folds, "experiments": ()}
    return timed([*snakemake_command(lists), "--cores", str(workers), "-q"], folder)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    kinds = (("faces",), ("baseline", "proposed"), ("paper", "subject"), tuple(range(args.folds)))
    grid = Grid(*kinds, training=TRAINING)
    with tempfile.TemporaryDirectory() as temporary:
        jobs = by_hand(grid, copy_to(Path(temporary, "by-hand")))
        ways = []
        for workers in args.workers:
            seconds = snakemake(grid, copy_to(Path(temporary, f"workers-{workers}")), workers)
            print(f"  {workers} workers: {seconds:.1f} s", flush=True)
            ways.append({"workers": workers, "seconds": round(seconds, 1)})
    first = next(way["seconds"] for way in ways if way["workers"] == min(args.workers))
    for way in ways:
        way["speed_up"] = round(first / way["seconds"], 3)
        way["overhead"] = round((way["seconds"] - sum(jobs)) / len(jobs), 3)
    content = {
        **machine(),
        "training": TRAINING,
        "jobs": len(jobs),
        "job_seconds": [round(second, 1) for second in jobs],
        "mean_job": round(sum(jobs) / len(jobs), 2),
        "by_hand": round(sum(jobs), 1),
        "workers": ways,
    }
    checkpoints.write_json(args.output / "grid.json", content)
    print(f"Written: {args.output / 'grid.json'}")


if __name__ == "__main__":
    main()
