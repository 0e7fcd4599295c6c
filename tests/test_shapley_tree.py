"""The partition tree: every view of it agrees, boxes and segments are cut as they should, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.shapley import build_tree
from fercore.shapley.contexts import split_levels
from fercore.shapley.tree import pack, unpack


def deepest(height, width, rule):
    for depth in range(8):
        try:
            build_tree(height, width, depth + 1, rule)
        except ValueError:
            return depth
    return 8


@st.composite
def trees(draw):
    """A tree of any kind, and the label image it was made of if it was."""
    height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    rule = draw(st.sampled_from(["longest", "alternate", "quadtree", "labels"]))
    if rule != "labels":
        return build_tree(height, width, min(deepest(height, width, rule), 4), rule), None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.choice(rng.integers(-1000, 1000, size=draw(st.integers(1, 40))), size=(height, width))
    deep = (len(np.unique(image)) - 1).bit_length()
    return build_tree(height, width, draw(st.sampled_from([None, deep // 2])), image), image


@settings(max_examples=200)
@given(trees())
def test_every_view_of_a_level_agrees_and_splits_lead_to_the_next(made):
    tree, image = made
    n, leaves = tree.n_leaves, tree.labels()
    if image is not None and n == len(np.unique(image)):
        assert len(set(zip(image.ravel().tolist(), leaves.ravel().tolist(), strict=True))) == n
    for level in range(tree.depth + 1):
        spans, labels, some = tree.spans(level), tree.labels(level), np.arange(n)
        assert tree.n_nodes(level) == len(spans) == tree.n_nodes(level - tree.depth - 1)
        assert (spans[0, 0], spans[-1, 1]) == (0, n)
        assert (spans[1:, 0] == spans[:-1, 1]).all()
        assert ((spans[labels, 0] <= leaves) & (leaves < spans[labels, 1])).all()
        assert (np.bincount(labels.ravel(), minlength=len(spans)) == tree.pixels(level)).all()
        assert tree.pixels(level).min() >= 1
        expected = (some >= spans[:, :1]) & (some < spans[:, 1:])
        assert (unpack(tree.coalitions(level), n) == expected).all()
        assert (pack(expected) == tree.coalitions(level)).all()
        assert (tree.level[tree.nodes(level)] == level).all()
        for node, box in enumerate(tree.boxes[tree.nodes(level)].tolist()):
            rows, columns = np.nonzero(labels == node)
            assert box == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert len(tree.boxes) == len(tree.level) == tree.nodes(-1).stop
    for level in range(tree.depth):
        above, below, parents = tree.spans(level), tree.spans(level + 1), tree.parents(level + 1)
        cut, children = tree.splits(level)
        assert ((above[parents, 0] <= below[:, 0]) & (below[:, 1] <= above[parents, 1])).all()
        assert children.shape == (len(cut), tree.arity)
        assert (parents[children] == cut[:, None]).all()
        assert (below[children[:, 0], 0] == above[cut, 0]).all()
        assert (below[children[:, -1], 1] == above[cut, 1]).all()
        carried = np.setdiff1d(np.arange(len(above)), cut)
        assert (above[carried] == below[np.isin(parents, carried)]).all()
        assert len(below) == len(above) + len(cut) * (tree.arity - 1)
        assert np.isin(children + tree.nodes(level + 1).start, tree.children).all()
    assert len(tree.children) == sum(len(tree.splits(level)[0]) for level in range(tree.depth))


def test_boxes_and_numbers_by_hand():
    assert build_tree(5, 5, 1, "longest").boxes[1:].tolist() == [[0, 0, 3, 5], [3, 0, 5, 5]]
    assert build_tree(5, 5, 1, "alternate").boxes[1:].tolist() == [[0, 0, 2, 5], [2, 0, 5, 5]]
    assert build_tree(4, 12, 1, "longest").boxes[1].tolist() == [0, 0, 4, 6]
    assert build_tree(4, 12, 1, "alternate").boxes[1].tolist() == [0, 0, 2, 12]
    boxes = build_tree(5, 7, 1, "quadtree").boxes
    assert boxes.tolist() == [[0, 0, 5, 7], [0, 0, 2, 3], [0, 3, 2, 7], [2, 0, 5, 3], [2, 3, 5, 7]]
    for depth, rule, arity in ((3, "longest", 2), (2, "quadtree", 4)):
        children = build_tree(8, 8, depth, rule).children.tolist()
        assert children == [[arity * i + j for j in range(1, arity + 1)] for i in range(len(children))]
    assert [build_tree(48, 40, None, rule).n_leaves for rule in ("longest", "quadtree")] == [64] * 2


def test_rules_agree_where_sides_halve_evenly():
    one, other = build_tree(48, 48, 8, "longest"), build_tree(48, 48, 8, "alternate")
    assert (one.boxes == other.boxes).all()
    four, two = build_tree(16, 16, 2, "quadtree"), build_tree(16, 16, 4)
    grid = build_tree(16, 16, None, two.labels() * 7 - 100)
    for level in range(3):
        assert (four.labels(level) == two.labels(2 * level)).all()
        assert (grid.labels(2 * level) == two.labels(2 * level)).all()


def test_three_segments_by_hand():
    image = np.array([[5, 5, 5, -1, 9]])
    tree = build_tree(1, 5, None, image)
    assert (tree.rule, tree.arity, tree.depth, tree.n_leaves) == ("labels", 2, 2, 3)
    assert tree.labels(1).tolist() == [[0, 0, 0, 0, 1]]  # the larger half first
    assert tree.labels().tolist() == [[0, 0, 0, 1, 2]]
    assert tree.parents(2).tolist() == [0, 0, 1]
    cut, children = tree.splits(1)
    assert (cut.tolist(), children.tolist()) == ([0], [[0, 1]])  # the third segment is carried over
    assert tree.boxes[2].tolist() == tree.boxes[5].tolist() == [0, 4, 1, 5]
    assert build_tree(1, 5, 1, image).labels().tolist() == [[0, 0, 0, 0, 1]]


def test_segments_with_one_centroid_are_ordered_by_label():
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    assert build_tree(3, 3, None, ring).labels().tolist() == ring.tolist()
    assert build_tree(3, 3, None, -ring).labels().tolist() == (1 - ring).tolist()


@pytest.mark.parametrize(
    ("segments", "dtype"), [(1, np.uint8), (7, np.int16), (8, np.uint64), (37, np.uint8)]
)
def test_segments_are_balanced(segments, dtype):
    image = np.random.default_rng(0).permutation(np.arange(400) % segments).reshape(20, 20)
    tree = build_tree(20, 20, None, image.astype(dtype))
    assert (tree.labels() == build_tree(20, 20, None, image).labels()).all()
    assert tree.depth == int(np.ceil(np.log2(segments)))
    for level in range(tree.depth + 1):
        sizes = np.diff(tree.spans(level), axis=1)
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 4, 1), "at least one pixel"),
        ((7, 5, 9), r"depth=9 .* 7 x 5 .*'longest'.*depth=4 \(16 regions\)"),
        ((7, 12, 3, "quadtree"), r"depth=2 \(16 regions\)"),  # 7 rows, 3 of them, 1 of these
        ((4, 4, 5, np.arange(16).reshape(4, 4)), "16 segments: at depth=4 every segment is alone"),
        ((4, 4, None, np.zeros((1, 4, 4), dtype=int)), r"\(1, 4, 4\)"),
    ],
)
def test_trees_that_do_not_fit(arguments, words):
    with pytest.raises(ValueError, match=words):
        build_tree(*arguments)


def test_levels_that_are_not_there():
    tree = build_tree(4, 4, 2)
    for level in (3, -4):
        with pytest.raises(ValueError, match="levels 0 to 2"):
            tree.labels(level)
    with pytest.raises(ValueError, match="root has no parent"):
        tree.parents(-3)
    with pytest.raises(ValueError, match=r"leaves .* not cut"):
        tree.splits(-1)


@pytest.mark.parametrize("edges", [[[0, 3], [0, 1, 2, 3]], [[0, 3], [0, 2, 3], [0, 2, 3], [0, 1, 2, 3]]])
def test_trees_made_by_hand_that_no_method_could_split(edges):
    """Three children of a node that has two, and a node that is carried over and cut later."""
    spans = tuple(np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges)
    tree = replace(build_tree(1, 3, 1), depth=len(edges) - 1, leaf_spans=spans)
    with pytest.raises(ValueError, match="until it is one leaf"):
        split_levels(tree)
