"""The full-scale script at toy size: data in parts, steps that survive a kill, a parcel that finds its places again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SKETCH
from ferlab import networks

from fercore import checkpoints, models
from fercore.datasets import FaceDataset, fer2013
from fercore.datasets.base import content_checksum
from fercore.errors import DatasetError, DatasetNotFoundError, FercoreError

SCRIPT = Path(__file__).resolve().parents[1] / "workflow" / "full_scale"
sys.path.insert(0, str(SCRIPT))
import lease as leases  # noqa: E402
import parcel  # noqa: E402
import sheets  # noqa: E402
import steps  # noqa: E402

CPU = torch.device("cpu")


def toy(count: int = 40) -> FaceDataset:
    """Images of noise in the three official parts, 48 pixels a side."""
    rng = np.random.default_rng(0)
    usage = np.repeat(["Training", "PublicTest", "PrivateTest"], [count, count // 2, count // 2])
    labels = np.arange(len(usage)) % 7
    level = 25 * labels[:, None, None, None]
    images = (rng.integers(0, 90, (len(usage), 48, 48, 1)) + level).astype(np.uint8)
    return FaceDataset("fer2013", "Toy", images, labels, content_checksum(images, labels), usage=usage)


def lease(root, seconds=600.0, **changes):
    return leases.Lease(root, toy(), CPU, 1 / 16, seconds, images=4, **changes)


def few_steps():
    """Those steps that differ in kind, of networks small enough for a test."""
    wanted = ("check", "epoch", "wide-0", "student", "maps", "explainers", "timings", "paper-proposed-0")
    return [step for step in steps.all_steps() if step.name in wanted]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(steps, "epochs_of", lambda *_: 3)
    monkeypatch.setattr(steps, "_cost", lambda *_: {"ratio": 1.0})
    monkeypatch.setattr(steps, "_device_gap", lambda _: 0.0)
    monkeypatch.setattr(steps.networks, "ceiling", lambda *_: 1e9)
    monkeypatch.setattr(steps.explainers, "installed", lambda: ["dnc", "random"])
    monkeypatch.setattr(
        steps.networks,
        "setting",
        lambda *a, real=networks.setting, **k: (
            lambda s: replace(s, recipe=replace(s.recipe, batch_size=16))
        )(real(*a, **k)),
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project folder in which all kinds of steps were done, and what was printed."""
    root = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        quick.__wrapped__(patch)
        leases.work(lease(root), few_steps())
    return root


def records(root):
    return {
        path.stem: json.loads(path.read_text())["found"]
        for path in (root / "runs" / "results" / "full_scale").glob("*.json")
    }


def test_every_step_leaves_its_record(done):
    found = records(done)
    assert set(found) == {step.name for step in few_steps()}
    assert found["wide-0"]["accuracy"].keys() >= {
        "test",
        "test mirrored",
        "test ten-crop",
        "test, without copies",
    }
    assert found["student"]["parameters"]["teacher"] == found["wide-0"]["key"]
    assert found["student"]["parameters"]["width"] == pytest.approx(1 / 64)
    assert found["paper-proposed-0"]["parameters"]["recipe"] == "paper"
    assert found["maps"]["faces"] > 0
    assert set(found["explainers"]["methods"]) == {"dnc", "random"}
    assert "lime" in found["explainers"]["absent"]


def test_what_is_done_is_not_done_again(done, monkeypatch):
    never = [leases.Step(step.name, step.title, step.least, None) for step in few_steps()]
    leases.work(lease(done), never)  # calling None would fail


def test_records_of_another_width_or_other_images_do_not_count(done):
    assert lease(done).read("check") is not None
    for changes in ({"width": 1 / 8}, {"data": replace(toy(), checksum="sha256:0")}):
        other = lease(done)
        for name, value in changes.items():
            setattr(other, name, value)
        assert other.read("check") is None


