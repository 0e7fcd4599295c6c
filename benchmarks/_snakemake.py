"""The command line of Snakemake on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence


def snakemake_command(lists: dict[str, Sequence[object]]) -> list[str]:
    """Return the command that runs the grid on this machine, with some lists of ``workflow/grid.yaml`` replaced."""
    config = [f"{name}={json.dumps(list(values))}" for name, values in lists.items()]
    return [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/local", "--config", *config]
