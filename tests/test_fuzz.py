"""Every parser of files that others have written: whatever the bytes, the documented errors and no other."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile
from pathlib import Path

import fuzzing
import layouts
import numpy as np
import pytest
import torch
from conftest import brightness_faces, fer2013_rows
from ferlab import provenance
from ferlab.data import add
from ferlab.runs import cli, freshness, records, runner, sources
from ferlab.studies import photo as photos
from ferlab.studies import tables
from fuzzing import CHANGES, EDITS, damaged, document, odd, untrusted
from hypothesis import strategies as st
from packing import tree

from fercore import checkpoints, datasets
from fercore.checkpoints import digest
from fercore.datasets import fer2013
from fercore.errors import CheckpointError, DatasetError, DatasetNotFoundError, FercoreError

# Datasets


def load_or_refuse(name, root, **options):
    """Load a dataset; only the documented errors may come."""
    try:
        data = datasets.load(name, root=root, progress=False, **options)
    except (DatasetError, DatasetNotFoundError):
        return
    assert len(data) == len(data.paths) > 0
    assert all((root / name / path.split(":")[0]).is_file() for path in data.paths)


def written(header, rows, end="\n"):
    """Return a table; a column that rows do not have is filled up."""
    return end.join([",".join(header), *(",".join(row.get(n.strip(), "x") for n in header) for row in rows)])


def pixels(drawn):
    """Return the pixels of a row, one of them changed."""
    (_, text, _), place, value = drawn
    values = text.split(" ")
    return " ".join([*values[:place], value, *values[place + 1 :]])


ROWS = fer2013_rows(per_class=1)[:3]
PIXELS = st.tuples(st.sampled_from(ROWS), st.integers(0, 2303), odd | st.just("7"))
FIELDS = {
    "emotion": st.sampled_from("0126") | odd,
    "pixels": PIXELS.map(pixels) | odd,
    "Usage": st.sampled_from(["Training", "PublicTest", "PrivateTest", " Training", "training"]) | odd,
}
COLUMNS = [
    ["emotion", "pixels", "Usage"],
    ["emotion", " Usage", " pixels"],  # icml_face_data.csv
    ["Usage", "emotion", "pixels", "more"],
    ["emotion", "pixels"],
    ["emotion", "emotion", "pixels", "Usage"],
]
VERIFY = st.sampled_from([False, False, False, True])


@untrusted(
    "a table of FER2013",
    name=st.sampled_from(fer2013.TABLES),
    header=st.sampled_from(COLUMNS),
    rows=st.lists(st.fixed_dictionaries(FIELDS), max_size=3),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    edits=EDITS,
    verify=VERIFY,
)
def _(root, name, header, rows, end, edits, verify):
    (root / "fer2013").mkdir()
    (root / "fer2013" / name).write_bytes(damaged(written(header, rows, end), edits))
    load_or_refuse("fer2013", root, verify=verify)


VOTES = {name: st.sampled_from("0123456789") | odd for name in fer2013.VOTE_COLUMNS}
VOTES["Usage"] = st.sampled_from(["Training", "Training", "PublicTest"]) | odd
LONG = {"rows": [dict.fromkeys(VOTES, "9" * 5000)], "column": 14, "edits": [], "images": 1}


@untrusted(
    "the votes of FER+",
    known=[LONG],
    rows=st.lists(st.fixed_dictionaries(VOTES), max_size=3),
    column=st.integers(1, 14),
    edits=EDITS,
    images=st.integers(0, 3),
)
def _(folder, rows, column, edits, images):
    header = ["Usage", "Image name", *fer2013.VOTE_COLUMNS]
    del header[column : column + 1]
    path = folder / fer2013.VOTES_FILE
    path.write_bytes(damaged(written(header, rows), edits))
    with contextlib.suppress(DatasetError):
        votes = fer2013.read_votes(path, np.array(["Training"] * images, dtype=str))
        assert votes.shape == (images, 10)
        assert votes.max(initial=0) <= 10


# Trees of files: the official layout with files near it, of any content or gone; or these files alone

PICTURE = layouts.encoded(9, (16, 16), "RGB", "PNG")
TALL = layouts.encoded(9, (1, 90), "L", "TIFF")
CODES = [b"   3.0000000e+00\n", b"7", b"8", b"nan", b"1 2\n" * 67 + b"3 3\n"]
FIXED = st.sampled_from([PICTURE, PICTURE, TALL, *CODES, None])
NUMBERS = st.lists(st.floats().map(str) | st.integers(0, 9).map(str) | odd, max_size=3).map(" ".join)
POINTS = st.tuples(st.sampled_from(["1 2.5\n" * n for n in (0, 66, 67, 68)]), NUMBERS).map("3 4\n".join)
CONTENT = FIXED | FIXED | fuzzing.PICTURES | st.builds(damaged, NUMBERS | POINTS, EDITS)
SOME = {
    "ferg": lambda root: layouts.write_ferg(root, per=1, characters=["aia"]),
    "jaffe": lambda root: layouts.write_jaffe(root, ["KA.AN1.39.tiff", "YM.SU3.60.tiff"]),
    "ck48": layouts.write_ck48,
    "fer2013": lambda root: layouts.write_fer2013_folders(root, ROWS),
    "ckplus": lambda root: layouts.write_ckplus(root, {"S005_001": 3, "S010_004": 1}, 3, landmarks=True),
}
FRAME = "S005/001/S005_001_0000000"
OFFICIAL = {
    "ferg": ["FERG_DB_256/aia/aia_joy/aia_joy_9.png", "FERG_DB_256/ray/ray_fear/ray_fear_10.png"],
    "jaffe": ["jaffe/KA.AN1.39.tiff", "jaffe/YM.SU3.60.tiff", "jaffedbase/KL.HA2.159.tif"],
    "ck48": ["CK+48/anger/S010_004_00000009.png", "CK+48/contempt/S138_001_00000010.png"],
    "fer2013": ["train/angry/Training_1.jpg", "test/Happy/PublicTest_2.png", "test/sad/PrivateTest_3.jpeg"],
    "ckplus": [
        *(f"cohn-kanade-images/{FRAME}{number}.png" for number in (2, 3, 4)),
        *(f"Emotion/{FRAME}{number}_emotion.txt" for number in (2, 3)),
        f"Landmarks/{FRAME}3_landmarks.txt",
        "cohn-kanade-images/S010/004/S010_004_00000001.png",
    ],
}
CK48_OPTIONS = {"size": st.just(16), "contempt": st.booleans()}
CKPLUS_OPTIONS = CK48_OPTIONS | {
    "crop": st.sampled_from(["auto", "centre", "landmarks"]),
    "neutral": st.booleans(),
    "frames": st.integers(1, 2),
}
OPTIONS = {"fer2013": {}, "ck48": CK48_OPTIONS, "ckplus": CKPLUS_OPTIONS}


def plant(folder, files):
    """Write or remove files by their parts, but for names that lead elsewhere or that the file system refuses."""
    for parts, content in files:
        with contextlib.suppress(OSError, ValueError):
            path = folder.joinpath(*(part.replace("/", "_") for part in parts))
            path.resolve().relative_to(folder.resolve())
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def read_tree(root, whole, files, options, name):
    if whole:
        SOME[name](root)
    plant(root / name, files)
    load_or_refuse(name, root, **options)


for dataset, paths in OFFICIAL.items():
    untrusted(
        f"a tree of {dataset}",
        whole=st.booleans(),
        files=st.lists(st.tuples(st.one_of(*map(fuzzing.near_path, paths)), CONTENT), min_size=1, max_size=3),
        options=st.fixed_dictionaries({"verify": VERIFY, **OPTIONS.get(dataset, {"size": st.just(16)})}),
    )(functools.partial(read_tree, name=dataset))

# Images


@untrusted("a reader's photo", content=fuzzing.PICTURES)
def _(folder, content):
    (folder / "photo").write_bytes(content)
    with contextlib.suppress(photos.PhotoError):
        photo = photos.read(folder / "photo")
        assert photo.dtype == np.uint8
        assert photo.shape[2] == 3


# Archives

TABLES = ["icml_face_data.csv", "fer2013/fer2013.csv", "FERPlus-master/fer2013new.csv", "fer2013.tar.gz"]
MEMBERS = [*TABLES, *(path for paths in OFFICIAL.values() for path in paths)]
CSV = written(COLUMNS[0], [{"emotion": "0", "pixels": ROWS[0][1], "Usage": "Training"}]).encode()
PIECES = ["..", ".", "", "/", "jaffe", "KA.AN1.39.tiff", "C:", "\\", "\0", " ", "é", "__MACOSX", "._a"]
NAME = st.one_of(
    st.one_of(*map(fuzzing.near_path, MEMBERS)).map("/".join),
    st.lists(st.sampled_from(PIECES), max_size=6).map("/".join),
    st.sampled_from([f"jaffe/{name}" for name in fuzzing.ODD]),
)
MEMBER = st.tuples(NAME, st.sampled_from([PICTURE, b"", CSV, b"\0" * 2000]), st.sampled_from(fuzzing.SORTS))
ARCHIVES = st.sampled_from(["stored", "deflated", "tar", "tar.gz"])


@untrusted("an archive", kind=ARCHIVES, members=st.lists(MEMBER, max_size=4), edits=EDITS)
def _(top, kind, members, edits):
    """Files land where the loaders look, or the documented error comes and nothing is left behind."""
    inside = top / "a" / "b" / "c"  # so that ".." has somewhere to go
    inside.mkdir(parents=True)
    (inside / "x").write_bytes(damaged(fuzzing.packed(kind, members), edits))
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


@untrusted(
    "a value of the command line", known=[{"text": "[" * 100_000}], text=odd | fuzzing.JSON.map(json.dumps)
)
def _(_, text):
    """It is read and never evaluated."""
    value = sources.value_of(text)
    plain = isinstance(value, str) and value == text
    assert plain or repr(value) == repr(json.loads(text))


# Records, pages, stamps, notes: JSON


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a notebook, a record of accuracy and its page; and the two as JSON."""
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    text = '# %% [markdown]\n# # A\n\n# %% tags=["parameters"]\ndataset = "faces"\n'
    (root / "notebooks" / "accuracy.py").write_text(text)
    monkeypatch.setattr(provenance, "project_root", lambda: root)
    run = records.Run("accuracy", "toy", model="proposed", width=0.5, epochs=3, seed=0)
    metrics = {"test": {"accuracy": 0.5}}
    with monkeypatch.context() as patch:
        patch.setattr(records, "code", lambda _: {"what_is_gone": "0"})  # stale
        path = run.finish("x", brightness_faces(14), metrics, protocol="paper", folder=root / "results")
    asked = {"dataset": "toy", "fold": 0}
    about = {"experiment": "accuracy", "dataset": "toy", "asked": asked, "seconds": 1.5}
    about |= {"record": records.place(path), "record_sha256": digest(path)}
    page = {"cells": [], "metadata": {"fercore": about}, "nbformat": 4, "nbformat_minor": 5}
    (root / "book" / "runs" / "toy").mkdir(parents=True)
    return root, json.loads(path.read_text()), page


