"""What surrounds the features: background, body, skull, ears, hair, beard and glasses."""

from __future__ import annotations

import cv2
import numpy as np

from ferlab.faces import mesh, paint, shading
from ferlab.faces.stage import Stage


def background(stage: Stage) -> None:
    """A diagonal gradient with soft shapes."""
    first, second = (np.array(colour) for colour in stage.view.scene.background)
    axis = np.linspace(0.0, 0.5, 16, dtype=np.float32)
    mix = (axis[:, None] + axis[None, :])[..., None]
    small = (first * (1.0 - mix) + second * mix).astype(np.float32)
    if stage.view.scene.blobs:
        rng = np.random.default_rng(stage.view.scene.blobs)
        for _ in range(5):
            centre = rng.integers(0, 16, size=2)
            colour = np.clip(first + rng.uniform(-45, 45, size=3), 0, 255)
            cv2.circle(small, (int(centre[0]), int(centre[1])), int(rng.integers(1, 5)), tuple(colour), -1)
        small = cv2.GaussianBlur(small, (0, 0), 1.2)
    large = cv2.resize(small, (stage.size, stage.size), interpolation=cv2.INTER_LINEAR)
    stage.canvas[:] = cv2.convertScaleAbs(np.maximum(large, 0.0))


def proportions(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Centre (3,) and radii (3,) of this character's skull, centimetres."""
    vertices, rest = stage.character.vertices, mesh.rest_vertices()
    width = vertices[454, 0] / rest[454, 0]
    lift = vertices[10, 1] - rest[10, 1]
    return shading.SKULL_CENTRE + (0.0, lift, 0.0), shading.SKULL_RADII * (width, 1.0, 1.0)


def skull_arc(stage: Stage, start: float, end: float, factor: float = 1.0, count: int = 40) -> np.ndarray:
    """Points (count, 3) on the skull's silhouette, from angle ``start`` to ``end`` in degrees (0 = left ear)."""
    centre, radii = proportions(stage)
    return centre + factor * radii * _unit_arc(start, end, count)


def _unit_arc(start: float, end: float, count: int) -> np.ndarray:
    angle = np.radians(np.linspace(start, end, count))
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)


def face(stage: Stage, skin: np.ndarray) -> None:
    """The skin of face, skull and ears, and the inner folds of the ears."""
    sides = (-1.0, 1.0)
    shapes = [*outlines(stage), *(_ear(stage, side, 1.0) for side in sides)]
    paint.paste(stage.canvas, skin, paint.mask_of(stage.size, shapes))
    colour = tuple(np.array(stage.character.skin) * (0.66, 0.52, 0.5))
    for side in sides:
        mask = paint.mask_of(stage.size, [_ear(stage, side, 0.5)], 0.15 * stage.unit, 130)
        paint.paste(stage.canvas, colour, mask)


def outlines(stage: Stage) -> list[np.ndarray]:
    """Outlines (K, 2) of face and skull."""
    return [stage.curves["oval"], stage.place(skull_arc(stage, -30.0, 210.0))]


def _ear(stage: Stage, side: float, factor: float) -> np.ndarray:
    x = stage.character.vertices[454, 0] + 0.25
    points = _unit_arc(0.0, 342.0, 20) * (0.85 * factor, 1.85 * factor, 1.0)
    points[:, 0] += 0.14 * points[:, 1]
    return stage.place((points + (x, 0.7, -2.8)) * (side, 1.0, 1.0))


def body(stage: Stage, skin: np.ndarray) -> None:
    """Neck with the shadow of the chin, and clothes."""
    broad = 4.4 if stage.character.lashes > 0.4 else 5.1
    neck = np.array((
        (broad, -4.0), (broad, -9.6), (broad + 0.7, -11.2), (broad + 3.5, -12.2), (16.0, -13.6), (16.0, -17.0),
    ))  # fmt: skip
    mask = paint.mask_of(stage.size, [stage.place(symmetric(neck, -3.0), turned=False)])
    paint.paste(stage.canvas, skin, mask)
    chin = stage.curves["oval"] + (0.0, 1.5 * stage.unit)
    shadow = cv2.min(paint.mask_of(stage.size, [chin], 0.5 * stage.unit, 150), mask)
    paint.paste(stage.canvas, tuple(np.array(stage.character.skin) * (0.36, 0.28, 0.28)), shadow)
    collar = np.array((
        (0.0, -12.9), (3.0, -12.4), (broad + 0.9, -11.1), (broad + 3.6, -11.9), (17.0, -13.2), (17.0, -18.0),
    ))  # fmt: skip
    clothes = paint.mask_of(stage.size, [stage.place(symmetric(collar, -2.5), turned=False)])
    layer = cv2.applyColorMap(stage.shade, shading.ramp(stage.character.clothes, shine=0.2))
    paint.paste(stage.canvas, layer, clothes)


def at_depth(flat: np.ndarray, z: float) -> np.ndarray:
    """Points (K, 3) from (K, 2), all at one depth."""
    return np.column_stack([flat, np.full(len(flat), z)])


def symmetric(half: np.ndarray, z: float) -> np.ndarray:
    """A closed outline (2K, 3) from its left half (K, 2), listed from top to bottom."""
    return at_depth(np.concatenate([half, half[::-1] * (-1.0, 1.0)]), z)


def glasses(stage: Stage) -> None:
    """Frames that sit on the neutral face: they turn with the head but do not follow the expression."""
    kind = stage.character.glasses
    if kind == "none":
        return
    vertices = stage.character.vertices
    radii, power = ((2.25, 2.0), 1.0) if kind == "round" else ((2.45, 1.75), 0.55)
    angle = np.linspace(0.0, 2.0 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring = radii * np.sign(circle) * np.abs(circle) ** power
    dark, width = (34, 30, 32), 0.22 * stage.unit
    for side, outer, inner in ((-1.0, 33, 133), (1.0, 263, 362)):
        centre = (vertices[outer] + vertices[inner]) / 2 + (side * 0.1, -0.15, 1.6)
        points = stage.place(at_depth(ring + centre[:2], centre[2]))
        paint.paste(stage.canvas, (235, 242, 248), paint.mask_of(stage.size, [points]), 0.1)
        paint.line(stage.canvas, points, dark, width, closed=True)
        hinge = centre + (side * (radii[0] - 0.05), 0.4, 0.0)
        ear = np.array((side * (vertices[454, 0] - 0.05), hinge[1], -1.8))
        paint.line(stage.canvas, stage.place(np.stack([hinge, ear])), dark, width)
    eye = vertices[[133, 362]].mean(axis=0)
    gap = vertices[362, 0] + vertices[263, 0] - 2 * radii[0] + 0.2
    arch = np.array(((-gap / 2, 0.1, 0.0), (0.0, 0.35, 0.2), (gap / 2, 0.1, 0.0)))
    paint.line(stage.canvas, stage.place(arch + (0.0, eye[1], eye[2] + 1.6)), dark, width)
