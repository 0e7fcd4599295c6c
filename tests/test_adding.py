"""Official archives land where the loaders look, others change nothing; what ``data add`` and ``data status`` say."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import layouts
import pytest
from conftest import fer2013_rows, write_fer2013
from ferlab.data import add as adding
from ferlab.data import status
from ferlab.runs import cli
from layouts import load
from packing import GOOD, files, tarred, tree, zipped

from fercore import datasets
from fercore.datasets import base, ck48, ckplus, fer2013, ferg, folders, jaffe
from fercore.emotions import EMOTIONS
from fercore.errors import DatasetError, DatasetNotFoundError

VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
ROWS = fer2013_rows(1)


def lines(*rows):
    return "".join(f"{row}\n" for row in rows).encode()


TABLE = lines("emotion,pixels,Usage", *(f"{label},{pixels},{usage}" for label, pixels, usage in ROWS))
KAGGLE = lines('emotion, Usage," pixels"', *(f'{label},{usage},"{pixels}"' for label, pixels, usage in ROWS))
VOTES = lines(VOTES_HEADER, *(f"{usage},,0,0,0,0,8,2,0,0,0,0" for *_, usage in ROWS))


def below(prefix, content):
    return {f"{prefix}{name}": data for name, data in content.items()}


def add(path, root, **options):
    return adding.add(path, root, progress=False, **options)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Each dataset in its official layout, tiny."""
    root = tmp_path_factory.mktemp("written")
    write_fer2013(root, ROWS)
    layouts.write_fer2013_folders(root / "folders", ROWS)
    layouts.write_ferg(root, per=1, characters=["aia", "ray"])
    layouts.write_jaffe(root, ["KA.AN1.39.tiff", "KA.HA1.29.tiff", "YM.SU3.60.tiff"])
    layouts.write_ckplus(root, landmarks=True)
    layouts.write_ck48(root)
    return root


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def tiny(monkeypatch):
    """Take the numbers of the tiny datasets for the official ones, so that they pass the check."""
    per = dict.fromkeys(EMOTIONS, 1)
    about = replace(fer2013.ABOUT, counts=dict.fromkeys(fer2013.USAGES, per))
    monkeypatch.setattr(fer2013, "ABOUT", about)
    monkeypatch.setattr(fer2013, "content_checksum", lambda *_: fer2013.OFFICIAL_CONTENT)
    for module in (base, jaffe, ckplus, ck48):
        monkeypatch.setattr(module, "compare", lambda *_: None)


JUNK = ("jaffe/._KA.AN1.40.tiff", "__MACOSX/jaffe/KA.AN1.41.tiff", "jaffe/run.sh", "README")
# File name: (dataset, what is in its folder afterwards, content of the archive or file).
ARCHIVES = {
    "fer2013.tar.gz": ("fer2013", "fer2013.csv", lambda _: {"a/fer2013.csv": TABLE, "a/README": b"x"}),
    "kaggle.zip": ("fer2013", "icml_face_data.csv", lambda _: {"icml_face_data.csv": KAGGLE}),
    "folders.zip": ("fer2013", "test train", lambda root: below("a/", files(root / "folders" / "fer2013"))),
    "fer2013 (1).csv": ("fer2013", "fer2013.csv", lambda _: b"\xef\xbb\xbf" + TABLE),
    "ferg.zip": ("ferg", ferg.TOP, lambda root: below("my faces/", files(root / "ferg" / ferg.TOP))),
    "jaffe.zip": ("jaffe", "jaffe", lambda root: files(root / "jaffe") | dict.fromkeys(JUNK, b"x")),
    "jaffe.tar": ("jaffe", "jaffe", lambda root: below("./x/jaffedbase/", files(root / "jaffe" / "jaffe"))),
    "all.zip": ("ckplus", "Emotion Landmarks cohn-kanade-images", lambda root: files(root / "ckplus")),
    "archive (3).zip": ("ck48", ck48.TOP, lambda root: files(root / "ck48")),
}