GONE = [{"changes": [change], "edits": []} for change in (([1], "delete", None), ([35, 4], "value", ""))]


@untrusted("a record", known=GONE, needs="project", changes=CHANGES, edits=EDITS)
def _(folder, project, changes, edits):
    path = folder / "accuracy" / "toy" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(document(project[1], changes, edits))
    assert freshness.text(freshness.stale_runs([path]))
    with contextlib.suppress(FercoreError):
        record = records.read(path)
        assert all(isinstance(reason, str) for reason in records.stale(record))
        found = tables.rows([path])
        _, _, *lines = tables.markdown(found).splitlines()
        assert len(lines) == len(found) == (record["experiment"] == "accuracy")
        assert all(line.count("|") == len(tables.COLUMNS) + 1 and "<" not in line for line in lines)


@untrusted("a page", needs="project", changes=CHANGES, edits=EDITS)
def _(_, project, changes, edits):
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


@untrusted("a stamp", needs="project", changes=CHANGES, edits=EDITS)
def _(folder, project, changes, edits):
    root, record, _ = project
    known = {"page": "x", "page_sha256": "0", "record": "results/accuracy/toy/x.json"}
    known["record_sha256"] = digest(root / known["record"])
    (folder / "stamp.json").write_bytes(document(known, changes, edits))
    with contextlib.suppress(FercoreError):
        assert records.read(runner.stamped(folder / "stamp.json")) == record


