"""Shared: a tiny FER2013 in the official layout, the real one where it can be had, toy faces, and small books."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ferlab import provenance
from ferlab.runs import records
from hypothesis import settings

from fercore import datasets
from fercore.datasets import FaceDataset, content_checksum
from fercore.datasets.fer2013 import USAGES

# The same examples on every run and every machine; to search further: pytest --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = provenance.project_root()
SKETCH = ROOT.parent / "shared" / "data" / "fer2013" / "unpack.py"  # for developers: writes the official file
sys.path.append(str(ROOT / "book" / "_ext"))  # as Sphinx does


def fer2013_rows(per_class: int = 2, seed: int = 0) -> list[tuple[int, str, str]]:
    """Return (label, pixels, Usage) rows of random images, all classes in all parts."""
    rng = np.random.default_rng(seed)
    kinds = [(label, usage) for usage in USAGES for label in range(7) for _ in range(per_class)]
    return [(label, " ".join(map(str, rng.integers(0, 256, 2304))), usage) for label, usage in kinds]


def write_fer2013(root: Path, rows: list[tuple[int, str, str]]) -> Path:
    """Write rows as the official fer2013.csv under ``root``."""
    path = root / "fer2013" / "fer2013.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{label},{pixels},{usage}" for label, pixels, usage in rows]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return path


def brightness_faces(count: int = 70, size: int = 32, subjects: int = 10) -> FaceDataset:
    """Images whose class is their brightness: a task that a tiny network learns in seconds."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 7
    images = rng.integers(0, 16, (count, size, size, 1)) + (labels * 34)[:, None, None, None]
    images, labels = images.astype(np.uint8), labels.astype(np.int64)
    people = np.array([f"s{index // 7 % subjects}" for index in range(count)])
    return FaceDataset("toy", "Toy", images, labels, content_checksum(images, labels), subjects=people)


def build_book(folder: Path, builder: str = "html", **options: Any) -> tuple[Any, str]:
    """Build the pages of a folder with Sphinx, beside it; return the application and its warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    options = {"source_suffix": {".md": "markdown"}} | options  # else of the last book with other extensions
    out, warnings = folder.with_name(f"{folder.name}-{builder}"), io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(folder, None, out, out / "trees", builder, options, None, warnings, freshenv=True)
        app.build()
    return app, re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue())  # without colours


@pytest.fixture(autouse=True)
def own_pins():
    """Let no test see the pins of another test's toy project: they are read once per process."""
    records._pins.cache_clear()
    yield
    records._pins.cache_clear()


@pytest.fixture(scope="session")
def real_fer2013(tmp_path_factory: pytest.TempPathFactory) -> FaceDataset:
    """The official FER2013, or a skip that says how to bring it."""
    root = datasets.data_root()
    if not (root / "fer2013" / "fer2013.csv").is_file():
        if not SKETCH.is_file():
            pytest.skip(
                "the real FER2013 is not here: put fer2013.csv under data/fer2013 or set FERCORE_DATA"
            )
        root = tmp_path_factory.mktemp("data")
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, str(SKETCH), str(root)], check=True, env=environment)
    return datasets.load("fer2013", root=root, progress=False)
