"""DnCShap with adaptive contexts: spend a budget of evaluations where it teaches most, guess the rest, sum exactly.

A *pair* is a split P and a context C of it; observing it costs the interior coalitions of P (two evaluations for two
children) and gives the asymmetries δ(C), see :mod:`fercore.shapley.contexts`. The mean of δ(C) over all contexts is
wanted, and only some can be observed. Bayesian quadrature (O'Hagan 1991) does both that follows from this, guessing
what was not observed and choosing what to observe next, with the model

    δ_P(C) = h_P(C)^γ z_P(C),    z_P a Gaussian process of mean zero and covariance σ_P² Π_j (1 + r s_j s'_j),

s_j = ±1 saying whether the sibling on level j is visible. The kernel gives an effect in which k siblings take part the
weight r^k. The *reach* h_P(C) is how much there is to split in this context: |v(C ∪ P) - v(C)| as soon as the pair of
the parent was observed, plus half the asymmetry found there; half the parent's reach until then. For each image, r and
γ are those that make what was observed likeliest. So where a probability collapses in most contexts, evaluations go to
the few that count (γ = 1), and on logits, where all contexts count alike (γ = 0), they spread as in a balanced design.

Only pairs whose parent was observed are candidates: the recursion of the paper, grown where it pays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fercore.shapley.base import TargetGame
from fercore.shapley.contexts import Pool, extend_codes, pools
from fercore.shapley.splits import SplitLevel, asymmetries, hand_down, split_levels
from fercore.shapley.tree import PartitionTree

# Chosen on 50 faces of FER2013 and kept for everything: see the page "How good is linear?".
R = 0.5  # variance of an effect per sibling that takes part in it, to begin with
INTERACTIONS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65)  # among which the likeliest is taken
SPLITS_TO_FIT = 32  # splits of each level that decide this and the next
FLOOR = 0.3  # reach that every pair of a level has at least, in root mean squares of the level
ROUGH = 0.5  # part of the parent's asymmetry in the reach
FADE = 0.5  # reach in terms of the parent's, as long as the parent's pair was not observed
HEATS = (0.0, 0.5, 1.0)  # exponents of the reach among which the likeliest is taken
REVIEW = 4  # first after so many pairs cubed, then each time their number has grown by this factor
PRIOR_PAIRS = 4.0  # a split's own variance counts like its level's after so many pairs
ROUNDS = 8  # selections per budget, at least; within one, every split gets one pair at most
PART = 4  # and one in so many splits gets any, so that evaluations go where they pay


@dataclass(eq=False)
class _Level:
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


class Search:
    """The pairs observed so far for a group of images, and what follows from them.

    Attributes:
        tree: The partition tree.
        observed: Pairs observed so far per image, int64 array (N,).
    """

    def __init__(self, game: TargetGame, seed: int = 0) -> None:
        """Start with the two ends, which the game has evaluated."""
        self.tree, self._arity = game.tree, game.tree.arity
        self.observed = np.zeros(len(game.empty), dtype=np.int64)
        self._empty, self._full = game.empty, game.full
        self._heat, self._r = [1.0] * len(game.empty), [R] * len(game.empty)
        self._review = np.full(len(game.empty), REVIEW**3)
        self._levels = [
            self._start(splits, pool)
            for splits, pool in zip(split_levels(self.tree), pools(self.tree, seed), strict=False)
        ]
        if self._levels:
            self._levels[0].reach[:] = _size(self._full - self._empty)[:, None, None]

    def _start(self, splits: SplitLevel, pool: Pool) -> _Level:
        """Set up a level of which nothing is known."""
        images, classes = self._full.shape
        shape = (images, len(splits.parents), len(pool.weights))
        hidden = extend_codes(self._arity, splits.slots, pool.extra)
        return _Level(
            splits=splits,
            pool=pool,
            hidden=hidden,
            shown=hidden | (1 << splits.slots)[:, None],
            values=np.zeros((*shape, 2**self._arity, classes)),
            seen=np.zeros(shape, dtype=bool),
            size=np.zeros(shape),
            reach=np.full(shape, np.nan),
            spread=np.broadcast_to(pool.kernel(R).astype(np.float32), (*shape, shape[2])).copy(),
        )

    def _condition_again(self, image: int) -> None:
        """Condition z anew on all that was seen of an image, because its r has changed."""
        for level in self._levels:
            level.spread[image] = level.pool.kernel(self._r[image])
            seen = level.seen[image]
            for context in np.flatnonzero(seen.any(axis=0)):
                split = np.flatnonzero(seen[:, context])
                _condition(level.spread, np.full(len(split), image), split, np.full(len(split), context))

    @staticmethod
    def bytes_per_image(tree: PartitionTree) -> int:
        """Return about how much memory a search takes for each image, most of it for the covariances."""
        contexts = [len(pool.weights) for pool in pools(tree)]
        splits = [len(tree.splits(level)[0]) for level in range(tree.depth)]
        return sum(s * m * (4 * m + 8 * 2**tree.arity + 25) for s, m in zip(splits, contexts, strict=False))

    @property
    def pair_cost(self) -> int:
        """Evaluations per pair."""
        return 2**self._arity - 2

    def run(self, game: TargetGame, pairs: int) -> None:
        """Observe up to ``pairs`` more pairs per image, in rounds."""
        step = max(min(pairs // ROUNDS, self.tree.n_leaves // PART), 1)
        left = np.full(len(self.observed), pairs)
        while left.any() and self._levels:
            chosen = self._choose(np.minimum(step, left))
            if chosen is None:
                break
            self._observe(game, *chosen)
            left -= chosen[3].sum(axis=1)
            due = self.observed >= self._review
            self._review[due] *= REVIEW
            self._fit(np.flatnonzero(due))
        self._fit(np.arange(len(left)))

    def scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scores and standard errors (N, m, K) of the nodes of level l = 0 ... L."""
        totals = (self._full - self._empty)[:, None]
        variances = np.zeros_like(totals)
        yield totals, np.sqrt(variances)
        reaches = self._reaches()
        guesses = [self._guess(image, [reach[image] for reach in reaches]) for image in range(len(totals))]
        for number, level in enumerate(self._levels):
            mean = np.stack([guess[number][0] for guess in guesses])
            variance = np.stack([guess[number][1] for guess in guesses])
            shares = self._shares(number, level)
            totals = hand_down(self.tree, number, level.splits, totals, shares, mean)
            variances = hand_down(self.tree, number, level.splits, variances, shares**2, variance[:, :, None])
            yield totals, np.sqrt(variances)

    def _guess(self, image: int, reaches: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return mean and variance of every level for one image."""
        result, of_level = [], None
        for level, reach in zip(self._levels, _tempered(reaches, self._heat[image]), strict=True):
            every = np.arange(len(reach))
            mean, variance, _, of_level = _posterior(level, image, reach, self._r[image], every, of_level)
            result.append((mean, variance))
        return result

    def _fit(self, images: np.ndarray) -> None:
        """Find the γ and r of some images under which what was observed is likeliest, starting from those they have."""
        reaches = self._reaches() if len(images) else []
        for image in images:
            own, before = [reach[image] for reach in reaches], self._r[image]
            fits = [self._likelihood(image, before, _tempered(own, heat)) for heat in HEATS]
            self._heat[image] = HEATS[int(np.argmax(fits))]
            self._r[image] = self._likeliest_r(image, _tempered(own, self._heat[image]), max(fits))
            if self._r[image] != before:
                self._condition_again(image)

    def _likeliest_r(self, image: int, reaches: list[np.ndarray], fit: float) -> float:
        """Climb from the present r, whose log likelihood is ``fit``, to the likeliest one nearby."""
        at = INTERACTIONS.index(self._r[image])
        for direction in (1, -1):
            start = at
            while 0 <= at + direction < len(INTERACTIONS):
                further = self._likelihood(image, INTERACTIONS[at + direction], reaches)
                if further <= fit:
                    break
                at, fit = at + direction, further
            if at != start:
                break
        return INTERACTIONS[at]

    def _likelihood(self, image: int, r: float, reaches: list[np.ndarray]) -> float:
        """Return the log marginal likelihood of what was observed of an image, on some splits of each level."""
        total, of_level = 0.0, None
        for level, reach in zip(self._levels, reaches, strict=True):
            rows = np.unique(np.linspace(0, len(reach) - 1, min(len(reach), SPLITS_TO_FIT)).astype(int))
            *_, likelihood, of_level = _posterior(level, image, reach, r, rows, of_level)
            total += likelihood
        return total

    def _reaches(self) -> list[np.ndarray]:
        """Return h of every pair, one float64 array (N, s, M) per level."""
        result, bare = [], np.empty(0)
        for number, level in enumerate(self._levels):
            if number:
                inherited = bare[:, level.splits.above[:, None], level.pool.origin]
                bare = np.where(np.isnan(level.reach), FADE * inherited, level.reach)
            else:
                bare = level.reach
            result.append(bare + _floor(bare, level)[:, None, None])
        return result

    def _shares(self, number: int, level: _Level) -> np.ndarray:
        """Return (N, s, a, 1): equal shares, but by pixels for splits of which nothing is known."""
        tree, splits = self.tree, level.splits
        pixels = tree.pixels(number + 1)[splits.children] / tree.pixels(number)[splits.parents, None]
        known = level.seen.any(axis=2)[:, :, None]
        return np.where(known, 1 / self._arity, pixels)[..., None]

    def _choose(self, most: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """Choose up to ``most`` pairs for each image, int64 array (N,).

        Returns:
            Level, split and context of each, int64 arrays (N, k), and which of them are valid, bool array (N, k), most
            useful first; None if nothing is left.
        """
        best, gain = [], []
        scale: np.ndarray | float = 1.0
        for number, (level, reach) in enumerate(zip(self._levels, self._reaches(), strict=True)):
            reach = _tempered([reach], np.reshape(self._heat, (-1, 1, 1)))[0]
            own, scale = _scales(level, reach, scale) if number else (np.ones(reach.shape[:2]), scale)
            open_ = ~level.seen & ~np.isnan(level.reach)  # new, and the parent's pair was observed
            gains = np.where(open_, _coarse(self._gain(number, reach * own[:, :, None])), -1.0)
            best.append(gains.argmax(axis=2))
            gain.append(gains.max(axis=2))
        gains, contexts = np.concatenate(gain, axis=1), np.concatenate(best, axis=1)
        most = np.minimum(most, (gains >= 0).sum(axis=1))
        if not most.any():
            return None
        order = np.argsort(-gains, axis=1, kind="stable")[:, : most.max()]
        starts = np.cumsum([0, *(g.shape[1] for g in gain)])
        levels = np.searchsorted(starts, order, side="right") - 1
        valid = np.arange(order.shape[1]) < most[:, None]
        return levels, order - starts[levels], np.take_along_axis(contexts, order, axis=1), valid

    def _gain(self, number: int, amplitude: np.ndarray) -> np.ndarray:
        """Return by how much observing each pair of a level would lower the posterior variance of the mean: (N, s, M).

        Args:
            number: The level.
            amplitude: h σ of every pair, float64 array (N, s, M).
        """
        level = self._levels[number]
        weighted = (amplitude * level.pool.weights).astype(np.float32)
        covariance = np.matmul(level.spread, weighted[..., None])[..., 0]
        variance = np.diagonal(level.spread, axis1=2, axis2=3)
        return covariance**2 / np.maximum(variance, 1e-6)

    def _observed_asymmetries(self, level: _Level, image: int) -> np.ndarray:
        """Return δ (s, M, a, K) of one image, zero where it was not observed."""
        delta = asymmetries(level.values[image][..., 1:-1, :], self._arity)
        return np.where(level.seen[image][..., None, None], delta, 0.0)

    def _observe(
        self,
        game: TargetGame,
        levels: np.ndarray,
        splits: np.ndarray,
        contexts: np.ndarray,
        valid: np.ndarray,
    ) -> None:
        """Evaluate pairs, int64 arrays (N, k), and take note of what they give."""
        packed = self._coalitions(levels, splits, contexts)
        images, count = levels.shape
        values = game.each(
            packed.reshape(images, count * self.pair_cost, -1), np.repeat(valid, self.pair_cost, axis=1)
        )
        values = values.reshape(images, count, self.pair_cost, -1)
        for number, level in enumerate(self._levels):
            image, pair = np.nonzero(valid & (levels == number))
            if len(image):
                where = (image, splits[image, pair], contexts[image, pair])
                self._note(number, where, values[image, pair])
                _condition(level.spread, *where)
        self.observed += valid.sum(axis=1)

    def _note(
        self, number: int, where: tuple[np.ndarray, np.ndarray, np.ndarray], interior: np.ndarray
    ) -> None:
        """Store v(C ∪ S), (p, 2^a - 2, K), of the pairs ``where`` = (image, split, context) of one level."""
        level, (image, split, context) = self._levels[number], where
        ends = [self._empty[image], self._full[image]]
        if number:
            parents = (image, level.splits.above[split], level.pool.origin[context])
            codes = [level.hidden[split, context], level.shown[split, context]]
            ends = [self._levels[number - 1].values[(*parents, code)] for code in codes]
        values = np.concatenate([ends[0][:, None], interior, ends[1][:, None]], axis=1)
        level.values[where], level.seen[where] = values, True
        level.size[where] = _norm(asymmetries(interior, self._arity))
        if number + 1 < len(self._levels):
            self._reach_below(self._levels[number + 1], where, values, ROUGH * level.size[where])

    def _reach_below(
        self,
        below: _Level,
        where: tuple[np.ndarray, np.ndarray, np.ndarray],
        values: np.ndarray,
        rough: np.ndarray,
    ) -> None:
        """Set h of the pairs of the next level whose parent's pairs were observed, now that their ends are known."""
        image, split, context = where
        size = self._levels[self._levels.index(below) - 1].seen.shape[2]
        pair, child = np.nonzero(below.splits.below_of[split] >= 0)
        child = below.splits.below_of[split[pair], child]
        for further in range(context.size and below.seen.shape[2] // size):
            context_below = context[pair] + further * size  # contexts extend those above in this order
            low, high = below.hidden[child, context_below], below.shown[child, context_below]
            there = _size(values[pair, high] - values[pair, low])
            below.reach[image[pair], child, context_below] = there + rough[pair]

    def _coalitions(self, levels: np.ndarray, splits: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """Return the interior coalitions C ∪ S of pairs (N, k), packed: uint8 array (N, k, 2^a - 2, bytes)."""
        packed = np.zeros((*levels.shape, self.pair_cost, self._levels[0].splits.interior.shape[2]), np.uint8)
        for number, level in enumerate(self._levels):
            here = levels == number
            packed[here] = level.splits.interior[splits[here]]
        levels, splits, contexts = levels.copy(), splits.copy(), contexts.copy()
        for number in range(len(self._levels) - 1, 0, -1):  # climb to the root, adding visible siblings
            level, here = self._levels[number], levels == number
            split, context = splits[here], contexts[here]
            shown = np.where(level.pool.extra[context][:, :, None], level.splits.siblings[split], 0)
            packed[here] |= np.bitwise_or.reduce(shown.astype(np.uint8), axis=1)[:, None]
            splits[here], contexts[here] = level.splits.above[split], level.pool.origin[context]
            levels[here] -= 1
        return packed


def _size(differences: np.ndarray) -> np.ndarray:
    """Return the root mean square over classes (the last axis), so that all explained classes have a say."""
    return np.sqrt((differences**2).mean(axis=-1))


def _norm(deltas: np.ndarray) -> np.ndarray:
    """Return the size of asymmetries (..., a, K) over children and classes; for two children |δ_A - δ_B|."""
    return np.sqrt(2 * (deltas**2).mean(axis=-1).sum(axis=-1))


def _tempered(reaches: list[np.ndarray], heat: float | np.ndarray) -> list[np.ndarray]:
    """Return h^γ of levels, (..., s, M) each, in units of the level's root mean square."""
    means = [np.sqrt((reach**2).mean(axis=(-2, -1), keepdims=True)) for reach in reaches]
    return [reach**heat * mean ** (1 - heat) for reach, mean in zip(reaches, means, strict=True)]


def _floor(bare: np.ndarray, level: _Level) -> np.ndarray:
    """Return the reach that every pair of a level has at least, float64 array (N,).

    In terms of the root mean square of all pairs at first, of those left the more are observed: they are the cold ones.
    """
    weights, left = level.pool.weights, ~level.seen
    share = (left @ weights).mean(axis=1)
    everywhere = (bare**2 @ weights).mean(axis=1)
    elsewhere = ((bare**2 * left) @ weights).mean(axis=1) / np.maximum(share, 1e-12)
    floor = FLOOR * everywhere ** (share / 2) * elsewhere ** ((1 - share) / 2)
    return np.maximum(floor, np.finfo(np.float32).tiny)


def _coarse(gains: np.ndarray) -> np.ndarray:
    """Cut numbers to 11 binary digits: gains that differ by rounding errors are to count as equal, on any machine."""
    return (gains.astype(np.float32).view(np.int32) & -4096).view(np.float32)


def _scales(level: _Level, reach: np.ndarray, above: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return σ of each split (N, s), drawn towards its level, and σ² of the level (N, 1), towards the one above."""
    squares = ((level.size / reach) ** 2).sum(axis=2)
    pairs = level.seen.sum(axis=2)
    total, count = squares.sum(axis=1, keepdims=True), pairs.sum(axis=1, keepdims=True)
    of_level = (total + PRIOR_PAIRS * above) / (count + PRIOR_PAIRS)
    return np.sqrt((squares + PRIOR_PAIRS * of_level) / (pairs + PRIOR_PAIRS)), of_level


def _condition(spread: np.ndarray, image: np.ndarray, split: np.ndarray, context: np.ndarray) -> None:
    """Condition z, in place, on one pair each of some splits; no split twice."""
    rows = np.arange(len(image))
    old = spread[image, split]
    column = old[rows, :, context]
    spread[image, split] = old - column[:, :, None] * (column / column[rows, context][:, None])[:, None, :]


def _posterior(
    level: _Level, image: int, reach: np.ndarray, r: float, rows: np.ndarray, above: np.ndarray | None
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
