"""The second paper's experiment, fold by fold: train on all landmarks, explain, select, retrain, compare."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fercore.checkpoints import write_json
from fercore.errors import DatasetError
from ferlab import definitions, provenance
from ferlab.temo import gradients, selection
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.network import TEmo, cost
from ferlab.temo.svm import GRID, KERNELS, inner_split, svm_scores
from ferlab.temo.training import Recipe, fit, predict

FOLDS = 5
OURS = "integrated gradients"
WORKERS = min(4, os.cpu_count() or 1)  # folds at once; their results do not depend on it


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        sizes: Numbers of landmarks, from all of them down.
        baselines: Baselines of the integrated gradients.
        steps: Steps of the integration.
        draws: Random sets that every fold draws anew; 5 folds of 4 make 20.
        neutral: The class of neutral faces; None if there is none.
        grid: Candidates for the SVMs' C; empty leaves the SVMs out.
        recipe: How T-EMO is trained.
        seed: Of folds and draws.
    """

    sizes: tuple[int, ...] = selection.SIZES
    baselines: tuple[str, ...] = gradients.BASELINES
    steps: int = gradients.STEPS
    draws: int = 4
    neutral: int | None = None
    grid: tuple[float, ...] = GRID
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Study:
    """What came out.

    Attributes:
        rows: One dict per fold, class, method and k: ``accuracy``, ``balanced`` and the rest of what identifies it.
        relevance: (folds, M, P) by baseline: see :class:`ferlab.temo.gradients.Attributions`.
        gaps: Per baseline, the largest and median error of the integration over all training clips of all folds, and
            the mean of ``|f(x) - f(b)|``.
        classes: The M classes.
        plan: The plan.
    """

    rows: list[dict[str, Any]]
    relevance: dict[str, np.ndarray]
    gaps: dict[str, dict[str, float]]
    classes: tuple[int, ...]
    plan: Plan

    def combined(self) -> np.ndarray:
        """Return the relevance of landmarks (M, P), mean over folds and baselines."""
        folds = [
            selection.combine({name: values[fold] for name, values in self.relevance.items()})
            for fold in range(len(next(iter(self.relevance.values()))))
        ]
        return np.mean(folds, axis=0)


