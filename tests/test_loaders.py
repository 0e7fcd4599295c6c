"""FERG-DB, JAFFE, CK+ and CK+48 in their official layouts, with the faults that copies have."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import expected_grey, images_of, load
from PIL import Image

from fercore import datasets
from fercore.datasets import cache, ferg, folders
from fercore.emotions import EMOTIONS, Emotion
from fercore.errors import DatasetError, DatasetNotFoundError

WRITERS = {
    "ferg": layouts.write_ferg,
    "jaffe": lambda root: layouts.write_jaffe(root, layouts.jaffe_names()[:30]),
    "ckplus": layouts.write_ckplus,
    "ck48": layouts.write_ck48,
}
every_dataset = pytest.mark.parametrize("name", WRITERS)


# What all four promise.


@every_dataset
def test_rows_belong_together_and_order_is_natural(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    data = load(name, tmp_path)
    assert data.name == name
    assert data.images.shape[1:3] == (48, 48)
    for image, path in zip(data.images, data.paths, strict=True):
        assert (image[..., 0] == image[0, 0, 0]).all()
        if image.shape[-1] == 1:
            assert image[0, 0, 0] == expected_grey(folder / path)
    assert len(set(data.paths)) == len(data)
    assert data.checksum == datasets.content_checksum(data.images, data.labels)
    assert data.source


@every_dataset
def test_the_top_folder_may_be_missing(name, tmp_path):
    one = load(name, WRITERS[name](tmp_path / "a").parent)
    for top in {"ferg": [""], "jaffe": ["", "jaffedbase"], "ckplus": ["CK+"], "ck48": [""]}[name]:
        root = tmp_path / (top or "direct")
        few = {"names": layouts.jaffe_names()[:30]} if name == "jaffe" else {}
        getattr(layouts, f"write_{name}")(root, top=top, **few)
        other = load(name, root)
        assert other.checksum == one.checksum
        assert (other.subjects == one.subjects).all()
        assert (root / name / other.paths[0]).is_file()


@every_dataset
def test_absent_folder_says_what_where_and_how(name, tmp_path):
    (tmp_path / name).mkdir()  # an empty folder, or a file, is no dataset either
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("")
    for root in (tmp_path, tmp_path / "none", tmp_path / "other"):
        with pytest.raises(DatasetNotFoundError) as error:
            load(name, root)
        message, about = str(error.value), datasets.about(name)
        assert str(root / name) in message
        for part in (about.title, about.source, about.terms, "data add", *about.layout):
            assert part in message


@every_dataset
def test_hidden_files_are_silent_and_stray_files_counted(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    clean = load(name, tmp_path)
    place = images_of(folder)[0].parent
    before = [sentence for sentence in clean.skipped if "README" not in sentence]
    for hidden in (".DS_Store", f"._{images_of(folder)[0].name}"):
        (place / hidden).write_bytes(b"\0")
    (place / "__MACOSX").mkdir()
    for stray in ("notes.txt", "Thumbs.db", *(f"x{number}" for number in range(5))):
        (place / stray).write_text("stray")
    data = load(name, tmp_path)
    assert data.checksum == clean.checksum
    (sentence,) = set(data.skipped) - set(before)
    names = ["Thumbs.db", "notes.txt", "x0", "x1", "x2", "x3", "x4"]
    if name == "jaffe":
        names.insert(0, "README")
    named = f"{', '.join(names[:5])} and {len(names) - 5} more"
    assert sentence == f"{len(names)} files that are no images of {data.title}: {named}"


@every_dataset
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, before it gives up
def test_corrupt_image_in_the_middle_is_named_and_nothing_is_kept(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    good = load(name, tmp_path)
    broken = folder / good.paths[len(good) // 2]
    content = broken.read_bytes()
    broken.write_bytes(content[:45])
    for _ in range(2):
        with pytest.raises(DatasetError, match="not a readable image") as error:
            load(name, tmp_path)
        assert str(broken) in str(error.value)
    broken.write_bytes(content)
    assert load(name, tmp_path).checksum == good.checksum


@every_dataset
def test_link_to_nothing_is_named(name, tmp_path):
    link = images_of(WRITERS[name](tmp_path))[0].with_name("link.png")
    link.symlink_to(tmp_path / "gone.png")
    with pytest.raises(DatasetError, match=r"link\.png is no file"):
        load(name, tmp_path)


@every_dataset
def test_second_load_reads_no_image(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path)
    first = load(name, tmp_path)
    monkeypatch.setattr(folders, "read_image", None)
    second = load(name, tmp_path)
    assert (second.images == first.images).all()
    assert second.checksum == first.checksum
    for column in ("labels", "subjects", "groups", "paths"):
        one, other = getattr(first, column), getattr(second, column)
        assert (one is None and other is None) or (one == other).all()
    assert (second.source, second.skipped) == (first.source, first.skipped)


@every_dataset
def test_changed_added_and_removed_files_make_the_cache_void(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    first = load(name, tmp_path)
    path = folder / first.paths[3]
    with Image.open(path) as image:
        Image.new("L", image.size, 255 - int(expected_grey(path))).save(path)
    os.utime(path, (2e9, 2e9))
    second = load(name, tmp_path)
    assert np.flatnonzero((second.images != first.images).any(axis=(1, 2, 3))).tolist() == [3]
    (path.parent / "added.txt").write_text("")
    assert load(name, tmp_path).skipped != second.skipped
    (path.parent / "added.txt").unlink()
    if name in ("ferg", "jaffe"):  # the others want all frames of a sequence
        path.unlink()
        assert load(name, tmp_path).paths.tolist() == np.delete(first.paths, 3).tolist()


@every_dataset
def test_size_is_obeyed_checked_and_kept_apart(name, tmp_path):
    WRITERS[name](tmp_path)
    assert [load(name, tmp_path, size=size).images.shape[1] for size in (16, 31, 16)] == [16, 31, 16]
    for size in (15, 513, 48.0, True):
        with pytest.raises(ValueError, match="16 to 512"):
            load(name, tmp_path, size=size)


def test_large_sets_are_read_only_maps_of_the_same_pixels(tmp_path, monkeypatch):
    layouts.write_ferg(tmp_path)
    small = load("ferg", tmp_path)
    monkeypatch.setattr(cache, "_IN_MEMORY", 0)
    large = load("ferg", tmp_path)
    assert isinstance(large.images, np.memmap)
    assert not large.images.flags.writeable
    assert not isinstance(small.images, np.memmap)
    assert (large.images == small.images).all()


@every_dataset
def test_file_names_that_are_no_text_are_passed_over(name, tmp_path):
    place = images_of(WRITERS[name](tmp_path))[0].parent
    (place / os.fsdecode(b"caf\xe9.txt")).write_text("")
    data = load(name, tmp_path)
    assert "caf\N{REPLACEMENT CHARACTER}.txt" in data.skipped[-1]


# FERG-DB.


def test_ferg_is_in_colour_with_characters_as_subjects(tmp_path):
    layouts.write_ferg(tmp_path, per=3)
    data = load("ferg", tmp_path, size=20)
    assert data.images.shape == (6 * 7 * 3, 20, 20, 3)
    assert data.counts().tolist() == [18] * 7
    assert data.subjects[::21].tolist() == list(ferg.CHARACTERS)
    assert data.groups is None
    assert data.labels[:21:3].tolist() == [
        0,
        1,
        2,
        3,
        6,
        4,
        5,
    ]  # folders by name: joy is 3, neutral 6, sadness 4
    stem = "FERG_DB_256/bonnie/bonnie_joy/bonnie_joy"
    assert data.paths[30:33].tolist() == [f"{stem}_9.png", f"{stem}_10.png", f"{stem}_11.png"]
    for row in (30, 31):  # RGBA and RGB
        value = layouts.value_of(Path(data.paths[row]).name)
        assert data.images[row, 7, 7].tolist() == [value, 255 - value, value // 2]


def test_ferg_counts_are_checked_by_character(tmp_path, monkeypatch):
    counts = {name: dict.fromkeys(ferg.EMOTIONS.values(), 2) for name in ferg.CHARACTERS}
    monkeypatch.setattr(ferg, "ABOUT", replace(ferg.ABOUT, counts=counts))
    folder = layouts.write_ferg(tmp_path)
    assert len(load("ferg", tmp_path, verify=True)) == 84
    (folder / ferg.TOP / "ray" / "ray_sadness" / "ray_sadness_9.png").unlink()
    with pytest.raises(DatasetError, match=r"ray has 13 images instead of 14 \(Sad 1 instead of 2\)"):
        load("ferg", tmp_path, verify=True)
    assert len(load("ferg", tmp_path)) == 83


def test_ferg_official_counts():
    totals = {name: sum(counts.values()) for name, counts in ferg.ABOUT.counts.items()}
    assert totals == {
        "aia": 10003,
        "bonnie": 11271,
        "jules": 10755,
        "malcolm": 7579,
        "mery": 7558,
        "ray": 8601,
    }
    by_emotion = [sum(counts[emotion] for counts in ferg.ABOUT.counts.values()) for emotion in EMOTIONS]
    assert by_emotion == [9169, 8571, 7419, 7330, 7627, 8712, 6939]
    assert ferg.ABOUT.images == 55767


def test_ferg_image_in_the_wrong_folder(tmp_path):
    place = layouts.write_ferg(tmp_path) / ferg.TOP / "mery" / "mery_fear"
    for wrong in ("mery_anger_9.png", "ray_fear_9.png"):
        layouts.write_image(place / wrong)
        with pytest.raises(DatasetError, match="contradicts the folder mery_fear/") as error:
            load("ferg", tmp_path)
        assert str(place / wrong) in str(error.value)
        (place / wrong).unlink()


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("ferg", "FERG_DB_256/otto", "no character of FERG-DB; expected aia, bonnie"),
        ("ferg", "FERG_DB_256/aia/aia_contempt", "no emotion of aia; expected aia_anger"),
        ("ferg", "FERG_DB_256/aia/bonnie_joy", "no emotion of aia"),
        ("ferg", "FERG_DB_256/aia/joy", "no emotion of aia"),
        ("ferg", "FERG_DB_256/aia/aia_joy/more", "a folder among the images"),
        ("ck48", "CK+48/neutral", "no emotion of CK.48; expected anger, contempt"),
        ("ck48", "CK+48/anger/more", "a folder among the images"),
        ("ckplus", "cohn-kanade-images/s005", "not that of a subject"),
        ("ckplus", "cohn-kanade-images/S005/1", "not that of a sequence"),
        ("ckplus", "cohn-kanade-images/S005/001/more", "a folder inside a sequence"),
        ("ckplus", "Emotion/happy", "not that of a subject"),
    ],
)
def test_unknown_folder_is_named(name, folder, message, tmp_path):
    wrong = WRITERS[name](tmp_path) / folder
    wrong.mkdir()
    with pytest.raises(DatasetError, match=message) as error:
        load(name, tmp_path)
    assert str(wrong) in str(error.value)


# JAFFE.


def test_jaffe_official_numbers_pass_the_check(tmp_path):
    layouts.write_jaffe(tmp_path)
    data = load("jaffe", tmp_path, verify=True)
    assert data.images.shape == (213, 48, 48, 1)
    assert data.counts().tolist() == [30, 29, 32, 31, 31, 30, 30]
    assert np.unique(data.subjects, return_counts=True)[1].tolist() == [
        23,
        22,
        22,
        20,
        21,
        21,
        20,
        21,
        21,
        22,
    ]
    assert data.groups is None
    assert data.skipped == ("1 file that is no image of JAFFE: README",)


def test_jaffe_names_give_subject_and_emotion(tmp_path):
    names = ["YM.SU3.60.tiff", "KM.SA5.13.tiff", "KA.FE4.48.tiff", "KA.FE4.9.tif", "KM.DI3.22.tiff"]
    layouts.write_jaffe(tmp_path, names)
    data = load("jaffe", tmp_path)
    assert data.paths.tolist() == [f"jaffe/{names[index]}" for index in (3, 2, 4, 1, 0)]
    assert data.labels.tolist() == [
        Emotion.FEAR,
        Emotion.FEAR,
        Emotion.DISGUST,
        Emotion.SAD,
        Emotion.SURPRISE,
    ]
    assert data.subjects.tolist() == ["KA", "KA", "KM", "KM", "YM"]


@pytest.mark.parametrize(
    "stray", ["KA.XX1.300.tiff", "KA.AN11.300.tiff", "KA.AN1.300.png", "ka.AN1.300.tiff", "sub"]
)
def test_jaffe_passes_over_what_has_no_official_name(stray, tmp_path):
    folder = layouts.write_jaffe(tmp_path, ["KA.AN1.39.tiff"]) / "jaffe"
    (folder / stray).mkdir() if stray == "sub" else layouts.write_image(folder / stray)
    data = load("jaffe", tmp_path)
    assert len(data) == 1
    assert stray in data.skipped[0]


def test_jaffe_serial_numbers_are_unique(tmp_path):
    layouts.write_jaffe(tmp_path, ["KA.AN1.39.tiff", "KR.HA1.7.tiff", "KR.HA2.39.tiff"])
    with pytest.raises(DatasetError, match=r"KR\.HA2\.39\.tiff has the serial number of KA\.AN1\.39\.tiff"):
        load("jaffe", tmp_path)


def test_jaffe_check_names_emotion_and_subject(tmp_path):
    folder = layouts.write_jaffe(tmp_path) / "jaffe"
    first = next(folder.glob("KA.HA1.*"))
    moved = first.rename(first.with_name(first.name.replace("KA", "KL").replace("HA1", "HA9")))
    with pytest.raises(DatasetError, match="22 images of KA instead of 23, 23 images of KL instead of 22"):
        load("jaffe", tmp_path, verify=True)
    moved.unlink()
    with pytest.raises(DatasetError, match=r"212 images instead of 213 \(Happy 30 instead of 31\)"):
        load("jaffe", tmp_path, verify=True)
    assert len(load("jaffe", tmp_path)) == 212


# CK+48.


def test_ck48_official_numbers_pass_the_check(tmp_path):
    folder = layouts.write_ck48(tmp_path, layouts.ck48_sequences())
    data = load("ck48", tmp_path, verify=True)
    assert data.counts().tolist() == [135, 177, 75, 207, 84, 249, 0]
    assert data.skipped == ("images of contempt: 54 (contempt=True reads them)",)
    more = load("ck48", tmp_path, verify=True, contempt=True)
    assert more.counts().tolist() == [135, 177, 75, 207, 84, 249, 0, 54]
    path = images_of(folder / "CK+48" / "sadness")[-1]
    one_more = path.rename(
        path.with_name("S010_001_00000012.png").parents[1] / "anger" / "S010_001_00000012.png"
    )
    with pytest.raises(DatasetError, match=r"\(Angry 136 instead of 135; Sad 83 instead of 84\)"):
        load("ck48", tmp_path, verify=True)
    one_more.rename(path.with_name("S777_001_00000012.png"))
    with pytest.raises(
        DatasetError, match=r"2 frames of S\d+_\d+ instead of 3, 1 frames of S777_001 instead of 3"
    ):
        load("ck48", tmp_path, verify=True)
    assert len(load("ck48", tmp_path)) == 927


def test_ck48_names_give_subject_and_sequence(tmp_path):
    layouts.write_ck48(tmp_path)
    data = load("ck48", tmp_path, contempt=True)
    assert data.groups[::3].tolist() == ["S010_004", "S138_001", "S005_001", "S010_002"]
    assert data.subjects[::3].tolist() == ["S010", "S138", "S005", "S010"]
    assert data.labels[::3].tolist() == [Emotion.ANGRY, Emotion.CONTEMPT, Emotion.DISGUST, Emotion.SURPRISE]
    assert data.paths[4] == "CK+48/contempt/S138_001_00000010.png"
    assert Emotion.CONTEMPT not in load("ck48", tmp_path).emotions


def test_ck48_sequence_has_one_emotion(tmp_path):
    folder = layouts.write_ck48(tmp_path) / "CK+48"
    wrong = layouts.write_image(folder / "surprise" / "S010_004_00000012.png", (48, 48))
    with pytest.raises(DatasetError, match="other frames of its sequence S010_004 lie in anger/") as error:
        load("ck48", tmp_path)
    assert str(wrong) in str(error.value)


# Anything at all.

NAMES = """
FERG_DB_256 aia aia_joy aia_joy_9.png ray ray_fear_7.png jaffe KA.AN1.39.tiff KA.AN1.039.tif CK+48 anger fear
S010_004_00000009.png S010_004_00000010.png CK+ cohn-kanade-images Emotion Landmarks S005 001 S005_001_00000005.png
S005_001_00000003_emotion.txt S005_001_00000002_landmarks.txt .DS_Store __MACOSX
"""
some_bytes = st.binary(min_size=1, max_size=20)
parts = st.sampled_from(NAMES.split()) | some_bytes.map(
    lambda name: os.fsdecode(name.translate(None, b"/\0")) or "x"
)
contents = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([layouts.encoded(9, (20, 20), "RGB", "PNG"), layouts.encoded(9, (1, 90), "L", "TIFF")]),
    st.text("0123456789.e+-n \n", max_size=60).map(str.encode),
)
changes = st.lists(
    st.tuples(
        st.sampled_from(["write", "remove", "damage"]), st.lists(parts, min_size=1, max_size=4), contents
    ),
    max_size=4,
)


def change(folder, kind, names, content):
    """Make a change to a tree: a new file, one file less, or one with other content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = files[len(content) * 7919 % len(files)] if files else folder / "x"
    path = folder.joinpath(*names) if kind == "write" else chosen
    try:
        if kind == "remove":
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if kind == "write" else path.read_bytes()[:40] + content)
    except OSError:
        pass  # a file where a folder should be, "..", and so on


@every_dataset
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes, landmarks=st.booleans(), verify=st.sampled_from([False, False, False, True]))
def test_any_tree_loads_or_raises_the_documented_errors(name, changes, landmarks, verify, tmp_path):
    root = Path(tempfile.mkdtemp(dir=tmp_path))  # one for each example
    if name == "ckplus":
        layouts.write_ckplus(root, {"S005_001": 3, "S010_004": 1}, frames=3, landmarks=landmarks)
    elif name == "ferg":
        layouts.write_ferg(root, per=1, characters=["aia"])
    else:
        WRITERS[name](root)
    for kind, names, content in changes:
        change(root / name, kind, names, content)
    try:
        data = load(name, root, size=16, verify=verify)
    except (DatasetError, DatasetNotFoundError):
        return
    assert len(data) == len(data.paths) > 0
    assert all((root / name / path).is_file() for path in data.paths)
