"""Divide and conquer, level by level: regions of a face with the scores that rules gave them, and what that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fercore.shapley.tree import PartitionTree, build_tree
from ferlab.interactive.embedding import (
    distinct,
    drawing,
    embed,
    face,
    finite,
    picture,
    rounded,
    shown,
    tag,
    text,
)

DEEPEST = 9  # 512 regions
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
    """Prepare a face for :func:`stepper`.

    Args:
        name: Of the face, as the reader chooses it.
        image: uint8 (H, W), (H, W, 1) or (H, W, 3).
        rules: For each rule, by the name that the reader chooses: the scores of the regions level by level, level 0
            (the whole image) first, float arrays (2**level,), 9 levels below it at most; and the evaluations spent up
            to each level, as many whole numbers, never fewer from level to level. Regions are numbered as by
            ``build_tree(H, W, levels, "alternate")``: rows are halved first, then columns, and so on.

    Returns:
        What :func:`stepper` reads.

    Raises:
        ValueError: If something has another shape, is not finite, or the image is too small for so many levels.
    """
    image = face(image, name)
    distinct(list(rules), f"The rules of {name!r}")
    listed = [_rule(f"{label!r} of {name!r}", label, *given) for label, given in rules.items()]
    depths = {len(rule["scores"]) - 1 for rule in listed}
    if len(depths) > 1:
        raise ValueError(
            f"All rules of {name!r} must have the same number of levels; there are {sorted(depths)}."
        )
    tree = build_tree(*image.shape[:2], depths.pop(), "alternate")
    for rule in listed:
        rule["limits"] = [_limit(scores, tree, level) for level, scores in enumerate(rule["scores"])]
    grey = image if image.ndim == 2 else image.mean(axis=2).round().astype(np.uint8)
    return {"name": str(name), "image": grey, "tree": tree, "rules": listed}


def stepper(faces: Sequence[Mapping[str, Any]]) -> str:
    """Return the figure that halves faces level by level and shows the score of every region.

    Args:
        faces: From :func:`stepper_face`, with names of their own.

    Returns:
        HTML, see :func:`ferlab.interactive.embed`.

    Raises:
        ValueError: If there is no face, or two have the same name.
    """
    distinct([entry["name"] for entry in faces], "The faces")
    trees: dict[str, list[list[list[int]]]] = {}  # faces of one size share their boxes
    listed = []
    for entry in faces:
        tree = entry["tree"]
        key = f"{tree.height}x{tree.width}x{tree.depth}"
        trees.setdefault(key, [tree.boxes[tree.nodes(level)].tolist() for level in range(tree.depth + 1)])
        rules = [rule | {"scores": rounded(rule["scores"], _DIGITS)} for rule in entry["rules"]]
        size = {"width": tree.width, "height": tree.height}
        listed.append(
            {"name": entry["name"], "image": picture(entry["image"]), "tree": key, "rules": rules} | size
        )
    data = {"faces": listed, "trees": trees, "colors": COLORS, "opacity": _OPACITY}
    said = "With JavaScript, a slider goes from level to level, and every region tells its score."
    return embed("stepper", data, _static(faces[0]), said)


def _rule(where: str, label: str, scores: Sequence[np.ndarray], evaluations: Sequence[int]) -> dict[str, Any]:
    """Check what a rule gave."""
    levels = [
        finite(values, f"The scores of {where} at level {level}") for level, values in enumerate(scores)
    ]
    if not 1 <= len(levels) <= DEEPEST + 1:
        raise ValueError(
            f"The scores of {where} must have 1 to {DEEPEST + 1} levels; they have {len(levels)}."
        )
    for level, values in enumerate(levels):
        if values.shape != (2**level,):
            raise ValueError(
                f"The scores of {where} at level {level} must have shape ({2**level},), one score for each region; "
                f"they have shape {values.shape}."
            )
    counts = finite(evaluations, f"The evaluations of {where}")
    if counts.shape != (len(levels),):
        raise ValueError(
            f"The evaluations of {where} must be {len(levels)} numbers, one for each level; "
            f"their shape is {counts.shape}."
        )
    if (counts < 0).any() or (np.diff(counts) < 0).any() or (counts != counts.round()).any():
        raise ValueError(
            f"The evaluations of {where} must be whole numbers that count all levels up to theirs, so never fall; "
            f"they are {counts.tolist()}."
        )
    return {"name": str(label), "scores": levels, "evaluations": counts.astype(int).tolist()}


def _densities(scores: np.ndarray, tree: PartitionTree, level: int) -> np.ndarray:
    """Return the score per pixel of each pixel, float (H, W)."""
    return (scores / tree.pixels(level))[tree.labels(level)]


def _limit(scores: np.ndarray, tree: PartitionTree, level: int) -> float:
    """Return the half-width of the colour scale, as :func:`ferlab.figures.panels.color_limit` does."""
    found = np.abs(_densities(scores, tree, level))
    return float(np.percentile(found, 99.5)) or float(found.max()) or 1.0


def _colored(entry: Mapping[str, Any], rule: Mapping[str, Any], level: int) -> np.ndarray:
    """Return the map of a level over the grey face, uint8 (H, W, 3)."""
    places = np.clip(_densities(rule["scores"][level], entry["tree"], level) / rule["limits"][level], -1, 1)
    stops = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in COLORS])
    colors = [np.interp(places, np.linspace(-1, 1, len(COLORS)), channel) for channel in stops.T]
    mixed = _OPACITY * np.stack(colors, axis=2) + (1 - _OPACITY) * entry["image"][:, :, None]
    return mixed.round().astype(np.uint8)


def _static(entry: Mapping[str, Any]) -> str:
    """Draw up to four levels of the first rule of a face side by side."""
    rule, deepest = entry["rules"][0], len(entry["rules"][0]["scores"]) - 1
    levels = sorted({round(deepest * part / 3) for part in range(4)})
    high = _SIDE * entry["tree"].height / entry["tree"].width
    parts = []
    for place, level in enumerate(levels):
        x = place * (_SIDE + 10)
        where = {"x": x, "y": 24, "width": _SIDE, "height": f"{high:g}"}
        parts.append(text(f"Level {level}", x, 16))
        parts.append(
            tag(
                "image",
                href=picture(_colored(entry, rule, level)),
                style="image-rendering:pixelated",
                **where,
            )
        )
        parts.append(text(f"{2**level} region{'s' * (level > 0)}", x, high + 42))
        parts.append(text(f"sum {shown(rule['scores'][level].sum())}", x, high + 60))
        parts.append(text(f"{rule['evaluations'][level]:,} evaluations", x, high + 78))
    title = (
        f"{entry['name']}, {rule['name']}: the face halved again and again, at levels "
        f"{', '.join(map(str, levels))}; red regions support the class, blue ones speak against it."
    )
    return drawing(title, len(levels) * (_SIDE + 10) - 10, high + 84, *parts)
