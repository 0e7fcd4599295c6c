"""Linear and RBF support vector machines on the same clips: what the second paper compares T-EMO with."""

from __future__ import annotations

from typing import Literal

import numpy as np

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
    inner: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Train one SVM per class against the rest and return its decision values.

    The inputs are standardised as T-EMO's: minus the mean clip, divided by one number. C is chosen for each class on a
    quarter of the training groups that the candidates have not seen, by balanced accuracy; classes are weighted as in
    T-EMO's loss. The RBF's width is scikit-learn's ``"scale"``, 1 / (columns x variance). The second paper's settings
    are not public; these are ours.

    Args:
        train: Training clips, all of one length.
        test: Test clips of the same length.
        landmarks: (k,) for all classes, or (E, k) for each.
        classes: The E classes.
        kernel: ``"linear"`` or ``"rbf"``.
        grid: Candidates for C.
        inner: The training clips that fit the candidates for C (n,), and those that judge them (m,), as indices; a
            split of the training clips by groups, three to one, by default.

    Returns:
        (N, E) float64, positive where the SVM says "this class".

    Raises:
        DatasetError: If the clips have different lengths: an SVM needs the same columns of all. Resample them.
    """
    lengths = np.unique([*train.lengths, *test.lengths])
    if len(lengths) > 1:
        raise DatasetError(
            f"An SVM needs clips of one length; these have {lengths.min()} to {lengths.max()} frames. "
            "Use clips.resample()."
        )
    sets = np.atleast_2d(landmarks)
    inner = inner or inner_split(train)
    grams = [_grams(train, test, row, kernel) for row in sets]

    def one(place: int) -> np.ndarray:
        fitted, seen = grams[place if len(sets) > 1 else 0]
        return _class_scores(fitted, seen, train.labels == classes[place], inner, grid)

    return np.stack([one(place) for place in range(len(classes))], axis=1)


def inner_split(train: LandmarkClips, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split training clips by groups, three to one."""
    from sklearn.model_selection import StratifiedGroupKFold

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


def _class_scores(
    gram: np.ndarray,
    seen: np.ndarray,
    wanted: np.ndarray,
    inner: tuple[np.ndarray, np.ndarray],
    grid: tuple[float, ...],
) -> np.ndarray:
    """Choose C and return the decision values of one class, (m,)."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.svm import SVC

    def fitted(rows: np.ndarray, c: float) -> SVC:
        machine = SVC(kernel="precomputed", C=c, class_weight="balanced", cache_size=500)
        return machine.fit(gram[np.ix_(rows, rows)], wanted[rows])

    fit, check = inner
    quality = [0.0]
    if len(grid) > 1:
        quality = [
            balanced_accuracy_score(wanted[check], fitted(fit, c).predict(gram[np.ix_(check, fit)]))
            for c in grid
        ]
    return fitted(np.arange(len(gram)), grid[int(np.argmax(quality))]).decision_function(seen)
