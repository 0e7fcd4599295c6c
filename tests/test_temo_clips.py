"""Landmark clips: normalisation, packing, resampling and where they come from."""

from __future__ import annotations

import numpy as np
import pytest
from ferlab import temo
from ferlab.temo.clips import LEFT_EYE, RIGHT_EYE
from ferlab.temo.sources import balanced
from hypothesis import given
from hypothesis import strategies as st
from temo_toys import face, toy

from fercore.datasets import FaceDataset, content_checksum
from fercore.errors import DatasetError, DatasetNotFoundError

shifts, angles = st.floats(-50, 50), st.floats(-3.1, 3.1)


@given(shifts, shifts, st.floats(0.05, 20), angles, st.integers(0, 3))
def test_place_size_and_roll_do_not_matter(right, down, scale, angle, seed):
    points = face(seed)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = scale * points @ turn.T + (right, down)
    assert temo.normalise(moved) == pytest.approx(temo.normalise(points), abs=1e-8)


@given(st.integers(0, 5), st.sampled_from([2, 3]))
def test_eyes_end_up_where_they_belong(seed, dims):
    points = temo.normalise(face(seed, dims))
    right, left = (points[list(eye), :2].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE))
    assert right == pytest.approx([-0.5, 0], abs=1e-9)
    assert left == pytest.approx([0.5, 0], abs=1e-9)
    assert temo.normalise(points) == pytest.approx(points, abs=1e-9)


def test_depth_keeps_its_proportion():
    points = face(1, 3)
    width = np.linalg.norm((points[list(LEFT_EYE), :2] - points[list(RIGHT_EYE), :2]).mean(axis=0))
    depth = points[5, 2] - points[[33, 133, 263, 362], 2].mean()
    assert temo.normalise(points)[5, 2] == pytest.approx(depth / width)


def test_faces_without_eyes_or_with_nan_are_refused():
    with pytest.raises(DatasetError, match=r"\(\.\.\., 468, 2 or 3\)"):
        temo.normalise(np.zeros((5, 68, 2)))
    with pytest.raises(DatasetError, match="1 faces have no distance"):
        temo.normalise(np.zeros((468, 2)))
    broken = face()
    broken[33, 0] = np.nan
    with pytest.raises(DatasetError, match="NaN"):
        temo.normalise(broken)


def test_packing_drops_frames_without_a_face_and_counts():
    clips = [np.stack([face(i) for i in range(n)]) for n in (4, 2, 3)]
    clips[0][1] = np.nan
    clips[1][:] = np.nan
    packed = temo.pack("x", clips, [3, 3, 5], ["a", "b", "c"])
    assert packed.points.shape == (2, 3, 468, 2)
    assert packed.lengths.tolist() == [3, 3]
    assert packed.labels.tolist() == [3, 5]
    assert packed.groups.tolist() == ["a", "c"]
    assert packed.coverage == {3: 0.5, 5: 1.0}
    assert packed.skipped == ("clips without any face: 1 of 3", "frames without a face: 3 of 9")
    assert packed.points[0, 1] == pytest.approx(temo.normalise(face(2)), abs=1e-5)


def test_packing_refuses_what_does_not_fit():
    clip = np.stack([face(0), face(1)])
    with pytest.raises(DatasetError, match="1 clips, 2 labels"):
        temo.pack("x", [clip], [0, 1], ["a"])
    with pytest.raises(DatasetError, match="does not go with 3 frames"):
        temo.pack("x", [clip], [0], ["a"], [np.ones(3, bool)])
    with pytest.raises(DatasetError, match="does not go with 2 frames of 3 coordinates"):
        temo.pack("x", [clip], [0], ["a"], dims=3)
    with pytest.raises(DatasetError, match="none of the 1 clips shows a face"):
        temo.pack("x", [clip * np.nan], [0], ["a"])
    nan = clip.copy()
    nan[0, 7] = np.nan
    with pytest.raises(DatasetError, match="NaN"):  # said to show a face, but has none
        temo.pack("x", [nan], [0], ["a"], [np.ones(2, bool)])
    with pytest.raises(ValueError, match="dims=4"):
        temo.pack("x", [clip], [0], ["a"], dims=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.full(60, 4)}, "lengths are 1 to 3"),
        ({"lengths": np.zeros(60, int)}, "Clip 0 has 0 frames"),
        ({"labels": np.zeros(59, int)}, "59 labels for 60 clips"),
        ({"points": np.full((60, 3, 12, 2), np.nan)}, "60 clips have landmarks that are NaN"),
        ({"points": np.zeros((60, 12, 2))}, "not empty"),
    ],
)
def test_clips_that_do_not_fit_are_refused(change, message):
    clips = toy()
    fields = {name: getattr(clips, name) for name in ("name", "points", "labels", "groups", "lengths")}
    with pytest.raises(DatasetError, match=message):
        temo.LandmarkClips(**(fields | change))


def test_resampling_is_linear_and_keeps_the_ends():
    points = np.zeros((2, 5, 3, 2), np.float32)
    points[0] = np.arange(5)[:, None, None]
    points[1, :2] = np.array([0, 8])[:, None, None]
    clips = temo.LandmarkClips("x", points, np.arange(2), np.array(["a", "b"]), np.array([5, 2]))
    again = clips.resample(9)
    assert again.points[0, :, 0, 0] == pytest.approx(np.linspace(0, 4, 9))
    assert again.points[1, :, 0, 0] == pytest.approx(np.linspace(0, 8, 9))
    assert clips.resample(1).points[:, 0, 0, 0].tolist() == [4, 8]  # the peak
    assert (clips.resample(5).points[0] == points[0]).all()
    with pytest.raises(ValueError, match="at least 1 frame"):
        clips.resample(0)


