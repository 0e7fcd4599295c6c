"""Characters: a seeded face shape and appearance, the same in every picture of that character."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from ferlab.faces import mesh

HAIR_STYLES: tuple[str, ...] = (
    "short", "long", "side_part", "bob", "curly", "bald", "bun", "buzz", "wavy", "quiff",
)  # fmt: skip
# How often a character with a style is masculine; any other style 0.75.
_MASCULINE = {"long": 0.1, "bob": 0.0, "bun": 0.0, "wavy": 0.05, "bald": 1.0, "buzz": 1.0, "curly": 0.5}
BEARDS: tuple[str, ...] = ("none", "stubble", "full", "goatee", "moustache")

# Anchors from very light to very dark skin (sRGB), interpolated for the shades between.
_SKIN = np.array([
    (250.0, 222, 202), (241, 197, 166), (224, 172, 132), (196, 138, 98), (150, 98, 66), (116, 74, 52), (90, 58, 44),
])  # fmt: skip
# From black to blond, then red and grey.
_HAIR = np.array([
    (28.0, 24, 26), (52, 34, 26), (86, 54, 34), (128, 82, 46), (196, 152, 88), (150, 62, 34), (168, 166, 166),
])  # fmt: skip
_IRIS = ((74, 48, 30), (96, 66, 36), (92, 112, 72), (78, 116, 150), (104, 110, 112))


@dataclass(frozen=True, eq=False)
class Character:
    """Who is shown. Colours are sRGB 0..255, lengths centimetres."""

    name: str  #: identifier, e.g. ``"c07"``
    vertices: np.ndarray  #: (468, 3) float64 neutral face, read-only
    skin: tuple[float, ...]
    hair: tuple[float, ...]
    iris: tuple[float, ...]
    lips: tuple[float, ...]
    clothes: tuple[float, ...]
    hair_style: str  #: one of :data:`HAIR_STYLES`
    hairline: float  #: height above the usual one, about -0.5..0.8
    beard: str  #: one of :data:`BEARDS`
    glasses: str  #: ``"none"``, ``"round"`` or ``"square"``
    brow_width: float  #: half thickness of the brows
    age: float  #: 0 (young) to 1 (lined)
    lashes: float  #: weight of the lash line, 0..1
    texture: int  #: seed of hair strands and freckles


def _shape(rng: np.random.Generator, masculine: float) -> np.ndarray:
    """A face shape (468, 3): the rest face under smooth, symmetric changes of proportion."""
    vertices = mesh.rest_vertices().copy()

    def vary(spread: float) -> float:
        return float(np.clip(rng.normal(), -1.8, 1.8)) * spread

    eye, mouth, nose = (3.155, 2.7, 3.5), (0.0, -4.3, 5.0), (0.0, -0.6, 6.0)
    size = 1.0 + vary(0.05) - 0.04 * masculine
    vertices += mesh.scale_about(vertices, eye, (size, size * (1.0 + vary(0.05)), 1.0), 2.1)
    lips = 1.0 + vary(0.07), 1.0 + vary(0.13) - 0.06 * masculine, 1.0
    vertices += mesh.scale_about(vertices, mouth, lips, 2.6)
    vertices += mesh.scale_about(vertices, nose, (1.0 + vary(0.13), 1.0 + vary(0.07), 1.0 + vary(0.08)), 2.6)
    _shift(vertices, (3.155, 2.625), (vary(0.14), 0.0), 2.2)
    _shift(vertices, (3.6, 4.6), (0.0, vary(0.16) - 0.14 * masculine), 1.6)
    _shift(vertices, (5.4, 4.4), (0.0, vary(0.16) - 0.05 * masculine), 1.2)
    _shift(vertices, (5.0, -1.0), (vary(0.3), 0.0), 2.6)
    _shift(vertices, (5.6, -6.2), (vary(0.35) + 0.35 * masculine, 0.0), 2.6)
    _shift(vertices, (1.6, -9.0), (0.3 * masculine + vary(0.2), 0.0), 1.8)
    _shift(vertices, (0.0, -9.2), (0.0, vary(0.22) - 0.1 * masculine), 2.4)
    return vertices * (1.0 + vary(0.035), 1.0 + vary(0.02), 1.0)


def _shift(vertices: np.ndarray, centre: tuple[float, ...], offset: tuple[float, ...], radius: float) -> None:
    """Move a neighbourhood outwards and up, and its mirror image likewise; one at x = 0 has no outwards."""
    original = vertices.copy()
    for side in (-1.0, 1.0) if centre[0] else (1.0,):
        distance = ((original[:, 0] - side * centre[0]) ** 2 + (original[:, 1] - centre[1]) ** 2) / radius**2
        weight = np.exp(-distance)
        vertices[:, 0] += weight * side * offset[0]
        vertices[:, 1] += weight * offset[1]


def _hair_colour(rng: np.random.Generator, darkness: float, age: float) -> np.ndarray:
    if age > 0.75 and rng.random() < 0.8:
        return _HAIR[6] + rng.uniform(-25, 25)
    choices = (0, 1, 2) if darkness > 0.6 else (0, 1, 2, 3, 4, 5)
    return np.clip(_HAIR[rng.choice(choices)] * rng.uniform(0.85, 1.15), 12, 235)


def _lip_colour(skin: np.ndarray, rng: np.random.Generator, masculine: float) -> np.ndarray:
    strength = rng.uniform(0.25, 0.4) if masculine else rng.uniform(0.45, 0.75)
    red = np.array((190, 72, 78)) * (0.45 + 0.55 * skin.mean() / 200.0)
    return (1.0 - strength) * skin * (0.88, 0.74, 0.74) + strength * red


def make_character(index: int, seed: int = 0) -> Character:
    """The character of that index (0, 1, 2, …), named ``"c00"``, ``"c01"``, …; another seed gives other people.

    It does not depend on picture size or on the other characters. A negative index raises ``ValueError``."""
    if index < 0:
        raise ValueError(f"A character's index must be 0 or more, not {index}.")
    rng = np.random.default_rng([seed, index])
    # Golden-ratio steps spread skin tones evenly over any number of characters; styles take turns.
    tone = float((0.12 + 0.61803398875 * (index + 7 * (seed % 1000))) % 1.0)
    style = HAIR_STYLES[(index + 3 * (seed % 1000)) % len(HAIR_STYLES)]
    masculine = float(rng.random() < _MASCULINE.get(style, 0.75))
    age = float(rng.uniform(0.0, 1.0) ** 1.3)
    place = tone * (len(_SKIN) - 1)
    skin = np.array([np.interp(place, range(len(_SKIN)), channel) for channel in _SKIN.T])
    skin *= 1.0 + rng.uniform(-0.02, 0.02, size=3)
    hue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.65), rng.uniform(0.3, 0.85))
    vertices = _shape(rng, masculine)
    vertices.flags.writeable = False
    return Character(
        name=f"c{index:02d}",
        vertices=vertices,
        skin=tuple(skin),
        hair=tuple(_hair_colour(rng, tone, age)),
        iris=_IRIS[int(rng.integers(0, 2 if tone > 0.55 else 5))],
        lips=tuple(_lip_colour(skin, rng, masculine)),
        clothes=tuple(255.0 * np.array(hue)),
        hair_style=style,
        hairline=float(rng.uniform(-0.3, 0.4) + 0.3 * masculine * age),
        beard=str(rng.choice(BEARDS, p=(0.3, 0.2, 0.22, 0.14, 0.14))) if masculine else "none",
        glasses=str(rng.choice(("none", "round", "square"), p=(0.72, 0.14, 0.14))),
        brow_width=float(rng.uniform(0.26, 0.38) + 0.1 * masculine),
        age=age,
        lashes=float(rng.uniform(0.0, 0.25) if masculine else rng.uniform(0.5, 1.0)),
        texture=int(rng.integers(2**31)),
    )
