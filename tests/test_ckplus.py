"""CK+: which frames are taken, how they are cut, and clips; what it shares with the others is in test_datasets.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from layouts import images_of, load
from PIL import Image

from fercore.datasets import ckplus
from fercore.emotions import Emotion
from fercore.errors import DatasetError, DatasetNotFoundError


def test_ckplus_options_choose_the_images(tmp_path):
    layouts.write_ckplus(tmp_path)
    data = load("ckplus", tmp_path, contempt=True, neutral=True, frames=2)
    assert data.labels.tolist()[:6] == [Emotion.NEUTRAL, 1, 1, Emotion.NEUTRAL, 5, 5]
    assert data.labels.tolist()[9:12] == [Emotion.NEUTRAL, Emotion.CONTEMPT, Emotion.CONTEMPT]
    assert [path[-5] for path in data.paths[:3]] == ["1", "4", "5"]
    assert data.groups[9] == "S138_001"
    assert len(load("ckplus", tmp_path, contempt=True)) == 15  # kept apart in the cache
    fewer = load("ckplus", tmp_path, frames=1)
    assert (len(fewer), len(fewer.skipped)) == (4, 2)  # without an emotion file, and of contempt
    assert "last 1 frames of 4 labelled sequences" in fewer.source
    for frames in (0, 1.0, True):
        with pytest.raises(ValueError, match="a whole number from 1"):
            load("ckplus", tmp_path, frames=frames)
    for options in ({"frames": 6}, {"frames": 5, "neutral": True}):  # the first is not a peak frame as well
        with pytest.raises(DatasetError, match="S005/001 has 5 frames instead of at least 6"):
            load("ckplus", tmp_path, **options)
    layouts.write_ckplus(tmp_path / "other", {"S005_001": None})
    with pytest.raises(DatasetError, match="no images of CK"):
        load("ckplus", tmp_path / "other")


@pytest.mark.parametrize("text", ["   3.0000000e+00\n", "3", "3.0\r\n"])
def test_ckplus_numbers_may_be_written_otherwise(text, tmp_path):
    folder = layouts.write_ckplus(tmp_path, {"S005_001": 7}, frames=12)
    for path in images_of(folder):
        path.rename(path.with_name(f"S005_001_{int(path.stem[-8:])}.png"))
    label = next((folder / "Emotion").rglob("*.txt"))
    label.with_name("S005_001_12_emotion.txt").write_text(text, newline="")
    label.unlink()
    data = load("ckplus", tmp_path, neutral=True)
    assert [Path(path).stem[9:] for path in data.paths] == ["1", "10", "11", "12"]
    assert data.labels.tolist() == [Emotion.NEUTRAL, *[Emotion.DISGUST] * 3]


def write_ramp(path):
    """Overwrite a frame with an image of which every pixel differs from its neighbours."""
    pixels = np.arange(layouts.CK_HEIGHT * layouts.CK_WIDTH, dtype=np.uint8)
    image = Image.fromarray(pixels.reshape(layouts.CK_HEIGHT, layouts.CK_WIDTH))
    image.save(path)
    return image


def test_ckplus_crops_a_square_around_the_landmarks(tmp_path):
    folder = layouts.write_ckplus(tmp_path, {"S005_001": 3}, landmarks=True)
    frame, marks = images_of(folder)[-1], folder / "Landmarks"
    image = write_ramp(frame)

    def cut(*box):
        return np.asarray(image.crop(box).resize((16, 16), Image.Resampling.BICUBIC))

    face, middle = cut(8, 4, 21, 17), cut(3, 0, 24, 21)  # 1.3 x 10 around (14.5, 10.5)
    for crop, expected in [("auto", face), ("landmarks", face), ("centre", middle)]:
        assert (load("ckplus", tmp_path, size=16, crop=crop).images[-1, ..., 0] == expected).all()
    clip = ckplus.sequences(tmp_path)[0]
    assert (clip.images(size=16)[-1, ..., 0] == face).all()
    assert (clip.images(size=16, crop="centre")[-1, ..., 0] == middle).all()
    moved = layouts.write_landmarks(marks / "S005/001" / f"{frame.stem}_landmarks.txt", (13.5, 9.5))
    os.utime(moved, (2e9, 2e9))
    assert (load("ckplus", tmp_path, size=16).images[-1, ..., 0] == cut(7, 3, 20, 16)).all()
    shutil.rmtree(marks)
    assert (load("ckplus", tmp_path, size=16).images[-1, ..., 0] == middle).all()
    with pytest.raises(DatasetNotFoundError, match=r"Landmarks is not there.*crop='centre'"):
        load("ckplus", tmp_path, crop="landmarks")
    with pytest.raises(ValueError, match="choose one of auto, landmarks, centre"):
        load("ckplus", tmp_path, crop="center")


def test_ckplus_sequences_are_whole_clips(tmp_path):
    layouts.write_ckplus(tmp_path)
    listed = ckplus.sequences(tmp_path)
    assert [(s.name, s.subject, s.label) for s in listed[:2]] == [
        ("S005_001", "S005", Emotion.DISGUST),
        ("S010_002", "S010", Emotion.SURPRISE),
    ]
    assert [path.name[-5:] for path in listed[0].paths] == [f"{number}.png" for number in range(1, 6)]
    assert (listed[0].images(size=16)[2:] == load("ckplus", tmp_path, size=16).images[:3]).all()
    assert len(ckplus.sequences(tmp_path, contempt=True)) == 5
    assert [s.label for s in ckplus.sequences(tmp_path, contempt=True, labelled=False)].count(None) == 1
    layouts.write_ckplus(tmp_path / "whole", layouts.ckplus_sequences(), frames=1)
    assert len(ckplus.sequences(tmp_path / "whole")) == 309
    assert len(ckplus.sequences(tmp_path / "whole", contempt=True, labelled=False)) == 593


FRAME = "cohn-kanade-images/S010/001/S010_001_0000000"


@pytest.mark.parametrize(
    ("gone", "more", "message"),
    [
        ("3", "", r"S010/001: the last frames are 1, 2, 4: one is missing"),
        ("", f"{FRAME}5", r"5\.png comes after the frame of S010_001_00000004_emotion\.txt, the last one"),
        ("", f"{FRAME[:-7]}3", "the last frames are 3, 3, 4: .* there twice.*Copy the sequence again"),
    ],
)
def test_ckplus_check_names_missing_and_extra_frames(gone, more, message, tmp_path, monkeypatch):
    folder = layouts.write_ckplus(tmp_path, {"S010_001": 1, "S010_002": None}, frames=4)
    monkeypatch.setattr(ckplus, "SEQUENCES", {Emotion.ANGRY: 1})
    monkeypatch.setattr(ckplus, "RELEASE", dict(zip(ckplus.RELEASE, (2, 1, 1, 1), strict=True)))
    (folder / "cohn-kanade-images/S010/002/S010_002_00000003.png").unlink()  # not used: no emotion
    assert len(load("ckplus", tmp_path, verify=True)) == 3
    if gone:
        (folder / f"{FRAME}{gone}.png").unlink()
    if more:
        layouts.write_image(folder / f"{more}.png")
    with pytest.raises(DatasetError, match=message):
        load("ckplus", tmp_path, verify=True)
    assert len(load("ckplus", tmp_path)) == 3
    if gone:  # only the frames that are used are looked at
        assert len(load("ckplus", tmp_path, verify=True, frames=1, neutral=True)) == 2
