"""Tables of accuracies, and what can be said of them by arithmetic; all computed anew at every build.

``{accuracy-table}`` prints one of :data:`KINDS`: the paper's tables beside our runs, the ranks in its Table 2, or which
cells of its Table 1 can be means over folds. ``{reachable} 213 5 99.20`` answers that for one number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from docutils import nodes
from docutils.parsers.rst import directives
from ferlab.runs.records import place
from ferlab.studies import arithmetic, paper, tables
from records import warn
from run_table import NAMED, table_of
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fercore import datasets
from fercore.errors import FercoreError

KINDS: dict[str, Callable[[list[tables.Group], str], pd.DataFrame]] = {
    "paper-and-ours": lambda found, _: tables.paper_and_ours(found),
    "table-1": tables.table_1,
    "table-2": lambda found, _: tables.table_2(found),
    "ranks": lambda *_: tables.ranks(),
    "reachable": lambda *_: tables.reachable(),
}
DASH = "–"


def explanation(group: tables.Group) -> str:
    """Say which records a number comes from, and what else there is to know of it."""
    parameters = group.runs.parameters.iloc[0]
    facts = [", ".join(map(place, group.runs.record))]
    facts += [] if parameters is None else [f"{parameters:,} parameters"]
    facts += [f"trained on {machine}" for machine in group.runs.hardware.unique() if machine]
    return "; ".join(facts)


class AccuracyTable(SphinxDirective):
    """One of the tables; our numbers link to the pages of their runs, where these are part of the book."""

    required_arguments = 1
    option_spec: ClassVar = NAMED | {
        "dataset": lambda text: directives.choice(text, tuple(datasets.DATASETS))
    }

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # records may come and go between builds
        kind, dataset = self.arguments[0], self.options.get("dataset", paper.DATASETS[0])
        found = []
        try:
            found = tables.load(Path(self.env.srcdir))
        except FercoreError as error:
            warn(self, error)
        return [nodes.container("", self.table(KINDS[kind](found, dataset)), classes=["full-width"])]

    def table(self, content: pd.DataFrame) -> nodes.table:
        """Return the table; its index heads the rows."""
        rows = [[self.lines(cell) for cell in row] for row in content.itertuples()]
        table = table_of(self, [content.index.name, *content.columns], rows, classes=["accuracy-table"])
        next(iter(table.findall(nodes.colspec)))["stub"] = 1
        return table

    def lines(self, cell: str | list[tables.Entry]) -> str | list[nodes.paragraph]:
        """Return a cell's text, or a paragraph for each of its entries, a dash if there is none."""
        return cell if isinstance(cell, str) else [self.line(*entry) for entry in cell] or DASH

    def line(self, group: tables.Group, note: str) -> nodes.paragraph:
        shown = self.link(group.text, group) or nodes.Text(group.text)
        mark = nodes.abbreviation("", "", shown, explanation=explanation(group), classes=["record"])
        paragraph = nodes.paragraph("", f"{note}: " if note else "", mark)
        if group.without_copies is not None:
            paragraph += nodes.Text(f"; without copies {100 * group.without_copies:.1f}\u00a0%")
        return paragraph

    def link(self, text: str, group: tables.Group) -> nodes.Node | None:
        """Return a reference to the first page of a group that the book holds, None if it holds none."""
        names = [self.env.path2doc(str(page.resolve())) for page in group.runs.page if page]
        name = next((name for name in names if name in self.env.found_docs), None)
        if name is None:
            return None
        about = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{name}", "refdoc": self.env.docname}
        return addnodes.pending_xref("", nodes.inline(text=text), refexplicit=True, refwarn=True, **about)


def sentence(images: int, folds: int, printed: str) -> str:
    """Say whether a percentage can be a mean over folds, and what the nearest means are where it cannot."""
    found = arithmetic.verdict(images, folds, printed)
    parts = f"in {folds} folds of {' or '.join(map(str, found.sizes))}" if folds > 1 else "at once"
    start = f"{images:,} images {parts}:"
    if found.possible:
        right = " or ".join(f"{count:,}" for count in sorted({*found.rounded, *found.cut}))
        way = {(True, False): ", if it is rounded", (False, True): ", if further decimals are cut off"}
        how = way.get((bool(found.rounded), bool(found.cut)), "")
        return f"{start} {printed}\u00a0% is possible{how}, with {right} right."
    near = [f"{float(mean):.3f}\u00a0%" for mean in (found.below, found.above) if mean is not None]
    fewest = arithmetic.fewest_folds(images, printed)
    rest = "no number of folds gives it" if fewest is None else f"it takes at least {fewest} folds to get it"
    return (
        f"{start} {printed}\u00a0% is impossible, whether rounded or cut off. "
        f"The nearest means are {' and '.join(near)}; {rest}."
    )


class Reachable(SphinxDirective):
    """Print whether a percentage can be a mean over near-equal folds: images, folds, percentage."""

    required_arguments = 3

    def run(self) -> list[nodes.Node]:
        images, folds, printed = self.arguments
        text = sentence(int(images), int(folds), printed)
        return [nodes.paragraph("", text, classes=["computed"])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("accuracy-table", AccuracyTable)
    app.add_directive("reachable", Reachable)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