def packed(name, folder, written=None):
    """Write one of the archives into a folder."""
    path, content = folder / name, ARCHIVES[name][2](written)
    if isinstance(content, bytes):
        path.write_bytes(content)
        return path
    return zipped(path, content) if path.suffix == ".zip" else tarred(path, content)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_official_archive_lands_where_the_loader_looks(archive, tmp_path, root, written, tiny, monkeypatch):
    name, top, _ = ARCHIVES[archive]
    added = add(packed(archive, tmp_path, written), root)
    assert (added.folder, added.missing) == (root / name, {})
    assert sorted(path.name for path in (root / name).iterdir()) == top.split()
    assert {path.name for path in root.iterdir()} == {name, ".cache"}  # no temporary folder
    data, other = load(name, root), load(name, written)
    assert added.images == len(data) > 0
    assert (data.images == other.images).all()
    assert data.labels.tolist() == other.labels.tolist()
    for path in (root / name).rglob("*"):  # the tar archives say that nobody may read them
        assert path.stat().st_mode & 0o700 == (0o700 if path.is_dir() else 0o600)
    for module, reader in [(folders, "read_images"), (fer2013, "_read_table")]:
        monkeypatch.setattr(module, reader, None)
    datasets.load(name, root=root, progress=False)  # from the cache, which the check has filled


def test_what_is_not_as_official_is_added_only_without_check(tmp_path, root, written):
    archive = packed("ferg.zip", tmp_path, written)
    with pytest.raises(DatasetError, match=r"14 images instead of 55767.*--no-verify") as error:
        add(archive, root)
    assert str(archive) in str(error.value)
    assert ".adding" not in str(error.value)
    assert not root.exists()
    assert add(archive, root, verify=False).images is None
    assert len(load("ferg", root)) == 14
    layouts.write_jaffe(tmp_path / "official")  # all of it
    assert add(packed("jaffe.zip", tmp_path, tmp_path / "official"), root).images == 213


def test_votes_join_the_images_that_come_later(tmp_path, root, tiny):
    archive = zipped(tmp_path / "FERPlus-master.zip", {"FERPlus-master/fer2013new.csv": VOTES[:-40]})
    with pytest.raises(DatasetError, match="line 21: 9 fields instead of 12"):
        add(archive, root)
    assert not root.exists()
    zipped(archive, {"FERPlus-master/fer2013new.csv": VOTES})
    assert add(archive, root).folder == root / "ferplus"
    (root / "ferplus").rename(root / "fer2013")  # where the votes may lie too
    with pytest.raises(DatasetError, match="is there already"):
        add(archive, root)
    add(packed("fer2013.tar.gz", tmp_path), root)
    assert load("fer2013", root).extras["votes"][0].tolist() == [0, 0, 0, 0, 8, 2, 0, 0, 0, 0]


def ckplus_part(tmp_path, written, folder):
    return zipped(tmp_path / f"{folder}.zip", below(f"{folder}/", files(written / "ckplus" / folder)))


@pytest.mark.parametrize("order", [("cohn-kanade-images", "Emotion"), ("Emotion", "cohn-kanade-images")])
def test_ckplus_comes_in_parts(tmp_path, root, written, tiny, order, capsys):
    first, second = (ckplus_part(tmp_path, written, folder) for folder in order)
    assert cli.main(["data", "add", str(first), "--root", str(root)]) == 0
    assert f"{order[1]}/ is still missing: ferlab data add" in capsys.readouterr().out
    assert f"not complete: {order[1]}/ is missing" in status.status(root)[0]
    added = add(second, root)
    assert (added.images, added.missing) == (12, {})
    assert add(ckplus_part(tmp_path, written, "Landmarks"), root).images == 12
    assert "landmarks" in load("ckplus", root).source
    assert not any(path.is_symlink() for path in root.rglob("*"))
    expected = files(written / "ckplus")
    assert files(root / "ckplus") == {name: expected[name] for name in expected if ".DS_Store" not in name}
    before = tree(root)
    for archive in (first, second):
        with pytest.raises(DatasetError, match="is there already"):
            add(archive, root)
    assert tree(root) == before


def test_parts_of_ckplus_join_what_is_there_if_all_passes_the_check(tmp_path, root, written, request):
    add(ckplus_part(tmp_path, written, "cohn-kanade-images"), root)
    before = files(root)
    with pytest.raises(DatasetError, match="12 images instead of 927"):
        add(ckplus_part(tmp_path, written, "Emotion"), root)
    assert files(root) == before
    request.getfixturevalue("tiny")
    layouts.write_ckplus(root / "b", top="CK+")  # below a top folder of its own
    added = add(ckplus_part(tmp_path, written, "Landmarks"), root / "b")
    assert (added.folder, added.images) == (root / "b" / "ckplus" / "CK+", 12)


