"""Every parser of files that others have written: whatever the bytes, the documented errors and no other."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch
from conftest import ROOT, brightness_faces, fer2013_rows
from ferlab import networks, provenance
from ferlab.data import add
from ferlab.landmarks import models
from ferlab.runs import cli, freshness, records, runner
from ferlab.studies import photo as photos
from ferlab.studies import tables
from fuzzing import (
    CHANGES,
    EDITS,
    FLIPS,
    JSON,
    ODD,
    PICTURES,
    SORTS,
    damaged,
    document,
    given,
    near,
    near_path,
    odd,
    packed,
)
from hypothesis import example
from hypothesis import strategies as st
from packing import tree

from fercore import checkpoints, datasets
from fercore.checkpoints import digest
from fercore.datasets import cache, ckplus, fer2013, folders
from fercore.emotions import Emotion
from fercore.errors import CheckpointError, DatasetError, DatasetNotFoundError, FercoreError


@pytest.fixture
def place(tmp_path):
    """Return what makes an empty folder, the same for every case."""

    def fresh():
        shutil.rmtree(tmp_path / "case", ignore_errors=True)
        (tmp_path / "case").mkdir()
        return tmp_path / "case"

    return fresh


# Tables

ROWS = fer2013_rows(per_class=1)[:3]


def pixels(row, change):
    """Return the pixels of a row, one of them changed."""
    values = row[1].split(" ")
    if change is not None:
        values[change[0]] = change[1]
    return " ".join(values)


def written(header, rows, end="\n"):
    """Return a table; a column that rows do not have is filled up."""
    lines = [",".join(header), *(",".join(row.get(name.strip(), "x") for name in header) for row in rows)]
    return end.join(lines).encode("utf-8", "surrogatepass")


FIELDS = {
    "emotion": st.sampled_from("0126") | odd,
    "pixels": st.builds(pixels, st.sampled_from(ROWS), st.none() | st.tuples(st.integers(0, 2303), odd))
    | odd,
    "Usage": st.sampled_from(["Training", "PublicTest", "PrivateTest", " Training", "training"]) | odd,
}
COLUMNS = [
    ["emotion", "pixels", "Usage"],
    ["emotion", " Usage", " pixels"],  # icml_face_data.csv
    ["Usage", "emotion", "pixels", "more"],
    ["emotion", "pixels"],
    ["emotion", "emotion", "pixels", "Usage"],
]


@given(
    name=st.sampled_from(["fer2013.csv", "icml_face_data.csv"]),
    header=st.sampled_from(COLUMNS),
    rows=st.lists(st.fixed_dictionaries(FIELDS), max_size=3),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    edits=EDITS,
    verify=st.sampled_from([False, False, False, True]),
)
def test_tables_of_fer2013(place, name, header, rows, end, edits, verify):
    root = place()
    (root / "fer2013").mkdir()
    (root / "fer2013" / name).write_bytes(damaged(written(header, rows, end), edits))
    try:
        data = datasets.load("fer2013", root=root, verify=verify, progress=False)
    except DatasetError:
        return
    assert data.images.shape == (len(data), 48, 48, 1)
    assert len(data) == len(data.usage) > 0


VOTES = st.fixed_dictionaries(
    {"Usage": st.sampled_from(["Training", "Training", "PublicTest"]) | odd}
    | {name: st.sampled_from("0123456789") | odd for name in fer2013.VOTE_COLUMNS}
)


@given(rows=st.lists(VOTES, max_size=3), column=st.integers(1, 14), edits=EDITS, images=st.integers(0, 3))
@example(rows=[dict.fromkeys(("Usage", *fer2013.VOTE_COLUMNS), "9" * 5000)], column=14, edits=[], images=1)
def test_votes_of_ferplus(place, rows, column, edits, images):
    path = place() / fer2013.VOTES_FILE
    header = ["Usage", "Image name", *fer2013.VOTE_COLUMNS]
    del header[column : column + 1]
    path.write_bytes(damaged(written(header, rows), edits))
    try:
        votes = fer2013.read_votes(path, np.array(["Training"] * images, dtype=str))
    except DatasetError:
        return
    assert votes.shape == (images, 10)
    assert votes.max(initial=0) <= 10


# Trees of image files

PICTURE = layouts.encoded(9, (16, 16), "RGB", "PNG")
CONTENT = st.sampled_from([PICTURE] * 3 + [layouts.encoded(9, (1, 90), "L", "TIFF"), b"", b"\x89PNG\r\n"])
OFFICIAL = {
    "ferg": ["FERG_DB_256/aia/aia_joy/aia_joy_9.png", "FERG_DB_256/ray/ray_fear/ray_fear_10.png"],
    "jaffe": ["jaffe/KA.AN1.39.tiff", "jaffe/YM.SU3.60.tiff", "jaffedbase/KL.HA2.159.tif"],
    "ck48": ["CK+48/anger/S010_004_00000009.png", "CK+48/contempt/S138_001_00000010.png"],
    "fer2013": ["train/angry/Training_1.jpg", "test/Happy/PublicTest_2.png", "test/sad/PrivateTest_3.jpeg"],
}
TREES = {
    name: st.lists(st.tuples(st.one_of(*map(near_path, paths)), CONTENT), min_size=1, max_size=3)
    for name, paths in OFFICIAL.items()
}


def plant(folder, files):
    """Write files by their parts; a name that leads elsewhere, or that the file system refuses, is left out."""
    for parts, content in files:
        with contextlib.suppress(OSError, ValueError):
            path = folder.joinpath(*(part.replace("/", "_") for part in parts))
            path.resolve().relative_to(folder.resolve())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def load_or_refuse(name, root, **options):
    """Load a dataset; only the documented errors may come."""
    try:
        data = datasets.load(name, root=root, progress=False, **options)
    except (DatasetError, DatasetNotFoundError):
        return
    assert len(data) == len(data.paths) > 0
    assert all((root / name / path).is_file() for path in data.paths)


@pytest.mark.parametrize("name", OFFICIAL)
@given(data=st.data(), verify=st.sampled_from([False, False, False, True]))
def test_names_in_folders(place, name, data, verify):
    root = place()
    plant(root / name, data.draw(TREES[name]))
    load_or_refuse(name, root, verify=verify, **({} if name == "fer2013" else {"size": 16}))


FRAMES = [f"cohn-kanade-images/S005/001/S005_001_0000000{number}.png" for number in (1, 2, 3, 4)]
TEXTS = [
    "Emotion/S005/001/S005_001_00000002_emotion.txt",
    "Landmarks/S005/001/S005_001_00000002_landmarks.txt",
]
OTHERS = [
    "cohn-kanade-images/S010/004/S010_004_00000001.png",
    "Emotion/S010/004/S010_004_00000001_emotion.txt",
]
CODES = [b"   3.0000000e+00\n", b"7", b"8", b"", b"1 2\n" * 67 + b"3 3\n", b"nan", PICTURE]


@given(
    files=st.lists(
        st.tuples(st.one_of(*map(near_path, (*FRAMES[1:], *TEXTS, *OTHERS))), st.sampled_from(CODES)),
        max_size=3,
    ),
    crop=st.sampled_from(["auto", "centre", "landmarks"]),
    contempt=st.booleans(),
    neutral=st.booleans(),
    frames=st.integers(1, 2),
)
def test_names_in_the_tree_of_ckplus(place, files, crop, contempt, neutral, frames):
    root = place()
    whole = [(path.split("/"), PICTURE) for path in FRAMES[:2]]
    plant(root / "ckplus", [*whole, (TEXTS[0].split("/"), b"   3.0000000e+00\n"), *files])
    options = {"crop": crop, "contempt": contempt, "neutral": neutral, "frames": frames}
    load_or_refuse("ckplus", root, size=16, verify=False, **options)


NUMBERS = st.lists(st.floats().map(str) | st.integers(0, 9).map(str) | odd, max_size=3).map(" ".join)


@given(text=NUMBERS, edits=EDITS)
def test_emotion_files_of_ckplus(place, text, edits):
    path = place() / "emotion.txt"
    path.write_bytes(damaged(text.encode("utf-8", "surrogatepass"), edits))
    with contextlib.suppress(DatasetError):
        assert ckplus._read_label(path) in Emotion


@given(lines=st.lists(NUMBERS, max_size=3), good=st.sampled_from([0, 66, 67, 68]), edits=EDITS)
def test_landmark_files_of_ckplus(place, lines, good, edits):
    frame = place() / "cohn-kanade-images" / "S005" / "001" / "S005_001_00000001.png"
    path = ckplus.landmark_file(frame)
    path.parent.mkdir(parents=True)
    whole = "\n".join([*(f"   {i}.5e+00   {2 * i}.0e+00" for i in range(good)), *lines])
    path.write_bytes(damaged(whole.encode("utf-8", "surrogatepass"), edits))
    try:
        left, upper, right, lower = ckplus.face_box(frame, "landmarks")
    except DatasetError:
        return
    assert np.isfinite([left, upper, right, lower]).all()
    assert right > left
    assert lower > upper


# Images


@given(content=PICTURES)
@pytest.mark.filterwarnings("ignore")
def test_photos_of_readers(place, content):
    path = place() / "photo"
    path.write_bytes(content)
    try:
        photo = photos.read(path)
    except photos.PhotoError:
        return
    assert photo.dtype == np.uint8
    assert photo.shape[2] == 3


@given(content=PICTURES, channels=st.sampled_from([1, 3]), size=st.sampled_from([None, 16]))
@pytest.mark.filterwarnings("ignore")
def test_image_files_of_datasets(place, content, channels, size):
    path = place() / "image"
    path.write_bytes(content)
    with contextlib.suppress(DatasetError):
        assert folders.read_image(path, size, channels).shape[2] == channels


# Archives

MEMBERS = [path for paths in OFFICIAL.values() for path in paths] + [
    "icml_face_data.csv",
    "fer2013/fer2013.csv",
]
MEMBERS += [*FRAMES[:1], *TEXTS, "FERPlus-master/fer2013new.csv", "fer2013.tar.gz"]
CSV = written(COLUMNS[0], [{"emotion": "0", "pixels": ROWS[0][1], "Usage": "Training"}])
PIECES = ["..", ".", "", "/", "jaffe", "KA.AN1.39.tiff", "C:", "\\", "\0", " ", "é", "__MACOSX", "._a"]
NAME = st.one_of(
    st.one_of(*map(near_path, MEMBERS)).map("/".join),
    st.lists(st.sampled_from(PIECES), max_size=6).map("/".join),
    st.sampled_from([f"jaffe/{name}" for name in ODD]),
)
MEMBER = st.tuples(NAME, st.sampled_from([PICTURE, b"", CSV, b"\0" * 2000]), st.sampled_from(SORTS))


@given(
    kind=st.sampled_from(["stored", "deflated", "tar", "tar.gz"]),
    members=st.lists(MEMBER, max_size=4),
    edits=EDITS,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(place, kind, members, edits):
    """Files land where the loaders look, or the documented error comes and nothing is left behind."""
    top = place()
    inside = top / "a" / "b" / "c"  # so that ".." has somewhere to go
    inside.mkdir(parents=True)
    (inside / "x").write_bytes(damaged(packed(kind, members), edits))
    before = tree(top)
    try:
        added = add.add(inside / "x", inside / "data", verify=False, progress=False)
    except FercoreError:
        assert tree(top) == before
        return
    appeared = set(map(Path, tree(top))) - set(map(Path, before)) - {inside / "data"}
    assert all(path.is_relative_to(added.folder) and not path.is_symlink() for path in appeared)
    assert added.files == sum(path.is_file() for path in appeared) >= 1


# The command line


@given(text=odd | JSON.map(json.dumps))
@example(text="[" * 100_000)
def test_values_of_the_command_line_are_read_and_never_evaluated(text):
    value = cli._value(text)
    plain = isinstance(value, str) and value == text
    assert plain or repr(value) == repr(json.loads(text))


@given(name=st.sampled_from(["model", "fusion", "recipe", "protocol", "fold"]), value=near("proposed") | JSON)
def test_values_in_names_of_files_stay_in_their_folder(name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "read_text_notebook", lambda path: path)  # nothing is read for each case
        patch.setattr(runner, "parameters_of", lambda _: ("dataset", *runner._IDENTITY))
        try:
            asked = runner.check("accuracy", "faces", {name: value})
        except ValueError:
            return
    page = runner.page_path("accuracy", "faces", asked)
    assert page.parent == ROOT / "book" / "runs" / "faces"
    assert Path(os.path.normpath(page)).parent == page.parent


# Records, pages, stamps, notes: JSON


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with a notebook, a record of accuracy and its page; and the two as JSON."""
    root = tmp_path_factory.mktemp("project")
    (root / "notebooks").mkdir()
    text = '# %% [markdown]\n# # A\n\n# %% tags=["parameters"]\ndataset = "faces"\n'
    (root / "notebooks" / "accuracy.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "project_root", lambda: root)
        run = records.Run("accuracy", "toy", model="proposed", width=0.5, epochs=3, seed=0)
        metrics = {"test": {"accuracy": 0.5}}
        with pytest.MonkeyPatch.context() as other:
            other.setattr(records, "code", lambda _: {"what_is_gone": "0"})  # stale
            path = run.finish("x", brightness_faces(14), metrics, protocol="paper", folder=root / "results")
        about = {
            "experiment": "accuracy",
            "dataset": "toy",
            "asked": {"dataset": "toy", "fold": 0},
            "seconds": 1.5,
        }
        about |= {"record": records.place(path), "record_sha256": digest(path)}
        page = {"cells": [], "metadata": {"fercore": about}, "nbformat": 4, "nbformat_minor": 5}
        (root / "book" / "runs" / "toy").mkdir(parents=True)
        yield root, json.loads(path.read_text()), page


@given(changes=CHANGES, edits=EDITS)
@example(changes=[([1], "delete", None)], edits=[])
@example(changes=[([35, 4], "value", "")], edits=[])
def test_records(place, project, changes, edits):
    path = place() / "accuracy" / "toy" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(document(project[1], changes, edits))
    try:
        record = records.read(path)
    except FercoreError:
        assert freshness.text(freshness.stale_runs([path]))
        return
    assert all(isinstance(reason, str) for reason in records.stale(record))
    assert freshness.text(freshness.stale_runs([path]))
    try:
        found = tables.rows([path])
    except FercoreError:
        return
    _, _, *lines = tables.markdown(found).splitlines()
    assert len(lines) == len(found) == (record["experiment"] == "accuracy")
    assert all(line.count("|") == len(tables.COLUMNS) + 1 and "<" not in line for line in lines)


@given(changes=CHANGES, edits=EDITS)
def test_pages(project, changes, edits):
    root, _, page = project
    path = root / "book" / "runs" / "toy" / "accuracy.ipynb"
    path.write_bytes(document(page, changes, edits))
    about = runner.about(path)
    assert runner.is_fresh(path, about.get("asked", {})) is False
    assert "accuracy: A" in cli.listing()
    assert isinstance(tables.page_index(), dict)
    assert freshness.text(freshness.stale_runs())
    if about:
        assert runner.command(path).startswith("ferlab run ")


@given(changes=CHANGES, edits=EDITS)
def test_stamps(place, project, changes, edits):
    root, record, _ = project
    path = place() / "stamp.json"
    known = {"page": "x", "page_sha256": "0", "record": "results/accuracy/toy/x.json"}
    known["record_sha256"] = digest(root / known["record"])
    path.write_bytes(document(known, changes, edits))
    with contextlib.suppress(FercoreError):
        assert records.read(runner.stamped(path)) == record


NOTE = {
    "experiment": "accuracy",
    "asked": {"dataset": "toy", "fold": 1},
    "started": "2026-01-01T00:00:00+00:00",
}


@given(notes=st.lists(st.tuples(CHANGES, EDITS), min_size=1, max_size=3))
def test_notes_of_unfinished_runs(project, notes):
    folder = project[0] / "runs" / "toy"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, (changes, edits) in enumerate(notes):
        (folder / f"{number}.started.json").write_bytes(document(NOTE, changes, edits))
    found = runner.unfinished()
    assert len(found) == len(list(folder.iterdir())) <= len(notes)  # what says nothing is removed
    for experiment, dataset, asked in found:
        assert (type(experiment), type(dataset), type(asked)) == (str, str, dict)
        with contextlib.suppress(FercoreError, ValueError):
            cli.intent(experiment, dataset, asked)
    assert "accuracy: A" in cli.listing()


# Checkpoints and outcomes: safetensors


@functools.cache
def training():
    """Return the bytes of a training checkpoint of a very small network, and what is in it."""
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        checkpoints.save_training(path, model, optimizer, {"key": "k", "history": [{"epoch": 1, "lr": 0.5}]})
        return path.read_bytes(), *checkpoints.read(path)


def same(tensors, others):
    return tensors.keys() == others.keys() and all(
        tensors[name].dtype == others[name].dtype and torch.equal(tensors[name], others[name])
        for name in tensors
    )


@given(edits=EDITS | FLIPS)
@example(edits=[("flip", 0.99, b"")])
def test_checkpoints_are_read_whole_or_refused(place, edits):
    content, tensors, about = training()
    path = place() / "last.safetensors"
    path.write_bytes(damaged(content, edits))
    try:
        found, said = checkpoints.read(path)
    except CheckpointError:
        return
    assert same(found, tensors)
    assert said == about


@given(edits=EDITS | FLIPS)
@example(edits=[("flip", 0.99, b"")])
def test_outcomes_are_read_whole_or_refused(place, edits):
    content, setting, data = outcome()
    root = place()
    path = root / "results" / "outcomes" / "toy" / "net.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged(content, edits))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "training_key", lambda *_: "k")
        patch.setattr(networks, "trained", lambda *_: pytest.fail("trained again without a word"))
        patch.setattr(networks.Setting, "name", lambda *_: "net")
        with contextlib.suppress(CheckpointError):
            found = networks.outcome(setting, data, None, folder=root, progress=False)
            assert found.history == [{"epoch": 1.0}]
            assert all((logits == 1).all() for logits in found.logits.values())


@functools.cache
def outcome():
    """Return the bytes of a file of answers, a setting and images."""
    data = brightness_faces(14)
    names = ("validation", "test", "validation mirrored", "test mirrored")
    about = {"key": "k", "history": [{"epoch": 1.0}], "hardware": "an abacus", "ceiling": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        checkpoints.save(path, {name: torch.ones(2, 7).half() for name in names}, about)
        return path.read_bytes(), networks.setting("faces"), data


# Networks of landmarks: nothing is parsed that has not the pinned checksum


@given(content=st.binary(max_size=200), model=st.sampled_from(models.FILES))
def test_network_files_of_landmarks(place, content, model):
    folder = place()
    (folder / model.name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(models.VARIABLE, str(folder))
        patch.setattr(models, "_fetch", lambda *_: pytest.fail("it is there; nothing may be fetched"))
        with pytest.raises(models.ModelFileError, match="is not the file that is needed"):
            models.Network(model)


# The cache of a dataset


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """An entry of the cache, and its files."""
    root = tmp_path_factory.mktemp("cached")
    layouts.write_jaffe(root, layouts.jaffe_names()[:3])
    datasets.load("jaffe", root=root, size=16, verify=False, progress=False)
    (folder,) = (root / ".cache").iterdir()
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}


@given(name=st.sampled_from(["about.json", "images.npy", "columns.npz"]), edits=EDITS)
@pytest.mark.filterwarnings("ignore")
@example(name="images.npy", edits=[("flip", 732 / 2**16, b"")])
def test_entries_of_the_cache(entry, name, edits):
    folder, whole = entry
    for other, content in whole.items():
        (folder / other).write_bytes(damaged(content, edits) if other == name else content)
    about = json.loads(whole["about.json"])
    found = cache._read(folder, {key: about[key] for key in ("version", "options", "files")})
    assert found is None or len(found) == 3
