"""How much of an accuracy is memory: one classifier under folds that let copies of a face through, and that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from tqdm import tqdm

from fercore.datasets import splits
from fercore.datasets.base import FaceDataset, content_checksum
from fercore.datasets.splits import Split
from fercore.emotions import EMOTIONS, Emotion
from ferlab import faces, networks

NAME = "1-NN on pixels"
RANDOM, BY_IMAGE, BY_SEQUENCE, BY_SUBJECT = "random folds", "by image", "by sequence", "by subject"
LAST = 3  # frames of a clip that count, as CK+ is mostly used
_BLOCK = 512  # images whose distances to all others are in memory at once


def grey(images: np.ndarray) -> np.ndarray:
    """Return images (N, H, W, 1 or 3) uint8 as rows of grey values (ITU-R 601 luma): (N, H * W) float64.

    They are rounded: sums of products of whole numbers are exact, so that every machine finds the same neighbours.
    """
    if images.shape[-1] == 3:
        images = np.array([np.rint(image @ (0.299, 0.587, 0.114)) for image in images])
    return images.reshape(len(images), -1).astype(np.float64)


def nearest(
    images: np.ndarray, partitions: Mapping[str, np.ndarray], progress: bool = True
) -> dict[str, np.ndarray]:
    """Find the nearest image outside an image's own part, (N,) int64, for partitions (N,) in one pass over all pairs.

    With folds as parts it is whom scikit-learn's ``KNeighborsClassifier(1, algorithm="brute")`` finds in each fold.
    """
    pixels = grey(images)
    found: dict[str, list[np.ndarray]] = {name: [] for name in partitions}
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(images), _BLOCK)]
    for rows in tqdm(blocks, desc="Nearest neighbours", disable=not progress):
        distances = euclidean_distances(pixels[rows], pixels, squared=True)
        for name, parts in partitions.items():
            outside = parts[rows, None] != parts
            found[name].append(np.where(outside, distances, np.inf).argmin(axis=1))
    return {name: np.concatenate(each) for name, each in found.items()}


def floor(labels: np.ndarray) -> float:
    """Return the accuracy (0..1) of always naming the most frequent emotion."""
    return float(np.bincount(labels).max() / len(labels))


def score(
    title: str, protocol: str, classifier: str, hits: Sequence[np.ndarray], known: int, guess: float
) -> dict[str, Any]:
    """Return one row of a table of scores, from which test images were classified correctly, (n,) bool for each fold.

    ``known`` counts the images trained on in one fold; ``spread`` is the standard deviation over folds, or NaN.
    """
    each = [part.mean() for part in hits if len(part)]
    return {
        "data": title,
        "protocol": protocol,
        "classifier": classifier,
        "images": sum(map(len, hits)),
        "known": known,
        "folds": len(each),
        "accuracy": float(np.mean(each)),
        "spread": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan,
        "floor": guess,
    }


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Whom the nearest-neighbour classifier found under several protocols."""

    data: FaceDataset
    folds: Mapping[str, np.ndarray]  # (N,) int64 by protocol, which fold tests each image
    found: Mapping[str, np.ndarray]  # (N,) int64 by protocol, its nearest image in the other folds
    closest: np.ndarray  # (N,) int64, its nearest image of all

    def scores(self, chosen: np.ndarray | None = None) -> pd.DataFrame:
        """Return rows of :func:`score`, one per protocol; only test images that are ``chosen``, (N,) bool, count."""
        labels = self.data.labels
        chosen = np.ones(len(labels), bool) if chosen is None else chosen
        rows = []
        for name, folds in self.folds.items():
            right = labels[self.found[name]] == labels
            hits = [right[chosen & (folds == fold)] for fold in np.unique(folds)]
            known = round(len(labels) * (1 - 1 / len(hits)))
            rows.append(score(self.data.title, name, NAME, hits, known, floor(labels[chosen])))
        return pd.DataFrame(rows)

    def company(self) -> pd.DataFrame:
        """Say how often images have something in common with their ``nearest image``, and with ``any image``, 0..1."""
        columns = {
            "the same pixels": splits.identical(self.data.images),
            "the same sequence": self.data.groups,
            "the same subject": self.data.subjects,
            "the same emotion": self.data.labels,
        }
        rows = {}
        for name, column in columns.items():
            if column is not None:
                sizes, images = np.unique(column, return_counts=True)[1], len(column)
                pairs = (sizes * (sizes - 1)).sum() / (images * (images - 1))
                rows[name] = {"nearest image": (column[self.closest] == column).mean(), "any image": pairs}
        return pd.DataFrame.from_dict(rows, orient="index")


def protocols(data: FaceDataset) -> dict[str, tuple[FaceDataset, str]]:
    """List the protocols whose difference is a leak, the most generous first: name, dataset and how it is split."""
    found = {RANDOM: (data, "paper")}
    if data.groups is not None:
        found[BY_SEQUENCE] = (replace(data, subjects=None), "subject")
    if data.subjects is not None:
        found[BY_SUBJECT] = (data, "subject")
    if len(found) == 1:
        pictures = splits.identical(data.images).astype(str)
        found[BY_IMAGE] = (replace(data, groups=pictures), "subject")
    return found


def fold_numbers(data: FaceDataset, protocol: str, seed: int = 0) -> np.ndarray:
    """Return which fold tests each image: (N,) int64."""
    numbers = np.empty(len(data), dtype=np.int64)
    for fold in range(splits.folds(data, protocol)):
        numbers[splits.split(data, protocol, fold, seed).test] = fold
    return numbers


