"""Faults: killed at any moment, no room on the disk, damaged files. Nothing is lost, and nothing damaged is believed.

Two processes with one run, an interrupted run, and a notebook that raises are in :mod:`test_runs`; a training killed at
chosen steps in :mod:`test_training`. Kills are drawn from a seed; ``FERCORE_SOAK=1`` runs 25 rounds of each kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_work
from conftest import brightness_faces
from ferlab.landmarks import store
from ferlab.landmarks.extraction import FaceLandmarks
from ferlab.runs import cli, freshness, records, runner
from ferlab.studies import maps
from test_atlas import explain, pictures
from test_runs import TINY, project, start, wait_for  # noqa: F401  the fixture `project`
from toy_training import SHORT, fit, numbers, same_weights

from fercore import checkpoints
from fercore.errors import CheckpointError, FercoreError

SOAK = os.environ.get("FERCORE_SOAK") == "1"
SEED = os.environ.get("FERCORE_SOAK_SEED", "0")
ROUNDS = 25 if SOAK else 3  # of a study in a process of its own
CHAINS = 25 if SOAK else 1  # of the command line, its notebook and its kernel
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


# Kills


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What the undisturbed study left, how long it took, the folder, and the kills of each round."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(Path(toy_work.__file__)), str(folder), SEED, str(ROUNDS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=ONE_THREAD)
    first, *rounds = map(json.loads, done.stdout.splitlines())
    assert first["status"] == 0
    return toy_work.kept(folder / "undisturbed"), first["seconds"], folder, rounds


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_study_killed_anywhere_ends_as_if_it_had_not_been(killed, number):
    undisturbed, _, folder, rounds = killed
    *kills, (_, _, _, last) = rounds[number]["kills"]
    assert kills[0][-1] == -signal.SIGKILL
    assert {status for *_, status in kills} <= {-signal.SIGKILL, 0}  # 0: it had ended before its time came
    assert last == 0
    found = toy_work.kept(folder / f"round-{number}")
    for what, left in undisturbed.items():
        assert found[what] == left, (what, kills)


STUDY = """# %%
import os
from pathlib import Path
import toy_work
from ferlab import provenance
from ferlab.runs import records as results
root = Path({root!r})
provenance.project_root = lambda: root
(root / "kernel").write_text(str(os.getpid()))
from conftest import brightness_faces
metrics = toy_work.work(root)
record = results.Run("tiny", dataset, level=level).finish("x", brightness_faces(14), metrics)
print("Record:", results.place(record))
"""


def gone(process):
    """Wait until a process that is nobody's child here has ended."""
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", range(CHAINS))
def test_a_killed_command_line_or_kernel_is_resumed_to_the_same_record(killed, project, monkeypatch, number):  # noqa: F811
    undisturbed, seconds, *_ = killed
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (project / "notebooks" / "tiny.py").write_text(TINY + STUDY.format(root=str(project)))
    chance, marker = random.Random(f"{SEED}-{number}"), project / "kernel"
    victims = ["kernel", "runner"][number % 2 :][: 1 + SOAK] + ["runner"] * (SOAK and chance.random() < 0.5)
    arguments, hits = ["run", "tiny", "-p", "level=1"], 0
    for victim in victims:
        marker.unlink(missing_ok=True)
        process = start(project, *arguments)
        wait_for(marker, process)
        while not (kernel := marker.read_text()):
            time.sleep(0.01)
        time.sleep(chance.random() * seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(kernel) if victim == "kernel" else process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert gone(int(kernel)), "the kernel outlived its runner"
        if process.returncode == 0:  # too late
            break
        hits += 1
        if victim == "kernel":
            assert process.returncode == 1, said
            assert "DeadKernelError" in said
            assert "goes on from its last checkpoint" in said
        assert runner.unfinished() == [("tiny", "faces", {"level": 1})]
        assert not (project / "book").exists()
        arguments = ["run", "--resume"]
    if hits and process.returncode:
        last = start(project, "run", "--resume")
        _, said = last.communicate(timeout=120)
        assert last.returncode == 0, said
    assert hits or SOAK
    assert runner.unfinished() == []
    found = toy_work.kept(project)
    assert {what: found[what] == left for what, left in undisturbed.items()} == dict.fromkeys(found, True)


# No room


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request, tmp_path):
    """A folder, and what makes every write there fail for as long as it is entered.

    ``tmpfs`` is a real file system of its own that is full, where the test may mount one (as root, on Linux); ``limit``
    lets no file of this process grow, which is the same to a program (EFBIG for ENOSPC).
    """
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limit":
        yield folder, no_growth
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; the same test runs with a limit on files")
    try:
        yield folder, lambda: filled(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def no_growth(most=64):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def filled(folder):
    toy_work.fill(folder / "filler")
    try:
        yield
    finally:
        (folder / "filler").unlink()


def rubbish(folder):
    return [path for path in folder.rglob(".*") if path.is_file()]


def test_a_record_that_finds_no_room_leaves_the_old_one(disk):
    folder, full = disk
    path = folder / "record.json"
    checkpoints.write_json(path, {"accuracy": 0.5})
    with full(), pytest.raises(OSError, match=r"No space left|File too large"):
        checkpoints.write_json(path, {"accuracy": 0.6, "more": "x" * 10_000})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert rubbish(folder) == []
    checkpoints.write_json(path, {"accuracy": 0.6})
    assert json.loads(path.read_text()) == {"accuracy": 0.6}


def test_a_training_that_finds_no_room_stops_and_goes_on(disk, tmp_path):
    folder, full = disk
    model, history = fit(tmp_path / "undisturbed")
    fit(folder / "training", replace(SHORT, epochs=2))
    before = {path.name: path.read_bytes() for path in (folder / "training").iterdir()}
    with full(), pytest.raises(OSError, match=r"No space left|File too large"):
        fit(folder / "training")
    assert {path.name: path.read_bytes() for path in (folder / "training").iterdir()} == before
    resumed, whole = fit(folder / "training")
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)