@untrusted("a note of an unfinished run", needs="project", changes=CHANGES, edits=EDITS)
def _(_, project, changes, edits):
    path = project[0] / "runs" / "toy" / "0.started.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"experiment": "accuracy", "asked": {"dataset": "toy", "fold": 1}, "publish": False}
    path.write_bytes(document(note | {"started": "2026-01-01T00:00:00+00:00"}, changes, edits))
    for experiment, dataset, asked, _ in runner.unfinished():
        assert (type(experiment), type(dataset), type(asked)) == (str, str, dict)
        with contextlib.suppress(FercoreError, ValueError):
            cli.intent(experiment, dataset, asked)
    assert "accuracy: A" in cli.listing()
    assert len(runner.unfinished()) == path.exists()  # what says nothing is removed


# Checkpoints: safetensors

LAST = [{"edits": [("flip", 0.99, b"")]}]


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


@untrusted("a checkpoint", known=LAST, edits=EDITS | fuzzing.FLIPS)
def _(folder, edits):
    content, tensors, about = training()
    path = folder / "last.safetensors"
    path.write_bytes(damaged(content, edits))
    with contextlib.suppress(CheckpointError):
        found, said = checkpoints.read(path)
        assert said == about
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


# The cache of a dataset


@pytest.fixture
def entry(tmp_path):
    """A function that loads a dataset, an entry of its cache, and the entry's files."""
    layouts.write_jaffe(tmp_path, layouts.jaffe_names()[:3])
    load = functools.partial(datasets.load, "jaffe", tmp_path, size=16, verify=False, progress=False)
    load()
    (folder,) = (tmp_path / ".cache").iterdir()
    return load, folder, {path.name: path.read_bytes() for path in folder.iterdir()}


PARTS = st.sampled_from(["about.json", "images.npy", "columns.npz"])
BROKEN = [{"name": "images.npy", "edits": [("flip", 732 / 2**16, b"")]}]


@untrusted("an entry of the cache", known=BROKEN, needs="entry", name=PARTS, edits=EDITS)
def _(_, entry, name, edits):
    load, folder, whole = entry
    for other, content in whole.items():
        (folder / other).write_bytes(damaged(content, edits) if other == name else content)
    assert len(load()) == 3


@pytest.mark.parametrize("name", fuzzing.KINDS)
@pytest.mark.filterwarnings("ignore")
def test_whatever_it_holds_it_is_read_whole_or_refused(name, tmp_path, request):
    kind, folder = fuzzing.KINDS[name], tmp_path / "case"
    needed = [request.getfixturevalue(kind.needs)] if kind.needs else []

    def read(**case):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kind.read(folder, *needed, **case)

    fuzzing.fuzz(kind, read)
