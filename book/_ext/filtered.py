"""A table to choose rows from: the directive ``{filtered}`` around one table, in Markdown or from another directive.

``:columns: Dataset, Model`` makes a list of the entries of each of these columns, which decide what rows are shown.
``:across: Dataset: FER2013, JAFFE`` makes one list for a table that has such entries side by side. It keeps the columns
whose heading holds the chosen name or none, and the rows with a number in them. Without script, the whole is shown.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from ferlab.interactive import opening
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class filtered(nodes.General, nodes.Element):
    """The element that figures.js looks for; ``choices`` is what its maker "filter" reads."""


def names(text: str) -> list[str]:
    """Return the parts of a list with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def headings(table: nodes.table) -> list[str]:
    """Return the headings of a table as the script sees them."""
    head = next(iter(table.findall(nodes.thead)))
    return [" ".join(entry.astext().split()) for entry in head[0]]


def choices(found: list[str], columns: str, across: str) -> dict[str, Any]:
    """Return what is to be chosen, after a look at whether the table has it."""
    label, _, listed = across.partition(":")
    wanted = {"columns": names(columns), "across": {"label": label.strip(), "names": names(listed)}}
    if not wanted["columns"] and not wanted["across"]["names"]:
        raise ValueError(
            'say what to choose by, e.g. ":columns: Dataset" or ":across: Dataset: FER2013, JAFFE"'
        )
    absent = [name for name in wanted["columns"] if name not in found]
    absent += [name for name in wanted["across"]["names"] if not any(name in text for text in found)]
    if absent:
        raise ValueError(f"the table has no {', '.join(absent)}; its columns are {', '.join(found)}")
    return wanted if wanted["across"]["names"] else {"columns": wanted["columns"]}


class Filtered(SphinxDirective):
    """Wrap one table."""

    has_content = True
    option_spec: ClassVar = dict.fromkeys(("columns", "across"), directives.unchanged_required)

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        element = filtered()
        self.state.nested_parse(self.content, self.content_offset, element)
        tables = list(element.findall(nodes.table))
        if len(tables) != 1:
            raise self.error(f"filtered: one table is needed inside, and there are {len(tables)}.")
        columns, across = self.options.get("columns", ""), self.options.get("across", "")
        try:
            element["choices"] = choices(headings(tables[0]), columns, across)
        except ValueError as error:
            raise self.error(f"filtered: {error}.") from error
        return [element]


def visit(translator: Any, node: filtered) -> None:
    translator.body.append(opening("filter", node["choices"]) + "\n")


def depart(translator: Any, node: filtered) -> None:
    translator.body.append("</div>\n")


def nothing(translator: Any, node: filtered) -> None:
    """Leave the table alone, in builders without scripts."""


def setup(app: Sphinx) -> dict[str, Any]:
    others = dict.fromkeys(("latex", "text", "man", "texinfo"), (nothing, nothing))
    app.add_node(filtered, html=(visit, depart), **others)
    app.add_directive("filtered", Filtered)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
