"""The tables of a grid of runs: one row per network and protocol, its folds taken together."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fercore import results, tables
from fercore.files import atomic_path

COLUMNS = (
    "dataset",
    "model",
    "variant",
    "recipe",
    "protocol",
    "folds",
    "accuracy",
    "sd",
    "least",
    "most",
    "without_copies",
)


def rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Take the folds of every setting together.

    Args:
        paths: Records; those of other experiments than ``accuracy`` are passed over.

    Returns:
        One row per setting, by :data:`COLUMNS`; accuracies in per cent, ``None`` where there is no number.

    Raises:
        FercoreError: If a record is damaged, or two are of the same run; names them.
    """
    kept = [path for path in paths if path.parts[-3:-2] == (tables.EXPERIMENT,)]
    found = tables.groups({path: results.read(path) for path in kept})
    return [_row(group) for group in found]


def _row(group: tables.Group) -> dict[str, Any]:
    values = [100 * value for value in group.accuracies]
    return dict(
        zip(
            COLUMNS,
            (
                group.dataset,
                group.model,
                group.variant,
                group.recipe,
                group.protocol,
                len(values),
                round(100 * group.mean, 2),
                None if group.sd is None else round(100 * group.sd, 2),
                round(min(values), 2),
                round(max(values), 2),
                None if group.without_copies is None else round(100 * group.without_copies, 2),
            ),
            strict=True,
        )
    )


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| " + " | ".join(name.replace("_", " ") for name in COLUMNS) + " |",
        "|---" * len(COLUMNS) + "|",
    ]
    lines += ["| " + " | ".join(_cell(row[name]) for name in COLUMNS) + " |" for row in found]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """Return text for a cell: a record's names are data, and may not end the cell or bring HTML."""
    return "–" if value is None else html.escape(" ".join(str(value).split())).replace("|", "&#124;")


def write(folder: str | Path, found: Sequence[dict[str, Any]]) -> list[Path]:
    """Write ``accuracy.csv``, ``accuracy.json`` and ``accuracy.md``; return them."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    contents = {
        "accuracy.csv": text.getvalue(),
        "accuracy.json": json.dumps(list(found), indent=2) + "\n",
        "accuracy.md": markdown(found),
    }
    written = []
    for name, content in contents.items():
        path = Path(folder) / name
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(path)
    return written
