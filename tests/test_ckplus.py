"""CK+ in its official layout: which frames are taken, how they are cut, and the faults that copies have."""

from __future__ import annotations

import os
from pathlib import Path

import layouts
import numpy as np
import pytest
from layouts import images_of, load
from PIL import Image

from fercore.datasets import ckplus
from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError


def test_ckplus_takes_the_last_three_frames_of_six_emotions(tmp_path):
    layouts.write_ckplus(tmp_path)
    data = load("ckplus", tmp_path)
    assert data.groups.tolist() == np.repeat(["S005_001", "S010_002", "S010_004", "S999_003"], 3).tolist()
    assert data.subjects.tolist() == np.repeat(["S005", "S010", "S010", "S999"], 3).tolist()
    assert data.labels[::3].tolist() == [Emotion.DISGUST, Emotion.SURPRISE, Emotion.ANGRY, Emotion.FEAR]
    place = "cohn-kanade-images/S010/002/S010_002_0000000"
    assert data.paths[3:6].tolist() == [f"{place}{number}.png" for number in (3, 4, 5)]
    assert data.skipped == (
        "sequences without an emotion file, as the release has them: 1",
        "sequences of contempt: 1 (contempt=True reads them)",
    )
    assert data.source == (
        "last 3 frames of 4 labelled sequences of cohn-kanade-images/, largest square in the middle"
    )


def test_ckplus_options_choose_the_images(tmp_path):
    layouts.write_ckplus(tmp_path)
    data = load("ckplus", tmp_path, contempt=True, neutral=True, frames=2)
    assert data.labels.tolist()[:6] == [Emotion.NEUTRAL, 1, 1, Emotion.NEUTRAL, 5, 5]
    assert data.labels.tolist()[9:12] == [Emotion.NEUTRAL, Emotion.CONTEMPT, Emotion.CONTEMPT]
    assert [path[-5] for path in data.paths[:3]] == ["1", "4", "5"]
    assert data.groups[9] == "S138_001"
    assert len(load("ckplus", tmp_path, contempt=True)) == 15  # kept apart in the cache
    assert len(load("ckplus", tmp_path, frames=1)) == 4
    for frames in (0, 1.0, True):
        with pytest.raises(ValueError, match="a whole number from 1"):
            load("ckplus", tmp_path, frames=frames)


def test_ckplus_frames_are_sorted_by_number(tmp_path):
    folder = layouts.write_ckplus(tmp_path, {"S005_001": 3}, frames=12) / "cohn-kanade-images/S005/001"
    for path in images_of(folder):
        path.rename(path.with_name(f"S005_001_{int(path.stem[-8:])}.png"))
    label = next((tmp_path / "ckplus/Emotion").rglob("*.txt"))
    label.rename(label.with_name("S005_001_12_emotion.txt"))
    assert [Path(path).name for path in load("ckplus", tmp_path, neutral=True).paths] == [
        f"S005_001_{number}.png" for number in (1, 10, 11, 12)
    ]


def write_ramp(path):
    """Overwrite a frame with an image of which every pixel differs from its neighbours."""
    pixels = np.arange(layouts.CK_HEIGHT * layouts.CK_WIDTH, dtype=np.uint8)
    image = Image.fromarray(pixels.reshape(layouts.CK_HEIGHT, layouts.CK_WIDTH))
    image.save(path)
    return image


def test_ckplus_crops_a_square_around_the_landmarks(tmp_path):
    folder = layouts.write_ckplus(tmp_path, {"S005_001": 3}, landmarks=True)
    frame = images_of(folder)[-1]
    image = write_ramp(frame)
    face = image.crop((8, 4, 21, 17)).resize(
        (16, 16), Image.Resampling.BICUBIC
    )  # 1.3 x 10 around (14.5, 10.5)
    middle = image.crop((3, 0, 24, 21)).resize((16, 16), Image.Resampling.BICUBIC)
    for crop, expected in [("auto", face), ("landmarks", face), ("centre", middle)]:
        data = load("ckplus", tmp_path, size=16, crop=crop)
        assert (data.images[-1, ..., 0] == np.asarray(expected)).all()
    assert data.source.endswith("largest square in the middle")
    moved = layouts.write_landmarks(
        folder / "Landmarks/S005/001" / f"{frame.stem}_landmarks.txt", (13.5, 9.5)
    )
    os.utime(moved, (2e9, 2e9))
    other = image.crop((7, 3, 20, 16)).resize((16, 16), Image.Resampling.BICUBIC)
    assert (load("ckplus", tmp_path, size=16).images[-1, ..., 0] == np.asarray(other)).all()


