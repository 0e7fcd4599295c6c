"""The tables of a grid of runs: one row per network and protocol, its folds taken together."""

from __future__ import annotations
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from ferlab.studies import arithmetic
from fercore import models as networks
from ferlab.studies import paper
from ferlab.runs import records as results
from ferlab.runs import runner
from fercore.errors import FercoreError
import csv
import html
import io
from collections.abc import Sequence
from ferlab.runs import records
from fercore.checkpoints import atomic_path


EXPERIMENT = "accuracy"
FUSIONS = {"concatenate": "concatenated", "add": "added"}
# What a table names anyway; a cell names what else differs within it.
_NAMED = {"model", "fusion", "width", "epochs", "pretrained", "recipe", "protocol", "dataset"}


@dataclass(frozen=True)
class Group:
    """Accuracy runs that differ in nothing but the fold.

    Attributes:
        dataset: Name of the dataset.
        model: One of :data:`fercore.models.MODELS`.
        fusion: How branches are joined; ``""`` for a network that has none.
        width: Multiplier of all channels.
        recipe: Name of the recipe.
        epochs: Epochs of training; None where the record has none.
        protocol: Name of the protocol.
        pretrained: Whether training started from ImageNet weights.
        folds: The folds that were run, ascending; ``(0,)`` under a protocol without folds.
        accuracies: Test accuracy of each fold, 0..1.
        without_copies: Mean test accuracy without images that are also in training; None where no fold has such.
        parameters: Number of trainable parameters; None where the record has none.
        hardware: The machines that trained the network, each once.
        records: The record of each fold.
        pages: The executed page of each fold; None where there is none.
        settings: All parameters but the fold, for telling groups apart.
    """

    dataset: str
    model: str
    fusion: str
    width: float
    recipe: str
    epochs: int | None
    protocol: str
    pretrained: bool
    folds: tuple[int, ...]
    accuracies: tuple[float, ...]
    without_copies: float | None
    parameters: int | None
    hardware: tuple[str, ...]
    records: tuple[Path, ...]
    pages: tuple[Path | None, ...]
    settings: tuple[tuple[str, str], ...]

    @property
    def mean(self) -> float:
        """Mean test accuracy over the folds, 0..1."""
        return fmean(self.accuracies)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the folds, with n - 1 in the denominator; None for a single fold."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def variant(self) -> str:
        """What tells this network from others of its row, e.g. ``"concatenated, width 0.25, 20 epochs"``."""
        parts = [FUSIONS.get(self.fusion, self.fusion), f"width {self.width:g}"]
        parts += [
            f"{self.epochs} epochs" if self.epochs else "",
            "ImageNet weights" if self.pretrained else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def text(self) -> str:
        """The accuracy as printed, e.g. ``"61.0 % (5 folds, ± 0.4)"``; the spread is in percentage points."""
        notes = []
        if len(self.folds) > 1:
            notes += [f"{len(self.folds)} folds", f"± {100 * self.sd:.1f}"]
        elif not self.protocol.startswith("official"):
            notes.append("1 fold")
        return f"{_percent(self.mean, 1)}" + (f" ({', '.join(notes)})" if notes else "")


@dataclass(frozen=True)
class Entry:
    """One line of a cell: a number, what it belongs to, and the runs behind it (None for the paper's)."""

    text: str
    note: str = ""
    group: Group | None = None


@dataclass(frozen=True)
class Table:
    """Headings, and rows of a label and cells; a cell is a list of entries, and an empty one prints as a dash."""

    headings: list[str]
    rows: list[tuple[str, list[list[Entry]]]]


def _percent(share: float, decimals: int) -> str:
    return f"{100 * share:.{decimals}f}\u00a0%"


def page_index() -> dict[str, Path]:
    """Return the executed page of every record that has one, by the record's place in the project."""
    found = {}
    for page in runner.pages():
        try:
            found[json.loads(page.read_text(encoding="utf-8"))["metadata"]["fercore"]["record"]] = page
        except (OSError, ValueError, KeyError, TypeError):  # damaged or of another kind: no page of a record
            continue
    return found


def groups(records: Mapping[Path, Mapping[str, Any]], pages: Mapping[str, Path] | None = None) -> list[Group]:
    """Put accuracy records that differ only in the fold together.

    Args:
        records: Records as :func:`ferlab.runs.records.read` gives them, by path; those of other experiments are ignored.
        pages: Pages by record, see :func:`page_index`; none by default.

    Returns:
        The groups, sorted by dataset, model, fusion, width, recipe and protocol.

    Raises:
        FercoreError: If a record lacks what the tables print, or two records are of one fold; names the files.
    """
    families: dict[tuple[tuple[str, str], ...], dict[int, Path]] = {}
    for path, record in records.items():
        if record.get("experiment") != EXPERIMENT:
            continue
        settings, fold = _settings(path, record)
        twin = families.setdefault(settings, {}).setdefault(fold, path)
        if twin is not path:
            raise FercoreError(
                f"{results.place(path)} and {results.place(twin)} are the same run. Delete one of them."
            )
    found = [_group(settings, folds, records, pages or {}) for settings, folds in families.items()]
    return sorted(
        found, key=lambda g: (g.dataset, g.model, g.fusion, g.width, g.recipe, g.protocol, g.settings)
    )


def load(root: Path | None = None) -> list[Group]:
    """Return the groups of all published accuracy records.

    Args:
        root: The project folder by default.

    Raises:
        FercoreError: If a record is damaged; names it.
    """
    paths = [path for path in results.paths(root) if path.parts[-3] == EXPERIMENT]
    return groups({path: results.read(path) for path in paths}, page_index())


def _settings(path: Path, record: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return all parameters but the fold, as sorted pairs of name and JSON, and the fold."""
    try:
        kept = {**record["parameters"], "protocol": record["protocol"], "dataset": record["dataset"]}
        kept |= {"model": record["model"], "recipe": record["parameters"].get("recipe", "paper")}
        if not networks.has_fusion(record["model"]):
            kept["fusion"] = ""
        kept.pop("fold", None)
        settings = tuple(sorted((name, json.dumps(value, sort_keys=True)) for name, value in kept.items()))
        names = [kept["dataset"], kept["protocol"], kept["recipe"], kept.get("fusion", "")]
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name is no text")
        _scores(record)
        float(kept.get("width", 1.0))
        (record.get("training") or {}).get("hardware")
        record["metrics"].get("parameters")
        return settings, int(record["fold"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FercoreError(
            f"{results.place(path)} lacks what an accuracy record holds ({type(error).__name__}: {error}). "
            "Run the experiment again."
        ) from error


def _scores(record: Mapping[str, Any]) -> tuple[float, float | None]:
    """Return the test accuracy with and, where there are any, without copies of training images."""
    metrics = record["metrics"]
    copies = metrics.get("without_copies")
    return float(metrics["test"]["accuracy"]), None if copies is None else float(copies["accuracy"])


def _group(
    settings: tuple[tuple[str, str], ...],
    folds: Mapping[int, Path],
    records: Mapping[Path, Mapping[str, Any]],
    pages: Mapping[str, Path],
) -> Group:
    order = sorted(folds)
    paths = tuple(folds[fold] for fold in order)
    members = [records[path] for path in paths]
    scores = [_scores(record) for record in members]
    known = {name: json.loads(value) for name, value in settings}
    # A fold without copies has one accuracy, which is then the one without copies too.
    kept = [whole if without is None else without for whole, without in scores]
    machines = dict.fromkeys(str((record.get("training") or {}).get("hardware", "")) for record in members)
    return Group(
        dataset=known["dataset"],
        model=known["model"],
        fusion=known.get("fusion", ""),
        width=float(known.get("width", 1.0)),
        recipe=known["recipe"],
        epochs=known.get("epochs"),
        protocol=known["protocol"],
        pretrained=bool(known.get("pretrained", False)),
        folds=tuple(order),
        accuracies=tuple(whole for whole, _ in scores),
        without_copies=fmean(kept) if any(without is not None for _, without in scores) else None,
        parameters=members[0]["metrics"].get("parameters"),
        hardware=tuple(machine for machine in machines if machine),
        records=paths,
        pages=tuple(pages.get(results.place(path)) for path in paths),
        settings=settings,
    )


def _entries(found: Iterable[Group], with_variant: bool) -> list[Entry]:
    """Return a cell of ours: one entry per group, told apart by what differs between them."""
    found = list(found)
    values = [dict(group.settings) for group in found]
    names = sorted({name for known in values for name in known} - _NAMED)
    differing = [name for name in names if len({known.get(name) for known in values}) > 1]
    cell = []
    for group, known in zip(found, values, strict=True):
        notes = [group.variant] if with_variant else []
        notes += [f"{name.replace('_', ' ')} {known.get(name, '–')}".replace('"', "") for name in differing]
        cell.append(Entry(group.text, ", ".join(notes), group))
    return cell


def _published(values: Iterable[float | None]) -> list[list[Entry]]:
    return [[] if value is None else [Entry(_percent(value, 2))] for value in values]


def table_1(
    found: Iterable[Group], dataset: str = "fer2013", titles: Mapping[str, str] | None = None
) -> Table:
    """Return Table 1: the paper's four rows, its number for each dataset, and ours for one dataset.

    Args:
        found: All groups.
        dataset: The dataset of our columns: one column for each recipe and protocol that was run on it.
        titles: Names of datasets for people.

    Returns:
        The table. Every fusion, width and start of a network is an entry of its own in the network's cell. Without
        runs there is one column of ours, with empty cells.
    """
    titles = titles or {}
    ours = [group for group in found if group.dataset == dataset and group.model in paper.ROWS]
    columns = sorted({(group.recipe, group.protocol) for group in ours})
    name = titles.get(dataset, dataset)
    headings = ["Network", *(f"Paper: {titles.get(key, key)}" for key in paper.DATASETS)]
    headings += [f"Ours on {name}: recipe {recipe}, protocol {protocol}" for recipe, protocol in columns]
    rows = []
    for model, label in paper.ROWS.items():
        mine = [
            _entries([g for g in ours if (g.model, g.recipe, g.protocol) == (model, *column)], True)
            for column in columns
        ]
        rows.append((label, [*_published(paper.TABLE_1[label]), *(mine or [[]])]))
    return Table(headings if columns else [*headings, f"Ours on {name}"], rows)


def table_2(
    found: Iterable[Group], titles: Mapping[str, str] | None = None, models: Iterable[str] = ("proposed",)
) -> Table:
    """Return Table 2: the paper's rows, then one row for each of our ways to train and test a network.

    Args:
        found: All groups.
        titles: Names of datasets for people.
        models: The networks of our rows.

    Returns:
        The table. Without runs there is one row of ours, with empty cells.
    """
    titles, models = titles or {}, tuple(models)
    rows = [(f"Paper: {name}", _published(values)) for name, values in paper.TABLE_2.items()]
    ours = [group for group in found if group.model in models and group.dataset in paper.DATASETS]
    kinds = dict.fromkeys((g.model, g.variant, g.recipe, g.protocol) for g in ours)
    for kind in kinds:
        same = [g for g in ours if (g.model, g.variant, g.recipe, g.protocol) == kind]
        cells = [_entries([g for g in same if g.dataset == name], False) for name in paper.DATASETS]
        model, variant, recipe, protocol = kind
        rows.append((f"Ours: {paper.ROWS[model]}, {variant}, recipe {recipe}, protocol {protocol}", cells))
    if not kinds:
        rows.append(
            (f"Ours: {', '.join(paper.ROWS[model] for model in models)}", [[] for _ in paper.DATASETS])
        )
    return Table(["Network", *(titles.get(key, key) for key in paper.DATASETS)], rows)


def paper_and_ours(found: Iterable[Group], titles: Mapping[str, str] | None = None) -> Table:
    """Return the paper's Table 1 and our runs of its four networks in one long table, a number in every row.

    Args:
        found: All groups; those of other networks or datasets are left out.
        titles: Names of datasets for people.

    Returns:
        The table, sorted by dataset, then network, the paper's number first.
    """
    titles, rows = titles or {}, []
    ours = [group for group in found if group.model in paper.ROWS]
    known = [*paper.DATASETS, *sorted({group.dataset for group in ours} - set(paper.DATASETS))]
    for dataset in known:
        for model, label in paper.ROWS.items():
            name = titles.get(dataset, dataset)
            if dataset in paper.DATASETS:
                value = paper.table_1(model)[dataset]
                cells = [label, "the paper", "its Table 1, random folds", _percent(value, 2)]
                rows.append((name, [[Entry(cell)] for cell in cells]))
            for group in ours:
                if (group.dataset, group.model) == (dataset, model):
                    how = f"recipe {group.recipe}, protocol {group.protocol}, {group.variant}"
                    cells = [[Entry(label)], [Entry("ours")], [Entry(how)], [Entry(group.text, "", group)]]
                    rows.append((name, cells))
    return Table(["Dataset", "Network", "Whose", "How", "Accuracy"], rows)


def ranks(titles: Mapping[str, str] | None = None) -> Table:
    """Return how the paper's own network stands among its peers in the paper's Table 2, dataset by dataset."""
    titles, own = titles or {}, paper.ROWS["proposed"]
    rows = []
    for column, name in enumerate(paper.DATASETS):
        peers = {
            peer: row[column]
            for peer, row in paper.TABLE_2.items()
            if peer != own and row[column] is not None
        }
        value = paper.TABLE_2[own][column]
        above = sum(number > value for number in peers.values())
        best = max(peers, key=peers.__getitem__)
        cells = [_percent(value, 2), f"{above} of {len(peers)}", f"{_percent(peers[best], 2)}, {best}"]
        rows.append((titles.get(name, name), [[Entry(cell)] for cell in cells]))
    return Table(["Dataset", "Proposed network", "Peers above it", "Best peer"], rows)


def reachable(
    images: Mapping[str, int], folds: Iterable[int] = (1, 5, 10), titles: Mapping[str, str] | None = None
) -> Table:
    """Return, for the cells of the paper's Table 1, whether they can be means over so many folds.

    Args:
        images: Images of each dataset that is looked at.
        folds: Numbers of near-equal folds; 1 is the accuracy over all images.
        titles: Names of datasets for people.
    """
    titles, folds = titles or {}, tuple(folds)
    rows = []
    for dataset, count in images.items():
        for label, values in paper.TABLE_1.items():
            printed = f"{100 * values[paper.DATASETS.index(dataset)]:.2f}"
            verdicts = [arithmetic.verdict(count, number, printed) for number in folds]
            cells = [f"{printed}\u00a0%", *(verdict.text for verdict in verdicts)]
            rows.append((f"{titles.get(dataset, dataset)}, {label}", [[Entry(cell)] for cell in cells]))
    headings = ["All images at once" if number == 1 else f"Mean of {number} folds" for number in folds]
    return Table(["Cell of Table 1", "Printed", *headings], rows)


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
    kept = [path for path in paths if path.parts[-3:-2] == (EXPERIMENT,)]
    found = groups({path: records.read(path) for path in kept})
    return [_row(group) for group in found]


def _row(group: Group) -> dict[str, Any]:
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
