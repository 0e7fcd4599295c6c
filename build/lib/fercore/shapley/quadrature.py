"""Bayesian quadrature over the contexts of a split: what to expect of pairs that were not observed, and how surely.

The model is that of :mod:`fercore.shapley.adaptive`. Arrays are those of N images, s splits of a level, M contexts, a
children and K classes; ``r`` numbers the r of every image among those considered, int64 array (N,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.shapley.contexts import Pool, SplitLevel, asymmetries

FLOOR = 0.3  # reach that every pair of a level has at least, in root mean squares of the level
PRIOR_PAIRS = 4.0  # a split's own variance counts like its level's after so many pairs
FEW_PAIRS = 4  # splits with so many pairs or less are solved together
SYSTEMS = 2**18  # numbers in the linear systems that are solved together, per choice of γ and r


@dataclass(frozen=True, eq=False)
class Observed:
    """What was observed of some splits of one level, g of them with p pairs at most."""

    at: tuple[np.ndarray, np.ndarray]  # int64 (g,): where they stand among images and splits asked for
    context: np.ndarray  # int64 (g, p): the contexts of the pairs, filled up with others
    there: np.ndarray  # bool (g, p): which of them were observed
    delta: np.ndarray  # float64 (g, p, a K): δ(C) of the children, zero where not observed


class Level:
    """What is known of the splits of one level.

    The covariance of z given what was seen is k - FᵀF in units of σ². Each pair that is observed adds one row to the
    factor F of its split (Cholesky's, pair by pair); a split is seldom observed more than a few times, so this is far
    less than the covariance itself.
    """

    def __init__(
        self,
        splits: SplitLevel,
        pool: Pool,
        contexts: np.ndarray,
        interactions: np.ndarray,
        images: int,
        classes: int,
    ) -> None:
        """Set up a level of which nothing is known; ``interactions`` are the r that are considered, (R,)."""
        self.splits, self.pool, self.arity = splits, pool, splits.children.shape[1]
        self.contexts = contexts  # uint8 (s, M, bytes): C
        shape = images, len(splits.parents), len(pool.weights)
        self.kernels = pool.kernels(interactions)  # float64 (R, M, M): k
        # Codes in the split above, int64 (s, M), of the visible siblings, v(C), and with the node itself, v(C ∪ P).
        self.hidden = pool.codes(splits.slots)
        self.shown = self.hidden | (1 << splits.slots)[:, None]
        self.values = np.zeros((*shape, 2**self.arity, classes))  # v(C ∪ S), zero where unknown
        self.seen = np.zeros(shape, dtype=bool)  # observed
        self.size = np.zeros(shape)  # |δ|, zero where not observed
        self.reach = np.full(shape, np.nan)  # h without floor, NaN until the parent's pair is observed
        self.pairs = np.zeros(shape[:2], dtype=np.int64)  # rows of F, one for each observed pair
        self.factor = np.empty(0)  # float64 (N, s, P, M): F, zero from there on; P grows when needed
        self.variance = np.empty(0)  # float64 (N, s, M): of z given what was seen, the diagonal of k - FᵀF

    def observed(self, images: np.ndarray, splits: np.ndarray) -> list[Observed]:
        """Collect what was observed of some splits (s',) of some images (I,).

        Splits with about equally many pairs come together, in parts small enough for their linear systems.
        """
        seen, pairs = self.seen[np.ix_(images, splits)], self.pairs[np.ix_(images, splits)]
        result = []
        for most in FEW_PAIRS * 4 ** np.arange(int(pairs.max(initial=0)).bit_length() // 2 + 1):
            some = np.argwhere((pairs > (most // 4 if most > FEW_PAIRS else 0)) & (pairs <= most))
            for part in np.array_split(some, -(-len(some) * most**2 // SYSTEMS)) if len(some) else ():
                image, split = at = tuple(part.T)
                context = np.argsort(~seen[at], axis=1, kind="stable")[:, :most]
                there = np.take_along_axis(seen[at], context, axis=1)
                values = self.values[images[image][:, None], splits[split][:, None], context]
                delta = asymmetries(values[..., 1:-1, :], self.arity)
                delta = np.where(there[..., None, None], delta, 0.0).reshape(*context.shape, -1)
                result.append(Observed(at, context, there, delta))
        return result

    def floor(self, bare: np.ndarray) -> np.ndarray:
        """Return the reach that every pair has at least, (N,), from the reach without it (N, s, M).

        In terms of the root mean square of all pairs at first, of those left the more are observed: the cold ones.
        """
        weights, left = self.pool.weights, ~self.seen
        share = (left @ weights).mean(axis=1)
        everywhere = (bare**2 @ weights).mean(axis=1)
        elsewhere = ((bare**2 * left) @ weights).mean(axis=1) / np.maximum(share, 1e-12)
        floor = FLOOR * everywhere ** (share / 2) * elsewhere ** ((1 - share) / 2)
        return np.maximum(floor, np.finfo(np.float32).tiny)

    def scales(self, reach: np.ndarray, above: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return σ of each split (N, s), drawn towards its level, and σ² of the level (N, 1), towards the one above."""
        squares = ((self.size / reach) ** 2).sum(axis=2)
        total, count = squares.sum(axis=1, keepdims=True), self.pairs.sum(axis=1, keepdims=True)
        of_level = (total + PRIOR_PAIRS * above) / (count + PRIOR_PAIRS)
        return np.sqrt((squares + PRIOR_PAIRS * of_level) / (self.pairs + PRIOR_PAIRS)), of_level

    def condition(self, r: np.ndarray, image: np.ndarray, split: np.ndarray, context: np.ndarray) -> None:
        """Condition z on one more pair each of some splits (b,), no split twice: add a row (k_C - FᵀF_C) / sd to F."""
        row, b = self.pairs[image, split], np.arange(len(image))
        if row.max() == self.factor.shape[2]:
            more = min(max(self.factor.shape[2], FEW_PAIRS), self.factor.shape[3] - self.factor.shape[2])
            self.factor = np.pad(self.factor, ((0, 0), (0, 0), (0, more), (0, 0)))
        factor = self.factor[image, split]
        column = self.kernels[r[image], context] - (factor[b, :, context][:, None] @ factor)[:, 0]
        column /= np.sqrt(column[b, context])[:, None]
        self.factor[image, split, row] = column
        self.variance[image, split] -= column**2
        self.pairs[image, split] += 1

    def condition_anew(self, r: np.ndarray, images: np.ndarray) -> None:
        """Condition z anew on all that was seen of some images (I,): their r has changed, or this was not kept."""
        if not self.factor.size:
            self.factor = np.zeros((*self.seen.shape[:2], 0, self.seen.shape[2]))
            self.variance = np.empty(self.seen.shape)
        self.factor[images], self.pairs[images] = 0.0, 0
        self.variance[images] = np.diagonal(self.kernels[r[images]], axis1=1, axis2=2)[:, None]
        seen = self.seen[images]
        order, pairs = np.argsort(~seen, axis=2, kind="stable"), seen.sum(axis=2)
        for number in range(pairs.max(initial=0)):
            image, split = np.nonzero(pairs > number)
            self.condition(r, images[image], split, order[image, split, number])

    def gain(self, r: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
        """Return by how much observing each pair would lower the posterior variance of the mean: (N, s, M).

        ``amplitude`` is h σ of every pair, (N, s, M).
        """
        weighted = amplitude * self.pool.weights
        covariance = weighted @ self.kernels[r]
        covariance -= ((self.factor @ weighted[..., None]).swapaxes(2, 3) @ self.factor)[:, :, 0]
        return covariance**2 / np.maximum(self.variance, 1e-6)

    def posterior(
        self,
        images: np.ndarray,
        splits: np.ndarray,
        pairs: list[Observed],
        reach: np.ndarray,
        r: np.ndarray,
        above: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Do Bayesian quadrature of some splits (s',) for some images (I,), under V choices of γ and r for each.

        ``pairs`` is what :meth:`observed` gives for these, ``reach`` h, (V, I, s', M), ``r`` numbers of r, (V, I), and
        ``above`` σ² of the level above, (V, I, K), for levels of which nothing was observed. Returns mean (V, I, s', a,
        K) and variance (V, I, s', K) of Σ_C w_C δ(C), the log marginal likelihood of what was observed (V, I), and σ²
        of the level (V, I, K).
        """
        kernel, weights = self.kernels[r], self.pool.weights
        size = self.arity, self.values.shape[-1]
        hidden = np.where(self.seen[np.ix_(images, splits)], 0.0, weights * reach)
        reachable = hidden @ kernel
        spread, log_det = (reachable * hidden).sum(axis=-1), np.zeros(reach.shape[:3])
        mean, misfit = np.zeros((2, *reach.shape[:3], size[0] * size[1]))
        for some in pairs:
            image, split = (place[:, None] for place in some.at)
            at, where = (slice(None), *some.at), (slice(None), image, split, some.context)
            both, h = some.there[:, :, None] & some.there[:, None, :], np.where(some.there, reach[where], 1.0)
            gram = kernel[:, image[:, :, None], some.context[:, :, None], some.context[:, None, :]]
            system = np.where(both, gram, np.eye(both.shape[1]))  # padded with unit rows
            scaled, towards = some.delta / h[..., None], np.where(some.there, reachable[where], 0.0)
            solved = np.linalg.solve(system, np.concatenate([scaled, towards[..., None]], axis=-1))
            log_det[at] = np.linalg.slogdet(system)[1] + 2 * np.log(h).sum(axis=-1)
            mean[at] = (weights[some.context][..., None] * some.delta).sum(axis=1)
            mean[at] += (towards[..., None] * solved[..., :-1]).sum(axis=-2)
            misfit[at] = (scaled * solved[..., :-1]).sum(axis=-2)
            spread[at] -= (towards * solved[..., -1]).sum(axis=-1)
        misfit = misfit.reshape(*reach.shape[:3], *size).mean(axis=-2)
        number = self.pairs[np.ix_(images, splits)][..., None]  # (I, s', 1)
        total = number.sum(axis=1)
        of_level = misfit.sum(axis=2) / np.maximum(total, 1)
        of_level = np.where(total > 0, of_level, 1.0 if above is None else above)
        prior = PRIOR_PAIRS * np.maximum(of_level, np.finfo(float).tiny)[:, :, None]
        count = number + PRIOR_PAIRS
        # σ² of a split has a scaled inverse χ² prior around that of its level, so z is Student's t.
        fits = (count * np.log1p(misfit / prior) + number * np.log(prior)).sum(axis=2)
        varies = misfit.any(axis=2)  # classes without any effect fit everything
        fit = (fits * varies).sum(axis=-1) / np.maximum(varies.sum(axis=-1), 1)
        own = (misfit + prior) / count
        variance = own * np.maximum(spread, 0.0)[..., None]
        if not self.pool.complete:  # the pool is itself a sample of all contexts, of which it gives the mean
            scatter = own * ((reach**2) @ weights)[..., None]
            diagonal = np.diagonal(kernel, axis1=2, axis2=3).mean(axis=-1)
            variance += scatter * diagonal[..., None, None] / len(weights)
        return mean.reshape(*reach.shape[:3], *size), variance, -0.5 * (log_det.sum(axis=2) + fit), of_level


def tempered(reach: np.ndarray, heat: np.ndarray, splits: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Return h^γ of some splits, (..., I, s', M), in units of the level's root mean square.

    ``reach`` is h of all splits, (I, s, M), and ``heat`` γ of each image, (..., I).
    """
    heat = heat[..., None, None]
    mean = np.sqrt((reach**2).mean(axis=(-2, -1), keepdims=True))
    return reach[:, splits] ** heat * mean ** (1 - heat)


def coarse(gains: np.ndarray) -> np.ndarray:
    """Cut numbers to 11 binary digits: gains that differ by rounding errors are to count as equal, on any machine."""
    return (gains.astype(np.float32).view(np.int32) & -4096).view(np.float32)
