"""Does a map of an emotion lie where the Facial Action Coding System (FACS) says that the emotion shows?

A fit says that a map is plausible to a person who knows FACS. It does not say that the network uses these pixels: that
is what deletion and insertion measure. Throughout, maps are (N, H, W) floats, signed; regions (N, H, W) uint8 labels, 0
outside the face, then those of :data:`ferlab.faces.REGIONS`, all 0 for an image without a face; and ``part`` is
``"positive"`` for what speaks for the emotion, or ``"absolute"`` for what speaks for or against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fercore.emotions import Emotion
from ferlab.faces.mesh import REGIONS
from ferlab.measures import ratio

PARTS = ("positive", "absolute")


@dataclass(frozen=True)
class Expectation:
    """Where an emotion shows, in names of :data:`ferlab.faces.REGIONS`."""

    primary: tuple[str, ...]  #: regions that the action units of its prototype change most
    secondary: tuple[str, ...]  #: regions that these, or optional units, change as well
    low: tuple[str, ...]  #: regions that should hardly matter


# The action units are those of fercore.emotions.ACTION_UNITS: Ekman, Friesen & Hager, "Facial Action Coding System:
# Investigator's Guide" (2002), Table 11-1, in its EMFACS reading. Which of seven regions a unit changes follows from
# where it moves the skin; this table is ours. "Jaw" and chin are one region here: primary for surprise, whose prototype
# drops the jaw (26), secondary for fear, whose lips are stretched (20) and only part (25 or 26). Neutral has no units
# and is not scored; contempt shows on one side, which the regions do not tell apart.
EXPECTED: dict[Emotion, Expectation] = {
    Emotion.ANGRY: Expectation(("brows", "eyes", "mouth"), ("nose", "chin"), ("cheeks",)),
    Emotion.DISGUST: Expectation(("nose", "cheeks", "mouth"), ("brows", "chin"), ("forehead",)),
    Emotion.FEAR: Expectation(("forehead", "brows", "eyes", "mouth"), ("chin",), ("nose",)),
    Emotion.HAPPY: Expectation(("cheeks", "mouth"), ("eyes",), ("forehead", "brows", "nose")),
    Emotion.SAD: Expectation(("forehead", "brows", "mouth"), ("eyes", "chin"), ("nose", "cheeks")),
    Emotion.SURPRISE: Expectation(("forehead", "brows", "eyes", "mouth", "chin"), (), ("nose", "cheeks")),
}


def primary_mask(regions: np.ndarray, emotion: Emotion) -> np.ndarray:
    """Return where the primary regions of an emotion of :data:`EXPECTED` are: bool, the shape of labels (..., H, W)."""
    return np.array([False, *(name in EXPECTED[emotion].primary for name in REGIONS)])[regions]


def region_mass(maps: np.ndarray, regions: np.ndarray, part: str = "positive") -> np.ndarray:
    """Return the share of the mass of maps (N, H, W) outside the face and in each region: (N, 8), sums 1 or NaN."""
    mass = _mass(maps, regions, part)
    sums = _sums(regions, mass)
    usable = mass.any(axis=(1, 2)) & _has_face(regions)
    return sums / np.where(usable, sums.sum(axis=1), np.nan)[:, None]


def region_area(regions: np.ndarray) -> np.ndarray:
    """Return the share of the image (N, H, W) that each region takes: (N, 8) float64; NaN without a face."""
    pixels = float(np.prod(regions.shape[1:]))
    return _sums(regions, np.ones_like(regions)) / np.where(_has_face(regions), pixels, np.nan)[:, None]


def lift(maps: np.ndarray, regions: np.ndarray, part: str = "positive") -> np.ndarray:
    """Return the share of mass over that of area, (N, 8); 1 is a map (N, H, W) without preference, NaN no region."""
    return ratio(region_mass(maps, regions, part), region_area(regions))


def auroc(
    maps: np.ndarray,
    regions: np.ndarray,
    emotions: Sequence[Emotion],
    part: str = "positive",
    within_face: bool = False,
) -> np.ndarray:
    """Return the area under the ROC curve of maps (N, H, W) as scores of pixels for E emotions' primary regions.

    It is (N, E), chance .5; NaN without a face, without mass, and for masks of no pixel or of all. ``within_face``
    leaves the rest of the image out. As scikit-learn's, but the ranks serve all masks.
    """
    from scipy.stats import rankdata

    mass = _mass(maps, regions, part)
    scores = np.full((len(mass), len(emotions)), np.nan)
    for row in np.flatnonzero(mass.any(axis=(1, 2)) & _has_face(regions)):
        inside = regions[row] > 0 if within_face else np.ones(regions.shape[1:], bool)
        ranks, labels = rankdata(mass[row][inside]), regions[row][inside]
        primary = np.stack([primary_mask(labels, emotion) for emotion in emotions])
        count = primary.sum(axis=1)
        above = primary @ ranks - count * (count + 1) / 2  # pairs in the right order (Mann and Whitney)
        scores[row] = ratio(above, count * (len(ranks) - count))
    return scores


@dataclass(frozen=True, eq=False)
class Profile:
    """Where the maps of each of E emotions lie, on average."""

    emotions: tuple[Emotion, ...]  #: those that occur, in canonical order
    images: np.ndarray  #: (E,) int64, images of each
    faceless: np.ndarray  #: (E,) int64, of these without a face; not used
    massless: np.ndarray  #: (E,) int64, of these with a face whose map has no mass; not used
    mass: np.ndarray  #: (E, 8) float64, mean share of mass outside the face and in each region; NaN if empty
    area: np.ndarray  #: (E, 8) float64, mean share of area of the same images

    @property
    def used(self) -> np.ndarray:
        """(E,) int64, images that the means are over."""
        return self.images - self.faceless - self.massless

    @property
    def lift(self) -> np.ndarray:
        """(E, 8) float64, the ratio of the means, which a region of few pixels cannot upset."""
        return ratio(self.mass, self.area)


def profile(maps: np.ndarray, regions: np.ndarray, labels: np.ndarray, part: str = "positive") -> Profile:
    """Return mean shares of mass and area of maps (N, H, W) by the emotion that each explains, labels (N,)."""
    mass, area, face = region_mass(maps, regions, part), region_area(regions), _has_face(regions)
    used = face & np.isfinite(mass[:, 0])
    occurring = np.unique(labels)
    groups = labels == occurring[:, None]  # (E, N)
    return Profile(
        emotions=tuple(Emotion(label) for label in occurring),
        images=groups.sum(axis=1),
        faceless=(groups & ~face).sum(axis=1),
        massless=(groups & face & ~used).sum(axis=1),
        mass=_means(mass, groups & used),
        area=_means(area, groups & used),
    )


@dataclass(frozen=True, eq=False)
class MaskFit:
    """How well the maps of E emotions fit each other's primary masks."""

    emotions: tuple[Emotion, ...]  #: those of :data:`EXPECTED` of which at least one map can be scored
    fit: np.ndarray  #: (E, E) float64, mean AUROC of the maps of the row's emotion for the column's mask
    counts: np.ndarray  #: (E,) int64, maps behind each row


