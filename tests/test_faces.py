"""The embedded faces: geometry and FACS in the mesh, and in the pictures the truth that comes with them."""

import numpy as np
import pytest
from ferlab import faces
from ferlab.faces import action_units, mesh, paint, render, scene
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fercore.emotions import EMOTIONS, Emotion

RIGHT_CORNER, LEFT_CORNER, CHIN = 61, 291, 152
TILTED = faces.Scene(pose=(9.0, -4.0, 5.0), shift=(0.3, 0.1), zoom=1.03)


@pytest.fixture(scope="module")
def person():
    return faces.make_character(1)


@pytest.fixture(scope="module")
def dataset():
    return faces.load(size=48, characters=2, variants=2, seed=3, masks=True, progress=False)


def moved_vertices(number):
    start = mesh.rest_vertices()
    return action_units.deform(start, action_units.to_vector({number: 1.0})) - start


def mirrored(points):
    return points[mesh.mirror()] * (-1, 1, 1)


def test_mesh_is_mediapipes_canonical_face_at_rest():
    vertices, rest, flip = mesh.canonical_vertices(), mesh.rest_vertices(), mesh.mirror()
    assert (vertices.shape, mesh.triangles().shape) == ((468, 3), (898, 3))
    assert set(mesh.triangles().ravel()) == set(range(468))
    assert vertices[10, 1] > vertices[1, 1] > vertices[152, 1]  # y points up: forehead, nose tip, chin
    assert vertices[1, 2] > vertices[234, 2] + 5  # z points forward: nose tip before the ear
    np.testing.assert_array_equal(flip[flip], np.arange(468))
    for points in (vertices, rest):
        np.testing.assert_allclose(mirrored(points), points, atol=1e-9)
    np.testing.assert_allclose(rest[13], rest[14], atol=0.05)  # closed lips, and open eyes
    assert (rest[159] - rest[145])[1] > 1.2 * (vertices[159] - vertices[145])[1]
    labels = mesh.vertex_regions()
    np.testing.assert_array_equal(labels, labels[flip])
    known = {10: "forehead", 105: "brows", 159: "eyes", 4: "nose", 50: "cheeks", 13: "mouth", 199: "chin"}
    assert {vertex: faces.REGIONS[labels[vertex] - 1] for vertex in known} == known


# --- action units -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", faces.ACTION_UNITS)
def test_each_unit_is_symmetric_and_moves_something(number):
    shift = moved_vertices(number)
    np.testing.assert_allclose(mirrored(shift), shift, atol=1e-9)
    assert 0.15 < np.abs(shift).max() < 2.5


UP, DOWN, INWARDS, OUTWARDS = (1, 1), (1, -1), (0, 1), (0, -1)  # axis and sign, on the subject's right


@pytest.mark.parametrize(
    ("number", "vertex", "way"),
    [
        (1, 107, UP), (2, 63, UP), (4, 107, DOWN), (4, 107, INWARDS),  # inner and outer brow, frown
        (5, 159, UP), (6, 118, UP), (7, 145, UP),  # upper lid, cheek, lower lid
        (9, 129, UP), (10, 37, UP), (24, 17, UP), (25, 14, DOWN),  # wing of the nose, lips
        (12, RIGHT_CORNER, UP), (12, RIGHT_CORNER, OUTWARDS), (15, RIGHT_CORNER, DOWN),
        (20, RIGHT_CORNER, OUTWARDS), (23, RIGHT_CORNER, INWARDS), (17, 18, UP), (26, CHIN, DOWN),
    ],
)  # fmt: skip
def test_units_move_what_facs_says(number, vertex, way):
    axis, sign = way
    assert sign * moved_vertices(number)[vertex, axis] > 0.15


