"""The second paper's experiment, fold by fold: train on all landmarks, explain, select, train again, compare."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from fercore.errors import DatasetError
from ferlab import provenance
from ferlab.kept import Kept, kept, key_of
from ferlab.temo import gradients, selection
from ferlab.temo.clips import LandmarkClips
from ferlab.temo.network import TEmo, cost
from ferlab.temo.svm import GRID, KERNELS, svm_scores
from ferlab.temo.training import Recipe, fit, predict

FOLDS = 5
OURS = "integrated gradients"
WORKERS = min(4, os.cpu_count() or 1)  # folds at once; their results do not depend on it


@dataclass(frozen=True)
class Plan:
    """What is compared."""

    sizes: tuple[int, ...] = selection.SIZES  #: numbers of landmarks, from all of them down
    baselines: tuple[str, ...] = gradients.BASELINES  #: of the integrated gradients
    steps: int = gradients.STEPS  #: of the integration
    draws: int = 4  #: random sets that every fold draws anew; 5 folds of 4 make 20
    neutral: int | None = None  #: the class of neutral faces; None if there is none
    grid: tuple[float, ...] = GRID  #: candidates for the SVMs' C; empty leaves the SVMs out
    recipe: Recipe = field(default_factory=Recipe)  #: how T-EMO is trained
    seed: int = 0  #: of folds and draws


@dataclass(frozen=True, eq=False)
class Study:
    """What came out."""

    rows: list[dict[str, Any]]  #: ``accuracy`` and ``balanced`` by ``fold``, ``class``, ``method`` and ``k``
    relevance: dict[str, np.ndarray]  #: by baseline, (folds, M, P), see :class:`Attributions`
    gaps: dict[str, dict[str, float]]  #: ``largest`` and ``median`` gap, mean absolute ``worth`` by baseline
    classes: tuple[int, ...]  #: the M classes
    plan: Plan

    def combined(self) -> np.ndarray:
        """Return the relevance of landmarks (M, P), mean over folds and baselines."""
        each = zip(*self.relevance.values(), strict=True)
        return np.mean([selection.combine(dict(enumerate(fold))) for fold in each], axis=0)


def folds(clips: LandmarkClips, seed: int = 0, count: int = FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split clips into folds of whole groups, as alike in their classes as groups allow: indices (n,) and (m,) of each.

    DatasetError if a class has fewer groups than folds, or there is one class only.
    """
    if len(clips.classes) < 2:
        raise DatasetError(f"{clips.name}: there is one class only, {clips.classes}; two are needed.")
    for label in clips.classes:
        groups = len(np.unique(clips.groups[clips.labels == label]))  # no more than clips
        if groups < count:
            raise DatasetError(f"{clips.name}: class {label} has {groups} groups, too few for {count} folds.")
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(parts.split(clips.labels, clips.labels, clips.groups))


