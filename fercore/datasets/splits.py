"""Protocols: which images train the network, which choose the epoch, and which are reported once."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np

from fercore.datasets.base import FaceDataset
from fercore.errors import DatasetError, UnknownNameError

FOLDS = 5  # the paper's number (Section 4.1)
PROTOCOLS = ("official", "official-dedup", "subject", "loso", "paper")
_USAGES = ("Training", "PublicTest", "PrivateTest")


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

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training, validation and test part, in this order."""
        return self.train, self.validation, self.test

    def checksum(self) -> str:
        """Return ``"sha256:<hex>"`` of the three index arrays."""
        content = hashlib.sha256()
        for part in self.sides:
            content.update(f"{len(part)}:".encode() + np.ascontiguousarray(part, dtype="<i8").tobytes())
        return f"sha256:{content.hexdigest()}"


def default_protocol(dataset: FaceDataset) -> str:
    """Return ``"official"`` where the dataset has a split of its own, else ``"subject"``."""
    return "official" if dataset.usage is not None else "subject"


def folds(dataset: FaceDataset, protocol: str) -> int:
    """Return how many folds a protocol has on a dataset.

    Args:
        dataset: The dataset.
        protocol: As in :func:`split`.

    Returns:
        1 for the official split, the number of subjects for ``"loso"``, else 5.

    Raises:
        UnknownNameError: If there is no such protocol.
        DatasetError: If ``"loso"`` is asked of a dataset with fewer than three subjects, or that names none.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError(f"There is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}.")
    if protocol == "loso":
        return len(_subjects(dataset))
    return 1 if protocol.startswith("official") else FOLDS


def split(dataset: FaceDataset, protocol: str | None = None, fold: int = 0, seed: int = 0) -> Split:
    """Split a dataset by a protocol.

    Args:
        dataset: The dataset.
        protocol: One of the following; None takes :func:`default_protocol`.

            - ``"official"``: FER2013's own. Train on Training, choose on PublicTest, report PrivateTest.
            - ``"official-dedup"``: the same without copies across parts. Training stays whole; an image goes from
              PublicTest if its exact pixels are in Training or PrivateTest, and from PrivateTest if they are in
              Training.
            - ``"subject"``: 5 folds, nobody on two sides. Where no subject is known, no sequence on two sides.
            - ``"loso"``: leave one subject out. Fold k tests the k-th subject in sorted order.
            - ``"paper"``: 5 random stratified folds of all images, the paper's Section 4.1.
        fold: Which fold is the test part, 0 ... :func:`folds` - 1.
        seed: Seed of the folds; ``"official"``, ``"official-dedup"`` and ``"loso"`` draw nothing.

    Returns:
        The split. Under ``"subject"`` the validation part is the next fold, under ``"loso"`` the next subject, and
        under ``"paper"`` a stratified tenth of the training folds (the paper does not say what its epochs were chosen
        on).

    Raises:
        UnknownNameError: If there is no such protocol.
        DatasetError: If the dataset lacks what the protocol needs, is too small for it, or is labelled such that the
            protocol cannot keep its promise (one sequence of two subjects, say).
        ValueError: If ``fold`` does not exist.
    """
    protocol = protocol or default_protocol(dataset)
    count = folds(dataset, protocol)
    if not 0 <= fold < count:
        raise ValueError(f"fold={fold} does not exist: protocol {protocol!r} has folds 0 to {count - 1}.")
    if protocol == "official":
        parts = _official(dataset)
    elif protocol == "official-dedup":
        parts = _without_copies(dataset)
    elif protocol == "subject":
        parts = _by_subject(dataset, fold, seed)
    elif protocol == "loso":
        parts = _one_out(dataset, fold)
    else:
        parts = _at_random(dataset, fold, seed)
    _guard(dataset, parts)
    return parts


def _official(dataset: FaceDataset) -> Split:
    if dataset.usage is None:
        raise DatasetError(f"{dataset.title} has no official split; choose protocol 'subject' or 'paper'.")
    return Split("official", *(np.flatnonzero(dataset.usage == name) for name in _USAGES), names=_USAGES)


def _without_copies(dataset: FaceDataset) -> Split:
    whole, classes = _official(dataset), identical(dataset.images)
    of_training, of_validation, of_test = (classes[part] for part in whole.sides)
    seen = np.isin(of_validation, np.concatenate([of_training, of_test]))
    return Split(
        "official-dedup",
        whole.train,
        whole.validation[~seen],
        whole.test[~np.isin(of_test, of_training)],
        names=whole.names,
    )


def _subjects(dataset: FaceDataset) -> np.ndarray:
    """Return the sorted subjects of a dataset that can be left out one by one."""
    if dataset.subjects is None:
        raise DatasetError(
            f"{dataset.title} names no subjects: none can be left out. Choose another protocol."
        )
    found = np.unique(dataset.subjects)
    if len(found) < 3:
        raise DatasetError(
            f"{dataset.title} has {len(found)} subjects; leaving one out takes three: one to test, one to validate, "
            "one to train."
        )
    return found


def _one_out(dataset: FaceDataset, fold: int) -> Split:
    found = _subjects(dataset)
    test, validation = found[fold], found[(fold + 1) % len(found)]
    sides = (
        ~np.isin(dataset.subjects, [test, validation]),
        *(dataset.subjects == s for s in (validation, test)),
    )
    return Split("loso", *(np.flatnonzero(side) for side in sides))


def _by_subject(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import GroupKFold

    kind, groups = "subjects", dataset.subjects
    if groups is None:
        kind, groups = "sequences", dataset.groups
    if groups is None:
        raise DatasetError(
            f"{dataset.title} names neither subjects nor sequences; choose protocol 'official' or 'paper'."
        )
    if len(np.unique(groups)) < FOLDS:
        raise DatasetError(
            f"{dataset.title} has fewer than {FOLDS} {kind}: {FOLDS} folds by subject are impossible."
        )
    parts = [
        test
        for _, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(dataset.labels, groups=groups)
    ]
    test, validation = parts[fold], parts[(fold + 1) % FOLDS]
    train = np.setdiff1d(np.arange(len(dataset)), np.concatenate([test, validation]))
    return Split("subject", train, validation, test)


def _at_random(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import StratifiedKFold, train_test_split

    scarce = [emotion.title for emotion in dataset.emotions if dataset.counts()[emotion] < 2 * FOLDS]
    if scarce:
        raise DatasetError(
            f"{dataset.title} has too few images of {', '.join(scarce)} for {FOLDS} stratified folds."
        )
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(dataset.labels, dataset.labels)
    rest, test = list(parts)[fold]
    tenth = max(len(dataset.emotions), round(0.1 * len(rest)))  # at least one image of each emotion
    train, validation = train_test_split(
        rest, test_size=tenth, random_state=seed, stratify=dataset.labels[rest]
    )
    return Split("paper", np.sort(train), np.sort(validation), test)


def _guard(dataset: FaceDataset, parts: Split) -> None:
    """Check that a split keeps what its protocol promises, so that no later change can break it unseen."""
    every = np.concatenate(parts.sides)
    if len(np.unique(every)) != len(every) or not np.isin(every, np.arange(len(dataset))).all():
        raise DatasetError(
            f"{dataset.title}, protocol {parts.protocol!r}: the parts overlap or leave the dataset."
        )
    if parts.protocol in ("subject", "loso"):
        _check_sides(dataset, parts, "subjects", dataset.subjects)
        _check_sides(dataset, parts, "sequences", dataset.groups)
    if parts.protocol == "official-dedup":
        _check_sides(dataset, parts, "identical images", identical(dataset.images))


def _check_sides(dataset: FaceDataset, parts: Split, kind: str, column: np.ndarray | None) -> None:
    """Refuse a split in which a value of a column is on two sides."""
    if column is None:
        return
    for one, other in itertools.combinations(parts.sides, 2):
        shared = np.intersect1d(column[one], column[other]).tolist()
        if shared:
            listed = ", ".join(map(str, shared[:5])) + (", …" if len(shared) > 5 else "")
            raise DatasetError(
                f"{dataset.title}, protocol {parts.protocol!r}: {kind} on two sides of the split: {listed}."
            )


def identical(images: np.ndarray) -> np.ndarray:
    """Number the distinct images, so that two images have the same number if all their pixels agree.

    Args:
        images: (N, ...) array of images of one shape; read one at a time, so a memory map stays on the disk.

    Returns:
        (N,) int64, numbered from 0 in the order of first appearance.
    """
    seen: dict[bytes, int] = {}
    numbers = [seen.setdefault(hashlib.sha256(image.tobytes()).digest(), len(seen)) for image in images]
    return np.array(numbers, dtype=np.int64)


def duplicates(dataset: FaceDataset, parts: Split) -> np.ndarray:
    """Find test images whose exact pixels are also among the training images.

    Returns:
        (k,) bool, one per image of ``parts.test``.
    """
    classes = identical(dataset.images)
    return np.isin(classes[parts.test], classes[parts.train])