def test_units_leave_the_rest_of_the_face_alone():
    assert np.abs(moved_vertices(26)[[107, 159, 10, 4]]).max() < 0.02
    assert np.abs(moved_vertices(1)[[RIGHT_CORNER, CHIN, 4]]).max() < 0.02
    assert np.abs(moved_vertices(26)[13, 1]) < 0.35 < np.abs(moved_vertices(26)[14, 1])
    shift = action_units.deform(mesh.rest_vertices(), action_units.to_vector({12: 1.0}), asymmetry=0.2)
    left, right = (shift - mesh.rest_vertices())[[LEFT_CORNER, RIGHT_CORNER], 1]
    assert left > 1.2 * right


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16), st.integers(0, 30), st.floats(-0.2, 0.2))
@example([1.0] * 16, 0, 0.0)
@example([0.0] * 12 + [1.0, 1.0, 0.0, 0.0], 0, 0.0)
@example([1e-6] * 16, 1, 0.0)
def test_lips_and_lids_never_cross_and_nothing_jumps(values, index, asymmetry):
    neutral = faces.make_character(index).vertices
    face = action_units.deform(neutral, np.array(values), asymmetry)
    pairs = list(zip(mesh.UPPER_LIP_RINGS[3], mesh.LOWER_LIP_RINGS[3], strict=True))
    pairs += list(zip(mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, strict=True))
    for upper, lower in pairs:
        assert face[upper, 1] >= face[lower, 1] + min(0.0, neutral[upper, 1] - neutral[lower, 1]) - 1e-9
    assert np.abs(face - neutral).max() <= 10 * max(values)


# --- characters -------------------------------------------------------------------------------------------------------


def test_characters_are_symmetric_and_differ():
    first, again, other = faces.make_character(4, 1), faces.make_character(4, 1), faces.make_character(5, 1)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_allclose(mirrored(first.vertices), first.vertices, atol=1e-9)
    assert np.abs(first.vertices - other.vertices).max() > 0.1
    assert first.skin == again.skin != other.skin
    people = [faces.make_character(index) for index in range(30)]
    assert {person.hair_style for person in people} == set(faces.HAIR_STYLES)
    assert {person.beard for person in people} == set(faces.BEARDS)
    assert {person.glasses for person in people} == {"none", "round", "square"}
    brightness = [np.mean(person.skin) for person in people]
    assert min(brightness) < 90 < 200 < max(brightness)


# --- one picture ------------------------------------------------------------------------------------------------------


def test_landmarks_are_the_projected_vertices(person):
    sample = faces.render_face(person, {12: 0.7, 1: 0.4}, size=96, scene=TILTED, asymmetry=0.1)
    vertices = action_units.deform(person.vertices, action_units.to_vector({12: 0.7, 1: 0.4}), 0.1)
    turned = (vertices - (0, -1, -3)) @ scene.rotation(TILTED.pose).T + (0, -1, -3)
    depth = 60 / (60 - turned[:, 2])
    pixels_per_cm = 96 / scene.VIEW_HEIGHT * 1.03
    x = 48 + pixels_per_cm * (turned[:, 0] * depth + 0.3)
    y = 48 - pixels_per_cm * (turned[:, 1] * depth + 0.1 - scene.CENTRE_HEIGHT)
    np.testing.assert_allclose(sample.landmarks, np.stack([x, y], axis=1), atol=1e-3)
    front, *turned = (scene.rotation(pose) for pose in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10)))
    nose, top = np.array([0, 0, 1]), np.array([0, 1, 0])
    assert [(turned[0] @ nose)[0] > 0, (turned[1] @ nose)[1] > 0, (turned[2] @ top)[0] > 0] == [True] * 3
    np.testing.assert_array_equal(front, np.eye(3))


def test_the_drawing_sits_on_the_landmarks(person):
    """Teeth are bright where the open mouth is, the iris dark where the eye is."""

    def grey(expression, vertices):
        sample = faces.render_face(person, expression, size=160, masks=False)
        x, y = sample.landmarks[vertices].mean(axis=0).astype(int)
        return sample.image[y - 1 : y + 2, x - 1 : x + 2].mean()

    assert grey(Emotion.HAPPY, [13, 14]) > grey(Emotion.HAPPY, [50]) + 40
    assert grey({5: 1.0}, [33, 133]) < 60


