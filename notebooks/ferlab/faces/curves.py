"""Smooth curves through vertices: everything that is drawn is a curve that rides on the 468 vertices.

A curve's points are fixed weighted means of vertices (a uniform Catmull-Rom spline is linear in its control points),
so one matrix product turns 468 projected vertices into all curves of the drawing at once.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from ferlab.faces import mesh

# A control point: a vertex, or (a, b, t) for the point at fraction t of the way from vertex a to vertex b.
Control = int | tuple[int, int, float]

_BROW_PAIRS = tuple(zip(mesh.RIGHT_BROW_UPPER, mesh.RIGHT_BROW_LOWER, strict=True))

# Curves of the subject's right side; "name" gives "name_r" and its mirror image "name_l".
_PAIRED: dict[str, tuple[tuple[Control, ...], int]] = {
    "lid_upper": (mesh.RIGHT_EYE_UPPER, 15),
    "lid_lower": (mesh.RIGHT_EYE_LOWER, 15),
    "brow": (tuple((upper, lower, 0.5) for upper, lower in _BROW_PAIRS), 13),
    "lid_fold": ((130, 247, 30, 29, 27, 28, 56, 190, 243), 12),
    "nasolabial": (((129, 203, 0.3), 203, 206, 216, (216, 212, 0.7)), 12),
    "crow_1": ((226, (35, 156, 0.3), (143, 156, 0.75)), 12),
    "crow_2": (((226, 35, 0.3), 35, (143, 34, 0.1)), 12),
    "crow_3": (((31, 35, 0.4), (111, 35, 0.45), (116, 143, 0.4)), 12),
    "under_eye": ((31, 228, 229, 230, 231, 232), 12),
    "cheek": (((117, 118, 0.2), (118, 50, 0.25), (101, 36, 0.3), (142, 36, 0.4)), 12),
    "glabella": (((55, 8, 0.45), (107, 9, 0.42), (108, 151, 0.55)), 12),
    "bunny_1": (((6, 122, 0.4), (122, 196, 0.6), 188), 12),
    "bunny_2": (((197, 196, 0.6), (174, 196, 0.3), (217, 174, 0.5)), 12),
    "wing": ((209, 49, (129, 48, 0.5), 64, 98), 12),
    "nose_side": ((193, (122, 245, 0.3), (196, 188, 0.5), (236, 174, 0.4), (198, 134, 0.3)), 12),
    "inner_forehead": (((69, 66, 0.6), (108, 107, 0.5), (151, 9, 0.45)), 12),
    "marionette": ((61, 43, (202, 204, 0.3)), 12),
    "mouth_corner": (((186, 57, 0.5), (57, 61, 0.3), (43, 57, 0.4)), 12),
    "stretch": (((216, 212, 0.2), (212, 214, 0.2), (202, 210, 0.3)), 12),
    "blush": ((117, 50, 205, 36, 101), 12),
}

# Curves that cross the midline.
_MIDDLE: dict[str, tuple[tuple[Control, ...], int]] = {
    "oval": (mesh.FACE_OVAL, 72),
    "lip_upper_outer": (mesh.UPPER_LIP_RINGS[0], 25),
    "lip_upper_inner": (mesh.UPPER_LIP_RINGS[3], 25),
    "lip_lower_inner": (mesh.LOWER_LIP_RINGS[3], 25),
    "lip_lower_outer": (mesh.LOWER_LIP_RINGS[0], 25),
    "forehead_1": (((68, 63, 0.5), (104, 105, 0.45), (69, 66, 0.5), (108, 107, 0.4), (151, 9, 0.38),
                    (337, 336, 0.4), (299, 296, 0.5), (333, 334, 0.45), (298, 293, 0.5)), 12),
    "forehead_2": ((104, (69, 66, 0.12), (108, 107, 0.03), (151, 9, 0.0), (337, 336, 0.03), (299, 296, 0.12), 333), 12),
    "mentolabial": (((182, 194, 0.3), (83, 201, 0.25), (18, 200, 0.25), (313, 421, 0.25), (406, 418, 0.3)), 12),
    "chin_boss": (((32, 208, 0.3), (208, 199, 0.3), (199, 175, 0.2), (428, 199, 0.3), (262, 428, 0.3)), 12),
    "nose_base": ((98, 97, 2, 326, 327), 12),
    "nose_root": (((188, 122, 0.3), (6, 197, 0.2), (412, 351, 0.3)), 12),
}  # fmt: skip


def _weights(control: Control) -> np.ndarray:
    """Weights (468,) of a control point on the vertices."""
    first, second, fraction = control if isinstance(control, tuple) else (control, control, 0.0)
    row = np.zeros(mesh.VERTEX_COUNT)
    row[first] += 1.0 - fraction
    row[second] += fraction
    return row


@lru_cache(maxsize=64)
def spline(count: int, samples: int, closed: bool = False) -> np.ndarray:
    """Weights (samples, count) of the points of a uniform Catmull-Rom spline on its control points."""
    weights = np.zeros((samples, count))
    last = count if closed else count - 1
    for row, position in enumerate(np.linspace(0.0, last, samples, endpoint=not closed)):
        left = min(int(position), last - 1)
        t = position - left
        cubic = (
            (-t + 2 * t**2 - t**3) / 2,
            (2 - 5 * t**2 + 3 * t**3) / 2,
            (t + 4 * t**2 - 3 * t**3) / 2,
            (-(t**2) + t**3) / 2,
        )
        for offset, weight in zip(range(-1, 3), cubic, strict=True):
            index = (left + offset) % count if closed else min(max(left + offset, 0), count - 1)
            weights[row, index] += weight
    return weights


@cache
def _table() -> tuple[np.ndarray, dict[str, slice]]:
    """All curves as one matrix (M, 468), and the rows of each curve."""
    blocks = {}
    for name, (controls, samples) in (_MIDDLE | _PAIRED).items():
        rows = np.stack([_weights(control) for control in controls])
        spread = spline(len(controls), samples, closed=name == "oval")
        if name in _PAIRED:
            blocks |= {f"{name}_r": spread @ rows, f"{name}_l": spread @ rows[:, mesh.mirror()]}
        else:
            blocks[name] = spread @ rows
    ends = np.cumsum([len(block) for block in blocks.values()]).tolist()
    slices = {name: slice(end - len(blocks[name]), end) for name, end in zip(blocks, ends, strict=True)}
    return np.concatenate(list(blocks.values())), slices


def through(points: np.ndarray) -> dict[str, np.ndarray]:
    """Points (K, D) of every curve by name, for vertices at ``points`` (468, D)."""
    matrix, slices = _table()
    rows = matrix @ points
    return {name: rows[part] for name, part in slices.items()}
