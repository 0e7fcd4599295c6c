"""Linear and RBF support vector machines on the same clips: what the second paper compares T-EMO with."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import SVC

from fercore.errors import DatasetError
from ferlab.temo.clips import LandmarkClips

Kernel = Literal["linear", "rbf"]
KERNELS: tuple[Kernel, ...] = ("linear", "rbf")
GRID = (0.1, 1.0, 10.0, 100.0)


def svm_scores(
    train: LandmarkClips,
    test: LandmarkClips,
    landmarks: np.ndarray,
    classes: tuple[int, ...],
    kernel: Kernel,
    grid: tuple[float, ...] = GRID,
    seed: int = 0,
) -> np.ndarray:
    """Train one SVM per class on ``landmarks``, (k,) or (E, k); return decision values (N, E) of test clips, > 0: yes.

    Settings are ours, as the second paper's are not public; C is chosen by validation. DatasetError if lengths differ.
    """
    if len({*train.lengths, *test.lengths}) > 1:
        raise DatasetError("An SVM needs clips of one length, and these differ. Use clips.resample().")
    inner = inner_split(train, seed)
    sets = np.atleast_2d(landmarks)
    grams = [_grams(train, test, row, kernel) for row in sets] * (len(classes) // len(sets))
    pairs = zip(grams, classes, strict=True)
    return np.stack([_decide(*own, train.labels == label, inner, grid) for own, label in pairs], axis=1)


def inner_split(train: LandmarkClips, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split training clips by groups, three to one."""
    parts = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
    return next(iter(parts.split(train.labels, train.labels, train.groups)))


def _grams(
    train: LandmarkClips, test: LandmarkClips, row: np.ndarray, kernel: Kernel
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel between training clips (n, n), and between test and training clips (m, n)."""
    fit, seen = (
        clips.points[:, :, row].reshape(len(clips), -1).astype(np.float64) for clips in (train, test)
    )
    mean = fit.mean(axis=0)
    spread = (fit - mean).std()
    fit, seen = (fit - mean) / spread, (seen - mean) / spread
    inner, outer = fit @ fit.T / fit.shape[1], seen @ fit.T / fit.shape[1]
    if kernel == "linear":
        return inner, outer
    norm, others = np.diag(inner), (seen**2).mean(axis=1)
    return np.exp(-(norm[:, None] + norm - 2 * inner)), np.exp(-(others[:, None] + norm - 2 * outer))


def _decide(
    gram: np.ndarray,
    seen: np.ndarray,
    wanted: np.ndarray,
    inner: tuple[np.ndarray, np.ndarray],
    grid: tuple[float, ...],
) -> np.ndarray:
    """Choose C and return the decision values of one class, (m,)."""

    def fitted(rows: np.ndarray, c: float) -> SVC:
        machine = SVC(kernel="precomputed", C=c, class_weight="balanced", cache_size=500)
        return machine.fit(gram[np.ix_(rows, rows)], wanted[rows])

    fit, check = inner
    quality = [
        balanced_accuracy_score(wanted[check], fitted(fit, c).predict(gram[np.ix_(check, fit)]))
        for c in (grid if len(grid) > 1 else ())
    ]
    return fitted(np.arange(len(gram)), grid[int(np.argmax(quality or [0]))]).decision_function(seen)
