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
    """A run that would not come out the same any more, and why; without a page or a content where these are lost."""

    record: Path
    reasons: list[str]
    page: Path | None
    content: dict[str, Any]

    @property
    def command(self) -> str:
        """The command line that makes the run again, ``""`` without a page."""
        return runner.command(self.page) if self.page else ""

    def seconds(self, part: str = "provenance") -> float:
        """Return how long the notebook took, or with "training" its network; 0 where that is not known."""
        about = self.content.get(part)
        value = about.get("seconds") if isinstance(about, dict) else None
        return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0


def committed(paths: Sequence[Path]) -> list[Path]:
    """Return those files that are under version control; outside a checkout all of them."""
    root = provenance.project_root()
    command = ["git", "-C", str(root), "ls-files", "-z", "results"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return list(paths)
    known = {root / name for name in done.stdout.split("\0")}
    return [path for path in paths if path in known]


def stale_runs(paths: Sequence[Path] | None = None) -> list[Stale]:
    """Return the runs that have to be made again of some records, else of all published ones, quickest first."""
    found, pages = [], {runner.about(page).get("record"): page for page in runner.pages()}
    for path in records.paths() if paths is None else paths:
        page, content = pages.get(records.place(path)), {}
        try:
            content = records.read(path)
            reasons = runner.why_stale(page) if page else records.stale(content)
        except FercoreError as error:
            reasons = [str(error)]
        if reasons:
            found.append(Stale(path, reasons, page, content))
    return sorted(found, key=Stale.seconds)


def text(runs: Sequence[Stale]) -> str:
    """Describe what has to be done, one paragraph per run."""
    if not runs:
        return "All runs are fresh."
    lines = []
    for run in runs:
        lines.append(f"{records.place(run.record)}: {few(run.reasons)}")
        if run.content:
            training = run.seconds("training")
            before = f", its network {_span(training)} before" if training else ""
            machine, data = run.content["provenance"].get("hardware"), run.content.get("dataset")
            lines.append(f"    took {_span(run.seconds())}{before}, on {machine}; data: {data}")
        lines.append(
            "    " + (run.command or "has no page in book/runs: remove the record or run its notebook")
        )
    total = sum(run.seconds() for run in runs)
    return "\n".join([*lines, f"{len(runs)} to run again, {_span(total)} in all without training."])


def few(reasons: Sequence[str], most: int = 3) -> str:
    """Return the first of some reasons, and how many there are besides."""
    more = len(reasons) - most
    return "; ".join([*reasons[:most], *([f"and {more} more"] if more > 0 else [])])


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def renew(runs: Sequence[Stale], most_seconds: float = float("inf")) -> tuple[int, list[str]]:
    """Make runs again without those that took longer; return how many were made, and what went wrong with others."""
    made, failures = 0, []
    for run in runs:
        if run.page is None or run.seconds() > most_seconds:
            continue
        try:
            runner.run(*runner.asked_of(run.page))
        except FercoreError as error:
            failures.append(f"{records.place(run.record)}: {error}")
        else:
            made += 1
            print(f"made again: {records.place(run.record)}", flush=True)
    return made, failures