@pytest.mark.parametrize("index", range(10))  # one of every style
def test_the_top_of_the_head_has_the_colour_of_hair_or_skin(index):
    person = faces.make_character(index)
    sample = faces.render_face(person, {}, size=96, masks=False)
    x, y = sample.landmarks[10].astype(int)
    crown = sample.image[y - 8 : y - 5, x - 1 : x + 2].mean(axis=(0, 1))
    hair, skin = (np.abs(crown - colour).mean() for colour in (person.hair, person.skin))
    assert (skin < hair) == (person.hair_style == "bald")


def test_region_mask_matches_the_landmarks(person):
    lips = mesh.LOWER_LIP_RINGS[0] + mesh.UPPER_LIP_RINGS[0]
    where = {"mouth": lips, "chin": (199, 200, 175), "eyes": (159, 145)}
    for pose in ((0, 0, 0), (10, 5, -5)):
        sample = faces.render_face(person, Emotion.SURPRISE, size=96, scene=faces.Scene(pose=pose))
        assert set(np.unique(sample.regions)) == set(range(8))
        for name, vertices in where.items():
            x, y = sample.landmarks[list(vertices)].mean(axis=0).astype(int)
            assert faces.REGIONS[sample.regions[y, x] - 1] == name
        oval = paint.mask_of(96, [sample.landmarks[list(mesh.FACE_OVAL)].astype(np.float64)]) > 127
        assert np.mean(oval == (sample.regions > 0)) > 0.98


@pytest.mark.parametrize("shift", [(0.0, 0.0), (60.0, 0.0)])
def test_a_head_outside_the_picture_is_no_error(person, shift):
    sample = faces.render_face(person, Emotion.FEAR, size=32, scene=faces.Scene(shift=shift))
    assert sample.moved.any() == sample.regions.any() == (shift == (0.0, 0.0))


def test_moved_mask_is_the_difference_of_the_two_pictures(person, dataset):
    noisy, clean = [faces.Scene(pose=TILTED.pose, noise=noise, blobs=11) for noise in (5.0, 0.0)]
    sample = faces.render_face(person, Emotion.FEAR, size=64, scene=noisy)
    fear, neutral = [
        faces.render_face(person, expression, size=64, scene=clean, masks=False).image.astype(int)
        for expression in (Emotion.FEAR, {})
    ]
    np.testing.assert_array_equal(sample.moved, np.abs(fear - neutral).max(axis=2) > 8)
    assert np.abs(sample.image.astype(int) - fear).max() > 5
    np.testing.assert_array_equal(dataset.extras["moved"].any(axis=(1, 2)), dataset.labels != Emotion.NEUTRAL)


@pytest.mark.parametrize("bad", [{3: 0.5}, {12: 1.2}, {12: float("nan")}, {"12": 0.5}, np.zeros(3)])
def test_bad_action_units_are_refused(person, bad):
    with pytest.raises(ValueError, match="action unit"):
        faces.render_face(person, bad, size=48)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda person: faces.render_face(person, Emotion.SAD, 1.1), "intensity"),
        (lambda person: faces.render_face(person, Emotion.SAD, np.nan), "intensity"),
        (lambda _: faces.load(size=31), r"32\.\.512"),
        (lambda _: faces.load(variants=0), "one variant"),
        (lambda _: faces.contact_sheet(characters=0), "At least one"),
        (lambda _: faces.contact_sheet(size=513), r"32\.\.512"),
        (lambda person: faces.clip(person, Emotion.HAPPY, frames=1), "at least 2"),
        (lambda _: faces.make_character(-1), "0 or more"),
    ],
)
def test_bad_arguments_are_refused(person, call, message):
    with pytest.raises(ValueError, match=message):
        call(person)


