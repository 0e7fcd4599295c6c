"""The partition tree: a partition at every level, the numbering, and the errors."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.shapley import build_tree
from fercore.shapley.tree import pack, unpack


def deepest(height: int, width: int, rule: str) -> int:
    depth = 0
    while True:
        try:
            build_tree(height, width, depth + 1, rule)
        except ValueError:
            return depth
        depth += 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["longest", "alternate"]))
def test_every_level_partitions_the_image(height, width, rule):
    depth = min(deepest(height, width, rule), 6)
    tree = build_tree(height, width, depth, rule)
    assert len(tree.boxes) == 2 * tree.n_leaves - 1
    for level in range(depth + 1):
        labels, pixels = tree.labels(level), tree.pixels(level)
        assert (tree.level[tree.nodes(level)] == level).all()
        assert pixels.min() >= 1
        assert (np.bincount(labels.ravel(), minlength=2**level) == pixels).all()
        if level:
            assert (tree.labels(level - 1) == labels // 2).all()  # siblings are neighbours in the numbering
    for parent, (a, b) in enumerate(tree.children):
        top, left, bottom, right = tree.boxes[parent]
        assert tuple(tree.boxes[a][:2]) == (top, left)
        assert tuple(tree.boxes[b][2:]) == (bottom, right)


def test_first_cut_is_top_and_bottom():
    for rule, middle in (("longest", 3), ("alternate", 2)):
        tree = build_tree(5, 5, 2, rule)
        assert tree.boxes[tree.nodes(1)].tolist() == [[0, 0, middle, 5], [middle, 0, 5, 5]]


def test_rules_differ_on_a_wide_image():
    assert build_tree(4, 12, 1, "longest").boxes[1].tolist() == [0, 0, 4, 6]
    assert build_tree(4, 12, 1, "alternate").boxes[1].tolist() == [0, 0, 2, 12]


def test_rules_agree_on_a_square_of_even_halves():
    one, other = build_tree(48, 48, 8, "longest"), build_tree(48, 48, 8, "alternate")
    assert (one.boxes == other.boxes).all()
    assert one.boxes[-1].tolist() == [45, 45, 48, 48]


@pytest.mark.parametrize(("height", "width", "rule", "most"), [(7, 5, "longest", 4), (2, 64, "alternate", 2)])
def test_too_deep_says_how_deep_is_possible(height, width, rule, most):
    build_tree(height, width, most, rule)
    with pytest.raises(
        ValueError, match=rf"depth=9 .* {height} x {width} .*depth={most} \({2**most} regions\)"
    ):
        build_tree(height, width, 9, rule)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 4, 1), "at least one pixel"),
        ((4, 4, -1), "depth"),
        ((4, 4, 1.5), "depth"),
        ((4, 4, 1, "square"), "'square'; the rules are 'longest', 'alternate', 'quadtree', or a label image"),
        ((4, 4, True), "depth"),
        ((4, 4, -1, np.arange(16).reshape(4, 4)), "depth"),
        ((4, 4, 5, np.arange(16).reshape(4, 4)), "16 segments: at depth=4 every segment is alone"),
        ((4, 4, 1, np.zeros((4, 4), dtype=int)), "1 segments: at depth=0"),
        ((4, 4, None, np.zeros((4, 5), dtype=int)), r"shape \(4, 5\), the images have 4 x 4 pixels"),
        ((4, 4, None, np.zeros((4, 4))), "float64 of shape"),
        ((4, 4, None, np.zeros((1, 4, 4), dtype=int)), r"\(1, 4, 4\)"),
        ((4, 4, None, None), "label image: an integer array"),
    ],
)
def test_nonsense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        build_tree(*arguments)


def test_unknown_level():
    tree = build_tree(4, 4, 2)
    for method in (
        tree.nodes,
        tree.spans,
        tree.labels,
        tree.pixels,
        tree.coalitions,
        tree.parents,
        tree.splits,
    ):
        for level in (3, -4):
            with pytest.raises(ValueError, match="levels 0 to 2"):
                method(level)
    for level in (0, -3):
        with pytest.raises(ValueError, match="root has no parent"):
            tree.parents(level)
    for level in (2, -1):
        with pytest.raises(ValueError, match=r"leaves .* not cut"):
            tree.splits(level)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6))
def test_coalitions_of_a_level_are_disjoint_and_complete(depth):
    tree = build_tree(16, 16, depth)
    for level in range(depth + 1):
        members = unpack(tree.coalitions(level), tree.n_leaves)
        assert (members.sum(axis=0) == 1).all()
        leaf_level = tree.labels(level)[tree.boxes[tree.nodes(-1), 0], tree.boxes[tree.nodes(-1), 1]]
        assert (members.argmax(axis=0) == leaf_level).all()
        assert (pack(members) == tree.coalitions(level)).all()


# --- the interface that all trees share


@st.composite
def trees(draw):
    """A tree of any kind, and the label image it was made of if it was."""
    height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    rule = draw(st.sampled_from(["longest", "alternate", "quadtree", "labels"]))
    if rule != "labels":
        return build_tree(height, width, min(deepest(height, width, rule), 4), rule), None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = rng.integers(-1000, 1000, size=draw(st.integers(1, 40)))
    image = rng.choice(numbers, size=(height, width))
    deep = (len(np.unique(image)) - 1).bit_length()
    return build_tree(height, width, draw(st.sampled_from([None, deep // 2])), image), image


@settings(max_examples=150, deadline=None)
@given(trees())
def test_every_view_of_a_tree_agrees(made):
    tree, image = made
    n, leaves = tree.n_leaves, tree.labels()
    assert tree.coalitions(0).shape == (1, -(-n // 8))
    assert unpack(tree.coalitions(0), n).all()
    if image is not None and n == len(np.unique(image)):
        assert len(set(zip(image.ravel().tolist(), leaves.ravel().tolist(), strict=True))) == n
    for level in range(tree.depth + 1):
        spans, labels = tree.spans(level), tree.labels(level)
        assert tree.n_nodes(level) == len(spans) == tree.n_nodes(level - tree.depth - 1)
        assert spans[0, 0] == 0
        assert spans[-1, 1] == n
        assert (spans[1:, 0] == spans[:-1, 1]).all()
        assert ((spans[labels, 0] <= leaves) & (leaves < spans[labels, 1])).all()
        assert (np.bincount(labels.ravel(), minlength=len(spans)) == tree.pixels(level)).all()
        assert tree.pixels(level).min() >= 1
        members = np.arange(n)
        expected = (members >= spans[:, :1]) & (members < spans[:, 1:])
        assert (unpack(tree.coalitions(level), n) == expected).all()
        assert (tree.level[tree.nodes(level)] == level).all()
        for (top, left, bottom, right), node in zip(
            tree.boxes[tree.nodes(level)], range(len(spans)), strict=True
        ):
            rows, columns = np.nonzero(labels == node)
            assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (
                top,
                left,
                bottom,
                right,
            )
    assert len(tree.boxes) == len(tree.level) == tree.nodes(-1).stop


@settings(max_examples=150, deadline=None)
@given(trees())
def test_splits_and_parents_are_inverse(made):
    tree, _ = made
    for level in range(tree.depth):
        above, below, parents = tree.spans(level), tree.spans(level + 1), tree.parents(level + 1)
        assert ((above[parents, 0] <= below[:, 0]) & (below[:, 1] <= above[parents, 1])).all()
        cut, children = tree.splits(level)
        assert children.shape == (len(cut), tree.arity)
        assert (parents[children] == cut[:, None]).all()
        assert (below[children[:, 0], 0] == above[cut, 0]).all()
        assert (below[children[:, -1], 1] == above[cut, 1]).all()
        carried = np.setdiff1d(np.arange(len(above)), cut)
        assert (np.isin(parents, carried).sum()) == len(carried)
        assert (above[carried] == below[np.isin(parents, carried)]).all()
        assert len(below) == len(above) + len(cut) * (tree.arity - 1)
    assert len(tree.children) == sum(len(tree.splits(level)[0]) for level in range(tree.depth))


def test_children_are_numbered_through():
    assert build_tree(8, 8, 3).children.tolist() == [[2 * i + 1, 2 * i + 2] for i in range(7)]
    assert build_tree(8, 8, 2, "quadtree").children.tolist() == [
        [4 * i + j for j in (1, 2, 3, 4)] for i in range(5)
    ]
    assert build_tree(1, 1, 0).children.shape == (0, 2)


def test_depths_left_out():
    assert [build_tree(48, 40, None, rule).n_leaves for rule in ("longest", "alternate", "quadtree")] == [
        64
    ] * 3
    assert build_tree(3, 4, None, np.arange(12).reshape(3, 4)).depth == 4


# --- quadtree


def test_quadtree_boxes():
    tree = build_tree(5, 7, 1, "quadtree")
    assert (tree.arity, tree.rule) == (4, "quadtree")
    assert tree.boxes.tolist() == [[0, 0, 5, 7], [0, 0, 2, 3], [0, 3, 2, 7], [2, 0, 5, 3], [2, 3, 5, 7]]
    assert tree.pixels(1).tolist() == [6, 8, 9, 12]


def test_quadtree_on_powers_of_two_has_the_boxes_of_two_halvings():
    four, two = build_tree(16, 16, 2, "quadtree"), build_tree(16, 16, 4)
    for level in (1, 2):
        assert (four.labels(level) == two.labels(2 * level)).all()


def test_quadtree_too_deep():
    with pytest.raises(ValueError, match=r"depth=3 .* 7 x 12 .*'quadtree'.*depth=2 \(16 regions\)"):
        build_tree(7, 12, 3, "quadtree")  # 7 rows, 3 of them, 1 of these


# --- label images


def test_segments_of_a_grid_are_halved_like_boxes():
    grid = build_tree(24, 24, 6).labels()
    tree = build_tree(24, 24, None, grid * 7 - 100)
    for level in range(7):
        assert (tree.labels(level) == build_tree(24, 24, 6).labels(level)).all()


def test_three_segments_by_hand():
    image = np.array([[5, 5, 5, -1, 9]])
    tree = build_tree(1, 5, None, image)
    assert (tree.rule, tree.arity, tree.depth, tree.n_leaves) == ("labels", 2, 2, 3)
    assert tree.labels(1).tolist() == [[0, 0, 0, 0, 1]]  # the larger half first
    assert tree.labels().tolist() == [[0, 0, 0, 1, 2]]
    assert tree.parents(2).tolist() == [0, 0, 1]
    cut, children = tree.splits(1)
    assert (cut.tolist(), children.tolist()) == ([0], [[0, 1]])  # the third segment is carried over
    assert tree.nodes(2) == slice(3, 6)
    assert tree.boxes[2].tolist() == tree.boxes[5].tolist() == [0, 4, 1, 5]
    shallow = build_tree(1, 5, 1, image)
    assert shallow.labels().tolist() == [[0, 0, 0, 0, 1]]
    assert shallow.spans(0).tolist() == [[0, 2]]


def test_segments_with_one_centroid_are_ordered_by_label():
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    assert build_tree(3, 3, None, ring).labels().tolist() == ring.tolist()
    assert build_tree(3, 3, None, -ring).labels().tolist() == (1 - ring).tolist()


@pytest.mark.parametrize("segments", [1, 2, 3, 7, 8, 9, 37])
def test_segments_are_balanced(segments):
    image = np.random.default_rng(0).permutation(np.arange(400) % segments).reshape(20, 20)
    tree = build_tree(20, 20, None, image)
    assert tree.depth == int(np.ceil(np.log2(segments)))
    for level in range(tree.depth + 1):
        sizes = np.diff(tree.spans(level), axis=1)
        assert sizes.max() - sizes.min() <= 1


def test_labels_of_any_integer_type():
    image = np.arange(16).reshape(4, 4) // 3
    expected = build_tree(4, 4, None, image).labels()
    for dtype in (np.uint8, np.int16, np.uint64):
        assert (build_tree(4, 4, None, image.astype(dtype)).labels() == expected).all()
    assert build_tree(4, 4, None, image > 2).n_leaves == 2


def test_large_trees_are_quick():
    image = np.random.default_rng(0).permutation(224 * 224).reshape(224, 224) % 4096
    for depth, rule in ((12, "longest"), (6, "quadtree"), (None, image)):
        start = time.process_time()
        tree = build_tree(224, 224, depth, rule)
        tree.labels(), tree.labels(5), tree.pixels(-1)
        assert time.process_time() - start < 0.5  # about 0.01 to 0.04 s; a loop over boxes or segments shows
        assert tree.n_leaves == 4096
