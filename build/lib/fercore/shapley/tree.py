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

from fercore.shapley.inputs import is_whole

TreeRule = Literal["longest", "alternate", "quadtree"] | np.ndarray  # an array is a label image
DEFAULT_DEPTHS = {"longest": 6, "alternate": 6, "quadtree": 3}  # 64 regions each

_TOP, _LEFT = 0, 1  # in boxes; two places further on are bottom and right


@dataclass(frozen=True, eq=False)
class PartitionTree:
    """A tree over the pixels of an image; levels may be negative, counted from the leaves.

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
        rows = [self.splits(level)[1] + self.nodes(level + 1).start for level in range(self.depth)]
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
            ValueError: If the level is the last one, which is not cut, or the tree was put together by hand and does
                not cut every node of several leaves into ``arity`` parts (a node is carried over for good).
        """
        level = self._index(level)
        if level == self.depth:
            raise ValueError(f"The leaves (level {level}) are not cut: level is 0 to {self.depth - 1} here.")
        of_each = np.bincount(self.parents(level + 1), minlength=self.n_nodes(level))
        several = np.diff(self.spans(level))[:, 0] > 1
        if (of_each != np.where(several, self.arity, 1)).any():
            raise ValueError(
                f"Level {level}: a node is cut into {self.arity} on every level until it is one leaf."
            )
        cut = np.flatnonzero(several)
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
        rule: ``"longest"`` cuts the longer side of each box, rows on a tie; of an odd side the first half is larger.
            These are the regions of ``shap.maskers.Image``, which numbers them from the last pixel to the first.
            ``"alternate"`` is the tree of the paper: all boxes of a level are cut along one axis, rows (top / bottom)
            first, then columns, and so on, at the integer middle; of an odd side the first half is smaller. (The text
            calls the first axis x, the width; the released code cuts axis 0 of an H x W array first, as here.)
            ``"quadtree"`` cuts every box into four, rows and columns at the integer middle, in the order top left, top
            right, bottom left, bottom right.
            An integer array (height, width) is a label image: one segment (superpixel) per distinct number, whatever
            the numbers, connected or not. The segments of a node are halved by count, the first half the larger one,
            along the axis on which their centroids spread most (rows on a tie).

    Returns:
        The tree, nodes numbered level by level.

    Raises:
        ValueError: If a size is not positive, the rule is unknown, the label image is not an integer array (height,
            width), or depth is not a count or too deep; the message then names the deepest tree possible.
    """
    if height < 1 or width < 1:
        raise ValueError(f"An image needs at least one pixel; height is {height} and width is {width}.")
    check_rule(depth, rule)
    if not isinstance(rule, str):
        return _tree_of_segments(height, width, depth, np.asarray(rule))
    depth = DEFAULT_DEPTHS[rule] if depth is None else int(depth)
    return _tree_of_boxes(int(height), int(width), depth, rule)


def check_rule(depth: int | None, rule: TreeRule) -> None:
    """Refuse what makes no tree of any image: a depth that is not a count, an unknown rule, labels of a wrong kind."""
    if depth is not None and not is_whole(depth, least=0):
        raise ValueError(f"depth is the number of cuts, a whole number from 0 on (or None); it is {depth!r}.")
    known = ", ".join(map(repr, DEFAULT_DEPTHS))
    if isinstance(rule, str) and rule not in DEFAULT_DEPTHS:
        raise ValueError(f"Unknown rule {rule!r}; the rules are {known}, or a label image.")
    labels = np.asarray(rule)
    if not isinstance(rule, str) and (labels.ndim != 2 or labels.dtype.kind not in "biu"):
        found = f"an array of {labels.dtype} of shape {labels.shape}"
        raise ValueError(f"A tree is {known}, or a label image: an integer array (H, W). This is {found}.")


@lru_cache(maxsize=8)  # images of one size are explained one after the other
def _tree_of_boxes(height: int, width: int, depth: int, rule: str) -> PartitionTree:
    """Cut an image into boxes."""
    arity = 4 if rule == "quadtree" else 2
    boxes = [np.array([[0, 0, height, width]])]
    for level in range(depth):
        parts = _cut(boxes[-1], level, rule)
        if (parts[:, :2] == parts[:, 2:]).any():
            raise ValueError(
                f"depth={depth} is too deep for an image of {height} x {width} pixels under rule={rule!r}: the deepest "
                f"tree possible is depth={level} ({arity**level} regions)."
            )
        boxes.append(parts)
    leaf_labels = np.empty((height, width), dtype=np.int64)
    for leaf, (top, left, bottom, right) in enumerate(boxes[-1].tolist()):
        leaf_labels[top:bottom, left:right] = leaf
    edges = [np.arange(arity**level + 1) * arity ** (depth - level) for level in range(depth + 1)]
    return _tree(rule, arity, boxes, leaf_labels, edges)


def _tree(
    rule: str, arity: int, boxes: list[np.ndarray], leaf_labels: np.ndarray, edges: list[np.ndarray]
) -> PartitionTree:
    """Put a tree together: boxes (m, 4), and the leaves where nodes start, ending with n, (m + 1,), of each level."""
    spans = tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges)
    depth = len(spans) - 1
    tree = PartitionTree(*leaf_labels.shape, depth, rule, arity, np.concatenate(boxes), leaf_labels, spans)
    for array in (tree.boxes, leaf_labels, *spans):
        array.setflags(write=False)  # images share the tree
    return tree


def _cut(boxes: np.ndarray, level: int, rule: str) -> np.ndarray:
    """Cut each box (m, 4) of a level into its parts, (2m, 4), or (4m, 4) for the quadtree."""
    if rule == "quadtree":
        return _halve(_halve(boxes, by_rows=True), by_rows=False)
    if rule == "alternate":
        return _halve(boxes, by_rows=level % 2 == 0)
    height, width = (boxes[:, 2:] - boxes[:, :2]).T
    return _halve(boxes, by_rows=height >= width, larger_first=True)


def _halve(boxes: np.ndarray, by_rows: np.ndarray | bool, *, larger_first: bool = False) -> np.ndarray:
    """Halve each box (m, 4) along rows or columns, first half before second: (2m, 4); of one pixel a half is empty."""
    box, start = np.arange(len(boxes)), np.where(by_rows, _TOP, _LEFT)
    side = boxes[box, start + 2] - boxes[box, start]
    halves = np.repeat(boxes[:, None], 2, axis=1)
    halves[box, 0, start + 2] = halves[box, 1, start] = boxes[box, start] + (side + larger_first) // 2
    return halves.reshape(-1, 4)


def _tree_of_segments(height: int, width: int, depth: int | None, image: np.ndarray) -> PartitionTree:
    """Build the tree of a label image (height, width)."""
    if image.shape != (height, width):
        raise ValueError(f"The label image has shape {image.shape}, the images {height} x {width} pixels.")
    numbers, segments = np.unique(image, return_inverse=True)
    segments = segments.reshape(image.shape)
    deepest = (len(numbers) - 1).bit_length()
    if depth is not None and depth > deepest:
        told = f"at depth={deepest} every segment is alone. Leave depth out for that tree"
        raise ValueError(f"depth={depth} is too deep for a label image of {len(numbers)} segments: {told}.")
    flat, places = segments.ravel(), np.indices(segments.shape).reshape(2, -1)
    centroids = np.stack([np.bincount(flat, place) for place in places], axis=1) / np.bincount(flat)[:, None]
    order, edges = _halve_segments(centroids, deepest if depth is None else int(depth))
    # A depth that was asked for may leave several segments in one leaf.
    leaf_of_segment = np.empty(len(numbers), dtype=np.int64)
    leaf_of_segment[order] = np.repeat(np.arange(len(edges[-1]) - 1), np.diff(edges[-1]))
    leaf_labels = leaf_of_segment[segments]
    edges = [np.searchsorted(edges[-1], edge) for edge in edges]  # in leaves, no longer in segments
    pixels = np.argsort(leaf_labels, axis=None, kind="stable")  # leaf by leaf
    places = np.divmod(pixels, width)
    starts = np.cumsum(np.bincount(leaf_labels.ravel())) - np.bincount(leaf_labels.ravel())
    boxes = [_bounding_boxes(places, starts[edge[:-1]]) for edge in edges]
    return _tree("labels", 2, boxes, leaf_labels, edges)


def _halve_segments(centroids: np.ndarray, depth: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Halve the set of segments ``depth`` times over by their centroids, (s, 2): row and column.

    Returns their order in which every node is contiguous, (s,), and for each level where its nodes start, ending with
    s: (m + 1,).
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


def _bounding_boxes(places: tuple[np.ndarray, np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Return the box (m, 4) around each run of pixels, given by rows and columns (p,) and where runs start (m,)."""
    first = [np.minimum.reduceat(place, starts) for place in places]
    last = [np.maximum.reduceat(place, starts) + 1 for place in places]
    return np.stack([*first, *last], axis=1)
