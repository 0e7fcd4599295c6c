"""The partition tree: an image cut again and again into regions.

The children of a node P are disjoint and together make up P. Level 0 holds the root, the whole image; the n nodes of
the last level are the leaves, the players of the game. A node of a label image that is a single segment is carried
over: it stands on the further levels too, as the only child of itself. Leaves are numbered so that every node holds
consecutive ones (its *span*), and nodes level by level, so that every per-level array is a contiguous slice: under a
rule that halves, the nodes of level l are ``2**l - 1 ... 2**(l + 1) - 2``.

Source: Section 3.3.2 of the paper ("we divide the image in two halves x_1, x_2 ... now x_1 and x_2 are further
divided"); the rule ``"longest"`` is that of ``shap.maskers.Image``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Rule = Literal["longest", "alternate", "quadtree"]
RULES: tuple[Rule, ...] = ("longest", "alternate", "quadtree")
TreeRule = Rule | np.ndarray  # an array is a label image
DEFAULT_DEPTHS: dict[str, int] = {"longest": 6, "alternate": 6, "quadtree": 3}  # 64 regions each

_TOP, _LEFT, _BOTTOM, _RIGHT = range(4)


@dataclass(frozen=True, eq=False)
class PartitionTree:
    """A tree over the pixels of an image of ``height`` x ``width``; levels may be negative, counted from the leaves.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        depth: Levels below the root, L.
        rule: How nodes are cut: ``"longest"``, ``"alternate"``, ``"quadtree"``, or ``"labels"`` for a label image.
        arity: Children of a node that is cut: 4 for the quadtree, else 2.
        boxes: int64 array (nodes of all levels, 4): ``(top, left, bottom, right)`` of each node, bottom and right
            exclusive; for a label image the bounding box, which other segments may enter.
        leaf_labels: int64 array (height, width): the leaf that holds each pixel.
        leaf_spans: One int64 array (m, 2) per level: the first leaf of each node, and the end (exclusive).
    """

    height: int
    width: int
    depth: int
    rule: str
    arity: int
    boxes: np.ndarray
    leaf_labels: np.ndarray
    leaf_spans: tuple[np.ndarray, ...]

    @property
    def n_leaves(self) -> int:
        """The number n of players (leaf regions)."""
        return len(self.leaf_spans[-1])

    @property
    def level(self) -> np.ndarray:
        """The level of each node, 0 for the root, int64 array (nodes of all levels,)."""
        return np.repeat(np.arange(self.depth + 1), [len(spans) for spans in self.leaf_spans])

    @property
    def children(self) -> np.ndarray:
        """The numbers of the children of each node that is cut, int64 array (inner nodes, arity), first part first.

        Row i belongs to node i, except on a label image: there, nodes that are carried over have no row.
        """
        levels = range(self.depth)
        rows = [self.splits(level)[1] + self.nodes(level + 1).start for level in levels]
        return np.concatenate([np.empty((0, self.arity), dtype=np.int64), *rows])

    def n_nodes(self, level: int) -> int:
        """Return the number m of nodes of a level.

        Raises:
            ValueError: If the tree has no such level; so do all methods that take a level.
        """
        return len(self.spans(level))

    def nodes(self, level: int) -> slice:
        """Return the slice of the nodes of a level in the numbering level by level."""
        level = self._index(level)
        start = sum(len(spans) for spans in self.leaf_spans[:level])
        return slice(start, start + len(self.leaf_spans[level]))

    def spans(self, level: int) -> np.ndarray:
        """Return the first leaf of each node of a level and the end (exclusive), int64 array (m, 2)."""
        return self.leaf_spans[self._index(level)]

    def parents(self, level: int) -> np.ndarray:
        """Return where the parent of each node of a level stands within the level above, int64 array (m,).

        Raises:
            ValueError: If there is no level above.
        """
        level = self._index(level)
        if level == 0:
            raise ValueError(f"The root has no parent: level is 1 to {self.depth} here.")
        return np.searchsorted(self.leaf_spans[level - 1][:, 1], self.leaf_spans[level][:, 0], side="right")

    def splits(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes of a level that are cut, and their children.

        Returns:
            Positions within the level, int64 array (s,), and the positions of their children within the next level,
            int64 array (s, arity). Nodes that are carried over are left out.

        Raises:
            ValueError: If the level is the last one, which is not cut.
        """
        level = self._index(level)
        if level == self.depth:
            raise ValueError(f"The leaves (level {level}) are not cut: level is 0 to {self.depth - 1} here.")
        of_each = np.bincount(self.parents(level + 1), minlength=self.n_nodes(level))
        cut = np.flatnonzero(of_each > 1)
        return cut, (np.cumsum(of_each) - of_each)[cut, None] + np.arange(self.arity)

    def pixels(self, level: int) -> np.ndarray:
        """Return the number of pixels of each node of a level, int64 array (m,)."""
        of_leaves = np.bincount(self.leaf_labels.ravel(), minlength=self.n_leaves)
        return np.add.reduceat(of_leaves, self.spans(level)[:, 0])

    def labels(self, level: int = -1) -> np.ndarray:
        """Return the label map of a level, int64 array (height, width): which node of the level holds each pixel."""
        spans = self.spans(level)
        return np.repeat(np.arange(len(spans)), spans[:, 1] - spans[:, 0])[self.leaf_labels]

    def coalitions(self, level: int) -> np.ndarray:
        """Return each node of a level as a packed coalition of leaves, uint8 array (m, ceil(n / 8)).

        Packed rows unite with ``|`` and subtract with ``^``.
        """
        spans, leaves = self.spans(level), np.arange(self.n_leaves)
        return pack((leaves >= spans[:, :1]) & (leaves < spans[:, 1:]))

    def _index(self, level: int) -> int:
        """Return a level counted from the root, refusing those that the tree does not have."""
        if not -self.depth - 1 <= level <= self.depth:
            raise ValueError(f"level {level} does not exist: the tree has levels 0 to {self.depth}.")
        return level % (self.depth + 1)


