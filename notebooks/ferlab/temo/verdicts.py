"""What the second paper's summary claims, and a computed verdict on each claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ferlab.temo.study import OURS, Study

CLAIMED = (8.0, 9.0)  # points by which T-EMO is said to beat the SVMs on average
LEVEL = 0.95
_CONTROLS = {"random": "at random", "univariate F": "by univariate F", "contours": "of MediaPipe's contours"}
_COSTS = {"parameters": "parameters fall", "flops": "operations fall", "microseconds": "measured time falls"}


class Interval(NamedTuple):
    """A mean over folds and the ends of its interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Return the t interval of the mean over folds; they overlap, so it is too narrow (Bengio and Grandvalet 2004)."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("-inf"), float("inf"))
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return Interval(mean, float(mean - half), float(mean + half))


def by_fold(study: Study, method: str, k: int, measure: str) -> np.ndarray:
    """Return the mean over classes (and draws) in every fold, (folds,), in per cent."""
    frame = pd.DataFrame(study.rows)
    chosen = frame[(frame["method"] == method) & (frame["k"] == k)]
    return 100 * chosen.groupby("fold")[measure].mean().to_numpy()


def table(study: Study) -> pd.DataFrame:
    """Return one row per method and k: accuracy and balanced accuracy, per cent, with intervals over folds."""
    rows = []
    for method, k in dict.fromkeys((row["method"], row["k"]) for row in study.rows):
        row: dict[str, Any] = {"method": method, "k": k}
        for measure in ("accuracy", "balanced"):
            mean, low, high = interval(by_fold(study, method, k, measure))
            row |= {measure: mean, f"{measure} low": max(low, 0.0), f"{measure} high": min(high, 100.0)}
        rows.append(row)
    return pd.DataFrame(rows)


def judge(
    study: Study, costs: list[dict[str, Any]], measure: str = "accuracy", noun: str = "landmarks"
) -> list[dict[str, Any]]:
    """Judge the claims of the summary, and one of ours, on a study with its :func:`costs` and a measure of its rows.

    A claim ``holds``, ``does not hold`` (the interval excludes it), or is ``undecided`` (the interval holds both)."""
    full, *fewer = study.plan.sizes
    least, rows = study.plan.sizes[-1], []

    def gain(k: int, *others: tuple[str, int]) -> Interval:
        theirs = np.mean([by_fold(study, method, size, measure) for method, size in others], axis=0)
        return interval(by_fold(study, OURS, k, measure) - theirs)

    for k in fewer:
        rows.append(_row(f"fewer_{k}", f"{k} {noun} are better than {full}", gain(k, ("all", full))))
    if study.plan.grid:
        rows.append(_over_machines(gain(least, ("linear SVM", least), ("rbf SVM", least))))
    for name, words in _COSTS.items():  # one number each, without an interval
        ratio = costs[-1][name] / costs[0][name]
        row = {"name": name, "claim": f"{words} from {full} to {least} {noun}", "found": f"{ratio:.2f} of it"}
        rows.append({**row, "verdict": "holds" if ratio < 1 else "does not hold", "ratio": ratio})
    methods = {row["method"] for row in study.rows}
    for control, words in _CONTROLS.items():
        if control in methods:
            claim = f"{least} by integrated gradients beat {least} {words} (our question)"
            rows.append(_row(f"over_{control.replace(' ', '_')}", claim, gain(least, (control, least))))
    return rows


def _over_machines(gain: Interval) -> dict[str, Any]:
    """Judge the gain over the mean of the two SVMs on the same landmarks."""
    low, high = CLAIMED
    row = _row("over_svms", f"T-EMO beats the two SVMs by {low:g} to {high:g} points on average", gain)
    inside = low <= gain.low and gain.high <= high
    outside = gain.high < low or gain.low > high
    return {**row, "verdict": "holds" if inside else "does not hold" if outside else "undecided"}


def _row(name: str, claim: str, gain: Interval) -> dict[str, Any]:
    found = f"{gain.mean:+.1f} points ({gain.low:+.1f} to {gain.high:+.1f})"
    verdict = "holds" if gain.low > 0 else "does not hold" if gain.high < 0 else "undecided"
    return {"name": name, "claim": claim, "found": found, "verdict": verdict, **gain._asdict()}