def neighbours(data: FaceDataset, seed: int = 0, progress: bool = True) -> Neighbours:
    """Classify every image by its nearest neighbour, under each of :func:`protocols`; N images take N² distances."""
    folds = {name: fold_numbers(*view, seed) for name, view in protocols(data).items()}
    found = nearest(data.images, folds | {"": np.arange(len(data))}, progress=progress)
    closest = found.pop("")
    return Neighbours(data, folds, found, closest)


def equal_split(data: FaceDataset, protocol: str, fold: int, seed: int = 0) -> Split:
    """Split so that all protocols train on equally many images: one fold tests, the next one validates, three train.

    ``"paper"``, which validates on a tenth of the training folds, becomes ``"random"`` here.
    """
    if protocol != "paper":
        return splits.split(data, protocol, fold, seed)
    numbers, count = fold_numbers(data, protocol, seed), splits.folds(data, protocol)
    test, validation = numbers == fold, numbers == (fold + 1) % count
    return Split("random", *(np.flatnonzero(part) for part in (~test & ~validation, validation, test)))


def network_scores(
    setting: networks.Setting, data: FaceDataset, seed: int, folds: int, device: str = "auto"
) -> pd.DataFrame:
    """Train a network under the most generous and the strictest protocol, on the first ``folds`` folds; score both."""
    compared, rows = protocols(data), []
    for name in (RANDOM, list(compared)[-1]):
        view, protocol = compared[name]
        parts = [equal_split(view, protocol, fold, seed) for fold in range(folds)]
        hits = [network_hits(replace(setting, fold=n), view, part, device) for n, part in enumerate(parts)]
        rows.append(score(data.title, name, "network", hits, len(parts[0].train), floor(data.labels)))
    return pd.DataFrame(rows)


def network_hits(
    setting: networks.Setting, data: FaceDataset, parts: Split, device: str = "auto"
) -> np.ndarray:
    """Train a network, or find it trained, and say which test images it classifies correctly: (k,) bool."""
    return networks.outcome(setting, data, parts, device).predicted("test") == data.labels[parts.test]


def official_hits(data: FaceDataset) -> np.ndarray:
    """Say which images of PrivateTest have the label of their nearest Training image: (k,) bool."""
    parts = splits.split(data, "official")
    train, test = data.subset(parts.train), data.subset(parts.test)
    model = KNeighborsClassifier(1, algorithm="brute").fit(grey(train.images), train.labels)
    return model.predict(grey(test.images)) == test.labels


def official_scores(data: FaceDataset, hits: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Score PrivateTest of FER2013 by classifier: all images, those with an exact copy in Training, and the rest."""
    parts = splits.split(data, "official")
    copies, labels = splits.duplicates(data, parts), data.labels[parts.test]
    title, known = f"{data.title}, PrivateTest", len(parts.train)
    chosen = {"all images": copies | True, "copies of Training": copies, "without copies": ~copies}
    rows = [
        score(title, name, classifier, [right[some]], known, floor(labels[some]))
        for classifier, right in hits.items()
        for name, some in chosen.items()
    ]
    return pd.DataFrame(rows)


def sample(data: FaceDataset, most: int, seed: int = 0) -> FaceDataset:
    """Draw at most ``most`` images at random, so that each emotion keeps its share."""
    if len(data) <= most:
        return data
    every = np.arange(len(data))
    drawn, _ = train_test_split(every, train_size=most, random_state=seed, stratify=data.labels)
    return data.subset(np.sort(drawn))


def clips(
    characters: int = 20, frames: int = 10, size: int = 48, seed: int = 0, progress: bool = True
) -> FaceDataset:
    """Render a set with the structure of CK+: the last three frames of clips that grow from neutral to an emotion.

    Six clips a character, in one light and before one background; pose and intensity differ. Groups are the clips.
    """
    jobs = [(index, e) for index in range(characters) for e in EMOTIONS if e is not Emotion.NEUTRAL]
    bar = tqdm(jobs, desc="Rendering clips", unit="clip", disable=not progress)
    filmed = [_film(index, emotion, frames, size, seed) for index, emotion in bar]
    images = np.concatenate([clip.images[-LAST:] for clip in filmed])
    labels = np.array([clip.label for clip in filmed], dtype=np.int64).repeat(LAST)
    return FaceDataset(
        name="clips",
        title="Clips of embedded faces",
        images=images,
        labels=labels,
        checksum=content_checksum(images, labels),
        source=f"rendered here: the last {LAST} of {frames} frames of {len(filmed)} clips, seed {seed}",
        subjects=np.repeat([clip.character for clip in filmed], LAST),
        groups=np.repeat([f"{clip.character}-{clip.label.title}" for clip in filmed], LAST),
    )


def _film(index: int, emotion: Emotion, frames: int, size: int, seed: int) -> faces.Clip:
    """Render the clip of one character and emotion."""
    rng = np.random.default_rng([seed, index, int(emotion)])
    studio, own = faces.sample_scene(np.random.default_rng([seed, index])), faces.sample_scene(rng)
    return faces.clip(
        faces.make_character(index, seed),
        emotion,
        frames,
        size=size,
        intensity=float(rng.uniform(0.6, 1.0)),
        scene=replace(studio, pose=own.pose, shift=own.shift, zoom=own.zoom, gaze=own.gaze),
        seed=int(rng.integers(2**31)),
    )


def as_metrics(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the rows of a table of scores for a record, by a name made of data, classifier and protocol."""
    names = (table.data + " " + table.classifier + " " + table.protocol).str.replace(r"\W+", "_", regex=True)
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    return dict(zip(names.str.lower(), rows, strict=True))
