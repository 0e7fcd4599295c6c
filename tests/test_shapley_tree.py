"""The partition tree: a partition at every level, the numbering, and the errors."""

from __future__ import annotations

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
        ((4, 4, 1, "square"), "square"),
    ],
)
def test_nonsense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        build_tree(*arguments)


def test_unknown_level():
    with pytest.raises(ValueError, match="levels 0 to 2"):
        build_tree(4, 4, 2).nodes(3)


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
