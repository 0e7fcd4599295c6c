"""The partition tree: an image halved again and again into axis-aligned regions.

A node P is a rectangle of pixels; its children A and B are disjoint with P = A ∪ B. Level l holds 2^l nodes, the root
(level 0) is the whole image and the n = 2^depth leaves are the players of the game. Nodes are numbered level by level,
so the nodes of level l are ``2**l - 1 ... 2**(l + 1) - 2`` and every per-level array is a contiguous slice.

Source: Section 3.3.2 of the paper ("we divide the image in two halves x_1, x_2 ... now x_1 and x_2 are further
divided"); the rule ``"longest"`` is that of ``shap.maskers.Image``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Rule = Literal["longest", "alternate"]
RULES: tuple[Rule, ...] = ("longest", "alternate")

_TOP, _LEFT, _BOTTOM, _RIGHT = range(4)


@dataclass(frozen=True, eq=False)
class PartitionTree:
    """A balanced binary tree over the pixels of an image of ``height`` x ``width``.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        depth: Levels below the root, L; there are n = 2^L leaves.
        rule: How the axis of a cut is chosen, ``"longest"`` or ``"alternate"``.
        boxes: int64 array (2n - 1, 4): ``(top, left, bottom, right)`` of each node, bottom and right exclusive.
        children: int64 array (n - 1, 2): the numbers of A (first half) and B (second half) of each inner node.
        level: int64 array (2n - 1,): the level of each node, 0 for the root.
    """

    height: int
    width: int
    depth: int
    rule: Rule
    boxes: np.ndarray
    children: np.ndarray
    level: np.ndarray

    @property
    def n_leaves(self) -> int:
        """The number n of players (leaf regions)."""
        return 2**self.depth

    def nodes(self, level: int) -> slice:
        """Return the slice of the nodes of a level; negative levels count from the leaves.

        Raises:
            ValueError: If the tree has no such level.
        """
        if not -self.depth - 1 <= level <= self.depth:
            raise ValueError(f"level {level} does not exist: the tree has levels 0 to {self.depth}.")
        level %= self.depth + 1
        return slice(2**level - 1, 2 ** (level + 1) - 1)

    def pixels(self, level: int) -> np.ndarray:
        """Return the number of pixels of each node of a level, int64 array (2^level,)."""
        boxes = self.boxes[self.nodes(level)]
        return (boxes[:, _BOTTOM] - boxes[:, _TOP]) * (boxes[:, _RIGHT] - boxes[:, _LEFT])

    def labels(self, level: int = -1) -> np.ndarray:
        """Return the label map of a level, int64 array (height, width): which node of the level holds each pixel."""
        labels = np.empty((self.height, self.width), dtype=np.int64)
        for index, (top, left, bottom, right) in enumerate(self.boxes[self.nodes(level)]):
            labels[top:bottom, left:right] = index
        return labels

    def coalitions(self, level: int) -> np.ndarray:
        """Return each node of a level as a packed coalition of leaves, uint8 array (2^level, ceil(n / 8)).

        A node of level l holds 2^(depth - l) consecutive leaves. Packed rows unite with ``|`` and subtract with ``^``.
        """
        nodes = self.nodes(level)
        count = nodes.stop - nodes.start
        return pack(np.repeat(np.eye(count, dtype=bool), self.n_leaves // count, axis=1))


def pack(coalitions: np.ndarray) -> np.ndarray:
    """Pack boolean coalitions (M, n) into bits, uint8 array (M, ceil(n / 8)); the unused last bits are zero."""
    return np.packbits(np.asarray(coalitions, dtype=bool), axis=1)


def unpack(packed: np.ndarray, n_players: int) -> np.ndarray:
    """Undo :func:`pack`: boolean array (M, n_players)."""
    return np.unpackbits(packed, axis=1, count=n_players).astype(bool)


def build_tree(height: int, width: int, depth: int, rule: Rule = "longest") -> PartitionTree:
    """Halve an image ``depth`` times into n = 2^depth regions.

    Args:
        height: Rows of the image, at least 1.
        width: Columns of the image, at least 1.
        depth: Number of levels below the root, at least 0.
        rule: ``"longest"`` cuts the longer side of each box, rows on a tie: the regions of ``shap.maskers.Image``. Of
            an odd side the first half is the larger one. (shap cuts at ``start + size // 2``, which would make it the
            smaller, but then numbers its leaves from the last pixel to the first, which turns the tree around.)
            ``"alternate"`` cuts every box of a level along the same axis, rows (top / bottom) first, then columns, and
            so on, at the integer middle, where the first half of an odd side is the smaller one: the tree of the paper.
            The paper's text calls the first axis x, the width; its released code cuts axis 0 of an H x W array first,
            and this is what is done here. Both rules agree on a square image while its sides halve evenly.

    Returns:
        The tree, nodes numbered level by level.

    Raises:
        ValueError: If a size is not positive, the rule is unknown, or the image is too small for the depth; the message
            names the deepest tree that the image allows.
    """
    if height < 1 or width < 1:
        raise ValueError(f"An image needs at least one pixel; height is {height} and width is {width}.")
    check_rule(depth, rule)
    levels = [np.array([[0, 0, height, width]], dtype=np.int64)]
    for level in range(depth):
        halves = _halve(levels[-1], level, rule)
        if halves is None:
            raise ValueError(
                f"depth={depth} is too deep for an image of {height} x {width} pixels under rule={rule!r}: a region "
                f"would have a side of zero pixels. The deepest tree possible is depth={level} ({2**level} regions)."
            )
        levels.append(halves)
    inner = np.arange(2**depth - 1)
    return PartitionTree(
        height=height,
        width=width,
        depth=depth,
        rule=rule,
        boxes=np.concatenate(levels),
        children=np.stack([2 * inner + 1, 2 * inner + 2], axis=1),
        level=np.repeat(np.arange(depth + 1), 2 ** np.arange(depth + 1)),
    )


def check_rule(depth: int, rule: Rule) -> None:
    """Refuse what makes no tree of any image: a depth that is not a count, or an unknown rule."""
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 0:
        raise ValueError(f"depth is the number of halvings, a whole number from 0 on; it is {depth!r}.")
    if rule not in RULES:
        raise ValueError(f"Unknown rule {rule!r}; the rules are {', '.join(map(repr, RULES))}.")


def _halve(boxes: np.ndarray, level: int, rule: Rule) -> np.ndarray | None:
    """Halve each box (m, 4) of a level into (2m, 4), first half before second; None if a side has one pixel only."""
    heights = boxes[:, _BOTTOM] - boxes[:, _TOP]
    widths = boxes[:, _RIGHT] - boxes[:, _LEFT]
    by_rows = heights >= widths if rule == "longest" else np.full(len(boxes), level % 2 == 0)
    sides = np.where(by_rows, heights, widths)
    if sides.min() < 2:
        return None
    first = (sides + 1) // 2 if rule == "longest" else sides // 2
    cuts = np.where(by_rows, boxes[:, _TOP], boxes[:, _LEFT]) + first
    halves = np.repeat(boxes[:, None, :], 2, axis=1)
    halves[:, 0, _BOTTOM] = np.where(by_rows, cuts, boxes[:, _BOTTOM])
    halves[:, 1, _TOP] = np.where(by_rows, cuts, boxes[:, _TOP])
    halves[:, 0, _RIGHT] = np.where(by_rows, boxes[:, _RIGHT], cuts)
    halves[:, 1, _LEFT] = np.where(by_rows, boxes[:, _LEFT], cuts)
    return halves.reshape(-1, 4)
