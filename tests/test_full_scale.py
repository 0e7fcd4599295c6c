"""The full-scale script at toy size: data in parts, steps that survive a kill, a parcel that finds its places again."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, SKETCH
from ferlab import networks

from fercore import checkpoints, models
from fercore.datasets import FaceDataset, content_checksum, fer2013
from fercore.errors import DatasetError, DatasetNotFoundError, FercoreError

SCRIPT = ROOT / "workflow" / "full_scale"
sys.path.insert(0, str(SCRIPT))
import lease as leases  # noqa: E402
import parcel  # noqa: E402
import sheets  # noqa: E402
import steps  # noqa: E402

main = runpy.run_path(str(SCRIPT / "__main__.py"))["main"]

KINDS = ("check", "epoch", "wide-0", "student", "maps", "explainers", "timings", "paper-proposed-0")
STEPS = [step for step in steps.all_steps() if step.name in KINDS]
RECORDS = "runs/results/full_scale"


def toy(count: int = 40) -> FaceDataset:
    """Images of noise in the three official parts, 48 pixels a side."""
    rng = np.random.default_rng(0)
    usage = np.repeat(["Training", "PublicTest", "PrivateTest"], [count, count // 2, count // 2])
    labels = np.arange(len(usage)) % 7
    images = rng.integers(0, 90, (len(usage), 48, 48, 1)) + 25 * labels[:, None, None, None]
    images = images.astype(np.uint8)
    return FaceDataset("fer2013", "Toy", images, labels, content_checksum(images, labels), usage=usage)


def lease(root, seconds=600.0, width=1 / 16, data=None):
    return leases.Lease(root, data or toy(), torch.device("cpu"), width, seconds, images=4)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Networks small enough for a test, and no measurements."""
    real = networks.setting

    def small(*arguments, **options):
        setting = real(*arguments, **options)
        return replace(setting, recipe=replace(setting.recipe, batch_size=16))

    monkeypatch.setattr(steps, "epochs_of", lambda *_: 3)
    monkeypatch.setattr(steps, "_cost", lambda *_: {"ratio": 1.0})
    monkeypatch.setattr(steps, "_device_gap", lambda _: 0.0)
    monkeypatch.setattr(networks, "ceiling", lambda *_: 1e9)
    monkeypatch.setattr(networks, "setting", small)
    monkeypatch.setattr(steps.explainers, "installed", lambda: ["dnc", "random"])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project folder in which all kinds of steps were done."""
    root = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        quick.__wrapped__(patch)
        leases.work(lease(root), STEPS)
    return root


def records(root):
    return {path.stem: json.loads(path.read_text())["found"] for path in (root / RECORDS).glob("*.json")}


def test_every_step_leaves_its_record_and_is_not_done_again(done):
    found = records(done)
    assert set(found) == set(KINDS)
    rules = {"test", "test mirrored", "test ten-crop", "test, without copies"}
    assert found["wide-0"]["accuracy"].keys() >= rules
    assert found["student"]["parameters"]["teacher"] == found["wide-0"]["key"]
    assert found["student"]["parameters"]["width"] == pytest.approx(1 / 64)
    assert found["paper-proposed-0"]["parameters"]["recipe"] == "paper"
    assert found["maps"]["faces"] > 0
    assert set(found["explainers"]["methods"]) == {"dnc", "random"}
    assert "lime" in found["explainers"]["absent"]
    leases.work(lease(done), [replace(step, run=None) for step in STEPS])  # calling None would fail
    assert lease(done, width=1 / 8).read("check") is None  # a record of another width, or of other images
    assert lease(done, data=replace(toy(), checksum="sha256:0")).read("check") is None


@pytest.mark.parametrize("step", KINDS[:7])
def test_a_step_killed_half_way_goes_on_to_the_same_result(done, tmp_path, monkeypatch, step):
    """Killed at the second checkpoint, chunk or record that it writes, and then run again to the end."""
    leases.work(lease(tmp_path), [one for one in STEPS if one.name in {"epoch", "wide-0"} - {step}])
    last = [one for one in STEPS if one.name == step]
    real, written = os.replace, []

    def replace_or_die(source, target):
        written.append(target)
        if len(written) == 2:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_or_die)
        with contextlib.suppress(KeyboardInterrupt):
            leases.work(lease(tmp_path), last)
    assert (step in records(tmp_path)) == (len(written) == 1)  # its record is all that it writes
    leases.work(lease(tmp_path), last)
    found, expected = records(tmp_path)[step], records(done)[step]
    for key in ("key", "accuracy", "epoch", "losses", "faces", "absent"):
        assert found.get(key) == expected.get(key)


def test_a_step_that_fails_stops_no_other_and_too_little_time_begins_nothing(tmp_path, capsys):
    def fails(_):
        raise FloatingPointError("loss became nan")

    def waits(_):
        raise leases.NotNowError("waits for the weights")

    def misspelt(_):
        return {}["name"]

    runs = {"fails": fails, "waits": waits, "odd": misspelt, "works": lambda _: {"brief": "fine"}}
    some = [leases.Step(name, f"it {name}", 1, run) for name, run in runs.items()]
    leases.work(lease(tmp_path, seconds=0.0), some)
    assert capsys.readouterr().out == "0 s are left, too little for: fails, waits, odd, works\n"
    leases.work(lease(tmp_path), some)
    said = capsys.readouterr().out
    assert "fails FAILED: FloatingPointError: loss became nan" in said
    assert "odd FAILED: KeyError: 'name'" in said
    assert "waits: waits for the weights" in said
    assert list(records(tmp_path)) == ["works"]
    table = leases.table(lease(tmp_path), some)
    assert "left: it fails" in table
    assert "fine" in table


def test_a_record_from_the_future_is_named_and_nothing_overwritten(tmp_path):
    path = tmp_path / RECORDS / "check.json"
    path.parent.mkdir(parents=True)
    about = {"finished": "2999-01-01T00:00:00+00:00", "width": 1 / 16, "data": "", "found": {}}
    newer = r"is newer than this run \(2999"
    for text, message in ((json.dumps(about), newer), ("{", "is not a record of a step")):
        path.write_text(text)
        with pytest.raises(FercoreError, match=rf"check\.json {message}"):
            leases.work(lease(tmp_path), STEPS)
        assert path.read_text() == text


# The parcel


@pytest.fixture
def packed(done, tmp_path, monkeypatch):
    """What travels home, the wide network in parts."""
    monkeypatch.setattr(parcel, "LARGEST", 100_000)
    parcel.pack(done, tmp_path / "out", records(done)["wide-0"]["name"])
    assert 1 < len(list((tmp_path / "out").glob("weights-*"))) < len(list((tmp_path / "out").iterdir())) <= 8
    return tmp_path / "out"


def test_a_parcel_finds_its_places_and_leaves_newer_records_alone(done, packed, tmp_path):
    home = tmp_path / "home"
    assert all(line.endswith(("written", "parts")) for line in parcel.collect(packed, home))
    travelled = [*(done / "runs/results").rglob("*.safetensors")]
    travelled += (done / "runs/fer2013/explainers").glob("*")
    assert len(travelled) >= 5
    for path in travelled:
        place = path.relative_to(done).as_posix().replace("runs/results", "results")
        assert (home / place).read_bytes() == path.read_bytes()
    (large,) = (done / "runs" / "weights").rglob(f"{records(done)['wide-0']['name']}.safetensors")
    (joined, about), original = checkpoints.read(home / large.relative_to(done)), checkpoints.read(large)
    assert about == original[1]
    assert all(torch.equal(joined[name], tensor) for name, tensor in original[0].items())
    assert all("as it was" in line or "is there" in line for line in parcel.collect(packed, home))
    newer = home / "results" / "full_scale" / "check.json"
    newer.write_text(newer.read_text().replace('"seconds": ', '"seconds": 1'))
    before = newer.read_text()
    other = next((home / "results" / "outcomes").rglob("*.safetensors"))
    other.write_bytes(b"answers of another network")
    said = " ".join(parcel.collect(packed, home))
    assert "check.json: newer than the parcel's, left alone" in said
    assert f"{other.name}: another than the parcel's, left alone" in said
    assert (newer.read_text(), other.read_bytes()) == (before, b"answers of another network")
    leases.work(lease(home), [replace(STEPS[0], run=None)])  # what was brought home counts as done


@pytest.mark.parametrize("name", ["runs/results/../../evil.json", "notes.txt"])
def test_a_parcel_with_anything_else_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    with tarfile.open(tmp_path / "records-0.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "file", name)
    with pytest.raises(FercoreError, match="which is no result"):
        parcel.collect(tmp_path, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_parcel_that_is_absent_damaged_or_not_whole_is_named(packed, tmp_path):
    (packed / "weights-0.safetensors").unlink()
    with pytest.raises(FercoreError, match=r"parts of .*, not all"):
        parcel.collect(packed, tmp_path / "home")
    (packed / "records-0.tar.gz").write_bytes(b"not a tar")
    with pytest.raises(FercoreError, match="is damaged"):
        parcel.collect(packed, tmp_path)
    with pytest.raises(FercoreError, match=r"holds no records-0\.tar\.gz"):
        parcel.collect(tmp_path, tmp_path)


# The data


def test_sheets_hold_the_same_images_and_half_or_damaged_ones_are_named(tmp_path, monkeypatch):
    official = toy(150)
    monkeypatch.setattr(fer2013, "OFFICIAL_CONTENT", official.checksum)
    sheets.write(official, tmp_path)
    found = sheets.read(tmp_path)
    assert found.checksum == official.checksum
    assert np.array_equal(found.images, official.images)
    assert found.usage.tolist() == official.usage.tolist()
    some = sheets.first(found, 10)
    assert len(some) == 30
    assert some.checksum != found.checksum
    sheet = tmp_path / "Training-1.png"
    content = sheet.read_bytes()
    sheet.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"lacks Training-1\.png: copy all of"):
        sheets.read(tmp_path)
    sheet.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="a sheet of Training cannot be read"):
        sheets.read(tmp_path)
    sheet.write_bytes((tmp_path / "Training-0.png").read_bytes())
    with pytest.raises(DatasetError, match="do not hold the official images"):
        sheets.read(tmp_path)


# The command


def test_a_bare_machine_has_all_that_it_needs():
    """Neither pandas, nor OpenCV, nor anything else that only the book needs, is asked for."""
    absent = ["cv2", "pandas", "matplotlib", "click", "papermill", "nbformat", "jupytext"]
    absent += ["shap", "captum", "lime"]
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({absent})); runpy.run_path({str(SCRIPT)!r}, "
    command = [sys.executable, "-c", f"{code}run_name='__main__')", "run", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--budget" in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--budget 30 --device cpu", "--budget 30: nothing is finished in under 60 s; give more."),
        ("--budget 90 --device cpu --width 0", "--width 0 must lie in (0, 4]."),
        ("--budget 90 --device cpu", "FER2013 was not found"),
        ("--budget 90", "torch finds no GPU here; --device cpu --width 0.0625 tries it out."),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, given, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folders = ("--out", tmp_path / "out", "--data", tmp_path, "--root", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["run", *map(str, folders), *given.split()])
    assert message in stopped.value.code
    assert len(stopped.value.code.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SKETCH.is_file(), reason="needs the sheets of FER2013")
def test_the_command_stopped_and_started_again_does_not_begin_anew(tmp_path):
    """The real thing, on the first images of each part: SIGTERM once a step is done, then run on."""
    where = ("--data", SKETCH.parent, "--out", tmp_path / "out", "--root", tmp_path, "--device", "cpu")
    small = ("--width", "0.0625", "--limit", "150", "--budget", "600", "--images", "2")

    def until(begins):
        """Run until a step begins, then ask to stop; return what was printed."""
        command, pipe = [sys.executable, SCRIPT, "run", *where, *small], subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(begins):
                break
        try:
            process.send_signal(signal.SIGTERM)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, error.strip()) == (1, "stopped; the same command goes on from here")
        return "".join(said)

    assert "check: " in until("epoch: ")
    path = tmp_path / RECORDS / "check.json"
    first = path.read_bytes()
    assert "check: " not in until("wide-0: ")
    assert path.read_bytes() == first
    assert (tmp_path / "out" / "records-0.tar.gz").is_file()


def test_the_budget_ends_the_command(tmp_path, monkeypatch):
    """Whatever step is in hand then: an alarm is set that stops it as SIGTERM does."""
    command = [
        "run",
        "--data",
        "d",
        "--out",
        tmp_path / "out",
        "--root",
        tmp_path,
        "--budget",
        "600",
        "--device",
        "cpu",
    ]
    script = runpy.run_path(str(SCRIPT / "__main__.py"))
    alarms, before = [], {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    monkeypatch.setattr(sheets, "read", lambda _: toy())
    monkeypatch.setattr(leases, "work", lambda *_: alarms.append(signal.getitimer(signal.ITIMER_REAL)[0]))
    try:
        script["main"]([str(word) for word in command])
        assert signal.getsignal(signal.SIGALRM) is signal.getsignal(signal.SIGTERM) is script["stop"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert len(alarms) == 1
    assert 0 < alarms[0] <= 600


def test_the_page_names_the_steps_and_counts_the_operations_of_an_epoch():
    network = models.build("proposed", size=(48, 48))
    work = networks.flops_per_image(network, (48, 48)) * sum(fer2013.ABOUT.counts["Training"].values())
    page = (ROOT / "book" / "full-scale.md").read_text(encoding="utf-8")
    assert f"about {work / 1e12:.0f} thousand billion operations" in page
    assert all(f"**{step.name}**" in page for step in steps.all_steps() if not step.name.startswith("paper-"))
