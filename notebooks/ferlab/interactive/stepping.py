"""Divide and conquer, level by level: regions of a face with the scores that rules gave them, and what that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fercore.shapley.tree import PartitionTree, build_tree
from ferlab.interactive.embedding import drawing, embed, picture, pixels, rounded, shown, text

_DIGITS = 4  # significant digits of a score
# ColorBrewer's RdBu (Harrower & Brewer 2003) from blue to red, as in ferlab.figures.panels: safe for the colour-blind.
COLORS = [
    *("#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0"),
    *("#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"),
]
_OPACITY = 0.6  # of the map over the grey face, as in ferlab.figures.panels
_SIDE = 150  # of a panel in the static drawing, in its units


def stepper_face(
    name: str, image: np.ndarray, rules: Mapping[str, tuple[Sequence[np.ndarray], Sequence[int]]]
) -> dict[str, Any]:
    """Prepare a face (H, W) or (H, W, 1 or 3) for :func:`stepper`.

    Each rule gives the scores level by level, (2**level,) as numbered by ``build_tree(H, W, levels, "alternate")``,
    level 0 first and as many levels as the other rules; and the evaluations spent up to each level.
    """
    grey = image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)
    depth = len(next(iter(rules.values()))[1]) - 1
    tree = build_tree(*grey.shape, depth, "alternate")
    listed = []
    for rule, (scores, spent) in rules.items():
        limits = [_limit(_densities(values, tree, level)) for level, values in enumerate(scores)]
        evaluations = [int(number) for number in spent]
        listed.append({"name": rule, "scores": list(scores), "evaluations": evaluations, "limits": limits})
    return {"name": name, "image": grey, "tree": tree, "rules": listed}


def stepper(faces: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure that halves faces, from :func:`stepper_face`, and shows the score of every region."""
    trees: dict[str, list[list[list[int]]]] = {}  # faces of one size share their boxes
    listed = []
    for entry in faces:
        tree = entry["tree"]
        key = f"{tree.height}x{tree.width}x{tree.depth}"
        trees[key] = [tree.boxes[tree.nodes(level)].tolist() for level in range(tree.depth + 1)]
        rules = [rule | {"scores": rounded(rule["scores"], _DIGITS)} for rule in entry["rules"]]
        face = {"name": entry["name"], "image": picture(entry["image"]), "tree": key, "rules": rules}
        listed.append(face | {"width": tree.width, "height": tree.height})
    data = {"faces": listed, "trees": trees, "colors": COLORS, "opacity": _OPACITY}
    note = "With JavaScript, a slider goes from level to level, and every region tells its score."
    return embed("stepper", data, _static(faces[0]), note)


def _densities(scores: np.ndarray, tree: PartitionTree, level: int) -> np.ndarray:
    """Return the score per pixel of each pixel, float (H, W)."""
    return (scores / tree.pixels(level))[tree.labels(level)]


def _limit(densities: np.ndarray) -> float:
    """Return the half-width of the colour scale, as :func:`ferlab.figures.panels.color_limit` does."""
    found = np.abs(densities)
    return float(np.percentile(found, 99.5)) or float(found.max()) or 1.0


def _colored(entry: Mapping[str, Any], level: int) -> np.ndarray:
    """Return the map of a level by the first rule over the grey face, uint8 (H, W, 3)."""
    rule = entry["rules"][0]
    densities = _densities(rule["scores"][level], entry["tree"], level)
    places = np.clip(densities / rule["limits"][level], -1, 1)
    stops = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in COLORS])
    colors = [np.interp(places, np.linspace(-1, 1, len(COLORS)), channel) for channel in stops.T]
    mixed = _OPACITY * np.stack(colors, axis=2) + (1 - _OPACITY) * entry["image"][:, :, None]
    return mixed.round().astype(np.uint8)


def _static(entry: Mapping[str, Any]) -> str:
    """Draw up to four levels of the first rule of a face side by side."""
    rule, tree = entry["rules"][0], entry["tree"]
    levels = sorted({round(tree.depth * part / 3) for part in range(4)})
    high, parts = _SIDE * tree.height / tree.width, []
    for place, level in enumerate(levels):
        x = place * (_SIDE + 10)
        parts += [text(f"Level {level}", x, 16), pixels(_colored(entry, level), x, 24, _SIDE)]
        parts.append(text(f"{2**level} region{'s' * (level > 0)}", x, high + 42))
        parts.append(text(f"sum {shown(rule['scores'][level].sum())}", x, high + 60))
        parts.append(text(f"{rule['evaluations'][level]:,} evaluations", x, high + 78))
    title = (
        f"{entry['name']}, {rule['name']}: the face halved again and again, at levels "
        f"{', '.join(map(str, levels))}; red regions support the class, blue ones speak against it."
    )
    return drawing(title, len(levels) * (_SIDE + 10) - 10, high + 84, *parts)
