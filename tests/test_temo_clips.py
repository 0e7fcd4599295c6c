"""Landmark clips: normalisation, packing, resampling and where they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ferlab import landmarks, temo
from ferlab.temo.clips import LEFT_EYE, RIGHT_EYE
from hypothesis import given
from hypothesis import strategies as st
from layouts import write_ckplus
from temo_toys import face, toy

from fercore import datasets
from fercore.datasets import FaceDataset, content_checksum
from fercore.errors import DatasetError, DatasetNotFoundError


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.05, 20), st.floats(-3.1, 3.1), st.integers(0, 3))
def test_place_size_and_roll_do_not_matter(right, down, scale, angle, seed):
    points = face(seed, 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    normal = temo.normalise(points)
    moved = np.column_stack([scale * points[:, :2] @ turn.T + (right, down), scale * points[:, 2] + 9])
    assert temo.normalise(moved) == pytest.approx(normal, abs=1e-7)
    eyes = np.array([normal[list(eye), :2].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)])
    assert eyes == pytest.approx(np.array([[-0.5, 0], [0.5, 0]]), abs=1e-9)
    assert temo.normalise(points[:, :2]) == pytest.approx(normal[:, :2])


CLIP = np.stack([face(0), face(1)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: temo.normalise(np.zeros((5, 68, 2))), r"\(\.\.\., 468, 2 or 3\)"),
        (lambda: temo.normalise(np.zeros((468, 2))), "no distance between its eyes"),
        (lambda: temo.pack("x", [CLIP * np.nan], [0], ["a"]), "none of the 1 clips shows a face"),
        (lambda: temo.pack("x", [CLIP * np.nan], [0], ["a"], [np.ones(2, bool)]), "or NaN"),
        (lambda: replace(toy(), lengths=np.full(60, 4)), "Lengths are 1 to 3"),
        (lambda: replace(toy(), labels=np.zeros(59, int)), "60 clips, 59 labels"),
        (lambda: replace(toy(), points=np.full((60, 3, 12, 2), np.nan)), "NaN or infinite"),
        (lambda: replace(toy(), points=np.zeros((60, 12, 2))), "not empty"),
    ],
)
def test_what_does_not_fit_is_refused(wrong, message):
    with pytest.raises(DatasetError, match=message):
        wrong()


def test_packing_drops_frames_without_a_face_and_counts():
    clips = [np.stack([face(i) for i in range(n)]) for n in (4, 2, 3)]
    clips[0][1] = np.nan
    clips[1][:] = np.nan
    packed = temo.pack("x", clips, [3, 3, 5], ["a", "b", "c"])
    assert packed.points.shape == (2, 3, 468, 2)
    assert [packed.lengths.tolist(), packed.labels.tolist()] == [[3, 3], [3, 5]]
    assert packed.groups.tolist() == ["a", "c"]
    assert packed.coverage == {3: 0.5, 5: 1.0}
    assert packed.skipped == ("clips without any face: 1 of 3", "frames without a face: 3 of 9")
    assert packed.points[0, 1] == pytest.approx(temo.normalise(face(2)), abs=1e-5)


def test_resampling_is_linear_and_keeps_the_ends():
    points = np.zeros((2, 5, 3, 2), np.float32)
    points[0] = np.arange(5)[:, None, None]
    points[1, :2] = np.array([0, 8])[:, None, None]
    clips = temo.LandmarkClips("x", points, np.arange(2), np.array(["a", "b"]), np.array([5, 2]))
    again = clips.resample(9)
    assert again.points[0, :, 0, 0] == pytest.approx(np.linspace(0, 4, 9))
    assert again.points[1, :, 0, 0] == pytest.approx(np.linspace(0, 8, 9))
    assert clips.resample(1).points[:, 0, 0, 0].tolist() == [4, 8]  # the peak


def test_embedded_clips_are_reproducible_and_start_neutral():
    settings = {"variants": 1, "noise": 0, "frames": 4, "progress": False}
    few = temo.from_faces(characters=2, **settings)
    assert few.points.shape == (14, 4, 468, 2)
    assert (temo.from_faces(characters=3, **settings).points[:14] == few.points).all()
    assert (temo.from_faces(characters=2, dims=3, **settings).points[..., :2] == few.points).all()
    # The lips part in surprise (label 5), not in the neutral clip (6).
    strong = temo.from_faces(characters=1, weakest=1, **settings).points
    gap = strong[:, :, 14, 1] - strong[:, :, 13, 1]
    assert gap[:, 0] == pytest.approx(0, abs=0.02)
    assert gap[5, -1] > 0.05
    assert gap[6, -1] == pytest.approx(0, abs=0.02)
    with pytest.raises(ValueError, match="noise=-1"):
        temo.from_faces(noise=-1, progress=False)


def stills(count: int = 12, **columns) -> FaceDataset:
    images = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 1), dtype=np.uint8)
    images[1] = images[0]
    labels = np.arange(count) % 3
    return FaceDataset("toy", "Toy", images, labels, content_checksum(images, labels), **columns)


def test_stills_keep_copies_together_and_report_coverage():
    points, found = np.stack([face(i) for i in range(12)]), np.arange(12) != 3
    points[3] = np.nan
    clips = temo.from_stills(stills(), points, found)
    assert clips.points.shape == (11, 1, 468, 2)
    assert clips.groups[0] == clips.groups[1] != clips.groups[2]
    assert clips.coverage == {0: 0.75, 1: 1.0, 2: 1.0}
    named = temo.from_stills(stills(subjects=np.array(list("abcdefghijkl"))), points, found)
    assert named.groups.tolist() == list("abcefghijkl")


@pytest.fixture
def seen(monkeypatch):
    """Every picture shows the face of its place, but for the second one."""

    def landmarks_of(dataset, progress=True):
        points = np.stack([face(i, 3) for i in range(len(dataset))])
        found = np.arange(len(dataset)) != 1
        return landmarks.FaceLandmarks(points, found, found.astype(float))

    monkeypatch.setattr(landmarks, "landmarks_of", landmarks_of)


def test_sequences_of_ckplus_become_clips_of_their_lengths(tmp_path, seen):
    write_ckplus(tmp_path, {"S010_001": 5, "S011_001": 7, "S012_001": None, "S013_001": 2}, frames=4)
    clips = temo.from_ckplus(tmp_path, size=32, progress=False)
    assert clips.labels.tolist() == [3, 5]  # happy, surprise; contempt is left out
    assert clips.groups.tolist() == ["S010", "S011"]
    assert clips.lengths.tolist() == [3, 3]
    assert clips.skipped == ("frames without a face: 2 of 8",)
    assert clips.points[0, 2] == pytest.approx(temo.normalise(face(3, 3))[:, :2], abs=1e-5)
    with pytest.raises(DatasetNotFoundError, match="CK"):
        temo.from_ckplus(tmp_path / "nowhere", progress=False)


def test_datasets_are_found_by_name(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda name: stills(30))
    clips = temo.from_dataset("toy", most=4, progress=False)
    assert np.bincount(clips.labels).sum() == 11  # four of each class, and one without a face
    assert "11 of 12 images have landmarks" in clips.source
    few = temo.from_dataset("faces", frames=3, characters=1, variants=1, progress=False)
    assert few.points.shape == (7, 3, 468, 2)
    assert few.title == "Embedded faces"
    write_ckplus(tmp_path, {"S010_001": 5}, frames=4)
    monkeypatch.setattr(datasets, "data_root", lambda: tmp_path)
    assert temo.from_dataset("ckplus", frames=5, progress=False).lengths.tolist() == [5]
