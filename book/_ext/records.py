"""Quote numbers from the records of real runs, so that no number of the book is typed by hand.

The role names a file under ``results``, a key and, if wanted, a format, and warns if one of them is unknown:
``{record}`accuracy/fer2013/proposed-official.json:metrics.test.accuracy:.1%` ``.
"""

from __future__ import annotations

import json
import re
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
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path.parent.name}/{path.name}: cannot be read ({error})") from None


def quote(results: Path, text: str) -> str:
    """Return the value that ``file.json:key:format`` names, formatted for print; the format may be absent."""
    parts = re.fullmatch(r"(.+\.json):([^:]+):?(.*)", text.strip())
    if parts is None:
        raise RecordError(f"{text!r} is not of the form 'experiment/dataset/name.json:key:format'")
    file, key, form = parts.groups()
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


def warn(of: Any, error: Exception) -> None:
    """Warn where a role or a directive stands."""
    logger.warning("%s: %s", of.name, error, location=of.get_location(), type="fercore", subtype="record")


class RecordRole(SphinxRole):
    """Quote one value; hovering over it shows its source."""

    folder = "results"

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            value = quote(Path(self.env.srcdir) / self.folder, self.text)
        except RecordError as error:
            warn(self, error)
            return [nodes.problematic(self.rawtext, "??")], []
        file, key = self.text.strip().split(":")[:2]
        self.env.note_dependency(f"{self.folder}/{file}")
        source = f"{self.folder}/{file}: {key}"
        return [nodes.abbreviation(value, value, explanation=source, classes=["record"])], []


class BenchmarkRole(RecordRole):
    """Quote one value of a benchmark: ``{benchmark}`grid.json:mean_job:.1f` ``."""

    folder = "benchmarks/results"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("record", RecordRole())
    app.add_role("benchmark", BenchmarkRole())
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
