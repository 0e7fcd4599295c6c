"""Does a map of an emotion lie where the Facial Action Coding System (FACS) says that the emotion shows?

A fit says that a map is plausible to a person who knows FACS. It does not say that the network uses these pixels:
that is what deletion and insertion measure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fercore.emotions import Emotion
from ferlab.faces.mesh import REGIONS

PARTS = ("positive", "absolute")
SCORES = ("auroc", "lift")


@dataclass(frozen=True)
class Expectation:
    """Where an emotion shows, in names of :data:`ferlab.faces.REGIONS`.

    Attributes:
        primary: Regions that the action units of its prototype change most.
        secondary: Regions that these, or optional units, change as well.
        low: Regions that should hardly matter.
    """

    primary: tuple[str, ...]
    secondary: tuple[str, ...]
    low: tuple[str, ...]


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
    """Return where an emotion's primary regions are.

    Args:
        regions: (..., H, W) uint8 labels.
        emotion: One of :data:`EXPECTED`.

    Returns:
        (..., H, W) bool.
    """
    return _of_labels(EXPECTED[emotion].primary)[regions]


def _of_labels(names: Sequence[str]) -> np.ndarray:
    """Whether each of the labels 0..7 is one of these regions: (8,) bool."""
    return np.array([False, *(name in names for name in REGIONS)])


def region_mass(maps: np.ndarray, regions: np.ndarray, part: str = "positive") -> np.ndarray:
    """Return the share of a map's mass in each region.

    Args:
        maps: (N, H, W) float, signed maps.
        regions: (N, H, W) uint8 labels, 0 outside the face; all 0 for an image without a face.
        part: ``"positive"`` counts what speaks for the emotion, ``"absolute"`` what speaks for or against it.

    Returns:
        (N, 8) float64, rows that sum to 1, outside the face first, then ``REGIONS``. NaN rows for images without a face
        and maps without mass.

    Raises:
        ValueError: If shapes differ, a map is not finite, or there is no such part.
    """
    mass = _mass(maps, regions, part)
    sums = _sums(regions, mass)
    usable = _has_mass(mass) & _has_face(regions)
    return sums / np.where(usable, sums.sum(axis=1), np.nan)[:, None]


def region_area(regions: np.ndarray) -> np.ndarray:
    """Return the share of the image that each region takes.

    Args:
        regions: (N, H, W) uint8 labels, 0 outside the face.

    Returns:
        (N, 8) float64, columns as in :func:`region_mass`; NaN rows for images without a face.
    """
    pixels = float(np.prod(regions.shape[1:]))
    return _sums(regions, np.ones_like(regions)) / np.where(_has_face(regions), pixels, np.nan)[:, None]


def lift(maps: np.ndarray, regions: np.ndarray, part: str = "positive") -> np.ndarray:
    """Return the share of mass over the share of area: 1 is what a map without any preference gets.

    Args:
        maps: (N, H, W) float, signed maps.
        regions: (N, H, W) uint8 labels.
        part: As in :func:`region_mass`.

    Returns:
        (N, 8) float64, at least 0; NaN where a region is not in the image, and as in :func:`region_mass`.

    Raises:
        ValueError: As :func:`region_mass`.
    """
    return _ratio(region_mass(maps, regions, part), region_area(regions))


def auroc(
    maps: np.ndarray,
    regions: np.ndarray,
    emotions: Sequence[Emotion],
    part: str = "positive",
    within_face: bool = False,
) -> np.ndarray:
    """Area under the ROC curve of a map's values as a score for "this pixel is in a primary region".

    By the ranks of the values, ties at their middle (Mann and Whitney), which is what scikit-learn's
    ``roc_auc_score`` gives; the ranks serve all masks.

    Args:
        maps: (N, H, W) float, signed maps.
        regions: (N, H, W) uint8 labels.
        emotions: E emotions of :data:`EXPECTED`, whose primary masks are used.
        part: As in :func:`region_mass`.
        within_face: Compare with the rest of the face only, instead of the rest of the image.

    Returns:
        (N, E) float64 in 0..1, chance 0.5. NaN for images without a face, maps without mass, and masks of no pixel or
        of all.

    Raises:
        ValueError: As :func:`region_mass`.
    """
    from scipy.stats import rankdata

    mass = _mass(maps, regions, part)
    masks = [_of_labels(EXPECTED[emotion].primary) for emotion in emotions]
    scores = np.full((len(mass), len(masks)), np.nan)
    usable = _has_mass(mass) & _has_face(regions)
    for row in np.flatnonzero(usable):
        inside = regions[row] > 0 if within_face else np.ones(regions.shape[1:], bool)
        ranks, labels = rankdata(mass[row][inside]), regions[row][inside]
        for column, mask in enumerate(masks):
            scores[row, column] = _area_under(ranks, mask[labels])
    return scores


def _area_under(ranks: np.ndarray, primary: np.ndarray) -> float:
    """AUROC from ranks 1..P, ties at their middle; NaN where one side is empty."""
    count = int(primary.sum())
    others = len(primary) - count
    if not count or not others:
        return float("nan")
    return float((ranks[primary].sum() - count * (count + 1) / 2) / (count * others))


@dataclass(frozen=True, eq=False)
class Profile:
    """Where the maps of each of E emotions lie, on average.

    Attributes:
        emotions: The emotions that occur, in canonical order.
        images: (E,) int64, images of each.
        faceless: (E,) int64, of these without a face; not used.
        massless: (E,) int64, of these with a face whose map has no mass; not used.
        mass: (E, 8) float64, mean share of mass outside the face and in ``REGIONS``; NaN where no image is used.
        area: (E, 8) float64, mean share of area of the same images.
        lift: (E, 8) float64, ``mass / area``: the ratio of the means, which a region of few pixels cannot upset.
    """

    emotions: tuple[Emotion, ...]
    images: np.ndarray
    faceless: np.ndarray
    massless: np.ndarray
    mass: np.ndarray
    area: np.ndarray
    lift: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """(E,) int64, images that the means are over."""
        return self.images - self.faceless - self.massless


def profile(maps: np.ndarray, regions: np.ndarray, labels: np.ndarray, part: str = "positive") -> Profile:
    """Average shares of mass and area by emotion.

    Args:
        maps: (N, H, W) float, signed maps.
        regions: (N, H, W) uint8 labels.
        labels: (N,) integers, the emotion that each map explains.
        part: As in :func:`region_mass`.

    Returns:
        The means by emotion.

    Raises:
        ValueError: As :func:`region_mass`.
    """
    mass, area, face = region_mass(maps, regions, part), region_area(regions), _has_face(regions)
    used = face & np.isfinite(mass[:, 0])
    groups = [labels == label for label in np.unique(labels)]
    means = [
        np.stack([_mean(values[group & used]) for group in groups])
        if groups
        else np.empty((0, values.shape[1]))
        for values in (mass, area)
    ]
    return Profile(
        emotions=tuple(Emotion(label) for label in np.unique(labels)),
        images=np.array([group.sum() for group in groups], dtype=np.int64),
        faceless=np.array([(group & ~face).sum() for group in groups], dtype=np.int64),
        massless=np.array([(group & face & ~used).sum() for group in groups], dtype=np.int64),
        mass=means[0],
        area=means[1],
        lift=_ratio(*means),
    )


@dataclass(frozen=True, eq=False)
class MaskFit:
    """How well the maps of E emotions fit each other's primary masks.

    Attributes:
        emotions: The E emotions of :data:`EXPECTED` of which at least one map can be scored.
        fit: (E, E) float64: the mean score of the maps of the row's emotion against the mask of the column's.
        counts: (E,) int64, maps behind each row.
    """

    emotions: tuple[Emotion, ...]
    fit: np.ndarray
    counts: np.ndarray


def mask_fit(
    maps: np.ndarray,
    regions: np.ndarray,
    labels: np.ndarray,
    score: str = "auroc",
    part: str = "positive",
    within_face: bool = False,
) -> MaskFit:
    """Score the maps of every emotion against the primary masks of all.

    Args:
        maps: (N, H, W) float, signed maps.
        regions: (N, H, W) uint8 labels.
        labels: (N,) integers, the emotion that each map explains; neutral and contempt are left out.
        score: ``"auroc"``, the mean over maps; or ``"lift"``, mean share of mass over mean share of area.
        part: As in :func:`region_mass`.
        within_face: As in :func:`auroc`; not for lift.

    Returns:
        The table of scores, emotion by mask.

    Raises:
        ValueError: If there is no such score, ``within_face`` is asked for lift, or as :func:`region_mass`.
    """
    if score not in SCORES or (within_face and score != "auroc"):
        raise ValueError(f"score={score!r}, within_face={within_face}: choose auroc, or lift over the image.")
    mass = region_mass(maps, regions, part)
    used = np.isfinite(mass[:, 0])
    emotions = tuple(emotion for emotion in EXPECTED if (used & (labels == emotion)).any())
    chosen = np.flatnonzero(used & np.isin(labels, emotions))
    own = labels[chosen]
    if score == "auroc":
        values = auroc(maps[chosen], regions[chosen], emotions, part, within_face)
        rows = [_mean(values[own == emotion]) for emotion in emotions]
    else:
        area = region_area(regions[chosen])
        primary = np.array([_of_labels(EXPECTED[emotion].primary) for emotion in emotions], float).T
        shares = [(_mean(mass[chosen][own == e]), _mean(area[own == e])) for e in emotions]
        rows = [_ratio(of_mass @ primary, of_area @ primary) for of_mass, of_area in shares]
    return MaskFit(
        emotions=emotions,
        fit=np.array(rows).reshape(len(emotions), len(emotions)),
        counts=np.array([(own == emotion).sum() for emotion in emotions], dtype=np.int64),
    )


@dataclass(frozen=True)
class Rotation:
    """The outcome of :func:`rotation_test`.

    Attributes:
        statistic: Mean score of every emotion's maps against its own mask.
        expected: Mean of the statistic over all permutations.
        p_value: Share of permutations whose statistic is at least as large; at least 1 over their number.
        permutations: Their number, E!.
    """

    statistic: float
    expected: float
    p_value: float
    permutations: int


def rotation_test(fit: np.ndarray) -> Rotation:
    """Test whether emotions fit their own masks better than masks dealt out at random.

    An exact permutation test: all E! ways to give the E masks to the E emotions are enumerated. What is common to all
    emotions (maps that lie on the face, masks that are large) moves every permutation alike.

    Args:
        fit: (E, E) as in :class:`MaskFit`, E from 1 to 8.

    Returns:
        The statistic and how it stands among its permutations.

    Raises:
        ValueError: If it is not a square of finite numbers, or too large to enumerate.
    """
    fit = np.asarray(fit, dtype=np.float64)
    count = len(fit)
    if fit.ndim != 2 or fit.shape != (count, count) or not 1 <= count <= 8 or not np.isfinite(fit).all():
        raise ValueError(f"The test needs a square of 1 to 8 emotions and finite scores, not {fit.shape}.")
    orders = np.array(list(itertools.permutations(range(count))))
    values = fit[np.arange(count), orders].mean(axis=1)  # the first order is the emotions' own
    slack = 1e-12 * max(1.0, float(np.abs(fit).max()))  # sums in another order differ in their last digits
    return Rotation(
        statistic=float(values[0]),
        expected=float(values.mean()),
        p_value=float((values >= values[0] - slack).mean()),
        permutations=len(orders),
    )


def _mass(maps: np.ndarray, regions: np.ndarray, part: str) -> np.ndarray:
    """Check the arguments and return the maps' mass, (N, H, W) float64, at least 0."""
    if part not in PARTS:
        raise ValueError(f"part={part!r}: choose one of {', '.join(PARTS)}.")
    if maps.ndim != 3 or maps.shape != regions.shape:
        raise ValueError(f"Maps {maps.shape} and regions {regions.shape} must be of one shape (N, H, W).")
    if not np.isfinite(maps).all():
        raise ValueError("A map holds NaN or infinity: the explainer failed on it.")
    values = maps.astype(np.float64)
    return np.clip(values, 0.0, None) if part == "positive" else np.abs(values)


def _has_face(regions: np.ndarray) -> np.ndarray:
    return (regions > 0).any(axis=(1, 2))


def _has_mass(mass: np.ndarray) -> np.ndarray:
    return mass.any(axis=(1, 2))


def _sums(regions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum values (N, H, W) by region: (N, 8) float64."""
    pairs = zip(regions, values, strict=True)
    sums = [np.bincount(labels.ravel(), v.ravel(), minlength=len(REGIONS) + 1) for labels, v in pairs]
    return np.array(sums, dtype=np.float64).reshape(len(regions), len(REGIONS) + 1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over rows without NaN; NaN where there is none."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient; NaN where the divisor is 0 or NaN."""
    below = np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