def test_ckplus_without_landmarks(tmp_path):
    folder = layouts.write_ckplus(tmp_path)
    image = write_ramp(folder / load("ckplus", tmp_path).paths[-1])
    middle = image.crop((3, 0, 24, 21)).resize((16, 16), Image.Resampling.BICUBIC)
    assert (load("ckplus", tmp_path, size=16).images[-1, ..., 0] == np.asarray(middle)).all()
    with pytest.raises(DatasetNotFoundError, match=r"Landmarks is not there.*crop='centre'"):
        load("ckplus", tmp_path, crop="landmarks")
    with pytest.raises(ValueError, match="choose one of auto, landmarks, centre"):
        load("ckplus", tmp_path, crop="center")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text(""), "0 lines instead of 68"),
        (
            lambda path: path.write_text("\n".join(path.read_text().splitlines()[:67])),
            "67 lines instead of 68",
        ),
        (lambda path: path.write_text("1 2 3\n" * 68), "of x and y"),
        (lambda path: path.write_text("1 2\n" * 67 + "1\n"), "no table of numbers"),
        (lambda path: path.write_text("1 x\n" * 68), "no table of numbers"),
        (lambda path: path.write_bytes(b"\xff" * 100), "no table of numbers"),
        (lambda path: path.write_text("1 2\n" * 67 + "nan 2\n"), "far outside"),
        (lambda path: path.write_text("1 2\n" * 67 + "1 1e30\n"), "far outside"),
        (lambda path: path.write_text("1 2\n" * 68), "the same point"),
    ],
)
def test_ckplus_damaged_landmarks_are_named(damage, message, tmp_path):
    folder = layouts.write_ckplus(tmp_path, landmarks=True) / "Landmarks" / "S010" / "004"
    damage(folder / "S010_004_00000002_landmarks.txt")  # not among the last three: never read
    load("ckplus", tmp_path)
    path = folder / "S010_004_00000004_landmarks.txt"
    damage(path)
    with pytest.raises(DatasetError, match=message) as error:
        load("ckplus", tmp_path)
    assert str(path) in str(error.value)
    assert len(load("ckplus", tmp_path, crop="centre")) == 12


LABEL = "Emotion/S010/004/S010_004_00000005_emotion.txt"


def rewrite(content):
    return lambda folder: (folder / LABEL).write_bytes(content)


def move(source, target):
    def damage(folder):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).rename(folder / target)

    return damage


@pytest.mark.parametrize(
    ("damage", "named", "message"),
    [
        *(
            (rewrite(content), LABEL, "line 1: an emotion file holds one whole number from 1 to 7")
            for content in (
                b"",
                b" \n",
                b"happy",
                b"nan",
                b"inf",
                b"0.0",
                b"8",
                b"-1",
                b"3.5",
                b"3 4",
                b"\xff\xfe3",
            )
        ),
        (
            move("cohn-kanade-images/S010/004/S010_004_00000005.png", "moved.png"),
            LABEL,
            "its frame S010_004_00000005.png is not in cohn-kanade-images/",
        ),
        (move("cohn-kanade-images/S010/004", "moved"), LABEL, "its sequence S010_004 is not in"),
        (
            move("cohn-kanade-images/S005", "moved"),
            "Emotion/S005/001/S005_001_",
            "its sequence S005_001 is not",
        ),
        (
            move(LABEL, "Emotion/S010/002/S010_004_00000005_emotion.txt"),
            "Emotion/S010/002/S010_004_",
            "contradicts",
        ),
        (
            move(LABEL, "Emotion/S010/002/S010_002_00000004_emotion.txt"),
            "Emotion/S010/002/S010_002_00000005_emotion.txt",
            "a second emotion file beside S010_002_00000004",
        ),
        (
            move(
                "cohn-kanade-images/S010/004/S010_004_00000001.png",
                "cohn-kanade-images/S010/002/S010_004_00000001.png",
            ),
            "cohn-kanade-images/S010/002/S010_004_00000001.png",
            "contradicts the folder of sequence S010_002",
        ),
    ],
)
def test_ckplus_faults_are_named(damage, named, message, tmp_path):
    folder = layouts.write_ckplus(tmp_path)
    damage(folder)
    for call in (load, lambda _, root: ckplus.sequences(root)):
        with pytest.raises(DatasetError, match=message) as error:
            call("ckplus", tmp_path)
        assert str(folder / named) in str(error.value)


