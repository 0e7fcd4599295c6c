"""Protocols: which images train the network, which choose the epoch, and which are reported once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fercore.datasets.base import FaceDataset
from fercore.errors import DatasetError, UnknownNameError

FOLDS = 5  # the paper's number (Section 4.1)
PROTOCOLS = ("official", "subject", "paper")


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint index arrays into one dataset.

    Attributes:
        protocol: Name of the protocol.
        train: (n,) int64, images the network is trained on.
        validation: (m,) int64, images that choose the epoch and drive the learning rate.
        test: (k,) int64, images that are reported once.
        names: What the dataset calls the three parts.
    """

    protocol: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    names: tuple[str, str, str] = ("train", "validation", "test")

    def checksum(self) -> str:
        """Return ``"sha256:<hex>"`` of the three index arrays."""
        content = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            content.update(f"{len(part)}:".encode() + np.ascontiguousarray(part, dtype="<i8").tobytes())
        return f"sha256:{content.hexdigest()}"


def default_protocol(dataset: FaceDataset) -> str:
    """Return ``"official"`` where the dataset has a split of its own, else ``"subject"``."""
    return "official" if dataset.usage is not None else "subject"


def split(dataset: FaceDataset, protocol: str | None = None, fold: int = 0, seed: int = 0) -> Split:
    """Split a dataset by a protocol.

    Args:
        dataset: The dataset.
        protocol: ``"official"`` (FER2013: train on Training, choose on PublicTest, report PrivateTest), ``"subject"``
            (5 folds, no subject on two sides), ``"paper"`` (5 random stratified folds of all images, the paper's
            Section 4.1); None takes :func:`default_protocol`.
        fold: Which of the 5 folds is the test part, 0..4; ``"official"`` has fold 0 only.
        seed: Seed of the folds.

    Returns:
        The split. Under ``"subject"`` the validation part is the next fold; under ``"paper"`` a stratified tenth of
        the training folds (the paper does not say what its epochs were chosen on).

    Raises:
        UnknownNameError: If there is no such protocol.
        DatasetError: If the dataset lacks what the protocol needs, or is too small for it.
        ValueError: If ``fold`` does not exist.
    """
    protocol = protocol or default_protocol(dataset)
    if protocol not in PROTOCOLS:
        raise UnknownNameError(f"There is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}.")
    folds = 1 if protocol == "official" else FOLDS
    if not 0 <= fold < folds:
        raise ValueError(f"fold={fold} does not exist: protocol {protocol!r} has folds 0 to {folds - 1}.")
    if protocol == "official":
        return _official(dataset)
    return _by_subject(dataset, fold, seed) if protocol == "subject" else _at_random(dataset, fold, seed)


def _official(dataset: FaceDataset) -> Split:
    names = ("Training", "PublicTest", "PrivateTest")
    if dataset.usage is None:
        raise DatasetError(f"{dataset.title} has no official split; choose protocol 'subject' or 'paper'.")
    return Split("official", *(np.flatnonzero(dataset.usage == name) for name in names), names=names)


def _by_subject(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import GroupKFold

    if dataset.subjects is None:
        raise DatasetError(f"{dataset.title} names no subjects; choose protocol 'official' or 'paper'.")
    if len(np.unique(dataset.subjects)) < FOLDS:
        raise DatasetError(
            f"{dataset.title} has fewer than {FOLDS} subjects: {FOLDS} folds by subject are impossible."
        )
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(dataset.labels, groups=dataset.subjects)
    parts = [test for _, test in folds]
    test, validation = parts[fold], parts[(fold + 1) % FOLDS]
    train = np.setdiff1d(np.arange(len(dataset)), np.concatenate([test, validation]))
    for one, other in ((train, validation), (train, test), (validation, test)):
        shared = np.intersect1d(dataset.subjects[one], dataset.subjects[other])
        if shared.size:
            raise DatasetError(f"{dataset.title}: subjects {shared.tolist()} are on two sides of the split.")
    return Split("subject", train, validation, test)


def _at_random(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import StratifiedKFold, train_test_split

    scarce = [emotion.title for emotion in dataset.emotions if dataset.counts()[emotion] < 2 * FOLDS]
    if scarce:
        raise DatasetError(
            f"{dataset.title} has too few images of {', '.join(scarce)} for {FOLDS} stratified folds."
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(dataset.labels, dataset.labels)
    rest, test = list(folds)[fold]
    tenth = max(len(dataset.emotions), round(0.1 * len(rest)))  # at least one image of each emotion
    train, validation = train_test_split(
        rest, test_size=tenth, random_state=seed, stratify=dataset.labels[rest]
    )
    return Split("paper", np.sort(train), np.sort(validation), test)


def duplicates(dataset: FaceDataset, parts: Split) -> np.ndarray:
    """Find test images whose exact pixels are also among the training images.

    Returns:
        (k,) bool, one per image of ``parts.test``.
    """
    seen = {dataset.images[index].tobytes() for index in parts.train}
    return np.array([dataset.images[index].tobytes() in seen for index in parts.test], dtype=bool)
