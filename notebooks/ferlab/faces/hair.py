"""Hair and beard as shaded shapes: one layer behind the head, one over the forehead."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ferlab.faces import head, paint, shading
from ferlab.faces.curves import spline
from ferlab.faces.stage import Stage

_Line = tuple[tuple[float, float], ...]  # (x, y), centimetres on the face
# Hairlines over the forehead from the left temple to the right one.
_EVEN = (
    (7.5, 1.6), (7.0, 4.6), (6.0, 6.6), (3.4, 7.7), (0.0, 8.0), (-3.4, 7.7), (-6.0, 6.6), (-7.0, 4.6), (-7.5, 1.6),
)  # fmt: skip
_HAIRLINES: dict[str, _Line] = {
    "short": _EVEN,
    "buzz": _EVEN,
    "curly": ((7.5, 1.4), (6.9, 4.2), (5.6, 6.2), (4.2, 6.5), (2.6, 7.3), (0.8, 7.0), (-1.0, 7.4), (-2.8, 6.9),
              (-4.4, 6.7), (-5.8, 6.0), (-6.9, 4.2), (-7.5, 1.4)),
    "side_part": ((7.5, 1.6), (6.9, 4.6), (5.4, 7.2), (3.7, 8.8), (2.0, 7.7), (-1.2, 7.2), (-4.6, 6.6), (-6.6, 5.2),
                  (-7.5, 1.6)),
    "quiff": ((7.5, 1.6), (7.0, 4.8), (6.3, 7.2), (3.6, 8.5), (0.0, 8.7), (-3.6, 8.5), (-6.3, 7.2), (-7.0, 4.8),
              (-7.5, 1.6)),
    "bun": ((7.4, 2.6), (6.8, 5.0), (5.4, 7.3), (2.8, 8.4), (0.0, 8.8), (-2.8, 8.4), (-5.4, 7.3), (-6.8, 5.0),
            (-7.4, 2.6)),
    "bob": ((7.1, -5.0), (6.8, -1.0), (6.7, 2.5), (6.1, 5.0), (4.6, 6.3), (2.2, 6.8), (0.0, 7.0), (-2.2, 6.9),
            (-4.6, 6.5), (-6.1, 5.2), (-6.7, 2.5), (-6.8, -1.0), (-7.1, -5.0)),
    "long": ((6.9, -4.0), (6.6, 1.0), (6.1, 4.4), (4.0, 7.0), (0.9, 8.9), (0.0, 9.6), (-0.9, 8.9), (-4.0, 7.0),
             (-6.1, 4.4), (-6.6, 1.0), (-6.9, -4.0)),
    "wavy": ((6.9, -4.0), (6.5, 1.0), (6.2, 4.6), (5.0, 6.4), (3.0, 8.4), (2.2, 9.4), (0.6, 8.2), (-2.6, 7.2),
             (-5.4, 6.0), (-6.5, 4.0), (-6.4, 1.0), (-6.9, -4.0)),
}  # fmt: skip
# Outer size relative to the skull.
_OUTER = {"short": 1.05, "buzz": 1.01, "curly": 1.17, "side_part": 1.07, "quiff": 1.06, "bun": 1.03, "bob": 1.1,
          "long": 1.07, "wavy": 1.12}  # fmt: skip
# Half outlines of what hangs behind the head, from the top down.
_BACK: dict[str, _Line] = {
    "long": ((3.0, 9.0), (7.2, 7.0), (8.4, 4.0), (9.0, 0.0), (9.4, -6.0), (9.2, -15.0)),
    "wavy": ((3.0, 9.0), (7.4, 7.2), (8.8, 4.5), (9.5, 2.0), (9.0, -1.0), (10.2, -4.0), (9.5, -7.0), (10.8, -10.0),
             (10.0, -15.0)),
    "bob": ((3.0, 9.0), (7.4, 7.2), (8.7, 4.0), (9.3, 0.0), (9.5, -5.0), (8.6, -7.6), (6.0, -8.0)),
}  # fmt: skip
# The strands of the front layer that hang beside the face: outer edge, from the ear down.
_SIDES: dict[str, _Line] = {
    "long": ((7.3, 7.0), (8.2, 3.5), (8.7, -1.0), (8.9, -4.0), (8.6, -8.5), (7.9, -14.0), (7.2, -14.0)),
    "wavy": ((7.6, 7.0), (8.8, 3.6), (9.0, 0.6), (8.7, -1.5), (9.8, -4.5), (9.0, -8.0), (9.6, -14.0), (7.4, -14.0)),
    "bob": ((7.5, 7.0), (8.5, 3.5), (9.1, -1.0), (9.2, -3.0), (9.0, -6.3), (8.0, -7.2), (7.2, -6.4)),
}  # fmt: skip
# Outlines of beards by vertices.
_MOUSTACHE = (164, 393, 391, 322, 410, 287, 409, 270, 269, 267, 0, 37, 39, 40, 185, 57, 186, 92, 165, 167)
_GOATEE = (57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287, 422, 430, 431, 369, 377, 152, 148, 140, 211, 210,
           202)  # fmt: skip
_CHEEK_LINE = (234, 227, 137, 177, 213, 192, 214, 216, 92, 165, 167, 164, 393, 391, 322, 436, 434, 416, 433, 401, 366,
               447, 454)  # fmt: skip
_JAW_LINE = (323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93)


def _spread(points: _Line, samples: int) -> np.ndarray:
    """A smooth open curve (samples, 2) through points."""
    return spline(len(points), samples) @ np.array(points)


def _on_skull(stage: Stage, flat: np.ndarray) -> np.ndarray:
    """Points (K, 3) on the front of the head for (K, 2) positions; beside the head they lie in its middle plane."""
    centre, radii = head.proportions(stage)
    flat = flat * (radii[0] / shading.SKULL_RADII[0], 1.0) + (0.0, centre[1] - shading.SKULL_CENTRE[1])
    inside = 1.0 - (((flat - centre[:2]) / radii[:2]) ** 2).sum(axis=1)
    depth = centre[2] + radii[2] * np.sqrt(np.maximum(inside, 0.0))
    return np.column_stack([flat, np.maximum(depth, -1.0)])


@lru_cache(maxsize=256)
def _strand_paths(texture: int) -> tuple[np.ndarray, np.ndarray]:
    """Strands that fall from the crown: (L, 8, 3) centimetres, and their tones (L,) in 0..7."""
    rng = np.random.default_rng(texture)
    count = 44
    angles = np.radians(np.linspace(-75.0, 255.0, count) + rng.uniform(-4, 4, count))
    tones, reach = rng.integers(0, 8, count), rng.uniform(9.5, 13.5, count)
    crown = np.array((0.0, 8.5))
    start = crown + np.stack([np.cos(angles), 0.6 * np.sin(angles)], axis=1) * 0.8
    end = crown + np.stack([np.cos(angles), 1.35 * np.sin(angles)], axis=1) * reach[:, None]
    middle = (start + end) / 2 + np.stack([np.sign(np.cos(angles)) * 1.2, 0 * angles + 0.6], axis=1)
    t = np.linspace(0, 1, 8)[None, :, None]
    paths = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * end[:, None]
    return np.concatenate([paths, np.zeros((count, 8, 1))], axis=2), tones


@lru_cache(maxsize=8)
def _bristles(size: int, unit: float) -> np.ndarray:
    """Short hair as a texture: (size, size) uint8 around 128, grains of about a millimetre or one pixel."""
    cells = min(size, round(size / max(unit * 0.16, 1.0)))
    noise = np.random.default_rng(7).normal(128.0, 26.0, size=(cells, cells)).astype(np.float32)
    return cv2.convertScaleAbs(cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR))


def _layer(stage: Stage) -> np.ndarray:
    """The hair's colour all over the canvas, shaded like the skull, with strands or grain."""
    coarse = {"buzz": 1.0, "curly": 3.0}.get(stage.character.hair_style)
    if coarse:
        grain = _bristles(stage.size, round(stage.unit * coarse, 0))
    else:
        grain = np.full((stage.size, stage.size), 128, np.uint8)
        paths, tones = _strand_paths(stage.character.texture)
        if stage.size <= 200:  # More would not be seen.
            paths, tones = paths[::2], tones[::2] | 1
        placed = stage.place(paths.reshape(-1, 3)).reshape(*paths.shape[:2], 2)
        for tone in np.unique(tones).tolist():
            paint.line(grain, placed[tones == tone], 88 + 11 * tone, 0.4 * stage.unit)
        grain = paint.soften(grain, 0.14 * stage.unit)
    shade = cv2.addWeighted(stage.shade, 0.75, grain, 0.9, -85.0)
    return cv2.applyColorMap(shade, shading.ramp(stage.character.hair, depth=0.3, shine=0.25))


