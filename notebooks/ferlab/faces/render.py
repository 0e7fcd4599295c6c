"""From a character, action units and a scene to a picture with its ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fercore.emotions import ACTION_UNITS as PROTOTYPES
from fercore.emotions import Emotion
from ferlab.faces import action_units, curves, features, hair, head, mesh, paint, shading
from ferlab.faces.characters import Character
from ferlab.faces.scene import Light, Scene, View
from ferlab.faces.stage import Stage

SUPERSAMPLING = 2  # the canvas is this many times larger than the picture
MOVED_THRESHOLD = 8


@dataclass(frozen=True, eq=False)
class FaceSample:
    """A rendered face and what is known about it."""

    image: np.ndarray  #: (H, W, 3) uint8 RGB
    label: Emotion | None  #: None where action units were given instead
    character: str  #: its name, e.g. ``"c03"``
    au: np.ndarray  #: (A,) float32 in 0..1, in the order of ``ferlab.faces.ACTION_UNITS``
    landmarks: np.ndarray  #: (468, 2) float32 pixels, x right, y down; (0.5, 0.5) is the first pixel's centre
    regions: np.ndarray | None = None  #: (H, W) uint8, see :func:`region_mask`; None where not asked for
    moved: np.ndarray | None = None  #: (H, W) bool, see :func:`moved_mask`; None where not asked for


def prototype(emotion: Emotion, intensity: float = 1.0) -> np.ndarray:
    """Return all action units of an emotion's EMFACS prototype at one intensity in 0..1, (A,) float64."""
    return action_units.to_vector(dict.fromkeys(PROTOTYPES[emotion], intensity))


