"""What the benchmarks share: the machine in words, the peak of a process's memory, Snakemake's command line."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ferlab import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def machine(device: str = "cpu", packages: Sequence[str] = ("snakemake",)) -> dict[str, Any]:
    """Say what was measured on, and with which packages besides the usual ones."""
    versions = provenance.versions()
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    found = {"hardware": provenance.hardware("cpu"), "cores": os.cpu_count()}
    found["threads"] = torch.get_num_threads()
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return found | {"versions": versions, "date": datetime.date.today().isoformat()}


def peak_bytes() -> int:
    """Return the most memory this process has held; ru_maxrss may be that of the process that started it."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def snakemake_command(lists: dict[str, Sequence[object]]) -> list[str]:
    """Return the command that runs the grid on this machine, with some lists of ``workflow/grid.yaml`` replaced."""
    config = [f"{name}={json.dumps(list(values))}" for name, values in lists.items()]
    return [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/local", "--config", *config]
