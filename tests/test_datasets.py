"""The loaders: every official layout gives the same rows, every damaged copy an error that names the place."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import layouts
import numpy as np
import pytest
from conftest import brightness_faces, fer2013_rows, write_fer2013
from layouts import expected_grey, load
from PIL import Image

from fercore import datasets
from fercore.datasets import FaceDataset, cache, fer2013, ferg, folders, splits
from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError, DatasetNotFoundError, UnknownNameError

ROWS = fer2013_rows()
SOME_JAFFE = layouts.jaffe_names()[:30]
VOTES = np.random.default_rng(0).multinomial(10, [0.1] * 10, size=len(ROWS))


def write_votes(root, folder="fer2013"):
    path = root / folder / fer2013.VOTES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{row[2]},x.png,{','.join(map(str, votes))}" for row, votes in zip(ROWS, VOTES, strict=True)]
    path.write_text("\n".join([",".join(["Usage", "Image name", *fer2013.VOTE_COLUMNS]), *lines]) + "\n")


def write_table_and_votes(root):
    write_votes(root)
    return write_fer2013(root, ROWS).parent


# Every layout, those of one dataset in a row: name -> (dataset, what writes it and returns the dataset's folder).
write_some_jaffe = partial(layouts.write_jaffe, names=SOME_JAFFE)
LAYOUTS = {
    "fer2013.csv": ("fer2013", write_table_and_votes),
    "icml_face_data.csv": ("fer2013", lambda root: layouts.write_icml(root, ROWS)),
    "train and test": ("fer2013", lambda root: layouts.write_fer2013_folders(root, ROWS)),
    "ferg": ("ferg", layouts.write_ferg),
    "ferg without top": ("ferg", partial(layouts.write_ferg, top="")),
    "jaffe": ("jaffe", write_some_jaffe),
    "jaffedbase": ("jaffe", partial(write_some_jaffe, top="jaffedbase")),
    "jaffe without top": ("jaffe", partial(write_some_jaffe, top="")),
    "ckplus": ("ckplus", layouts.write_ckplus),
    "ckplus with top": ("ckplus", partial(layouts.write_ckplus, top="CK+")),
    "landmarks": ("ckplus", partial(layouts.write_ckplus, landmarks=True)),
    "ck48": ("ck48", layouts.write_ck48),
    "ck48 without top": ("ck48", partial(layouts.write_ck48, top="")),
}
FIRST = {name: layout for layout, (name, _) in reversed(LAYOUTS.items())}
IMAGE_FOLDERS = ["train and test", "ferg", "jaffe", "ckplus", "ck48"]
every_image_folder = pytest.mark.parametrize("layout", IMAGE_FOLDERS)


def write(layout, root):
    """Write a layout; return its dataset and the dataset's folder."""
    name, writer = LAYOUTS[layout]
    return name, writer(root)


def same(one, other, columns=("images", "labels", "subjects", "groups", "usage", "paths")):
    pairs = ((getattr(one, column), getattr(other, column)) for column in columns)
    return all((a is None and b is None) or (a == b).all() for a, b in pairs)


# What all promise


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_rows_and_is_read_once(layout, tmp_path, monkeypatch):
    name, folder = write(layout, tmp_path / "one")
    data = load(name, tmp_path / "one")
    write(FIRST[name], tmp_path / "other")
    other = load(name, tmp_path / "other")
    assert same(data, other, ("images", "labels", "subjects", "groups", "usage"))
    assert other.checksum == data.checksum == datasets.content_checksum(data.images, data.labels)
    assert (data.name, data.title) == (name, datasets.title(name))
    assert len(set(data.paths)) == len(data)
    for image, path in zip(data.images, data.paths, strict=True):
        if name != "fer2013":
            assert (image[..., 0] == image[0, 0, 0]).all()
        if name not in ("fer2013", "ferg"):
            assert image[0, 0, 0] == expected_grey(folder / path)
    for module, reader in ((folders, "read_image"), (fer2013, "_read_table")):
        monkeypatch.setattr(module, reader, None)
    again = load(name, tmp_path / "one")
    assert same(data, again)
    assert (again.source, again.skipped, again.checksum) == (data.source, data.skipped, data.checksum)
    (tmp_path / "one").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert same(data, load(name, "moved/.cache/.."))
    assert len(list((tmp_path / "moved" / ".cache").iterdir())) == 1


