"""DnCShap with adaptive contexts: spend a budget of evaluations where it teaches most, guess the rest, sum exactly.

A *pair* is a split P and a context C of it; observing it costs the interior coalitions of P (two evaluations for two
children) and gives the asymmetries δ(C), see :mod:`fercore.shapley.contexts`. The mean of δ(C) over all contexts is
wanted, and only some can be observed. Bayesian quadrature (O'Hagan 1991) does both that follows from this, guessing
what was not observed and choosing what to observe next, with the model

    δ_P(C) = h_P(C)^γ z_P(C),    z_P a Gaussian process of mean zero and covariance σ_P² Π_j (1 + r s_j s'_j),

s_j = ±1 saying whether the sibling on level j is visible. The kernel gives an effect in which k siblings take part the
weight r^k. The *reach* h_P(C) is how much there is to split in this context: |v(C ∪ P) - v(C)| as soon as the pair of
the parent was observed, plus half the difference of its children found there; half the parent's reach until then. For
each image, r and γ are those that make what was observed likeliest. So where a probability collapses in most contexts,
evaluations go to the few that count (γ = 1), and on logits, where all contexts count alike (γ = 0), they spread as in a
balanced design.

Only pairs whose parent was observed are candidates: the recursion of the paper, grown where it pays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fercore.shapley.base import TargetGame
from fercore.shapley.contexts import Pool, extend_codes, pools
from fercore.shapley.quadrature import Level, coarse, condition, floor, posterior, scales, tempered
from fercore.shapley.splits import SplitLevel, asymmetries, hand_down, split_levels
from fercore.shapley.tree import PartitionTree

# Chosen once, on 50 faces of FER2013 under a network of the recipe "paper" (20 epochs), and kept for everything else.
R = 0.5  # variance of an effect per sibling that takes part in it, to begin with
INTERACTIONS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65)  # among which the likeliest is taken
SPLITS_TO_FIT = 32  # splits of each level that decide this and the next
ROUGH = 0.5  # part of the parent's asymmetry in the reach
FADE = 0.5  # reach in terms of the parent's, as long as the parent's pair was not observed
HEATS = (0.0, 0.5, 1.0)  # exponents of the reach among which the likeliest is taken
FIRST_REVIEW = 96  # pairs after which γ and r are fitted first
REVIEW = 4  # then again each time their number has grown by this factor
ROUNDS = 8  # selections per budget, at least; within one, every split gets one pair at most
PART = 2  # and one in so many splits gets any, so that evaluations go where they pay


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
        self._review = np.full(len(game.empty), FIRST_REVIEW)
        self._levels = [
            self._start(splits, pool)
            for splits, pool in zip(split_levels(self.tree), pools(self.tree, seed), strict=False)
        ]
        if self._levels:
            self._levels[0].reach[:] = _size(self._full - self._empty)[:, None, None]

    def _start(self, splits: SplitLevel, pool: Pool) -> Level:
        """Set up a level of which nothing is known."""
        images, classes = self._full.shape
        shape = (images, len(splits.parents), len(pool.weights))
        hidden = extend_codes(self._arity, splits.slots, pool.extra)
        return Level(
            splits=splits,
            pool=pool,
            hidden=hidden,
            shown=hidden | (1 << splits.slots)[:, None],
            values=np.zeros((*shape, 2**self._arity, classes)),
            seen=np.zeros(shape, dtype=bool),
            size=np.zeros(shape),
            reach=np.full(shape, np.nan),
            spread=np.empty(0, dtype=np.float32),
        )

    def _condition_again(self, image: int) -> None:
        """Condition z anew on all that was seen of an image: its r has changed, or this was not kept."""
        for level in self._levels:
            if not level.spread.size:
                level.spread = np.empty((*level.seen.shape, level.seen.shape[2]), dtype=np.float32)
            level.spread[image] = level.pool.kernel(self._r[image])
            seen = level.seen[image]
            for context in np.flatnonzero(seen.any(axis=0)):
                split = np.flatnonzero(seen[:, context])
                condition(level.spread, np.full(len(split), image), split, np.full(len(split), context))

    @staticmethod
    def bytes_per_image(tree: PartitionTree, classes: int) -> int:
        """Return about how much memory a search takes for each image, most of it for the covariances while it runs."""
        contexts = [len(pool.weights) for pool in pools(tree)]
        splits = [len(tree.splits(level)[0]) for level in range(tree.depth)]
        return sum(
            s * m * (4 * m + 8 * classes * 2**tree.arity + 25) for s, m in zip(splits, contexts, strict=False)
        )

    @property
    def pair_cost(self) -> int:
        """Evaluations per pair."""
        return 2**self._arity - 2

    def run(self, game: TargetGame, pairs: int) -> None:
        """Observe up to ``pairs`` more pairs per image, in rounds."""
        for image in range(len(self.observed)):
            self._condition_again(image)
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
        for level in self._levels:
            level.spread = np.empty(0, dtype=np.float32)  # by far the largest part, and quickly made again

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
        for level, reach in zip(self._levels, tempered(reaches, self._heat[image]), strict=True):
            every = np.arange(len(reach))
            mean, variance, _, of_level = posterior(level, image, reach, self._r[image], every, of_level)
            result.append((mean, variance))
        return result

    def _fit(self, images: np.ndarray) -> None:
        """Find the γ and r of some images under which what was observed is likeliest, starting from those they have."""
        reaches = self._reaches() if len(images) else []
        for image in images:
            own, before = [reach[image] for reach in reaches], self._r[image]
            fits = [self._likelihood(image, before, tempered(own, heat)) for heat in HEATS]
            self._heat[image] = HEATS[int(np.argmax(fits))]
            self._r[image] = self._likeliest_r(image, tempered(own, self._heat[image]), max(fits))
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
            *_, likelihood, of_level = posterior(level, image, reach, r, rows, of_level)
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
            result.append(bare + floor(bare, level)[:, None, None])
        return result

    def _shares(self, number: int, level: Level) -> np.ndarray:
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
            reach = tempered([reach], np.reshape(self._heat, (-1, 1, 1)))[0]
            own, scale = scales(level, reach, scale) if number else (np.ones(reach.shape[:2]), scale)
            open_ = ~level.seen & ~np.isnan(level.reach)  # new, and the parent's pair was observed
            gains = np.where(open_, coarse(self._gain(number, reach * own[:, :, None])), -1.0)
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
                condition(level.spread, *where)
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
            self._reach_below(number + 1, where, values, ROUGH * level.size[where])

    def _reach_below(
        self,
        number: int,
        where: tuple[np.ndarray, np.ndarray, np.ndarray],
        values: np.ndarray,
        rough: np.ndarray,
    ) -> None:
        """Set h of the pairs of a level whose parent's pairs were observed, now that their ends are known."""
        below, (image, split, context) = self._levels[number], where
        size = self._levels[number - 1].seen.shape[2]
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
