"""DnCShap with adaptive contexts: spend a budget of evaluations where it teaches most, guess the rest, sum exactly.

A *pair* is a split P and a context C of it; observing it costs the interior coalitions of P and gives the asymmetries
δ(C), see :mod:`fercore.shapley.contexts`. Their mean over all contexts is wanted, and only some can be observed.
Bayesian quadrature (O'Hagan 1991) guesses what was not observed and chooses what to observe next, with the model

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
from threadpoolctl import ThreadpoolController

from fercore.shapley.contexts import asymmetries, hand_down, pools, see, split_levels
from fercore.shapley.game import TargetGame
from fercore.shapley.quadrature import Level, coarse, tempered
from fercore.shapley.tree import PartitionTree

# Chosen once, on 50 faces of FER2013 under a network of the recipe "paper" (20 epochs), and kept for everything else.
INTERACTIONS = np.array([0.02, 0.1, 0.2, 0.35, 0.5, 0.65])  # r, among which the likeliest is taken
FIRST_R = 4  # its number to begin with
SPLITS_TO_FIT = 32  # splits of each level that decide this and the next
ROUGH = 0.5  # part of the parent's asymmetry in the reach
FADE = 0.5  # reach in terms of the parent's, as long as the parent's pair was not observed
HEATS = np.array([0.0, 0.5, 1.0])  # exponents of the reach among which the likeliest is taken
FIRST_REVIEW = 96  # pairs after which γ and r are fitted first
REVIEW = 4  # then again each time their number has grown by this factor
ROUNDS = 8  # selections per budget, at least; within one, every split gets one pair at most
PART = 2  # and one in so many splits gets any, so that evaluations go where they pay

# The matrices are small, and threads of NumPy that wait for more of them would take the cores from the model.
_on_one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, split and context of pairs of a level, int64 (p,)


class Search:
    """The pairs observed so far for a group of images, and what follows from them.

    Attributes:
        tree: The partition tree.
        pair_cost: Evaluations per pair.
        observed: Pairs observed so far per image, int64 array (N,).
    """

    def __init__(self, game: TargetGame, seed: int = 0) -> None:
        """Start with the two ends, which the game has evaluated."""
        images, classes = game.full.shape
        self.tree, self.pair_cost = game.tree, 2**game.tree.arity - 2
        self.observed = np.zeros(images, dtype=np.int64)
        self._empty, self._full = game.empty, game.full
        self._heat, self._r = np.ones(images), np.full(images, FIRST_R)  # γ and number of r
        self._review = np.full(images, FIRST_REVIEW)
        self._levels: list[Level] = []
        contexts = np.zeros_like(game.everyone)[None]
        for splits, pool in zip(split_levels(self.tree), pools(self.tree, seed), strict=True):
            contexts = see(contexts, splits, pool.origin, pool.extra)
            self._levels.append(Level(splits, pool, contexts, INTERACTIONS, images, classes))
        if self._levels:
            self._levels[0].reach[:] = _size(self._full - self._empty)[:, None, None]

    @staticmethod
    def bytes_per_image(tree: PartitionTree, classes: int) -> int:
        """Return how much memory a search takes for each image at most: with factors of all pairs."""
        contexts = [len(pool.weights) for pool in pools(tree)]
        pairs = [len(tree.splits(level)[0]) * m for level, m in enumerate(contexts)]
        values = 8 * classes * 2**tree.arity + 25
        return sum(count * (8 * m + values) for count, m in zip(pairs, contexts, strict=True))

    def run(self, game: TargetGame, pairs: int) -> None:
        """Observe up to ``pairs`` more pairs per image, in rounds."""
        images = np.arange(len(self.observed))
        for level in self._levels:
            level.condition_anew(self._r, images)
        step = max(min(pairs // ROUNDS, self.tree.n_leaves // PART), 1)
        left = np.full(len(images), pairs)
        while left.any() and self._levels:
            chosen = self._choose(np.minimum(step, left))
            if chosen is None:
                break
            self._observe(game, chosen)
            left -= chosen[3].sum(axis=1)
            due = self.observed >= self._review
            self._review[due] *= REVIEW
            self._fit(np.flatnonzero(due))
        self._fit(images)
        for level in self._levels:
            level.factor = level.variance = np.empty(0)  # by far the largest part, and quickly made again

    def scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scores and standard errors (N, m, K) of the nodes of level l = 0 ... L."""
        totals = (self._full - self._empty)[:, None]
        variances = np.zeros_like(totals)
        yield totals, np.sqrt(variances)
        reaches = list(self._reaches())
        guesses = [self._guess(image, [reach[image] for reach in reaches]) for image in range(len(totals))]
        for number, level in enumerate(self._levels):
            mean = np.stack([guess[number][0] for guess in guesses])
            variance = np.stack([guess[number][1] for guess in guesses])
            children, parents = level.splits.children, level.splits.parents
            pixels = self.tree.pixels(number + 1)[children] / self.tree.pixels(number)[parents, None]
            # Equal shares, but by pixels for splits of which nothing is known.
            shares = np.where(level.pairs[:, :, None] > 0, 1 / self.tree.arity, pixels)[..., None]
            totals = hand_down(self.tree, number, level.splits, totals, shares, mean)
            variances = hand_down(self.tree, number, level.splits, variances, shares**2, variance[:, :, None])
            yield totals, np.sqrt(variances)

    def _reaches(self) -> Iterator[np.ndarray]:
        """Yield h of every pair, one float64 array (N, s, M) per level."""
        bare = self._levels[0].reach if self._levels else np.empty(0)
        for number, level in enumerate(self._levels):
            if number:
                inherited = bare[:, level.splits.above[:, None], level.pool.origin]
                bare = np.where(np.isnan(level.reach), FADE * inherited, level.reach)
            yield bare + level.floor(bare)[:, None, None]

    # --- guess what was not observed

    @_on_one_thread
    def _guess(self, image: int, reaches: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return mean and variance of every level for one image, from h of every level (s, M)."""
        result, of_level, images = [], None, np.array([image])
        heat, r = self._heat[None, images], self._r[None, images]
        for level, reach in zip(self._levels, reaches, strict=True):
            splits = np.arange(len(reach))
            pairs, h = level.observed(images, splits), tempered(reach[None], heat)
            mean, variance, _, of_level = level.posterior(images, splits, pairs, h, r, of_level)
            result.append((mean[0, 0], variance[0, 0]))
        return result

    @_on_one_thread
    def _fit(self, images: np.ndarray) -> None:
        """Find the γ and r of some images (I,) under which what was observed is likeliest, from those they have on."""
        if not len(images):
            return
        looks = []
        for level, reach in zip(self._levels, self._reaches(), strict=False):
            if not level.pairs[images].any():
                break  # nor was anything further down, so there is nothing to be more or less likely
            count = reach.shape[1]
            splits = np.unique(np.linspace(0, count - 1, min(count, SPLITS_TO_FIT)).astype(int))
            looks.append((level, images, splits, level.observed(images, splits), reach[images]))
        before = self._r[images]
        heats = np.repeat(HEATS[:, None], len(images), axis=1)
        heat = HEATS[_likelihoods(looks, heats, np.broadcast_to(before, heats.shape)).argmax(axis=0)]
        every_r = np.repeat(np.arange(len(INTERACTIONS))[:, None], len(images), axis=1)
        fits = _likelihoods(looks, np.broadcast_to(heat, every_r.shape), every_r)
        self._heat[images] = heat
        self._r[images] = [_climb(fits[:, i], start) for i, start in enumerate(before)]
        changed = images[self._r[images] != before]
        for level in self._levels if len(changed) else ():
            level.condition_anew(self._r, changed)

    # --- choose what to observe next

    @_on_one_thread
    def _choose(self, most: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """Choose up to ``most`` pairs for each image, int64 array (N,).

        Returns level, split and context of each, int64 arrays (N, k), and which of them are valid, bool array (N, k),
        most useful first; None if nothing is left.
        """
        best, gains = [], []
        scale: np.ndarray | float = 1.0
        for number, (level, reach) in enumerate(zip(self._levels, self._reaches(), strict=False)):
            reach = tempered(reach, self._heat)
            own, scale = level.scales(reach, scale) if number else (np.ones(reach.shape[:2]), scale)
            open_ = ~level.seen & ~np.isnan(level.reach)  # new, and the parent's pair was observed
            found = np.where(open_, coarse(self._gain(number, reach * own[:, :, None])), -1.0)
            best.append(found.argmax(axis=2))
            gains.append(found.max(axis=2))
            if not level.seen.any():
                break  # then no pair further down is open
        starts = np.cumsum([0, *(of_level.shape[1] for of_level in gains)])
        gains, contexts = np.concatenate(gains, axis=1), np.concatenate(best, axis=1)
        most = np.minimum(most, (gains >= 0).sum(axis=1))
        if not most.any():
            return None
        order = np.argsort(-gains, axis=1, kind="stable")[:, : most.max()]
        levels = np.searchsorted(starts, order, side="right") - 1
        valid = np.arange(order.shape[1]) < most[:, None]
        return levels, order - starts[levels], np.take_along_axis(contexts, order, axis=1), valid

    def _gain(self, number: int, amplitude: np.ndarray) -> np.ndarray:
        """Return what observing each pair of a level is worth, (N, s, M), from its h σ."""
        return self._levels[number].gain(self._r, amplitude)

    # --- observe

    def _observe(self, game: TargetGame, chosen: tuple[np.ndarray, ...]) -> None:
        """Evaluate what :meth:`_choose` chose, and take note of what it gives."""
        levels, splits, contexts, valid = chosen
        cost, bytes_ = self._levels[0].splits.interior.shape[1:]
        packed = np.zeros((*levels.shape, cost, bytes_), np.uint8)  # C ∪ S
        for number, level in enumerate(self._levels):
            here = levels == number
            seen = level.contexts[splits[here], contexts[here]]
            packed[here] = seen[:, None] | level.splits.interior[splits[here]]
        images, count = levels.shape
        values = game.each(packed.reshape(images, count * cost, -1), np.repeat(valid, cost, axis=1))
        values = values.reshape(images, count, cost, -1)
        for number in range(len(self._levels)):
            image, pair = np.nonzero(valid & (levels == number))
            if len(image):
                self._note(number, (image, splits[image, pair], contexts[image, pair]), values[image, pair])
        self.observed += valid.sum(axis=1)

    @_on_one_thread
    def _note(self, number: int, where: Pairs, interior: np.ndarray) -> None:
        """Take note of v(C ∪ S), (p, 2^a - 2, K), of pairs of one level."""
        level, (image, split, context) = self._levels[number], where
        low, high = self._empty[image], self._full[image]  # v(C) and v(C ∪ P)
        if number:
            parent = image, level.splits.above[split], level.pool.origin[context]
            known, pair = self._levels[number - 1].values[parent], np.arange(len(image))
            low, high = known[pair, level.hidden[split, context]], known[pair, level.shown[split, context]]
        values = np.concatenate([low[:, None], interior, high[:, None]], axis=1)
        level.values[where], level.seen[where] = values, True
        # Over children and classes; for two children this is |δ_A - δ_B|.
        deltas = asymmetries(interior, self.tree.arity)
        level.size[where] = np.sqrt(2 * (deltas**2).mean(axis=-1).sum(axis=-1))
        level.condition(self._r, *where)
        if number + 1 < len(self._levels):
            self._reach_below(number + 1, where, values, ROUGH * level.size[where])

    def _reach_below(self, number: int, where: Pairs, values: np.ndarray, rough: np.ndarray) -> None:
        """Set h of the pairs of a level whose parent's pairs were observed, now that their ends are known."""
        below, (image, split, context) = self._levels[number], where
        size = self._levels[number - 1].seen.shape[2]
        pair, child = np.nonzero(below.splits.below_of[split] >= 0)
        child = below.splits.below_of[split[pair], child]
        for further in range(below.seen.shape[2] // size):
            context_below = context[pair] + further * size  # contexts extend those above in this order
            low, high = below.hidden[child, context_below], below.shown[child, context_below]
            there = _size(values[pair, high] - values[pair, low])
            below.reach[image[pair], child, context_below] = there + rough[pair]


def _likelihoods(looks: list[tuple], heats: np.ndarray, rs: np.ndarray) -> np.ndarray:
    """Return the log marginal likelihood of what was observed of I images, on some splits of each level: (V, I).

    ``looks`` has for every level the level, the images, the splits, what was observed of them, and h of all splits;
    ``heats`` and ``rs`` are V choices of γ and of the number of r for each image, (V, I).
    """
    total, of_level = np.zeros(heats.shape), None
    for level, images, splits, pairs, reach in looks:
        h = tempered(reach, heats, splits)
        *_, likelihood, of_level = level.posterior(images, splits, pairs, h, rs, of_level)
        total += likelihood
    return total


def _climb(fits: np.ndarray, start: int) -> int:
    """Climb from one place to the highest nearby, upwards first, then downwards if that led nowhere."""
    for direction in (1, -1):
        at = start
        while 0 <= at + direction < len(fits) and fits[at + direction] > fits[at]:
            at += direction
        if at != start:
            return at
    return start


def _size(differences: np.ndarray) -> np.ndarray:
    """Return the root mean square over classes (the last axis), so that all explained classes have a say."""
    return np.sqrt((differences**2).mean(axis=-1))
