"""Leave out of the built book what no page loads: source maps, pictures that are there twice, old formats of fonts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def superfluous(outdir: Path) -> list[Path]:
    """Return the files that no page loads."""
    static, shown = outdir / "_static", outdir / "_images"
    maps = list(static.rglob("*.map"))  # for those who debug the theme
    twice = [path for path in static.glob("*.png") if (shown / path.name).is_file()]
    old = [path for path in static.rglob("*.ttf") if path.with_suffix(".woff2").is_file()]
    return sorted(maps + twice + old)


def trim(app: Sphinx, error: Exception | None) -> None:
    """Delete them when an HTML build has ended well."""
    if error is None and app.builder.format == "html":
        for path in superfluous(Path(app.outdir)):
            path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", trim)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