CK = "cohn-kanade-images/S010"


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("fer2013", 2, (1, None, None, "fer2013.csv:4")),
        ("ferg", 7, (3, "aia", None, "FERG_DB_256/aia/aia_joy/aia_joy_10.png")),
        ("jaffe", 2, (0, "KA", None, "jaffe/KA.AN3.17.tiff")),
        ("ckplus", 6, (0, "S010", "S010_004", f"{CK}/004/S010_004_00000003.png")),
        ("ck48", 3, (1, "S005", "S005_001", "CK+48/disgust/S005_001_00000009.png")),
    ],
)
def test_names_give_label_subject_and_sequence_in_natural_order(name, row, expected, tmp_path):
    write(FIRST[name], tmp_path)
    data = load(name, tmp_path)
    columns = (data.labels, data.subjects, data.groups, data.paths)
    assert tuple(column if column is None else column[row] for column in columns) == expected


def test_pixels_are_those_of_the_files(tmp_path):
    write("fer2013.csv", tmp_path)
    data = load("fer2013", tmp_path)
    assert data.images.reshape(len(ROWS), -1).tolist() == [[int(p) for p in row[1].split()] for row in ROWS]
    assert data.usage.tolist() == [usage for *_, usage in ROWS]
    assert "md5" in data.source
    assert "official" not in data.source
    write("ferg", tmp_path)
    colours = load("ferg", tmp_path, size=20)
    for row in (28, 29):  # RGBA and RGB
        value = layouts.value_of(Path(colours.paths[row]).name)
        assert colours.images[row, 7, 7].tolist() == [value, 255 - value, value // 2]


@pytest.mark.parametrize("name", FIRST)
def test_absent_folder_says_what_where_and_how(name, tmp_path):
    (tmp_path / name).mkdir()  # an empty folder, or a file, is no dataset either
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("")
    for root in (tmp_path, tmp_path / "none", tmp_path / "other"):
        with pytest.raises(DatasetNotFoundError) as error:
            load(name, root)
        about = datasets.about(name)
        for part in (str(root / name), about.title, about.source, about.terms, "data add", *about.layout):
            assert part in str(error.value)


@every_image_folder
def test_hidden_files_are_silent_stray_files_counted_and_changes_noticed(layout, tmp_path):
    name, folder = write(layout, tmp_path)
    first = load(name, tmp_path)
    path = folder / first.paths[3]
    (path.parent / "__MACOSX").mkdir()
    hidden = (".DS_Store", f"._{path.name}")
    strays = [os.fsdecode(b"caf\xe9.txt"), "notes.txt", "Thumbs.db", *(f"x{n}" for n in range(4))]
    for other in (*hidden, *strays):
        (path.parent / other).write_text("stray")
    data = load(name, tmp_path)
    assert data.checksum == first.checksum
    count = len(strays) + (name == "jaffe")  # which has a README
    assert f"files that are no images of {data.title}: {count} (" in data.skipped[-1]
    assert "Thumbs.db, caf\N{REPLACEMENT CHARACTER}.txt, notes.txt" in data.skipped[-1]
    with Image.open(path) as image:
        Image.new("L", image.size, 255 - int(expected_grey(path))).save(path)
    os.utime(path, (2e9, 2e9))
    second = load(name, tmp_path)
    assert np.flatnonzero((second.images != first.images).any(axis=(1, 2, 3))).tolist() == [3]
    if name not in ("ckplus", "ck48"):  # these want all frames of a sequence
        path.unlink()
        assert load(name, tmp_path).paths.tolist() == np.delete(first.paths, 3).tolist()


@every_image_folder
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, before it gives up
def test_what_is_no_image_is_named_and_nothing_is_kept(layout, tmp_path):
    name, folder = write(layout, tmp_path)
    good = load(name, tmp_path)
    broken = folder / good.paths[len(good) // 2]
    content = broken.read_bytes()
    broken.write_bytes(content[:45])
    for _ in range(2):
        with pytest.raises(DatasetError, match="not a readable image") as error:
            load(name, tmp_path)
        assert str(broken) in str(error.value)
    assert len(list((tmp_path / ".cache").iterdir())) == 1  # the entry of the good files
    broken.write_bytes(content)
    assert same(load(name, tmp_path), good)
    broken.with_name("link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DatasetError, match=r"link\.png is no file"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", ["ferg", "jaffe", "ckplus", "ck48"])
def test_size_is_obeyed_checked_and_kept_apart(name, tmp_path):
    write(name, tmp_path)
    assert [load(name, tmp_path, size=size).images.shape[1] for size in (16, 31, 16)] == [16, 31, 16]
    for size in (15, 513, 48.0, True):
        with pytest.raises(ValueError, match="16 to 512"):
            load(name, tmp_path, size=size)


# Faults of copies: layout, what is done to which file or folder, what the message says


def lines(change):
    """Return what changes the lines of a text file."""
    return lambda path: path.write_text("\n".join(change(path.read_text().splitlines())))


def field(number, value):
    """Return what changes a field of line 3 of a table."""

    def change(rows):
        fields = rows[2].split(",")
        fields[number] = value
        return [*rows[:2], ",".join(fields), *rows[3:]]

    return lines(change)


def content(data):
    return lambda path: path.write_bytes(data)


def move(target):
    """Return what moves a file or folder; ``target`` is relative to where it lies."""

    def moved(path):
        new = path.parent / target
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)

    return moved


def picture(path):
    layouts.write_image(path, (48, 48))


new, gone = Path.mkdir, Path.unlink
TABLE, VOTED, HAPPY = "fer2013.csv", fer2013.VOTES_FILE, "train/happy"
LABEL = "Emotion/S010/004/S010_004_00000005_emotion.txt"
MARKS = "Landmarks/S010/004/S010_004_00000004_landmarks.txt"
FAULTS = {
    "fer2013.csv": [
        (TABLE, lines(lambda rows: [*rows[:-1], rows[-1][:500]]), r"csv, line 43: 2 fields instead of 3"),
        (TABLE, field(0, "7"), "csv, line 3: the label is '7'"),
        (TABLE, field(1, "1 " * 2303), "line 3: 2303 pixels instead of 2304"),
        (TABLE, field(1, "256 " * 2304), r"outside 0\.\.255"),
        (TABLE, field(1, "1.5 " * 2304), "not a whole number"),
        (TABLE, field(2, "Testing"), "Usage is 'Testing'.*copy or download it again"),
        (TABLE, lines(lambda rows: rows[:1]), "holds no rows"),
        (TABLE, content(b""), "line 1: no column emotion, pixels, Usage.*use fer2013"),
        (TABLE, content(b"emotion,pixels,Usage\n\xff"), "not a readable CSV file"),
        (VOTED, lines(lambda rows: rows[:-1]), "41 rows for 42 images.*FERPlus"),
        (VOTED, field(0, "PublicTest"), "csv, line 3: Usage is 'PublicTest', in FER2013 'Training'"),
        (VOTED, field(11, "11"), "line 3: votes are whole numbers"),
    ],
    "train and test": [
        (f"{HAPPY}/PrivateTest_9.png", picture, "_9.png: images in train/ are called Training_<n>.png"),
        (f"{HAPPY}/Training_77.png", layouts.write_image, "77.png has 20 x 20 pixels instead of 48 x 48"),
        ("train/d\u0130sgust", new, r"sgust: .* an emotion \(Angry, "),  # only in Turkish an i
        ("train", move("gone"), "was not found"),
    ],
    "ferg": [
        ("FERG_DB_256/aia/bonnie_joy", new, r"bonnie_joy: .* an emotion of its character \(anger"),
        ("FERG_DB_256/aia/aia_joy/more", new, "aia_joy/more: a folder among the files"),
        ("FERG_DB_256/ray/ray_fear/ray_anger_9.png", picture, "ray_anger_9.png: .* contradicts the folder"),
    ],
    "jaffe": [("jaffe/YM.HA2.1.tiff", picture, r"YM\.HA2\.1\.tiff has the serial number of KA\.AN1\.1\.t")],
    "ck48": [("CK+48/happy/S010_004_00000012.png", picture, "12.png: .* sequence S010_004 lie in anger/")],
    "ckplus": [
        (f"{CK}/1", new, "S010/1: .* not that of a sequence"),
        ("Emotion", move("Emotions"), "does not hold the folder Emotion/ beside cohn-kanade-images/"),
        (f"{CK}/004/S010_004_00000005.png", gone, "its frame S010_004_00000005.png is not in"),
        (f"{CK}/004", move("../../moved"), "05_emotion.txt: its sequence S010_004 is not in"),
        (LABEL, move("../002/S010_002_00000004_emotion.txt"), "05_emotion.txt: a second .*_002_00000004"),
        (LABEL, content(b"nan"), "05_emotion.txt, line 1: .* one whole number from 1 to 7"),
        (LABEL, content(b"3.5"), "one whole number from 1 to 7"),
        (LABEL, content(b"\xff\xfe3"), "one whole number from 1 to 7"),
    ],
    "landmarks": [
        (MARKS, gone, "04_landmarks.txt cannot be read"),
        (MARKS, lines(lambda rows: rows[:67]), "67 lines instead of 68"),
        (MARKS, content(b"1 2\n" * 67 + b"nan 2\n"), "far outside"),
        (MARKS, content(b"1 2\n" * 68), "all in one point"),
    ],
}


@pytest.mark.parametrize(
    ("layout", "path", "damage", "message"),
    [(layout, *row) for layout, rows in FAULTS.items() for row in rows],
)
def test_faults_are_named_and_nothing_is_kept(layout, path, damage, message, tmp_path):
    name, folder = write(layout, tmp_path)
    damage(folder / path)
    for _ in range(2):
        with pytest.raises((DatasetError, DatasetNotFoundError), match=message) as error:
            load(name, tmp_path)
        assert str(folder) in str(error.value)
    assert not list((tmp_path / ".cache").iterdir() if (tmp_path / ".cache").exists() else [])
    if layout == "landmarks":
        assert len(load(name, tmp_path, crop="centre")) == 12


# Official numbers


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """JAFFE, CK+48, and CK+ with four frames a sequence, with the numbers of the releases."""
    root = tmp_path_factory.mktemp("whole")
    layouts.write_jaffe(root)
    layouts.write_ck48(root, layouts.ck48_sequences())
    layouts.write_ckplus(root, layouts.ckplus_sequences(), frames=4)
    return root


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("jaffe", {}, [30, 29, 32, 31, 31, 30, 30]),
        ("ck48", {}, [135, 177, 75, 207, 84, 249, 0]),
        ("ck48", {"contempt": True}, [135, 177, 75, 207, 84, 249, 0, 54]),
        ("ckplus", {}, [135, 177, 75, 207, 84, 249, 0]),
        ("ckplus", {"contempt": True, "neutral": True}, [135, 177, 75, 207, 84, 249, 327, 54]),
    ],
)
def test_official_numbers_pass(name, options, counts, whole):
    data = load(name, whole, verify=True, size=16, **options)
    assert data.counts().tolist() == counts
    if not options:
        assert len(data) == datasets.about(name).images
    left_out = "contempt" not in options and name != "jaffe"
    assert any("contempt=True reads them" in sentence for sentence in data.skipped) == left_out