def pack(coalitions: np.ndarray) -> np.ndarray:
    """Return boolean coalitions (M, n) as bits, uint8 array (M, ceil(n / 8)); the unused last bits are zero."""
    return np.packbits(np.asarray(coalitions, dtype=bool), axis=1)


def unpack(packed: np.ndarray, n_players: int) -> np.ndarray:
    """Return the boolean array (M, n_players) that :func:`pack` made into bits (M, ceil(n / 8))."""
    return np.unpackbits(packed, axis=1, count=n_players).astype(bool)


def build_tree(
    height: int, width: int, depth: int | None = None, rule: TreeRule = "longest"
) -> PartitionTree:
    """Cut an image ``depth`` times over.

    Args:
        height: Rows of the image, at least 1.
        width: Columns of the image, at least 1.
        depth: Number of levels below the root, at least 0. None is 6 where boxes are halved and 3 for the quadtree (64
            regions either way), and for a label image as many as it takes until every segment is alone; fewer make
            leaves of several segments.
        rule: ``"longest"`` cuts the longer side of each box, rows on a tie: the regions of ``shap.maskers.Image``. Of
            an odd side the first half is the larger one. (shap cuts at ``start + size // 2``, which would make it the
            smaller, but then numbers its leaves from the last pixel to the first, which turns the tree around.)
            ``"alternate"`` cuts every box of a level along the same axis, rows (top / bottom) first, then columns, and
            so on, at the integer middle, where the first half of an odd side is the smaller one: the tree of the paper.
            The paper's text calls the first axis x, the width; its released code cuts axis 0 of an H x W array first,
            and this is what is done here. Both rules agree on a square image while its sides halve evenly.
            ``"quadtree"`` cuts every box into four, rows and columns at the integer middle, in the order top left, top
            right, bottom left, bottom right.
            An integer array (height, width) is a label image: one segment (superpixel) per distinct number, whatever
            the numbers, connected or not. The segments of a node are halved by count, the first half the larger one,
            along the axis on which their centroids spread most (rows on a tie).

    Returns:
        The tree, nodes numbered level by level.

    Raises:
        ValueError: If a size is not positive, the rule is unknown, the label image is not an integer array (height,
            width), or the image is too small or has too few segments for the depth; the message names the deepest tree
            possible.
    """
    if height < 1 or width < 1:
        raise ValueError(f"An image needs at least one pixel; height is {height} and width is {width}.")
    check_rule(depth, rule)
    if not isinstance(rule, str):
        return _tree_of_segments(height, width, depth, np.asarray(rule))
    depth = DEFAULT_DEPTHS[rule] if depth is None else int(depth)
    return _tree_of_boxes(int(height), int(width), depth, rule)


