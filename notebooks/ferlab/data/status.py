"""What ``ferlab data`` says: which datasets are here, how to get the others, and what has been added."""

from __future__ import annotations

import os
import shutil
import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fercore import datasets
from fercore.datasets import fer2013
from fercore.datasets.base import About, FaceDataset
from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError
from ferlab.data.add import Added, check_votes, missing_parts

_MAX_WIDTH = 100
_COMMAND = "ferlab data add"
# How the archive is called that is added, as its owner gives it.
_ARCHIVES = {
    "fer2013": f"{_COMMAND} fer2013.tar.gz (or Kaggle's zip, or the bare CSV file)",
    "ferplus": f"{_COMMAND} fer2013new.csv (or the zip of the repository)",
    "ferg": f"{_COMMAND} FERG_DB_256.zip",
    "jaffe": f"{_COMMAND} jaffe.zip",
    "ckplus": f"{_COMMAND} extended-cohn-kanade-images.zip, then the same with Emotion_labels.zip and, to cut out the "
    "faces by their landmarks, with Landmarks.zip",
    "ck48": f"{_COMMAND} CK+48.zip",
}
_INTRODUCTION = (
    "The embedded faces are rendered here and need nothing. Photographs and drawings belong to others, and this "
    "project redistributes none: get them from their owners, under their terms. Then add the archive as you got it; it "
    "is checked against the official counts and put where the loaders look. Its name does not matter. Zip, tar and "
    "tar.gz are read. To use another data folder, set FERCORE_DATA or pass --root."
)


@dataclass(frozen=True)
class _Entry:
    """A dataset in the list: a heading and facts by name."""

    heading: str
    facts: Mapping[str, str]
    damaged: bool = False

    def text(self, width: int) -> str:
        lines = [_wrapped(self.heading, width, "")]
        lines += [_wrapped(fact, width, f"  {name:<11} ") for name, fact in self.facts.items() if fact]
        return "\n".join(lines)


def status(root: str | Path | None = None, progress: bool = False) -> tuple[str, bool]:
    """Describe every dataset: whether it is here, its counts, its terms, where to get it and how to add it.

    Args:
        root: The data folder; :func:`fercore.datasets.data_root` by default.
        progress: Show progress bars where a dataset has to be read because it is not in the cache.

    Returns:
        The text, wrapped to the terminal, and whether a dataset is damaged.
    """
    root = Path(datasets.data_root() if root is None else root).absolute()
    width = min(_MAX_WIDTH, shutil.get_terminal_size().columns)
    entries = []
    for name in datasets.DATASETS:
        if name != "faces":
            entries.append(_dataset(datasets.about(name), root, progress))
        if name == "fer2013":
            entries.append(_votes(root))
    source = " (from FERCORE_DATA)" if os.environ.get("FERCORE_DATA") and root == _from_environment() else ""
    top = [_wrapped(f"{root}{source}", width, "Data folder: "), _wrapped(_INTRODUCTION, width, "")]
    text = "\n\n".join([*top, *(entry.text(width) for entry in entries)])
    return text, any(entry.damaged for entry in entries)


def added_text(added: Added) -> str:
    """Say what was added, and what is left to do."""
    files = f"{added.files:,} {'file' if added.files == 1 else 'files'}"
    told = [f"{added.title}: {files} added to {added.folder}."]
    if added.images is not None:
        told.append(f"{added.title} is complete: {added.images:,} images, as in the official release.")
    told += [f"Passed over: {sentence}." for sentence in added.skipped]
    told += [f"{folder}/ is still missing: {_COMMAND} {archive}" for folder, archive in added.missing.items()]
    if added.dataset == "ferplus":
        told.append(
            'The votes come with the images of FER2013, as extras["votes"], where fer2013.csv is there too.'
        )
    else:
        told.append(f"Terms: {datasets.about(added.dataset).terms}")
    return "\n".join(told)