@pytest.mark.parametrize(
    ("name", "found", "target", "message"),
    [
        ("jaffe", "jaffe/KA.HA1.*", "KL.HA9.999.tiff", "22 images of KA .* 23, 23 images of KL .* 22"),
        ("jaffe", "jaffe/KA.HA1.*", "../gone", "212 images instead of 213, 30 images of Happy instead of 31"),
        ("ck48", "CK+48/sadness/*", "../anger/S010_001_00000012.png", "136 .*Angry .* 135, 83 .*Sad .* 84"),
        ("ck48", "CK+48/fear/*", "S777_001_00000012.png", "2 frames of S.* of 3, 1 frames of S777_001 "),
        ("ckplus", "Emotion/S010/001/*", "../../../gone", "924 images .* 132 images of Angry instead of 135"),
        ("ckplus", "cohn-kanade-images/S130", "../gone", "591 sequences .* 593, 122 subjects instead of 123"),
    ],
)
def test_other_numbers_are_named(name, found, target, message, whole):
    path = sorted((whole / name).glob(found))[-1]
    new = path.parent / target
    path.rename(new)
    try:
        with pytest.raises(DatasetError, match=message):
            load(name, whole, verify=True, size=16)
    finally:
        new.rename(path)


@pytest.mark.parametrize("layout", ["fer2013.csv", "train and test", "ferg"])
def test_counts_are_checked_by_part_and_tables_by_their_content(layout, tmp_path, monkeypatch):
    name, _ = write(layout, tmp_path)
    data = load(name, tmp_path)
    with pytest.raises(DatasetError, match=r" 2 images of Angry in (Training instead of 3995|aia .* 1644)"):
        load(name, tmp_path, verify=True)
    module, parts = (ferg, ferg.CHARACTERS) if name == "ferg" else (fer2013, fer2013.USAGES)
    counts = dict.fromkeys(parts, dict.fromkeys(EMOTIONS, 2))
    monkeypatch.setattr(module, "ABOUT", replace(module.ABOUT, counts=counts))
    if layout == "fer2013.csv":
        with pytest.raises(DatasetError, match="pixels or labels are not the official ones"):
            load(name, tmp_path, verify=True)
        monkeypatch.setattr(fer2013, "OFFICIAL_CONTENT", data.checksum)
    assert same(load(name, tmp_path, verify=True), data)


