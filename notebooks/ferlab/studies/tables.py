"""The tables of a grid of runs: one row per network and protocol, its folds taken together."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pandas as pd

from fercore import datasets
from fercore import models as networks
from fercore.checkpoints import atomic_path
from fercore.errors import FercoreError
from ferlab.runs import records as results
from ferlab.runs import runner
from ferlab.studies import arithmetic, paper

EXPERIMENT = "accuracy"
FUSIONS = {"concatenate": "concatenated", "add": "added"}
SMALL = ("jaffe", "ckplus")  # few enough images for their means to be told apart at two decimals
_KNOWN = ("dataset", "model", "variant", "recipe", "protocol", "folds")
COLUMNS = (*_KNOWN, "accuracy", "sd", "least", "most", "without_copies")
_ORDER = ["dataset", "model", "fusion", "width", "recipe", "protocol"]
# What a table names anyway; a cell names what else differs within it.
_NAMED = [*_ORDER, "epochs", "pretrained"]
_RUN = ["settings", "fold", "accuracy", "without_copies", "parameters", "hardware", "record", "page"]


class Group(NamedTuple):
    """Accuracy runs that differ in nothing but the fold; ``runs`` has a row per fold, ascending; NaN is no number."""

    settings: dict[str, Any]  # all parameters but the fold
    runs: pd.DataFrame
    mean: float  # test accuracy over the folds, 0..1
    sd: float | None  # over the folds, with n - 1 in the denominator; None for a single fold
    without_copies: float | None  # the mean; a fold that has none counts as it is, None where no fold has any
    variant: str  # what tells this network from others of its row: "concatenated, width 0.25, 20 epochs"
    text: str  # the accuracy as printed: "61.0 % (5 folds, ± 0.4)"; the spread is in percentage points


class Entry(NamedTuple):
    """One line of a cell of ours: the runs behind its number, and what tells them from others of the cell."""

    group: Group
    note: str = ""


def _percent(share: float, decimals: int = 2) -> str:
    return f"{100 * share:.{decimals}f}\u00a0%"


def _title(dataset: str) -> str:
    return datasets.title(dataset) if dataset in datasets.DATASETS else dataset


# From records to groups


def page_index() -> dict[str, Path]:
    """Return the executed page of every record that has one, by the record's place in the project."""
    pages = {page: runner.about(page) for page in runner.pages()}
    return {about["record"]: page for page, about in pages.items() if about}


def groups(records: Mapping[Path, Mapping[str, Any]], pages: Mapping[str, Path] | None = None) -> list[Group]:
    """Put accuracy records, by path, that differ only in the fold together, sorted; other experiments are ignored.

    A record that lacks what the tables print, and two records of one fold, are a :class:`FercoreError` that names them.
    """
    ours = {path: record for path, record in records.items() if record.get("experiment") == EXPERIMENT}
    rows = [_run(path, record, pages or {}) for path, record in ours.items()]
    runs = pd.DataFrame(rows, columns=_RUN, dtype=object)
    twins = runs[runs.duplicated(["settings", "fold"], keep=False)]
    for _, same in twins.groupby("settings"):
        names = " and ".join(map(results.place, same.record[::-1]))
        raise FercoreError(f"{names} are the same run. Delete one of them.")
    found = [_group(json.loads(text), part) for text, part in runs.sort_values("fold").groupby("settings")]
    return sorted(found, key=lambda group: [group.settings[name] for name in _ORDER])


def _group(settings: dict[str, Any], runs: pd.DataFrame) -> Group:
    accuracy, known = runs.accuracy.tolist(), runs.without_copies
    mean, sd = fmean(accuracy), stdev(accuracy) if len(accuracy) > 1 else None
    copies = fmean(known.fillna(runs.accuracy)) if known.notna().any() else None
    variant = [FUSIONS.get(settings["fusion"], settings["fusion"]), f"width {settings['width']:g}"]
    variant += [f"{settings['epochs']} epochs"] if settings.get("epochs") else []
    variant += ["ImageNet weights"] if settings.get("pretrained") else []
    folds = "" if settings["protocol"].startswith("official") else " (1 fold)"
    folds = folds if sd is None else f" ({len(accuracy)} folds, ± {100 * sd:.1f})"
    named = ", ".join(filter(None, variant))
    return Group(settings, runs, mean, sd, copies, named, _percent(mean, 1) + folds)


