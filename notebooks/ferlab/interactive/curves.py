"""Error against evaluations, to be explored point by point; and its rows from the records of experiment ``linear``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fercore.datasets import DATASETS, title
from fercore.errors import FercoreError
from ferlab.interactive.embedding import drawing, embed, shown, tag, text

KEYS = ("dataset", "regions", "output", "method", "evaluations_per_region", "error", "correlation")
# Okabe and Ito (2008), as in ferlab.figures.style; a marker each, so that colour is not all that tells lines apart.
COLORS = ("#7F7F7F", "#56B4E9", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARKERS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "M-6-5h12l-6 10z",
    "M-6 5h12l-6-10z",
    "M-5-5h10v10h-10z",
    "M0-7l6 7l-6 7l-6-7z",
    "M-6-3l3-3l3 3l3-3l3 3l-3 3l3 3l-3 3l-3-3l-3 3l-3-3l3-3z",
    "M0-7l2 5h5l-4 3l2 6l-5-4l-5 4l2-6l-4-3h5z",
)
_LEAST = 1e-9  # an error below is zero but for rounding, and has no place on a logarithmic axis


def error_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of :func:`error_plot` from records of the experiment ``linear``.

    Args:
        records: As :func:`ferlab.runs.records.read` gives them (``results/linear/<dataset>/*.json``), one a dataset.

    Returns:
        One row for each dataset, number of regions, output, method and number of evaluations: means over the faces.

    Raises:
        FercoreError: If a record is of another experiment or damaged, or two are of the same dataset.
    """
    rows: list[dict[str, Any]] = []
    seen = set()
    for record in records:
        dataset = record.get("dataset")
        if record.get("experiment") != "linear":
            raise FercoreError(
                f"A record of experiment 'linear' is needed, not of {record.get('experiment')!r}."
            )
        if dataset in seen:
            raise FercoreError(f"There are two records of dataset {dataset!r}; choose one of them.")
        seen.add(dataset)
        try:
            rows += [
                {
                    "dataset": dataset,
                    "regions": row["regions"],
                    "output": row["output"],
                    "method": row["method"],
                    "evaluations_per_region": row["per region"],
                    "error": row["error"],
                    "correlation": row["correlation"],
                }
                for row in record["metrics"]["agreement"]
            ]
        except (KeyError, TypeError) as error:
            raise FercoreError(
                f"The record of {dataset!r} has no full metrics.agreement ({error}); run linear again."
            ) from error
    return rows


