"""Which runs have to be made again, on what hardware, with which data, and by which command."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fercore.errors import FercoreError
from ferlab import provenance
from ferlab.runs import records, runner


@dataclass(frozen=True)
class Stale:
    """A run whose record is damaged or changed, or would not come out the same any more.

    Attributes:
        record: Path of the record.
        reasons: Why, one sentence each.
        page: Its executed page, None if there is none.
        hardware: The machine that made it; ``""`` where the record cannot be read.
        seconds: How long the notebook took there.
        training_seconds: How long its network was trained; 0 without one. Weights that are still there are used again.
        dataset: Name of its dataset.
    """

    record: Path
    reasons: tuple[str, ...]
    page: Path | None = None
    hardware: str = ""
    seconds: float = 0.0
    training_seconds: float = 0.0
    dataset: str = ""

    @property
    def command(self) -> str:
        """The command line that makes the run again, ``""`` without a page."""
        return runner.command(self.page) if self.page else ""


def committed(paths: Sequence[Path]) -> list[Path]:
    """Return those files that are under version control; outside a checkout all of them."""
    root = provenance.project_root()
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "results"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return list(paths)
    known = {root / name for name in done.stdout.split("\0")}
    return [path for path in paths if path in known]


def stale_runs(paths: Sequence[Path] | None = None) -> list[Stale]:
    """Return the runs that have to be made again.

    Args:
        paths: Records to look at; all published ones by default.
    """
    found, pages = [], {runner.about(page).get("record"): page for page in runner.pages()}
    for path in records.paths() if paths is None else paths:
        page = pages.get(records.place(path))
        try:
            record = records.read(path)
        except FercoreError as error:
            found.append(Stale(path, (str(error),), page))
            continue
        reasons = records.stale(record)
        about = runner.about(page) if page else {}
        if "record_sha256" in about and not runner.has_its_record(about):
            reasons.append("it is not the record that its page was made with, by its checksum")
        if reasons:
            found.append(_described(path, record, tuple(reasons), page))
    return found


def _described(path: Path, record: dict[str, Any], reasons: tuple[str, ...], page: Path | None) -> Stale:
    about, training = record["provenance"], record.get("training")
    trained = _number(training.get("seconds")) if isinstance(training, dict) else 0.0
    hardware, dataset = str(about.get("hardware", "")), str(record.get("dataset", ""))
    return Stale(path, reasons, page, hardware, _number(about.get("seconds")), trained, dataset)


def _number(value: Any) -> float:
    """Return a number of a record, 0 where it has something else in its place."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0


def text(runs: Sequence[Stale]) -> str:
    """Describe what has to be done, one paragraph per run, quickest first."""
    if not runs:
        return "All runs are fresh."
    lines = []
    for run in sorted(runs, key=lambda run: run.seconds):
        lines.append(f"{records.place(run.record)}: {'; '.join(_short(run.reasons))}")
        if run.hardware:
            trained = f", its network {_span(run.training_seconds)} before" if run.training_seconds else ""
            lines.append(f"    took {_span(run.seconds)}{trained}, on {run.hardware}; data: {run.dataset}")
        lines.append(
            f"    {run.command or 'has no page in book/runs: remove the record or run its notebook'}"
        )
    total = sum(run.seconds for run in runs)
    lines.append(f"{len(runs)} to run again, {_span(total)} in all without training.")
    return "\n".join(lines)


def _short(reasons: Sequence[str], most: int = 3) -> list[str]:
    more = len(reasons) - most
    return [*reasons[:most], *([f"and {more} more"] if more > 0 else [])]


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def renew(runs: Sequence[Stale], most_seconds: float = float("inf")) -> tuple[int, list[str]]:
    """Make runs again, quickest first; one that fails does not stop the others.

    Args:
        runs: From :func:`stale_runs`.
        most_seconds: Leave out runs that took longer than this.

    Returns:
        How many were made, and what went wrong, one message each.
    """
    made, failures = 0, []
    for run in sorted(runs, key=lambda run: run.seconds):
        if run.page is None or run.seconds > most_seconds:
            continue
        experiment, dataset, parameters = runner.asked_of(run.page)
        try:
            runner.run(experiment, dataset, parameters)
        except FercoreError as error:
            failures.append(f"{records.place(run.record)}: {error}")
        else:
            made += 1
            print(f"made again: {records.place(run.record)}", flush=True)
    return made, failures