def _from_environment() -> Path:
    return datasets.data_root().absolute()


def _dataset(about: About, root: Path, progress: bool) -> _Entry:
    """Load a dataset, from the cache where it can, and describe it."""
    heading = f"{about.title} ({about.name})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a data folder that cannot be written has no cache
            data = datasets.load(about.name, root=root, progress=progress)
    except DatasetNotFoundError:
        return _Entry(f"{heading}: {_lacking(about, root)}", _how_to_get(about, root))
    except (DatasetError, OSError) as error:
        again = f"move {about.folder(root)} away, then {_ARCHIVES[about.name]}"
        facts = {"Error": _reason(error)} | _how_to_get(about, root) | {"Add it": again}
        return _Entry(f"{heading}: DAMAGED OR INCOMPLETE", facts, damaged=True)
    return _Entry(f"{heading}: here", _loaded(about, root, data))


def _reason(error: Exception) -> str:
    """Return an error's message; what the system raises does not say what to do."""
    if isinstance(error, OSError):
        return f"It cannot be read ({error}). Check the permissions and the disk."
    return str(error)


def _lacking(about: About, root: Path) -> str:
    """Say that a dataset is not here, or which of its parts."""
    missing = missing_parts(root) if about.name == "ckplus" else {}
    if not about.folder(root).is_dir() or len(missing) != 1:
        return "not here"
    [(folder, archive)] = missing.items()
    return f"not complete: {folder}/ is missing (from {archive})"


def _how_to_get(about: About, root: Path) -> dict[str, str]:
    return {
        "Official": _counts(about),
        "Looked in": f"{about.folder(root)} for {'; or '.join(about.layout)}",
        "Get it": about.source,
        "Terms": _sentence(about.terms),
        "Add it": _ARCHIVES[about.name],
    }


def _loaded(about: About, root: Path, data: FaceDataset) -> dict[str, str]:
    found = np.bincount(data.labels, minlength=len(Emotion))
    emotions = ", ".join(f"{emotion.title} {found[emotion]:,}" for emotion in data.emotions)
    return {
        "Images": f"{len(data):,} of {_counts(about)}",
        "Emotions": emotions,
        "Passed over": "; ".join(data.skipped),
        "In": f"{about.folder(root)} ({data.source})",
        "Source": about.source,
        "Terms": _sentence(about.terms),
    }


def _counts(about: About) -> str:
    """Return the official number of images, by part where there are several."""
    parts = [f"{part} {sum(counts.values()):,}" for part, counts in about.counts.items()]
    return f"{about.images:,} images" + (f": {', '.join(parts)}" if len(parts) > 1 else "")


def _votes(root: Path) -> _Entry:
    """Describe the votes of FER+, which have no loader of their own."""
    places = f"{root / 'fer2013'} and {root / 'ferplus'} for {fer2013.VOTES_FILE}"
    facts = {
        "What": "ten people's votes on every image of FER2013; they come with its images where fer2013.csv is read",
        "Looked in": places,
        "Get it": f"{fer2013.VOTES_SOURCE}.",
        "Terms": "MIT licence",
        "Add it": _ARCHIVES["ferplus"],
    }
    try:
        path = fer2013.find_votes(root)
        if path is None:
            return _Entry("FER+, votes for FER2013: not here", facts)
        check_votes(path)
    except (DatasetError, OSError) as error:
        return _Entry(
            "FER+, votes for FER2013: DAMAGED OR INCOMPLETE", {"Error": _reason(error)} | facts, damaged=True
        )
    return _Entry(
        "FER+, votes for FER2013: here", {"In": str(path)} | facts | {"Looked in": "", "Add it": ""}
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrapped(text: str, width: int, first: str) -> str:
    """Wrap a paragraph that begins with a label and hangs below it; paths and commands are not broken."""
    lines = textwrap.wrap(
        text,
        max(width, len(first) + 20),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)
