"""What the paper says of its emotion maps (Section 4.3.2), each sentence as a test with a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fercore.emotions import Emotion

SUPPORTED, ARTEFACT, UNSUPPORTED, UNTESTED = "supported", "artefact", "not supported", "not tested"
HEIGHT, UPPER_LIP = "height", "upper lip"
# Vertices of MediaPipe's mesh: middle of the upper and lower lip where they meet, corners of the mouth.
_UPPER_INNER, _LOWER_INNER, _RIGHT_CORNER, _LEFT_CORNER = 13, 14, 61, 291
_FEWEST = 5  # faces below which nothing is concluded
_DRAWS = 2000


@dataclass(frozen=True)
class Sentence:
    """A statement of the paper: an emotion, and the parts of the face that its maps emphasise.

    Attributes:
        text: Quoted from Section 4.3.2.
        emotion: The emotion.
        parts: Names of facial regions, or ``"height"`` for a distribution along the vertical.
    """

    text: str
    emotion: Emotion
    parts: tuple[str, ...]


SENTENCES = (
    Sentence("Happy is associated with smile patterns", Emotion.HAPPY, ("mouth",)),
    Sentence("Surprise is associated with eyes and upper lips", Emotion.SURPRISE, ("eyes", UPPER_LIP)),
    Sentence("Sad: distributed throughout the face vertically", Emotion.SAD, (HEIGHT,)),
    Sentence("Anger: also vertically distributed", Emotion.ANGRY, (HEIGHT,)),
    Sentence("Anger: with more emphasis on the eyes", Emotion.ANGRY, ("eyes",)),
)


@dataclass(frozen=True)
class Finding:
    """One part of one sentence, measured.

    Attributes:
        sentence: The sentence.
        part: Which of its parts.
        faces: Faces of the emotion behind the numbers.
        mean: Mean of the statistic over these faces; chance is 1. NaN where there are too few.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        difference: Mean minus the mean over the faces of all other emotions.
        difference_low: Lower end of the 95 % bootstrap interval of the difference.
        released: The mean under the released code's masking, on a sample of these faces.
        released_low: Lower end of its interval.
        excess_low: Lower end of the interval of released minus ours, face by face on that sample.
    """

    sentence: Sentence
    part: str
    faces: int
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    released: float
    released_low: float
    excess_low: float

    @property
    def verdict(self) -> str:
        """What the numbers say of the sentence.

        ``"supported"``: the statistic is above chance and above that of the other emotions, each beyond its 95 %
        interval. ``"artefact"``: it is not above chance, but is under the released code's masking, which raises it on
        the same faces, each beyond its interval. ``"not supported"`` otherwise, ``"not tested"`` with too few faces.
        """
        if np.isnan(self.mean):
            return UNTESTED
        if self.low > 1 and self.difference_low > 0:
            return SUPPORTED
        raised = self.released_low > 1 and self.excess_low > 0
        return ARTEFACT if self.low <= 1 and raised else UNSUPPORTED

    def row(self) -> dict[str, str]:
        """Return the finding as a row of a table, numbers as text; dashes where there are too few faces."""
        known = not np.isnan(self.mean)
        numbers = {
            "mean": f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})",
            "others": f"{self.mean - self.difference:.2f}",
            "released": f"{self.released:.2f} (from {self.released_low:.2f})",
        }
        numbers = numbers if known else dict.fromkeys(numbers, "–")
        return {"the paper": self.sentence.text, "measured": self.part, **numbers, "verdict": self.verdict}


def emphasis(maps: np.ndarray, masks: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return how much denser positive attribution is in a part than in the whole face; 1 is chance.

    Args:
        maps: (N, H, W) float, signed maps.
        masks: (N, H, W) bool, the part.
        face: (N, H, W) bool, the whole face.

    Returns:
        (N,) float64: share of the face's positive mass in the part over its share of the face's area; NaN without
        positive mass in the face, or without pixels in the part.
    """
    positive = np.clip(maps, 0, None) * face
    mass = (positive * masks).sum(axis=(1, 2), dtype=np.float64)
    whole = positive.sum(axis=(1, 2), dtype=np.float64)
    area = (masks & face).sum(axis=(1, 2)) / np.maximum(face.sum(axis=(1, 2)), 1)
    known = (whole > 0) & (area > 0)
    return np.divide(mass, whole * area, out=np.full(len(maps), np.nan), where=known)