@lru_cache(maxsize=8)  # images of one size are explained one after the other
def _tree_of_boxes(height: int, width: int, depth: int, rule: Rule) -> PartitionTree:
    """Cut an image into boxes; the tree's arrays are read-only, for it is shared."""
    arity = 4 if rule == "quadtree" else 2
    levels = [np.array([[0, 0, height, width]], dtype=np.int64)]
    for level in range(depth):
        parts = _quarter(levels[-1]) if rule == "quadtree" else _halve(levels[-1], level, rule)
        if parts is None:
            raise ValueError(
                f"depth={depth} is too deep for an image of {height} x {width} pixels under rule={rule!r}: a region "
                f"would have a side of zero pixels. The deepest tree possible is depth={level} ({arity**level} "
                "regions)."
            )
        levels.append(parts)
    edges = [np.arange(0, arity**depth + 1, arity ** (depth - level)) for level in range(depth + 1)]
    tree = PartitionTree(
        height=height,
        width=width,
        depth=depth,
        rule=rule,
        arity=arity,
        boxes=np.concatenate(levels),
        leaf_labels=_paint(levels[-1], height, width),
        leaf_spans=tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges),
    )
    for array in (tree.boxes, tree.leaf_labels, *tree.leaf_spans):
        array.setflags(write=False)
    return tree


def check_rule(depth: int | None, rule: TreeRule) -> None:
    """Refuse what makes no tree of any image: a depth that is not a count, an unknown rule, labels of a wrong kind."""
    whole = isinstance(depth, (int, np.integer)) and not isinstance(depth, bool)
    if depth is not None and not (whole and depth >= 0):
        raise ValueError(f"depth is the number of cuts, a whole number from 0 on (or None); it is {depth!r}.")
    known = ", ".join(map(repr, RULES))
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"Unknown rule {rule!r}; the rules are {known}, or a label image.")
        return
    labels = np.asarray(rule)
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise ValueError(
            f"A tree is {known}, or a label image: an integer array (H, W) with one number per segment. "
            f"This is an array of {labels.dtype} of shape {labels.shape}."
        )


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


def _quarter(boxes: np.ndarray) -> np.ndarray | None:
    """Cut each box (m, 4) into four, (4m, 4), row by row; None if a side has one pixel only."""
    top, left, bottom, right = boxes.T
    if min((bottom - top).min(), (right - left).min()) < 2:
        return None
    row, column = top + (bottom - top) // 2, left + (right - left) // 2
    quarters = [
        (top, left, row, column),
        (top, column, row, right),
        (row, left, bottom, column),
        (row, column, bottom, right),
    ]
    return np.stack([np.stack(sides, axis=1) for sides in quarters], axis=1).reshape(-1, 4)


