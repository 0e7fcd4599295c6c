"""The course's notebooks for a class: written into the build, and listed by the directive ``{course-downloads}``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from ferlab.runs import handouts
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "_static/course"  # below the built book
HEADINGS = ("Chapter", "For students", "For instructors", "Exercises")


def write(app: Sphinx, error: Exception | None) -> None:
    """Write both versions when an HTML build has ended well."""
    if error is None and app.builder.format == "html":
        handouts.write(Path(app.outdir) / FOLDER)


def title(chapter: str, root: Path) -> str:
    """Return a chapter's title from its text notebook."""
    text = (root / "notebooks" / f"{chapter}.py").read_text(encoding="utf-8")
    found = re.search(r"^# # (.+)$", text, flags=re.MULTILINE)
    return found[1] if found else chapter


def exercises(chapter: str, root: Path) -> int:
    """Count a chapter's exercises."""
    text = (root / "notebooks" / f"{chapter}.py").read_text(encoding="utf-8")
    return len(re.findall(r"^# \*\*Exercise \d+\.\d+\*\*", text, flags=re.MULTILINE))


class CourseDownloads(SphinxDirective):
    """List the chapters with both versions of each, and an archive of all."""

    option_spec: ClassVar = {"name": directives.unchanged_required, "caption": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        root, up = Path(self.env.srcdir), "../" * self.env.docname.count("/")
        group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in HEADINGS], cols=len(HEADINGS))
        head, body = nodes.thead(), nodes.tbody()
        head += _row([nodes.Text(text) for text in HEADINGS])
        for chapter in handouts.chapters():
            self.env.note_dependency(f"notebooks/{chapter}.py")
            links = [
                _link("notebook", f"{up}{FOLDER}/{audience}/{chapter}.ipynb")
                for audience in handouts.AUDIENCES
            ]
            body += _row(
                [nodes.Text(title(chapter, root)), *links, nodes.Text(str(exercises(chapter, root)))]
            )
        links = [
            _link("all (zip)", f"{up}{FOLDER}/fercore-course-{audience}.zip")
            for audience in handouts.AUDIENCES
        ]
        body += _row([nodes.Text("All chapters"), *links, nodes.Text("")])
        group += [head, body]
        table = nodes.table("")
        if "caption" in self.options:
            table += nodes.title(text=self.options["caption"])
        table += group
        self.add_name(table)
        return [table]


def _link(text: str, where: str) -> nodes.reference:
    return nodes.reference("", text, refuri=where, internal=False)


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("course-downloads", CourseDownloads)
    app.connect("build-finished", write)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