def project(
    character: Character, vector: np.ndarray, view: View, asymmetry: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Deformed vertices (468, 3), centimetres, and their pixel coordinates (468, 2), float64."""
    vertices = action_units.deform(character.vertices, vector, asymmetry)
    return vertices, view.project(vertices)


def paint_face(
    character: Character, vector: np.ndarray, scene: Scene, size: int, asymmetry: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The noise-free picture (size, size, 3) uint8 RGB, and the vertices' (468, 2) float64 pixel coordinates."""
    stage = _stage(character, vector, scene, size, asymmetry)
    skin = _skin(stage)
    head.background(stage)
    hair.behind(stage)
    head.body(stage, skin)
    head.face(stage, skin)
    hair.beard(stage)
    features.nostrils(stage)
    features.mouth(stage)
    features.eyes(stage)
    features.brows(stage)
    head.glasses(stage)
    hair.front(stage)
    image = cv2.resize(stage.canvas, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.LUT(image, _exposure(scene.light)), stage.pixels / SUPERSAMPLING


def _stage(character: Character, vector: np.ndarray, scene: Scene, size: int, asymmetry: float) -> Stage:
    view, canvas = View(scene, size), size * SUPERSAMPLING
    vertices, pixels = project(character, vector, view, asymmetry)
    brightness, rosy = shading.skin_fields(vertices, pixels, view, canvas)
    return Stage(
        canvas=np.empty((canvas, canvas, 3), np.uint8),
        character=character,
        vector=vector,
        view=view,
        curves=curves.through(pixels * SUPERSAMPLING),
        pixels=pixels * SUPERSAMPLING,
        unit=view.scale * SUPERSAMPLING,
        shade=cv2.convertScaleAbs(np.maximum(brightness, 0.05), alpha=205.0),
        rosy=cv2.convertScaleAbs(np.maximum(rosy, 0.0), alpha=255.0),
    )


def _skin(stage: Stage) -> np.ndarray:
    """The skin's colour all over the canvas, with folds, highlights and blush."""
    shade = cv2.subtract(cv2.add(stage.shade, features.highlights(stage)), features.relief(stage))
    plain = stage.character.skin
    blush = tuple(np.array(plain) * (1.02, 0.8, 0.78))
    skin, rosy = (cv2.applyColorMap(shade, shading.ramp(colour)) for colour in (plain, blush))
    paint.paste(skin, rosy, stage.rosy, 0.6)
    return skin


def _exposure(light: Light) -> np.ndarray:
    """Lookup table (1, 256, 3) uint8 of exposure and colour cast."""
    gains = light.exposure * (1.0 + 0.06 * light.warmth * np.array((1.0, 0.1, -1.0)))
    table = np.arange(256)[None, :, None] * gains
    return np.clip(np.round(table), 0, 255).astype(np.uint8)


def add_noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 with Gaussian sensor noise of ``deviation`` grey levels."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
    return cv2.add(image, noise, dtype=cv2.CV_8U)  # rounds and saturates


def region_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(size, size) uint8 label map of the face from (468, 2) pixel landmarks: 0 background, 1..7 = ``REGIONS``.

    Geometry alone: hair, beard or glasses over a region do not change its label, and what lies beyond the face oval
    is 0. Back faces are drawn first, the others without depth order: exact enough up to turns of about 20 degrees."""
    weights, owners, labels = mesh.region_pieces()
    corners = np.asarray(landmarks, dtype=np.float64)[mesh.triangles()]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # y points down here, so triangles that face the camera have a negative signed area; those behind go first.
    front = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0)[owners]
    factor = 4
    fine = np.zeros((size * factor, size * factor), np.uint8)
    fixed = np.round(((weights @ corners[owners]) * factor - 0.5) * 16).astype(np.int32)
    for index in np.argsort(front, kind="stable"):
        cv2.fillConvexPoly(fine, fixed[index], int(labels[index]), cv2.LINE_8, 4)
    return np.ascontiguousarray(fine[factor // 2 :: factor, factor // 2 :: factor])


def moved_mask(expression: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Return where two noise-free pictures (H, W, 3) differ by more than 8 of 255 in any channel, (H, W) bool."""
    return (cv2.absdiff(expression, neutral) > MOVED_THRESHOLD).any(axis=2)


def render_face(
    character: Character,
    expression: Mapping[int, float] | Emotion | np.ndarray,
    intensity: float = 1.0,
    *,
    size: int = 160,
    scene: Scene | None = None,
    asymmetry: float = 0.0,
    masks: bool = True,
    seed: int = 0,
) -> FaceSample:
    """Render one face; ``expression`` is ``{number: intensity}``, an (A,) vector, or an emotion (its EMFACS prototype).

    ``intensity`` (0..1) scales all units; the subject's left side moves more by the share ``asymmetry``, about ±0.2.
    A size outside 32..512, an unknown unit, or an intensity outside 0..1 or NaN raises ``ValueError``."""
    if not 32 <= size <= 512:
        raise ValueError(f"The size must lie in 32..512 pixels, not {size}.")
    if not 0.0 <= intensity <= 1.0:
        raise ValueError(f"The intensity must lie in 0..1, not {intensity}.")
    vector, scene = _as_vector(expression) * intensity, scene or Scene()
    clean, landmarks = paint_face(character, vector, scene, size, asymmetry)
    landmarks = landmarks.astype(np.float32)
    sample = FaceSample(
        image=add_noise(clean, scene.noise, np.random.default_rng(seed)),
        label=expression if isinstance(expression, Emotion) else None,
        character=character.name,
        au=vector.astype(np.float32),
        landmarks=landmarks,
    )
    if not masks:
        return sample
    neutral, _ = paint_face(character, np.zeros_like(vector), scene, size, asymmetry)
    return replace(sample, regions=region_mask(landmarks, size), moved=moved_mask(clean, neutral))


def _as_vector(expression: Mapping[int, float] | Emotion | np.ndarray) -> np.ndarray:
    if isinstance(expression, Emotion):
        return prototype(expression)
    if isinstance(expression, Mapping):
        return action_units.to_vector(expression)
    numbers, shape = action_units.ACTION_UNITS, np.shape(expression)
    if shape != (len(numbers),):
        raise ValueError(f"An action unit vector has {len(numbers)} entries, not {shape}.")
    return action_units.to_vector(dict(zip(numbers, expression, strict=True)))