def folds(clips: LandmarkClips, seed: int = 0, count: int = FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split clips into folds of whole groups, as alike in their classes as groups allow.

    Args:
        clips: The clips.
        seed: Of the folds.
        count: Number of folds.

    Returns:
        For every fold, the training and the test clips, int64 indices (n,) and (m,).

    Raises:
        DatasetError: If a class has fewer clips or groups than folds, or there is one class only.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(clips.classes) < 2:
        raise DatasetError(
            f"{clips.name}: there is one class only, {clips.classes}; at least two are needed."
        )
    for label in clips.classes:
        rows = clips.labels == label
        for kind, number in (("clips", rows.sum()), ("groups", len(np.unique(clips.groups[rows])))):
            if number < count:
                raise DatasetError(
                    f"{clips.name}: class {label} has {number} {kind}, too few for {count} folds. Leave the class out "
                    "or bring more clips."
                )
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(parts.split(clips.labels, clips.labels, clips.groups))


def select(
    network: TEmo, train: LandmarkClips, plan: Plan
) -> tuple[dict[str, np.ndarray], dict[str, gradients.Attributions]]:
    """Explain a network's training clips; nothing else is looked at.

    Returns:
        The relevance (M, P) of every landmark by baseline, and the attributions.
    """
    found = {
        a.baseline: a
        for a in gradients.relevance(network, train, plan.baselines, plan.neutral, plan.steps, plan.seed)
    }
    return {name: a.relevance for name, a in found.items()}, found


def run(
    clips: LandmarkClips,
    plan: Plan,
    classes: tuple[int, ...] | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Study:
    """Run all folds; finished ones are kept in ``runs/<name>/temo-<key>/`` and not computed again.

    Args:
        clips: Clips of one length.
        plan: What is compared.
        classes: Classes that get a binary network each; all by default.
        folder: The project folder by default.
        progress: Show a bar.

    Returns:
        What came out on all folds.

    Raises:
        DatasetError: As :func:`folds`.
        ValueError: If a size is larger than the number of points, or sizes do not start with all of them.
    """
    from tqdm import tqdm

    classes = classes or clips.classes
    points = clips.points.shape[2]
    if plan.sizes[0] != points or any(not 1 <= k <= points for k in plan.sizes):
        raise ValueError(f"sizes={plan.sizes}: clips have {points} landmarks; start with all, then fewer.")
    root = provenance.project_root() if folder is None else Path(folder)
    place = root / "runs" / clips.name / f"temo-{_key(clips, plan, classes)[:12]}"
    parts = folds(clips, plan.seed)

    def one(number: int) -> dict[str, Any]:
        torch.set_num_threads(1)  # of this worker: the matrices are small, and the folds share the cores
        path = place / f"fold-{number}.json"
        if (done := _read(path)) is None:
            train, test = (clips.subset(part) for part in parts[number])
            done = _fold(train, test, plan, classes, number)
            write_json(path, done)
        return done

    with ThreadPoolExecutor(min(WORKERS, len(parts))) as pool:
        jobs = pool.map(one, range(len(parts)))
        kept = list(tqdm(jobs, total=len(parts), desc="Folds", unit="fold", disable=not progress))
    names = plan.baselines
    gaps = {
        name: {
            "largest": max(fold["gaps"][name]["largest"] for fold in kept),
            "median": float(np.median([fold["gaps"][name]["median"] for fold in kept])),
            "worth": float(np.mean([fold["gaps"][name]["worth"] for fold in kept])),
        }
        for name in names
    }
    relevance = {name: np.array([fold["relevance"][name] for fold in kept]) for name in names}
    return Study([row for fold in kept for row in fold["rows"]], relevance, gaps, tuple(classes), plan)


def _key(clips: LandmarkClips, plan: Plan, classes: tuple[int, ...]) -> str:
    code = definitions.code(_fold)
    content = [clips.checksum, asdict(plan), list(classes), code, torch.__version__]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """Read a finished fold; one that is absent or damaged is computed anew."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fold(
    train: LandmarkClips, test: LandmarkClips, plan: Plan, classes: tuple[int, ...], number: int
) -> dict[str, Any]:
    """Do everything on one fold."""
    plan = replace(
        plan, recipe=replace(plan.recipe, seed=plan.recipe.seed + number)
    )  # no start serves all folds
    everything = np.arange(train.points.shape[2])
    full = fit(train, everything, classes, plan.recipe)
    scores, found = select(full, train, plan)
    ranked = selection.combine(scores)
    rows = _score(predict(full, test)[..., 0], test, classes, "all", len(everything))
    for method, sets, recipe in _contestants(train, ranked, plan, classes, number):
        logits = predict(fit(train, sets, classes, recipe), test)[..., 0]
        for place in range(0, logits.shape[1], len(classes)):
            own = logits[:, place : place + len(classes)]
            rows += _score(own, test, classes, method, sets.shape[-1])
    rows += _machines(train, test, ranked, plan, classes)
    if len(classes) == len(train.classes):
        rows += _joint(train, test, ranked, plan, classes)
    return {
        "rows": [{"fold": number, **row} for row in rows],
        "relevance": {name: np.round(values, 6).tolist() for name, values in scores.items()},
        "gaps": {
            name: {
                "largest": float(a.gap.max()),
                "median": float(np.median(a.gap)),
                "worth": float(np.abs(a.worth).mean()),
            }
            for name, a in found.items()
        },
    }


def _contestants(
    train: LandmarkClips, ranked: np.ndarray, plan: Plan, classes: tuple[int, ...], number: int
) -> Iterator[tuple[str, np.ndarray, Recipe]]:
    """Yield method, sets of landmarks and recipe of every network that is trained again."""
    points, least, recipe = ranked.shape[1], plan.sizes[-1], plan.recipe
    for k in plan.sizes[1:]:
        yield OURS, selection.top(ranked, k), recipe
    yield "univariate F", selection.top(selection.univariate(train, classes), least), recipe
    if plan.draws:
        drawn = selection.random_sets(points, least, plan.draws, 1000 * plan.seed + number)
        yield "random", drawn[:, None], recipe
    if points == 468 and least == 128:
        yield "contours", selection.contours(), recipe
    yield "all, frozen embedding", np.arange(points), replace(recipe, frozen=True)


def _machines(
    train: LandmarkClips, test: LandmarkClips, ranked: np.ndarray, plan: Plan, classes: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Score the SVMs on all landmarks and on those that T-EMO keeps."""
    rows: list[dict[str, Any]] = []
    if not plan.grid:
        return rows
    inner = inner_split(train, plan.seed)
    for kernel in KERNELS:
        for k in plan.sizes:
            sets = np.arange(k) if k == ranked.shape[1] else selection.top(ranked, k)
            decided = svm_scores(train, test, sets, classes, kernel, plan.grid, inner)
            rows += _score(decided, test, classes, f"{kernel} SVM", k)
    return rows


def _joint(
    train: LandmarkClips, test: LandmarkClips, ranked: np.ndarray, plan: Plan, classes: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Score one network of all classes; its landmarks are the most relevant in the mean over the binary networks."""
    rows = []
    for k in plan.sizes:
        chosen = selection.top(ranked.mean(axis=0), k)
        network = fit(train, chosen, classes, plan.recipe, joint=True)
        answer = np.array(classes)[predict(network, test)[:, 0].argmax(axis=1)]
        recalls = [(answer[test.labels == label] == label).mean() for label in classes]
        about = {"method": "all classes in one", "k": k, "class": -1}
        rows.append(
            {**about, "accuracy": float((answer == test.labels).mean()), "balanced": float(np.mean(recalls))}
        )
    return rows


def _score(
    logits: np.ndarray, test: LandmarkClips, classes: tuple[int, ...], method: str, k: int
) -> list[dict[str, Any]]:
    """Return accuracy and balanced accuracy of every binary answer, logits (N, E)."""
    rows = []
    for place, label in enumerate(classes):
        right, wanted = logits[:, place] > 0, test.labels == label
        about = {"method": method, "k": int(k), "class": int(label)}
        halves = [(right[part] == wanted[part]).mean() for part in (wanted, ~wanted)]
        rows.append(
            {**about, "accuracy": float((right == wanted).mean()), "balanced": float(np.mean(halves))}
        )
    return rows


def costs(
    clips: LandmarkClips, sizes: tuple[int, ...], recipe: Recipe, repeats: int = 20
) -> list[dict[str, Any]]:
    """Measure one binary network per number of landmarks on up to 256 clips.

    Args:
        clips: The clips.
        sizes: Numbers of landmarks.
        recipe: Says how many channels the networks have.
        repeats: How often to measure time; 0 leaves it out.

    Returns:
        One row per size with ``k``, ``parameters``, ``flops`` and ``microseconds`` per clip.
    """
    batch = torch.from_numpy(clips.points[:256])
    rows = []
    for k in sizes:
        network = TEmo(np.arange(k), clips.points.shape[3], hidden=recipe.hidden)
        rows.append({"k": int(k), **asdict(cost(network, batch, repeats))})
    return rows
