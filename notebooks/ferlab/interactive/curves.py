"""Error against evaluations, to be explored point by point; and its rows from the records of experiment ``linear``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fercore.datasets import DATASETS, title
from ferlab.interactive.embedding import drawing, embed, shown, tag, text

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
_PLACE = ("dataset", "regions", "output")  # what a drawing is of


def error_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of :func:`error_plot` from records of ``linear``, one a dataset: means over the faces."""
    return [
        {key: row[key] for key in ("regions", "output", "method", "error", "correlation")}
        | {"dataset": record["dataset"], "evaluations_per_region": row["per region"]}
        for record in records
        for row in record["metrics"]["agreement"]
    ]


def error_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure of relative error against evaluations per region, both on logarithmic scales.

    A row has the keys of :func:`error_rows`; there are at most seven methods, and NaN is an unknown correlation.
    """
    points = [_point(row) for row in rows]
    methods = dict.fromkeys(point["method"] for point in points)
    if len(methods) > len(COLORS):
        raise ValueError(f"{len(methods)} methods are too many to tell apart: {len(COLORS)} are the most.")
    looks = zip(methods, COLORS, MARKERS, strict=False)
    styles = [{"name": name, "color": color, "marker": marker} for name, color, marker in looks]
    data = {"rows": points, "methods": styles, "least": _LEAST}
    note = "With JavaScript, you can choose dataset, regions, output and methods here, and read every point."
    return embed("errors", data, _static(points, styles), note)


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the script reads it: the dataset's title, and None for an unknown correlation."""
    dataset, correlation = row["dataset"], row["correlation"]
    known = correlation is not None and math.isfinite(correlation)
    label = title(dataset) if dataset in DATASETS else dataset
    return {**row, "dataset": label, "correlation": correlation if known else None}


def _static(points: Sequence[Mapping[str, Any]], styles: Sequence[Mapping[str, str]]) -> str:
    """Draw the first choice of dataset, regions and output."""
    chosen = [points[0][key] for key in _PLACE]
    drawn = [p for p in points if [p[key] for key in _PLACE] == chosen and p["error"] > _LEAST]
    if not drawn:
        return tag("p", "All errors of the first choice are zero.")
    budgets = sorted({point["evaluations_per_region"] for point in drawn})
    across, up = _Axis(budgets, 60, 490), _Axis([point["error"] for point in drawn], 280, 10)
    parts = [tag("rect", x=60, y=10, width=430, height=270, fill="none", stroke="currentcolor")]
    parts += [text(shown(value), across(value), 298, text_anchor="middle") for value in budgets]
    for value in up.ticks():
        parts.append(text(shown(value), 54, up(value) + 5, text_anchor="end"))
        parts.append(tag("path", d=f"M60 {up(value):.1f}H490", stroke="currentcolor", stroke_opacity=0.2))
    for place, style in enumerate(styles):
        own = [point for point in drawn if point["method"] == style["name"]]
        line = sorted((across(point["evaluations_per_region"]), up(point["error"])) for point in own)
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
        look = {"fill": "none", "stroke": style["color"], "stroke_width": 2}
        parts.append(tag("path", d=path and f"M{path}", **look))
        x, y = 60 + 220 * (place % 2), 344 + 22 * (place // 2)
        for spot in [*line, (x, y - 5)]:
            where = "translate({:.1f} {:.1f})".format(*spot)
            parts.append(tag("path", d=style["marker"], fill=style["color"], transform=where))
        parts.append(text(style["name"], x + 12, y))
    parts.append(text("evaluations per region", 275, 318, text_anchor="middle"))
    parts.append(text("relative error", 484, 28, text_anchor="end"))
    about = f"Relative error against evaluations per region: {chosen[0]}, {chosen[1]} regions, {chosen[2]}."
    return drawing(about, 500, 350 + 22 * ((len(styles) + 1) // 2), *parts)


class _Axis:
    """A logarithmic axis of values, from one place of the drawing to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = 0.85 * min(values), max(values) / 0.85
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Return where a value lies."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 of each power of ten between both ends."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [tick for tick in ticks if self.low <= tick <= self.high]
