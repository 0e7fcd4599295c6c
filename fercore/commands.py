"""Command lines of runs, for people and for workflow engines: quoted for a shell, and read back as they were meant."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any


def run_line(experiment: str, dataset: str, parameters: Mapping[str, Any]) -> str:
    """Return the command line of a run, quoted for a shell."""
    return f"python -m fercore run {arguments(experiment, dataset, parameters)}"


def arguments(experiment: str, dataset: str, parameters: Mapping[str, Any]) -> str:
    """Return what follows ``python -m fercore run``, quoted for a shell."""
    given = [f"{name}={text(value)}" for name, value in sorted(parameters.items())]
    return shlex.join([experiment, "--dataset", dataset, *(word for pair in given for word in ("-p", pair))])


def text(value: Any) -> str:
    """Return a parameter's value as ``-p NAME=VALUE`` takes it: as JSON; a string plainly, if that reads as no JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            return value
    return json.dumps(value)
