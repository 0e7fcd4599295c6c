"""Bayesian quadrature over the contexts of a split: what to expect of pairs that were not observed, and how surely.

The model is that of :mod:`fercore.shapley.adaptive`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.shapley.contexts import Pool
from fercore.shapley.splits import SplitLevel, asymmetries

FLOOR = 0.3  # reach that every pair of a level has at least, in root mean squares of the level
PRIOR_PAIRS = 4.0  # a split's own variance counts like its level's after so many pairs


@dataclass(eq=False)
class Level:
    """What is known of the splits of one level, for N images, s splits, M contexts, a children and K classes."""

    splits: SplitLevel
    pool: Pool
    hidden: np.ndarray  # int64 (s, M): code of the visible siblings in the split above, v(C)
    shown: np.ndarray  # int64 (s, M): the same and the node itself, v(C ∪ P)
    values: np.ndarray  # float64 (N, s, M, 2^a, K): v(C ∪ S), zero where unknown
    seen: np.ndarray  # bool (N, s, M): observed
    size: np.ndarray  # float64 (N, s, M): |δ|, zero where not observed
    reach: np.ndarray  # float64 (N, s, M): h without floor, NaN as long as the parent's pair was not observed
    spread: np.ndarray  # float32 (N, s, M, M): covariance of z given what was seen, in units of σ²


def tempered(reaches: list[np.ndarray], heat: float | np.ndarray) -> list[np.ndarray]:
    """Return h^γ of levels, (..., s, M) each, in units of the level's root mean square."""
    means = [np.sqrt((reach**2).mean(axis=(-2, -1), keepdims=True)) for reach in reaches]
    return [reach**heat * mean ** (1 - heat) for reach, mean in zip(reaches, means, strict=True)]


def floor(bare: np.ndarray, level: Level) -> np.ndarray:
    """Return the reach that every pair of a level has at least, float64 array (N,).

    In terms of the root mean square of all pairs at first, of those left the more are observed: they are the cold ones.
    """
    weights, left = level.pool.weights, ~level.seen
    share = (left @ weights).mean(axis=1)
    everywhere = (bare**2 @ weights).mean(axis=1)
    elsewhere = ((bare**2 * left) @ weights).mean(axis=1) / np.maximum(share, 1e-12)
    floor = FLOOR * everywhere ** (share / 2) * elsewhere ** ((1 - share) / 2)
    return np.maximum(floor, np.finfo(np.float32).tiny)


def coarse(gains: np.ndarray) -> np.ndarray:
    """Cut numbers to 11 binary digits: gains that differ by rounding errors are to count as equal, on any machine."""
    return (gains.astype(np.float32).view(np.int32) & -4096).view(np.float32)


def scales(level: Level, reach: np.ndarray, above: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return σ of each split (N, s), drawn towards its level, and σ² of the level (N, 1), towards the one above."""
    squares = ((level.size / reach) ** 2).sum(axis=2)
    pairs = level.seen.sum(axis=2)
    total, count = squares.sum(axis=1, keepdims=True), pairs.sum(axis=1, keepdims=True)
    of_level = (total + PRIOR_PAIRS * above) / (count + PRIOR_PAIRS)
    return np.sqrt((squares + PRIOR_PAIRS * of_level) / (pairs + PRIOR_PAIRS)), of_level


def condition(spread: np.ndarray, image: np.ndarray, split: np.ndarray, context: np.ndarray) -> None:
    """Condition z, in place, on one pair each of some splits; no split twice."""
    rows = np.arange(len(image))
    old = spread[image, split]
    column = old[rows, :, context]
    spread[image, split] = old - column[:, :, None] * (column / column[rows, context][:, None])[:, None, :]


def posterior(
    level: Level, image: int, reach: np.ndarray, r: float, rows: np.ndarray, above: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Bayesian quadrature of some splits of a level for one image.

    Args:
        level: What was observed.
        image: Which image.
        reach: h, (s, M).
        r: Of the kernel.
        rows: Which splits, (s',).
        above: σ² of the level above, (K,), for levels of which nothing was observed.

    Returns:
        Mean (s', a, K) and variance (s', K) of Σ_C w_C δ(C), the log marginal likelihood of what was observed, and σ²
        of the level (K,).
    """
    kernel = level.pool.kernel(r)
    seen, reach, weights = level.seen[image, rows], reach[rows], level.pool.weights
    pairs, size = seen.sum(axis=1), (level.splits.children.shape[1], level.values.shape[-1])
    hidden = np.where(seen, 0.0, weights * reach)
    mean, misfit = np.zeros((len(rows), *size)), np.zeros((len(rows), size[1]))
    spread, log_det = ((hidden @ kernel) * hidden).sum(axis=1), 0.0
    # Splits with about equally many pairs are solved together, their systems padded with unit rows.
    for most in 4 ** np.arange(int(pairs.max(initial=0)).bit_length() // 2 + 2):
        some = np.flatnonzero((pairs > most // 4) & (pairs <= most))
        if not len(some):
            continue
        context = np.argsort(~seen[some], axis=1, kind="stable")[:, :most]
        there = np.take_along_axis(seen[some], context, axis=1)
        delta = asymmetries(level.values[image, rows[some, None], context][..., 1:-1, :], size[0])
        delta = np.where(there[..., None, None], delta, 0.0).reshape(*context.shape, -1)
        scaled = delta / np.take_along_axis(reach[some], context, axis=1)[..., None]
        reachable = np.where(there, np.take_along_axis(hidden[some] @ kernel, context, axis=1), 0.0)
        both = there[:, :, None] & there[:, None, :]
        system = np.where(both, kernel[context[:, :, None], context[:, None, :]], np.eye(context.shape[1]))
        log_det += np.linalg.slogdet(system)[1].sum()
        log_det += 2 * np.log(np.take_along_axis(reach[some], context, axis=1))[there].sum()
        solved = np.linalg.solve(system, np.concatenate([scaled, reachable[..., None]], axis=2))
        guess = (reachable[..., None] * solved[..., :-1]).sum(axis=1)
        mean[some] = ((weights[context][..., None] * delta).sum(axis=1) + guess).reshape(-1, *size)
        misfit[some] = (scaled * solved[..., :-1]).sum(axis=1).reshape(-1, *size).mean(axis=1)
        spread[some] -= (reachable * solved[..., -1]).sum(axis=1)
    of_level = misfit.sum(axis=0) / max(pairs.sum(), 1)
    if not pairs.any():
        of_level = np.ones(size[1]) if above is None else above
    prior = PRIOR_PAIRS * np.maximum(of_level, np.finfo(float).tiny)
    count = pairs[:, None] + PRIOR_PAIRS
    # σ² of a split has a scaled inverse χ² prior around that of its level, so z is Student's t.
    fits = (count * np.log1p(misfit / prior) + pairs[:, None] * np.log(prior)).sum(axis=0)
    varies = misfit.any(axis=0)  # classes without any effect fit everything
    fit = fits[varies].mean() if varies.any() else 0.0
    variance = (misfit + prior) / count * np.maximum(spread, 0.0)[:, None]
    if not level.pool.complete:  # the pool is itself a sample of all contexts, of which it gives the mean
        scatter = (misfit + prior) / count * np.einsum("sm,sm,m->s", reach, reach, weights)[:, None]
        variance += scatter * np.diagonal(kernel).mean() / len(weights)
    return mean, variance, -0.5 * (log_det + fit), of_level
