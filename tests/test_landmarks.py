"""Landmarks of photographs: geometry by closed forms, networks by the embedded faces, the store by killed runs."""

from __future__ import annotations

import hashlib
import http.server
import math
import os
import threading
from dataclasses import replace
from pathlib import Path

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


# --- squares ----------------------------------------------------------------------------------------------------------


def test_a_square_that_is_the_image_cuts_the_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Square(10, 10, 20).cut(image, 20), image)


def test_a_square_beyond_the_border_goes_on_with_the_outermost_pixels():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, -1] = 200
    np.testing.assert_array_equal(Square(12, 4, 8).cut(image, 8), 200)


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


def test_corners_and_depth_are_carried_back_by_hand():
    square = Square(5.0, 7.0, 4.0, math.pi / 2)  # the upper edge points down, so the right is below
    back = square.back(np.array([[0.0, 0.0, 2.0], [8.0, 0.0, -4.0]]), 8)
    np.testing.assert_allclose(back, [[7.0, 5.0, 1.0], [7.0, 9.0, -2.0]], atol=1e-12)


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


# --- the detector's boxes ---------------------------------------------------------------------------------------------


def test_anchors_are_the_cells_of_strides_8_and_16():
    anchors = detection.anchors()
    assert anchors.shape == (16 * 16 * 2 + 8 * 8 * 6, 2)
    np.testing.assert_allclose(anchors[[0, 1, 2]] * 128, [[4, 4], [4, 4], [12, 4]])
    np.testing.assert_allclose(anchors[[512, 517, 518, -1]] * 128, [[8, 8], [8, 8], [24, 8], [120, 120]])
    np.testing.assert_allclose(anchors.mean(axis=0), 0.5)


def test_boxes_are_relative_to_their_anchors():
    raw, logits = np.zeros((896, 16), np.float32), np.full(896, -100.0, np.float32)
    raw[2], logits[2] = np.arange(16), 0.0
    boxes, scores = detection.decode(raw, logits)
    np.testing.assert_allclose(boxes[2, :3], [[12, 5], [2, 3], [16, 9]])
    np.testing.assert_allclose(boxes[0, [0, 2]], [[4, 4], [4, 4]])
    assert scores[2] == 0.5
    assert scores[0] < 1e-20
    assert np.isfinite(detection.decode(raw, np.full(896, -1e9))[1]).all()


def test_boxes_that_overlap_the_best_are_averaged_by_score():
    boxes = np.zeros((4, 8, 2))
    boxes[:, 1] = 10.0
    boxes[:, 0] = [
        (50, 50),
        (52, 50),
        (90, 90),
        (50, 51),
    ]  # the best, a neighbour, another face, an unlikely one
    mean = detection.blend(boxes, np.array([0.8, 0.4, 0.7, 0.3]))
    np.testing.assert_allclose(mean[0], (50 + 2 / 3, 50))
    np.testing.assert_allclose(mean[1], 10)
    boxes[:, 1] = 0.0  # boxes without an area overlap nothing, themselves included
    np.testing.assert_allclose(detection.blend(boxes, np.array([0.8, 0.4, 0.7, 0.3]))[0], (50, 50))


# --- the steps, with networks that say what they are told -------------------------------------------------------------


class Told:
    """Stands for both networks: a detector with one box, and landmarks whose probability depends on the look."""

    def __init__(self, detector, presences):
        self.detector, self.presences, self.inputs = detector, list(presences), []

    def __call__(self, model):
        return lambda pixels: self._answer(model, pixels)

    def _answer(self, model, pixels):
        self.inputs.append((model.name, pixels))
        if model is models.DETECTOR:
            raw, logits = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -100.0, np.float32)
            raw[0, 200, 2:4] = 40
            raw[0, 200, 4:8] = (-8, 0, 8, 0)
            logits[0, 200] = math.log(self.detector / (1 - self.detector))
            return [raw, logits]
        grid = np.zeros((468, 3), np.float32)
        grid[:, :2] = np.random.default_rng(len(self.inputs)).uniform(60, 130, (468, 2))
        grid[RIGHT_CORNER, :2], grid[LEFT_CORNER, :2] = (70, 80), (120, 80)
        presence = self.presences.pop(0)
        return [grid.reshape(1, 1404, 1, 1), np.array([[[[math.log(presence / (1 - presence))]]]])]


def told(monkeypatch, detector, presences, image=None):
    network = Told(detector, presences)
    monkeypatch.setattr(models, "network", network)
    image = np.zeros((48, 48, 3), np.uint8) if image is None else image
    return network, extraction.extract(image[None], progress=False)


