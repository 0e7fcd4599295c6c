"""The course's notebooks for a class: written into the build, and listed by the directive ``{course-downloads}``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from ferlab.runs import handouts
from run_table import NAMED, table_of
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "_static/course"  # below the built book
HEADINGS = ("Chapter", "For students", "For instructors", "Exercises")


def write(app: Sphinx, error: Exception | None) -> None:
    """Write both versions when an HTML build has ended well."""
    if error is None and app.builder.format == "html":
        handouts.write(Path(app.outdir) / FOLDER)


def described(text: str) -> tuple[str, str]:
    """Return the title in a text notebook, and how many exercises it has."""
    exercises = re.findall(r"^# \*\*Exercise \d+\.\d+\*\*", text, flags=re.MULTILINE)
    return re.search(r"^# # (.+)$", text, flags=re.MULTILINE)[1], str(len(exercises))


class CourseDownloads(SphinxDirective):
    """List the chapters with both versions of each, and an archive of all."""

    option_spec: ClassVar = NAMED

    def run(self) -> list[nodes.Node]:
        root, up = Path(self.env.srcdir), f"{'../' * self.env.docname.count('/')}{FOLDER}"
        rows = []
        for chapter in handouts.chapters():
            source = f"notebooks/{chapter}.py"
            self.env.note_dependency(source)
            title, exercises = described((root / source).read_text(encoding="utf-8"))
            links = [_link("notebook", f"{up}/{audience}/{chapter}.ipynb") for audience in handouts.AUDIENCES]
            rows.append([title, *links, exercises])
        names = [f"{up}/fercore-course-{audience}.zip" for audience in handouts.AUDIENCES]
        rows.append(["All chapters", *[_link("all (zip)", name) for name in names], ""])
        return [table_of(self, HEADINGS, rows)]


def _link(text: str, where: str) -> nodes.reference:
    return nodes.reference("", text, refuri=where, internal=False)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("course-downloads", CourseDownloads)
    app.connect("build-finished", write)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
