"""A game of three players: choose a coalition, an order of arrival, or other worths, and see the Shapley values."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence

import numpy as np

from fercore.emotions import COLORS, Emotion
from ferlab.interactive.embedding import distinct, drawing, embed, finite, shown, tag, text

_COLORS = [COLORS[emotion] for emotion in (Emotion.SAD, Emotion.ANGRY, Emotion.DISGUST)]


def three_players(names: Sequence[str], values: Sequence[float]) -> str:
    """Return the figure of a game of three players.

    The reader chooses who is present, reads the worth and the marginal contributions in an order of arrival, and may
    change all eight worths.

    Args:
        names: Of the three players.
        values: The worths of the eight coalitions, floats. Bit i of the position says whether player i is present, so
            ``values[0]`` is the worth of nobody, ``values[5]`` that of the first and the third.

    Returns:
        HTML, see :func:`ferlab.interactive.embed`.

    Raises:
        ValueError: If there are not three different names and eight finite worths.
    """
    players = distinct(names, "The players")
    if len(players) != 3:
        raise ValueError(f"The game has three players; {len(players)} names were given: {players}.")
    worths = finite(values, "The worths")
    if worths.shape != (8,):
        raise ValueError(
            "Three players have 8 coalitions: values must have shape (8,), where bit i of the position says whether "
            f"player i is present; it has shape {worths.shape}."
        )
    data = {"names": players, "values": worths, "colors": _COLORS}
    said = "With JavaScript, you can choose coalitions and orders of arrival here, and change the worths."
    return embed("players", data, f"{_table(players, worths)}\n{_bars(players, worths)}", said)


def _shapley(values: np.ndarray) -> np.ndarray:
    """Return the Shapley values of a game of few players: the mean over all orders of arrival.

    Args:
        values: float (2**n,), bit i of the position says whether player i is present.

    Returns:
        float (n,).
    """
    players = range(len(values).bit_length() - 1)
    gains = np.zeros(len(players))
    orders = list(itertools.permutations(players))
    for order in orders:
        present = 0
        for player in order:
            gains[player] += values[present | 1 << player] - values[present]
            present |= 1 << player
    return gains / len(orders)


def _coalition(names: Sequence[str], code: int) -> str:
    """Return the name of a coalition, e.g. ``"{Ann, Bob}"``, or ``"∅"``."""
    inside = [name for place, name in enumerate(names) if code >> place & 1]
    return f"{{{', '.join(inside)}}}" if inside else "∅"


def _table(names: list[str], worths: np.ndarray) -> str:
    head = tag("tr", tag("th", "Coalition S", scope="col"), tag("th", "Worth v(S)", scope="col"))
    rows = [
        tag("tr", tag("td", html.escape(_coalition(names, code))), tag("td", shown(worths[code])))
        for code in sorted(range(len(worths)), key=lambda code: (code.bit_count(), code))
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="fercore-table")


def _bars(names: list[str], worths: np.ndarray) -> str:
    """Draw the Shapley values as bars from a common zero."""
    scores = _shapley(worths)
    low, high = min(0.0, scores.min()), max(0.0, scores.max())
    scale = 260 / ((high - low) or 1.0)
    zero, parts = 130 - low * scale, []
    for place, (name, score) in enumerate(zip(names, scores, strict=True)):
        y, size = 34 + 34 * place, abs(score) * scale
        left = zero - size if score < 0 else zero
        parts.append(text(name, 120, y + 16, text_anchor="end"))
        parts.append(tag("rect", x=f"{left:.1f}", y=y, width=f"{size:.1f}", height=22, fill=_COLORS[place]))
        parts.append(text(shown(score), 400, y + 16))
    parts.append(tag("path", d=f"M{zero:.1f} 28V{34 * len(names) + 34}", stroke="currentcolor"))
    parts.append(text("Shapley values", 130, 18))
    listed = ", ".join(f"{name} {shown(score)}" for name, score in zip(names, scores, strict=True))
    return drawing(f"Shapley values: {listed}.", 480, 34 * len(names) + 40, *parts)
