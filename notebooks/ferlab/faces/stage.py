"""What the drawing functions share: the canvas, the projected curves and the state of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ferlab.faces.action_units import ACTION_UNITS
from ferlab.faces.characters import Character
from ferlab.faces.scene import View


@dataclass(eq=False)
class Stage:
    """A picture in the making; all positions in canvas pixels."""

    canvas: np.ndarray  # (C, C, 3) uint8 RGB, painted on from back to front
    character: Character
    vector: np.ndarray  # (A,) intensities of the action units
    view: View  # the camera of the finished picture
    curves: dict[str, np.ndarray]  # points (K, 2) of every curve of ferlab.faces.curves
    pixels: np.ndarray  # (468, 2) vertices
    unit: float  # pixels per centimetre
    shade: np.ndarray  # (C, C) uint8, brightness of the skin as an index into a colour ramp
    rosy: np.ndarray  # (C, C) uint8, blood under the skin

    @property
    def size(self) -> int:
        """Height and width of the canvas in pixels."""
        return self.canvas.shape[0]

    def au(self, number: int) -> float:
        """Intensity of an action unit, 0..1."""
        return float(self.vector[ACTION_UNITS.index(number)])

    def place(self, points: np.ndarray, turned: bool = True) -> np.ndarray:
        """Canvas coordinates (N, 2) of points (N, 3) of the head, or of the body if not ``turned``."""
        return self.view.project(points, turned) * (self.size / self.view.size)
