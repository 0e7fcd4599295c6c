"""Smooth light on skin: Lambert's cosine law at points all over the mesh, gathered on a coarse grid.

Drawing 898 shaded triangles shows their seams and is slow. So points of the surface carry their brightness to the cell
they project to, and a small blur gives a smooth field.
"""

from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np

from ferlab.faces import mesh
from ferlab.faces.scene import Light, View

# Points on the mesh and cells across the picture, for canvases up to 200 pixels and for larger ones.
_COARSE, _FINE = (2600, 48), (8000, 96)
# The skull above the face: an ellipsoid (centre, radii, centimetres) that continues the forehead.
SKULL_CENTRE = np.array((0.0, 3.2, -2.0))
SKULL_RADII = np.array((7.75, 8.1, 7.6))


@cache
def _samples(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Points spread over the mesh in proportion to area: corners (3, S) and barycentric weights (3, S, 1)."""
    faces, vertices = mesh.triangles(), mesh.rest_vertices()
    edges = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    count = np.maximum(np.round(area / area.sum() * number).astype(int), 1)
    owner = np.repeat(np.arange(len(faces)), count)
    weights = np.random.default_rng(468).dirichlet((1.5, 1.5, 1.5), size=len(owner))
    return np.ascontiguousarray(faces[owner].T), np.ascontiguousarray(weights.T, dtype=np.float32)[:, :, None]


@cache
def _skull() -> tuple[np.ndarray, np.ndarray]:
    """Points (K, 3) of the skull's front above the temples and their normals."""
    angle, height = np.meshgrid(np.linspace(0.15, np.pi - 0.15, 30), np.linspace(0.35, 1.45, 16))
    unit = np.stack([np.cos(angle) * np.cos(height), np.sin(height), np.sin(angle) * np.cos(height)], axis=-1)
    unit = unit.reshape(-1, 3)
    normals = unit / SKULL_RADII
    return SKULL_CENTRE + unit * SKULL_RADII, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def vertex_normals(vertices: np.ndarray) -> np.ndarray:
    """Unit normals (468, 3) of a mesh with vertices (468, 3), pointing outwards, weighted by triangle area."""
    faces = mesh.triangles()
    origin = vertices[faces[:, 0]]
    (ax, ay, az), (bx, by, bz) = (vertices[faces[:, 1]] - origin).T, (vertices[faces[:, 2]] - origin).T
    corners = faces.ravel()
    normals = np.empty((mesh.VERTEX_COUNT, 3))
    for axis, area in enumerate((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)):
        normals[:, axis] = np.bincount(corners, np.repeat(area, 3), mesh.VERTEX_COUNT)
    length = np.sqrt((normals * normals).sum(axis=1, keepdims=True))
    return normals / np.maximum(length, 1e-9)


# Hollows that brightness never reaches (eye corners, beside the nose, under the lower lip, temples) and blood under the
# skin (cheeks, nose tip, chin): vertices, radius in centimetres, amount.
_HOLLOWS = (
    ((133, 362, 243, 463), 1.0, 0.16), ((129, 358, 98, 327), 0.9, 0.14), ((18,), 1.2, 0.10), ((2, 164), 0.8, 0.08),
    ((234, 454, 132, 361, 58, 288, 172, 397), 1.8, 0.16), ((152, 148, 377), 1.5, 0.10),
)  # fmt: skip
_BLOOD = (((50, 280, 205, 425), 1.6, 0.75), ((4, 1), 1.1, 0.6), ((199,), 1.0, 0.25))


@cache
def _complexion() -> tuple[np.ndarray, np.ndarray]:
    """Darkness of the hollows and rosiness of every vertex: (468,) each, 0..1."""
    dark, rosy = (
        [amount * mesh.falloff(controls, radius) for controls, radius, amount in spots]
        for spots in (_HOLLOWS, _BLOOD)
    )
    return sum(dark), np.max(rosy, axis=0)


def skin_fields(
    vertices: np.ndarray, pixels: np.ndarray, view: View, canvas: int
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness (about 0..1.1) and rosiness (0..1) all over the picture and beyond the head: (canvas, canvas) float32.

    Of a deformed face (468, 3) before the pose, and its ``pixels`` (468, 2) in the ``view``.
    """
    number, cells = _COARSE if canvas <= 200 else _FINE
    light, (dark, rosy), (corners, weights) = view.scene.light, _complexion(), _samples(number)
    turned = vertex_normals(vertices) @ view.matrix.T
    skull_points, skull_normals = _skull()
    skull_turned = skull_normals @ view.matrix.T
    shade = np.concatenate([_lambert(turned, light) - dark, _lambert(skull_turned, light)])
    facing = np.concatenate([turned[:, 2], skull_turned[:, 2]])
    places = np.concatenate([pixels, view.project(skull_points)]) * (cells / view.size)
    rosy = np.concatenate([rosy, np.zeros(len(skull_points))])
    values = np.column_stack([places, shade, rosy, facing]).astype(np.float32)
    # Three gathers are several times faster here than einsum or a stack of small matrix products.
    spread = sum(values[corners[k]] * weights[k] for k in range(3))
    return _gather(np.concatenate([spread, values[mesh.VERTEX_COUNT :]]), cells, canvas)


def _lambert(normals: np.ndarray, light: Light) -> np.ndarray:
    """Brightness from the cosine law, softened as skin does (half-Lambert), with a little light from the camera."""
    cosine = normals @ light.direction()
    wrapped = (0.5 + 0.5 * cosine) ** 1.5
    frontal = np.maximum(normals[:, 2], 0.0)
    return light.ambient * (0.35 + 0.65 * frontal) + (1.0 - light.ambient) * wrapped * 1.1


def _gather(rows: np.ndarray, cells: int, canvas: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth fields (canvas, canvas) of rows of x, y (cells), shade, rosiness and weight."""
    weight = np.clip(rows[:, 4], 0.02, 1.0)
    column = np.clip(rows[:, 0].astype(int), 0, cells - 1)
    row = np.clip(rows[:, 1].astype(int), 0, cells - 1)
    index, values = row * cells + column, (1.0, rows[:, 2], rows[:, 3])
    sums = [np.bincount(index, weight * value, cells * cells).reshape(cells, cells) for value in values]
    stack = np.stack(sums, axis=-1).astype(np.float32)
    sharp = cv2.GaussianBlur(stack, (0, 0), 0.35 * cells / 24)
    width = 2 * (cells // 8) + 1
    wide = cv2.blur(cv2.blur(stack, (width, width)), (width, width))
    total = sharp + 0.02 * wide + 1e-6 * stack.sum(axis=(0, 1))
    fields = np.ascontiguousarray(total[..., 1:] / total[..., :1])
    fields = cv2.resize(fields, (canvas, canvas), interpolation=cv2.INTER_CUBIC)
    return fields[..., 0], fields[..., 1]


@lru_cache(maxsize=1024)
def ramp(colour: tuple[float, ...], depth: float = 0.34, shine: float = 0.45) -> np.ndarray:
    """Lookup table (256, 1, 3) uint8 from deep shadow over ``colour`` (sRGB 0..255), at entry 160, to highlight.

    ``depth`` is the brightness of the deepest shadow relative to it; ``shine`` how far the highlight goes to white.
    """
    base = np.clip(np.array(colour, dtype=np.float64), 0, 255)
    # Shadows of skin are redder than its light, which keeps flat shading from looking grey.
    dark = base * depth * (1.12, 0.95, 0.98)
    middle = base * (0.5 + 0.5 * depth) * (1.04, 0.98, 0.97)
    bright = base + (255.0 - base) * shine
    stops = np.array((0.0, 80.0, 160.0, 255.0))
    table = [np.interp(np.arange(256), stops, [c[i] for c in (dark, middle, base, bright)]) for i in range(3)]
    return np.clip(np.stack(table, axis=1), 0, 255).astype(np.uint8)[:, None, :]
