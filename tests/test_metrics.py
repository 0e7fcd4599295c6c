"""Classification scores against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fercore.training import evaluation


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60))
def test_scores_agree_with_scikit_learn(pairs):
    labels, predictions = np.array(pairs).T
    scores = evaluation.classification(labels, predictions)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    present = np.unique(labels)
    assert scores["macro_f1"] == pytest.approx(
        f1_score(labels, predictions, labels=present, average="macro", zero_division=0)
    )
    if set(predictions) <= set(labels):  # scikit-learn warns about others
        assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert np.sum(scores["confusion"]) == len(labels)


def test_a_case_by_hand_with_absent_classes():
    scores = evaluation.classification(np.array([3, 3, 3, 4]), np.array([3, 3, 6, 4]))
    assert scores["accuracy"] == 0.75
    assert scores["recall"]["Happy"] == pytest.approx(2 / 3)
    assert scores["recall"]["Sad"] == 1
    assert scores["recall"]["Fear"] is None
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert scores["confusion"][3] == [0, 0, 0, 2, 0, 0, 1]
    json.dumps(scores, allow_nan=False)
