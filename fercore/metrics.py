"""How good a classifier is, with scikit-learn's definitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fercore.emotions import EMOTIONS, NAMES


def classification(labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """Score predicted classes.

    Args:
        labels: (N,) integers 0..6, the true classes; N at least 1.
        predictions: (N,) integers 0..6.

    Returns:
        ``images`` (N), ``accuracy``, ``macro_f1`` and ``balanced_accuracy`` (0..1, over the classes that occur),
        ``recall`` (class name -> 0..1, None where the class does not occur), ``confusion`` (7 x 7 counts; rows are
        true classes). All JSON-able.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    every = [int(emotion) for emotion in EMOTIONS]
    matrix = confusion_matrix(labels, predictions, labels=every)
    present = matrix.sum(axis=1) > 0
    recall = np.divide(matrix.diagonal(), matrix.sum(axis=1), out=np.zeros(len(every)), where=present)
    return {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(
            f1_score(labels, predictions, labels=np.flatnonzero(present), average="macro", zero_division=0)
        ),
        "balanced_accuracy": float(recall[present].mean()),
        "recall": {n: float(r) if p else None for n, r, p in zip(NAMES, recall, present, strict=True)},
        "confusion": matrix.tolist(),
    }
