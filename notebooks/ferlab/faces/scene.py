"""The circumstances of a picture: pose, light, background, camera; and the projection to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# The camera looks at this height (centimetres) and sees this much of the scene from top to bottom at zoom 1.
CENTRE_HEIGHT = -1.0
VIEW_HEIGHT = 25.0
CAMERA_DISTANCE = 60.0
_PIVOT = np.array((0.0, -1.0, -3.0))


@dataclass(frozen=True)
class Light:
    """Where the light comes from; azimuth and elevation in degrees."""

    azimuth: float = -25.0  #: positive is from the right of the image; about -60..60
    elevation: float = 30.0  #: above the horizon; about -10..60
    ambient: float = 0.55  #: share of light without direction, 0..1
    exposure: float = 1.0  #: factor on the brightness, about 0.7..1.2
    warmth: float = 0.0  #: colour cast, -1 (bluish) to 1 (yellowish)

    def direction(self) -> np.ndarray:
        """Unit vector (3,) from the face towards the light."""
        azimuth, elevation = math.radians(self.azimuth), math.radians(self.elevation)
        level = math.cos(elevation)
        return np.array((math.sin(azimuth) * level, math.sin(elevation), math.cos(azimuth) * level))


@dataclass(frozen=True)
class Scene:
    """Everything about a picture but the character and the expression; lengths in centimetres.

    ``pose`` is yaw, pitch and roll in degrees, meant for about ±15: positive yaw turns the nose to the image's right,
    positive pitch lifts it, positive roll tilts the head's top to the image's right."""

    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    light: Light = Light()
    #: sRGB 0..255 of the top left and of the bottom right corner
    background: tuple[tuple[float, ...], tuple[float, ...]] = ((214, 220, 226), (176, 186, 198))
    blobs: int = 0  #: seed of the soft background shapes; 0 is none
    gaze: tuple[float, float] = (0.0, 0.0)  #: offset of the irises to the image's right and up
    zoom: float = 1.0  #: magnification, about 0.95..1.03
    shift: tuple[float, float] = (0.0, 0.0)  #: offset of the head to the right and up
    noise: float = 0.0  #: standard deviation of sensor noise, grey levels 0..255


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene, the variation of the data set: yaw within ±14, pitch within ±8, roll within ±7 degrees."""
    yaw, pitch, roll = np.clip(rng.normal(size=3), -2.0, 2.0) * (7.0, 4.0, 3.5)
    light = Light(
        azimuth=float(rng.uniform(-55.0, 55.0)),
        elevation=float(rng.uniform(5.0, 50.0)),
        ambient=float(rng.uniform(0.4, 0.7)),
        exposure=float(rng.uniform(0.84, 1.14)),
        warmth=float(rng.uniform(-0.8, 0.8)),
    )
    base = rng.uniform(40.0, 225.0) + rng.uniform(-25.0, 25.0, size=3)
    other = base * rng.uniform(0.65, 1.15) + rng.uniform(-12.0, 12.0, size=3)
    return Scene(
        pose=(float(yaw), float(pitch), float(roll)),
        light=light,
        background=(tuple(np.clip(base, 0, 255)), tuple(np.clip(other, 0, 255))),
        blobs=int(rng.integers(0, 2**31)) * int(rng.random() < 0.6),
        gaze=(float(rng.uniform(-0.18, 0.18)), float(rng.uniform(-0.08, 0.08))),
        zoom=float(rng.uniform(0.95, 1.03)),
        shift=(float(rng.uniform(-0.45, 0.45)), float(rng.uniform(-0.2, 0.2))),
        noise=float(rng.uniform(1.5, 6.0)),
    )


def rotation(pose: tuple[float, float, float]) -> np.ndarray:
    """Rotation matrix (3, 3) of yaw, pitch and roll in degrees (see :class:`Scene` for the signs)."""
    turns = [math.radians(angle) for angle in pose]
    (cy, cp, cr), (sy, sp, sr) = map(math.cos, turns), map(math.sin, turns)
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_x = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    about_z = np.array(((cr, sr, 0), (-sr, cr, 0), (0, 0, 1)))
    return about_z @ about_x @ about_y


@dataclass(frozen=True, eq=False)
class View:
    """The camera: from centimetres to pixels of a picture of ``size`` x ``size``."""

    scene: Scene
    size: int

    @cached_property
    def matrix(self) -> np.ndarray:
        """Rotation (3, 3) of the head."""
        return rotation(self.scene.pose)

    @property
    def scale(self) -> float:
        """Pixels per centimetre."""
        return self.size / VIEW_HEIGHT * self.scene.zoom

    def project(self, points: np.ndarray, turned: bool = True) -> np.ndarray:
        """Pixel coordinates (N, 2), y down, of points (N, 3) of the head, or of the body, which does not turn."""
        placed = (points - _PIVOT) @ self.matrix.T + _PIVOT if turned else points
        pixels = placed[:, :2] * (CAMERA_DISTANCE / (CAMERA_DISTANCE - placed[:, 2:]))
        right, up = self.scene.shift
        pixels += (right, up - CENTRE_HEIGHT)
        pixels *= (self.scale, -self.scale)
        pixels += self.size / 2
        return pixels
