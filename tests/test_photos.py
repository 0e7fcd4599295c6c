"""Photos of readers: files of all kinds, faces found and missed, and what is cut out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ferlab import faces
from ferlab.studies import photo as photos
from ferlab.studies.photo import Box, PhotoError
from PIL import Image

from fercore import load_pretrained
from fercore.emotions import Emotion
from fercore.training import evaluation

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
# What a camera stores so that the picture is upright once its note is followed, by the EXIF standard (tag Orientation).
TURNED = NOISE.transpose(1, 0, 2)
STORED = dict(
    enumerate([NOISE, NOISE[:, ::-1], NOISE[::-1, ::-1], NOISE[::-1], TURNED, TURNED[::-1]], start=1)
)
STORED |= {7: TURNED[::-1, ::-1], 8: TURNED[:, ::-1]}


@pytest.fixture(scope="module")
def portrait():
    return photos.portrait()


def saved(folder, pixels, name="photo.png", **options):
    """Write pixels to a file and return its path."""
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_is_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(photos.read(saved(tmp_path, STORED[orientation], exif=exif)), NOISE)


def test_every_file_becomes_eight_bits_of_three_channels_and_what_is_transparent_white(tmp_path):
    for grey in (NOISE[..., 0], NOISE[..., 0].astype(np.uint16) * 257):
        np.testing.assert_array_equal(
            photos.read(saved(tmp_path, grey)), np.repeat(NOISE[..., :1], 3, axis=2)
        )
    alpha = np.broadcast_to(np.where(np.arange(96) < 48, 255, 0), (64, 96)).astype(np.uint8)
    read = photos.read(saved(tmp_path, np.dstack([NOISE, alpha])))
    np.testing.assert_array_equal(read, np.where(alpha[..., None], NOISE, 255))
    image = Image.fromarray(alpha // 255, mode="P")
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.save(tmp_path / "palette.png", transparency=0)
    read = photos.read(tmp_path / "palette.png")
    np.testing.assert_array_equal(read, np.where(alpha[..., None], [200, 10, 10], 255))


def test_what_cannot_be_used_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "words.jpg").write_text("a face")
    whole = saved(tmp_path, NOISE).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("words.jpg", "half.png"):
        with pytest.raises(PhotoError, match=rf"{name} is not an image that Pillow can read .*JPEG or PNG"):
            photos.read(tmp_path / name)
    with pytest.raises(PhotoError, match=f"no file {re.escape(str(tmp_path))}"):
        photos.read(tmp_path)
    with pytest.raises(PhotoError, match="96 x 47 pixels"):
        photos.read(saved(tmp_path, NOISE[:47]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a picture that would fill the memory
    with pytest.raises(PhotoError, match="6144 pixels"):
        photos.read(saved(tmp_path, NOISE))


def test_faces_are_found_where_they_are_drawn_and_photographed_at_any_size_and_as_a_close_up(portrait):
    from skimage import data

    scene = faces.Scene(pose=(5.0, 2.0, -3.0), zoom=0.5, shift=(-4.0, -9.0))
    about = {"size": 512, "scene": scene, "masks": False}
    drawn = faces.render_face(faces.make_character(1, 0), Emotion.HAPPY, 0.9, **about)
    truth = drawn.landmarks[[33, 133, 362, 263, 4, 61, 291]] - (0, 128)  # eyes, nose tip and mouth corners
    left, top, side = photos.face_box(portrait)
    inside = (truth - (left, top)) / side
    assert 0 < inside.min() < inside.max() < 1
    assert inside[:4, 1].max() < 0.6 < inside[5:, 1].min()  # eyes above, mouth below
    [(left, top, side)] = photos.find_faces(data.astronaut())
    assert left < 201 < 247 < left + side  # the eyes, by hand
    assert top < 110 < 160 < top + side  # from the brows to the lips
    found = photos.face_box(portrait)
    twice = photos.face_box(np.repeat(np.repeat(portrait, 2, axis=0), 2, axis=1))
    np.testing.assert_allclose(np.array(twice) / 2, found, atol=0.15 * found.side)
    left, top, side = map(round, found)
    close = photos.face_box(portrait[top : top + side, left : left + side])
    np.testing.assert_allclose(close, (0, 0, side), atol=0.3 * side)


def test_without_a_face_or_with_several_it_says_what_to_do(portrait):
    with pytest.raises(PhotoError, match=r"No face was found.*box = \[left, top, side\]"):
        photos.face_box(np.full((100, 120, 3), 128, np.uint8))
    both = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    with pytest.raises(PhotoError, match="2 faces were found") as refused:
        photos.face_box(both)
    listed = re.findall(r"box = \[(\d+), (\d+), (\d+)\]", str(refused.value))
    boxes = [photos.face_box(both, [int(number) for number in box]) for box in listed]
    assert {box.left > portrait.shape[1] for box in boxes} == {False, True}


@pytest.mark.parametrize(
    "box", [[0, 0], [0, 0, float("nan")], [10, 10, 23], [-1, 0, 50], [500, 0, 50], [0, 350, 50]]
)
def test_a_box_that_cannot_be_cut_out_is_refused(portrait, box):
    assert photos.face_box(portrait, [0, 0, 384]) == Box(0, 0, 384)
    with pytest.raises(PhotoError, match=r"three numbers|fewer than 24|reaches beyond"):
        photos.face_box(portrait, box)


def test_a_cut_of_the_network_s_own_size_is_the_photo_in_grey():
    left, top = 31, 7
    grey = np.asarray(Image.fromarray(NOISE).convert("L"))
    found = photos.cut(NOISE, Box(left, top, 48))
    np.testing.assert_array_equal(found[..., 0], grey[top : top + 48, left : left + 48])
    photo = np.zeros((200, 200, 3), np.uint8)
    photo[80:120, 80:120] = 255
    shares = [(photos.cut(photo, Box(80, 80, 40), m) / 255).mean() for m in (1.0, 2.0, 4.0)]
    np.testing.assert_allclose(shares, [1, 1 / 4, 1 / 16], atol=0.02)  # a margin shows more


def test_the_portrait_goes_all_the_way_to_the_network_s_answer(tmp_path, portrait):
    photos.save_sideways(portrait, tmp_path / "portrait.jpg")
    photo = photos.read(tmp_path / "portrait.jpg")
    face = photos.cut(photo, photos.face_box(photo))
    assert (face.shape, face.dtype) == ((48, 48, 1), np.uint8)
    assert evaluation.predict(load_pretrained(), face[None]).argmax().item() == Emotion.HAPPY
