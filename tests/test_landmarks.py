"""Landmarks of photographs: geometry by closed forms, networks by the embedded faces, the store by killed runs."""

from __future__ import annotations

import hashlib
import http.server
import math
import os
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pooch
import pytest
from conftest import ROOT, brightness_faces
from ferlab import faces, landmarks
from ferlab.landmarks import crops, detection, extraction, models, store
from ferlab.landmarks.crops import Square
from hypothesis import given
from hypothesis import strategies as st

from fercore.emotions import Emotion

BESIDE = ROOT.parent / "shared" / "data" / "mediapipe"  # for developers
RIGHT_CORNER, LEFT_CORNER = 33, 263


def nme(found, true):
    """Mean distance of the points over the distance of the outer eye corners."""
    distance = np.linalg.norm(found[..., :2] - true[..., :2], axis=-1).mean(axis=-1)
    return distance / np.linalg.norm(true[..., RIGHT_CORNER, :2] - true[..., LEFT_CORNER, :2], axis=-1)


@pytest.fixture(scope="module")
def networks():
    """The two network files, or a skip that says how to bring them."""
    places = [Path(os.environ[models.VARIABLE])] if os.environ.get(models.VARIABLE) else []
    for folder in (*places, BESIDE):
        if all((folder / model.name).is_file() for model in models.FILES):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(models.VARIABLE, str(folder))
                yield folder
            return
    pytest.skip(f"MediaPipe's network files are not here: name their folder in {models.VARIABLE}")


# Squares and boxes


@given(
    angle=st.floats(-math.pi, math.pi),
    side=st.floats(40, 160),
    size=st.sampled_from([48, 100, 192]),
    dx=st.floats(-0.25, 0.25),
    dy=st.floats(-0.25, 0.25),
)
def test_what_is_seen_in_a_cut_is_carried_back_to_where_it_is(angle, side, size, dx, dy):
    place = np.array((61.3, 55.8))
    columns, rows = np.meshgrid(np.arange(120) + 0.5, np.arange(110) + 0.5)
    blob = 240 * np.exp(-((columns - place[0]) ** 2 + (rows - place[1]) ** 2) / (2 * 2.5**2))
    image = np.repeat(blob.round().astype(np.uint8)[..., None], 3, axis=2)
    square = Square(place[0] + dx * side, place[1] + dy * side, side, angle)
    cut = square.cut(image, size)[..., 0].astype(float)
    y, x = np.indices(cut.shape) + 0.5
    seen = np.array(((cut * x).sum(), (cut * y).sum())) / cut.sum()
    np.testing.assert_allclose(square.back(seen, size), place, atol=0.15 * max(1.0, side / size))


def test_the_outermost_pixels_go_on_and_depth_is_scaled():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    image[:, -1] = 200
    np.testing.assert_array_equal(Square(10, 10, 20).cut(image, 20), image)
    np.testing.assert_array_equal(Square(30, 10, 20).cut(image, 20), 200)
    square = Square(5.0, 7.0, 4.0, math.pi / 2)  # the upper edge points down, so the right is below
    np.testing.assert_allclose(square.back(np.array([8.0, 0.0, -4.0]), 8), [7.0, 9.0, -2.0], atol=1e-12)


@given(angle=st.floats(-3.1, 3.1), seed=st.integers(0, 1000))
def test_the_square_around_a_face_turns_with_it(angle, seed):
    points = np.random.default_rng(seed).uniform(-10, 10, (30, 2))
    eyes = np.array(((-3.0, 1.0), (4.0, 1.0)))
    rotation = np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))
    still = crops.around(points, *eyes, 1.5)
    turned = crops.around(points @ rotation, *(eyes @ rotation), 1.5)
    assert still.angle == 0
    assert turned.angle == pytest.approx(angle)
    assert turned.side == pytest.approx(still.side) == pytest.approx(1.5 * np.ptp(points, axis=0).max())
    np.testing.assert_allclose((turned.x, turned.y), (still.x, still.y) @ rotation, atol=1e-9)


