"""The features of a face: skin folds, eyes, brows, nose and mouth."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from ferlab.faces import paint, shading
from ferlab.faces.action_units import ACTION_UNITS
from ferlab.faces.stage import Stage

# Fold: (weight by action unit, weight of age, weight always there, half width in centimetres). Which fold belongs to
# which unit: FACS Manual (2002), appearance changes of each unit.
FOLDS: dict[str, tuple[dict[int, float], float, float, float]] = {
    "nasolabial_r": ({12: 0.75, 10: 0.7, 9: 0.6, 20: 0.2, 6: 0.1}, 0.35, 0.08, 0.15),
    "crow_1_r": ({6: 0.7, 12: 0.1}, 0.15, 0.0, 0.09),
    "crow_2_r": ({6: 0.8, 7: 0.1}, 0.2, 0.0, 0.09),
    "crow_3_r": ({6: 0.7}, 0.12, 0.0, 0.09),
    "under_eye_r": ({6: 0.55, 7: 0.4, 9: 0.4}, 0.3, 0.12, 0.11),
    "cheek_r": ({6: 0.4, 9: 0.25}, 0.0, 0.0, 0.16),
    "lid_fold_r": ({}, 0.1, 0.45, 0.09),
    "glabella_r": ({4: 0.95, 9: 0.55}, 0.15, 0.0, 0.13),
    "bunny_1_r": ({9: 0.55}, 0.0, 0.0, 0.11),
    "bunny_2_r": ({9: 0.7}, 0.0, 0.0, 0.11),
    "nose_side_r": ({}, 0.0, 0.2, 0.2),
    "wing_r": ({9: 0.3, 10: 0.2}, 0.0, 0.55, 0.13),
    "inner_forehead_r": ({1: 0.45, 2: -0.45}, 0.0, 0.0, 0.12),
    "marionette_r": ({15: 0.6}, 0.3, 0.0, 0.12),
    "mouth_corner_r": ({12: 0.25, 15: 0.35, 24: 0.4}, 0.0, 0.15, 0.12),
    "stretch_r": ({20: 0.55}, 0.0, 0.0, 0.12),
    "forehead_1": ({1: 0.35, 2: 0.35}, 0.25, 0.0, 0.12),
    "forehead_2": ({1: 0.4, 2: 0.35}, 0.2, 0.0, 0.11),
    "mentolabial": ({17: 0.6, 24: 0.3, 25: -0.1}, 0.1, 0.28, 0.2),
    "chin_boss": ({17: 0.65}, 0.0, 0.0, 0.2),
    "nose_base": ({}, 0.0, 0.4, 0.12),
    "nose_root": ({9: 0.5}, 0.0, 0.0, 0.12),
}
_FOLD_DEPTH = 110  # Steps of the 256 of the colour ramp that a fold of strength 1 is darker.
_PROFILE = paint.taper(12, 0.15)


@cache
def _fold_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strength of each fold as (F, A) weights of the action units, (F,) of age and (F,) always."""
    weights = np.zeros((len(FOLDS), len(ACTION_UNITS)))
    for row, (units, _, _, _) in enumerate(FOLDS.values()):
        for number, weight in units.items():
            weights[row, ACTION_UNITS.index(number)] = weight
    return weights, *(np.array([fold[column] for fold in FOLDS.values()]) for column in (1, 2))


def relief(stage: Stage) -> np.ndarray:
    """Darkness (C, C) uint8 of folds and wrinkles, to be taken off the skin's brightness."""
    weights, age, always = _fold_table()
    strengths = always + age * max(stage.character.age - 0.3, 0.0) + weights @ stage.vector
    drawn = []
    for name, strength in zip(FOLDS, strengths.clip(0.0, 1.0).tolist(), strict=True):
        if strength > 0.03:
            half_width = FOLDS[name][3] * (0.6 + 0.4 * strength)
            names = (name, f"{name[:-2]}_l") if name.endswith("_r") else (name,)
            drawn += [(strength, half_width, stage.curves[key]) for key in names]
    drawn.sort(key=lambda fold: fold[0])
    widths = np.maximum(np.array([fold[1] for fold in drawn]) * stage.unit, 0.35)[:, None] * _PROFILE
    outlines = paint.ribbon(np.stack([fold[2] for fold in drawn]), widths)
    dark = np.zeros((stage.size, stage.size), np.uint8)
    for (strength, _, _), outline in zip(drawn, outlines, strict=True):
        paint.polygon(dark, outline, _FOLD_DEPTH * strength)
    return paint.soften(dark, 0.13 * stage.unit)