def behind(stage: Stage) -> None:
    """Hair that hangs behind head and neck."""
    style = stage.character.hair_style
    dark = tuple(np.array(stage.character.hair) * 0.55)
    if style in _BACK:
        outline = head.symmetric(_spread(_BACK[style], 24), -4.0)
        paint.polygon(stage.canvas, stage.place(outline), dark)
    elif style == "bun":
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        top = head.proportions(stage)[0] + (0.0, 8.6, -2.0)
        ring = np.stack([2.6 * np.cos(angle), 1.9 * np.sin(angle), 0 * angle], axis=1)
        paint.polygon(stage.canvas, stage.place(ring + top), dark)


def front(stage: Stage) -> None:
    """Hair over the skull, with the hairline of the style."""
    style = stage.character.hair_style
    if style == "bald":
        return
    shapes = [*_cap(stage, style), *_strands(stage, style)]
    blur = 0.3 if style == "buzz" else 0.08
    mask = paint.mask_of(stage.size, shapes, blur * stage.unit)
    if style != "buzz":
        _cast_shadow(stage, mask)
    paint.paste(stage.canvas, _layer(stage), mask, 0.72 if style == "buzz" else 1.0)


def _cap(stage: Stage, style: str) -> list[np.ndarray]:
    line = _spread(_HAIRLINES[style], 48)
    line[:, 1] += stage.character.hairline * np.clip((line[:, 1] - 4.0) / 3.0, 0.0, 1.0)
    down = -12.0 if style not in _SIDES else -18.0
    arc = head.skull_arc(stage, 180.0 - down, down, _OUTER[style], count=72)
    if style == "curly":
        centre = head.proportions(stage)[0]
        bumps = 1.0 + 0.045 * np.abs(np.sin(np.linspace(0, 9 * np.pi, len(arc))))
        arc = centre + (arc - centre) * bumps[:, None]
    if style == "quiff":
        arc[:, 1] += 0.9 * np.exp(-((arc[:, 0] + 1.5) ** 2) / 14.0)
    outer, inner = stage.place(arc), stage.place(_on_skull(stage, line))
    # In a turned head the two lines may cross at a temple, which would leave a hole: its hull covers it.
    temples = (np.concatenate([outer[-9:], inner[:9]]), np.concatenate([outer[:9], inner[-9:]]))
    hulls = [cv2.convexHull(temple.astype(np.float32))[:, 0].astype(np.float64) for temple in temples]
    return [np.concatenate([outer, inner]), *hulls]


