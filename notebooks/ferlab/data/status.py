"""What ``ferlab data`` says: which datasets are here, how to get the others, and what has been added."""

from __future__ import annotations

import os
import shutil
import textwrap
import warnings
from pathlib import Path

import numpy as np

from fercore import datasets
from fercore.datasets import fer2013
from fercore.datasets.base import About
from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError
from ferlab.data.add import Added, check_votes, missing_parts

_MAX_WIDTH = 100
_COMMAND, _DAMAGED = "ferlab data add", "DAMAGED OR INCOMPLETE"
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


def status(root: str | Path | None = None, progress: bool = False) -> tuple[str, bool]:
    """Describe every dataset under ``root``, wrapped to the terminal; say also whether one is damaged."""
    here = Path(datasets.data_root()).absolute()
    root = here if root is None else Path(root).absolute()
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise DatasetError(f"{root} is no folder: name one in FERCORE_DATA or with --root.")
    width = min(_MAX_WIDTH, shutil.get_terminal_size().columns)
    entries: list[tuple[str, dict[str, str]]] = []
    for name in datasets.DATASETS:
        if name != "faces":
            entries.append(_dataset(datasets.about(name), root, progress))
        if name == "fer2013":
            entries.append(_votes(root))
    source = " (from FERCORE_DATA)" if os.environ.get("FERCORE_DATA") and root == here else ""
    text = [_wrapped(f"{root}{source}", width, "Data folder: "), _wrapped(_INTRODUCTION, width, "")]
    for heading, facts in entries:
        lines = [_wrapped(fact, width, f"  {name:<11} ") for name, fact in facts.items() if fact]
        text.append("\n".join([_wrapped(heading, width, ""), *lines]))
    return "\n\n".join(text), any(_DAMAGED in heading for heading, _ in entries)


def added_text(added: Added) -> str:
    """Say what was added, and what is left to do."""
    files = f"{added.files:,} {'file' if added.files == 1 else 'files'}"
    told = [f"{added.title}: {files} added to {added.folder}."]
    if added.images is not None:
        told.append(f"{added.title} is complete: {added.images:,} images, as in the official release.")
    told += [f"Passed over: {sentence}." for sentence in added.skipped]
    told += [f"{folder}/ is still missing: {_COMMAND} {archive}" for folder, archive in added.missing.items()]
    votes = 'The votes come with the images of FER2013, as extras["votes"], where fer2013.csv is there too.'
    told.append(votes if added.dataset == "ferplus" else f"Terms: {datasets.about(added.dataset).terms}")
    return "\n".join(told)


def _dataset(about: About, root: Path, progress: bool) -> tuple[str, dict[str, str]]:
    """Load a dataset, from the cache where it can; return a heading and facts by name."""
    heading, folder = f"{about.title} ({about.name})", about.folder(root)
    terms = about.terms[:1].upper() + about.terms[1:]
    to_get = {
        "Official": _counts(about),
        "Looked in": f"{folder} for {'; or '.join(about.layout)}",
        "Get it": about.source,
        "Terms": terms,
        "Add it": _ARCHIVES[about.name],
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a data folder that cannot be written has no cache
            data = datasets.load(about.name, root=root, progress=progress)
    except DatasetNotFoundError:
        missing = missing_parts(root) if about.name == "ckplus" else {}
        parts = [f"{part}/ is missing (from {archive})" for part, archive in missing.items()]
        state = f"not complete: {parts[0]}" if len(parts) == 1 else "not here"
        return f"{heading}: {state}", to_get
    except (DatasetError, OSError) as error:
        again = {"Add it": f"move {folder} away, then {_ARCHIVES[about.name]}"}
        return f"{heading}: {_DAMAGED}", {"Error": _reason(error)} | to_get | again
    found = np.bincount(data.labels, minlength=len(Emotion))
    return f"{heading}: here", {
        "Images": f"{len(data):,} of {_counts(about)}",
        "Emotions": ", ".join(f"{emotion.title} {found[emotion]:,}" for emotion in data.emotions),
        "Passed over": "; ".join(data.skipped),
        "In": f"{folder} ({data.source})",
        "Source": about.source,
        "Terms": terms,
    }


def _votes(root: Path) -> tuple[str, dict[str, str]]:
    """Describe the votes of FER+, which have no loader of their own."""
    heading = "FER+, votes for FER2013"
    facts = {
        "What": "ten people's votes on every image of FER2013; they come with its images where fer2013.csv is read",
        "Looked in": f"{root / 'fer2013'} and {root / 'ferplus'} for {fer2013.VOTES_FILE}",
        "Get it": f"{fer2013.VOTES_SOURCE}.",
        "Terms": "MIT licence",
        "Add it": _ARCHIVES["ferplus"],
    }
    try:
        if (path := fer2013.find_votes(root)) is None:
            return f"{heading}: not here", facts
        check_votes(path)
    except (DatasetError, OSError) as error:
        return f"{heading}: {_DAMAGED}", {"Error": _reason(error)} | facts
    return f"{heading}: here", {"In": str(path)} | facts | {"Looked in": "", "Add it": ""}


def _reason(error: Exception) -> str:
    """Return an error's message; what the system raises does not say what to do."""
    system = f"It cannot be read ({error}). Check the permissions and the disk."
    return system if isinstance(error, OSError) else str(error)


def _counts(about: About) -> str:
    """Return the official number of images, by part where there are several."""
    parts = [f"{part} {sum(counts.values()):,}" for part, counts in about.counts.items()]
    return f"{about.images:,} images" + (f": {', '.join(parts)}" if len(parts) > 1 else "")


def _wrapped(text: str, width: int, first: str) -> str:
    """Wrap a paragraph that begins with a label and hangs below it; paths and commands are not broken."""
    whole = {"break_long_words": False, "break_on_hyphens": False}
    room, rest = max(width, len(first) + 20), " " * len(first)
    return textwrap.fill(text, room, initial_indent=first, subsequent_indent=rest, **whole)
