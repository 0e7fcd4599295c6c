"""The same procedure on a table from another domain, and a study's numbers in the form that a record keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

from ferlab.temo.selection import top
from ferlab.temo.sources import from_table
from ferlab.temo.study import Plan, Study, costs, run
from ferlab.temo.training import Recipe
from ferlab.temo.verdicts import judge, table

CANCER_SIZES = (30, 15, 8)  # all, half, and about the 27 % that 128 of 468 are
_MALIGNANT, _BENIGN = 0, 1


@dataclass(frozen=True, eq=False)
class Table:
    """The procedure on a table: the study, verdicts on its accuracy, the columns of the smallest set, best first."""

    study: Study
    verdicts: list[dict[str, Any]]
    names_kept: list[str]

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for a record."""
        methods = method_numbers(table(self.study))
        return {"methods": methods, "verdicts": self.verdicts, "kept": self.names_kept}


def breast_cancer(steps: int = 32, seed: int = 0, progress: bool = True) -> Table:
    """Run the procedure on scikit-learn's breast cancer table: 569 tumours, 30 measurements, malignant or benign.

    A measurement is a point of one coordinate; the mean benign row takes the part of the neutral face.
    """
    source = load_breast_cancer()
    # The SVMs divide all columns by one number. Ranks within the column make the units alike and use no label.
    ranks = pd.DataFrame(source.data).rank(pct=True).to_numpy()
    clips = from_table("breast_cancer", ranks, source.target)
    recipe = Recipe(epochs=30, each=True, seed=seed)
    plan = Plan(sizes=CANCER_SIZES, steps=steps, neutral=_BENIGN, recipe=recipe, seed=seed)
    study = run(clips, plan, classes=(_MALIGNANT,), progress=progress)
    kept = top(study.combined()[0], CANCER_SIZES[-1])
    judged = judge(study, costs(clips, CANCER_SIZES, recipe), noun="measurements")
    return Table(study, judged, source.feature_names[kept].tolist())


def method_numbers(scores: pd.DataFrame) -> dict[str, Any]:
    """Return a table of :func:`ferlab.temo.table` as nested dicts with keys that a page can quote."""
    result: dict[str, Any] = {}
    for row in scores.to_dict(orient="records"):
        name, k = row.pop("method"), row.pop("k")
        plain = {column.replace(" ", "_"): float(value) for column, value in row.items()}
        result.setdefault(name.replace(", ", "_").replace(" ", "_"), {})[str(k)] = plain
    return result


def as_metrics(
    study: Study,
    scores: pd.DataFrame,
    judged: dict[str, list[dict[str, Any]]],
    cost: pd.DataFrame,
    gaps: pd.DataFrame,
    agreement: pd.DataFrame,
) -> dict[str, Any]:
    """Return what a record keeps of a study on faces: the tables and verdicts of its page, and the kept landmarks."""
    pairs = agreement.to_dict(orient="records")
    kept = zip(study.classes, top(study.combined(), study.plan.sizes[-1]), strict=True)
    return {
        "methods": method_numbers(scores),
        "verdicts": {of: _by_name(rows) for of, rows in judged.items()},
        "costs": {str(k): row for k, row in cost.to_dict(orient="index").items()},
        "completeness": gaps.to_dict(orient="index"),
        "agreement": {f"{p.pop('one')} and {p.pop('other')}".replace(" ", "_"): p for p in pairs},
        "kept": {str(label): np.sort(row).tolist() for label, row in kept},
    }


def _by_name(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows}
