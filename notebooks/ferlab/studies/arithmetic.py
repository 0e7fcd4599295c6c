"""Which printed accuracies can be means over folds at all: a check that needs no data, only the number of images.

An accuracy over n images is a whole number of right images divided by n, and a mean over folds an average of such
fractions. On a small dataset there are so few of them that a printed percentage can be checked against all.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

LIMIT = 2_000_000  # pairs of right images; JAFFE has ten thousand, CK+ two hundred thousand. All products fit 64 bits
WHOLE = 10_000  # 100 % in units of the last of two decimals


def fold_means(images: int, folds: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Enumerate the means of near-equal folds: int64 ``numerators`` and ``right`` (images), and a ``denominator``."""
    if not 1 <= folds <= images:
        raise ValueError(f"{images} images cannot be put into {folds} folds: take 1 to {images}.")
    size, many = divmod(images, folds)  # ``many`` folds have one image more
    larger, smaller = many * (size + 1), (folds - many) * size
    if (larger + 1) * (smaller + 1) > LIMIT:
        raise ValueError(f"{images} images in {folds} folds are too many to enumerate.")
    a, b = (part.ravel() for part in np.mgrid[: larger + 1, : smaller + 1])
    return a * size + b * (size + 1), a + b, folds * size * (size + 1)


@dataclass(frozen=True)
class Verdict:
    """Whether a printed percentage can be a mean over near-equal folds."""

    sizes: tuple[int, ...]  # the different sizes of the folds, ascending
    rounded: tuple[int, ...]  # numbers of right images with which rounding gives it; empty if none does
    cut: tuple[int, ...]  # the same where further decimals are cut off
    below: Fraction | None  # the largest mean below what would be printed so, either way, in per cent
    above: Fraction | None  # the smallest mean above it

    @property
    def possible(self) -> bool:
        """Whether rounding or cutting off gives the percentage."""
        return bool(self.rounded or self.cut)

    @property
    def text(self) -> str:
        """The verdict in a few words, e.g. ``"cut off only: 924 right"``."""
        if not self.possible:
            return "no"
        way = "yes" if self.rounded and self.cut else "rounded only" if self.rounded else "cut off only"
        return f"{way}: {', '.join(map(str, sorted({*self.rounded, *self.cut})))} right"


@functools.cache
def verdict(images: int, folds: int, printed: str) -> Verdict:
    """Compare a percentage, printed with at most two decimals, with every mean that near-equal folds can give."""
    units = Decimal(printed).scaleb(2)  # of the second decimal: "99.20" is 9920
    if units != units.to_integral_value() or not 0 <= units <= WHOLE:
        raise ValueError(f"{printed} is not a percentage from 0 to 100 with at most 2 decimals.")
    numerators, right, denominator = fold_means(images, folds)
    off = WHOLE * numerators - int(units) * denominator  # by the last decimal
    rounded = 2 * np.abs(off) <= denominator  # a mean in the very middle may go either way
    cut = (off >= 0) & (off < denominator)
    other = ~(rounded | cut)
    under, over = numerators[other & (off < 0)], numerators[other & (off > 0)]
    return Verdict(
        tuple(sorted({images // folds, -(-images // folds)})),
        tuple(np.unique(right[rounded]).tolist()),
        tuple(np.unique(right[cut]).tolist()),
        Fraction(100 * int(under.max()), denominator) if len(under) else None,
        Fraction(100 * int(over.min()), denominator) if len(over) else None,
    )


@functools.cache
def fewest_folds(images: int, printed: str) -> int | None:
    """Return the smallest number of near-equal folds with which a percentage is possible; None if there is none."""
    return next((folds for folds in range(1, images + 1) if verdict(images, folds, printed).possible), None)