def highlights(stage: Stage) -> np.ndarray:
    """Extra brightness (C, C) uint8: tip and bridge of the nose, lower lip's edge, raised cheeks."""
    light = np.zeros((stage.size, stage.size), np.uint8)
    side = np.array((np.sign(stage.view.scene.light.azimuth) * 0.25, -0.15)) * stage.unit
    tip = stage.pixels[4] + side
    paint.disc(light, tip, 0.5 * stage.unit, 34)
    paint.line(light, np.stack([stage.pixels[6], stage.pixels[195]]) + side, 20, 0.5 * stage.unit)
    raised = stage.au(6) * 0.6 + stage.au(12) * 0.4
    for vertex in (50, 280):
        paint.disc(light, stage.pixels[vertex] + side * 2, 0.95 * stage.unit, 8 + 26 * raised)
    return paint.soften(light, 0.4 * stage.unit)


def eyes(stage: Stage) -> None:
    """Both eyes: eyeballs, lid lines, lashes."""
    for side in ("r", "l"):
        upper, lower = stage.curves[f"lid_upper_{side}"], stage.curves[f"lid_lower_{side}"]
        _eyeball(stage, upper, lower)
        _lids(stage, upper, lower, outwards=-1.0 if side == "r" else 1.0)


def _eyeball(stage: Stage, upper: np.ndarray, lower: np.ndarray) -> None:
    """White, iris, pupil, highlight and the lid's shadow between two lids (K, 2)."""
    middle = (upper[0] + upper[-1]) / 2
    level = float(stage.shade[tuple(np.clip(middle[::-1].astype(int), 0, stage.size - 1))]) / 160.0
    white = np.clip(np.array((247, 244, 240)) * np.clip(0.62 + 0.38 * level, 0.5, 1.02), 0, 255)
    mask = paint.mask_of(stage.size, [np.concatenate([upper, lower[::-1]])])
    part, ball = paint.covered(mask), stage.canvas.copy()
    ball[part] = white
    gaze = np.array(stage.view.scene.gaze) * (1.0, -1.0)
    centre = middle + (gaze + (0.0, -0.1)) * stage.unit
    radius = 0.235 * float(np.hypot(*(upper[0] - upper[-1])))
    colour = np.array(stage.character.iris)
    paint.disc(ball, centre, radius, tuple(colour * 0.45))
    paint.disc(ball, centre, radius * 0.86, tuple(colour))
    paint.disc(ball, centre + (0, radius * 0.3), radius * 0.5, tuple(np.minimum(colour * 1.3, 255)))
    paint.disc(ball, centre, radius * 0.48, (16, 14, 14))
    paint.disc(ball, centre + np.array((0.34, -0.36)) * radius, radius * 0.24, (250, 250, 250))
    paint.line(ball, upper + (0, 0.1 * stage.unit), tuple(white * 0.68), 0.2 * stage.unit)
    weight = mask[part].astype(np.float32) / np.float32(255.0)
    stage.canvas[part] = paint.blend(ball[part], stage.canvas[part], weight)


def _lids(stage: Stage, upper: np.ndarray, lower: np.ndarray, outwards: float) -> None:
    skin, lashes = np.array(stage.character.skin), stage.character.lashes
    dark = skin * 0.16 + (14, 8, 8)
    profile = 0.4 + 0.6 * np.sin(np.linspace(0.25, 1.0, len(upper)) * np.pi) ** 0.6
    width = np.maximum((0.11 + 0.05 * lashes) * profile * stage.unit, 0.5)
    paint.polygon(stage.canvas, paint.ribbon(upper, width), tuple(dark))
    paint.line(stage.canvas, lower[1:-1], tuple(skin * (0.5, 0.42, 0.42)), 0.07 * stage.unit)
    if lashes > 0.4:
        root, tip = upper[1], upper[0] + np.array((0.42 * outwards, -0.3)) * stage.unit * lashes
        wing = paint.ribbon(np.stack([root, upper[0], tip]), np.array((0.15, 0.13, 0.02)) * stage.unit)
        paint.polygon(stage.canvas, wing, tuple(dark))


def brows(stage: Stage) -> None:
    """Thick tapered strokes along the brows; thinner towards the temple."""
    hair, skin = np.array(stage.character.hair), np.array(stage.character.skin)
    # Brows stay darker than the skin around them, also under fair or grey hair.
    dark = np.minimum(hair * 0.7, skin * 0.55)
    curves = np.stack([stage.curves["brow_r"], stage.curves["brow_l"]])
    t = np.linspace(0.0, 1.0, curves.shape[1])
    profile = (0.22 + 0.78 * t**0.6) * np.where(t > 0.9, 1.0 - 2.5 * (t - 0.9), 1.0)
    width = np.maximum(stage.character.brow_width * profile * stage.unit, 0.4)
    mask = paint.mask_of(stage.size, list(paint.ribbon(curves, width)), 0.06 * stage.unit)
    paint.paste(stage.canvas, tuple(dark), mask, 0.92)


