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
from typing import Any

from fercore.checkpoints import atomic_path
from ferlab import provenance
from ferlab.runs import runner

AUDIENCES = ("student", "instructor")
TAG = "solution"
PLACES = {"code": "# Your solution\n", "markdown": "*Your answer:*"}  # to answer
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same archive from the same chapters


def chapters() -> list[str]:
    """Return the names of the chapters' notebooks in the order of the course."""
    found = [name for name in runner.experiments() if name.startswith(runner.COURSE)]
    return sorted(found, key=lambda name: int(name.split("_")[1]))


def version(chapter: str, audience: str) -> Any:
    """Return a chapter as a notebook for one of ``AUDIENCES``, without outputs.

    Jupyter shows it without the book's extensions: its cross-references and citations are plain text.
    """
    from nbformat.v4 import new_markdown_cell

    notebook = runner.read_text_notebook(runner.source(chapter))
    figures = {cell.id: cell.metadata.get("mystnb", {}).get("figure") for cell in notebook.cells}
    named = [figure["name"] for figure in figures.values() if figure]
    numbers = {name: f"Figure {number}" for number, name in enumerate(named, start=1)}
    cells: list[Any] = []
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", []) and audience == "student":
            if cells and TAG in cells[-1].metadata.get("tags", []):
                continue  # one place to answer for a solution of several cells
            cell.source = PLACES[cell.cell_type]
        elif cell.cell_type == "markdown":
            cell.source = plain(cell.source, numbers)
        cells.append(cell)
        if figure := figures[cell.id]:
            caption = f"*{numbers[figure['name']]}. {plain(figure['caption'])}*"
            cells.append(new_markdown_cell(caption, id=f"{cell.id}-caption"))
    notebook.cells = cells
    notebook.metadata["fercore"] = {"chapter": chapter, "audience": audience}
    return notebook


def plain(text: str, figures: Mapping[str, str] | None = None) -> str:
    """Turn the book's Markdown into what any notebook shows; ``figures`` says what stands for a figure's label."""
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
    known, wanted = _references(), re.split(r"\s*,\s*", keys.strip())
    return "; ".join(form.format(*known[key]) if key in known else key for key in wanted)


@functools.cache
def _references() -> dict[str, tuple[str, str]]:
    """Read {key: (authors, year)} of the book's bibliography."""
    text = (provenance.project_root() / "book" / "references.bib").read_text(encoding="utf-8")
    found = {}
    for key, body in re.findall(r"^@\w+\{([^,\s]+),(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL):
        author = re.search(r"\bauthor\s*=\s*\{(.*?)\},?\s*$", body, flags=re.MULTILINE | re.DOTALL)
        year = re.search(r"\byear\s*=\s*\{?(\d{4})", body)
        if author and year:
            names = [name.split(",")[0].strip(" {}") for name in re.split(r"\s+and\s+", author[1])]
            few = len(names) < 3 and "others" not in names
            found[key] = (" and ".join(names) if few else f"{names[0]} et al.", year[1])
    return found


def write(folder: str | Path) -> list[Path]:
    """Write ``student/`` and ``instructor/`` with all chapters, and an archive of each; return the files in order."""
    import nbformat

    written = {}
    for audience in AUDIENCES:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for chapter in chapters():
                content = (nbformat.writes(version(chapter, audience)) + "\n").encode()
                written[Path(folder, audience, f"{chapter}.ipynb")] = content
                packed.writestr(zipfile.ZipInfo(f"{audience}/{chapter}.ipynb", _ZIP_TIME), content)
        written[Path(folder, f"fercore-course-{audience}.zip")] = archive.getvalue()
    for path, content in written.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return list(written)