def _strands(stage: Stage, style: str) -> list[np.ndarray]:
    if style not in _SIDES:
        return []
    outer = _spread(_SIDES[style], 20)
    inner = ((7.2, max(outer[-1, 1], -9.0)), (7.0, -4.0), (6.7, 0.5), (6.9, 3.0))
    loop = np.concatenate([outer, _spread(inner, 12)])
    width = stage.character.vertices[454, 0] / 7.66
    flats = [loop * (side * width, 1.0) for side in (1.0, -1.0)]
    return [stage.place(head.at_depth(flat, -0.5)) for flat in flats]


def _cast_shadow(stage: Stage, mask: np.ndarray) -> None:
    """A soft shadow of the hair on the forehead."""
    step = max(1, round(0.35 * stage.unit))
    shadow = np.zeros_like(mask)
    shadow[step:] = mask[:-step]
    shadow = cv2.min(paint.soften(shadow, 0.3 * stage.unit), paint.mask_of(stage.size, head.outlines(stage)))
    paint.paste(stage.canvas, tuple(np.array(stage.character.skin) * (0.4, 0.32, 0.32)), shadow, 0.45)


def beard(stage: Stage) -> None:
    """Facial hair that rides on the skin; drawn before the lips."""
    kind = stage.character.beard
    if kind == "none":
        return
    moustache, goatee = stage.pixels[list(_MOUSTACHE)], stage.pixels[list(_GOATEE)]
    shapes = {
        "stubble": [_jaw(stage, 1.0)],
        "full": [_jaw(stage, 1.035)],
        "goatee": [goatee, moustache],
        "moustache": [moustache],
    }[kind]
    mask = paint.mask_of(stage.size, shapes, (0.5 if kind == "stubble" else 0.22) * stage.unit)
    shade = cv2.addWeighted(stage.shade, 0.8, _bristles(stage.size, round(stage.unit, 0)), 0.7, -62.0)
    layer = cv2.applyColorMap(shade, shading.ramp(stage.character.hair, depth=0.35, shine=0.3))
    paint.paste(stage.canvas, layer, mask, 0.3 if kind == "stubble" else 0.88)


def _jaw(stage: Stage, factor: float) -> np.ndarray:
    nose = stage.pixels[4]
    jaw = nose + (stage.pixels[list(_JAW_LINE)] - nose) * factor
    return np.concatenate([stage.pixels[list(_CHEEK_LINE)], jaw])
