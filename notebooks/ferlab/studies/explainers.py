"""The tables of the page "Explainers" and of its record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ferlab import explainers
from ferlab.explainers import METHODS, Maps, Settings
from ferlab.explainers.store import ARRAYS
from ferlab.measures import faithfulness, localisation, overlap, ratio, sanity
from ferlab.measures.faithfulness import Interval, interval
from ferlab.measures.names import MEASURES, title
from ferlab.studies import paper

Scores = dict[str, dict[str, np.ndarray]]  # method -> measure -> (images,)


def faithful(
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    found: Mapping[str, Maps],
    steps: int = 16,
    squares: int = 100,
    seed: int = 0,
    progress: bool = True,
) -> Scores:
    """Return insertion and deletion under both blanks, and infidelity, of every method and image (N, C, H, W)."""
    from tqdm import tqdm

    wanted = torch.from_numpy(np.asarray(targets))
    removed = faithfulness.removals(model, images, wanted, squares, seed)
    scores: Scores = {}
    for name, maps in tqdm(found.items(), desc="Scoring", unit="method", disable=not progress):
        scores[name] = faithfulness.insertion_deletion(model, images, wanted, maps.values, steps, seed)
        scores[name]["infidelity"] = faithfulness.infidelity(maps.values, removed)
    return scores


def steady(
    names: Sequence[str],
    model: nn.Module,
    images: Tensor,
    targets: np.ndarray,
    settings: Settings,
    samples: int = 3,
    progress: bool = True,
) -> Scores:
    """Return the max-sensitivity of every method and image (N, C, H, W) over so many noisy copies."""
    from tqdm import tqdm

    about = (model, images, targets, settings, samples)
    bar = tqdm(names, desc="Noise", unit="method", disable=not progress)
    return {name: {"sensitivity": faithfulness.sensitivity(name, *about)} for name in bar}


def dependent(found: Mapping[str, Maps], again: Mapping[str, Maps]) -> Scores:
    """Compare maps of the network with those of its randomised copy, of the same images."""
    scores: Scores = {}
    for name, other in again.items():
        a, b = found[name].values, other.values
        scores[name] = {
            "same_rank": sanity.rank_correlation(a, b),
            "same_magnitude": sanity.rank_correlation(np.abs(a), np.abs(b)),
            "same_structure": sanity.structural_similarity(a, b),
        }
    return scores


def located(found: Mapping[str, Maps], truth: np.ndarray) -> Scores:
    """Return the localisation scores of every method and image against masks (N, H, W) bool."""
    return {name: localisation.scores(maps.values, truth) for name, maps in found.items()}


def near_exact(found: Mapping[str, Maps]) -> Scores:
    """Compare the efficient methods with the exact values, over pixels; nothing where those were not computed."""
    scores: Scores = {}
    for name, maps in found.items() if "dnc_exact" in found else ():
        if METHODS[name].efficient and name != "dnc_exact":
            exact, other = (np.reshape(m.values, (len(m.values), -1)) for m in (found["dnc_exact"], maps))
            a, b = (values - values.mean(axis=1, keepdims=True) for values in (exact, other))
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            scores[name] = {
                "correlation": ratio((a * b).sum(axis=1), lengths),
                "error": ratio(np.linalg.norm(other - exact, axis=1), np.linalg.norm(exact, axis=1)),
            }
    return scores


def rows(found: Mapping[str, Maps], index: np.ndarray) -> dict[str, Maps]:
    """Return the maps of some of the images."""
    return {
        name: replace(maps, **{field: getattr(maps, field)[index] for field in ARRAYS})
        for name, maps in found.items()
    }


def merged(*parts: Scores) -> Scores:
    """Put the measures of several studies together, by method."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: {k: v for part in parts for k, v in part.get(name, {}).items()} for name in names}


def overlaps(found: Mapping[str, Maps], references: Sequence[str], view: overlap.View) -> list[dict]:
    """Return the soft Dice coefficients (N,) of every pair of a reference and another method, with chance levels."""
    functions = {
        "overlap": overlap.overlap,
        "shuffled": overlap.shuffled_level,
        "swapped": overlap.swapped_level,
    }
    return [
        {"reference": a, "method": b}
        | {name: function(found[a].values, found[b].values, view) for name, function in functions.items()}
        for a in references
        for b in found
        if a != b
    ]


