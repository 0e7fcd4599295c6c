"""What the paper says of its emotion maps (Section 4.3.2), each sentence as a test with a verdict.

Maps are (N, H, W) floats, signed; masks are (N, H, W) bool, by name: ``"face"`` and the parts of the face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fercore.emotions import Emotion
from ferlab.faces.mesh import REGIONS
from ferlab.measures import ratio

SUPPORTED, ARTEFACT, UNSUPPORTED, UNTESTED = "supported", "artefact", "not supported", "not tested"
HEIGHT, UPPER_LIP = "height", "upper lip"
# Vertices of MediaPipe's mesh: middle of the upper and lower lip where they meet, corners of the mouth.
_UPPER_INNER, _LOWER_INNER, _RIGHT_CORNER, _LEFT_CORNER = 13, 14, 61, 291
_FEWEST = 5  # faces below which nothing is concluded
_DRAWS = 2000


@dataclass(frozen=True)
class Sentence:
    """A statement of Section 4.3.2, quoted: the parts of the face, or the height, that maps of an emotion emphasise."""

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
    """One part of one sentence, measured; all numbers are NaN where there are too few faces."""

    sentence: Sentence
    part: str
    faces: int  # of the emotion, behind the numbers
    mean: float = np.nan  # of the statistic over these faces; chance is 1
    low: float = np.nan  # ends of its 95 % bootstrap interval
    high: float = np.nan
    difference: float = np.nan  # the mean minus that over the faces of all other emotions
    difference_low: float = np.nan  # lower end of its interval
    released: float = np.nan  # the mean under the released code's masking, on a sample of these faces
    released_low: float = np.nan  # lower end of its interval
    excess_low: float = np.nan  # lower end of the interval of released minus ours, on that sample

    @property
    def verdict(self) -> str:
        """What the numbers say of the sentence.

        Supported: the statistic is above chance and above that of the other emotions, each beyond its interval.
        Artefact: not above chance, but under the released masking, which raises it on the same faces.
        """
        if np.isnan(self.mean):
            return UNTESTED
        if self.low > 1 and self.difference_low > 0:
            return SUPPORTED
        raised = self.released_low > 1 and self.excess_low > 0
        return ARTEFACT if self.low <= 1 and raised else UNSUPPORTED

    def row(self) -> dict[str, str]:
        """Return the finding as a row of a table, numbers as text; dashes where there are too few faces."""
        numbers = {
            "mean": f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})",
            "others": f"{self.mean - self.difference:.2f}",
            "released": f"{self.released:.2f} (from {self.released_low:.2f})",
        }
        if self.verdict == UNTESTED:
            numbers = dict.fromkeys(numbers, "–")
        return {"the paper": self.sentence.text, "measured": self.part, **numbers, "verdict": self.verdict}


def emphasis(maps: np.ndarray, mask: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return how much denser positive attribution is in a part than in the face, (N,); 1 is chance, NaN no mass."""
    positive = np.clip(maps, 0, None) * face
    mass = (positive * mask).sum(axis=(1, 2), dtype=np.float64)
    whole = positive.sum(axis=(1, 2), dtype=np.float64)
    area = (mask & face).sum(axis=(1, 2)) / np.maximum(face.sum(axis=(1, 2)), 1)
    return ratio(mass, whole * area)


def elongation(maps: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return how much further positive attribution spreads along the height than along the width of the face, (N,).

    Spreads are standard deviations in units of that of the face's own pixels: 1 is chance. NaN without positive mass.
    """
    positive = np.clip(maps, 0, None) * face
    rows, columns = (_spread(positive, axis) / _spread(face.astype(np.float64), axis) for axis in (1, 2))
    return ratio(rows, columns)


def _spread(mass: np.ndarray, axis: int) -> np.ndarray:
    """Return the standard deviation of a coordinate (1: rows, 2: columns) under masses (N, H, W)."""
    profile = mass.sum(axis=3 - axis, dtype=np.float64)
    share = ratio(profile, profile.sum(axis=1, keepdims=True))
    place = np.arange(profile.shape[1])
    centre = (share * place).sum(axis=1, keepdims=True)
    return np.sqrt((share * (place - centre) ** 2).sum(axis=1))


def masks(regions: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of the face, its regions and the upper lip, from labels (N, H, W) and landmarks (N, 468, 2 or 3).

    The upper lip is the mouth above the line along the corners of the lips, put through where the lips meet.
    """
    found = {name: regions == label for label, name in enumerate(REGIONS, start=1)}
    middle = points[:, [_UPPER_INNER, _LOWER_INNER], :2].mean(axis=1)
    along = points[:, _LEFT_CORNER, :2] - points[:, _RIGHT_CORNER, :2]
    rows, columns = np.indices(regions.shape[1:]) + 0.5  # centres of the pixels
    x, y = columns - middle[:, 0, None, None], rows - middle[:, 1, None, None]
    above = along[:, 0, None, None] * y - along[:, 1, None, None] * x < 0
    return {**found, "face": regions > 0, UPPER_LIP: found["mouth"] & above}


def statistic(part: str, maps: np.ndarray, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the statistic (N,) of a part, or of the height, for every map; its chance level is 1."""
    if part == HEIGHT:
        return elongation(maps, masks["face"])
    return emphasis(maps, masks[part], masks["face"])


def check(
    ours: np.ndarray, released: np.ndarray, labels: np.ndarray, masks: Mapping[str, np.ndarray], seed: int = 0
) -> list[Finding]:
    """Measure every part of every sentence on our maps, and on the released ones, which are NaN for some faces."""
    return [
        _finding(sentence, part, labels, statistic(part, ours, masks), statistic(part, released, masks), seed)
        for sentence in SENTENCES
        for part in sentence.parts
    ]


def _finding(
    sentence: Sentence, part: str, labels: np.ndarray, ours: np.ndarray, released: np.ndarray, seed: int
) -> Finding:
    known, of_emotion = np.isfinite(ours), labels == sentence.emotion
    own, rest = ours[known & of_emotion], ours[known & ~of_emotion]
    shared = known & of_emotion & np.isfinite(released)
    theirs, excess = released[shared], (released - ours)[shared]
    if min(len(own), len(rest), len(theirs)) < _FEWEST:
        return Finding(sentence, part, len(own))
    rng = np.random.default_rng(seed)
    means = _bootstrap(own, rng)
    return Finding(
        sentence,
        part,
        faces=len(own),
        mean=float(own.mean()),
        low=_percentile(means, 2.5),
        high=_percentile(means, 97.5),
        difference=float(own.mean() - rest.mean()),
        difference_low=_percentile(means - _bootstrap(rest, rng), 2.5),
        released=float(theirs.mean()),
        released_low=_percentile(_bootstrap(theirs, rng), 2.5),
        excess_low=_percentile(_bootstrap(excess, rng), 2.5),
    )


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent))


def _bootstrap(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the means of resamples of the values."""
    return np.array([rng.choice(values, len(values)).mean() for _ in range(_DRAWS)])
