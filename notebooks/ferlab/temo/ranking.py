"""The figure with a slider: which landmarks are kept when k of them are.

Data as JSON for ``book/_static/figures.js``, and a static SVG for readers without script and for print.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd

from fercore.emotions import COLORS, Emotion
from ferlab.interactive import embedding
from ferlab.temo.study import OURS, Study

_WIDTH = 200  # units of the drawing
_EDGE = 5
_COLUMNS = 4
_RADIUS = 1.6


def slider(study: Study, faces: np.ndarray, costs: list[dict[str, Any]]) -> str:
    """Return the interactive figure, from a mean face per class, (E, P, 2), and :func:`ferlab.temo.costs`."""
    order = np.argsort(-study.combined(), axis=1, kind="stable")
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    factor = (_WIDTH - 2 * _EDGE) / (high - low)[0]  # all faces are drawn alike
    drawn = ((faces - low).astype(np.float64) * factor + _EDGE).round(1)
    height = round(float((high - low)[1] * factor)) + 2 * _EDGE
    frame = pd.DataFrame(study.rows)
    folds = frame[frame["method"].isin(["all", OURS])].groupby(["class", "k", "fold"])["accuracy"].mean()
    measured = 100 * folds.groupby(["class", "k"]).mean()
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
            {"k": row["k"]} | {name: f"{row[name]:,}" for name in ("parameters", "flops")} for row in costs
        ],
    }
    note = "With JavaScript, a slider changes the number and a list the emotion."
    return embedding.embed("ranking", data, _static(classes, least, height), note)


def _static(classes: list[dict[str, Any]], k: int, height: int) -> str:
    """Return an SVG with one face per class and the k most relevant landmarks filled."""
    rows = -(-len(classes) // _COLUMNS)
    parts = [
        f'<svg role="img" viewBox="0 0 {_COLUMNS * _WIDTH} {rows * (height + 20)}">',
        f"<title>The {k} most relevant landmarks of every emotion on a mean face.</title>",
    ]
    for place, entry in enumerate(classes):
        x, y = place % _COLUMNS * _WIDTH, place // _COLUMNS * (height + 20)
        name = html.escape(entry["name"])
        parts.append(f'<g transform="translate({x} {y + 20})">')
        parts.append(f'<text x="{_WIDTH // 2}" y="-4" text-anchor="middle">{name}</text>')
        for point in entry["order"][:k]:
            cx, cy = entry["face"][point]
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.4" fill="{entry["color"]}"/>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
