"""List records: the directives ``{run-table}`` (an argument keeps one dataset) and ``{full-scale-table}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from records import RecordError, load
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

HEADINGS = (
    "Dataset",
    "Experiment",
    "Model",
    "Protocol",
    "Accuracy",
    "Date",
    "Run",
    "Training",
    "Hardware",
    "Record",
)


def accuracies(record: dict[str, Any]) -> str:
    """Return the accuracy on each split that has one, e.g. ``"test 91.3 %"``."""
    metrics = record.get("metrics")
    splits = metrics.items() if isinstance(metrics, dict) else ()
    found = [
        (name, part["accuracy"]) for name, part in splits if isinstance(part, dict) and "accuracy" in part
    ]
    cells = [
        f"{name.replace('_', ' ')} {100 * value:.1f}\u00a0%"
        for name, value in found
        if isinstance(value, int | float)
    ]
    return ", ".join(cells) or "–"


def span(seconds: Any) -> str:
    """Return a number of seconds for a cell."""
    return f"{seconds:,.0f}\u00a0s" if isinstance(seconds, int | float) else "–"


def row(record: dict[str, Any]) -> list[str]:
    """Return the cells of one record, without the last one."""
    provenance, training = record.get("provenance") or {}, record.get("training") or {}
    protocol = str(record.get("protocol") or "–")
    if record.get("fold") is not None:
        protocol += f", fold {record['fold']}"
    times = [span(part.get("seconds")) for part in (provenance, training)]
    start = [str(record.get(key) or "–") for key in ("dataset", "experiment", "model")]
    date, hardware = str(provenance.get("started") or "–")[:10], str(provenance.get("hardware") or "–")
    return [*start, protocol, accuracies(record), date, *times, hardware]


def table_of(headings: Sequence[str], rows: Iterable[Sequence[nodes.Node]], empty: str) -> nodes.table:
    """Return a table; a sentence stands in it where there are no rows."""
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in headings], cols=len(headings))
    head, body = nodes.thead(), nodes.tbody()
    head += nodes.row("", *[nodes.entry("", nodes.paragraph(text=text)) for text in headings])
    for cells in rows:
        body += nodes.row("", *[nodes.entry("", cell) for cell in cells])
    if not len(body):
        note = [empty, *[""] * (len(headings) - 1)]
        body += nodes.row("", *[nodes.entry("", nodes.paragraph(text=cell)) for cell in note])
    group += [head, body]
    return nodes.table("", group, classes=["run-table"])


class RunTable(SphinxDirective):
    """List the records, each with a link to download it."""

    optional_arguments = 1
    option_spec: ClassVar = {"name": directives.unchanged_required, "caption": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # records may come and go between builds
        results = Path(self.env.srcdir) / "results"
        pattern = f"*/{self.arguments[0]}/*.json" if self.arguments else "*/*/*.json"
        rows = []
        for path in sorted(results.glob(pattern)):
            try:
                cells = [nodes.paragraph(text=cell) for cell in row(load(path))]
            except RecordError as error:
                logger.warning(
                    "run-table: %s", error, location=self.get_location(), type="fercore", subtype="record"
                )
                continue
            name = path.relative_to(self.env.srcdir).as_posix()
            link = addnodes.download_reference("", "", nodes.literal(text=path.stem), reftarget=f"/{name}")
            rows.append([*cells, nodes.paragraph("", "", link)])
        table = table_of(HEADINGS, rows, "No run has been recorded yet.")
        if "caption" in self.options:
            table.insert(0, nodes.title(text=self.options["caption"]))
        self.add_name(table)
        return [nodes.container("", table, classes=["full-width"])]


class FullScaleTable(SphinxDirective):
    """List the steps of the full-scale script whose records were brought home."""

    option_spec: ClassVar = {"name": directives.unchanged_required, "caption": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        rows = []
        for path in sorted((Path(self.env.srcdir) / "results" / "full_scale").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            cells = [record["step"], record["found"].get("brief", "–"), f"{record['seconds']:,.0f}\u00a0s"]
            cells += [record["device"], record["finished"][:10]]
            rows.append([nodes.paragraph(text=cell) for cell in cells])
        empty = "None of these steps has been done: no GPU has been at hand."
        table = table_of(("Step", "What came out", "Time", "Machine", "Date"), rows, empty)
        if "caption" in self.options:
            table.insert(0, nodes.title(text=self.options["caption"]))
        self.add_name(table)
        return [nodes.container("", table, classes=["full-width"])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("run-table", RunTable)
    app.add_directive("full-scale-table", FullScaleTable)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
