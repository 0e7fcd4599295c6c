"""What every loader returns: images, labels and the facts that protocols need."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError, DatasetNotFoundError

COLUMNS = ("labels", "subjects", "groups", "usage", "paths")  # of a dataset: one value per image, or None
OTHER_RELEASE = "The copy is incomplete or changed: copy it again, or pass verify=False to use it as it is."


@dataclass(frozen=True)
class About:
    """Facts about a dataset, for messages, for ``ferlab data status`` and for the data cards.

    Attributes:
        name: Key for the loader, and the folder under the data folder: ``"jaffe"``.
        title: Name for people: ``"JAFFE"``.
        layout: What has to lie in the folder, one line per accepted layout.
        source: Where to get it, as an order to the reader: ``"Ask for it at …"``.
        terms: Under what terms it is given, one sentence.
        counts: Images per emotion in the official release, by part (``"Training"``, a character, or ``"all"``).
        citation: Key in ``book/references.bib``.
    """

    name: str
    title: str
    layout: tuple[str, ...]
    source: str
    terms: str
    counts: Mapping[str, Mapping[Emotion, int]] = field(default_factory=dict)
    citation: str = ""

    @property
    def images(self) -> int:
        """Number of images in the official release."""
        return sum(sum(part.values()) for part in self.counts.values())

    def folder(self, root: str | Path) -> Path:
        """Return where the dataset lies under a data folder."""
        return Path(root) / self.name

    def absent(self, root: str | Path) -> DatasetNotFoundError:
        """Return the error for a dataset that is not there: what is missing, where to get it, where to put it."""
        layouts = " or ".join(self.layout)
        return DatasetNotFoundError(
            f"{self.title} was not found: {self.folder(root).absolute()} does not hold {layouts}. {self.source} "
            f"({self.terms}) Then run `ferlab data add ARCHIVE`, or put the files there yourself; "
            "FERCORE_DATA names another data folder."
        )

    def check(self, where: Path, labels: np.ndarray, parts: np.ndarray | None = None) -> None:
        """Compare images per part and emotion with the official counts.

        Args:
            where: What was read, for the message.
            labels: (N,) integers.
            parts: (N,) str, the part of each image; None where there is one part, ``"all"``.

        Raises:
            DatasetError: If they differ; names the parts and emotions that do.
        """

        def images_of(part: str, emotion: Emotion) -> str:
            return f"images of {emotion.title}" + ("" if part == "all" else f" in {part}")

        names = ["all"] * len(labels) if parts is None else parts.tolist()
        found = Counter(images_of(*one) for one in zip(names, map(Emotion, labels), strict=True))
        official = {
            images_of(part, emotion): count
            for part, counts in self.counts.items()
            for emotion, count in counts.items()
        }
        compare(where, {"images": len(labels), **found}, {"images": self.images, **official})


def compare(where: Path, found: Mapping[str, int], official: Mapping[str, int]) -> None:
    """Refuse numbers other than those of the official release, by what was counted: ``{"images of KA": 23}``."""
    wrong = [
        f"{found.get(name, 0)} {name} instead of {official.get(name, 0)}"
        for name in {**official, **found}
        if found.get(name, 0) != official.get(name, 0)
    ]
    if wrong:
        raise DatasetError(f"{where}: {', '.join(wrong)}. {OTHER_RELEASE}")


def content_checksum(images: np.ndarray, labels: np.ndarray) -> str:
    """Return ``"sha256:<hex>"`` of shape, pixels and labels, independent of the files they came from.

    Args:
        images: (N, H, W, C) uint8.
        labels: (N,) integers.
    """
    content = hashlib.sha256(repr(images.shape).encode())
    content.update(np.ascontiguousarray(images))
    content.update(np.ascontiguousarray(labels, dtype="<i8"))
    return f"sha256:{content.hexdigest()}"


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """Labelled face images in the canonical label order.

    Attributes:
        name: Key for the loader, e.g. ``"fer2013"``.
        title: Name for people, e.g. ``"FER2013"``.
        images: (N, H, W, C) uint8 in 0..255; C is 1 (grey) or 3 (RGB). A read-only ``np.memmap`` where
            the set is large.
        labels: (N,) int64, values of :class:`fercore.emotions.Emotion`; :attr:`emotions` lists those that occur.
        checksum: :func:`content_checksum` of images and labels: the same for every layout with the same pixels.
        source: What was read, for people: file name and its own checksum, say.
        subjects: (N,) str, who is shown; None where the dataset does not say.
        groups: (N,) str, images that must stay on one side of a split (a sequence, say); None where unknown.
        usage: (N,) str, the dataset's own split (``"Training"``, ``"PublicTest"``, …); None where it has none.
        paths: (N,) str, where each image came from, relative to the dataset's folder (``"KA.AN1.39.tiff"``, or file and
            line of a table); None where images are made.
        extras: Further arrays with one row per image (landmarks, masks, votes), by name.
        skipped: What the loader passed over because the official release has it so, one sentence each.

    Raises:
        DatasetError: If shapes, types or labels do not fit together.
    """

    name: str
    title: str
    images: np.ndarray
    labels: np.ndarray
    checksum: str
    source: str = ""
    subjects: np.ndarray | None = None
    groups: np.ndarray | None = None
    usage: np.ndarray | None = None
    paths: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the shapes once, so that nothing downstream has to."""
        if self.images.ndim != 4 or self.images.shape[-1] not in (1, 3) or self.images.dtype != np.uint8:
            given = f"{self.images.dtype} of shape {self.images.shape}"
            raise DatasetError(f"{self.title}: images must be uint8 of shape (N, H, W, 1 or 3), not {given}.")
        for name, column in {**self._columns(), **self.extras}.items():
            if len(column) != len(self.images):
                raise DatasetError(f"{self.title}: {len(column)} {name} for {len(self.images)} images.")
        outside = np.setdiff1d(self.labels, [int(emotion) for emotion in Emotion])
        if outside.size:
            raise DatasetError(f"{self.title}: labels outside 0..{len(Emotion) - 1}: {outside.tolist()}.")
        object.__setattr__(self, "extras", MappingProxyType(dict(self.extras)))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def emotions(self) -> tuple[Emotion, ...]:
        """The emotions that occur, in canonical order."""
        return tuple(Emotion(label) for label in np.unique(self.labels))

    def counts(self) -> np.ndarray:
        """Return the images per emotion, (7,) int64 in canonical order; (8,) with contempt where it occurs."""
        return np.bincount(self.labels, minlength=len(EMOTIONS))

    def subset(self, index: np.ndarray) -> FaceDataset:
        """Return the images chosen by an integer or boolean index of shape (M,) or (N,)."""
        columns = {name: column[index] for name, column in self._columns().items()}
        extras = {name: column[index] for name, column in self.extras.items()}
        return replace(self, images=self.images[index], extras=extras, **columns)

    def _columns(self) -> dict[str, np.ndarray]:
        """The columns that there are, by name."""
        return {name: column for name in COLUMNS if (column := getattr(self, name)) is not None}