def test_official_totals():
    totals = {name: datasets.about(name).images for name in datasets.DATASETS if name != "faces"}
    assert totals == {"fer2013": 35887, "ferg": 55767, "jaffe": 213, "ckplus": 927, "ck48": 927}
    by_emotion = [sum(counts[emotion] for counts in ferg.ABOUT.counts.values()) for emotion in EMOTIONS]
    assert by_emotion == [9169, 8571, 7419, 7330, 7627, 8712, 6939]


# JAFFE and FER+


def test_jaffe_passes_over_what_has_no_official_name(tmp_path):
    folder = layouts.write_jaffe(tmp_path, ["KA.AN1.39.tiff", "KA.FE4.9.tif"])
    for stray in ("KA.XX1.300.tiff", "KA.AN11.300.tiff", "KA.AN1.300.png", "ka.AN1.300.tiff"):
        layouts.write_image(folder / "jaffe" / stray)
    data = load("jaffe", tmp_path)
    assert data.paths.tolist() == ["jaffe/KA.AN1.39.tiff", "jaffe/KA.FE4.9.tif"]
    assert data.skipped[0].startswith("files that are no images of JAFFE: 5 (")  # and the README


@pytest.mark.parametrize("folder", ["fer2013", "ferplus"])
def test_votes_come_with_the_images_whatever_the_line_ends(tmp_path, folder):
    table = write_fer2013(tmp_path, ROWS)
    plain = load("fer2013", tmp_path)
    assert "votes" not in plain.extras
    write_votes(tmp_path, folder)
    for path in (table, tmp_path / folder / fer2013.VOTES_FILE):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    for _ in range(2):  # read, then from the cache
        data = load("fer2013", tmp_path)
        assert data.checksum == plain.checksum
        assert data.extras["votes"].tolist() == VOTES.tolist()
    assert data.subset(np.array([7])).extras["votes"].tolist() == [VOTES[7].tolist()]