@pytest.mark.parametrize("text", ["   3.0000000e+00\n", "3", "3.0\r\n"])
def test_ckplus_emotion_files_may_be_written_otherwise(text, tmp_path):
    folder = layouts.write_ckplus(tmp_path)
    (folder / LABEL).write_text(text, newline="")
    assert set(load("ckplus", tmp_path).labels[6:9]) == {Emotion.DISGUST}


def test_ckplus_short_sequences_are_named(tmp_path):
    folder = layouts.write_ckplus(tmp_path, frames=3)
    assert len(load("ckplus", tmp_path)) == 12
    for options, wanted in [
        ({"frames": 4}, 4),
        ({"neutral": True}, 4),
    ]:  # the first is not a peak frame as well
        with pytest.raises(DatasetError, match=f"has 3 frames instead of at least {wanted}") as error:
            load("ckplus", tmp_path, **options)
        assert str(folder / "cohn-kanade-images/S005/001") in str(error.value)


def test_ckplus_images_without_emotions_say_which_folder_is_missing(tmp_path):
    folder = layouts.write_ckplus(tmp_path)
    (folder / "Emotion").rename(folder / "Emotions")
    with pytest.raises(
        DatasetNotFoundError, match="does not hold the folder Emotion/ beside cohn-kanade-images/"
    ):
        load("ckplus", tmp_path)


def test_ckplus_without_any_label_says_so(tmp_path):
    layouts.write_ckplus(tmp_path, {"S005_001": None})
    with pytest.raises(DatasetError, match="no images of CK"):
        load("ckplus", tmp_path)


@pytest.fixture(scope="module")
def whole_ckplus(tmp_path_factory):
    """All 593 sequences, with four frames each."""
    root = tmp_path_factory.mktemp("whole")
    layouts.write_ckplus(root, layouts.ckplus_sequences(), frames=4)
    return root


def test_ckplus_official_numbers_pass_the_check(whole_ckplus):
    data = load("ckplus", whole_ckplus, verify=True, size=16)
    assert len(data) == ckplus.ABOUT.images == 927
    assert data.counts().tolist() == [135, 177, 75, 207, 84, 249, 0]
    more = load("ckplus", whole_ckplus, verify=True, size=16, contempt=True, neutral=True)
    assert more.counts().tolist() == [135, 177, 75, 207, 84, 249, 327, 54]
    assert len(np.unique(more.subjects)) == 118
    assert len(load("ckplus", whole_ckplus, verify=True, size=16, contempt=True)) == 981


def test_ckplus_check_names_emotions_and_numbers(whole_ckplus):
    place = whole_ckplus / "ckplus"
    label = next((place / "Emotion/S010/001").glob("*.txt"))  # anger
    text = label.read_text()
    label.unlink()
    with pytest.raises(DatasetError, match=r"924 images instead of 927 \(Angry 132 instead of 135\)"):
        load("ckplus", whole_ckplus, verify=True, size=16)
    label.write_text(text)
    moved = place / "cohn-kanade-images/S130"  # one of the subjects without any emotion
    moved.rename(place / "moved")
    with pytest.raises(DatasetError, match="591 sequences instead of 593, 122 subjects instead of 123"):
        load("ckplus", whole_ckplus, verify=True, size=16)
    (place / "moved").rename(moved)
    assert len(load("ckplus", whole_ckplus, verify=True, size=16)) == 927