def test_embedded_clips_are_reproducible_and_start_neutral():
    few = temo.from_faces(characters=2, variants=1, frames=4, noise=0, progress=False)
    more = temo.from_faces(characters=3, variants=1, frames=4, noise=0, progress=False)
    assert few.points.shape == (14, 4, 468, 2)
    assert (more.points[:14] == few.points).all()
    # The lips part in surprise (label 5), not in the neutral clip (6).
    strong = temo.from_faces(characters=1, variants=1, frames=4, noise=0, weakest=1, progress=False)
    gap = strong.points[:, :, 14, 1] - strong.points[:, :, 13, 1]
    assert gap[:, 0] == pytest.approx(0, abs=0.02)
    assert gap[5, -1] > 0.05
    assert gap[6, -1] == pytest.approx(0, abs=0.02)
    deep = temo.from_faces(characters=2, variants=1, frames=4, noise=0, dims=3, progress=False)
    assert (deep.points[..., :2] == few.points).all()
    with pytest.raises(ValueError, match="noise=-1"):
        temo.from_faces(noise=-1, progress=False)


def stills(count: int = 12, **columns) -> FaceDataset:
    images = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 1), dtype=np.uint8)
    images[1] = images[0]
    labels = np.arange(count) % 3
    return FaceDataset("toy", "Toy", images, labels, content_checksum(images, labels), **columns)


def test_stills_keep_copies_together_and_report_coverage():
    points = np.stack([face(i) for i in range(12)])
    found = np.ones(12, bool)
    found[3] = False
    points[3] = np.nan
    clips = temo.from_stills(stills(), points, found)
    assert clips.points.shape == (11, 1, 468, 2)
    assert clips.stills
    assert clips.groups[0] == clips.groups[1] != clips.groups[2]
    assert clips.coverage == {0: 0.75, 1: 1.0, 2: 1.0}
    named = temo.from_stills(stills(subjects=np.array(list("abcdefghijkl"))), points, found)
    assert named.groups.tolist() == list("abcefghijkl")
    with pytest.raises(DatasetError, match="11 faces' landmarks for 12 images"):
        temo.from_stills(stills(), points[1:], found[1:])


def test_balanced_draw():
    labels = np.repeat([0, 1, 2], [50, 5, 20])
    drawn = balanced(labels, 10, seed=1)
    assert np.bincount(labels[drawn]).tolist() == [10, 5, 10]
    assert (drawn == balanced(labels, 10, seed=1)).all()
    assert balanced(labels, 0).tolist() == list(range(75))


def test_checksum_sees_every_column():
    clips = toy()
    seen = {clips.checksum, clips.subset(np.arange(59)).checksum}
    relabelled = {"name": "toy", "points": clips.points, "labels": 2 - clips.labels, "lengths": clips.lengths}
    seen.add(temo.LandmarkClips(**relabelled, groups=clips.groups).checksum)
    assert len(seen) == 3
    assert toy().checksum == clips.checksum


def test_sequences_of_ckplus_become_clips_of_their_lengths(tmp_path, monkeypatch):
    from ferlab import landmarks
    from layouts import write_ckplus

    write_ckplus(tmp_path, {"S010_001": 5, "S011_001": 7, "S012_001": None, "S013_001": 2}, frames=4)

    def landmarks_of(dataset, progress=True):
        points = np.stack([face(i, 3) for i in range(len(dataset))])
        found = np.arange(len(dataset)) != 1
        return landmarks.FaceLandmarks(points, found, found.astype(float))

    monkeypatch.setattr(landmarks, "landmarks_of", landmarks_of)
    clips = temo.from_ckplus(tmp_path, size=32, progress=False)
    assert clips.labels.tolist() == [3, 5]  # happy, surprise; contempt is left out
    assert clips.groups.tolist() == ["S010", "S011"]
    assert clips.lengths.tolist() == [3, 3]
    assert clips.skipped == ("frames without a face: 2 of 8",)
    assert clips.points[0, 2] == pytest.approx(temo.normalise(face(3, 3))[:, :2], abs=1e-5)
    with pytest.raises(DatasetNotFoundError, match="CK"):
        temo.from_ckplus(tmp_path / "nowhere", progress=False)


def test_datasets_are_found_by_name(monkeypatch):
    from ferlab import landmarks

    from fercore import datasets

    data = stills(30)
    monkeypatch.setattr(datasets, "load", lambda name: data)
    points = np.stack([face(i) for i in range(30)])
    monkeypatch.setattr(
        landmarks,
        "landmarks_of",
        lambda drawn, progress: landmarks.FaceLandmarks(
            points[: len(drawn)], np.ones(len(drawn), bool), None
        ),
    )
    clips = temo.from_dataset("toy", most=4, progress=False)
    assert np.bincount(clips.labels).tolist() == [4, 4, 4]
    assert "12 of 12 images have landmarks" in clips.source
    few = temo.from_dataset("faces", frames=3, characters=1, variants=1, progress=False)
    assert few.points.shape == (7, 3, 468, 2)
    assert few.title == "Embedded faces"
