"""List records: the directives ``{run-table}`` (an argument keeps one dataset) and ``{full-scale-table}``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from records import RecordError, load, warn
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HEADINGS = (
    *("Dataset", "Experiment", "Model", "Protocol", "Accuracy"),
    *("Date", "Run", "Training", "Hardware", "Record"),
)


def accuracies(record: dict[str, Any]) -> str:
    """Return the accuracy on each split that has one, e.g. ``"test 91.3 %"``."""
    splits = {name: part for name, part in record.get("metrics", {}).items() if isinstance(part, dict)}
    cells = [
        f"{name.replace('_', ' ')} {100 * part['accuracy']:.1f}\u00a0%"
        for name, part in splits.items()
        if isinstance(part.get("accuracy"), float)  # an interval has several
    ]
    return ", ".join(cells) or "–"


def row(record: dict[str, Any]) -> list[str]:
    """Return the cells of one record, without the last one."""
    provenance, training = record.get("provenance") or {}, record.get("training") or {}
    protocol = str(record.get("protocol") or "–")
    if record.get("fold") is not None:
        protocol += f", fold {record['fold']}"
    seconds = [part.get("seconds") for part in (provenance, training)]
    times = ["–" if one is None else f"{one:,.0f}\u00a0s" for one in seconds]
    start = [str(record.get(key) or "–") for key in ("dataset", "experiment", "model")]
    date, hardware = str(provenance.get("started") or "–")[:10], str(provenance.get("hardware") or "–")
    return [*start, protocol, accuracies(record), date, *times, hardware]


def entry(content: str | nodes.Node | list[nodes.Node]) -> nodes.entry:
    """Return a cell: of text, of a node, or of a list of paragraphs."""
    if not isinstance(content, list):
        inside = nodes.Text(content) if isinstance(content, str) else content
        content = [nodes.paragraph("", "", inside)]
    return nodes.entry("", *content)


def table_of(
    directive: SphinxDirective, headings: Sequence[str], rows: list[list[Any]], empty: str = "", **own: Any
) -> nodes.table:
    """Return a table of what :func:`entry` takes, with the directive's caption and name, and ``own`` attributes.

    Where there are no rows, the sentence ``empty`` stands in it.
    """
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in headings], cols=len(headings))
    head, body = nodes.thead(), nodes.tbody()
    for cells in rows or [[empty, *[""] * (len(headings) - 1)]]:
        body += nodes.row("", *map(entry, cells))
    head += nodes.row("", *map(entry, headings))
    group += [head, body]
    table = nodes.table("", **own)
    if "caption" in directive.options:
        table += nodes.title(text=directive.options["caption"])
    table += group
    directive.add_name(table)
    return table


NAMED: dict[str, Any] = dict.fromkeys(("name", "caption"), directives.unchanged_required)


class RunTable(SphinxDirective):
    """List the records, each with a link to download it."""

    optional_arguments = 1
    option_spec: ClassVar = NAMED

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # records may come and go between builds
        results = Path(self.env.srcdir) / "results"
        pattern = f"*/{self.arguments[0]}/*.json" if self.arguments else "*/*/*.json"
        rows = []
        for path in sorted(results.glob(pattern)):
            try:
                cells = row(load(path))
            except RecordError as error:
                warn(self, error)
                continue
            name = path.relative_to(self.env.srcdir).as_posix()
            link = addnodes.download_reference("", "", nodes.literal(text=path.stem), reftarget=f"/{name}")
            rows.append([*cells, link])
        table = table_of(self, HEADINGS, rows, "No run has been recorded yet.", classes=["run-table"])
        return [nodes.container("", table, classes=["full-width"])]


class FullScaleTable(SphinxDirective):
    """List the steps of the full-scale script whose records were brought home."""

    option_spec: ClassVar = NAMED

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        rows = []
        for path in sorted((Path(self.env.srcdir) / "results" / "full_scale").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            cells = [record["step"], record["found"].get("brief", "–"), f"{record['seconds']:,.0f}\u00a0s"]
            rows.append([*cells, record["device"], record["finished"][:10]])
        empty = "None of these steps has been done: no GPU has been at hand."
        headings = ("Step", "What came out", "Time", "Machine", "Date")
        table = table_of(self, headings, rows, empty, classes=["run-table"])
        return [nodes.container("", table, classes=["full-width"])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("run-table", RunTable)
    app.add_directive("full-scale-table", FullScaleTable)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