def test_a_sure_face_is_looked_at_twice_and_no_more(monkeypatch):
    network, result = told(monkeypatch, 0.9, [0.6, 0.7])
    assert len(network.inputs) == 3
    assert result.found.tolist() == [True]
    assert result.score[0] == pytest.approx(0.7)
    assert np.isfinite(result.points).all()


@pytest.mark.parametrize(("detector", "seconds"), [(0.3, (0.7, 0.2, 0.9)), (0.9, (0.4, 0.9, 0.2))])
def test_the_whole_picture_is_tried_where_detector_or_network_is_unsure(monkeypatch, detector, seconds):
    network, result = told(monkeypatch, detector, [x for second in seconds for x in (0.5, second)])
    assert len(network.inputs) == 7
    assert result.score[0] == pytest.approx(0.9)
    assert result.found[0]


def test_no_face_gives_nan_and_says_how_unlikely_one_is(monkeypatch):
    _, result = told(monkeypatch, 0.1, [0.1, 0.2] * 3)
    assert result.found.tolist() == [False]
    assert np.isnan(result.points).all()
    assert result.score[0] == pytest.approx(0.2)


def test_networks_get_rgb_in_their_ranges(monkeypatch):
    image = np.zeros((48, 48, 3), np.uint8)
    image[:] = (255, 51, 0)
    network, _ = told(monkeypatch, 0.9, [0.9, 0.9], image)
    (name, first), (_, second), _ = network.inputs
    assert name == models.DETECTOR.name
    assert first.shape == (128, 128, 3)
    assert second.shape == (192, 192, 3)
    np.testing.assert_allclose(first[0, 0], (1.0, -0.6, -1.0), atol=1e-6)
    np.testing.assert_allclose(second[0, 0], (1.0, 0.2, 0.0), atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)],
)
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match="must be uint8"):
        landmarks.extract(images)


def test_images_without_pixels_are_refused_and_none_at_all_are_not():
    with pytest.raises(ValueError, match="0 x 8 pixels"):
        landmarks.extract(np.zeros((1, 0, 8, 3), np.uint8))
    assert landmarks.extract(np.zeros((0, 8, 8, 3), np.uint8), progress=False).points.shape == (0, 468, 3)


# --- the networks, on faces whose landmarks are known -----------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes():
    """Faces of 160 pixels in the middle of a canvas of 240, and where their landmarks are there."""
    images, points = [], []
    for index in range(4):
        sample = faces.render_face(faces.make_character(index), Emotion.HAPPY, 0.8, size=160, masks=False)
        images.append(cv2.copyMakeBorder(sample.image, 40, 40, 40, 40, cv2.BORDER_REPLICATE))
        points.append(sample.landmarks + 40)
    return np.stack(images), np.stack(points)


@pytest.mark.parametrize(("size", "median", "worst"), [(48, 0.07, 0.15), (96, 0.06, 0.12), (192, 0.06, 0.12)])
def test_landmarks_of_rendered_faces_come_close_at_any_size(networks, size, median, worst):
    data = faces.load(size=size, characters=4, variants=1, progress=False)
    result = landmarks.extract(data.images, progress=False)
    assert result.found.all()
    assert result.points.dtype == np.float32
    errors = nme(result.points, data.extras["landmarks"])
    assert np.median(errors) < median
    assert errors.max() < worst


def test_regions_of_found_landmarks_are_those_of_the_true_ones(networks):
    data = faces.load(size=96, characters=4, variants=1, masks=True, progress=False)
    found = landmarks.region_maps(
        landmarks.extract(data.images, progress=False).points, 96, 96, progress=False
    )
    for label, name in enumerate(faces.REGIONS, start=1):
        mine, true = found == label, data.extras["regions"] == label
        dice = 2 * (mine & true).sum() / (mine.sum() + true.sum())
        assert dice > 0.6, name


def test_grey_is_taken_as_three_equal_channels(networks, scenes):
    grey = scenes[0][:2].mean(axis=3, keepdims=True).astype(np.uint8)
    one, three = (landmarks.extract(x, progress=False) for x in (grey, np.repeat(grey, 3, axis=3)))
    np.testing.assert_array_equal(one.points, three.points)
    np.testing.assert_array_equal(one.score, three.score)


@pytest.mark.parametrize(("dx", "dy"), [(30, 0), (-25, 20)])
def test_landmarks_move_with_the_face(networks, scenes, dx, dy):
    move = np.float64([[1, 0, dx], [0, 1, dy]])
    assert_follows(scenes[0], move)


@pytest.mark.parametrize("degrees", [-20, 15])
def test_landmarks_turn_with_the_face(networks, scenes, degrees):
    assert_follows(scenes[0], cv2.getRotationMatrix2D((119.5, 119.5), degrees, 1.0))