def _run(path: Path, record: Mapping[str, Any], pages: Mapping[str, Path]) -> dict[str, Any]:
    """Return a record's row of :attr:`Group.runs`, and its settings as JSON."""
    try:
        settings = {"recipe": "paper", "fusion": "", "width": 1.0, **record["parameters"]}
        settings |= {name: record[name] for name in ("protocol", "dataset", "model")}
        settings |= {} if networks.has_fusion(record["model"]) else {"fusion": ""}
        settings["width"] = float(settings["width"])
        settings.pop("fold", None)
        if not all(isinstance(settings[name], str) for name in _ORDER if name != "width"):
            raise TypeError("a name is no text")
        metrics = record["metrics"]
        return {
            "settings": json.dumps(settings, sort_keys=True),
            "fold": int(record["fold"]),
            "accuracy": float(metrics["test"]["accuracy"]),
            "without_copies": float((metrics.get("without_copies") or {"accuracy": "nan"})["accuracy"]),
            "parameters": metrics.get("parameters"),
            "hardware": str((record.get("training") or {}).get("hardware", "")),
            "record": path,
            "page": pages.get(results.place(path)),
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FercoreError(
            f"{results.place(path)} lacks what an accuracy record holds ({type(error).__name__}: {error}). "
            "Run the experiment again."
        ) from error


def load(root: Path | None = None) -> list[Group]:
    """Return the groups of all published accuracy records of a project folder, this one's by default."""
    return groups(_read(results.paths(root)), page_index())


def _read(paths: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    return {path: results.read(path) for path in paths if path.parts[-3:-2] == (EXPERIMENT,)}


# The tables of the book


def _listed(found: Iterable[Group]) -> pd.DataFrame:
    """Return groups of the paper's networks, one a row, with what the tables sort them by."""
    names = ["dataset", "model", "recipe", "protocol"]
    rows = [(*(group.settings[name] for name in names), group.variant, group) for group in found]
    table = pd.DataFrame(rows, columns=[*names, "variant", "group"])
    return table[table.model.isin(list(paper.ROWS))]


def _cell(found: Iterable[Group], with_variant: bool = False) -> list[Entry]:
    """Return a cell of ours: one entry per group, told apart by what differs between them."""
    found = list(found)
    texts = [{name: json.dumps(value) for name, value in group.settings.items()} for group in found]
    values = pd.DataFrame(texts).drop(columns=_NAMED, errors="ignore").fillna("–").sort_index(axis=1)
    values = values.loc[:, values.nunique() > 1]
    cell = []
    for group, row in zip(found, values.to_dict("records"), strict=True):
        notes = [f"{name.replace('_', ' ')} {value}".replace('"', "") for name, value in row.items()]
        cell.append(Entry(group, ", ".join([group.variant, *notes] if with_variant else notes)))
    return cell


def _published(table: Mapping[str, Sequence[float | None]]) -> pd.DataFrame:
    """Return a table of the paper: numbers by network and dataset, NaN for a dash."""
    return pd.DataFrame.from_dict(table, orient="index", columns=paper.DATASETS, dtype=float)


def table_1(found: Iterable[Group], dataset: str = paper.DATASETS[0]) -> pd.DataFrame:
    """Return Table 1: the paper's four rows, its number for each dataset, and ours for one dataset.

    A recipe and protocol is a column of ours. Here and below a cell is text or a list of entries, empty for a dash.
    """
    ours, name = _listed(found), f"Ours on {_title(dataset)}"
    table = _published(paper.TABLE_1).map(_percent).rename(columns=lambda key: f"Paper: {_title(key)}")
    columns = {
        f"{name}: recipe {recipe}, protocol {protocol}": part
        for (recipe, protocol), part in ours[ours.dataset == dataset].groupby(["recipe", "protocol"])
    }
    for column, part in (columns or {name: ours.head(0)}).items():
        cells = [_cell(part.group[part.model == model], True) for model in paper.ROWS]
        table[column] = pd.Series(cells, table.index)
    return table.rename_axis("Network")


def table_2(found: Iterable[Group]) -> pd.DataFrame:
    """Return Table 2: the paper's rows, then one for each of our ways to train and test the proposed network."""
    ours = _listed(found)
    ours = ours[(ours.model == "proposed") & ours.dataset.isin(paper.DATASETS)]
    rows = {
        f"Paper: {name}": [[] if value is None else _percent(value) for value in values]
        for name, values in paper.TABLE_2.items()
    }
    name = f"Ours: {paper.ROWS['proposed']}"
    for (variant, recipe, protocol), part in ours.groupby(["variant", "recipe", "protocol"], sort=False):
        cells = [_cell(part.group[part.dataset == key]) for key in paper.DATASETS]
        rows[f"{name}, {variant}, recipe {recipe}, protocol {protocol}"] = cells
    if ours.empty:
        rows[name] = [[] for _ in paper.DATASETS]
    table = pd.DataFrame(rows.values(), list(rows), columns=list(map(_title, paper.DATASETS)))
    return table.rename_axis("Network")


def paper_and_ours(found: Iterable[Group]) -> pd.DataFrame:
    """Return Table 1 and our runs of its networks in one long table, by dataset and network, the paper's first."""
    ours, rows = _listed(found), []
    known = [*paper.DATASETS, *sorted(set(ours.dataset) - set(paper.DATASETS))]
    for dataset, (model, label) in itertools.product(known, paper.ROWS.items()):
        if dataset in paper.DATASETS:
            value = _percent(paper.table_1(model)[dataset])
            rows.append((_title(dataset), label, "the paper", "its Table 1, random folds", value))
        for run in ours[(ours.dataset == dataset) & (ours.model == model)].itertuples():
            how = f"recipe {run.recipe}, protocol {run.protocol}, {run.variant}"
            rows.append((_title(dataset), label, "ours", how, [Entry(run.group)]))
    return pd.DataFrame(rows, columns=["Dataset", "Network", "Whose", "How", "Accuracy"]).set_index("Dataset")


def ranks() -> pd.DataFrame:
    """Return how the paper's own network stands among its peers in the paper's Table 2, dataset by dataset."""
    peers = _published(paper.TABLE_2)
    own = peers.loc[paper.ROWS["proposed"]]
    peers = peers.drop(own.name)
    columns = {
        "Proposed network": own.map(_percent),
        "Peers above it": (peers > own).sum().astype(str) + " of " + peers.count().astype(str),
        "Best peer": peers.max().map(_percent) + ", " + peers.idxmax(),
    }
    return pd.DataFrame(columns).rename(index=_title).rename_axis("Dataset")


def reachable() -> pd.DataFrame:
    """Return, for the small datasets' cells of the paper's Table 1, whether they can be means over so many folds."""
    rows = {}
    for dataset, (label, values) in itertools.product(SMALL, paper.TABLE_1.items()):
        printed = f"{100 * values[paper.DATASETS.index(dataset)]:.2f}"
        found = [arithmetic.verdict(datasets.about(dataset).images, folds, printed) for folds in (1, 5, 10)]
        rows[f"{_title(dataset)}, {label}"] = [f"{printed}\u00a0%", *(verdict.text for verdict in found)]
    headings = ["Printed", "All images at once", "Mean of 5 folds", "Mean of 10 folds"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=headings).rename_axis("Cell of Table 1")


# The table of a grid


def rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return a row per setting of accuracy records, by :data:`COLUMNS`, its folds together, accuracies in per cent."""
    found = []
    for group in groups(_read(paths)):
        every = group.runs.accuracy.tolist()
        shares = (group.mean, group.sd, min(every), max(every), group.without_copies)
        numbers = (None if share is None else round(100 * share, 2) for share in shares)
        known = {**group.settings, "variant": group.variant, "folds": len(every)}
        found.append(dict(zip(COLUMNS, (*(known[name] for name in _KNOWN), *numbers), strict=True)))
    return found


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table; names are data, and may neither end a cell nor bring HTML."""
    lines = ["| " + " | ".join(COLUMNS).replace("_", " ") + " |", "|---" * len(COLUMNS) + "|"]
    for row in found:
        texts = ("–" if row[name] is None else " ".join(str(row[name]).split()) for name in COLUMNS)
        lines.append("| " + " | ".join(html.escape(text).replace("|", "&#124;") for text in texts) + " |")
    return "\n".join(lines) + "\n"


def write(folder: str | Path, found: Sequence[dict[str, Any]]) -> list[Path]:
    """Write ``accuracy.csv``, ``accuracy.json`` and ``accuracy.md``; return them."""
    contents = {
        "csv": pd.DataFrame(found, columns=COLUMNS).to_csv(index=False),
        "json": json.dumps(list(found), indent=2) + "\n",
        "md": markdown(found),
    }
    for kind, content in contents.items():
        with atomic_path(Path(folder) / f"accuracy.{kind}") as temporary:
            temporary.write_text(content, encoding="utf-8")
    return [Path(folder) / f"accuracy.{kind}" for kind in contents]