def test_boxes_are_relative_to_the_anchors_of_strides_8_and_16():
    raw, logits = np.zeros((896, 16), np.float32), np.full(896, -100.0, np.float32)
    raw[2], logits[2] = np.arange(16), 0.0
    boxes, scores = detection.decode(raw, logits)
    np.testing.assert_allclose(boxes[2, :3], [[12, 5], [2, 3], [16, 9]])
    np.testing.assert_allclose(boxes[[0, 1], 0], 4)
    np.testing.assert_allclose(boxes[[512, 517, 518, 895], 0], [[8, 8], [8, 8], [24, 8], [120, 120]])
    np.testing.assert_allclose(detection.anchors().mean(axis=0), 0.5)
    assert scores[2] == 0.5
    assert 0 < scores[0] < 1e-20


# The steps, with networks that say what they are told


def told(monkeypatch, detector, presences):
    """Extract from a picture of one colour: a detector with one box, landmarks with these probabilities."""
    inputs, presences = [], list(presences)

    def answer(model, pixels):
        inputs.append(pixels)
        if model is models.DETECTOR:
            raw, logits = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -100.0, np.float32)
            raw[0, 200, 2:4] = 40
            raw[0, 200, 4:8] = (-8, 0, 8, 0)
            logits[0, 200] = math.log(detector / (1 - detector))
            return [raw, logits]
        grid = np.zeros((468, 3), np.float32)
        grid[:, :2] = np.random.default_rng(len(inputs)).uniform(60, 130, (468, 2))
        grid[RIGHT_CORNER, :2], grid[LEFT_CORNER, :2] = (70, 80), (120, 80)
        presence = presences.pop(0)
        return [grid.reshape(1, 1404, 1, 1), np.array([[[[math.log(presence / (1 - presence))]]]])]

    monkeypatch.setattr(models, "network", lambda model: lambda pixels: answer(model, pixels))
    image = np.full((1, 48, 48, 3), (255, 51, 0), np.uint8)
    return inputs, extraction.extract(image, progress=False)


@pytest.mark.parametrize(
    ("detector", "seconds", "score"),
    [
        (0.9, (0.7,), 0.7),  # a sure face: nothing else is tried
        (0.3, (0.7, 0.2, 0.9), 0.9),  # the detector is unsure: the whole picture, twice
        (0.9, (0.4, 0.9, 0.2), 0.9),  # the landmark network sees no face in the detector's square
        (0.1, (0.2, 0.1, 0.1), 0.2),  # no face at all
    ],
)
def test_what_the_landmark_network_is_surest_of_is_taken(monkeypatch, detector, seconds, score):
    inputs, result = told(monkeypatch, detector, [x for second in seconds for x in (0.1, second)])
    assert [len(x) for x in inputs] == [128] + 2 * len(seconds) * [192]  # each square is looked at twice
    assert result.score[0] == pytest.approx(score)
    assert result.found[0] == (score >= 0.5) == np.isfinite(result.points).all()
    np.testing.assert_allclose(inputs[0][64, 64], (1.0, -0.6, -1.0), atol=1e-6)
    np.testing.assert_allclose(inputs[1][96, 96], (1.0, 0.2, 0.0), atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 8, 8, 3)), *(np.zeros(s, np.uint8) for s in [(8, 8, 3), (1, 8, 8, 4), (1, 0, 8, 3)])],
)
def test_other_images_are_refused(wrong):
    with pytest.raises(ValueError, match="must be uint8"):
        landmarks.extract(wrong)


# The networks, on faces whose landmarks are known


@pytest.fixture(scope="module")
def scenes():
    """Faces of 160 pixels in the middle of a canvas of 240, and where their landmarks are there."""
    people = [faces.make_character(index) for index in range(4)]
    samples = [faces.render_face(one, Emotion.HAPPY, 0.8, size=160, masks=False) for one in people]
    images = [cv2.copyMakeBorder(one.image, 40, 40, 40, 40, cv2.BORDER_REPLICATE) for one in samples]
    return np.stack(images), np.stack([one.landmarks + 40 for one in samples])


