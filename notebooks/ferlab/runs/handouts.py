"""The course for a class: a student version without solutions and an instructor version, both made from one source.

The source is a chapter's text notebook, ``notebooks/course_<number>_<name>.py``. What belongs to a solution carries the
tag ``solution``. The instructor version keeps it; the student version has an empty place to answer instead.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from fercore.checkpoints import atomic_path
from ferlab import provenance
from ferlab.runs import runner

Audience = Literal["student", "instructor"]
AUDIENCES: tuple[Audience, ...] = get_args(Audience)
TAG = "solution"

_CODE = "# Your solution\n"
_TEXT = "*Your answer:*"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same archive from the same chapters


def chapters() -> list[str]:
    """Return the names of the chapters' notebooks in the order of the course."""
    found = [name for name in runner.experiments() if name.startswith(runner.COURSE)]
    return sorted(found, key=lambda name: int(name.split("_")[1]))


def version(chapter: str, audience: Audience) -> Any:
    """Return a chapter as a notebook for one audience, without outputs.

    Args:
        chapter: Name of its notebook, as :func:`chapters` lists them.
        audience: ``"student"``: solutions are replaced by empty cells; ``"instructor"``: they are all there.

    Returns:
        A notebook (``nbformat`` version 4) that Jupyter shows without the book's extensions: its cross-references and
        citations are plain text.

    Raises:
        ValueError: If there is no such audience.
    """
    if audience not in AUDIENCES:
        raise ValueError(f"There is no version for {audience!r}; choose {' or '.join(AUDIENCES)}.")
    notebook = runner.read_text_notebook(provenance.project_root() / "notebooks" / f"{chapter}.py")
    figures = _figures(notebook)
    cells: list[Any] = []
    for cell in notebook.cells:
        solution = TAG in cell.metadata.get("tags", [])
        if solution and audience == "student":
            if cells and TAG in cells[-1].metadata.get("tags", []):
                continue  # one place to answer for a solution of several cells
            cell.source = _CODE if cell.cell_type == "code" else _TEXT
        elif cell.cell_type == "markdown":
            cell.source = plain(cell.source, figures)
        cells.append(cell)
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            cells.append(_caption(cell, f"*{figures[figure['name']]}. {plain(figure['caption'])}*"))
    notebook.cells = cells
    notebook.metadata["fercore"] = {"chapter": chapter, "audience": audience}
    return notebook


def _figures(notebook: Any) -> dict[str, str]:
    """Number a chapter's figures: label to "Figure 1", "Figure 2", …"""
    names = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in notebook.cells]
    return {name: f"Figure {number}" for number, name in enumerate(filter(None, names), start=1)}


def _caption(cell: Any, text: str) -> Any:
    from nbformat.v4 import new_markdown_cell

    return new_markdown_cell(text, id=f"{cell.id}-caption")


def plain(text: str, figures: Mapping[str, str] | None = None) -> str:
    """Turn the book's Markdown into what any notebook shows: no roles, no labels, no fences of the book.

    Args:
        text: Markdown for MyST.
        figures: What stands for the label of a figure, e.g. ``{"fig-a": "Figure 1"}``.
    """
    figures = figures or {}
    text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^:::+\s*\{[\w-]+\}[ \t]*(.+)$", r"**\1**", text, flags=re.MULTILINE)
    text = re.sub(r"^:::+.*\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{cite:t\}`([^`]+)`", lambda found: _cited(found[1], "{} ({})"), text)
    text = re.sub(r"\{cite(?::\w+)?\}`([^`]+)`", lambda found: f"({_cited(found[1], '{}, {}')})", text)
    text = re.sub(r"\{numref\}`([^`<]+)`", lambda found: figures.get(found[1], f"*{found[1]}*"), text)
    text = re.sub(r"\{\w+(?::\w+)?\}`([^`<]+?)\s*<[^`>]+>`", r"\1", text)
    return re.sub(r"\{(?!record)\w+(?::\w+)?\}`([^`]+)`", r"*\1*", text)


def _cited(keys: str, form: str) -> str:
    """Return author and year of references, the key where the bibliography has no such entry."""
    known = _references()
    return "; ".join(
        form.format(*known[key]) if key in known else key for key in re.split(r"\s*,\s*", keys.strip())
    )


@functools.cache
def _references() -> dict[str, tuple[str, str]]:
    """Read {key: (authors, year)} of the book's bibliography."""
    path = provenance.project_root() / "book" / "references.bib"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {}
    for key, body in re.findall(r"^@\w+\{([^,\s]+),(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL):
        author = re.search(r"\bauthor\s*=\s*\{(.*?)\},?\s*$", body, flags=re.MULTILINE | re.DOTALL)
        year = re.search(r"\byear\s*=\s*\{?(\d{4})", body)
        if author and year:
            names = [name.split(",")[0].strip(" {}") for name in re.split(r"\s+and\s+", author[1])]
            short = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}"
            found[key] = (
                short if len(names) < 3 and "others" not in names else f"{names[0]} et al.",
                year[1],
            )
    return found


def write(folder: str | Path) -> list[Path]:
    """Write both versions of all chapters, and one archive for each audience.

    Args:
        folder: Where ``student/``, ``instructor/`` and ``fercore-course-<audience>.zip`` go.

    Returns:
        The files, in the order of the chapters; the archive is the last of each audience.
    """
    import nbformat

    folder, written = Path(folder), []
    for audience in AUDIENCES:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for chapter in chapters():
                content = (nbformat.writes(version(chapter, audience)) + "\n").encode()
                path = folder / audience / f"{chapter}.ipynb"
                _write(path, content)
                packed.writestr(zipfile.ZipInfo(f"{audience}/{path.name}", _ZIP_TIME), content)
                written.append(path)
        path = folder / f"fercore-course-{audience}.zip"
        _write(path, archive.getvalue())
        written.append(path)
    return written


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