def test_a_mapping_that_finds_no_room_stops_and_goes_on(disk, tmp_path, monkeypatch):
    folder, full = disk
    monkeypatch.setattr(maps, "CHUNK", 4)
    images = pictures(10)
    whole, real, done = explain(tmp_path / "whole", images), maps._explain, []

    def explained(explainer, part):
        if len(done) == 2:  # two chunks are written
            done.append(stack.enter_context(full()))
        else:
            done.append(None)
        return real(explainer, part)

    monkeypatch.setattr(maps, "_explain", explained)
    with contextlib.ExitStack() as stack, pytest.raises(OSError, match=r"No space left|File too large"):
        explain(folder, images)
    assert rubbish(folder) == []
    assert len(list(folder.rglob("chunk-*"))) == 2
    monkeypatch.setattr(maps, "_explain", lambda e, part: done.append(len(part)) or real(e, part))
    assert (explain(folder, images).scores == whole.scores).all()
    assert done[3:] == [2]


FILLING = """# %%
import sys
from pathlib import Path
from ferlab import provenance
from ferlab.runs import records as results
provenance.project_root = lambda: Path({root!r})
from conftest import brightness_faces
from toy_work import fill
if {early!r} and {flag!r} and Path({flag!r}).exists():
    fill(Path({root!r}) / "filler")
record = results.Run("tiny", dataset, level=level).finish("x", brightness_faces(14), {{"level": level}})
if Path({flag!r}).exists():
    fill(Path({root!r}) / "filler")
print("what finds no room in the log is dropped" * 100, file=sys.stderr)
print("Record:", results.place(record))
"""


@pytest.mark.parametrize("early", [False, True], ids=["page", "record"])
@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
def test_a_run_that_finds_no_room_is_named_and_goes_on(disk, project, monkeypatch, capfd, early, tmp_path):  # noqa: F811
    folder, _ = disk
    root, flag = folder / "project", tmp_path / "full"
    shutil.copytree(project / "notebooks", root / "notebooks")
    shutil.copy(project / "constraints.txt", root)
    monkeypatch.setattr(runner.provenance, "project_root", lambda: root)
    code = FILLING.format(root=str(root), flag=str(flag), early=early)
    (root / "notebooks" / "tiny.py").write_text(TINY + code)
    flag.touch()
    assert cli.main(["run", "tiny"]) == 1
    said = capfd.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert not list(root.glob("book/runs/*/*.ipynb"))
    if early:  # the notebook says so itself
        assert "stopped in code cell" in said
        assert "not kept (" in said
    else:
        assert "tiny.ipynb of faces could not be made" in said
        assert runner.unfinished() == [("tiny", "faces", {})]
    (root / "filler").unlink()
    flag.unlink()
    assert cli.main(["run", "tiny"] if early else ["run", "--resume"]) == 0
    assert runner.unfinished() == []
    assert runner.is_fresh(runner.page_path("tiny", "faces"), {"dataset": "faces"})


