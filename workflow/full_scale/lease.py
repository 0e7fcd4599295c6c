"""A lease of a machine: so many seconds, the steps that are done, and where their results lie."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fercore.checkpoints import write_json
from fercore.datasets import splits
from fercore.datasets.base import FaceDataset
from fercore.errors import FercoreError

RECORDS = Path("full_scale")  # below results/ (what was brought home) and runs/results/ (of this machine)


class NotNowError(FercoreError):
    """A step cannot run in this lease; the message says what it waits for."""


@dataclass(eq=False)
class Lease:
    """What a step is given."""

    root: Path  # the project folder: networks, outcomes and maps lie below it
    data: FaceDataset  # FER2013
    device: torch.device
    width: float  # multiplier of all channels; the paper's is 1
    seconds: float  # wall-clock budget
    images: int = 100  # of the comparison of explainers
    started: float = field(default_factory=time.monotonic)  # when the budget began

    @property
    def parts(self) -> splits.Split:
        """The official split."""
        return splits.split(self.data, "official")

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.started + self.seconds - time.monotonic()

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the record of a step that is done, here or in an earlier lease, for this width and these images."""
        for folder in ("results", "runs/results"):
            path = self.root / folder / RECORDS / f"{name}.json"
            if path.is_file():
                record = read_record(path)
                if (record["width"], record["data"]) == (self.width, self.data.checksum):
                    return record
        return None

    def write(self, name: str, found: dict[str, Any], seconds: float) -> None:
        """Keep what a step found, as soon as it has found it."""
        gpu = self.device.type == "cuda"
        about = {"step": name, "width": self.width, "data": self.data.checksum}
        about["device"] = torch.cuda.get_device_name(self.device) if gpu else self.device.type
        about |= {"torch": torch.__version__, "finished": now(), "seconds": round(seconds, 1)}
        write_json(self.root / "runs" / "results" / RECORDS / f"{name}.json", about | {"found": found})


@dataclass(frozen=True)
class Step:
    """One thing to do."""

    name: str  # of its record
    title: str  # what it does, for people
    least: float  # seconds that must be left for it to begin, on an H100
    run: Callable[[Lease], dict[str, Any]]  # does it, or goes on with it; what is worth keeping, for JSON


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a step; an error names a file that is damaged, or newer than this run."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        finished = datetime.datetime.fromisoformat(record["finished"])
        _ = record["width"], record["data"], record["found"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = f"{path} is not a record of a step ({error}): delete it to do the step again."
        raise FercoreError(told) from error
    if finished > datetime.datetime.fromisoformat(now()):
        raise FercoreError(f"{path} is newer than this run ({finished}): set the clock, or move it away.")
    return record


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def work(lease: Lease, steps: list[Step], kept: Callable[[], None] = lambda: None) -> None:
    """Do what is not done, in this order, as time allows, ``kept`` after each step; a failure stops no other."""
    scale = 1.0 if lease.device.type == "cuda" else lease.seconds / 780  # on a CPU everything is smaller
    waiting = []
    for step in steps:
        if lease.read(step.name) is not None:
            continue
        if lease.left() < step.least * scale:
            waiting.append(step.name)
            continue
        print(f"{step.name}: {step.title} ({lease.left():.0f} s left)", flush=True)
        began = time.monotonic()
        try:
            lease.write(step.name, step.run(lease), time.monotonic() - began)
        except NotNowError as error:
            print(f"{step.name}: {error}", flush=True)
        except Exception as error:  # whatever it is, the other steps still have their time
            print(f"{step.name} FAILED: {type(error).__name__}: {error}", flush=True)
        kept()
    if waiting:
        print(f"{max(0, lease.left()):.0f} s are left, too little for: {', '.join(waiting)}", flush=True)


def table(lease: Lease, steps: list[Step]) -> str:
    """Return what is done and what is left, a line each."""
    lines = [f"{'step':<22} {'done':<26} {'seconds':>8}  what came out"]
    for step in steps:
        record = lease.read(step.name)
        when, seconds = (record["finished"], record["seconds"]) if record else ("-", "")
        brief = record["found"].get("brief", "") if record else f"left: {step.title}"
        lines.append(f"{step.name:<22} {when:<26} {seconds:>8}  {brief}")
    return "\n".join(lines)