# --- the data set, clips and sheets -----------------------------------------------------------------------------------


def test_dataset_has_every_emotion_of_every_character(dataset):
    assert dataset.images.shape == (28, 48, 48, 3)
    assert dataset.images.dtype == np.uint8
    for subject in ("c00", "c01"):
        assert np.bincount(dataset.labels[dataset.subjects == subject]).tolist() == [2] * 7
    shapes = {name: column.shape for name, column in dataset.extras.items()}
    masks = dict.fromkeys(("regions", "moved"), (28, 48, 48))
    assert shapes == {"landmarks": (28, 468, 2), "action_units": (28, 16), **masks}
    assert len({image.tobytes() for image in dataset.images}) == len(dataset)
    assert dataset.images.reshape(28, -1).mean(axis=1).std() > 5  # the light varies


def test_landmarks_stay_inside_the_picture():
    for index in range(40):
        person = faces.make_character(index)
        for emotion in EMOTIONS:
            rng = np.random.default_rng([9, index, emotion])
            vector, setting = faces.sample_expression(emotion, rng), faces.sample_scene(rng)
            points = render.project(person, vector, scene.View(setting, 48), 0.15)[1]
            assert points.min() >= 0.0
            assert points.max() <= 48.0


def test_samples_do_not_depend_on_the_count_the_masks_or_the_global_state(dataset):
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fewer = faces.load(size=48, characters=1, variants=1, seed=3, progress=False)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    chosen = [2 * emotion for emotion in range(7)]  # character 0, variant 0
    np.testing.assert_array_equal(fewer.images, dataset.images[chosen])
    np.testing.assert_array_equal(fewer.extras["landmarks"], dataset.extras["landmarks"][chosen])
    other = faces.load(size=48, characters=1, variants=1, seed=4, progress=False)
    assert (other.images != fewer.images).any(axis=(1, 2, 3)).all()


def test_optional_units_are_sometimes_missing_and_the_others_never():
    draws = np.array([faces.sample_expression(Emotion.ANGRY, np.random.default_rng(i)) for i in range(200)])
    present = dict(zip(faces.ACTION_UNITS, (draws > 0).mean(axis=0), strict=True))
    assert present[4] == present[7] == 1.0
    assert 0.8 < present[23] < 1.0
    assert present[12] == 0.0
    assert draws[draws > 0].min() >= 0.6 * 0.8


def test_clip_rises_from_neutral_to_the_peak(person):
    film = faces.clip(person, Emotion.HAPPY, frames=6, size=48, scene=TILTED)
    neutral = faces.render_face(person, Emotion.NEUTRAL, size=48, scene=TILTED)
    peak = faces.render_face(person, Emotion.HAPPY, size=48, scene=TILTED)
    for frame, still in ((0, neutral), (-1, peak)):
        np.testing.assert_array_equal(film.images[frame], still.image)
        np.testing.assert_array_equal(film.landmarks[frame], still.landmarks)
    travel = np.linalg.norm(film.landmarks[:, LEFT_CORNER] - film.landmarks[0, LEFT_CORNER], axis=1)
    assert (np.diff(travel) > 0).all()
    assert (np.diff(film.au[:, faces.ACTION_UNITS.index(12)]) > 0).all()


@pytest.mark.parametrize("varied", [False, True])
def test_contact_sheet(varied):
    sheet = faces.contact_sheet(characters=2, size=32, gap=3, varied=varied)
    assert sheet.shape == (2 * 35 - 3, 7 * 35 - 3, 3)
    assert (sheet[32:35] == 255).all()
    alone = faces.render_sample(faces.make_character(1), Emotion.FEAR, (0, 1, 2, 0), 32)
    if not varied:
        alone = faces.render_face(faces.make_character(1), Emotion.FEAR, 0.9, size=32)
    np.testing.assert_array_equal(sheet[35:67, 70:102], alone.image)
