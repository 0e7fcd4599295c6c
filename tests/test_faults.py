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

import pytest
import torch
import toy_work
from ferlab import provenance
from ferlab.runs import cli, freshness, records, runner
from ferlab.studies import maps
from test_maps import explain, pictures
from test_runs import notebook, project, start, wait_for  # noqa: F401  the fixture `project`
from toy_training import SHORT, fit, numbers, same_weights

from fercore import checkpoints
from fercore.errors import CheckpointError, FercoreError

SOAK = os.environ.get("FERCORE_SOAK") == "1"
SEED = os.environ.get("FERCORE_SOAK_SEED", "0")
ROUNDS = 25 if SOAK else 2  # of a study in a process of its own
CHAINS = 25 if SOAK else 1  # of the command line, its notebook and its kernel


# Kills


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What the undisturbed study left, how long it took, the folder, and the kills of each round."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(Path(toy_work.__file__)), str(folder), SEED, str(ROUNDS)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=one_thread)
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


STUDY = """import toy_work
(root / "kernel").write_text(str(os.getpid()))
metrics = toy_work.work(root)
"""


def gone(process):
    """Wait until a process that is nobody's child here has ended."""
    for _ in range(600):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", range(CHAINS))
def test_a_killed_command_line_or_kernel_is_resumed_to_the_same_record(killed, project, monkeypatch, number):  # noqa: F811
    undisturbed, seconds, *_ = killed
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook(project, STUDY)
    chance, marker = random.Random(f"{SEED}-{number}"), project / "kernel"
    arguments, hits, status = ["run", "tiny", "-p", "level=1"], 0, 1
    for victim in chance.sample(["kernel", "runner"], k=1 + SOAK):
        marker.unlink(missing_ok=True)
        process = start(project, *arguments)
        wait_for(marker, process)
        while not (kernel := marker.read_text()):
            time.sleep(0.01)
        time.sleep(chance.random() * seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(kernel) if victim == "kernel" else process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        status = process.returncode
        assert gone(int(kernel)), "the kernel outlived its runner"
        if status == 0:  # too late
            break
        hits += 1
        if victim == "kernel":
            assert status == 1, said
            assert "DeadKernelError" in said
            assert "goes on from its last checkpoint" in said
        assert runner.unfinished() == [("tiny", "faces", {"level": 1}, True)]
        assert not (project / "book").exists()
        arguments = ["run", "--resume"]
    assert hits or SOAK
    assert status == 0 or cli.main(["run", "--resume"]) == 0
    assert runner.unfinished() == []
    found = toy_work.kept(project)
    assert {what: found[what] == left for what, left in undisturbed.items()} == dict.fromkeys(found, True)


# No room


@contextlib.contextmanager
def no_room():
    """Let no file of this process grow, which is the same to a program as a full disk, and see that it stops."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_that_finds_no_room_or_is_no_json_leaves_the_old_one(tmp_path):
    path = tmp_path / "record.json"
    checkpoints.write_json(path, {"accuracy": 0.5})
    before = contents(tmp_path)
    with no_room():
        checkpoints.write_json(path, {"accuracy": 0.6, "more": "x" * 10_000})
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.write_json(path, {"accuracy": float("nan")})
    assert contents(tmp_path) == before


def test_a_training_that_finds_no_room_stops_and_goes_on(tmp_path):
    model, history = fit(tmp_path / "undisturbed")
    fit(tmp_path / "training", replace(SHORT, epochs=2))
    before = contents(tmp_path / "training")
    with no_room():
        fit(tmp_path / "training")
    assert contents(tmp_path / "training") == before
    resumed, whole = fit(tmp_path / "training")
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)


def test_a_mapping_that_finds_no_room_stops_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(maps, "CHUNK", 4)
    images = pictures(10)
    whole, real, done = explain(tmp_path / "whole", images), maps._explain, []

    def explained(explainer, part):
        done.append(len(part))
        if len(done) == 3:  # two chunks are written
            stack.enter_context(no_room())
        return real(explainer, part)

    monkeypatch.setattr(maps, "_explain", explained)
    with contextlib.ExitStack() as stack:
        explain(tmp_path / "small", images)
    assert len(contents(tmp_path / "small")) == len(list((tmp_path / "small").rglob("chunk-*"))) == 2
    assert (explain(tmp_path / "small", images).scores == whole.scores).all()
    assert done == [4, 4, 2, 2]


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, where the test may mount one (as root, on Linux)."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


FULL = """import toy_work
if Path({flag!r}).exists():
    toy_work.fill(root / "filler")
"""
DROPPED = 'print("what finds no room in the log is dropped" * 100, file=sys.stderr)'


@pytest.mark.parametrize("early", [False, True], ids=["page", "record"])
def test_a_run_that_finds_no_room_is_named_and_goes_on(disk, project, monkeypatch, capfd, early, tmp_path):  # noqa: F811
    root, flag = disk / "project", tmp_path / "full"
    shutil.copytree(project / "notebooks", root / "notebooks")
    shutil.copy(project / "constraints.txt", root)
    monkeypatch.setattr(provenance, "project_root", lambda: root)
    full = FULL.format(flag=str(flag))
    notebook(root, (full if early else "") + 'metrics = {"level": level}', full + DROPPED)
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
        assert runner.unfinished() == [("tiny", "faces", {}, True)]
    (root / "filler").unlink()
    flag.unlink()
    assert cli.main(["run", "tiny"] if early else ["run", "--resume"]) == 0
    assert runner.unfinished() == []
    assert runner.is_fresh(runner.page_path("tiny", "faces"), {"dataset": "faces"})


# Damage


def test_a_record_changed_by_one_digit_is_named_and_made_anew(project, capfd, tmp_path):  # noqa: F811
    stamp, record = tmp_path / "stamp.json", project / "results" / "tiny" / "faces" / "x.json"
    assert cli.main(["run", "tiny", "-p", "level=1", "--stamp", str(stamp)]) == 0
    assert runner.stamped(stamp) == record
    stamp.unlink()
    assert cli.main(["run", "tiny", "-p", "level=1", "--stamp", str(stamp)]) == 0  # of a fresh run too
    whole = record.read_text()
    record.write_text(whole.replace('"level": 1', '"level": 7', 1))
    assert records.stale(records.read(record)) == []  # it is a record like any other, but for its checksum
    (found,) = freshness.stale_runs()
    assert found.record == record
    assert found.reasons == ["its record is not the one that the page was made with, by its checksum"]
    with pytest.raises(FercoreError, match=r"stamp\.json fits no record: .*x\.json is another one now"):
        runner.stamped(stamp)
    assert freshness.renew([found]) == (1, [])
    assert json.loads(record.read_text())["metrics"] == json.loads(whole)["metrics"]
    assert freshness.text(freshness.stale_runs()) == "All runs are fresh."


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    content = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3).half()}
    checkpoints.save(path, content, {"key": "k", "lr": 0.5})
    whole, (tensors, about) = path.read_bytes(), checkpoints.read(path)
    missed = []
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            found, said = checkpoints.read(path)
            same = found.keys() == tensors.keys() and all(torch.equal(found[n], tensors[n]) for n in found)
            missed += [] if same and said == about else [bit]
    assert missed == []