def test_plurality_of_votes():
    votes = np.zeros((5, 10), dtype=np.uint8)
    votes[[0, 1, 2, 3], [1, 7, 8, 9]] = 6  # happiness, contempt, unknown, no face
    votes[4, [0, 3]] = 5  # two lead together
    assert fer2013.plurality(votes).tolist() == [Emotion.HAPPY, Emotion.CONTEMPT, -1, -1, -1]


# The cache


def test_large_sets_are_read_only_maps_of_the_same_pixels(tmp_path, monkeypatch):
    write("ferg", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_IN_MEMORY", 0)
        large = load("ferg", tmp_path)
    assert isinstance(large.images, np.memmap)
    assert not large.images.flags.writeable
    small = load("ferg", tmp_path)
    assert not isinstance(small.images, np.memmap)
    assert same(large, small)


@pytest.mark.filterwarnings("error")
def test_another_process_may_have_been_faster(tmp_path, monkeypatch):
    def late(path, target):
        shutil.copytree(path, target)
        os.rename(path, target)

    write("jaffe", tmp_path)
    monkeypatch.setattr(Path, "rename", late)
    assert same(load("jaffe", tmp_path), load("jaffe", tmp_path))
    assert len(list((tmp_path / ".cache").iterdir())) == 1


@pytest.mark.parametrize("what", ["mkdir", "savez", "rename", "posix_fallocate"])
def test_without_room_for_a_cache_there_is_a_warning_and_the_dataset(tmp_path, monkeypatch, what):
    """The disk is full below the data folder, and has room elsewhere."""
    write("jaffe", tmp_path)
    expected = load("jaffe", tmp_path)
    shutil.rmtree(tmp_path / ".cache")
    owner = {"savez": np, "posix_fallocate": os}.get(what, Path)
    real, calls = getattr(owner, what), []

    def full(*given, **named):
        calls.append(given)
        if len(calls) == 1:
            raise OSError("No space left on device")
        return real(*given, **named)

    monkeypatch.setattr(owner, what, full)
    with pytest.warns(UserWarning, match="could not be written.*No space left"):
        assert same(load("jaffe", tmp_path), expected)
    assert not list(tmp_path.glob(".cache/*"))


# What they return, and where they look


def test_face_dataset_checks_its_own_columns():
    toy = brightness_faces(14)
    with pytest.raises(DatasetError, match="13 labels for 14 images"):
        FaceDataset("x", "X", toy.images, toy.labels[:13], "")
    with pytest.raises(DatasetError, match=r"labels outside 0..7: \[9\]"):
        FaceDataset("x", "X", toy.images, np.where(toy.labels == 6, 9, toy.labels), "")
    with pytest.raises(DatasetError, match="uint8"):
        FaceDataset("x", "X", toy.images.astype(float), toy.labels, "")


def test_subset_keeps_rows_together():
    toy = brightness_faces(70)
    part = toy.subset(np.array([3, 60, 9]))
    assert part.labels.tolist() == [3, 4, 2]
    assert part.subjects.tolist() == toy.subjects[[3, 60, 9]].tolist()
    assert (part.images[1] == toy.images[60]).all()
    assert toy.subset(toy.labels == 2).counts().tolist() == [0, 0, 10, 0, 0, 0, 0]


def test_names_and_the_data_folder(monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="choose one of ck48, ckplus, faces, fer2013, ferg, jaffe"):
        datasets.load("fer2031")
    with pytest.raises(UnknownNameError, match="nothing to get"):
        datasets.about("faces")
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path))
    assert datasets.data_root() == tmp_path
    with pytest.raises(DatasetNotFoundError, match=str(tmp_path / "fer2013")):
        datasets.load("fer2013")
    monkeypatch.delenv("FERCORE_DATA")
    assert datasets.data_root().name == "data"
    assert len(datasets.load("faces", characters=1, variants=1, progress=False)) == 7
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="pip install"):
        datasets.load("faces")


@pytest.mark.real_data
def test_real_fer2013(real_fer2013):
    data = real_fer2013
    assert data.source.endswith("(the official file)")
    assert data.counts().tolist() == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    parts = splits.split(data)
    assert parts.protocol == "official"
    assert [len(part) for part in parts.sides] == [28709, 3589, 3589]
    assert splits.duplicates(data, parts).sum() == 288  # counted independently on the official file
    assert [len(part) for part in splits.split(data, "official-dedup").sides] == [28709, 3283, 3301]
