"""What a run would do before it does it, and what there is to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fercore import commands, datasets, provenance, results, runner
from fercore.errors import FercoreError


@dataclass(frozen=True)
class Intent:
    """What one run would do.

    Attributes:
        command: The command line.
        page: The page that it makes.
        fresh: Whether that page is there and fresh, so that nothing would be run.
        reasons: Why not, where there is a record.
        seconds: How long it took last time, None if never.
        data: ``""`` if the dataset can be loaded, else what is missing.
        parameters: All parameters, defaults included.
    """

    command: str
    page: Path
    fresh: bool
    reasons: tuple[str, ...]
    seconds: float | None
    data: str
    parameters: dict[str, Any]


def intent(experiment: str, dataset: str, parameters: dict[str, Any] | None = None) -> Intent:
    """Work out what a run would do, without doing anything.

    Raises:
        UnknownNameError: If there is no such experiment, dataset or parameter.
    """
    asked = runner.check(experiment, dataset, parameters)
    page = runner.page_path(experiment, dataset, asked)
    notebook = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{experiment}.py")
    about = runner.about(page)
    reasons: tuple[str, ...] = ()
    if about and about.get("asked") != asked:
        reasons = ("it was made with other parameters",)
    elif about and not runner.has_its_record(about):
        reasons = (f"{about['record']} is not the record that it was made with",)
    elif about:
        try:
            reasons = tuple(results.stale(results.read(provenance.project_root() / about["record"])))
        except FercoreError as error:
            reasons = (str(error),)
    return Intent(
        commands.run_line(experiment, dataset, parameters or {}),
        page,
        runner.is_fresh(page, asked),
        reasons,
        about.get("seconds"),
        _missing(dataset),
        runner.parameters_of(notebook) | asked,
    )


def _missing(dataset: str) -> str:
    """Say that a dataset has nothing in the data folder; what lies there is checked when it is loaded."""
    folder = datasets.data_root() / dataset
    if dataset == "faces" or (folder.is_dir() and any(folder.iterdir())):
        return ""
    return f"nothing in {folder}; `python -m fercore data status` says where to get it"


def describe(found: Intent) -> str:
    """Describe a run that was only planned."""
    root = provenance.project_root()
    page = found.page.relative_to(root) if found.page.is_relative_to(root) else found.page
    state = "is fresh: nothing would be run" if found.fresh else "would be made"
    if found.reasons and not found.fresh:
        state += f" ({'; '.join(found.reasons[:3])}{'; …' if len(found.reasons) > 3 else ''})"
    took = "has not been run here" if found.seconds is None else f"took {found.seconds:.0f} s last time"
    lines = [found.command, f"  page   {page} {state}", f"  time   {took}"]
    lines.append(f"  data   {found.data or 'is there'}")
    given = ", ".join(f"{name}={commands.text(value)}" for name, value in found.parameters.items())
    return "\n".join([*lines, f"  with   {given}"])


def listing() -> str:
    """List the experiments with their titles, and the pages of each with their state."""
    made: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for page in runner.pages():
        about = runner.about(page)
        made.setdefault(about.get("experiment", ""), []).append((page, about))
    lines = []
    for experiment in runner.experiments():
        lines.append(f"{experiment}: {_title(experiment)}")
        for page, about in made.get(experiment, []):
            state = "fresh" if runner.is_fresh(page, about["asked"]) else "stale"
            took = f", took {about['seconds']:.0f} s" if "seconds" in about else ""
            lines.append(f"    {page.parent.name}/{page.stem}: {state}{took}")
    for experiment, dataset, parameters in runner.unfinished():
        lines.append(f"unfinished: {commands.run_line(experiment, dataset, parameters)}")
    return "\n".join(lines)


def _title(experiment: str) -> str:
    notebook = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{experiment}.py")
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return first.splitlines()[0].lstrip("# ").strip()