def elongation(maps: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return how much further positive attribution spreads along the height than along the width of the face.

    The spread along an axis is the standard deviation of its coordinate under the positive mass within the face, in
    units of that under the face's own pixels. The ratio of the two is 1 for mass that is spread as the face is.

    Args:
        maps: (N, H, W) float, signed maps.
        face: (N, H, W) bool.

    Returns:
        (N,) float64; NaN without positive mass, or where it is one column of pixels.
    """
    positive = np.clip(maps, 0, None) * face
    spread = [_spread(positive, axis) / _spread(face.astype(np.float64), axis) for axis in (1, 2)]
    return np.divide(spread[0], spread[1], out=np.full(len(maps), np.nan), where=spread[1] > 0)


def _spread(mass: np.ndarray, axis: int) -> np.ndarray:
    """Return the standard deviation of a coordinate (1: rows, 2: columns) under masses (N, H, W)."""
    profile = mass.sum(axis=3 - axis, dtype=np.float64)
    total = profile.sum(axis=1)
    share = np.divide(profile, total[:, None], out=np.full_like(profile, np.nan), where=total[:, None] > 0)
    place = np.arange(profile.shape[1])
    centre = (share * place).sum(axis=1, keepdims=True)
    return np.sqrt((share * (place - centre) ** 2).sum(axis=1))


def masks(regions: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return where the face and its parts are.

    Args:
        regions: (N, H, W) uint8, labels of ``ferlab.faces.REGIONS``; 0 outside the face.
        points: (N, 468, 2 or 3) landmarks in pixels.

    Returns:
        (N, H, W) bool each: ``"face"``, the regions, and ``"upper lip"``: of the region of the mouth what lies above
        the line along the corners of the lips, put through the middle of where the lips meet.
    """
    from ferlab.faces.mesh import REGIONS

    found = {name: regions == label for label, name in enumerate(REGIONS, start=1)}
    middle = points[:, [_UPPER_INNER, _LOWER_INNER], :2].mean(axis=1)
    along = points[:, _LEFT_CORNER, :2] - points[:, _RIGHT_CORNER, :2]
    rows, columns = np.indices(regions.shape[1:]) + 0.5  # centres of the pixels
    x, y = columns - middle[:, 0, None, None], rows - middle[:, 1, None, None]
    above = along[:, 0, None, None] * y - along[:, 1, None, None] * x < 0
    return {**found, "face": regions > 0, UPPER_LIP: found["mouth"] & above}


def statistic(part: str, maps: np.ndarray, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the statistic of a part for every map; its chance level is 1.

    Args:
        part: ``"height"`` or a key of ``masks``.
        maps: (N, H, W) float, signed maps.
        masks: (N, H, W) bool each: ``"face"`` and the parts of the face.
    """
    if part == HEIGHT:
        return elongation(maps, masks["face"])
    return emphasis(maps, masks[part], masks["face"])


def check(
    ours: np.ndarray,
    released: np.ndarray,
    labels: np.ndarray,
    masks: Mapping[str, np.ndarray],
    seed: int = 0,
) -> list[Finding]:
    """Measure every part of every sentence.

    Args:
        ours: (N, H, W) float, maps of faces whose landmarks are known.
        released: (N, H, W) float, the same faces under the released code's masking.
        labels: (N,) integers.
        masks: As in :func:`statistic`.
        seed: Of the bootstrap.
    """
    parts = {part for sentence in SENTENCES for part in sentence.parts}
    values = {p: (statistic(p, ours, masks), statistic(p, released, masks)) for p in sorted(parts)}
    return [_finding(s, part, labels, *values[part], seed) for s in SENTENCES for part in s.parts]


def _finding(
    sentence: Sentence, part: str, labels: np.ndarray, ours: np.ndarray, released: np.ndarray, seed: int
) -> Finding:
    known = np.isfinite(ours)
    own, rest = ours[known & (labels == sentence.emotion)], ours[known & (labels != sentence.emotion)]
    shared = known & np.isfinite(released) & (labels == sentence.emotion)
    theirs, excess = released[shared], (released - ours)[shared]
    if min(len(own), len(rest), len(theirs)) < _FEWEST:
        return Finding(sentence, part, len(own), *[float("nan")] * 8)
    rng = np.random.default_rng(seed)
    means = _bootstrap(own, rng)
    low, high = np.percentile(means, [2.5, 97.5])
    return Finding(
        sentence,
        part,
        len(own),
        float(own.mean()),
        float(low),
        float(high),
        float(own.mean() - rest.mean()),
        float(np.percentile(means - _bootstrap(rest, rng), 2.5)),
        float(theirs.mean()),
        float(np.percentile(_bootstrap(theirs, rng), 2.5)),
        float(np.percentile(_bootstrap(excess, rng), 2.5)),
    )


def _bootstrap(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the means of resamples of the values."""
    return np.array([rng.choice(values, len(values)).mean() for _ in range(_DRAWS)])
