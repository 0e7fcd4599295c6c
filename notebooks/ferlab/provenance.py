"""Where a result came from: code, data, settings, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = [
    "fercore",
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "seaborn",
    "shap",
    "opencv-python-headless",
]


@functools.cache
def project_root() -> Path:
    """Return the checkout that holds this package, or the current folder where the package is installed alone."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "notebooks").is_dir() and (root / "pyproject.toml").is_file() else Path.cwd()


def published() -> bool:
    """Whether the runner makes a page of the book."""
    return os.environ.get("FERCORE_PUBLISH") == "1"


def output_folder(root: Path | None = None) -> Path:
    """Return where records and weights go: ``results/`` when the runner publishes a run, else ``runs/results/``.

    So a notebook run by hand, or by papermill alone, never replaces what is committed.
    """
    root = project_root() if root is None else root
    return root / "results" if published() else root / "runs" / "results"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device | str = "cpu") -> str:
    """Describe the machine that computes, e.g. ``"Intel(R) Xeon(R) Processor @ 2.80GHz, 2 threads"``."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    known = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", known.read_text(), re.MULTILINE) if known.exists() else None
    name = named[1].strip() if named else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads != 1 else ''}"


def commit() -> str:
    """Return the short commit of the checkout, with ``+`` where files differ from it; ``""`` outside a checkout.

    What runs write themselves (``results/``, ``book/runs/``) does not count as a difference.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(project_root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "-uno", "--", ".", ":!results", ":!book/runs")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
