"""The reviewed texts of the notebooks, ``notebooks/<name>.py``: reading them, and what they take."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def run_line(experiment: str, dataset: str, parameters: Mapping[str, Any]) -> str:
    """Return the command line of a run, quoted for a shell."""
    return f"ferlab run {arguments(experiment, dataset, parameters)}"


def arguments(experiment: str, dataset: str, parameters: Mapping[str, Any]) -> str:
    """Return what follows ``ferlab run``, quoted for a shell."""
    given = [f"{name}={text(value)}" for name, value in sorted(parameters.items())]
    return shlex.join([experiment, "--dataset", dataset, *(word for pair in given for word in ("-p", pair))])


def text(value: Any) -> str:
    """Return a parameter's value as ``-p NAME=VALUE`` takes it: as JSON; a string plainly, if that reads as no JSON."""
    return value if isinstance(value, str) and value_of(value) == value else json.dumps(value)


def value_of(text: str) -> Any:
    """Read a parameter's value as JSON (numbers, true, false, null), else as plain text; nothing is evaluated."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def heading(path: Path) -> str:
    """Return a text notebook's title."""
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# # "))[4:]


def read_text_notebook(path: Path) -> Any:
    """Read a ``.py`` notebook, with the same cell identifiers on every machine."""
    import jupytext

    notebook = jupytext.read(path)
    notebook.metadata = {"kernelspec": KERNEL}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Return the notebook's parameters, name to default, as papermill finds them."""
    import papermill

    found = papermill.inspect_notebook(notebook)
    return {name: ast.literal_eval(about["default"]) for name, about in found.items()}


def name_figures(notebook: Any, variant: str, dataset: str) -> None:
    """Give every figure the run's name, in place, so that two pages of one notebook do not share labels."""
    suffix = f"{variant.replace('.', '_')}-{dataset}"
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in notebook.cells]
    names = [figure["name"] for figure in figures if "name" in figure]
    for figure in figures:
        if "name" in figure:
            figure["name"] += suffix
    for cell in notebook.cells:
        for name in names if cell.cell_type == "markdown" else []:
            cell.source = cell.source.replace(f"`{name}`", f"`{name}{suffix}`")
