"""Protocols: which images train the network, which choose the epoch, and which are reported once."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace

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
    if protocol != "loso":
        return 1 if protocol.startswith("official") else FOLDS
    count = 0 if dataset.subjects is None else len(np.unique(dataset.subjects))
    if count < 3:
        raise DatasetError(f"{dataset.title} names {count} subjects; leaving one out takes three.")
    return count


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
        The split. The validation part is the next fold or subject, and under ``"paper"`` a stratified tenth of the
        training folds (the paper does not say what its epochs were chosen on).

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
        people = np.unique(dataset.subjects)
        parts = _in_turn(protocol, [np.flatnonzero(dataset.subjects == person) for person in people], fold)
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
    train, validation, test = (classes[part] for part in whole.sides)
    return replace(
        whole,
        protocol="official-dedup",
        validation=whole.validation[~np.isin(validation, np.concatenate([train, test]))],
        test=whole.test[~np.isin(test, train)],
    )


def _by_subject(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import GroupKFold

    groups = dataset.groups if dataset.subjects is None else dataset.subjects
    count = 0 if groups is None else len(np.unique(groups))
    if count < FOLDS:
        raise DatasetError(f"{dataset.title} names {count} subjects or sequences, too few for {FOLDS} folds.")
    shuffled = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    return _in_turn("subject", [test for _, test in shuffled.split(dataset.labels, groups=groups)], fold)


def _in_turn(protocol: str, parts: list[np.ndarray], fold: int) -> Split:
    """Test one part, validate on the next, train on the others."""
    test, validation = parts[fold], parts[(fold + 1) % len(parts)]
    train = np.setdiff1d(np.concatenate(parts), np.concatenate([test, validation]))
    return Split(protocol, train, validation, test)


def _at_random(dataset: FaceDataset, fold: int, seed: int) -> Split:
    from sklearn.model_selection import StratifiedKFold, train_test_split

    if scarce := [emotion.title for emotion in dataset.emotions if dataset.counts()[emotion] < 2 * FOLDS]:
        raise DatasetError(f"{dataset.title} has too few images of {', '.join(scarce)} for this protocol.")
    shuffled = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    rest, test = list(shuffled.split(dataset.labels, dataset.labels))[fold]
    tenth = max(len(dataset.emotions), round(0.1 * len(rest)))  # at least one image of each emotion
    of_rest = dataset.labels[rest]
    train, validation = train_test_split(rest, test_size=tenth, random_state=seed, stratify=of_rest)
    return Split("paper", np.sort(train), np.sort(validation), test)


def _guard(dataset: FaceDataset, parts: Split) -> None:
    """Refuse a split with one image on two sides, or one subject, sequence or picture where that is promised."""
    columns = {"images": np.arange(len(dataset))}
    if parts.protocol in ("subject", "loso"):
        columns |= {"subjects": dataset.subjects, "sequences": dataset.groups}
    if parts.protocol == "official-dedup":
        columns["identical images"] = identical(dataset.images)
    for kind, column in columns.items():
        for one, other in itertools.combinations(parts.sides, 2):
            shared = [] if column is None else np.intersect1d(column[one], column[other]).tolist()
            if shared:
                listed = ", ".join(map(str, shared[:5])) + (", …" if len(shared) > 5 else "")
                broken = f"{dataset.title}, protocol {parts.protocol!r}: {kind} on two sides of the split"
                raise DatasetError(f"{broken}: {listed}.")


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
