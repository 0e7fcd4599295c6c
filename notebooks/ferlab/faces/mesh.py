"""The 468-vertex face: MediaPipe's canonical face model (Apache-2.0, see ``data/NOTICE``), regions and vertex sets.

Units are centimetres, x points to the subject's left (image right), y up, z towards the camera; the mesh is exactly
left-right symmetric. "Right" always means the subject's right, which is the left of the image.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np

VERTEX_COUNT = 468
REGIONS: tuple[str, ...] = ("forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin")

# MediaPipe's vertex sets (face_mesh_connections.py), ordered along the contour; right = the subject's right.
RIGHT_EYE_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_EYE_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_EYE_UPPER = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_EYE_LOWER = (263, 249, 390, 373, 374, 380, 381, 382, 362)
RIGHT_BROW_UPPER = (70, 63, 105, 66, 107)
RIGHT_BROW_LOWER = (46, 53, 52, 65, 55)
# Lip rings from the outer contour (first) to the inner one (last), from the right corner to the left one.
UPPER_LIP_RINGS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
LOWER_LIP_RINGS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
LIP_CORNERS = (61, 76, 62, 78, 291, 306, 292, 308)
FACE_OVAL = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
    + (148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
)  # fmt: skip


def _data(name: str) -> str:
    return (files("ferlab.faces") / "data" / name).read_text(encoding="utf-8")


def _rows(kind: str) -> list[list[str]]:
    """The words behind ``"v"`` (a vertex) or ``"f"`` (a triangle) in the lines of the model."""
    lines = map(str.split, _data("canonical_face_model.obj").splitlines())
    return [words for first, *words in lines if first == kind]


@cache
def canonical_vertices() -> np.ndarray:
    """MediaPipe's canonical face, unchanged: (468, 3) float64, centimetres, read-only."""
    return _frozen(np.array(_rows("v"), dtype=np.float64))


@cache
def triangles() -> np.ndarray:
    """The 898 triangles: (898, 3) int64 vertex indices, anticlockwise seen from the front, read-only."""
    return _frozen(np.array([[int(corner.split("/")[0]) - 1 for corner in row] for row in _rows("f")]))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@cache
def mirror() -> np.ndarray:
    """Index of each vertex's left-right mirror image: (468,) int64; midline vertices map to themselves."""
    vertices = canonical_vertices()
    flipped = vertices * (-1.0, 1.0, 1.0)
    return np.linalg.norm(flipped[:, None] - vertices, axis=2).argmin(axis=1)


@cache
def vertex_regions() -> np.ndarray:
    """Region label of each vertex: (468,) uint8, 1 for ``REGIONS[0]`` to 7 for ``REGIONS[6]``."""
    members, labels = json.loads(_data("mesh468_regions.json")), np.zeros(VERTEX_COUNT, dtype=np.uint8)
    for label, name in enumerate(REGIONS, start=1):
        labels[members[name]] = label
    return labels


@cache
def region_pieces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles, or thirds of them where corners differ, of one region each: borders run half way between vertices.

    Weights (P, 4, 3) of each piece's four points on its triangle's corners, triangles (P,), and regions (P,) in 1..7.
    """
    whole = np.array(((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1)), dtype=np.float64)
    first = np.array(((1, 0, 0), (1 / 2, 1 / 2, 0), (1 / 3, 1 / 3, 1 / 3), (1 / 2, 0, 1 / 2)))
    pieces = []
    for index, labels in enumerate(vertex_regions()[triangles()].tolist()):
        if len(set(labels)) == 1:
            pieces.append((whole, index, labels[0]))
        else:
            pieces += [(np.roll(first, corner, axis=1), index, labels[corner]) for corner in range(3)]
    weights, owners, regions = zip(*pieces, strict=True)
    return np.array(weights), np.array(owners), np.array(regions)


def _close_mouth(vertices: np.ndarray) -> None:
    """Bring the lips together: the canonical mouth is ajar, a neutral one is not."""
    upper, lower = np.array(UPPER_LIP_RINGS)[:, 1:-1], np.array(LOWER_LIP_RINGS)[:, 1:-1]
    gap = vertices[upper[3]] - vertices[lower[3]]
    for ring, share in enumerate((0.45, 0.65, 0.85, 1.0)):
        vertices[upper[ring]] -= 0.3 * share * gap
        vertices[lower[ring]] += 0.7 * share * gap


def scale_about(
    vertices: np.ndarray, centre: tuple[float, ...], factors: tuple[float, ...], radius: float
) -> np.ndarray:
    """Displacement (V, 3) that scales around a point with x >= 0 and its mirror image; at ``radius`` by 1/e as much."""
    total = np.zeros_like(vertices)
    for side in (-1.0, 1.0) if centre[0] else (1.0,):
        offset = vertices - np.multiply(centre, (side, 1.0, 1.0))
        weight = np.exp(-(((offset[:, :2] ** 2).sum(axis=1) / radius**2) ** 1.5))
        total += weight[:, None] * offset * (np.array(factors) - 1.0)
    return total


@cache
def rest_vertices() -> np.ndarray:
    """The illustrator's neutral face: lips closed, eyes enlarged: (468, 3) float64, centimetres, read-only."""
    vertices = canonical_vertices().copy()
    _close_mouth(vertices)
    vertices += scale_about(vertices, (3.155, 2.625, 3.5), (1.3, 2.35, 1.0), 2.1)
    vertices += scale_about(vertices, (0.0, -4.4, 5.0), (1.2, 1.1, 1.0), 3.2)
    # The enlarged eyes have pushed the brows up; back, so that a frown can reach the eyes.
    distance = np.abs(vertices[:, 1] - 4.9) / 1.3
    vertices[:, 1] -= 0.3 * np.exp(-(distance**2))
    return _frozen(vertices)


def falloff(controls: Sequence[int], radius: float, power: float = 2.0) -> np.ndarray:
    """Weight (468,) that is 1 at the control vertices of the rest face and 1/e at ``radius`` (cm) from them."""
    vertices = rest_vertices()
    distance = np.linalg.norm(vertices[:, None] - vertices[list(controls)], axis=2).min(axis=1)
    return np.exp(-((distance / radius) ** power))
