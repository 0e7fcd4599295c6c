"""Time the grid of the Snakefile: the same runs one after the other by hand, and under Snakemake on 1 and 2 workers.

    python benchmarks/grid.py                       # about ten minutes on two cores
    python benchmarks/grid.py --folds 5 --workers 1 2 4

Each way begins in a copy of the project's tracked files, without trained networks, so nothing here is touched.
Every run has one thread. Writes ``results/grid.json`` and ``results/grid.md``: seconds, speed-up over one worker, and
what Snakemake adds to each job.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _snakemake import snakemake_command
from ferlab import provenance
from ferlab.runs.grid import Grid

from fercore import checkpoints

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
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


def markdown(content: dict) -> str:
    """Return the table for people."""
    lines = [
        "# The grid on one machine",
        "",
        f"Written by `benchmarks/grid.py` on {content['date']}, {content['hardware']}. {content['jobs']} trainings "
        f"of the embedded faces (width {TRAINING['width']}, {TRAINING['epochs']} epochs), one thread each.",
        "",
        "| way | seconds | speed-up over one worker | Snakemake's own, seconds per job |",
        "|---|---|---|---|",
        f"| by hand, one after the other | {content['by_hand']:.1f} | | |",
    ]
    for way in content["workers"]:
        own = f"{way['overhead']:.2f}" if way["workers"] == 1 else ""
        lines.append(
            f"| Snakemake, {way['workers']} workers | {way['seconds']:.1f} | {way['speed_up']:.2f} | {own} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    grid = Grid(
        ("faces",),
        ("baseline", "proposed"),
        ("paper", "subject"),
        tuple(range(args.folds)),
        training=TRAINING,
    )
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
        "date": datetime.date.today().isoformat(),
        "hardware": provenance.hardware("cpu"),
        "cores": os.cpu_count(),
        "versions": provenance.versions(),
        "training": TRAINING,
        "jobs": len(jobs),
        "job_seconds": [round(second, 1) for second in jobs],
        "mean_job": round(sum(jobs) / len(jobs), 2),
        "by_hand": round(sum(jobs), 1),
        "workers": ways,
    }
    checkpoints.write_json(args.output / "grid.json", content)
    with checkpoints.atomic_path(args.output / "grid.md") as path:
        path.write_text(markdown(content), encoding="utf-8")
    print(markdown(content))


if __name__ == "__main__":
    main()