def mask_fit(
    maps: np.ndarray,
    regions: np.ndarray,
    labels: np.ndarray,
    part: str = "positive",
    within_face: bool = False,
) -> MaskFit:
    """Return the :func:`auroc` of the maps (N, H, W) of every emotion, labels (N,), for the primary masks of all."""
    used = np.isfinite(region_mass(maps, regions, part)[:, 0])
    emotions = tuple(emotion for emotion in EXPECTED if (used & (labels == emotion)).any())
    chosen = np.flatnonzero(used & np.isin(labels, emotions))
    groups = labels[chosen] == np.array(emotions, dtype=np.int64)[:, None]  # (E, maps)
    values = auroc(maps[chosen], regions[chosen], emotions, part, within_face)
    return MaskFit(emotions, _means(values, groups), groups.sum(axis=1))


@dataclass(frozen=True)
class Rotation:
    """The outcome of :func:`rotation_test`."""

    statistic: float  #: mean score of every emotion's maps for its own mask
    expected: float  #: mean of the statistic over all permutations
    p_value: float  #: share of permutations whose statistic is at least as large; never 0
    permutations: int  #: their number, E!


def rotation_test(fit: np.ndarray) -> Rotation:
    """Return whether emotions fit their own masks better than masks dealt out at random, by all E! ways to do so.

    ``fit`` is (E, E), finite. What is common to all emotions (large masks, say) moves every permutation alike."""
    count = len(fit)
    if fit.shape != (count, count) or not 1 <= count <= 8 or not np.isfinite(fit).all():
        raise ValueError(f"The test needs a square of 1 to 8 emotions and finite scores, not {fit.shape}.")
    orders = np.array(list(itertools.permutations(range(count))))
    values = fit[np.arange(count), orders].mean(axis=1)  # the first order is the emotions' own
    slack = 1e-12 * max(1.0, float(np.abs(fit).max()))  # sums in another order differ in their last digits
    p_value = float((values >= values[0] - slack).mean())
    return Rotation(float(values[0]), float(values.mean()), p_value, len(orders))


def _mass(maps: np.ndarray, regions: np.ndarray, part: str) -> np.ndarray:
    """Check the arguments and return the maps' mass, (N, H, W) float64, at least 0."""
    if maps.ndim != 3 or maps.shape != regions.shape:
        raise ValueError(f"Maps {maps.shape} and regions {regions.shape} must be of one shape (N, H, W).")
    if not np.isfinite(maps).all():
        raise ValueError("A map holds NaN or infinity: the explainer failed on it.")
    return {"positive": lambda m: np.clip(m, 0.0, None), "absolute": np.abs}[part](maps.astype(np.float64))


def _has_face(regions: np.ndarray) -> np.ndarray:
    return (regions > 0).any(axis=(1, 2))


def _sums(regions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum values (N, H, W) by region: (N, 8) float64."""
    pairs = zip(regions, values, strict=True)
    sums = [np.bincount(labels.ravel(), v.ravel(), minlength=len(REGIONS) + 1) for labels, v in pairs]
    return np.array(sums, dtype=np.float64).reshape(len(regions), len(REGIONS) + 1)


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Average rows (N, K) by groups (G, N) bool, without NaN: (G, K); NaN where there is none."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    sums = [ratio(filled[group].sum(axis=0), known[group].sum(axis=0)) for group in groups]
    return np.array(sums).reshape(len(groups), values.shape[1])
