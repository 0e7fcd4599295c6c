"""What there is to know of a dataset before it is there: where it comes from, under what terms, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError


@dataclass(frozen=True)
class About:
    """Facts about a dataset, for messages, for ``python -m fercore data status`` and for the data cards.

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
            f"({self.terms}) Then run `python -m fercore data add ARCHIVE`, or put the files there yourself; "
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
        parts = np.full(len(labels), "all") if parts is None else parts
        wrong = []
        for part, official in self.counts.items():
            found = np.bincount(labels[parts == part], minlength=len(Emotion))
            listed = [
                f"{emotion.title} {found[emotion]} instead of {official.get(emotion, 0)}"
                for emotion in Emotion
                if found[emotion] != official.get(emotion, 0)
            ]
            if listed:
                total = f"{found.sum()} images instead of {sum(official.values())}"
                wrong.append(f"{part} has {total} ({'; '.join(listed)})")
        if unknown := sorted(set(np.unique(parts).tolist()) - set(self.counts)):
            wrong.append(f"{', '.join(unknown)}: not in the official release")
        if wrong:
            raise DatasetError(
                f"{where}: {'. '.join(wrong)}. The copy is incomplete or changed: copy it again, or pass verify=False "
                "to use it as it is."
            )
