"""Which faces a page explains, and the region scores of many: in chunks that survive a kill, kept in one small file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from fercore import checkpoints, models
from fercore.datasets import splits
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.emotions import Emotion
from fercore.errors import CheckpointError
from fercore.shapley import DnCShap, build_tree
from fercore.shapley.tree import PartitionTree
from ferlab import provenance
from ferlab.kept import Kept, find, kept, key_of

CHUNK = 64  # images between two files: what a kill can cost


def choose(labels: np.ndarray, eligible: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw up to ``count`` of the ``eligible`` images of each emotion: (M,) int64 indices, grouped by emotion."""
    if count < 1:
        raise ValueError(f"{count} faces per emotion cannot be shown: ask for at least 1.")
    if not eligible.any():
        raise ValueError("No image is eligible: the network classifies none correctly. Train it for longer.")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[eligible[order]]
    return np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])


def pick(labels: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """Return up to ``count`` positions in an ``index`` of :func:`choose`, as evenly over the emotions as it allows."""
    if count < 1:
        raise ValueError(f"{count} images cannot be explained: ask for at least 1.")
    turn = np.concatenate([np.arange(n) for n in np.unique(labels[index], return_counts=True)[1]])
    return np.sort(np.argsort(turn, kind="stable")[:count])


def draw(data: FaceDataset, parts: Split, predicted: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw positions in the test part: correctly classified images that are no copies, spread over the emotions."""
    labels = data.labels[parts.test]
    eligible = (predicted == labels) & ~splits.duplicates(data, parts)
    drawn = choose(labels, eligible, count, seed)
    return drawn[pick(labels, drawn, count)]


def why_none(emotion: Emotion, labels: np.ndarray, correct: np.ndarray, eligible: np.ndarray) -> str:
    """Say in a sentence why an emotion has no map, from (N,) labels, hits and who may be shown; nothing if it has."""
    own = labels == emotion
    if (own & eligible).any():
        return ""
    if not own.any():
        return f"No test image is labelled {emotion.title}."
    if not (own & correct).any():
        return f"None of the {own.sum():,} images of {emotion.title} is classified correctly."
    return f"All correctly classified images of {emotion.title} are copies of training images."


class MeanMaps(NamedTuple):
    """The mean map of each of E emotions."""

    emotions: tuple[Emotion, ...]  # those that have maps, in canonical order
    counts: np.ndarray  # (E,) int64, maps behind each mean
    faces: np.ndarray  # (E, H, W, C) float64 in 0..255, the mean images
    maps: np.ndarray  # (E, H, W) float64, the mean maps
    errors: np.ndarray  # (E, H, W) float64, the standard error of each pixel; NaN for an emotion with one map
    worth: np.ndarray  # (E,) float64, the mean of f(x) - f(b), which is what a map distributes
    # (E,) float64: sum of squares of the mean map over the mean sum of squares of the maps; 1 if all maps are equal,
    # about 1 / count if they have nothing in common.
    shared_energy: np.ndarray


def average(maps: np.ndarray, images: np.ndarray, labels: np.ndarray) -> MeanMaps:
    """Average signed maps (N, H, W), which sum to f(x) - f(b), and images (N, H, W, C) uint8 by emotion."""
    kinds, counts = np.unique(labels, return_counts=True)
    groups = [labels == kind for kind in kinds]
    means = np.stack([maps[group].mean(axis=0, dtype=np.float64) for group in groups])
    energy = np.array([(maps[group] ** 2).sum(axis=(1, 2)).mean() for group in groups])
    shared = np.divide((means**2).sum(axis=(1, 2)), energy, out=np.zeros(len(kinds)), where=energy > 0)
    errors = np.full(means.shape, np.nan)
    for error, group, count in zip(errors, groups, counts, strict=True):
        if count > 1:
            error[:] = maps[group].std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(count)
    faces = np.stack([images[group].mean(axis=0) for group in groups])
    emotions = tuple(Emotion(kind) for kind in kinds)
    return MeanMaps(emotions, counts, faces, means, errors, means.sum(axis=(1, 2)), shared)


class RegionScores(NamedTuple):
    """What every one of N images owes to each of n regions: the scores of its predicted class."""

    scores: np.ndarray  # (N, n) float32; a row sums to f(x) - f(b) up to its rounding, see `explain_all`
    worth: np.ndarray  # (N,) float32, f(x) - f(b)
    classes: np.ndarray  # (N,) int64, the predicted class
    tree: PartitionTree  # its leaves are the regions
    evaluations: float  # masked images per image, the mean over the images
    key: str  # what the scores depend on, see `ferlab.kept.key_of`

    def maps(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return pixel maps of some images, (M, H, W) float32: a region's score spread evenly over its pixels."""
        density = self.scores[index] / self.tree.pixels(-1).astype(np.float32)
        return density[:, self.tree.labels()]


def explain_all(
    model: nn.Module,
    images: np.ndarray,
    dataset: str,
    name: str,
    depth: int = 6,
    contexts: int | str = 2,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> RegionScores:
    """Explain the predicted classes of images (N, H, W, 1 or 3) uint8 with DnCShap; a killed run goes on where it was.

    Scores are within 0.05 % of an image's largest. ValueError: no images, tree too deep; CheckpointError: damaged file.
    """
    if len(images) == 0:
        raise ValueError("There are no images to explain: the network classifies none of them correctly.")
    tree = build_tree(*images.shape[1:3], depth)
    settings = {"depth": depth, "contexts": contexts, "seed": seed, "chunk": CHUNK}
    key = key_of(DnCShap, settings, model, images)
    root = provenance.project_root() if folder is None else Path(folder)
    chunks, place = root / "runs" / dataset / f"maps-{key[:12]}", Path("maps", dataset, f"{name}.safetensors")

    def whole() -> Kept:
        found, explainer = [], DnCShap(model, contexts=contexts, depth=depth)
        with tqdm(total=len(images), desc="Explaining", unit="face", disable=not progress) as bar:
            for number, start in enumerate(range(0, len(images), CHUNK)):
                part, explainer.seed = images[start : start + CHUNK], 1_000 * seed + number
                found.append(_chunk(chunks / f"chunk-{number:04d}.safetensors", key, explainer, part))
                bar.update(len(part))
        return {column: torch.cat([one[column] for one in found]) for column in found[0]}, settings

    published = [root / "results" / place, root / "runs" / "results" / place]
    found, _ = kept(provenance.output_folder(root) / place, key, whole, published, strict=True)
    scores = (found["scores"].float() * found["scale"][:, None]).numpy()
    worth, classes = found["worth"].numpy(), found["classes"].numpy()
    return RegionScores(scores, worth, classes, tree, float(found["evaluations"].double().mean()), key)


def _chunk(path: Path, key: str, explainer: DnCShap, images: np.ndarray) -> dict[str, Tensor]:
    """Read a chunk, else explain and keep it; a damaged one is made again, but a full disk ends the run at once."""
    with contextlib.suppress(CheckpointError):
        if found := find([path], key):
            return found[0]
    tensors = _explain(explainer, images)
    checkpoints.save(path, tensors, {"key": key})
    return tensors


def _explain(explainer: DnCShap, images: np.ndarray) -> dict[str, Tensor]:
    """Explain one chunk; scores in half precision of the largest of their image."""
    device = next(explainer.model.parameters()).device
    result = explainer.attribute(models.to_input(images, device))
    scores = torch.from_numpy(result.region_scores[..., 0])
    scale = scores.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    return {
        "scores": (scores / scale[:, None]).half(),
        "scale": scale.float(),
        "worth": torch.from_numpy(result.predictions - result.base_values)[:, 0].float(),
        "classes": torch.from_numpy(result.classes[:, 0]),
        "evaluations": torch.from_numpy(result.evaluations),
    }