@pytest.mark.parametrize(("size", "median", "worst"), [(48, 0.07, 0.15), (192, 0.06, 0.12)])
def test_landmarks_and_regions_of_rendered_faces_come_close_at_any_size(networks, size, median, worst):
    data = faces.load(size=size, characters=4, variants=1, masks=True, progress=False)
    noise = np.random.default_rng(0).integers(0, 256, data.images[:3].shape, dtype=np.uint8)
    result = landmarks.extract(np.concatenate((data.images, noise, 0 * noise[:1])), progress=False)
    assert result.found.tolist() == [True] * len(data) + [False] * 4  # no face in noise and black
    assert np.isnan(result.points[-4:]).all()
    assert (result.score[-4:] < 0.1).all()
    result = result.subset(np.arange(len(data)))
    assert result.points.dtype == np.float32
    errors = nme(result.points, data.extras["landmarks"])
    assert np.median(errors) < median
    assert errors.max() < worst
    found, true = landmarks.region_maps(result.points, size, size, progress=False), data.extras["regions"]
    for label, name in enumerate(faces.REGIONS, start=1):
        both = 2 * ((found == label) & (true == label)).sum()
        assert both / ((found == label).sum() + (true == label).sum()) > 0.6, name


@pytest.mark.parametrize(("degrees", "factor", "dx"), [(-20, 1.0, 25), (0, 0.7, 0), (15, 1.2, -10)])
def test_landmarks_move_turn_and_grow_with_the_face(networks, scenes, degrees, factor, dx):
    matrix = cv2.getRotationMatrix2D((119.5, 119.5), degrees, factor)
    matrix[0, 2] += dx
    about = {"M": matrix, "dsize": (240, 240), "borderMode": cv2.BORDER_REPLICATE}
    moved = np.stack([cv2.warpAffine(x, **about) for x in scenes[0]])
    before, after = (landmarks.extract(x, progress=False) for x in (scenes[0], moved))
    assert after.found.all()
    # OpenCV's matrices count from the centre of the first pixel.
    wanted = (before.points[..., :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert nme(after.points, wanted).max() < 0.04
    ratio = np.ptp(after.points[..., 2], axis=1) / np.ptp(before.points[..., 2], axis=1)
    np.testing.assert_allclose(ratio, factor, rtol=0.15)  # depth as well


def test_a_face_at_the_border_has_points_outside_a_picture_that_is_not_square(networks, scenes):
    images, points = scenes
    start = round(float(points[0, :, 0].min() + 0.25 * np.ptp(points[0, :, 0])))
    result = landmarks.extract(np.ascontiguousarray(images[:1, :, start:]), progress=False)
    assert result.found[0]
    assert (result.points[0, :, 0] < 0).mean() > 0.05
    assert nme(result.points[0] + (start, 0, 0), points[0]) < 0.15


@pytest.mark.real_data
def test_most_faces_of_fer2013_are_found(networks, real_fer2013):
    own = np.flatnonzero(real_fer2013.usage == "PrivateTest")
    rows = np.concatenate([own[real_fer2013.labels[own] == label][:10] for label in range(7)])
    result = landmarks.extract(real_fer2013.images[rows], progress=False)
    counts = landmarks.coverage(result.found, real_fer2013.labels[rows])
    assert sum(found for found, _ in counts.values()) >= 0.9 * len(rows)
    assert all(found >= 7 and there == 10 for found, there in counts.values())


# Where the networks come from

TOY = models.ModelFile("toy.tflite", hashlib.sha256(b"toy").hexdigest(), ("out",))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """The folders behind two addresses of a web server; pooch's cache is elsewhere."""
    folders = [tmp_path / "web" / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir(parents=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(models, "ADDRESSES", tuple(f"{address}/{folder.name}/" for folder in folders))
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
        monkeypatch.delenv(models.VARIABLE, raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folders
        server.shutdown()


def test_a_network_is_fetched_once_unless_the_named_folder_holds_it(web, tmp_path, monkeypatch):
    first, second = (folder / TOY.name for folder in web)
    first.write_bytes(b"another build")
    second.write_bytes(b"toy")
    path = models.find(TOY, progress=False)
    assert path.read_bytes() == b"toy"
    second.unlink()
    assert models.find(TOY, progress=False) == path
    monkeypatch.setenv(models.VARIABLE, str(tmp_path))
    (tmp_path / TOY.name).write_bytes(b"toy")
    assert models.find(TOY) == tmp_path / TOY.name
    (tmp_path / TOY.name).write_bytes(b"other")
    with pytest.raises(landmarks.ModelFileError, match=f"toy.tflite is not the file .* not {TOY.sha256}"):
        models.find(TOY)


def test_where_it_cannot_be_had_one_message_says_what_to_do(web, tmp_path, monkeypatch):
    monkeypatch.setenv(models.VARIABLE, str(tmp_path))
    with pytest.raises(landmarks.ModelFileError) as caught:
        models.find(TOY, progress=False)
    for part in (str(tmp_path), models.ADDRESSES[0] + TOY.name, TOY.sha256, models.VARIABLE, "404"):
        assert part in str(caught.value)


# The store


@pytest.fixture
def slow(monkeypatch):
    """Extraction that reads a face off the mean brightness, three images a chunk; killed after ``limit`` images."""
    slow = SimpleNamespace(given=0, limit=math.inf)

    def extract(images, progress=True):
        if slow.given >= slow.limit:
            raise KeyboardInterrupt
        slow.given += len(images)
        return landmarks.FaceLandmarks(*brightness(images))

    monkeypatch.setattr(extraction, "extract", extract)
    monkeypatch.setattr(store, "CHUNK", 3)
    return slow


def brightness(images):
    score = (images.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
    return np.repeat(score, 1404).reshape(-1, 468, 3), score > 0.3, score


DATA = brightness_faces(10)


def check(tmp_path, index=None, dataset=DATA):
    """Ask for landmarks, and see that they are those of the images asked for."""
    found = landmarks.landmarks_of(dataset, index, folder=tmp_path, progress=False)
    wanted = brightness(dataset.images if index is None else dataset.images[index])
    for one, other in zip((found.points, found.found, found.score), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_landmarks_are_found_once_by_chunks_and_in_the_order_asked_for(slow, tmp_path):
    check(tmp_path, np.array([9, 1, 0]))
    assert slow.given == 4  # images 0, 1, 2 and 9
    check(tmp_path, np.arange(10) == 1)
    check(tmp_path, np.array([], int))
    assert slow.given == 4
    slow.limit = 7
    with pytest.raises(KeyboardInterrupt):
        check(tmp_path)
    slow.limit = math.inf  # a killed run goes on
    check(tmp_path)
    check(tmp_path)
    assert slow.given == 10


def test_neither_other_images_nor_other_networks_get_kept_landmarks(slow, tmp_path, monkeypatch):
    check(tmp_path)
    part = DATA.subset(np.array([5, 8, 2, 0]))
    assert part.checksum == DATA.checksum
    check(tmp_path, dataset=part)
    monkeypatch.setattr(models, "FILES", (models.LANDMARKS._replace(sha256="0"), models.DETECTOR))
    check(tmp_path)
    assert slow.given == 10 + 4 + 10


def test_embedded_faces_bring_their_own_and_coverage_counts_by_emotion(slow, tmp_path):
    data = faces.load(size=32, characters=1, variants=1, progress=False)
    result = landmarks.landmarks_of(data, np.array([4, 2]), folder=tmp_path, progress=False)
    np.testing.assert_array_equal(result.points[..., :2], data.extras["landmarks"][[4, 2]])
    assert (result.points[..., 2] == 0).all()
    assert result.found.all()
    assert result.score.tolist() == [1, 1]
    assert not slow.given
    assert not list(tmp_path.iterdir())
    found, labels = np.array([True, False, True, True]), np.array([6, 3, 3, 6])
    assert landmarks.coverage(found, labels) == {Emotion.HAPPY: (1, 2), Emotion.NEUTRAL: (2, 2)}
