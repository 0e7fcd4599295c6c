"""The datasets, each in its official layout, behind one call: ``load("fer2013")``."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from fercore.datasets.base import About, FaceDataset, content_checksum
from fercore.errors import UnknownNameError

__all__ = ["DATASETS", "About", "FaceDataset", "about", "content_checksum", "data_root", "load", "title"]

# name -> (title, module that has `load`); imported on demand, so that a loader's own needs stay its own.
DATASETS: dict[str, tuple[str, str]] = {
    "faces": ("Embedded faces", "ferlab.faces"),
    "fer2013": ("FER2013", "fercore.datasets.fer2013"),
    "ferg": ("FERG-DB", "fercore.datasets.ferg"),
    "jaffe": ("JAFFE", "fercore.datasets.jaffe"),
    "ckplus": ("CK+", "fercore.datasets.ckplus"),
    "ck48": ("CK+48", "fercore.datasets.ck48"),
}


def data_root() -> Path:
    """Return the folder that holds the datasets: ``FERCORE_DATA`` if set, else ``data`` in the project or here."""
    if chosen := os.environ.get("FERCORE_DATA"):
        return Path(chosen).expanduser()
    project = Path(__file__).resolve().parents[2]
    return project / "data" if (project / "pyproject.toml").is_file() else Path("data")


def title(name: str) -> str:
    """Return a dataset's name for people.

    Raises:
        UnknownNameError: If there is no such dataset; lists those that there are.
    """
    if name not in DATASETS:
        raise UnknownNameError(f"There is no dataset {name!r}; choose one of {', '.join(sorted(DATASETS))}.")
    return DATASETS[name][0]


def about(name: str) -> About:
    """Return what there is to know of a dataset before it is there.

    Raises:
        UnknownNameError: If there is no such dataset, or it is the embedded faces, which are made here.
    """
    title(name)
    if name == "faces":
        raise UnknownNameError("The embedded faces are rendered here; there is nothing to get.")
    return importlib.import_module(DATASETS[name][1]).ABOUT


def load(name: str, root: str | Path | None = None, **options: Any) -> FaceDataset:
    """Load a dataset by name.

    Args:
        name: ``"faces"`` (rendered here, nothing to download), ``"fer2013"``, ``"ferg"``, ``"jaffe"``, ``"ckplus"``
            (the official tree of sequences) or ``"ck48"`` (the folders of its peak frames at 48 pixels).
        root: The data folder; :func:`data_root` by default. Ignored by ``"faces"``.
        **options: Passed on to the loader. ``verify=False`` does not compare with the official counts,
            ``progress=False`` shows no progress bar, ``size=96`` resizes to squares of 16 ... 512 pixels a side (all
            but FER2013, 48 by default), ``contempt=True`` reads also the images of contempt of CK+ and CK+48. See
            ``fercore.datasets.ckplus.load`` for ``neutral``, ``frames`` and ``crop``.

    Returns:
        The whole dataset; see :mod:`fercore.datasets.splits` for its parts.

    Raises:
        UnknownNameError: If there is no such dataset.
        DatasetNotFoundError: If its files are absent; says where to get them and where to put them.
        DatasetError: If its files are damaged; names file and line.
        ValueError: If an option is none of those allowed.
        ImportError: If ``"faces"`` is asked for and ferlab, which renders them, is not installed.
    """
    title(name)
    if name != "faces":
        module = importlib.import_module(DATASETS[name][1])
        return module.load(root=data_root() if root is None else Path(root), **options)
    if importlib.util.find_spec("ferlab") is None:
        source = "ferlab, which comes with the companion's repository: run `make` there"
        raise ImportError(f"The embedded faces are rendered by {source}, or `pip install ./notebooks`.")
    return importlib.import_module("ferlab.faces").load(**options)