def _paint(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which of the disjoint boxes (m, 4) holds each pixel, int64 array (height, width)."""
    top, left, bottom, right = boxes.T
    areas = (bottom - top) * (right - left)
    box = np.repeat(np.arange(len(boxes)), areas)
    within = np.arange(areas.sum()) - np.repeat(np.cumsum(areas) - areas, areas)
    row, column = np.divmod(within, (right - left)[box])
    labels = np.empty((height, width), dtype=np.int64)
    labels[top[box] + row, left[box] + column] = box
    return labels


def _tree_of_segments(height: int, width: int, depth: int | None, image: np.ndarray) -> PartitionTree:
    """Build the tree of a label image (height, width); see :func:`build_tree`."""
    if image.shape != (height, width):
        raise ValueError(
            f"The label image has shape {image.shape}, the images have {height} x {width} pixels: one label for each."
        )
    numbers, segments = np.unique(image, return_inverse=True)
    segments = segments.reshape(image.shape)
    deepest = (len(numbers) - 1).bit_length()
    if depth is not None and depth > deepest:
        raise ValueError(
            f"depth={depth} is too deep for a label image of {len(numbers)} segments: at depth={deepest} every segment "
            "is alone. Leave depth out for that tree."
        )
    depth = deepest if depth is None else int(depth)
    order, edges = _halve_segments(_centroids(segments), depth)
    # An explicit depth may leave several segments in one leaf.
    leaf_of_segment = np.empty(len(numbers), dtype=np.int64)
    leaf_of_segment[order] = np.repeat(np.arange(len(edges[-1]) - 1), np.diff(edges[-1]))
    leaf_labels = leaf_of_segment[segments]
    edges = [np.searchsorted(edges[-1], edge) for edge in edges]  # in leaves, no longer in segments
    boxes = _bounding_boxes(leaf_labels)
    return PartitionTree(
        height=height,
        width=width,
        depth=depth,
        rule="labels",
        arity=2,
        boxes=np.concatenate([_unite(boxes, edge[:-1]) for edge in edges]),
        leaf_labels=leaf_labels,
        leaf_spans=tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges),
    )


def _halve_segments(centroids: np.ndarray, depth: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Halve the set of segments ``depth`` times over by the position of their centroids, float64 array (s, 2).

    Returns:
        The segments in the order in which every node is contiguous, int64 array (s,), and for each level the places
        where its nodes start, ending with s: int64 array (m + 1,).
    """
    order, edges = np.arange(len(centroids)), [np.array([0, len(centroids)])]
    for _ in range(depth):
        starts, sizes = edges[-1][:-1], np.diff(edges[-1])
        node = np.repeat(np.arange(len(sizes)), sizes)
        spread = np.maximum.reduceat(centroids[order], starts) - np.minimum.reduceat(centroids[order], starts)
        axis = (spread[:, 1] > spread[:, 0]).astype(np.int64)[node]
        # Within each node: by the chosen axis, then the other one, then the label.
        order = order[np.lexsort((order, centroids[order, 1 - axis], centroids[order, axis], node))]
        halves = np.stack([starts, starts + (sizes + 1) // 2], axis=1)[sizes > 1]
        edges.append(np.unique(np.concatenate([edges[-1], halves.ravel()])))
    return order, edges


def _centroids(segments: np.ndarray) -> np.ndarray:
    """Return the mean row and column of each segment, float64 array (s, 2), of numbers 0 ... s - 1 (H, W)."""
    flat, places = segments.ravel(), np.indices(segments.shape).reshape(2, -1)
    return np.stack([np.bincount(flat, place) for place in places], axis=1) / np.bincount(flat)[:, None]


def _bounding_boxes(labels: np.ndarray) -> np.ndarray:
    """Return the bounding box of each label 0 ... n - 1 of an array (H, W): int64 array (n, 4)."""
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(flat.max() + 1))
    row, column = np.divmod(order, labels.shape[1])
    return _unite(np.stack([row, column, row + 1, column + 1], axis=1), starts)


def _unite(boxes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the bounding box of each run of consecutive boxes (m, 4), the runs given by where they start."""
    return np.concatenate(
        [np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)], axis=1
    )