def error_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure of error against evaluations per region, both on logarithmic scales.

    Args:
        rows: Dictionaries with ``dataset``, ``regions``, ``output`` and ``method``, ``evaluations_per_region`` (above
            0), ``error`` (relative, 0 or more; one that is 0 is listed but not drawn) and ``correlation`` (-1 to 1, or
            None where it is not known), see :func:`error_rows`. Methods keep the order in which they come.

    Returns:
        HTML, see :func:`ferlab.interactive.embed`.

    Raises:
        ValueError: If there is no row, one lacks something or is out of range, two are of the same point, or there are
            more than seven methods.
    """
    points = [_point(place, row) for place, row in enumerate(rows)]
    if not points:
        raise ValueError("There are no rows to draw.")
    where = [tuple(point[key] for key in KEYS[:5]) for point in points]
    for place, key in enumerate(where):
        if key in where[:place]:
            raise ValueError(
                f"Two rows say something of the same point: {dict(zip(KEYS, key, strict=False))}."
            )
    methods = list(dict.fromkeys(point["method"] for point in points))
    if len(methods) > len(COLORS):
        raise ValueError(f"{len(methods)} methods are too many to tell apart: {len(COLORS)} are the most.")
    styles = [
        {"name": name, "color": color, "marker": marker}
        for name, color, marker in zip(methods, COLORS, MARKERS, strict=False)
    ]
    data = {"rows": points, "methods": styles, "least": _LEAST}
    said = "With JavaScript, you can choose dataset, regions, output and methods here, and read every point."
    return embed("errors", data, _static(points, styles), said)


def _point(place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """Check a row."""
    missing = [key for key in KEYS if key not in row]
    if missing:
        raise ValueError(f"Row {place} lacks {', '.join(missing)}; a row has {', '.join(KEYS)}.")
    point = {key: row[key] for key in KEYS}
    spent, error = float(point["evaluations_per_region"]), float(point["error"])
    if not (spent > 0 and math.isfinite(spent) and error >= 0 and math.isfinite(error)):
        raise ValueError(
            f"Row {place} must have evaluations_per_region above 0 and a finite error from 0 on; it has {spent:g} "
            f"and {error:g}."
        )
    known = point["correlation"] is not None and math.isfinite(point["correlation"])
    label = title(point["dataset"]) if point["dataset"] in DATASETS else str(point["dataset"])
    return point | {
        "dataset": label,
        "regions": int(point["regions"]),
        "evaluations_per_region": spent,
        "error": error,
        "correlation": float(point["correlation"]) if known else None,
    }


def _static(points: Sequence[Mapping[str, Any]], styles: Sequence[Mapping[str, str]]) -> str:
    """Draw the first choice of dataset, regions and output."""
    chosen = [points[0][key] for key in KEYS[:3]]
    drawn = [p for p in points if [p[key] for key in KEYS[:3]] == chosen and p["error"] > _LEAST]
    if not drawn:
        return tag("p", "All errors of the first choice are zero.")
    axes = [_axis([p[key] for p in drawn]) for key in ("evaluations_per_region", "error")]
    parts = [tag("rect", x=60, y=10, width=430, height=270, fill="none", stroke="currentcolor")]
    for value in sorted({p["evaluations_per_region"] for p in drawn}):
        parts.append(text(shown(value), _place(value, axes[0], 60, 490), 298, text_anchor="middle"))
    for value in axes[1][2]:
        y = _place(value, axes[1], 280, 10)
        parts.append(text(shown(value), 54, y + 5, text_anchor="end"))
        parts.append(tag("path", d=f"M60 {y:.1f}H490", stroke="currentcolor", stroke_opacity=0.2))
    for place, style in enumerate(styles):
        line = sorted(
            (_place(p["evaluations_per_region"], axes[0], 60, 490), _place(p["error"], axes[1], 280, 10))
            for p in drawn
            if p["method"] == style["name"]
        )
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
        parts.append(tag("path", d=path if line else "", fill="none", stroke=style["color"], stroke_width=2))
        x, y = 60 + 220 * (place % 2), 344 + 22 * (place // 2)
        parts += [_marker(style, *spot) for spot in [*line, (x, y - 5)]]
        parts.append(text(style["name"], x + 12, y))
    parts.append(text("evaluations per region", 275, 318, text_anchor="middle"))
    parts.append(text("relative error", 484, 28, text_anchor="end"))
    title_ = f"Relative error against evaluations per region: {chosen[0]}, {chosen[1]} regions, {chosen[2]}."
    return drawing(title_, 500, 350 + 22 * ((len(styles) + 1) // 2), *parts)


def _marker(style: Mapping[str, str], x: float, y: float) -> str:
    return tag("path", d=style["marker"], fill=style["color"], transform=f"translate({x:.1f} {y:.1f})")


def _axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Return both ends of a logarithmic axis, and ticks 1, 2 and 5 of each power of ten between them."""
    low, high = 0.85 * min(values), max(values) / 0.85
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return low, high, [tick for tick in ticks if low <= tick <= high]


def _place(value: float, axis: tuple[float, float, list[float]], start: float, end: float) -> float:
    """Return where a value lies between two ends of the drawing."""
    return start + (end - start) * math.log(value / axis[0]) / math.log(axis[1] / axis[0])
