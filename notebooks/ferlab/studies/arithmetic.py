"""Which printed accuracies can be means over folds at all: a check that needs no data, only the number of images.

An accuracy over n images is a whole number of right images divided by n. A mean over folds is an average of such
fractions, and because the folds of a division with a remainder differ by one image, it is not the same as the share of
all images. There are few such means when the dataset is small, so that a printed percentage can be checked against all
of them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import lcm

import numpy as np

LIMIT = 2_000_000  # pairs of a mean and a number of right images; JAFFE has ten thousand, CK+ two hundred thousand
_LARGEST = 2**40  # of a denominator, so that with DECIMALS decimals all products fit into 64 bits
DECIMALS = 4


def fold_sizes(images: int, folds: int) -> tuple[int, ...]:
    """Return the sizes of ``folds`` near-equal folds, larger ones first: 213 images in 5 folds are 43, 43, 43, 42, 42.

    Raises:
        ValueError: If there are fewer images than folds, or no fold.
    """
    if not 1 <= folds <= images:
        raise ValueError(f"{images} images cannot be put into {folds} folds: take 1 to {images}.")
    return tuple(images // folds + (fold < images % folds) for fold in range(folds))


def fold_means(sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Enumerate every mean of fold accuracies that folds of these sizes can give.

    All folds of one size count alike, so that only the number of right images in all of them together matters, and
    any number from none to all can occur. What is left is one such number per size, in every combination.

    Args:
        sizes: Images per fold, in any order, each at least 1.

    Returns:
        ``(numerators, right, denominator)``: (m,) int64 numerators and (m,) int64 numbers of right images, one entry
        for each different pair, by numerator and then by right images; the means are numerators / denominator.

    Raises:
        ValueError: If a size is below 1, or if there are more than :data:`LIMIT` combinations.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)}: every fold must hold at least one image.")
    common = lcm(*sizes)
    if len(sizes) * common > _LARGEST:
        raise ValueError(f"Folds of {sorted(set(sizes))} images have too large a common denominator.")
    pairs = np.zeros((1, 2), dtype=np.int64)
    for size, count in sorted(Counter(sizes).items()):
        right = np.arange(size * count + 1, dtype=np.int64)
        if len(pairs) * len(right) > LIMIT:
            raise ValueError(
                f"{sum(sizes)} images in folds of {sorted(set(sizes))} are too many to enumerate."
            )
        steps = np.stack([right * (common // size), right], axis=1)
        pairs = np.unique((pairs[:, None] + steps).reshape(-1, 2), axis=0)
    return pairs[:, 0], pairs[:, 1], len(sizes) * common


def printed_units(value: float | str | Decimal, decimals: int = 2) -> int:
    """Return a printed percentage in units of its last decimal: ``"99.20"`` is 9920.

    Raises:
        ValueError: If the value has more decimals or lies outside 0..100.
    """
    units = Decimal(str(value)).scaleb(decimals)
    if units != units.to_integral_value() or not 0 <= units <= 100 * 10**decimals:
        raise ValueError(f"{value} is not a percentage from 0 to 100 with at most {decimals} decimals.")
    return int(units)


def _shown(numerators: np.ndarray, denominator: int, decimals: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Return what each mean is printed as, in units of the last decimal, by way of printing.

    A mean in the very middle of two printed values may go either way, so rounding gives two arrays.
    """
    if not 0 <= decimals <= DECIMALS:
        raise ValueError(f"decimals={decimals} must lie in 0 ... {DECIMALS}.")
    whole = 100 * 10**decimals
    doubled = 2 * whole * numerators
    up, down = (doubled + denominator) // (2 * denominator), -((denominator - doubled) // (2 * denominator))
    return {"rounded": (up, down), "cut off": (whole * numerators // denominator,)}


def reachable_means(images: int, folds: int, decimals: int = 2, cut: bool = False) -> frozenset[Decimal]:
    """Return every percentage that a mean over near-equal folds can be printed as.

    Args:
        images: Images in all folds together.
        folds: Number of folds; 1 is the accuracy over all images.
        decimals: Decimals of the percentage.
        cut: Cut off the further decimals instead of rounding.

    Returns:
        The percentages, e.g. ``Decimal("99.53")``.

    Raises:
        ValueError: As :func:`fold_sizes` and :func:`fold_means`, or if ``decimals`` is not 0 to 4.
    """
    numerators, _, denominator = fold_means(fold_sizes(images, folds))
    shown = _shown(numerators, denominator, decimals)["cut off" if cut else "rounded"]
    return frozenset(Decimal(int(unit)).scaleb(-decimals) for part in shown for unit in np.unique(part))


@dataclass(frozen=True)
class Verdict:
    """Whether a printed percentage can be a mean over near-equal folds.

    Attributes:
        images: Images in all folds together.
        folds: Number of folds.
        sizes: The different sizes of the folds, ascending.
        printed: The percentage in question.
        rounded: Numbers of right images with which rounding gives it; empty if none does.
        cut: The same where further decimals are cut off.
        below: The largest mean below what would be printed so, either way, in per cent; None if there is none.
        above: The smallest mean above it, in per cent; None if there is none.
    """

    images: int
    folds: int
    sizes: tuple[int, ...]
    printed: Decimal
    rounded: tuple[int, ...]
    cut: tuple[int, ...]
    below: Fraction | None
    above: Fraction | None

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
        right = sorted({*self.rounded, *self.cut})
        return f"{way}: {', '.join(map(str, right))} right"


@functools.cache
def verdict(images: int, folds: int, printed: str, decimals: int = 2) -> Verdict:
    """Compare a printed percentage with every mean that near-equal folds can give.

    Args:
        images: Images in all folds together.
        folds: Number of folds; 1 is the accuracy over all images.
        printed: The percentage, e.g. ``"99.20"``.
        decimals: Decimals that were printed.

    Raises:
        ValueError: As :func:`fold_sizes`, :func:`fold_means` and :func:`printed_units`.
    """
    sizes, unit = fold_sizes(images, folds), printed_units(printed, decimals)
    numerators, right, denominator = fold_means(sizes)
    hits = {
        way: np.logical_or.reduce([part == unit for part in parts])
        for way, parts in _shown(numerators, denominator, decimals).items()
    }
    other = numerators[~(hits["rounded"] | hits["cut off"])]
    of_unit = other * (100 * 10**decimals)  # means as multiples of the last decimal, times the denominator
    under, over = other[of_unit < unit * denominator], other[of_unit > unit * denominator]
    return Verdict(
        images,
        folds,
        tuple(sorted(set(sizes))),
        Decimal(unit).scaleb(-decimals),
        tuple(np.unique(right[hits["rounded"]]).tolist()),
        tuple(np.unique(right[hits["cut off"]]).tolist()),
        Fraction(100 * int(under.max()), denominator) if len(under) else None,
        Fraction(100 * int(over.min()), denominator) if len(over) else None,
    )


@functools.cache
def fewest_folds(images: int, printed: str, decimals: int = 2) -> int | None:
    """Return the smallest number of near-equal folds with which a percentage is possible; None if there is none."""
    counts = range(1, images + 1)
    return next((folds for folds in counts if verdict(images, folds, printed, decimals).possible), None)
