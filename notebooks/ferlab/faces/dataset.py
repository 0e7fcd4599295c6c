"""The embedded data set: characters x seven emotions x variants, and clips from neutral to peak."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from fercore.datasets.base import FaceDataset, content_checksum
from fercore.emotions import ACTION_UNITS as PROTOTYPES
from fercore.emotions import EMOTIONS, Emotion
from ferlab.faces import action_units, render
from ferlab.faces.characters import Character, make_character
from ferlab.faces.scene import Scene, sample_scene

# Units that the FACS prediction tables list as optional or as alternatives: a sample may lack them.
OPTIONAL: dict[Emotion, tuple[int, ...]] = {
    Emotion.ANGRY: (5, 23, 24),
    Emotion.DISGUST: (15, 17),
    Emotion.FEAR: (2, 7, 25),
    Emotion.HAPPY: (25,),
    Emotion.SAD: (17,),
    Emotion.SURPRISE: (25,),
    Emotion.NEUTRAL: (),
}


def sample_expression(emotion: Emotion, rng: np.random.Generator) -> np.ndarray:
    """Draw the action units of one picture: (A,) float64 in 0..1, in the order of ``ferlab.faces.ACTION_UNITS``.

    The overall intensity is uniform in 0.6..1, each unit varies by up to a fifth around it, and at most one optional
    unit is missing, with a chance of a quarter. Neutral is exactly 0."""
    overall, jitter = rng.uniform(0.6, 1.0), rng.uniform(0.8, 1.2, size=len(action_units.ACTION_UNITS))
    drop, which = rng.random() < 0.25, rng.random()
    vector = action_units.to_vector(dict.fromkeys(PROTOTYPES[emotion], overall))
    if drop and (optional := OPTIONAL[emotion]):
        vector[action_units.ACTION_UNITS.index(optional[int(which * len(optional))])] = 0.0
    return np.clip(vector * jitter, 0.0, 1.0)


def render_sample(
    character: Character, emotion: Emotion, seed: tuple[int, ...], size: int = 48, masks: bool = False
) -> render.FaceSample:
    """Render one picture of the data set, all drawn from a seed: (data set's, character, emotion, variant)."""
    rng = np.random.default_rng(list(seed))
    vector, scene = sample_expression(emotion, rng), sample_scene(rng)
    asymmetry, noise = float(rng.uniform(-0.15, 0.15)), int(rng.integers(2**31))
    about = {"size": size, "scene": scene, "asymmetry": asymmetry, "masks": masks, "seed": noise}
    return replace(render.render_face(character, vector, **about), label=emotion)


def load(
    size: int = 48,
    characters: int = 20,
    variants: int = 10,
    seed: int = 0,
    masks: bool = False,
    progress: bool = True,
) -> FaceDataset:
    """Render ``characters`` x 7 emotions x ``variants`` RGB pictures, ordered so; equal arguments give equal bytes.
    Extras: ``landmarks`` (N, 468, 2) float32 pixels, ``action_units`` (N, A) float32 in 0..1; with ``masks`` (nearly
    twice as slow) ``regions`` (N, H, W) uint8 and ``moved`` (N, H, W) bool; see :class:`ferlab.faces.FaceSample`.
    A size outside 32..512, or fewer than one character or variant, raises ``ValueError``."""
    if min(characters, variants) < 1:
        raise ValueError(f"At least one character and one variant, not {characters} and {variants}.")
    people = [make_character(index, seed) for index in range(characters)]
    jobs = list(itertools.product(range(characters), EMOTIONS, range(variants)))
    samples = [
        render_sample(people[c], emotion, (seed, c, int(emotion), v), size, masks)
        for c, emotion, v in tqdm(jobs, desc="Rendering faces", unit="face", disable=not progress)
    ]
    images, landmarks, units = (_column(samples, name) for name in ("image", "landmarks", "au"))
    extras = {"landmarks": landmarks, "action_units": units}
    if masks:
        extras |= {name: _column(samples, name) for name in ("regions", "moved")}
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    return FaceDataset(
        name="faces",
        title="Embedded faces",
        images=images,
        labels=labels,
        checksum=content_checksum(images, labels),
        source=f"rendered here: {characters} characters x 7 emotions x {variants}, seed {seed}",
        subjects=np.array([sample.character for sample in samples]),
        extras=extras,
    )


def _column(samples: Sequence[render.FaceSample], name: str) -> np.ndarray:
    return np.stack([getattr(sample, name) for sample in samples])


@dataclass(frozen=True, eq=False)
class Clip:
    """An expression that grows from neutral (first frame) to its peak (last frame)."""

    images: np.ndarray  #: (T, H, W, 3) uint8 RGB
    landmarks: np.ndarray  #: (T, 468, 2) float32 pixel coordinates, as in :class:`ferlab.faces.FaceSample`
    au: np.ndarray  #: (T, A) float32 intensities in 0..1
    label: Emotion
    character: str  #: the character's name


def clip(
    character: Character,
    emotion: Emotion,
    frames: int = 10,
    *,
    size: int = 48,
    intensity: float = 1.0,
    scene: Scene | None = None,
    asymmetry: float = 0.0,
    seed: int = 0,
) -> Clip:
    """Render a clip: action units rise smoothly from 0 to ``intensity`` (0..1) while pose and light stay.

    The rest is as in :func:`ferlab.faces.render_face`; fewer than two frames raise ``ValueError``, too."""
    if frames < 2:
        raise ValueError(f"A clip has at least 2 frames, not {frames}.")
    time = np.linspace(0.0, 1.0, frames)
    levels = intensity * time**2 * (3.0 - 2.0 * time)  # Smoothstep: slow onset, slow apex.
    about = {"size": size, "scene": scene, "asymmetry": asymmetry, "masks": False}
    shots = [
        render.render_face(character, emotion, level, seed=seed + t, **about)
        for t, level in enumerate(levels.tolist())
    ]
    images, landmarks, units = (_column(shots, name) for name in ("image", "landmarks", "au"))
    return Clip(images, landmarks, units, emotion, character.name)


def contact_sheet(
    characters: int = 6, size: int = 96, seed: int = 0, gap: int = 2, varied: bool = False
) -> np.ndarray:
    """(H, W, 3) uint8 RGB grid, a row per character, a column per emotion, ``gap`` white pixels between, without text.
    ``varied`` draws intensity, pose, light and background as :func:`load` does. ValueError as there."""
    if characters < 1:
        raise ValueError(f"At least one character is needed, not {characters}.")
    step = size + gap
    sheet = np.full((characters * step - gap, len(EMOTIONS) * step - gap, 3), 255, np.uint8)
    for row, (column, emotion) in itertools.product(range(characters), enumerate(EMOTIONS)):
        person = make_character(row, seed)
        if varied:
            sample = render_sample(person, emotion, (seed, row, int(emotion), 0), size)
        else:
            sample = render.render_face(person, emotion, 0.9, size=size, masks=False)
        sheet[row * step :, column * step :][:size, :size] = sample.image
    return sheet
