"""The tables of the page "Explainers" and of its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from fercore import paper_maps
from fercore.explainer_study import Scores
from fercore.explainers import METHODS, Maps
from fercore.faithfulness import Interval, interval
from fercore.measure_names import MEASURES, title


def costs(found: Mapping[str, Maps]) -> pd.DataFrame:
    """Return what each method costs: index method key; ``cost`` in words, then medians over images."""
    rows = {
        name: {
            "cost": METHODS[name].cost,
            "evaluations": int(np.median(maps.evaluations)),
            "gradients": int(np.median(maps.gradients)),
            "seconds": float(np.median(maps.seconds)),
        }
        for name, maps in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def exponents(measured: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Fit cost = a nᵇ by least squares on logarithms; return b of ``evaluations`` and ``seconds`` by method.

    Args:
        measured: Rows of :func:`fercore.explainer_study.scaling`.
    """
    rows = {}
    for name, part in pd.DataFrame(measured).groupby("method", sort=False):
        logs = np.log2(part.regions)
        fits = {c: np.polyfit(logs, np.log2(part[c]), 1)[0] for c in ("evaluations", "seconds")}
        rows[name] = {"regions": f"{part.regions.min()} to {part.regions.max()}", **fits}
    return pd.DataFrame.from_dict(rows, orient="index")


def scores(found: Scores, seed: int = 0) -> pd.DataFrame:
    """Return means with intervals, one row per method and measure: ``method``, ``measure``, ``mean``, ``low``, …"""
    return pd.DataFrame(
        [
            {"method": name, "measure": measure, **asdict(interval(values, seed))}
            for name, measures in found.items()
            for measure, values in measures.items()
        ]
    )


def differences(found: Scores, first: str, seed: int = 0) -> pd.DataFrame:
    """Return the mean of ``first`` minus each other method on the same images, with intervals; rows as :func:`scores`.

    ``verdict`` says "better" or "worse" where the interval excludes zero, "open" where it does not.
    """
    rows = []
    for name, measures in found.items():
        for measure, values in measures.items() if name != first else ():
            about = interval(found[first][measure] - values, seed)
            row = {"method": name, "measure": measure, **asdict(about)}
            rows.append(row | {"verdict": verdict(about, MEASURES[measure][1])})
    return pd.DataFrame(rows)


def verdict(difference: Interval, more_is_better: bool | None) -> str:
    """Return "better", "worse" or "open" for a difference with its interval."""
    decided = difference.low > 0 or difference.high < 0
    if more_is_better is None or not decided:
        return "open"
    return "better" if (difference.mean > 0) == more_is_better else "worse"


def overlap_table(pairs: Sequence[Mapping[str, Any]], seed: int = 0) -> pd.DataFrame:
    """Return each pair's mean overlap with its interval, and what chance gives.

    Args:
        pairs: Of :func:`fercore.explainer_study.overlaps`.
        seed: Of the intervals.

    Returns:
        Columns ``reference``, ``method``, ``mean``, ``low``, ``high``, ``images``, ``shuffled`` and ``swapped`` (means
        over images), ``excess``, ``excess_low``, ``excess_high`` (overlap minus ``swapped``, with its interval).
    """
    rows = []
    for pair in pairs:
        about, excess = (interval(v, seed) for v in (pair["overlap"], pair["overlap"] - pair["swapped"]))
        levels = {level: interval(pair[level], seed).mean for level in ("shuffled", "swapped")}
        more = {"excess": excess.mean, "excess_low": excess.low, "excess_high": excess.high}
        rows.append(
            {"reference": pair["reference"], "method": pair["method"], **asdict(about), **levels, **more}
        )
    return pd.DataFrame(rows)


def readable(frame: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Lay a table of :func:`scores` out for reading: a row per method, a column per measure, "mean [low, high]"."""
    cells = [
        f"{row.mean:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"
        for row in frame[["mean", "low", "high"]].itertuples(index=False)
    ]
    wide = frame.assign(cell=cells).pivot(index="method", columns="measure", values="cell")
    wide = wide.reindex(index=frame.method.unique(), columns=frame.measure.unique())
    names = {m: MEASURES[m][0] if m in MEASURES else m for m in wide.columns}
    return wide.rename(index=title, columns=names).rename_axis(index=None, columns=None)


def table_4(frame: pd.DataFrame) -> pd.DataFrame:
    """Set the paper's Table 4 beside ours: the overlaps with SHAP of the methods that the authors' code ran.

    Args:
        frame: Of :func:`overlaps`, magnitudes.
    """
    own = frame[(frame.reference == "gradient_shap") & frame.method.isin(paper_maps.COLUMNS)]
    rows = own.set_index("method")[["mean", "low", "high", "shuffled", "swapped"]]
    printed = [paper_maps.TABLE_4[paper_maps.COLUMNS[name]] for name in rows.index]
    rows.insert(0, "paper", printed)
    return rows.rename(
        index=title, columns={"mean": "ours", "shuffled": "pixels shuffled", "swapped": "other faces"}
    )


def table_3(table: pd.DataFrame) -> pd.DataFrame:
    """Set the paper's Table 3 beside ours, for the methods that the authors' code ran.

    Args:
        table: Of :func:`costs`.
    """
    rows = {}
    for name, column in paper_maps.COLUMNS.items():
        if name in table.index:
            printed, own = paper_maps.TABLE_3[column], table.loc[name]
            rows[f"{column}: {title(name)}"] = {
                "paper: cost": printed.theoretical,
                "paper: seconds": printed.seconds,
                "evaluations": own.evaluations,
                "gradients": own.gradients,
                "ours: seconds": own.seconds,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def facts(
    cost: pd.DataFrame,
    growth: pd.DataFrame,
    dice: Mapping[str, pd.DataFrame],
    found: Scores,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what the record keeps, JSON-able, by the keys of methods and measures.

    Args:
        cost: Of :func:`costs`.
        growth: Of :func:`exponents`.
        dice: Of :func:`overlaps`, by view.
        found: All scores.
        seed: Of the intervals.
    """
    return {
        "cost": nested(cost.rename_axis("method").reset_index(), "method"),
        "exponents": nested(growth.rename_axis("method").reset_index(), "method"),
        "dice": {view: nested(frame, "reference", "method") for view, frame in dice.items()},
        "scores": nested(scores(found, seed), "method", "measure"),
        "dnc_minus": nested(differences(found, "dnc", seed), "method", "measure"),
    }


def nested(frame: pd.DataFrame, *keys: str) -> dict[str, Any]:
    """Return a table as dicts within dicts by the values of some columns, JSON-able: NaN becomes None."""
    tree: dict[str, Any] = {}
    for row in frame.to_dict(orient="records"):
        place = tree
        for key in keys:
            place = place.setdefault(str(row.pop(key)), {})
        place.update({name: _plain(value) for name, value in row.items()})
    return tree


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