FRAME = "cohn-kanade-images/S010/001/S010_001_0000000"


@pytest.mark.parametrize(
    ("damage", "named", "message"),
    [
        (
            lambda top: (top / f"{FRAME}3.png").unlink(),
            "S010/001: frame 3 is missing",
            "before S010_001_00000004",
        ),
        (
            lambda top: [(top / f"{FRAME}{number}.png").unlink() for number in (2, 3)],
            "S010/001: frames 2 to 3 are missing",
            "before S010_001_00000004",
        ),
        (
            lambda top: layouts.write_image(top / f"{FRAME}5.png"),
            f"{FRAME}5.png comes after the frame of S010_001_00000004_emotion.txt",
            "the last one of sequence S010_001",
        ),
        (
            lambda top: layouts.write_image(top / "cohn-kanade-images/S010/001/S010_001_3.png"),
            "frame 3 is also there as S010_001_",
            "Copy the sequence again",
        ),
    ],
)
def test_ckplus_check_names_missing_and_extra_frames(damage, named, message, tmp_path, monkeypatch):
    folder = layouts.write_ckplus(tmp_path, {"S010_001": 1, "S010_002": None}, frames=4)
    once = {Emotion.ANGRY: 1}
    monkeypatch.setattr(ckplus, "SEQUENCES", once)
    monkeypatch.setattr(ckplus, "RELEASE", dict(zip(ckplus.RELEASE, (2, 1, 1, 1), strict=True)))
    assert len(load("ckplus", tmp_path, verify=True)) == 3
    layouts.write_image(folder / f"{FRAME}0.png")  # enough for three after frames have gone
    (folder / "cohn-kanade-images/S010/002/S010_002_00000003.png").unlink()  # not used: no emotion
    damage(folder)
    with pytest.raises(DatasetError, match=message) as error:
        load("ckplus", tmp_path, verify=True)
    assert named in str(error.value)
    assert len(load("ckplus", tmp_path)) == 3


def test_ckplus_check_looks_at_the_frames_that_are_used(tmp_path, monkeypatch):
    folder = layouts.write_ckplus(tmp_path, {"S010_001": 1}, frames=6)
    monkeypatch.setattr(ckplus, "SEQUENCES", {Emotion.ANGRY: 1})
    monkeypatch.setattr(ckplus, "RELEASE", dict.fromkeys(ckplus.RELEASE, 1))
    (folder / f"{FRAME}3.png").unlink()
    data = load("ckplus", tmp_path, verify=True, neutral=True)
    assert [path[-5] for path in data.paths] == ["1", "4", "5", "6"]
    with pytest.raises(DatasetError, match=r"frame 3 is missing before S010_001_00000004\.png"):
        load("ckplus", tmp_path, verify=True, frames=4)


def test_ckplus_sequences_are_whole_clips(tmp_path, whole_ckplus):
    layouts.write_ckplus(tmp_path, landmarks=True)
    listed = ckplus.sequences(tmp_path)
    assert [(s.name, s.subject, s.label) for s in listed[:2]] == [
        ("S005_001", "S005", Emotion.DISGUST),
        ("S010_002", "S010", Emotion.SURPRISE),
    ]
    first = listed[0]
    assert [path.name for path in first.paths] == [f"S005_001_0000000{number}.png" for number in range(1, 6)]
    write_ramp(first.paths[1])
    clip = first.images(size=16)
    assert clip.shape == (5, 16, 16, 1)
    assert clip.dtype == np.uint8
    assert (clip[2:] == load("ckplus", tmp_path, size=16).images[:3]).all()
    assert (clip[1] != first.images(size=16, crop="centre")[1]).any()
    assert len(ckplus.sequences(tmp_path, contempt=True)) == 5
    assert [s.label for s in ckplus.sequences(tmp_path, contempt=True, labelled=False)].count(None) == 1
    assert len(ckplus.sequences(whole_ckplus)) == 309
    assert len(ckplus.sequences(whole_ckplus, contempt=True, labelled=False)) == 593
