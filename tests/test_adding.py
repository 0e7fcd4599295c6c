"""Official archives land where the loaders look, or change nothing; what ``data add`` and ``data status`` say."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import layouts
import pytest
from conftest import fer2013_rows, write_fer2013
from ferlab.data import add as archives
from ferlab.data import status
from ferlab.runs import cli
from packing import add, below, files, tarred, tree, zipped

from fercore import datasets
from fercore.datasets import ck48, ckplus, fer2013, ferg, folders, jaffe
from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError

JAFFE_NAMES = ("KA.AN1.39.tiff", "KA.HA1.29.tiff", "YM.SU3.60.tiff")
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def table(rows):
    """Return the rows as fer2013.csv."""
    lines = [f"{label},{pixels},{usage}" for label, pixels, usage in rows]
    return ("\n".join(["emotion,pixels,Usage", *lines]) + "\n").encode()


def kaggle_table(rows):
    lines = [f"{label},{usage},{pixels}" for label, pixels, usage in rows]
    return ("\n".join(["emotion, Usage, pixels", *lines]) + "\n").encode()


def votes(rows):
    """Return a line of FER+ for each row."""
    lines = [f"{usage},,0,0,0,0,8,2,0,0,0,0" for *_, usage in rows]
    return ("\n".join([VOTES_HEADER, *lines]) + "\n").encode()


ROWS = fer2013_rows(1)
TABLE, KAGGLE_TABLE, VOTES = table(ROWS), kaggle_table(ROWS), votes(ROWS)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """All datasets as the fixtures write them, under one data folder."""
    root = tmp_path_factory.mktemp("written")
    write_fer2013(root, ROWS)
    layouts.write_ferg(root, per=1, characters=["aia", "ray"])
    layouts.write_jaffe(root, JAFFE_NAMES)
    layouts.write_ckplus(root, landmarks=True)
    layouts.write_ck48(root)
    return root


@pytest.fixture
def root(tmp_path):
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def tiny(monkeypatch):
    """Take the counts of the tiny datasets for the official ones, so that they pass the check."""
    per = dict.fromkeys(EMOTIONS, 1)
    patched = {
        fer2013: dict.fromkeys(fer2013.USAGES, per),
        ferg: {"aia": per, "ray": per},
        jaffe: {"all": {Emotion.ANGRY: 1, Emotion.HAPPY: 1, Emotion.SURPRISE: 1}},
        ckplus: {"all": {Emotion.ANGRY: 3, Emotion.DISGUST: 3, Emotion.FEAR: 3, Emotion.SURPRISE: 3}},
        ck48: {"all": {Emotion.ANGRY: 3, Emotion.DISGUST: 3, Emotion.SURPRISE: 3}},
    }
    for module, counts in patched.items():
        monkeypatch.setattr(module, "ABOUT", replace(module.ABOUT, counts=counts))
    content = datasets.content_checksum
    monkeypatch.setattr(fer2013, "content_checksum", lambda *_: fer2013.OFFICIAL_CONTENT)
    monkeypatch.setattr(jaffe, "SUBJECTS", {"KA": 2, "YM": 1})
    once = {emotion: 1 for emotion in ckplus.SEQUENCES if emotion not in (Emotion.HAPPY, Emotion.SAD)}
    monkeypatch.setattr(ckplus, "SEQUENCES", once)
    numbers = zip(ckplus.RELEASE, (6, 4, 5, 4), strict=True)
    monkeypatch.setattr(ckplus, "RELEASE", dict(numbers))
    return content


def load(name, root, **options):
    return datasets.load(name, root=root, progress=False, verify=False, **options)


def fer2013_tar(path, written):
    content = {"fer2013/fer2013.csv": TABLE, "fer2013/fer2013.bib": b"@misc{}", "fer2013/README": b"Read me"}
    return tarred(path / "fer2013.tar.gz", content)


def kaggle_zip(path, written):
    nested = tarred(path / "nested.tar.gz", {"fer2013/fer2013.csv": TABLE}).read_bytes()
    rest = {"train.csv": b"emotion,pixels\n", "test.csv": b"pixels\n", "fer2013.tar.gz": nested}
    return zipped(path / "challenges.zip", {"icml_face_data.csv": KAGGLE_TABLE, **rest})


def kaggle_zip_with_tar_only(path, written):
    nested = tarred(path / "nested.tar.gz", {"fer2013/fer2013.csv": TABLE}).read_bytes()
    return zipped(path / "challenges.zip", {"x/train.csv": b"emotion,pixels\n", "x/fer2013.tar.gz": nested})


def fer2013_folders(path, written):
    content = {}
    for number, (label, _, usage) in enumerate(ROWS):
        part = "train" if usage == "Training" else "test"
        image = layouts.encoded(number, (48, 48), "L", "PNG")
        content[f"archive/{part}/{fer2013.NAMES[label].lower()}/{usage}_{number}.png"] = image
    return zipped(path / "archive.zip", content)


def bare_table(path, written):
    path = path / "fer2013 (1).csv"
    path.write_bytes(b"\xef\xbb\xbf" + TABLE)
    return path


def bare_kaggle_table(path, written):
    path = path / "download"
    path.write_bytes(KAGGLE_TABLE)
    return path


def bare_quoted_table(path, written):
    path = path / "quoted.csv"
    lines = [f'"{label}","{pixels}","{usage}"' for label, pixels, usage in ROWS]
    path.write_text("\n".join(['"emotion","pixels","Usage"', *lines]) + "\n")
    return path


def ferg_zip(path, written):
    return zipped(
        path / "ferg.zip", {**files(written / "ferg"), "README.txt": b"not in the folder of the images"}
    )


def ferg_wrapped_without_top(path, written):
    inside = files(written / "ferg" / ferg.TOP)
    junk = {"__MACOSX/my faces/._aia": b"x", "my faces/.DS_Store": b"x", "my faces/aia/._aia_anger": b"x"}
    return zipped(path / "a.zip", {**below("my faces/", inside), **junk})


def jaffe_zip(path, written):
    return zipped(path / "jaffe.zip", files(written / "jaffe"))


def jaffe_tar(path, written):
    return tarred(path / "jaffe.tar", below("./x/jaffedbase/", files(written / "jaffe" / "jaffe")), "w")


def ckplus_in_one(path, written):
    return zipped(path / "all.zip", below("CK+/", files(written / "ckplus")))


def ckplus_mixed(path, written):
    """Images, emotions and landmarks in the same folders."""
    content = {name.split("/", 1)[1]: data for name, data in files(written / "ckplus").items()}
    return tarred(path / "mixed.tgz", content)


def ck48_zip(path, written):
    return zipped(path / "archive (3).zip", files(written / "ck48"))


ARCHIVES = {
    fer2013_tar: ("fer2013", {"fer2013.csv", "fer2013.bib", "README"}),
    kaggle_zip: ("fer2013", {"icml_face_data.csv"}),
    kaggle_zip_with_tar_only: ("fer2013", {"fer2013.csv"}),
    fer2013_folders: ("fer2013", {"train", "test"}),
    bare_table: ("fer2013", {"fer2013.csv"}),
    bare_kaggle_table: ("fer2013", {"icml_face_data.csv"}),
    bare_quoted_table: ("fer2013", {"fer2013.csv"}),
    ferg_zip: ("ferg", {"FERG_DB_256"}),
    ferg_wrapped_without_top: ("ferg", {"FERG_DB_256"}),
    jaffe_zip: ("jaffe", {"jaffe"}),
    jaffe_tar: ("jaffe", {"jaffe"}),
    ckplus_in_one: ("ckplus", {"cohn-kanade-images", "Emotion", "Landmarks"}),
    ckplus_mixed: ("ckplus", {"cohn-kanade-images", "Emotion", "Landmarks"}),
    ck48_zip: ("ck48", {"CK+48"}),
}


@pytest.mark.parametrize("build", ARCHIVES, ids=lambda build: build.__name__)
def test_official_archive_lands_where_the_loader_looks(build, tmp_path, root, written, tiny):
    name, top = ARCHIVES[build]
    added = add(build(tmp_path, written), root)
    assert added.folder == root / name
    assert {path.name for path in (root / name).iterdir()} == top
    assert {path.name for path in root.iterdir()} - {".cache"} == {name}  # no temporary folder
    data = load(name, root)
    assert added.images == len(data) > 0
    assert added.missing == ()
    if build is not fer2013_folders:
        assert tiny(data.images, data.labels) == tiny((other := load(name, written)).images, other.labels)
    for path in (root / name).rglob("*"):  # the tar archives say that nobody may read them
        assert path.stat().st_mode & 0o700 == (0o700 if path.is_dir() else 0o600)


def never(*_, **__):
    raise AssertionError("the images are read again")


@pytest.mark.parametrize("replaced", [True, False])
@pytest.mark.parametrize("build", ARCHIVES, ids=lambda build: build.__name__)
def test_first_load_after_adding_reads_no_image(build, tmp_path, root, written, tiny, monkeypatch, replaced):
    archive, (name, _) = build(tmp_path, written), ARCHIVES[build]
    if replaced and name != "ckplus":  # of which the archives join what is there
        add(archive, root)
    added = add(archive, root, replace=True)
    monkeypatch.setattr(folders, "read_images", never)
    monkeypatch.setattr(fer2013, "_read_table", never)
    monkeypatch.setattr(fer2013, "_read_image", never)
    assert len(datasets.load(name, root=root, progress=False)) == added.images
    assert len(list((root / ".cache").iterdir())) == 1


def test_cache_that_cannot_be_kept_is_no_failure(tmp_path, root, written, tiny):
    root.mkdir()
    (root / ".cache").write_bytes(b"a file")
    assert add(jaffe_zip(tmp_path, written), root).images == 3
    assert {path.name for path in root.iterdir()} == {".cache", "jaffe"}


def test_without_verify_other_counts_are_taken(tmp_path, root, written):
    archive = ferg_zip(tmp_path, written)
    with pytest.raises(DatasetError, match="aia has 7 images instead of 10003") as error:
        add(archive, root)
    assert str(archive) in str(error.value)
    assert "--no-verify" in str(error.value)
    assert ".adding" not in str(error.value)
    assert not root.exists()
    assert add(archive, root, verify=False).images is None
    assert len(load("ferg", root)) == 14


def test_official_jaffe_passes_the_real_check(tmp_path, root):
    layouts.write_jaffe(tmp_path / "written")
    added = add(jaffe_zip(tmp_path, tmp_path / "written"), root)
    assert added.images == 213
    assert any("README" in sentence for sentence in added.skipped)
    assert len(datasets.load("jaffe", root=root, progress=False)) == 213


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("kind", ["csv", "repository"])
def test_votes_go_beside_the_images_or_wait_for_them(tmp_path, root, tiny, kind, beside):
    if beside:
        write_fer2013(root, ROWS)
    archive = tmp_path / "new.csv"
    archive.write_bytes(VOTES)
    if kind == "repository":
        content = {"FERPlus-master/fer2013new.csv": VOTES, "FERPlus-master/README.md": b"#"}
        archive = zipped(tmp_path / "FERPlus-master.zip", content)
    added = add(archive, root)
    folder = root / ("fer2013" if beside else "ferplus")
    assert added.folder == folder
    assert (folder / fer2013.VOTES_FILE).read_bytes() == VOTES
    write_fer2013(root, ROWS)
    assert load("fer2013", root).extras["votes"][0].tolist() == [0, 0, 0, 0, 8, 2, 0, 0, 0, 0]
    with pytest.raises(DatasetError, match="is there already"):
        add(archive, root)
    add(archive, root, replace=True)
    assert (folder / fer2013.VOTES_FILE).read_bytes() == VOTES


def test_votes_of_other_images_are_not_added(tmp_path, root, tiny):
    archive = tmp_path / "new.csv"
    archive.write_bytes(votes(ROWS[:-1]))
    with pytest.raises(DatasetError, match="20 rows for 21 images"):
        add(archive, root)
    assert not root.exists()


def ckplus_part(tmp_path, written, folder):
    return zipped(tmp_path / f"{folder}.zip", below(f"{folder}/", files(written / "ckplus" / folder)))


@pytest.mark.parametrize("order", [("cohn-kanade-images", "Emotion"), ("Emotion", "cohn-kanade-images")])
def test_ckplus_comes_in_parts(tmp_path, root, written, tiny, order):
    first, second = (ckplus_part(tmp_path, written, folder) for folder in order)
    added = add(first, root)
    assert added.images is None
    assert [part.folder for part in added.missing] == [order[1]]
    assert f"not complete: {added.missing[0].title} are missing" in status.status(root)[0]
    added = add(second, root)
    assert (added.images, added.missing) == (12, ())
    assert "centre" not in load("ckplus", root).source
    added = add(ckplus_part(tmp_path, written, "Landmarks"), root)
    assert added.images == 12
    assert "landmarks" in load("ckplus", root).source
    assert files(root / "ckplus") == {
        n: c for n, c in files(written / "ckplus").items() if ".DS_Store" not in n
    }


def test_last_part_of_ckplus_that_fails_the_check_is_taken_back(tmp_path, root, written):
    add(ckplus_part(tmp_path, written, "cohn-kanade-images"), root)
    before = tree(root)
    with pytest.raises(DatasetError, match="all has 12 images instead of 927"):
        add(ckplus_part(tmp_path, written, "Emotion"), root)
    assert tree(root) == before


def test_part_of_ckplus_merges_new_files_and_refuses_old_ones(tmp_path, root):
    def emotions(*names):
        content = {f"Emotion/{n[:4]}/{n[5:]}/{n}_00000005_emotion.txt": n.encode() for n in names}
        return zipped(tmp_path / f"{'-'.join(names)}.zip", content)

    add(emotions("S005_001"), root)
    add(emotions("S005_002", "S006_001"), root)
    before = files(root)
    assert len(before) == 3
    with pytest.raises(DatasetError, match=r"S005_001_00000005_emotion.txt is there already"):
        add(emotions("S005_001", "S007_001"), root)
    assert files(root) == before
    add(emotions("S005_001", "S007_001"), root, replace=True)
    assert len(files(root)) == 4


def test_parts_join_a_copy_below_its_own_top_folder(tmp_path, root, written, tiny):
    layouts.write_ckplus(root, top="CK+")
    added = add(ckplus_part(tmp_path, written, "Landmarks"), root)
    assert added.folder == root / "ckplus" / "CK+"
    assert added.images == 12
    assert "landmarks" in load("ckplus", root).source


def old_and_new(tmp_path, root):
    """Write an old FER2013 with FER+ and a hidden file; return an archive with a new one."""
    write_fer2013(root, fer2013_rows(1, seed=7))
    (root / "fer2013" / fer2013.VOTES_FILE).write_bytes(VOTES)
    (root / "fer2013" / ".hidden").write_bytes(b"h")
    (root / "fer2013" / "notes").mkdir()
    (root / "fer2013" / "notes" / "mine.txt").write_bytes(b"m")
    return fer2013_tar(tmp_path, None)


def test_existing_dataset_is_replaced_only_when_asked(tmp_path, root, tiny):
    archive = old_and_new(tmp_path, root)
    before = files(root)
    with pytest.raises(DatasetError, match=r"is there already. `--replace`"):
        add(archive, root)
    assert files(root) == before
    add(archive, root, replace=True)
    expected = {"fer2013.csv": TABLE, "fer2013.bib": b"@misc{}", "README": b"Read me"}
    assert files(root / "fer2013") == {**expected, fer2013.VOTES_FILE: VOTES, ".hidden": b"h"}
    assert {path.name for path in root.iterdir()} - {".cache"} == {"fer2013"}


def test_empty_folder_is_filled(tmp_path, root, tiny):
    (root / "fer2013").mkdir(parents=True)
    assert add(fer2013_tar(tmp_path, None), root).images == 21


def test_failed_replacement_leaves_the_old_dataset(tmp_path, root):
    archive = old_and_new(tmp_path, root)
    before = files(root)
    with pytest.raises(DatasetError, match="Training has 7 images instead of 28709"):
        add(archive, root, replace=True)
    assert files(root) == before
    assert [path.name for path in root.iterdir() if path.name.startswith(".adding")] == []


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("after", [True, False])
def test_stop_during_any_rename_undoes_all(tmp_path, root, monkeypatch, at, error, after):
    """Five renames move the old dataset away and the new one in."""
    archive = old_and_new(tmp_path, root)
    before, rename, calls = files(root), Path.rename, itertools.count()

    def stops(self, target):
        if (now := next(calls) == at) and not after:
            raise error("stop")
        moved = rename(self, target)
        if now:
            raise error("stop")
        return moved

    monkeypatch.setattr(Path, "rename", stops)
    if at < 5:
        with pytest.raises(DatasetError if error is OSError else error):
            add(archive, root, replace=True, verify=False)
        assert files(root) == before
        assert [path.name for path in root.iterdir()] == ["fer2013"]
    else:
        add(archive, root, replace=True, verify=False)
        assert next(calls) == 5


def test_old_dataset_that_cannot_be_put_back_is_never_deleted(tmp_path, root, monkeypatch):
    archive = old_and_new(tmp_path, root)
    rename, calls = Path.rename, itertools.count()

    def breaks(self, target):
        if next(calls) >= 3:
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", breaks)
    with pytest.raises(DatasetError, match="could not be put back") as caught:
        add(archive, root, replace=True, verify=False)
    kept = Path(str(caught.value).split(" holds what was there")[0])
    assert table(fer2013_rows(1, seed=7)) in files(kept).values()


@pytest.mark.parametrize("existing", [True, False])
def test_interruption_while_unpacking_leaves_nothing(tmp_path, root, monkeypatch, capsys, existing, written):
    if existing:
        layouts.write_ferg(root, per=1)
    before = tree(tmp_path)
    archive = zipped(tmp_path / "ferg.zip", files(written / "ferg"))
    read, calls = archives._blocks, itertools.count()

    def interrupted(*arguments):
        if next(calls) == 5:
            raise KeyboardInterrupt
        yield from read(*arguments)

    monkeypatch.setattr(archives, "_blocks", interrupted)
    options = ["--replace"] if existing else []
    assert cli.main(["data", "add", str(archive), "--root", str(root), *options]) == 130
    assert "nothing has changed" in capsys.readouterr().err
    assert tree(tmp_path) == sorted([*before, str(archive)])


def test_add_command_says_what_it_did(tmp_path, root, written, tiny, capsys, monkeypatch):
    monkeypatch.setenv("FERCORE_DATA", str(root))
    assert cli.main(["data", "add", str(jaffe_zip(tmp_path, written))]) == 0
    said = capsys.readouterr().out
    assert f"JAFFE: 4 files added to {root / 'jaffe'}." in said
    assert "JAFFE is complete: 3 images, as in the official release." in said
    assert "README" in said
    assert jaffe.ABOUT.terms in said
    assert cli.main(["data", "add", str(tmp_path / "jaffe.zip")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["data", "add", str(tmp_path / "jaffe.zip"), "--replace", "--no-verify"]) == 0
    assert "complete" not in capsys.readouterr().out


def test_add_command_asks_for_the_missing_part(tmp_path, root, written, capsys):
    assert cli.main(["data", "add", str(ckplus_part(tmp_path, written, "Emotion")), "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert "CK+ image sequences are still missing: ferlab data add extended-cohn-kanade-images.zip" in said


def test_add_command_says_what_becomes_of_votes(tmp_path, root, tiny, capsys):
    (tmp_path / "new.csv").write_bytes(VOTES)
    assert cli.main(["data", "add", str(tmp_path / "new.csv"), "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"FER+: 1 file added to {root / 'ferplus'}." in said
    assert "where fer2013.csv is there too" in said


def test_status_without_data_reads_like_documentation(root, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["data", "status", "--root", str(root)]) == 0
    text = capsys.readouterr().out
    flat = " ".join(text.split())
    for name in ("fer2013", "ferg", "jaffe", "ckplus", "ck48"):
        about = datasets.about(name)
        assert f"{about.title} ({name}): not here" in text
        assert about.source in flat
        assert about.terms[1:] in flat
        assert f"{about.images:,} images" in flat
        assert str(root / name) in flat
    assert "FER+, votes for FER2013: not here" in text
    assert text.index("FER2013 (") < text.index("FER+,") < text.index("FERG-DB (")
    assert "FERCORE_DATA" in text
    assert "ferlab data add FERG_DB_256.zip" in flat
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines() if str(root) not in line) <= 80
    assert not root.exists()


def test_status_is_never_wider_than_a_page(root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    lines = status.status(root)[0].splitlines()
    assert 80 < max(len(line) for line in lines if str(root) not in line) <= 100


def test_status_of_complete_data_names_the_counts(tmp_path, root, written, tiny, capsys, monkeypatch):
    monkeypatch.setenv("FERCORE_DATA", str(root))
    for build in (fer2013_tar, ferg_zip, jaffe_zip, ckplus_in_one, ck48_zip):
        add(build(tmp_path, written), root)
    (tmp_path / "votes.csv").write_bytes(VOTES)
    add(tmp_path / "votes.csv", root)
    assert cli.main(["data", "status"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert "(from FERCORE_DATA)" in flat
    assert "not here" not in flat
    assert flat.count(": here") == 6
    assert "Images 21 of 21 images: Training 7, PublicTest 7, PrivateTest 7" in flat
    assert "Emotions Angry 3, Disgust 3, Surprise 3" in flat
    assert "ferlab data add" not in flat


def test_status_shows_damage_and_fails(tmp_path, root, written, capsys):
    add(jaffe_zip(tmp_path, written), root, verify=False)
    write_fer2013(root, ROWS)
    (root / "fer2013" / fer2013.VOTES_FILE).write_bytes(VOTES)
    assert cli.main(["data", "status", "--root", str(root)]) == 1
    flat = " ".join(capsys.readouterr().out.split())
    assert "JAFFE (jaffe): DAMAGED OR INCOMPLETE" in flat
    assert "all has 3 images instead of 213 (Angry 1 instead of 30" in flat
    assert "FER+, votes for FER2013: DAMAGED OR INCOMPLETE" in flat
    assert "21 rows for 35,887 images" in flat
    assert "FERG-DB (ferg): not here" in flat
    assert "Traceback" not in flat


def test_status_shows_files_that_cannot_be_read_and_fails(root, capsys, monkeypatch):
    def breaks(*_, **__):
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(ferg, "load", breaks)
    monkeypatch.setattr(fer2013, "find", breaks)
    assert cli.main(["data", "status", "--root", str(root)]) == 1
    flat = " ".join(capsys.readouterr().out.split())
    assert (
        "FERG-DB (ferg): DAMAGED OR INCOMPLETE Error It cannot be read ([Errno 13] Permission denied" in flat
    )
    assert "FER+, votes for FER2013: DAMAGED OR INCOMPLETE Error It cannot be read" in flat
    assert "JAFFE (jaffe): not here" in flat


@pytest.mark.skipif(os.name != "posix", reason="pipes of the shell")
def test_reader_that_has_seen_enough_is_no_error(root):
    """The pipe is closed before anything is written, as by ``data status | head``."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ferlab", "data", "status", "--root", str(root)]
    with open(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_of_run_lists_every_dataset(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in datasets.DATASETS)
