"""Serve MathJax from the book itself, out of the ``sphinx-mathjax-offline`` distribution: equations need no network."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

DISTRIBUTION = "sphinx-mathjax-offline"
FILE = "tex-svg-full.js"
TARGET = f"mathjax/{FILE}"


def find_mathjax(distribution: str = DISTRIBUTION) -> Path:
    """Return the installed MathJax file; an ExtensionError says how to install it."""
    try:  # its folder has a hyphen in its name and cannot be imported
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    found = next((Path(str(file.locate())) for file in files if file.name == FILE), None)
    if found is None or not found.is_file():
        remedy = "pip install -c constraints.txt -e . -e 'notebooks[book]'"
        raise ExtensionError(
            f"mathjax_local: {distribution} is not installed; install the book's tools: {remedy}"
        )
    return found


def use_local_mathjax(app: Sphinx) -> None:
    """Copy the file into an HTML build, once, and point Sphinx at it; other formats do not need it."""
    if app.builder.format != "html":
        return
    source, target = find_mathjax(), Path(app.outdir) / "_static" / TARGET
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    app.config.mathjax_path = TARGET  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", use_local_mathjax)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
