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
ASKED = {"dataset": "faces", "level": 1}
Watch = Callable[[str], None]  # is told which phase begins


def work(root: Path, watch: Watch = lambda phase: None) -> dict[str, Any]:
    """Train and map in ``root``, a project folder; return the metrics of the record."""
    maps.CHUNK = 8  # images between two files of maps
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
    page = runner.page_path("tiny", "faces", ASKED, publish=True)
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


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _watching(at_call: Callable[[str], None], at_rename: Callable[[Any, Any], None]) -> Watch:
    """Do something at each call of each phase, and in the place of each rename."""
    os.replace = at_rename
    return lambda phase: sys.setprofile((lambda *_: at_call(phase)) if phase else None)


def _counting(into: Path) -> Watch:
    """Count calls and renames into a file."""
    calls, rename = Counter(), os.replace

    def replace(*given: Any) -> None:
        calls["renames"] += 1
        rename(*given)
        if calls["writing"]:
            into.write_text(json.dumps(calls))

    return _watching(lambda phase: calls.update([phase]), replace)


def _dying(where: str, number: int) -> Watch:
    """Die at the call of this number of a phase; or at the rename: of half a file, or before or after it."""
    left, rename = iter(range(number)), os.replace

    def call(phase: str) -> None:
        if phase == where and next(left, None) is None:
            _die()

    def replace(source: str, target: str) -> None:
        last = where not in PHASES and next(left, None) is None
        if last and where == "half":
            os.truncate(source, Path(source).stat().st_size // 2)
        if last and where != "after":
            _die()
        rename(source, target)
        if last:
            _die()

    return _watching(call, replace)


def _attempt(
    root: Path, make: Callable[[], Watch] = lambda: lambda phase: None, delay: float | None = None
) -> int:
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


def main(folder: str, seed: str, rounds: str) -> None:
    """Run the undisturbed study, then the rounds."""
    torch.set_num_threads(1)
    place, counted = Path(folder), Path(folder, "counted.json")
    study(place / "warm-up")  # what is imported when it is first used, is imported now
    started = time.perf_counter()
    status = _attempt(place / "undisturbed")
    seconds = time.perf_counter() - started
    _attempt(place / "counted", lambda: _counting(counted))
    counts = json.loads(counted.read_text())
    print(json.dumps({"status": status, "counts": counts, "seconds": seconds}), flush=True)
    for number in range(int(rounds)):
        chance, root, kills = random.Random(f"{seed}-{number}"), place / f"round-{number}", []
        # A first kill by the clock may come too late on a machine that has sped up; the others always hit.
        hows = ["call", "rename"][number % 2 :][:1] + chance.choices(["call", "rename", "clock"], k=ATTEMPTS)
        for how in hows[: chance.randint(1, ATTEMPTS)]:
            share = chance.random()
            where = chance.choice(PHASES if how == "call" else ["half", "before", "after"])
            if how == "clock":
                kills.append([how, "", share, _attempt(root, delay=share * seconds)])
                continue
            last = int(share * counts[where if how == "call" else "renames"])
            kills.append([how, where, share, _attempt(root, lambda w=where, n=last: _dying(w, n))])
        kills.append(["", "", 1.0, _attempt(root)])
        print(json.dumps({"round": number, "kills": kills}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
