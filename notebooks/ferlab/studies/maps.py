"""Region scores of many images: explained in chunks that survive a kill, and kept in one small file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fercore import checkpoints, models
from fercore.datasets import splits
from fercore.datasets.base import FaceDataset
from fercore.datasets.splits import Split
from fercore.emotions import Emotion
from fercore.errors import CheckpointError
from fercore.shapley import DnCShap, build_tree
from fercore.shapley.tree import PartitionTree
from ferlab import definitions, provenance


def choose(labels: np.ndarray, eligible: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Draw up to ``count`` eligible images of each emotion at random.

    Args:
        labels: (N,) integers 0..6.
        eligible: (N,) bool, which images may be drawn (the correctly classified ones, say).
        count: Images per emotion, at most.
        seed: Seed of the draw.

    Returns:
        (M,) int64 indices, grouped by emotion in canonical order; emotions without eligible images are left out.

    Raises:
        ValueError: If ``count`` is less than 1 or no image is eligible.
    """
    if count < 1:
        raise ValueError(f"{count} faces per emotion cannot be shown: ask for at least 1.")
    if not eligible.any():
        raise ValueError("No image is eligible: the network classifies none correctly. Train it for longer.")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[eligible[order]]
    return np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)])


def pick(labels: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` of the images that ``index`` names, as evenly over the emotions as they allow.

    Args:
        labels: (N,) integers.
        index: (M,) indices, grouped by label as :func:`ferlab.studies.maps.choose` gives them.
        count: How many, at least 1; all where there are not so many.
    """
    if count < 1:
        raise ValueError(f"{count} images cannot be explained: ask for at least 1.")
    turn = np.concatenate([np.arange(n) for n in np.unique(labels[index], return_counts=True)[1]])
    return np.sort(np.argsort(turn, kind="stable")[:count])


def draw(data: FaceDataset, parts: Split, predicted: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw the faces of the page: correctly classified test images that are no copies, spread over the emotions.

    Args:
        data: The dataset.
        parts: Its split.
        predicted: (M,) classes of the test images.
        count: How many.
        seed: Of the draw.

    Returns:
        (count or fewer,) int64 positions in the test part.
    """
    labels = data.labels[parts.test]
    eligible = (predicted == labels) & ~splits.duplicates(data, parts)
    drawn = choose(labels, eligible, count, seed)
    return drawn[pick(labels, drawn, count)]


@dataclass(frozen=True, eq=False)
class MeanMaps:
    """The mean map of each of E emotions.

    Attributes:
        emotions: The emotions that have maps, in canonical order.
        counts: (E,) int64, maps behind each mean.
        faces: (E, H, W, C) float64 in 0..255, the mean images.
        maps: (E, H, W) float64, the mean maps.
        errors: (E, H, W) float64, the standard error of each pixel of a mean map: the scatter between faces over the
            square root of their number; NaN for an emotion with one map.
        worth: (E,) float64, the mean of f(x) - f(b), which is what a map distributes.
        shared_energy: (E,) float64 in 0..1: sum of squares of the mean map over the mean sum of squares of the maps. 1
            if all maps are equal, about 1 / count if they have nothing in common.
    """

    emotions: tuple[Emotion, ...]
    counts: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    errors: np.ndarray
    worth: np.ndarray
    shared_energy: np.ndarray


def average(maps: np.ndarray, images: np.ndarray, labels: np.ndarray) -> MeanMaps:
    """Average maps and images by emotion.

    Args:
        maps: (N, H, W) float, signed maps that sum to f(x) - f(b).
        images: (N, H, W, C) uint8.
        labels: (N,) integers 0..6.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    means = np.stack([maps[group].mean(axis=0, dtype=np.float64) for group in groups])
    energy = np.array([(maps[group] ** 2).sum(axis=(1, 2)).mean() for group in groups])
    return MeanMaps(
        emotions=tuple(Emotion(label) for label in np.unique(labels)),
        counts=np.array([len(group) for group in groups]),
        faces=np.stack([images[group].mean(axis=0) for group in groups]),
        maps=means,
        errors=np.stack([_standard_error(maps[group]) for group in groups]),
        worth=means.sum(axis=(1, 2)),
        shared_energy=np.divide(
            (means**2).sum(axis=(1, 2)), energy, out=np.zeros(len(groups)), where=energy > 0
        ),
    )


def _standard_error(maps: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean of maps (M, H, W), NaN where there is one."""
    if len(maps) < 2:
        return np.full(maps.shape[1:], np.nan)
    return maps.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(len(maps))


def why_none(emotion: Emotion, labels: np.ndarray, correct: np.ndarray, eligible: np.ndarray) -> str:
    """Say why an emotion has no map, in a sentence; an empty string where it has one.

    Args:
        emotion: The emotion.
        labels: (N,) integers, true labels of the test images.
        correct: (N,) bool, which are classified correctly.
        eligible: (N,) bool, which may be shown.
    """
    own = labels == emotion
    if (own & eligible).any():
        return ""
    if not own.any():
        return f"No test image is labelled {emotion.title}."
    if not (own & correct).any():
        return f"None of the {own.sum():,} images of {emotion.title} is classified correctly."
    return f"All correctly classified images of {emotion.title} are copies of training images."


CHUNK = 64  # images between two files: what a kill can cost


@dataclass(frozen=True, eq=False)
class RegionScores:
    """What every one of N images owes to each of n regions: the scores of its predicted class.

    Attributes:
        scores: (N, n) float32 region scores; a row sums to f(x) - f(b) up to its rounding (see :func:`explain_all`).
        worth: (N,) float32, f(x) - f(b).
        classes: (N,) int64, the predicted class.
        tree: The partition tree whose leaves are the regions.
        evaluations: Masked images per image, the mean over the images.
        key: What the scores depend on, as a SHA-256: network, images, settings, the code of ``fercore.shapley``.
    """

    scores: np.ndarray
    worth: np.ndarray
    classes: np.ndarray
    tree: PartitionTree
    evaluations: float
    key: str

    def maps(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return pixel maps, (M, H, W) float32: a region's score spread evenly over its pixels.

        Args:
            index: Which images; all by default.
        """
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
    """Explain the predicted class of many images with DnCShap, chunk by chunk.

    Finished chunks lie in ``runs/<dataset>/maps-<key>/`` and are not computed again after a kill. The whole goes to
    ``maps/<dataset>/<name>.safetensors`` in the output folder (:func:`ferlab.provenance.output_folder`), where later
    calls find it. Scores are kept in half precision relative to the largest of each image, so that they are within
    0.05 % of it. Memory does not grow with the number of images but for the result, 4n bytes per image.

    Args:
        model: From (rows, 3, H, W) in 0..1 to logits (rows, classes).
        images: (N, H, W, 1 or 3) uint8; N at least 1.
        dataset: Name of the dataset, for the folder.
        name: Name of the network, for the file.
        depth: Levels of the tree; 2^depth regions.
        contexts: As in :class:`fercore.shapley.DnCShap`. Numbers are random contexts, drawn anew for every chunk, so
            that their errors average out over images.
        seed: Of the contexts.
        folder: The project folder by default.
        progress: Show a bar over the images.

    Returns:
        The scores, in the order of the images.

    Raises:
        ValueError: If there are no images, or the tree is deeper than they can be halved.
        CheckpointError: If a file of scores is damaged; names it.
    """
    if len(images) == 0:
        raise ValueError("There are no images to explain: the network classifies none of them correctly.")
    tree = build_tree(*images.shape[1:3], depth)
    settings = {"depth": depth, "contexts": contexts, "seed": seed, "chunk": CHUNK}
    key = _key(model, images, settings)
    root = provenance.project_root() if folder is None else Path(folder)
    place = Path("maps", dataset, f"{name}.safetensors")
    wanted = provenance.output_folder(root) / place
    found = next(
        (f for p in (root / "results", root / "runs" / "results") if (f := _read(p / place, key))), None
    )
    if found is None:
        explainer = DnCShap(model, contexts=contexts, depth=depth)
        found = _compute(explainer, images, root / "runs" / dataset / f"maps-{key[:12]}", key, seed, progress)
    if not wanted.exists() or checkpoints.read(wanted)[1].get("key") != key:
        checkpoints.save(wanted, found, {"key": key, **settings})
    scores = found["scores"].float() * found["scale"][:, None]
    columns = (found[column].numpy() for column in ("worth", "classes"))
    return RegionScores(scores.numpy(), *columns, tree, float(found["evaluations"].double().mean()), key)


def _key(model: nn.Module, images: np.ndarray, settings: dict[str, Any]) -> str:
    """Return the SHA-256 of everything that decides the scores."""
    content = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        content.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    content.update(repr(images.shape).encode())
    content.update(np.ascontiguousarray(images))  # not its `tobytes`, which is a copy of the whole set
    content.update(definitions.code(DnCShap).encode())
    return content.hexdigest()


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """Read a file of scores if it is there and of this key."""
    if not path.exists():
        return None
    tensors, about = checkpoints.read(path)
    return tensors if about.get("key") == key else None


def _compute(
    explainer: DnCShap, images: np.ndarray, folder: Path, key: str, seed: int, progress: bool
) -> dict[str, Tensor]:
    """Explain every chunk that is not there yet, and return all of them together."""
    from tqdm import tqdm

    chunks = []
    with tqdm(total=len(images), desc="Explaining", unit="face", disable=not progress) as bar:
        for number, start in enumerate(range(0, len(images), CHUNK)):
            part, path = images[start : start + CHUNK], folder / f"chunk-{number:04d}.safetensors"
            try:
                tensors = _read(path, key)
            except CheckpointError:  # damaged: computed again and replaced
                tensors = None
            if tensors is None:
                explainer.seed = 1_000 * seed + number
                tensors = _explain(explainer, part)
                checkpoints.save(path, tensors, {"key": key})
            chunks.append(tensors)
            bar.update(len(part))
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


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
