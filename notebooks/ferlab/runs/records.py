"""Run records: one small JSON per run, with its metrics and where they came from, and whether it is still fresh."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from fercore import datasets
from fercore.checkpoints import digest, write_json
from fercore.datasets.base import FaceDataset
from fercore.errors import DatasetNotFoundError, FercoreError
from ferlab import definitions, provenance
from ferlab.runs import sources

SCHEMA = 2
DERIVED = ("landmarks",)  # experiments whose data are made of the dataset: clips


class Run:
    """A run of one experiment notebook, with its parameters (JSON-able): made at its top, finished at its end.

    What papermill was told is checked by name and type: a misspelt parameter would else run the default.
    """

    def __init__(self, experiment: str, dataset: str, **parameters: Any) -> None:
        if (path := provenance.project_root() / "notebooks" / f"{experiment}.py").is_file():
            sources.check(sources.injected(), path)
        self.experiment, self.dataset, self.parameters = experiment, dataset, parameters
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._clock = time.perf_counter()

    def finish(
        self,
        name: str,
        data: FaceDataset,
        metrics: dict[str, Any],
        device: Any = "cpu",
        protocol: str = "",
        folder: str | Path | None = None,
        **training: Any,
    ) -> Path:
        """Write the record to ``<experiment>/<dataset>/<name>.json`` in the output folder; return its path.

        ``metrics`` are JSON-able; ``training`` are facts about the network's (``seconds``, ``hardware``, ``key``, …).
        The record of a run that the runner keeps out of the book has the run's key in its name.
        """
        folder = provenance.output_folder() if folder is None else Path(folder)
        own = "" if provenance.published() else os.environ.get("FERCORE_RUN", "")
        path = folder / self.experiment / self.dataset / f"{'-'.join(filter(None, [name, own]))}.json"
        record = {
            "schema": SCHEMA,
            "experiment": self.experiment,
            "dataset": self.dataset,
            "model": self.parameters.get("model", ""),
            "protocol": protocol,
            "fold": self.parameters.get("fold", 0),
            "parameters": {"dataset": self.dataset, **self.parameters},
            "metrics": metrics,
            "training": training,
            "provenance": {
                "commit": provenance.commit(),
                "started": self.started,
                "seconds": round(time.perf_counter() - self._clock, 1),
                "hardware": provenance.hardware(device),
                "seed": self.parameters.get("seed"),
                "data": data.source or data.title,
                "data_checksum": data.checksum,
                "versions": provenance.versions(),
                "notebook": f"notebooks/{self.experiment}.py",
                "code": code(self.experiment),
            },
        }
        write_json(path, record)
        return path


def code(experiment: str) -> dict[str, str]:
    """Return what an experiment's notebook reaches, by :func:`ferlab.definitions.of_notebook`; empty without one.

    Reading it takes a second, so it is kept in ``runs/definitions.json`` for as long as no source changes.
    """
    path = provenance.project_root() / "notebooks" / f"{experiment}.py"
    if not path.is_file():
        return {}
    place, key = provenance.project_root() / "runs" / "definitions.json", [_sources(), digest(path)]
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        known = dict(json.loads(place.read_text(encoding="utf-8")))
    with contextlib.suppress(LookupError, TypeError, ValueError):
        if known[experiment]["key"] == key:
            return dict(known[experiment]["reached"])
    found = definitions.of_notebook(path)
    with contextlib.suppress(OSError):  # a checkout that cannot be written
        write_json(place, {**known, experiment: {"key": key, "reached": found}})
    return found


@functools.cache
def _sources() -> str:
    return definitions.sources()


def paths(root: Path | None = None) -> list[Path]:
    """Return all published records, sorted: ``results/<experiment>/<dataset>/<name>.json``."""
    root = provenance.project_root() if root is None else root
    return sorted((root / "results").glob("*/*/[!.]*.json"))


def read(path: str | Path) -> dict[str, Any]:
    """Return a record as it was written by :meth:`Run.finish`; a ``FercoreError`` names a file that is none."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r}")
        facts = record["provenance"]
        texts = [record["experiment"], facts["notebook"], *facts["versions"].values()]
        if not isinstance(facts["code"], dict) or not all(isinstance(text, str) for text in texts):
            raise ValueError("something else stands in the place of a name")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FercoreError(f"{path} is not a run record ({error}). Run the experiment again.") from error
    return record


@functools.cache
def _pins() -> dict[str, str]:
    path = provenance.project_root() / "constraints.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE))


def stale(record: dict[str, Any]) -> list[str]:
    """Return why a record might no longer come out the same, a sentence each; nothing means that it is fresh.

    Compared are its notebook, every definition that it reaches, wherever it stands now, the versions of pinned
    packages, and the checksum of the data where they are at hand.
    """
    facts, pins = record["provenance"], _pins()
    versions = [
        f"{package} was {version}, constraints.txt pins {pins[package]}"
        for package, version in facts["versions"].items()
        if package in pins and pins[package] != version.split("+")[0]
    ]
    data = other_data(record["experiment"], record.get("dataset"), facts.get("data_checksum"))
    return data + definitions.changed(facts["code"], code(record["experiment"])) + versions


def other_data(experiment: str, dataset: Any, checksum: Any) -> list[str]:
    """Return why a run's data are not those at hand, a sentence; nothing if they are, or none are at hand."""
    if experiment in DERIVED:
        return []
    try:
        here = data_at_hand(dataset)
    except (FercoreError, OSError, ValueError) as error:
        return [f"its data cannot be read ({error})"]
    return [f"the data of {dataset} here are others, by their checksum"] if here not in ("", checksum) else []


def data_at_hand(dataset: Any) -> str:
    """Return the checksum of a dataset; "" where it is not at hand, or made here. A damaged one is an error."""
    known = isinstance(dataset, str) and dataset in datasets.DATASETS and dataset != "faces"
    return _checksum(dataset, datasets.data_root()) if known else ""


@functools.cache
def _checksum(dataset: str, root: Path) -> str:
    try:
        return datasets.load(dataset, root=root, progress=sys.stderr.isatty()).checksum
    except DatasetNotFoundError:
        return ""


def place(path: Path) -> str:
    """Return a record's path as people write it: relative to the project where it lies in it."""
    root = provenance.project_root()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
