"""What the second paper's summary claims, and a computed verdict on each claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ferlab.temo.study import OURS, Study

CLAIMED = (8.0, 9.0)  # points by which T-EMO is said to beat the SVMs on average
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference over folds with its interval, in percentage points.

    Attributes:
        mean: The mean.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> str:
        """``"more"``, ``"less"``, or ``"undecided"`` where the interval holds zero."""
        return "more" if self.low > 0 else "less" if self.high < 0 else "undecided"


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Return mean, lower and upper end of the t interval of the mean of independent values, the folds.

    The training parts of folds overlap, so the interval is somewhat too narrow (Bengio and Grandvalet 2004).
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    mean = values.mean()
    if len(values) < 2:
        return float(mean), float("-inf"), float("inf")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(mean), float(mean - half), float(mean + half)


def by_fold(study: Study, method: str, k: int, measure: str) -> np.ndarray:
    """Return the mean over classes (and draws) in every fold, (folds,), in per cent."""
    frame = pd.DataFrame(study.rows)
    chosen = frame[(frame["method"] == method) & (frame["k"] == k)]
    return 100 * chosen.groupby("fold")[measure].mean().to_numpy()


def table(study: Study) -> pd.DataFrame:
    """Return one row per method and k: accuracy and balanced accuracy, per cent, with intervals over folds."""
    rows = []
    frame = pd.DataFrame(study.rows)
    for (method, k), _ in frame.groupby(["method", "k"], sort=False):
        row: dict[str, Any] = {"method": method, "k": k}
        for measure in ("accuracy", "balanced"):
            mean, low, high = interval(by_fold(study, method, k, measure))
            row |= {measure: mean, f"{measure} low": max(low, 0.0), f"{measure} high": min(high, 100.0)}
        rows.append(row)
    return pd.DataFrame(rows)


def difference(study: Study, one: tuple[str, int], other: tuple[str, int], measure: str) -> Difference:
    """Return how much better one method is than another on the same folds."""
    values = by_fold(study, *one, measure) - by_fold(study, *other, measure)
    return Difference(*interval(values))


def judge(
    study: Study, costs: list[dict[str, Any]], measure: str = "accuracy", noun: str = "landmarks"
) -> list[dict[str, Any]]:
    """Judge the claims of the summary, and one of ours, on a study.

    Args:
        study: What came out.
        costs: From :func:`ferlab.temo.costs`, in the order of the plan's sizes.
        measure: ``"accuracy"`` or ``"balanced"``.
        noun: What is selected.

    Returns:
        Rows with ``name``, ``claim``, ``found`` (and its numbers) and ``verdict``, which is ``holds``, ``does not
        hold`` (the interval excludes it), or ``undecided`` (the interval holds both).
    """
    full, *fewer = study.plan.sizes
    rows = []
    for k in fewer:
        gain = difference(study, (OURS, k), ("all", full), measure)
        rows.append(_row(f"fewer_{k}", f"{k} {noun} are better than {full}", gain))
    least = study.plan.sizes[-1]
    if study.plan.grid:
        rows.append(_machines(study, least, measure))
    rows += [_cost(costs, name, noun) for name in ("parameters", "flops", "microseconds")]
    methods = {row["method"] for row in study.rows}
    for control, words in _CONTROLS.items():
        if control in methods:
            gain = difference(study, (OURS, least), (control, least), measure)
            claim = f"{least} by integrated gradients beat {least} {words} (our question)"
            rows.append(_row(f"over_{control.replace(' ', '_')}", claim, gain))
    return rows


_CONTROLS = {
    "random": "at random",
    "univariate F": "by univariate F",
    "contours": "of MediaPipe's contours",
}


def _machines(study: Study, k: int, measure: str) -> dict[str, Any]:
    """Compare with the mean of the two SVMs on the same k landmarks."""
    svms = [by_fold(study, f"{kernel} SVM", k, measure) for kernel in ("linear", "rbf")]
    gain = Difference(*interval(by_fold(study, OURS, k, measure) - np.mean(svms, axis=0)))
    low, high = CLAIMED
    row = _row("over_svms", f"T-EMO beats the two SVMs by {low:g} to {high:g} points on average", gain)
    inside = low <= gain.low and gain.high <= high
    outside = gain.high < low or gain.low > high
    return {**row, "verdict": "holds" if inside else "does not hold" if outside else "undecided"}


def _cost(costs: list[dict[str, Any]], name: str, noun: str) -> dict[str, Any]:
    """Compare the cost of the fewest landmarks with that of all; it is one number each, without an interval."""
    words = {
        "parameters": "parameters fall",
        "flops": "operations fall",
        "microseconds": "measured time falls",
    }
    ratio = costs[-1][name] / costs[0][name]
    claim = f"{words[name]} from {costs[0]['k']} to {costs[-1]['k']} {noun}"
    verdict = "holds" if ratio < 1 else "does not hold"
    return {"name": name, "claim": claim, "found": f"{ratio:.2f} of it", "verdict": verdict, "ratio": ratio}


def _row(name: str, claim: str, gain: Difference) -> dict[str, Any]:
    found = f"{gain.mean:+.1f} points ({gain.low:+.1f} to {gain.high:+.1f})"
    verdict = {"more": "holds", "less": "does not hold", "undecided": "undecided"}[gain.sign]
    return {"name": name, "claim": claim, "found": found, "verdict": verdict, **asdict(gain)}