@pytest.mark.parametrize("step", [step.name for step in steps.all_steps()][:7])
def test_a_step_killed_half_way_goes_on_to_the_same_result(done, tmp_path, monkeypatch, step):
    """Killed at the second checkpoint, chunk or record that it writes, and then run again to the end."""
    order = [one for one in few_steps() if one.name in ("epoch", "wide-0", step)]
    real, written = os.replace, []

    def replace_or_die(source, target):
        if running == [step]:
            written.append(target)
            if len(written) == 2:
                raise KeyboardInterrupt
        real(source, target)

    running = []
    watched = [
        leases.Step(
            s.name, s.title, 0, lambda lease, s=s: (running.clear(), running.append(s.name), s.run(lease))[2]
        )
        for s in order
    ]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_or_die)
        try:
            leases.work(lease(tmp_path), watched)
        except KeyboardInterrupt:
            assert step not in records(tmp_path)
    leases.work(lease(tmp_path), watched)
    found, expected = records(tmp_path)[step], records(done)[step]
    for key in ("key", "accuracy", "epoch", "losses", "faces", "absent"):
        assert found.get(key) == expected.get(key)


def test_too_little_time_begins_nothing(tmp_path, capsys):
    leases.work(lease(tmp_path, seconds=0.0), few_steps())
    said = capsys.readouterr().out
    assert said.startswith("0 s are left, too little for: check, epoch, wide-0")
    assert not records(tmp_path) if (tmp_path / "runs").exists() else True


def test_a_step_that_fails_stops_no_other(tmp_path, capsys):
    def fails(_):
        raise FloatingPointError("loss became nan")

    def waits(_):
        raise leases.NotNowError("waits for the weights")

    some = [leases.Step("one", "fails", 0, fails), leases.Step("two", "waits", 0, waits)]
    some.append(leases.Step("three", "works", 0, lambda _: {"brief": "fine"}))
    leases.work(lease(tmp_path), some)
    said = capsys.readouterr().out
    assert "one FAILED: FloatingPointError: loss became nan" in said
    assert "two: waits for the weights" in said
    assert list(records(tmp_path)) == ["three"]
    table = leases.table(lease(tmp_path), some)
    assert "left: fails" in table
    assert "fine" in table


def test_a_record_from_the_future_is_named_and_nothing_overwritten(done, tmp_path):
    path = tmp_path / "runs" / "results" / "full_scale" / "check.json"
    path.parent.mkdir(parents=True)
    text = json.dumps({"finished": "2999-01-01T00:00:00+00:00", "width": 1 / 16, "data": "", "found": {}})
    path.write_text(text)
    with pytest.raises(FercoreError, match=r"check\.json is newer than this run \(2999"):
        leases.work(lease(tmp_path), few_steps())
    assert path.read_text() == text
    path.write_text("{")
    with pytest.raises(FercoreError, match="is not a record of a step"):
        lease(tmp_path).read("check")


# The parcel


def test_a_parcel_finds_its_places_and_leaves_newer_records_alone(done, tmp_path, monkeypatch):
    monkeypatch.setattr(parcel, "LARGEST", 100_000)  # so that the wide network travels in parts
    out, home = tmp_path / "out", tmp_path / "home"
    parcel.pack(done, out, records(done)["wide-0"]["name"])
    assert len(list(out.iterdir())) <= 8
    assert len(list(out.glob("weights-*"))) > 1
    said = parcel.collect(out, home)
    assert all(line.endswith(("written", "parts")) for line in said)
    for path in (done / "runs" / "results").rglob("*.safetensors"):
        assert (
            home / "results" / path.relative_to(done / "runs" / "results")
        ).read_bytes() == path.read_bytes()
    (large,) = (done / "runs" / "weights").rglob(f"{records(done)['wide-0']['name']}.safetensors")
    joined = checkpoints.read(home / large.relative_to(done))
    original = checkpoints.read(large)
    assert joined[1] == original[1]
    assert all(torch.equal(joined[0][name], tensor) for name, tensor in original[0].items())
    assert all("as it was" in line or "joined" in line for line in parcel.collect(out, home))
    newer = home / "results" / "full_scale" / "check.json"
    newer.write_text(newer.read_text().replace('"seconds": ', '"seconds": 1'))
    before = newer.read_text()
    assert any(
        "check.json: newer than the parcel's, left alone" in line for line in parcel.collect(out, home)
    )
    assert newer.read_text() == before
    # What was brought home counts as done in the next lease.
    leases.work(lease(home), [leases.Step("check", "", 0, None)])


