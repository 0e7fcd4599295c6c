"""A whole small study, to be killed: train a network, map its answers, write the record and the page.

As a script it is killed in many ways, each time started again until it ends::

    python tests/toy_work.py FOLDER SEED ROUNDS

Every attempt is a process of its own, forked from one that has imported everything. Prints a JSON line for the
undisturbed study, and one per round with its kills: how, in which phase, at which share of it, and the exit status.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import torch
import toy_training
from conftest import brightness_faces
from ferlab import provenance
from ferlab.runs import records, runner
from ferlab.studies import maps

from fercore import checkpoints

PHASES = ("training", "mapping", "writing")
ATTEMPTS = 3  # that are killed, at most; the next one is left alone
CHUNK = 8  # images between two files of maps
ASKED = {"dataset": "faces", "level": 1}
Watch = Callable[[str], None]  # is told which phase begins


def work(root: Path, watch: Watch = lambda phase: None) -> dict[str, Any]:
    """Train and map in ``root``, a project folder; return the metrics of the record."""
    maps.CHUNK = CHUNK
    watch("training")
    model, history = toy_training.fit(root / "runs" / "training")
    watch("mapping")
    images = toy_training.parts_of_toy()[0].images
    scores = maps.explain_all(model.eval(), images, "toy", "net", depth=3, folder=root, progress=False)
    return {"history": toy_training.numbers(history), "sum": float(scores.scores.sum()), "key": scores.key}


def study(root: Path, watch: Watch = lambda phase: None) -> None:
    """Do the work, and write record and page as the runner does."""
    provenance.project_root = lambda: root
    os.environ["FERCORE_PUBLISH"] = "1"
    metrics = work(root, watch)
    watch("writing")
    record = records.Run("tiny", "faces", level=1).finish("x", brightness_faces(14), metrics)
    output = nbformat.v4.new_output("stream", name="stdout", text=f"Record: {records.place(record)}\n")
    cells = [nbformat.v4.new_markdown_cell("# Tiny"), nbformat.v4.new_code_cell("", outputs=[output])]
    page = runner.page_path("tiny", "faces", ASKED)
    runner._publish(nbformat.v4.new_notebook(cells=cells), "tiny", ASKED, page)
    watch("")


def kept(root: Path) -> dict[str, Any]:
    """Return what a study has left, without what the clock says: two equal studies leave the same."""
    weights = {}
    for name in ("best", "last"):
        tensors, about = checkpoints.read(root / "runs" / "training" / f"{name}.safetensors")
        (about,) = toy_training.numbers([about])
        about["history"] = toy_training.numbers(about.get("history", []))
        weights[name] = {key: tensor.tolist() for key, tensor in sorted(tensors.items())}, about
    (page,) = (root / "book" / "runs").glob("*/[!.]*.ipynb")
    (record,) = records.paths(root)
    about = runner.about(page)
    return {
        "weights": weights,
        "maps": (root / "results" / "maps" / "toy" / "net.safetensors").read_bytes(),
        "metrics": records.read(record)["metrics"],
        "page": {name: about[name] for name in ("experiment", "dataset", "asked", "parameters", "record")},
    }


def fill(path: Path) -> None:
    """Take all the room that is left on a disk: large pieces first, then the last bytes."""
    for piece in (b"\1" * 2**16, b"\1"):
        with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
            while file.write(piece) == len(piece):
                pass


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _counting(into: Path) -> Watch:
    """Count the calls of each phase, and all renames, into a file."""
    calls: Counter[str] = Counter()

    def watch(now: str) -> None:
        def count(*_: Any) -> None:
            calls[now] += 1

        sys.setprofile(count if now else None)
        if not now:
            into.write_text(json.dumps(calls))

    real = os.replace

    def replace(*given: Any) -> None:
        calls["renames"] += 1
        real(*given)

    os.replace = replace
    return watch


def _at_call(phase: str, number: int) -> Watch:
    """Die at the call of this number after a phase has begun, wherever that is."""

    def watch(now: str) -> None:
        left = iter(range(number))

        def count(*_: Any) -> None:
            if next(left, None) is None:
                _die()

        sys.setprofile(count if now == phase else None)

    return watch


def _at_rename(moment: str, number: int) -> Watch:
    """Die as the file of this number is about to get its name: while it is written, before or after the rename."""
    real, left = os.replace, iter(range(number))

    def replace(source: str | Path, target: str | Path) -> None:
        last = next(left, None) is None
        if last and moment == "half":
            os.truncate(source, Path(source).stat().st_size // 2)
        if last and moment != "after":
            _die()
        real(source, target)
        if last:
            _die()

    os.replace = replace
    return lambda phase: None


def _attempt(root: Path, make: Callable[[], Watch], delay: float | None = None) -> int:
    """Do the study in a forked process, killed from outside after a delay if one is given; return its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            study(root, make())
            status = 0
        finally:
            sys.setprofile(None)
            os._exit(status)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)  # it is still there, if only as a zombie
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _unwatched() -> Watch:
    return lambda phase: None


def _kill(root: Path, chance: random.Random, counts: dict[str, int], seconds: float, how: str) -> list[Any]:
    """Start the study and kill it."""
    share = chance.random()
    if how == "call":
        where = chance.choice(PHASES)
        number = int(share * counts[where])
        return [how, where, share, _attempt(root, lambda: _at_call(where, number))]
    if how == "rename":
        where = chance.choice(["half", "before", "after"])
        number = int(share * counts["renames"])
        return [how, where, share, _attempt(root, lambda: _at_rename(where, number))]
    return [how, "", share, _attempt(root, _unwatched, share * seconds)]


def main(folder: str, seed: str, rounds: str) -> None:
    """Run the undisturbed study, then the rounds."""
    torch.set_num_threads(1)
    place, counted = Path(folder), Path(folder, "counted.json")
    study(place / "warm-up")  # what is imported when it is first used, is imported now
    started = time.perf_counter()
    status = _attempt(place / "undisturbed", _unwatched)
    seconds = time.perf_counter() - started
    _attempt(place / "counted", lambda: _counting(counted))
    counts = json.loads(counted.read_text())
    print(json.dumps({"status": status, "counts": counts, "seconds": seconds}), flush=True)
    for number in range(int(rounds)):
        chance, root = random.Random(f"{seed}-{number}"), place / f"round-{number}"
        # A first kill by the clock may come too late on a machine that has sped up; the others always hit.
        hows = ["call", "rename"][number % 2 :][:1] + chance.choices(["call", "rename", "clock"], k=ATTEMPTS)
        kills = [_kill(root, chance, counts, seconds, how) for how in hows[: chance.randint(1, ATTEMPTS)]]
        kills.append(["", "", 1.0, _attempt(root, _unwatched)])
        print(json.dumps({"round": number, "kills": kills}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
