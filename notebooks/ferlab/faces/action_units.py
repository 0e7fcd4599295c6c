"""Action units as displacements of the 468 vertices.

Which muscle moves what, and which way, follows Ekman, Friesen & Hager, "Facial Action Coding System: The Manual"
(2002). The amounts are ours and exaggerated, as in a cartoon rig, so that an expression still reads at 48 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ferlab.faces import mesh


@dataclass(frozen=True)
class Move:
    """One pull on the skin, in centimetres; ``part`` limits it because lips and lids lie close but move apart."""

    vertices: tuple[int, ...]  #: controls on the subject's right or the midline; the left side is mirrored
    pull: tuple[float, float, float]  #: at intensity 1, outwards, up, forward
    radius: float  #: distance at which the pull has fallen to 1/e
    part: str | None = None  #: ``"above_mouth"``, ``"below_mouth"``, ``"above_eye"``, ``"below_eye"``
    power: float = 2.0  #: of the falloff; 2 is a Gaussian, 3 keeps a plateau, so that a mouth opens round


@dataclass(frozen=True)
class ActionUnit:
    """A FACS action unit: its number and name there, the muscle behind it, and the moves that imitate it."""

    number: int
    name: str
    muscle: str
    moves: tuple[Move, ...]


_INNER_BROW = (107, 55, 66, 65)
_UPPER_LID = (161, 160, 159, 158, 157)
_LOWER_LID = (163, 144, 145, 153, 154)
_CORNER = (61, 76, 62, 78)
_UPPER_MIDDLE = (39, 37, 0, 73, 72, 11, 41, 38, 12, 81, 82, 13)
_UPPER_CENTRE = (37, 0, 72, 11, 38, 12, 82, 13)
_LOWER_CENTRE = (84, 17, 85, 16, 86, 15, 87, 14)
_UPPER_RED = (40, 39, 37, 0)
_LOWER_RED = (91, 181, 84, 17)
_CHIN = (152, 148, 176, 175, 171, 199, 208, 200, 201, 32, 140)

TABLE: tuple[ActionUnit, ...] = (
    ActionUnit(1, "Inner brow raiser", "frontalis, medial part", (
        Move(_INNER_BROW, (0.0, 1.0, 0.1), 1.2),
        Move((107, 55), (0.0, 0.7, 0.0), 1.1),
        Move((69, 108, 151), (0.0, 0.5, 0.0), 1.5),
        Move((56, 190, 221), (0.0, 0.25, 0.0), 0.8, "above_eye"),
    )),
    ActionUnit(2, "Outer brow raiser", "frontalis, lateral part", (
        Move((63, 53, 70, 46), (0.0, 1.2, 0.1), 1.2),
        Move((105, 52), (0.0, 0.5, 0.05), 0.9),
        Move((66, 65), (0.0, 0.25, 0.0), 0.7),
        Move((68, 104), (0.0, 0.4, 0.0), 1.4),
    )),
    ActionUnit(4, "Brow lowerer", "corrugator supercilii, depressor supercilii", (
        Move(_INNER_BROW, (-0.45, -0.8, 0.25), 1.0),
        Move((107, 55), (0.0, -0.25, 0.0), 1.0),
        Move((105, 52), (-0.3, -0.4, 0.1), 0.9),
        Move((63, 53, 70, 46), (0.0, -0.2, 0.0), 0.9),
        Move(_UPPER_LID, (0.0, -0.12, 0.0), 0.6, "above_eye"),
    )),
    ActionUnit(5, "Upper lid raiser", "levator palpebrae superioris", (
        Move(_UPPER_LID, (0.0, 0.52, 0.0), 0.5, "above_eye"),
    )),
    ActionUnit(6, "Cheek raiser", "orbicularis oculi, orbital part", (
        Move((118, 117, 119, 101, 50), (0.05, 0.62, 0.35), 1.4, "below_eye"),
        Move(_LOWER_LID, (0.0, 0.42, 0.0), 0.6, "below_eye"),
        Move((161, 160), (0.0, -0.18, 0.0), 0.6, "above_eye"),
        Move((63, 53, 70, 46), (0.0, -0.18, 0.0), 0.9),
    )),
    ActionUnit(7, "Lid tightener", "orbicularis oculi, palpebral part", (
        Move(_LOWER_LID, (0.0, 0.32, 0.0), 0.5, "below_eye"),
        Move(_UPPER_LID, (0.0, -0.16, 0.0), 0.5, "above_eye"),
    )),
    ActionUnit(9, "Nose wrinkler", "levator labii superioris alaeque nasi", (
        Move((49, 129, 64, 48), (0.2, 0.62, 0.1), 0.8),
        Move((196, 122, 188), (0.0, 0.22, 0.25), 0.7),
        Move((39, 37, 0), (0.0, 0.3, 0.1), 1.0, "above_mouth"),
        Move((107, 55, 65), (-0.35, -0.8, 0.2), 1.1),
        Move((105, 52, 63, 53), (0.0, -0.45, 0.0), 1.0),
        Move(_LOWER_LID, (0.0, 0.3, 0.0), 0.6, "below_eye"),
        Move(_UPPER_LID, (0.0, -0.28, 0.0), 0.5, "above_eye"),
        Move((205, 36, 142), (0.1, 0.45, 0.25), 1.1),
    )),
    ActionUnit(10, "Upper lip raiser", "levator labii superioris", (
        Move(_UPPER_MIDDLE + (40, 74, 42, 80), (0.0, 0.48, 0.15), 0.6, "above_mouth"),
        Move((129, 64, 98), (0.15, 0.3, 0.0), 0.7),
        Move((206, 203), (0.1, 0.45, 0.2), 0.8),
    )),
    ActionUnit(12, "Lip corner puller", "zygomaticus major", (
        Move(_CORNER, (0.95, 1.05, -0.55), 0.75),
        Move((185, 40, 184, 74, 191, 80, 146, 91, 77, 90, 95, 88), (0.5, 0.35, -0.2), 0.6),
        Move((205, 50, 207), (0.25, 0.5, 0.45), 1.3),
        Move((0, 17), (0.0, -0.12, -0.15), 0.9),
        Move(_LOWER_RED, (0.0, 0.24, 0.0), 0.45, "below_mouth"),
    )),
    ActionUnit(15, "Lip corner depressor", "depressor anguli oris", (
        Move(_CORNER, (0.15, -0.72, 0.0), 1.0),
        Move((185, 184, 146, 77, 191, 95), (0.05, -0.12, 0.0), 0.5),
        Move((43, 202), (0.05, -0.3, 0.1), 0.8),
    )),
    ActionUnit(17, "Chin raiser", "mentalis", (
        Move((18, 83, 200, 201), (0.0, 0.62, 0.25), 1.1, "below_mouth"),
        Move(_LOWER_CENTRE, (0.0, 0.45, 0.3), 1.5, "below_mouth", 3.0),
        Move(_UPPER_CENTRE, (0.0, 0.28, 0.1), 1.3, "above_mouth", 3.0),
        Move((152, 175, 148), (0.0, 0.3, 0.0), 1.1),
    )),
    ActionUnit(20, "Lip stretcher", "risorius with platysma", (
        Move(_CORNER, (1.0, -0.22, -0.45), 0.9),
        Move((185, 40, 146, 91, 191, 80, 95, 88), (0.55, -0.1, -0.15), 0.6),
        Move(_LOWER_RED, (0.15, -0.12, 0.0), 0.6, "below_mouth"),
        Move((214, 212, 207), (0.35, -0.05, 0.0), 0.9),
    )),
    ActionUnit(23, "Lip tightener", "orbicularis oris", (
        Move(_UPPER_RED, (0.0, -0.3, 0.0), 0.35, "above_mouth"),
        Move(_LOWER_RED, (0.0, 0.36, 0.0), 0.35, "below_mouth"),
        Move(_CORNER, (-0.35, 0.0, 0.15), 0.6),
    )),
    ActionUnit(24, "Lip pressor", "orbicularis oris", (
        Move(_UPPER_RED, (0.0, -0.26, -0.1), 0.4, "above_mouth"),
        Move(_LOWER_RED, (0.0, 0.3, -0.1), 0.4, "below_mouth"),
        Move((18, 83), (0.0, 0.2, 0.1), 0.8, "below_mouth"),
    )),
    ActionUnit(25, "Lips part", "depressor labii inferioris or relaxed mentalis", (
        Move(_LOWER_CENTRE, (0.0, -0.62, 0.0), 1.55, "below_mouth", 3.0),
        Move(_UPPER_CENTRE, (0.0, 0.18, 0.0), 0.9, "above_mouth"),
    )),
    ActionUnit(26, "Jaw drop", "relaxed masseter, temporalis and internal pterygoid", (
        Move(_CHIN, (0.0, -1.4, -0.3), 2.6, "below_mouth"),
        Move(_LOWER_CENTRE, (0.0, -0.75, 0.0), 1.8, "below_mouth", 3.0),
        Move(_CORNER, (-0.4, -0.25, 0.0), 0.8),
        Move((136, 150, 149, 169, 170), (0.05, -0.3, 0.0), 2.2, "below_mouth"),
        Move(_UPPER_CENTRE, (0.0, 0.1, 0.0), 0.9, "above_mouth"),
    )),
)  # fmt: skip

ACTION_UNITS: tuple[int, ...] = tuple(unit.number for unit in TABLE)
NAMES: dict[int, str] = {unit.number: unit.name for unit in TABLE}


@cache
def _parts() -> dict[str | None, np.ndarray]:
    """Weight (468,) of every vertex in each part; corners of mouth and eyes belong half to both sides."""
    vertices = mesh.rest_vertices()
    upper_lip = [v for ring in mesh.UPPER_LIP_RINGS for v in ring]
    lower_lip = [v for ring in mesh.LOWER_LIP_RINGS for v in ring]
    below = (vertices[:, 1] < vertices[61, 1]).astype(float)
    below[upper_lip], below[lower_lip], below[list(mesh.LIP_CORNERS)] = 0.0, 1.0, 0.5
    above = (vertices[:, 1] > vertices[33, 1]).astype(float)
    above[list(mesh.RIGHT_EYE_UPPER + mesh.LEFT_EYE_UPPER)] = 1.0
    above[list(mesh.RIGHT_EYE_LOWER + mesh.LEFT_EYE_LOWER)] = 0.0
    above[[33, 133, 263, 362]] = 0.5
    parts = {"below_mouth": below, "above_mouth": 1.0 - below, "above_eye": above, "below_eye": 1.0 - above}
    return parts | {None: np.ones(mesh.VERTEX_COUNT)}


def _displacement(move: Move) -> np.ndarray:
    """Displacement (468, 3) of one move at intensity 1, mirrored to both sides."""
    right = mesh.falloff(move.vertices, move.radius, move.power) * _parts()[move.part]
    left = right[mesh.mirror()]
    both = np.maximum(right, left)
    outwards, up, forward = move.pull
    return np.stack([outwards * (left - right), up * both, forward * both], axis=1)


@cache
def basis() -> np.ndarray:
    """Displacement of every vertex by every unit at intensity 1: (A, 468, 3) float64, centimetres, read-only."""
    table = np.stack([sum(_displacement(move) for move in unit.moves) for unit in TABLE])
    table.flags.writeable = False
    return table


def to_vector(intensities: Mapping[int, float]) -> np.ndarray:
    """Intensities in 0..1 by number, e.g. ``{12: 0.8, 6: 0.5}``, as (A,) float64; ValueError for others."""
    vector = np.zeros(len(TABLE))
    for number, intensity in intensities.items():
        if number not in NAMES:
            raise ValueError(f"Unknown action unit {number!r}; known: {', '.join(map(str, ACTION_UNITS))}.")
        if not 0.0 <= intensity <= 1.0:
            raise ValueError(f"The intensity of action unit {number} must lie in 0..1, not {intensity}.")
        vector[ACTION_UNITS.index(number)] = intensity
    return vector


def deform(vertices: np.ndarray, vector: np.ndarray, asymmetry: float = 0.0) -> np.ndarray:
    """Move a neutral face (468, 3) by action units (A,), the left side more by the share ``asymmetry``, -0.5..0.5."""
    shift = np.tensordot(vector, basis(), axes=1)
    if asymmetry:
        shift *= 1.0 + asymmetry * np.tanh(mesh.rest_vertices()[:, :1] / 2.0)
    moved = vertices + shift
    for upper, lower, minimum in _stacks():
        # Where the neutral face is closer than the minimum, its own distance is the limit: no jump at intensity 0.
        limit = np.minimum(minimum, vertices[upper, 1] - vertices[lower, 1])
        overlap = np.maximum(limit - (moved[upper, 1] - moved[lower, 1]), 0.0) / 2.0
        moved[upper, 1] += overlap
        moved[lower, 1] -= overlap
    return moved


@cache
def _stacks() -> tuple[tuple[np.ndarray, np.ndarray, float], ...]:
    """Vertices (upper, lower) that must stay in that order along y, and their least distance, centimetres."""
    uppers = np.array(mesh.RIGHT_EYE_UPPER[1:-1] + mesh.LEFT_EYE_UPPER[1:-1])
    lowers = np.array(mesh.RIGHT_EYE_LOWER[1:-1] + mesh.LEFT_EYE_LOWER[1:-1])
    up, down = np.array(mesh.UPPER_LIP_RINGS)[:, 1:-1], np.array(mesh.LOWER_LIP_RINGS)[:, 1:-1]
    reds = ((up[0], up[3], 0.12), (down[3], down[0], 0.18))
    # The red of one lip may push it through the other: so twice, and the line between the lips last.
    return ((uppers, lowers, 0.06), *2 * (*reds, (up[3], down[3], 0.0)))