@pytest.mark.parametrize("name", ["../evil.json", "runs/results/../../evil.json", "notes.txt"])
def test_a_parcel_with_anything_else_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with tarfile.open(tmp_path / "records.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "file", name)
    with pytest.raises(FercoreError, match="which is no result"):
        parcel.collect(tmp_path, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_parcel_that_is_absent_damaged_or_not_whole_is_named(done, tmp_path, monkeypatch):
    with pytest.raises(FercoreError, match=r"holds no records\.tar\.gz"):
        parcel.collect(tmp_path, tmp_path)
    (tmp_path / "records.tar.gz").write_bytes(b"not a tar")
    with pytest.raises(FercoreError, match="is damaged"):
        parcel.collect(tmp_path, tmp_path)
    monkeypatch.setattr(parcel, "LARGEST", 100_000)
    parcel.pack(done, tmp_path, records(done)["wide-0"]["name"])
    next(iter(sorted(tmp_path.glob("weights-*")))).unlink()
    with pytest.raises(FercoreError, match=r"parts of .*, not all"):
        parcel.collect(tmp_path, tmp_path / "home")


# The data


@pytest.fixture
def official(monkeypatch):
    data = toy(150)
    monkeypatch.setattr(fer2013, "OFFICIAL_CONTENT", data.checksum)
    return data


def test_sheets_hold_the_same_images(official, tmp_path):
    sheets.write(official, tmp_path)
    found = sheets.read(tmp_path)
    assert found.checksum == official.checksum
    assert np.array_equal(found.images, official.images)
    assert found.usage.tolist() == official.usage.tolist()
    some = sheets.first(found, 10)
    assert len(some) == 30
    assert some.checksum != found.checksum


def test_half_of_the_sheets_are_named_and_damaged_ones_refused(official, tmp_path):
    sheets.write(official, tmp_path)
    content = (tmp_path / "Training-1.png").read_bytes()
    (tmp_path / "Training-1.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"lacks Training-1\.png: copy all of"):
        sheets.read(tmp_path)
    (tmp_path / "Training-1.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="a sheet of Training cannot be read"):
        sheets.read(tmp_path)
    (tmp_path / "Training-1.png").write_bytes((tmp_path / "Training-0.png").read_bytes())
    with pytest.raises(DatasetError, match="do not hold the official images"):
        sheets.read(tmp_path)


# The command


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, **options
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--budget", "30", "--device", "cpu"],
            "--budget 30: nothing can be finished in under 60 s; give more.",
        ),
        (["--budget", "90", "--device", "cpu", "--width", "0"], "--width 0 must lie in (0, 4]."),
        (["--budget", "90", "--device", "cpu"], "No fer2013"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    done = run("run", "--out", tmp_path / "out", "--data", tmp_path, "--root", tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr or (message == "No fer2013" and "FER2013" in done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("run", "--out", tmp_path, "--data", tmp_path, "--budget", 90)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "There is no GPU here that torch can use; --device cpu --width 0.0625 tries it out."
    )


@pytest.mark.skipif(not SKETCH.is_file(), reason="needs the sheets of FER2013")
def test_the_command_stopped_and_started_again_does_not_begin_anew(tmp_path):
    """The real thing, on the first images of each part, ended by SIGTERM once a step is done, then run on."""
    arguments = [
        "run",
        "--data",
        SKETCH.parent,
        "--out",
        tmp_path / "out",
        "--root",
        tmp_path,
        "--device",
        "cpu",
    ]
    arguments += ["--width", "0.0625", "--limit", "150", "--budget", "60", "--images", "2"]

    def until(begins):
        """Run until a step begins, then ask to stop; return what was printed."""
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(begins):
                break
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error.strip()) == (1, "stopped; the same command goes on from here")
        return "".join(said)

    assert "check: " in until("epoch: ")
    path = tmp_path / "runs" / "results" / "full_scale" / "check.json"
    first = path.read_bytes()
    assert "check: " not in until("wide-0: ")
    assert path.read_bytes() == first
    assert (tmp_path / "out" / "records.tar.gz").is_file()


def test_the_page_counts_the_operations_of_an_epoch():
    network = models.build("proposed", size=(48, 48))
    work = networks.flops_per_image(network, (48, 48)) * sum(fer2013.ABOUT.counts["Training"].values())
    page = (SCRIPT.parents[1] / "book" / "full-scale.md").read_text(encoding="utf-8")
    assert f"about {work / 1e12:.0f} thousand billion operations" in page
    assert all(f"**{step.name}**" in page for step in steps.all_steps() if not step.name.startswith("paper-"))
