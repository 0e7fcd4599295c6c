"""Serve MathJax from the book itself, so that equations render without a network.

The one file needed lies in the ``sphinx-mathjax-offline`` distribution. Its folder has a hyphen in its name
and cannot be imported, so the file is found through the distribution's own list of files and copied.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

DISTRIBUTION = "sphinx-mathjax-offline"
FILE = "tex-svg-full.js"
TARGET = f"mathjax/{FILE}"


def find_mathjax(distribution: str = DISTRIBUTION) -> Path:
    """Return the installed MathJax file.

    Raises:
        ExtensionError: The distribution, or the file inside it, is missing.
    """
    remedy = "install the book's tools with: pip install -c constraints.txt -e '.[book]'"
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        raise ExtensionError(f"mathjax_local: {distribution} is not installed; {remedy}") from None
    for file in files:
        if file.name == FILE and (path := Path(str(file.locate()))).is_file():
            return path
    raise ExtensionError(f"mathjax_local: {distribution} has no {FILE}; {remedy}")


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    """Point Sphinx at the copy under ``_static``."""
    config.mathjax_path = TARGET  # type: ignore[attr-defined]


def copy_mathjax(app: Sphinx) -> None:
    """Copy the file into the build, once; other output formats do not need it."""
    if app.builder.format != "html":
        return
    source, target = find_mathjax(), Path(app.outdir) / "_static" / TARGET
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", use_local_mathjax)
    app.connect("builder-inited", copy_mathjax)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
