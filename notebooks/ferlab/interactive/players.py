"""A game of three players: choose a coalition, an order of arrival, or other worths, and see the Shapley values."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from fercore.emotions import COLORS, Emotion
from fercore.shapley import exact_shapley
from ferlab.interactive.embedding import drawing, embed, shown, tag, text

_COLORS = [COLORS[emotion] for emotion in (Emotion.SAD, Emotion.ANGRY, Emotion.DISGUST)]


def three_players(names: Sequence[str], values: Sequence[float]) -> str:
    """Return the figure of a game of three players; bit i of a worth's position says whether player i is present."""
    worths = np.asarray(values, dtype=np.float64)
    data = {"names": list(names), "values": worths, "colors": _COLORS}
    note = "With JavaScript, you can choose coalitions and orders of arrival here, and change the worths."
    return embed("players", data, f"{_table(names, worths)}\n{_bars(names, worths)}", note)


def _coalition(names: Sequence[str], code: int) -> str:
    """Return the name of a coalition, e.g. ``"{Ann, Bob}"``, or ``"∅"``."""
    inside = [name for place, name in enumerate(names) if code >> place & 1]
    return f"{{{', '.join(inside)}}}" if inside else "∅"


def _table(names: Sequence[str], worths: np.ndarray) -> str:
    head = tag("tr", tag("th", "Coalition S", scope="col"), tag("th", "Worth v(S)", scope="col"))
    rows = [
        tag("tr", tag("td", html.escape(_coalition(names, code))), tag("td", shown(worths[code])))
        for code in sorted(range(len(worths)), key=lambda code: (code.bit_count(), code))
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="fercore-table")


def _bars(names: Sequence[str], worths: np.ndarray) -> str:
    """Draw the Shapley values as bars from a common zero."""
    scores = exact_shapley(lambda coalitions: worths[coalitions @ (1, 2, 4)], 3)
    low, high = min(0.0, scores.min()), max(0.0, scores.max())
    scale = 260 / ((high - low) or 1.0)
    zero, parts = 130 - low * scale, []
    for place, (name, score) in enumerate(zip(names, scores, strict=True)):
        y, size = 34 + 34 * place, abs(score) * scale
        bar = {"x": f"{min(zero, zero + score * scale):.1f}", "y": y, "width": f"{size:.1f}", "height": 22}
        parts.append(text(name, 120, y + 16, text_anchor="end"))
        parts.append(tag("rect", **bar, fill=_COLORS[place]))
        parts.append(text(shown(score), 400, y + 16))
    parts.append(tag("path", d=f"M{zero:.1f} 28V136", stroke="currentcolor"))
    parts.append(text("Shapley values", 130, 18))
    listed = ", ".join(f"{name} {shown(score)}" for name, score in zip(names, scores, strict=True))
    return drawing(f"Shapley values: {listed}.", 480, 142, *parts)