def scaling(
    names: Sequence[str],
    model: nn.Module,
    image: Tensor,
    target: int,
    settings: Settings,
    depths: Sequence[int],
    most: int = 3000,
) -> list[dict]:
    """Measure how the cost of methods grows with the number of regions of an image (1, C, H, W), at budgets of 8n.

    The exact values are left out where they need more than ``most`` evaluations.
    """
    found = []
    for name in names:
        for depth in depths:
            n = 2**depth
            if name == "dnc_exact" and 2 * (n * n - 1) // 3 + 2 > most:
                continue
            chosen = replace(settings, depth=depth, evaluations=None)
            maps = explainers.explain(name, model, image, [target], chosen)
            cost = {"evaluations": int(maps.evaluations[0]), "seconds": float(maps.seconds[0])}
            found.append({"method": name, "regions": n, **cost})
    return found


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
    """Fit cost = a nᵇ to rows of :func:`scaling` by least squares on logarithms; return b of both costs by method."""
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
    """Return the mean of ``first`` minus each other method on the same images, with intervals and a verdict."""
    rows = []
    for name, measures in found.items():
        for measure, values in measures.items() if name != first else ():
            about = interval(found[first][measure] - values, seed)
            row = {"method": name, "measure": measure, **asdict(about)}
            rows.append(row | {"verdict": _verdict(about, MEASURES[measure][1])})
    return pd.DataFrame(rows)


def _verdict(difference: Interval, more_is_better: bool | None) -> str:
    decided = difference.low > 0 or difference.high < 0
    if more_is_better is None or not decided:
        return "open"
    return "better" if (difference.mean > 0) == more_is_better else "worse"


def overlap_table(pairs: Sequence[Mapping[str, Any]], seed: int = 0) -> pd.DataFrame:
    """Return mean overlaps with intervals, and chance levels; ``excess`` is the overlap minus ``swapped``."""
    rows = []
    for pair in pairs:
        about, excess = (interval(v, seed) for v in (pair["overlap"], pair["overlap"] - pair["swapped"]))
        row = {"reference": pair["reference"], "method": pair["method"], **asdict(about)}
        row |= {level: interval(pair[level], seed).mean for level in ("shuffled", "swapped")}
        row |= {"excess": excess.mean, "excess_low": excess.low, "excess_high": excess.high}
        rows.append(row)
    return pd.DataFrame(rows)


def readable(frame: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Lay a table of :func:`scores` out for reading: a row per method, a column per measure, "mean [low, high]"."""
    cells = [
        f"{row.mean:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"
        for row in frame[["mean", "low", "high"]].itertuples(index=False)
    ]
    wide = frame.assign(cell=cells).pivot(index="method", columns="measure", values="cell")
    wide = wide.reindex(index=frame.method.unique(), columns=frame.measure.unique())
    return wide.rename(index=title, columns=title).rename_axis(index=None, columns=None)


def table_4(frame: pd.DataFrame) -> pd.DataFrame:
    """Set the paper's Table 4 beside our :func:`overlap_table` of magnitudes, for the methods of the authors' code."""
    own = frame[(frame.reference == "gradient_shap") & frame.method.isin(paper.COLUMNS)]
    rows = own.set_index("method")[["mean", "low", "high", "shuffled", "swapped"]]
    rows.insert(0, "paper", [paper.TABLE_4[paper.COLUMNS[name]] for name in rows.index])
    names = {"mean": "ours", "shuffled": "pixels shuffled", "swapped": "other faces"}
    return rows.rename(index=title, columns=names)


def table_3(table: pd.DataFrame) -> pd.DataFrame:
    """Set the paper's Table 3 beside our :func:`costs`, for the methods of the authors' code."""
    rows = {}
    for name, column in paper.COLUMNS.items():
        if name in table.index:
            printed, own = paper.TABLE_3[column], table.loc[name]
            rows[f"{column}: {title(name)}"] = {
                "paper: cost": printed.theoretical,
                "paper: seconds": printed.seconds,
                "evaluations": own.evaluations,
                "gradients": own.gradients,
                "ours: seconds": own.seconds,
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def facts(
    cost: pd.DataFrame, growth: pd.DataFrame, dice: Mapping[str, pd.DataFrame], found: Scores, seed: int = 0
) -> dict[str, Any]:
    """Return what the record keeps, JSON-able: costs, exponents, overlap tables by view, and all scores."""
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
        unknown = [
            name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)
        ]
        place.update(row | dict.fromkeys(unknown))
    return tree