def run(
    clips: LandmarkClips,
    plan: Plan,
    classes: tuple[int, ...] | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Study:
    """Run all folds of clips of one length, a binary network per class; ``runs/<name>/temo-<key>/`` keeps them.

    DatasetError as :func:`folds`; ValueError if sizes do not start with all points, or one is larger or below 1.
    """
    classes, points = classes or clips.classes, clips.points.shape[2]
    if plan.sizes[0] != points or not 1 <= min(plan.sizes) <= max(plan.sizes) <= points:
        raise ValueError(f"sizes={plan.sizes}: clips have {points} landmarks; start with all, then fewer.")
    key = key_of(clips.checksum, plan, classes, _fold, torch.__version__)
    root = provenance.project_root() if folder is None else Path(folder)
    place = root / "runs" / clips.name / f"temo-{key[:12]}"
    parts = folds(clips, plan.seed)

    def one(number: int) -> Kept:
        torch.set_num_threads(1)  # of this worker: the matrices are small, and the folds share the cores
        train, test = (clips.subset(part) for part in parts[number])
        path = place / f"fold-{number}.safetensors"
        return kept(path, key, lambda: _fold(train, test, plan, classes, number))

    with ThreadPoolExecutor(min(WORKERS, len(parts))) as pool:
        jobs = pool.map(one, range(len(parts)))
        bar = tqdm(jobs, total=len(parts), desc="Folds", unit="fold", disable=not progress)
        tensors, about = zip(*bar, strict=True)
    over = {"largest": np.max, "median": np.median, "worth": np.mean}
    gaps = {
        name: {what: float(of([fold["gaps"][name][what] for fold in about])) for what, of in over.items()}
        for name in plan.baselines
    }
    relevance = {name: np.stack([fold[name].numpy() for fold in tensors]) for name in plan.baselines}
    return Study([row for fold in about for row in fold["rows"]], relevance, gaps, tuple(classes), plan)


def _fold(
    train: LandmarkClips, test: LandmarkClips, plan: Plan, classes: tuple[int, ...], number: int
) -> Kept:
    """Do on one fold what the second paper's summary states. Landmarks are chosen on the training clips alone."""
    recipe = replace(plan.recipe, seed=plan.recipe.seed + number)  # no start serves all folds
    plan, everything = replace(plan, recipe=recipe), np.arange(train.points.shape[2])
    # Stated: one binary network per emotion, on all landmarks.
    full = fit(train, everything, classes, recipe)
    # Stated: attributions over the whole training set under five baselines; their mean ranks the landmarks.
    found = gradients.relevance(full, train, plan.baselines, plan.neutral, plan.steps, plan.seed)
    ranked = selection.combine({name: one.relevance for name, one in found.items()})
    # Stated: networks trained again on the best 234 and 128. Ours: on the controls, too.
    rows = _score(predict(full, test)[..., 0], test, classes, "all", len(everything))
    for method, sets, how in _contestants(train, ranked, plan, classes, number):
        logits = predict(fit(train, sets, classes, how), test)[..., 0]
        for own in np.split(logits, logits.shape[1] // len(classes), axis=1):
            rows += _score(own, test, classes, method, sets.shape[-1])
    # Stated: linear and RBF SVMs to compare with. Ours: on the same landmarks.
    for kernel in KERNELS if plan.grid else ():
        for k in plan.sizes:
            sets = everything if k == len(everything) else selection.top(ranked, k)
            decided = svm_scores(train, test, sets, classes, kernel, plan.grid, plan.seed)
            rows += _score(decided, test, classes, f"{kernel} SVM", k)
    # Ours: one network of all classes; its landmarks are the most relevant in the mean over the binary networks.
    for k in plan.sizes if len(classes) == len(train.classes) else ():
        chosen = selection.top(ranked.mean(axis=0), k)
        logits = predict(fit(train, chosen, classes, recipe, joint=True), test)[:, 0]
        answer = np.array(classes)[logits.argmax(axis=1)]
        recalls = [(answer[test.labels == label] == label).mean() for label in classes]
        rows.append(_row("all classes in one", k, -1, (answer == test.labels).mean(), recalls))
    relevance, gaps = {}, {}
    for name, one in found.items():
        relevance[name] = torch.from_numpy(np.round(one.relevance, 6))
        sizes = {"largest": one.gap.max(), "median": np.median(one.gap), "worth": np.abs(one.worth).mean()}
        gaps[name] = {what: float(size) for what, size in sizes.items()}
    return relevance, {"rows": [{"fold": number, **row} for row in rows], "gaps": gaps}


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


def _score(
    logits: np.ndarray, test: LandmarkClips, classes: tuple[int, ...], method: str, k: int
) -> list[dict[str, Any]]:
    """Return accuracy and balanced accuracy of every binary answer, logits (N, E)."""
    rows = []
    for column, label in zip(logits.T, classes, strict=True):
        wanted = test.labels == label
        right = (column > 0) == wanted
        halves = [right[part].mean() for part in (wanted, ~wanted)]
        rows.append(_row(method, k, label, right.mean(), halves))
    return rows


def _row(method: str, k: int, label: int, accuracy: float, recalls: list[float]) -> dict[str, Any]:
    about = {"method": method, "k": int(k), "class": int(label)}
    return {**about, "accuracy": float(accuracy), "balanced": float(np.mean(recalls))}


def costs(
    clips: LandmarkClips, sizes: tuple[int, ...], recipe: Recipe, repeats: int = 20
) -> list[dict[str, Any]]:
    """Return the :func:`cost` of a binary network on each number of landmarks, on up to 256 clips."""
    batch = torch.from_numpy(clips.points[:256])
    networks = {k: TEmo(np.arange(k), clips.points.shape[3], hidden=recipe.hidden) for k in sizes}
    return [{"k": int(k), **cost(network, batch, repeats)} for k, network in networks.items()]