@pytest.mark.parametrize("factor", [0.4, 0.7, 2.0])
def test_landmarks_grow_with_the_face(networks, scenes, factor):
    images = np.stack(
        [cv2.resize(x, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for x in scenes[0]]
    )
    before, after = (landmarks.extract(x, progress=False) for x in (scenes[0], images))
    assert nme(after.points / factor, before.points).max() < 0.04
    ratio = np.ptp(after.points[..., 2], axis=1) / np.ptp(before.points[..., 2], axis=1)
    np.testing.assert_allclose(ratio, factor, rtol=0.15)  # depth as well


def assert_follows(images, matrix):
    moved = np.stack([cv2.warpAffine(x, matrix, (240, 240), borderMode=cv2.BORDER_REPLICATE) for x in images])
    before, after = (landmarks.extract(x, progress=False) for x in (images, moved))
    assert after.found.all()
    # OpenCV's matrices count from the centre of the first pixel.
    wanted = (before.points[..., :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert nme(after.points, wanted).max() < 0.04


def test_a_face_at_the_border_has_points_outside(networks, scenes):
    images, points = scenes
    start = round(float(points[0, :, 0].min() + 0.25 * np.ptp(points[0, :, 0])))
    result = landmarks.extract(np.ascontiguousarray(images[:1, :, start:]), progress=False)
    assert result.found[0]
    assert (result.points[0, :, 0] < 0).mean() > 0.05
    assert nme(result.points[0] + (start, 0, 0), points[0]) < 0.15


def test_images_that_are_not_square_are_not_distorted(networks, scenes):
    images, points = scenes
    wide = np.stack([cv2.copyMakeBorder(x, 0, 0, 20, 80, cv2.BORDER_REPLICATE) for x in images])
    result = landmarks.extract(wide, progress=False)
    assert nme(result.points, points + (20, 0)).max() < 0.12


def test_there_is_no_face_in_blank_and_noisy_pictures(networks):
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    result = landmarks.extract(np.concatenate((noise, np.zeros_like(noise[:1]))), progress=False)
    assert not result.found.any()
    assert np.isnan(result.points).all()
    assert (result.score < 0.1).all()


@pytest.mark.real_data
def test_most_faces_of_fer2013_are_found(networks, real_fer2013):
    own = np.flatnonzero(real_fer2013.usage == "PrivateTest")
    rows = np.concatenate([own[real_fer2013.labels[own] == label][:10] for label in range(7)])
    result = landmarks.extract(real_fer2013.images[rows], progress=False)
    counts = landmarks.coverage(result.found, real_fer2013.labels[rows])
    assert sum(found for found, _ in counts.values()) >= 0.9 * len(rows)
    assert all(found >= 7 for found, _ in counts.values())


# --- where the networks come from -------------------------------------------------------------------------------------

TOY = models.ModelFile("toy.tflite", hashlib.sha256(b"toy").hexdigest(), ("out",))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server with an empty folder for each address, and pooch's cache elsewhere; lists what is asked."""
    asked, shelf = [], tmp_path / "web"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(shelf))

        def log_message(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folders = [shelf / "first", shelf / "second"]
        for folder in folders:
            folder.mkdir(parents=True)
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(models, "ADDRESSES", tuple(f"{address}/{folder.name}/" for folder in folders))
        monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
        monkeypatch.delenv(models.VARIABLE, raising=False)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folders, asked
        server.shutdown()


def test_a_network_is_taken_from_the_named_folder(web, tmp_path, monkeypatch):
    (tmp_path / TOY.name).write_bytes(b"toy")
    monkeypatch.setenv(models.VARIABLE, str(tmp_path))
    assert models.find(TOY) == tmp_path / TOY.name
    assert not web[1]


def test_another_file_in_the_named_folder_is_named(web, tmp_path, monkeypatch):
    (tmp_path / TOY.name).write_bytes(b"other")
    monkeypatch.setenv(models.VARIABLE, str(tmp_path))
    with pytest.raises(landmarks.ModelFileError, match=f"toy.tflite is not the file .* not {TOY.sha256}"):
        models.find(TOY)


def test_a_network_is_fetched_once_and_from_where_the_right_one_is(web):
    (first, second), asked = web
    (first / TOY.name).write_bytes(b"another build")
    (second / TOY.name).write_bytes(b"toy")
    path = models.find(TOY, progress=False)
    assert path.read_bytes() == b"toy"
    count = len(asked)
    assert count == 2
    assert models.find(TOY, progress=False) == path
    assert len(asked) == count


def test_where_it_cannot_be_had_one_message_says_what_to_do(web, tmp_path, monkeypatch):
    monkeypatch.setenv(models.VARIABLE, str(tmp_path))
    with pytest.raises(landmarks.ModelFileError) as caught:
        models.find(TOY, progress=False)
    message = str(caught.value)
    for part in (TOY.name, str(tmp_path), models.ADDRESSES[0] + TOY.name, TOY.sha256, models.VARIABLE, "404"):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)


def test_the_files_have_the_pinned_checksums(networks):
    for model in models.FILES:
        assert models.find(model) == networks / model.name


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch):
    """Extraction that reads a face off the mean brightness, three images to a chunk; lists what it was given."""
    given_images = []

    def extract(images, progress=True):
        given_images.extend(images.mean(axis=(1, 2, 3)).tolist())
        score = (images.mean(axis=(1, 2, 3)) / 255).astype(np.float32)
        return landmarks.FaceLandmarks(np.repeat(score, 1404).reshape(-1, 468, 3), score > 0.3, score)

    monkeypatch.setattr(extraction, "extract", extract)
    monkeypatch.setattr(store, "CHUNK", 3)
    return given_images


@pytest.fixture(scope="module")
def toy():
    return brightness_faces(10)


def of(toy, tmp_path, index=None):
    return landmarks.landmarks_of(toy, index, folder=tmp_path, progress=False)


def test_landmarks_are_found_once(toy, slow, tmp_path):
    first = of(toy, tmp_path)
    assert len(slow) == 10
    again = of(toy, tmp_path)
    assert len(slow) == 10
    np.testing.assert_allclose(first.score, toy.images.mean(axis=(1, 2, 3)) / 255, rtol=1e-6)
    for name in ("points", "found", "score"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert len(first) == 10
    np.testing.assert_array_equal(first.subset(np.array([3, 1])).score, first.score[[3, 1]])


def test_only_the_chunks_of_asked_images_are_found_and_their_order_is_kept(toy, slow, tmp_path):
    index = np.array([9, 1, 0])
    result = of(toy, tmp_path, index)
    assert len(slow) == 4  # images 0, 1, 2 and 9
    np.testing.assert_allclose(result.score, toy.images[index].mean(axis=(1, 2, 3)) / 255, rtol=1e-6)
    chosen = of(toy, tmp_path, np.arange(10) == 1)
    assert len(slow) == 4
    np.testing.assert_array_equal(chosen.score, result.score[[1]])
    assert len(of(toy, tmp_path, np.array([], int))) == 0


def test_a_killed_run_goes_on(toy, slow, tmp_path, monkeypatch):
    extract = extraction.extract

    def killed(images, progress=True):
        if len(slow) >= 6:
            raise KeyboardInterrupt
        return extract(images, progress)

    monkeypatch.setattr(extraction, "extract", killed)
    with pytest.raises(KeyboardInterrupt):
        of(toy, tmp_path)
    monkeypatch.setattr(extraction, "extract", extract)
    of(toy, tmp_path)
    assert len(slow) == 10


def test_a_damaged_chunk_is_found_again(toy, slow, tmp_path):
    whole = of(toy, tmp_path)
    path = sorted(tmp_path.glob("landmarks-toy-*/*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(of(toy, tmp_path).score, whole.score)
    assert len(slow) in (11, 13)
    of(toy, tmp_path)
    assert len(slow) in (11, 13)


def test_a_subset_does_not_get_the_landmarks_of_other_images(toy, slow, tmp_path):
    of(toy, tmp_path)
    part = toy.subset(np.array([5, 8, 2, 0]))
    assert part.checksum == toy.checksum
    np.testing.assert_allclose(of(part, tmp_path).score, part.images.mean(axis=(1, 2, 3)) / 255, rtol=1e-6)


def test_other_networks_give_other_landmarks(toy, slow, tmp_path, monkeypatch):
    of(toy, tmp_path)
    monkeypatch.setattr(models, "FILES", (replace(models.LANDMARKS, sha256="0"), models.DETECTOR))
    of(toy, tmp_path)
    assert len(slow) == 20


def test_where_nothing_can_be_kept_landmarks_are_returned_all_the_same(toy, slow, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be kept"):
        result = of(toy, tmp_path / "file")
    np.testing.assert_allclose(result.score, toy.images.mean(axis=(1, 2, 3)) / 255, rtol=1e-6)


def test_embedded_faces_bring_their_own(slow, tmp_path):
    data = faces.load(size=32, characters=1, variants=1, progress=False)
    result = of(data, tmp_path, np.array([4, 2]))
    np.testing.assert_array_equal(result.points[..., :2], data.extras["landmarks"][[4, 2]])
    assert (result.points[..., 2] == 0).all()
    assert result.found.all()
    assert result.score.tolist() == [1, 1]
    assert not slow
    assert not list(tmp_path.iterdir())


def test_coverage_counts_by_emotion():
    found, labels = np.array([True, False, True, True]), np.array([6, 3, 3, 6])
    assert landmarks.coverage(found, labels) == {Emotion.HAPPY: (1, 2), Emotion.NEUTRAL: (2, 2)}
