"""The figure with a slider: which landmarks are kept when k of them are.

HTML that stands alone: data as JSON and a static SVG. ``book/_static/figures.js`` makes it interactive; without that
script, or in print, the static figure is what is seen.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd

from fercore.emotions import COLORS, Emotion
from ferlab.interactive import embedding
from ferlab.temo.study import OURS, Study
from ferlab.temo.verdicts import interval

_WIDTH = 200  # units of the drawing
_RADIUS = 1.6


def slider(study: Study, faces: np.ndarray, costs: list[dict[str, Any]]) -> str:
    """Return the interactive figure as HTML.

    Args:
        study: The study; its classes are emotions.
        faces: (E, P, 2) a mean face per class, normalised, x right and y down.
        costs: From :func:`ferlab.temo.study.costs`.

    Returns:
        A ``<div class="fercore-figure">``.
    """
    order = np.argsort(-study.combined(), axis=1, kind="stable")
    drawn, height = _placed(faces)
    measured = _measured(study)
    classes = [
        {
            "name": Emotion(label).title,
            "color": COLORS[Emotion(label)],
            "order": order[place].tolist(),
            "face": drawn[place].tolist(),
            "measured": {str(k): f"{value:.1f}" for k, value in measured[label].items()},
        }
        for place, label in enumerate(study.classes)
    ]
    least = study.plan.sizes[-1]
    data = {
        "points": faces.shape[1],
        "start": least,
        "radius": _RADIUS,
        "view": [0, 0, _WIDTH, height],
        "classes": classes,
        "measured": [
            {"k": row["k"], "parameters": f"{row['parameters']:,}", "flops": f"{row['flops']:,}"}
            for row in costs
        ],
    }
    return embedding.embed(
        "ranking",
        data,
        _static(classes, least, height),
        "With JavaScript, a slider changes the number and a list the emotion.",
    )


def _placed(faces: np.ndarray) -> tuple[np.ndarray, int]:
    """Scale faces to the drawing, all alike: (E, P, 2), and the drawing's height."""
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    factor, edge = (_WIDTH - 10) / (high - low)[0], 5
    drawn = (faces - low).astype(np.float64) * factor + edge
    return drawn.round(1), round(float((high - low)[1] * factor)) + 2 * edge


def _measured(study: Study) -> dict[int, dict[int, float]]:
    """Return mean accuracy over folds, per cent, by class and k."""
    frame = pd.DataFrame(study.rows)
    own = frame[frame["method"].isin(["all", OURS])]
    result: dict[int, dict[int, float]] = {}
    for (label, k), rows in own.groupby(["class", "k"]):
        result.setdefault(int(label), {})[int(k)] = 100 * interval(rows["accuracy"].tolist())[0]
    return result


def _static(classes: list[dict[str, Any]], k: int, height: int) -> str:
    """Return an SVG with one face per class and the k most relevant landmarks filled."""
    columns = 4
    rows = -(-len(classes) // columns)
    label = f"The {k} most relevant landmarks of every emotion on a mean face."
    parts = [
        f'<svg role="img" viewBox="0 0 {columns * _WIDTH} {rows * (height + 20)}">',
        f"<title>{html.escape(label)}</title>",
    ]
    for place, entry in enumerate(classes):
        x, y = place % columns * _WIDTH, place // columns * (height + 20)
        parts.append(f'<g transform="translate({x} {y + 20})">')
        parts.append(
            f'<text x="{_WIDTH // 2}" y="-4" text-anchor="middle">{html.escape(entry["name"])}</text>'
        )
        for point in entry["order"][:k]:
            cx, cy = entry["face"][point]
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.4" fill="{entry["color"]}"/>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