def test_why_a_notebook_failed_is_told_even_if_it_cannot_be_kept(project, capfd, monkeypatch):  # noqa: F811
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner.shutil, "copyfile", full)
    with pytest.raises(
        FercoreError, match=r"ZeroDivisionError[^\n]*\n.*not kept \(\[Errno 28\] No space left"
    ):
        runner.run("tiny", "faces", {"level": 0})


# Damage


@pytest.fixture
def published(project, capfd):  # noqa: F811
    """The toy run, its page and its record."""
    page, _ = runner.run("tiny", "faces", {"level": 1})
    return page, project / "results" / "tiny" / "faces" / "x.json"


def test_a_record_changed_by_one_digit_is_named_and_made_anew(published, capfd, tmp_path):
    page, record = published
    runner.stamp(tmp_path / "stamp.json", "tiny", "faces", {"level": 1})
    assert runner.stamped(tmp_path / "stamp.json") == record
    whole = record.read_text()
    record.write_text(whole.replace('"level": 1', '"level": 7', 1))
    assert records.stale(records.read(record)) == []  # it is a record like any other, but for its checksum
    assert not runner.is_fresh(page, {"dataset": "faces", "level": 1})
    (found,) = freshness.stale_runs()
    assert found.record == record
    assert found.reasons == ("it is not the record that its page was made with, by its checksum",)
    with pytest.raises(FercoreError, match=r"x\.json is not what .*stamp\.json was written for"):
        runner.stamped(tmp_path / "stamp.json")
    assert freshness.renew([found]) == (1, [])
    assert json.loads(record.read_text())["metrics"] == json.loads(whole)["metrics"]
    assert freshness.stale_runs() == []


def test_a_damaged_checkpoint_is_named_and_training_again_gives_the_same(tmp_path):
    model, history = fit(tmp_path)
    for name in ("last", "best"):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(
            CheckpointError, match=rf"{name}\.safetensors is not a whole checkpoint.*Delete it"
        ):
            fit(tmp_path)
        for left in tmp_path.iterdir():
            left.unlink()
        again, repeated = fit(tmp_path)
        assert numbers(repeated) == numbers(history)
        assert same_weights(again, model)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    path, content = (
        tmp_path / "x.safetensors",
        {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3).half()},
    )
    checkpoints.save(path, content, {"key": "k", "lr": 0.5})
    whole, (tensors, about) = path.read_bytes(), checkpoints.read(path)
    missed = []
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            found, said = checkpoints.read(path)
            same = found.keys() == tensors.keys() and all(
                torch.equal(found[name], tensors[name]) for name in found
            )
            if not same or said != about:
                missed.append(bit)
    assert missed == []


def flip(path):
    """Change a bit of the last number of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_training_does_not_go_on_from_a_flipped_bit(tmp_path):
    model, history = fit(tmp_path / "undisturbed")
    fit(tmp_path / "training", replace(SHORT, epochs=2))
    flip(tmp_path / "training" / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"last\.safetensors .*Delete it"):
        fit(tmp_path / "training")
    shutil.rmtree(tmp_path / "training")
    again, repeated = fit(tmp_path / "training")
    assert numbers(repeated) == numbers(history)
    assert same_weights(again, model)


def test_a_flipped_bit_of_a_map_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "CHUNK", 4)
    images, real, done = pictures(10), maps._explain, []
    whole = explain(tmp_path, images)
    (tmp_path / "runs" / "results" / "maps" / "toy" / "net.safetensors").unlink()
    flip(next(tmp_path.glob("runs/toy/maps-*/chunk-0001.safetensors")))
    monkeypatch.setattr(maps, "_explain", lambda e, part: done.append(len(part)) or real(e, part))
    assert (explain(tmp_path, images).scores == whole.scores).all()
    assert done == [4]


def test_landmarks_that_find_no_room_are_returned_all_the_same(tmp_path, monkeypatch):
    def extract(images, progress):
        count = len(images)
        return FaceLandmarks(
            np.ones((count, 468, 3), np.float32), np.ones(count, bool), np.ones(count, np.float32)
        )

    monkeypatch.setattr(store.extraction, "extract", extract)
    with no_growth(), pytest.warns(UserWarning, match="could not be kept"):
        found = store.landmarks_of(brightness_faces(14), folder=tmp_path, progress=False)
    assert found.found.all()
    assert rubbish(tmp_path) == []