@pytest.mark.parametrize("old", ["fer2013.csv", "train/angry/Training_1.png"])
def test_existing_dataset_is_kept(tmp_path, root, tiny, old):
    path = root / "fer2013" / old
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"is there already\. Move it away"):
        add(packed("fer2013.tar.gz", tmp_path), root)
    assert files(root) == {f"fer2013/{old}": b"mine"}
    assert [path.name for path in root.iterdir()] == ["fer2013"]


@pytest.mark.parametrize("stop", [(Path, "rename", 0), (Path, "rename", 2), (shutil, "copyfileobj", 5)])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stop_at_any_time_leaves_nothing(tmp_path, root, written, monkeypatch, capsys, stop, error):
    archive, (owner, name, at) = packed("all.zip", tmp_path, written), stop
    whole, calls = getattr(owner, name), itertools.count()
    before = tree(tmp_path)

    def stops(*arguments):
        if next(calls) == at:
            raise error
        return whole(*arguments)

    monkeypatch.setattr(owner, name, stops)
    command = ["data", "add", str(archive), "--root", str(root), "--no-verify"]
    assert cli.main(command) == (130 if error is KeyboardInterrupt else 1)
    said = capsys.readouterr().err
    assert ("nothing has changed" if error is KeyboardInterrupt else "No space left") in said
    assert tree(tmp_path) == before


def test_absent_archive_and_unwritable_folder(tmp_path, root):
    for path in (tmp_path / "gone.zip", tmp_path):
        with pytest.raises(DatasetNotFoundError, match="is no file"):
            add(path, root)
    root.write_bytes(b"a file")
    with pytest.raises(DatasetError, match="could not be added"):
        add(zipped(tmp_path / "jaffe.zip", GOOD), root, verify=False)