def nostrils(stage: Stage) -> None:
    """Two dark ovals that widen with AU9."""
    dark = tuple(np.array(stage.character.skin) * (0.28, 0.2, 0.2))
    turn = np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False)
    for inner, outer in ((97, 98), (326, 327)):
        centre = 0.45 * stage.pixels[inner] + 0.55 * stage.pixels[outer]
        along = (stage.pixels[outer] - stage.pixels[inner]) * (0.42 + 0.08 * stage.au(9))
        across = np.array((-along[1], along[0])) * 0.45
        points = centre + np.cos(turn)[:, None] * along + np.sin(turn)[:, None] * across
        paint.polygon(stage.canvas, points - (0, 0.1 * stage.unit), dark)


def mouth(stage: Stage) -> None:
    """Lips, and what they show when they part: a dark interior, teeth, tongue."""
    curves = stage.curves
    upper, lower = curves["lip_upper_inner"], curves["lip_lower_inner"]
    gap = lower - upper
    if gap[:, 1].max() > 0.06 * stage.unit:
        _interior(stage, upper, lower, gap)
    _lip(stage, curves["lip_upper_outer"], upper, 0.86)
    _lip(stage, curves["lip_lower_outer"], lower, 1.0)
    _lip_line(stage, upper, lower)


def _interior(stage: Stage, upper: np.ndarray, lower: np.ndarray, gap: np.ndarray) -> None:
    paint.polygon(stage.canvas, np.concatenate([upper, lower[::-1]]), (52, 14, 18))
    height = gap[:, 1].max() / stage.unit
    if height > 0.9:
        base = lower[6:-6]
        tongue = base - gap[6:-6] * (0.42 * np.sin(np.linspace(0.12, 0.88, len(base)) * np.pi))[:, None]
        paint.polygon(stage.canvas, np.concatenate([tongue, base[::-1]]), (142, 52, 58))
    white = np.array((244, 240, 230)) * 0.97
    wide = min(stage.au(12) + stage.au(20), 1.0)
    _teeth(stage, upper, gap, (0.42 + 0.33 * wide, 0.82), tuple(white))
    if stage.au(20) > 0.3 and height > 0.7:
        _teeth(stage, lower, -gap, (0.34, 0.3), tuple(white * 0.86))


def _teeth(
    stage: Stage, gums: np.ndarray, gap: np.ndarray, reach: tuple[float, float], colour: paint.Colour
) -> None:
    """A row of teeth from the lip (K, 2) across the gap: at most so many centimetres, and such a share of it."""
    part = slice(3, -3)
    opening = np.maximum(np.abs(gap[part, 1:]), 1e-6)
    # Shorter towards the corners, so that no white point sticks out there.
    arch = np.sin(np.linspace(0.1, 0.9, len(opening)) * np.pi)[:, None] ** 0.5
    share = np.minimum(reach[1], reach[0] * arch * stage.unit / opening)
    edge = gums[part] + gap[part] * share
    paint.polygon(stage.canvas, np.concatenate([gums[part], edge[::-1]]), colour)


def _lip(stage: Stage, outer: np.ndarray, inner: np.ndarray, factor: float) -> None:
    mask = paint.mask_of(stage.size, [np.concatenate([outer, inner[::-1]])], 0.05 * stage.unit)
    table = shading.ramp(tuple(np.array(stage.character.lips) * factor), shine=0.3)
    paint.paste(stage.canvas, cv2.applyColorMap(stage.shade, table), mask, 0.95)


def _lip_line(stage: Stage, upper: np.ndarray, lower: np.ndarray) -> None:
    """The dark line where closed lips meet, and the corners of any mouth."""
    dark = tuple(np.array(stage.character.lips) * (0.42, 0.3, 0.32))
    middle = (upper + lower) / 2
    closed = np.clip(1.0 - (lower - upper)[:, 1] / (0.3 * stage.unit), 0.0, 1.0)
    width = (0.03 + 0.06 * closed * paint.taper(len(middle), 0.7)) * stage.unit
    if (closed > 0.35).all():
        paint.polygon(stage.canvas, paint.ribbon(middle, np.maximum(width, 0.4)), dark)
    for corner, inwards in ((middle[:3], 1.0), (middle[-3:][::-1], -1.0)):
        tip = corner[0] - np.array((0.18 * inwards, 0.0)) * stage.unit
        wedge = np.stack([tip, corner[0], corner[2]])
        paint.polygon(stage.canvas, paint.ribbon(wedge, np.array((0.03, 0.09, 0.05)) * stage.unit), dark)
