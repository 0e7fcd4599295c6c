"""One run = one papermill execution of one experiment notebook: executed page, record and log, or nothing at all."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fercore import provenance, results
from fercore.datasets import title
from fercore.errors import FercoreError, UnknownNameError
from fercore.files import atomic_path, digest

_IDENTITY = ("model", "fusion", "recipe", "protocol", "fold")
_TIMINGS = ("execution", "papermill", "collapsed", "jupyter")


def experiments() -> list[str]:
    """Return the names of the experiment notebooks."""
    return sorted(path.stem for path in (provenance.project_root() / "notebooks").glob("*.py"))


def page_path(experiment: str, dataset: str, parameters: dict[str, Any] | None = None) -> Path:
    """Return where the executed page of a run lies.

    Its name repeats the parameters that tell one run of an experiment from another, where they are given: model,
    fusion, recipe, protocol and fold, e.g. ``accuracy-vgg16-strong.ipynb``.
    """
    given = [str(parameters[name]) for name in _IDENTITY if name in parameters] if parameters else []
    return provenance.project_root() / "book" / "runs" / dataset / f"{'-'.join([experiment, *given])}.ipynb"


def run(
    experiment: str, dataset: str = "faces", parameters: dict[str, Any] | None = None, force: bool = False
) -> tuple[Path, bool]:
    """Execute an experiment notebook on a dataset and put the page into the book.

    Args:
        experiment: Name of the notebook.
        dataset: Name of the dataset.
        parameters: Values for the notebook's parameters cell, by name.
        force: Run even if the page is fresh.

    Returns:
        The page, and whether it was run now (False: it was fresh).

    Raises:
        UnknownNameError: If there is no such experiment, dataset or parameter.
        FercoreError: If the notebook raised an error; the page and the record are then left as they were.
    """
    title(dataset)
    if experiment not in experiments():
        raise UnknownNameError(f"There is no experiment {experiment!r}; choose {', '.join(experiments())}.")
    asked = {**(parameters or {}), "dataset": dataset}
    page = page_path(experiment, dataset, asked)
    source = provenance.project_root() / "notebooks" / f"{experiment}.py"
    if not force and _is_fresh(page, asked):
        return page, False
    _publish(_execute(source, asked), experiment, asked, page)
    return page, True


def _is_fresh(page: Path, parameters: dict[str, Any]) -> bool:
    """Whether the page was run with these parameters by code that has not changed since."""
    about = _about(page)
    record = provenance.project_root() / about.get("record", "no record")
    if about.get("asked") != parameters or not record.is_file() or digest(record) != about["record_sha256"]:
        return False
    try:
        return not results.stale(results.read(record))
    except FercoreError:
        return False


def _about(page: Path) -> dict[str, Any]:
    """Return what a page says of its run; nothing if it is absent or damaged, for then it is to be made anew."""
    try:
        return json.loads(page.read_text(encoding="utf-8"))["metadata"]["fercore"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def command(page: Path) -> str:
    """Return the command line that makes a page again with the parameters it was made with."""
    about = _about(page)
    given = [f"-p {name}={value}" for name, value in sorted(about["asked"].items()) if name != "dataset"]
    return " ".join([f"python -m fercore run {about['experiment']} --dataset {about['dataset']}", *given])


def pages() -> list[Path]:
    """Return all executed pages of the book, sorted."""
    return sorted((provenance.project_root() / "book" / "runs").glob("*/[!.]*.ipynb"))


def page_of(record: Path) -> Path | None:
    """Return the page that a record belongs to, None if there is none."""
    return next((page for page in pages() if _about(page).get("record") == results.place(record)), None)


def _execute(source: Path, asked: dict[str, Any]) -> Any:
    """Run the notebook in a kernel of its own and return the executed notebook."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillException

    notebook = read_text_notebook(source)
    known = _parameters(notebook)
    if unknown := sorted(set(asked) - set(known)):
        raise UnknownNameError(
            f"{source.name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    root, dataset = provenance.project_root(), asked["dataset"]
    page = page_path(source.stem, dataset, asked)
    _name_figures(notebook, page.stem.removeprefix(source.stem), dataset)
    failed = root / "runs" / dataset / f"{page.stem}.failed.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        ready, output = Path(folder, f"{source.stem}.ipynb"), Path(folder, "executed.ipynb")
        nbformat.write(notebook, ready)
        try:
            with _publishing():
                return papermill.execute_notebook(
                    str(ready),
                    str(output),
                    parameters=asked,
                    kernel_name="python3",
                    cwd=str(root),
                    stderr_file=sys.stderr,
                )
        except (PapermillException, DeadKernelError) as error:
            if output.exists():
                shutil.copyfile(output, failed)
            raise FercoreError(
                f"{source.name} stopped on {dataset}: {_last_line(error)}\n"
                f"The notebook as far as it came: {failed.relative_to(root)}"
            ) from error


@contextlib.contextmanager
def _publishing() -> Iterator[None]:
    """Let the notebook's kernel write its record and weights to ``results/``."""
    before = os.environ.get("FERCORE_PUBLISH")
    os.environ["FERCORE_PUBLISH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FERCORE_PUBLISH"]
        else:
            os.environ["FERCORE_PUBLISH"] = before


def read_text_notebook(path: Path) -> Any:
    """Read a ``.py`` notebook, with the same cell identifiers on every machine."""
    import jupytext

    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def _parameters(notebook: Any) -> set[str]:
    """Return the names that the notebook's parameters cell assigns."""
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    statements = [node for source in cells for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {target.id for node in statements for target in node.targets if isinstance(target, ast.Name)}


def _last_line(error: Exception) -> str:
    """Return the notebook's own error, without colours, from papermill's report of it."""
    name, value = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    return re.sub(r"\x1b\[[0-9;]*m", "", f"{name}: {value}")


def _name_figures(notebook: Any, variant: str, dataset: str) -> None:
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


def _publish(notebook: Any, experiment: str, asked: dict[str, Any], page: Path) -> None:
    """Tidy an executed notebook for the book and write it, whole or not at all."""
    import nbformat

    record = _record_of(notebook)
    content = results.read(record)
    for number, cell in enumerate(notebook.cells):
        _tidy(cell, number)
    first = next(cell for cell in notebook.cells if cell.cell_type == "markdown")
    variant = "".join(f", {asked[name]}" for name in _IDENTITY if name in asked)
    first.source = re.sub(r"\A# (.*)", rf"# \1{variant}: {title(asked['dataset'])}", first.source)
    shown = (
        "commit",
        "started",
        "seconds",
        "seed",
        "hardware",
        "versions",
        "data_checksum",
        "notebook_sha256",
    )
    notebook.metadata.pop("papermill", None)
    notebook.metadata["fercore"] = {
        "experiment": experiment,
        "dataset": asked["dataset"],
        "asked": asked,
        "parameters": content["parameters"],
        "record": record.relative_to(provenance.project_root()).as_posix(),
        "record_sha256": digest(record),
        **{name: content["provenance"][name] for name in shown},
    }
    with atomic_path(page) as temporary:
        nbformat.write(notebook, temporary)


def _record_of(notebook: Any) -> Path:
    """Find the record that the notebook says it has written (its last line ``Record: <path>``)."""
    texts = [o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "text" in o]
    found = re.findall(r"^Record: (\S+)$", "".join(texts), flags=re.MULTILINE)
    if not found:
        raise FercoreError("The notebook printed no 'Record: <path>' line: it must end with Run.finish(...).")
    return provenance.project_root() / found[-1]


def _tidy(cell: Any, number: int) -> None:
    """Drop what differs between two equal runs, and hide the two parameter cells from readers."""
    cell.id = f"cell-{number}"
    tags = set(cell.metadata.get("tags", []))
    if "parameters" in tags:
        tags.add("remove-cell")
    if "injected-parameters" in tags:
        tags.add("hide-input")
    for key in _TIMINGS:
        cell.metadata.pop(key, None)
    cell.metadata["tags"] = sorted(tags)
    if cell.cell_type == "code":
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]  # progress bars


def pair(write: bool = True) -> list[str]:
    """Bring every ``notebooks/<name>.ipynb`` in step with its reviewed text ``notebooks/<name>.py``.

    Args:
        write: Write what differs; False only says what would be written.

    Returns:
        The names of the notebooks that differed.
    """
    import nbformat

    changed = []
    for text in sorted((provenance.project_root() / "notebooks").glob("*.py")):
        notebook = read_text_notebook(text)
        wanted, path = nbformat.writes(notebook) + "\n", text.with_suffix(".ipynb")
        if not path.is_file() or path.read_text(encoding="utf-8") != wanted:
            changed.append(text.stem)
            if write:
                with atomic_path(path) as temporary:
                    temporary.write_text(wanted, encoding="utf-8")
    return changed