def zip_with(name, mode=0, data=b"evil", *, path):
    """Write a good zip with one more member of any kind."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(zipped(path, GOOD), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(info, data, zipfile.ZIP_DEFLATED)


def tar_with(*, path, **fields):
    """Write a good tar with one more member of any kind."""
    with tarfile.open(tarred(path, GOOD, "w"), "a", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("jaffe/evil")
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info)


def cut(pack, share, *, path):
    """Write the first part of an archive."""
    content = {f"jaffe/KA.AN1.{n}.tiff": random.Random(n).randbytes(9000) for n in range(3)}
    whole = pack(path, content).read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])


OUTSIDE, ODD, TOO_MUCH = "leads out of its folder", "is a link, a device", "more than"
REFUSED = {
    "zip: parent folder": (partial(zip_with, "jaffe/../../evil"), OUTSIDE),
    "zip: absolute": (partial(zip_with, "/tmp/evil"), OUTSIDE),
    "zip: backslash and parent": (partial(zip_with, "..\\evil"), OUTSIDE),
    "zip: symbolic link": (partial(zip_with, "jaffe/evil", stat.S_IFLNK | 0o777, b"/etc"), ODD),
    "zip: twice": (partial(zip_with, "x/KA.AN1.39.tiff"), "twice"),
    "zip: bomb": (partial(zip_with, "jaffe/KA.AN1.40.tiff", data=bytes(6 * 10**7)), TOO_MUCH),
    "zip: cut": (partial(cut, zipped, 0.9), "cut short"),
    "tar: parent folder": (partial(tar_with, name="../evil"), OUTSIDE),
    "tar: symbolic link": (partial(tar_with, type=tarfile.SYMTYPE, linkname="/etc/passwd"), ODD),
    "tar: hard link": (partial(tar_with, type=tarfile.LNKTYPE, linkname="jaffe/README"), ODD),
    "tar: sparse file": (partial(tar_with, type=tarfile.GNUTYPE_SPARSE), ODD),
    "tar: bomb": (partial(tar_with, size=2 * 10**9), TOO_MUCH),
    "tar.gz: cut in the checksum": (partial(cut, tarred, 0.9999), "cut short"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html>"), "neither a zip or tar archive"),
    "no archive of faces": (lambda path: zipped(path, {"holiday/1.jpg": b""}), "no file that is named as"),
    "two datasets": (partial(zip_with, "CK+48/anger/S010_004_00000017.png"), "holds jaffe and ck48"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_archive_is_refused_in_one_line_and_leaves_nothing(tmp_path, case):
    build, message = REFUSED[case]
    archive = tmp_path / "deep" / "inside" / "jaffe.zip"
    archive.parent.mkdir(parents=True)
    build(path=archive)
    before, content = tree(tmp_path), files(tmp_path)
    with pytest.raises(DatasetError) as error:
        add(archive, archive.parent / "data", verify=False)
    assert message in str(error.value)
    assert str(archive) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert tree(tmp_path) == before
    assert files(tmp_path) == content
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 4), ("MAX_BYTES", 40)])
def test_limits_hold_at_their_edge(tmp_path, root, monkeypatch, limit, value):
    archive = zipped(tmp_path / "jaffe", {f"jaffe/KA.AN1.{n}.tiff": b"x" * 10 for n in range(4)})
    monkeypatch.setattr(adding, limit, value - 1)
    with pytest.raises(DatasetError, match=f"more than .*{value - 1}"):
        add(archive, root, verify=False)
    monkeypatch.setattr(adding, limit, value)
    assert add(archive, root, verify=False).files == 4


def test_commands_say_what_was_added(tmp_path, root, written, tiny, capsys, monkeypatch):
    monkeypatch.setenv("FERCORE_DATA", str(root))
    (tmp_path / "votes.csv").write_bytes(VOTES)
    for path in (
        packed("jaffe.zip", tmp_path, written),
        packed("fer2013.tar.gz", tmp_path),
        tmp_path / "votes.csv",
    ):
        assert cli.main(["data", "add", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"JAFFE: 3 files added to {root / 'jaffe'}." in said
    assert "JAFFE is complete: 3 images, as in the official release." in said
    assert jaffe.ABOUT.terms in said
    assert f"FER+: 1 file added to {root / 'ferplus'}." in said
    assert cli.main(["data", "status"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert "(from FERCORE_DATA)" in flat
    assert flat.count(": here") == 3
    assert "Images 21 of 21 images: Training 7, PublicTest 7, PrivateTest 7" in flat
    assert "Emotions Angry 1, Happy 1, Surprise 1" in flat


def test_status_says_how_to_get_data_and_shows_damage(tmp_path, root, written, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = ["data", "status", "--root", str(root)]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    for name in ("fer2013", "ferg", "jaffe", "ckplus", "ck48"):
        about = datasets.about(name)
        assert f"{about.title} ({name}): not here" in text
        for fact in (about.source, about.terms[1:], f"{about.images:,} images", str(root / name)):
            assert fact in " ".join(text.split())
    assert "FER+, votes for FER2013: not here" in text
    assert max(len(line) for line in text.splitlines() if str(root) not in line) <= 80
    assert not root.exists()
    (tmp_path / "votes.csv").write_bytes(VOTES)
    for archive in (packed("jaffe.zip", tmp_path, written), tmp_path / "votes.csv"):
        add(archive, root, verify=False)
    monkeypatch.setattr(ferg, "load", lambda *_, **__: tmp_path.read_bytes())
    assert cli.main(command) == 1
    flat = " ".join(capsys.readouterr().out.split())
    assert "JAFFE (jaffe): DAMAGED OR INCOMPLETE" in flat
    assert "3 images instead of 213, 1 images of Angry instead of 30" in flat
    assert "FER+, votes for FER2013: DAMAGED OR INCOMPLETE Error" in flat
    assert "FERG-DB (ferg): DAMAGED OR INCOMPLETE Error It cannot be read ([Errno 21]" in flat


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_data_folder_that_is_none_is_named(tmp_path, monkeypatch, capsys, kind):
    root = tmp_path / "data"
    root.touch() if kind == "file" else root.symlink_to(tmp_path / "gone")
    monkeypatch.setenv("FERCORE_DATA", str(root))
    assert cli.main(["data", "status"]) == 1
    assert (
        capsys.readouterr().err == f"ferlab: {root} is no folder: name one in FERCORE_DATA or with --root.\n"
    )


def test_reader_that_has_seen_enough_is_no_error(root):
    """The pipe is closed before anything is written, as by ``data status | head``."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ferlab", "data", "status", "--root", str(root)]
    with open(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
