"""Say under every page where it came from, and how to cite it.

An executed notebook carries a dictionary ``fercore`` in its metadata, written by the runner. Whether the run is still
fresh is worked out anew by every build. Other pages name only the commit of the build.
"""

from __future__ import annotations

import html
import json
import os
import re
import tomllib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import page_tools
from ferlab.runs import records
from sphinx.application import Sphinx

from fercore.errors import FercoreError

# Metadata keys in the order shown; others are not shown.
FIELDS = (
    *("experiment", "dataset", "parameters", "seed", "commit", "started", "seconds", "hardware", "versions"),
    *("data_checksum", "record"),
)


def duration(seconds: float) -> str:
    """Write a duration as a person would: ``"2 h 05 min"``, ``"3 min 20 s"``, ``"4.2 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def show(key: str, value: Any) -> str:
    """Return one value as safe HTML."""
    if key == "seconds":
        return duration(value)
    if isinstance(value, Mapping):
        parts = (f"<code>{escape(str(name))} = {escape(str(item))}</code>" for name, item in value.items())
        return " ".join(parts) or "none"
    if key == "started":
        zone = " UTC" if str(value).endswith(("Z", "+00:00")) else ""
        value = str(value)[:19].replace("T", " ") + zone
    text = escape(str(value))
    return f"<code>{text}</code>" if key in {"commit", "data_checksum", "record"} else text


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the ``fercore`` metadata of a notebook; empty for any other page."""
    if path.suffix != ".ipynb":
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("fercore", {})


def state(path: Path) -> str:
    """Say whether a run with this record would still come out the same, as HTML."""
    try:
        reasons = records.stale(records.read(path))
    except FercoreError:
        reasons = ["its record is not there"]
    if not reasons:
        return '<span class="state-fresh">fresh</span>: the present code would make this page'
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return f'<span class="state-stale">stale</span>: {escape("; ".join(reasons[:3]) + more)}'


def render(run: Mapping[str, Any], commit: str, record_url: str | None, extra: Mapping[str, str]) -> str:
    """Return the block under a page: a run's facts, after ``extra`` rows of safe HTML; one line for a page of prose."""
    if not run:
        source = f"commit <code>{escape(commit)}</code>" if commit else "a copy without version control"
        return f'<p class="provenance provenance-page">Built from {source}.</p>'
    rows = [f"<div><dt>{title}</dt><dd>{value}</dd></div>" for title, value in extra.items() if value]
    for key in FIELDS:
        if run.get(key) in (None, "", {}):
            continue
        value = show(key, run[key])
        if key == "record" and record_url:
            value = f'<a href="{escape(record_url)}" download>{value}</a>'
        title = "duration" if key == "seconds" else key.replace("_", " ")
        rows.append(f"<div><dt>{title.capitalize()}</dt><dd>{value}</dd></div>")
    return (
        '<aside class="provenance" aria-label="Provenance of this run">'
        f'<p class="provenance-title">Where this page comes from</p><dl>{"".join(rows)}</dl></aside>'
    )


def note_build(app: Any) -> None:
    """Find out once what every page says: commit (with ``+`` if files differ from it), version and repository."""
    project = tomllib.loads((Path(app.srcdir) / "pyproject.toml").read_text(encoding="utf-8"))
    app.fercore_version = project["project"]["version"]
    app.fercore_commit = page_tools.git(app.srcdir, "describe", "--always", "--dirty=+", "--exclude=*")
    app.fercore_repository = page_tools.repository(app.srcdir)


def add_provenance(app: Any, pagename: str, _: str, context: dict[str, Any], doctree: Any) -> None:
    """Append the block to a page; generated pages such as the search page are left alone."""
    if doctree is None:
        return
    path, root = Path(app.env.doc2path(pagename)), Path(app.srcdir)
    run = read_metadata(path)
    # The status page offers the record for download: link to that copy.
    download = app.env.dlfiles.get(str(run.get("record", "")))
    url = context["pathto"](f"_downloads/{download[1]}", True) if download else None
    extra = {}
    if run:
        page, files = path.relative_to(root).as_posix(), page_tools.downloads(root, run)
        if url:
            del files["record"]  # its own row leads to it
        notebook = f"notebooks/{run.get('experiment', '')}.ipynb"
        extra = {
            "State": state(root / str(run.get("record"))),
            "Run it": page_tools.launch(
                app.fercore_repository, notebook, os.environ.get("FERCORE_REF") or "main"
            ),
            "Download": page_tools.offer(root, Path(app.outdir), page, files, context["pathto"]),
        }
    title = html.unescape(re.sub(r"<[^>]+>", "", context.get("title") or ""))
    context["body"] += render(run, app.fercore_commit, url, extra)
    context["body"] += page_tools.citation(title, app.fercore_version, app.fercore_commit)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", note_build)
    app.connect("html-page-context", add_provenance)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
