"""The reviewed texts of the notebooks, ``notebooks/<name>.py``: reading them, and what they take."""

from __future__ import annotations

import ast
import difflib
import functools
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fercore.errors import UnknownNameError

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", list: "a list"}
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


@functools.cache
def _parameters(text: str) -> dict[str, Any]:
    cell = re.search(r'^# %%.*tags=\[[^]]*"parameters".*\n((?:(?!# %%).*\n)*)', text, re.MULTILINE)
    lines = ast.parse(cell[1]).body if cell else []
    return {
        node.targets[0].id: ast.literal_eval(node.value) for node in lines if isinstance(node, ast.Assign)
    }


def parameters_of(path: Path) -> dict[str, Any]:
    """Return a text notebook's parameters, name to default: the assignments of its cell tagged ``parameters``."""
    return dict(_parameters(path.read_text(encoding="utf-8")))


def injected() -> dict[str, Any]:
    """Return the parameters that papermill has put into the notebook that runs here; none in any other process."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    cells = shell.user_ns.get("In", []) if shell else []
    text = next((cell for cell in cells if cell.startswith("# Parameters\n")), "")
    lines = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in lines}


def check(given: Mapping[str, Any], path: Path) -> None:
    """Refuse parameters that a text notebook lacks, or of another type than the default; a line names the nearest."""
    known = parameters_of(path)
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}."
            raise UnknownNameError(f"{path.name} has no parameter {name}{meant}")
        default, kind = known[name], type(known[name])
        fits = value is not None and isinstance(value, (int, float) if kind is float else kind)
        if default is not None and (not fits or (isinstance(value, bool) and kind is not bool)):
            like = f"{KINDS.get(kind, kind.__name__)}, like {text(default)}" if default != "" else "a name"
            raise ValueError(f"{name}={value!r}: {path.name} takes {like}.")


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
