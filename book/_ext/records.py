"""Quote numbers from the records of real runs, so that no number of the book is typed by hand.

A record is ``results/<experiment>/<dataset>/<name>.json``. The role names a file, a key and, if wanted, a format:
``{record}`accuracy/fer2013/proposed-official.json:metrics.test.accuracy:.1%` ``.
An unknown file, key or format is a warning, which fails a strict build.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)


class RecordError(ValueError):
    """A quoted value does not exist; the message names file and key."""


def load(path: Path) -> dict[str, Any]:
    """Read one record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.parent.name}/{path.name}: cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise RecordError(f"{path.parent.name}/{path.name}: is not a JSON object")
    return record


def split_reference(text: str) -> tuple[str, str, str]:
    """Split ``file.json:key:format`` into its three parts; the format may be absent."""
    file, mark, rest = text.strip().partition(".json:")
    key, _, form = rest.partition(":")
    if not (file and mark and key):
        raise RecordError(f"{text!r} is not of the form 'experiment/dataset/name.json:key:format'")
    return file + ".json", key, form


def quote(results: Path, text: str) -> str:
    """Return the value that a reference names, formatted for print."""
    file, key, form = split_reference(text)
    path = (results / file).resolve()
    if not path.is_relative_to(results.resolve()) or not path.is_file():
        raise RecordError(f"{file}: no such record under results/ (asked for key {key!r})")
    value: Any = load(path)
    for part in key.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise RecordError(f"{file}: no key {key!r} (stopped at {part!r})") from None
    if value is None or isinstance(value, dict | list):
        raise RecordError(f"{file}: key {key!r} is not a single value")
    try:
        return format(value, form)
    except (ValueError, TypeError):
        raise RecordError(f"{file}: key {key!r} cannot be shown as {form!r}") from None


class RecordRole(SphinxRole):
    """Quote one value; hovering over it shows its source."""

    folder = "results"

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            value = quote(Path(self.env.srcdir) / self.folder, self.text)
        except RecordError as error:
            logger.warning(
                "record: %s", error, location=self.get_location(), type="fercore", subtype="record"
            )
            return [nodes.problematic(self.rawtext, "??")], []
        file, key, _ = split_reference(self.text)
        self.env.note_dependency(f"{self.folder}/{file}")
        return [
            nodes.abbreviation(value, value, explanation=f"{self.folder}/{file}: {key}", classes=["record"])
        ], []


class BenchmarkRole(RecordRole):
    """Quote one value of a benchmark: ``{benchmark}`grid.json:mean_job:.1f` ``."""

    folder = "benchmarks/results"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("record", RecordRole())
    app.add_role("benchmark", BenchmarkRole())
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
