import subprocess
import sys

import numpy as np
import pytest
from ferlab import faces
from ferlab.faces import action_units, curves, mesh, paint, render, scene
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fercore.emotions import ACTION_UNITS as PROTOTYPES
from fercore.emotions import EMOTIONS, Emotion

RIGHT_CORNER, LEFT_CORNER, CHIN = 61, 291, 152
TILTED = faces.Scene(pose=(9.0, -4.0, 5.0), shift=(0.3, 0.1), zoom=1.03)


@pytest.fixture(scope="module")
def person():
    return faces.make_character(1)


@pytest.fixture(scope="module")
def dataset():
    return faces.load(size=48, characters=2, variants=2, seed=3, masks=True, progress=False)


def moved_vertices(numbers, person=None):
    start = mesh.rest_vertices() if person is None else person.vertices
    return action_units.deform(start, action_units.to_vector(dict.fromkeys(numbers, 1.0))) - start


# --- the mesh ---------------------------------------------------------------------------------------------------------


def test_mesh_is_mediapipes_canonical_face():
    vertices, triangles = mesh.canonical_vertices(), mesh.triangles()
    assert vertices.shape == (468, 3)
    assert triangles.shape == (898, 3)
    assert set(triangles.ravel()) == set(range(468))
    assert vertices[10, 1] > vertices[1, 1] > vertices[152, 1]  # y points up: forehead, nose tip, chin
    assert vertices[1, 2] > vertices[234, 2] + 5  # z points forward: nose tip before the ear


def test_mirror_pairs_vertices():
    flip = mesh.mirror()
    np.testing.assert_array_equal(flip[flip], np.arange(468))
    np.testing.assert_allclose(mesh.canonical_vertices()[flip] * (-1, 1, 1), mesh.canonical_vertices())
    assert flip[RIGHT_CORNER] == LEFT_CORNER
    assert tuple(flip[list(mesh.RIGHT_EYE_UPPER)]) == mesh.LEFT_EYE_UPPER
    assert tuple(flip[list(mesh.RIGHT_EYE_LOWER)]) == mesh.LEFT_EYE_LOWER


def test_regions_partition_the_vertices_symmetrically():
    groups = mesh.region_vertices()
    assert tuple(groups) == faces.REGIONS == ("forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin")
    assert sorted(v for group in groups.values() for v in group) == list(range(468))
    np.testing.assert_array_equal(mesh.vertex_regions(), mesh.vertex_regions()[mesh.mirror()])
    for vertex, name in (
        (10, "forehead"),
        (105, "brows"),
        (159, "eyes"),
        (4, "nose"),
        (50, "cheeks"),
        (13, "mouth"),
    ):
        assert vertex in groups[name]


def test_rest_face_is_symmetric_with_closed_lips_and_open_eyes():
    rest = mesh.rest_vertices()
    np.testing.assert_allclose(rest[mesh.mirror()] * (-1, 1, 1), rest, atol=1e-9)
    np.testing.assert_allclose(rest[13], rest[14], atol=0.05)
    assert (
        rest[159, 1] - rest[145, 1]
        > 1.2 * (mesh.canonical_vertices()[159] - mesh.canonical_vertices()[145])[1]
    )


def test_spline_interpolates_and_is_affine():
    weights = curves.spline(4, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(weights[[0, 2, 4, 6]], np.eye(4), atol=1e-12)


def test_curves_follow_their_vertices():
    points = curves.table().evaluate(mesh.rest_vertices())
    np.testing.assert_allclose(points["lid_upper_r"][0], mesh.rest_vertices()[33])
    np.testing.assert_allclose(points["lid_upper_l"], points["lid_upper_r"] * (-1, 1, 1), atol=1e-9)
    np.testing.assert_allclose(points["lip_upper_inner"][-1], mesh.rest_vertices()[308])


# --- action units -----------------------------------------------------------------------------------------------------


def test_table_has_the_units_of_every_emotion():
    required = {1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 24, 25, 26}
    assert required <= set(faces.ACTION_UNITS)
    assert {unit for units in PROTOTYPES.values() for unit in units} <= set(faces.ACTION_UNITS)
    assert list(faces.ACTION_UNITS) == sorted(set(faces.ACTION_UNITS))
    assert action_units.basis().shape == (len(faces.ACTION_UNITS), 468, 3)


@pytest.mark.parametrize("number", faces.ACTION_UNITS)
def test_each_unit_is_symmetric_and_moves_something(number):
    shift = moved_vertices([number])
    np.testing.assert_allclose(shift[mesh.mirror()] * (-1, 1, 1), shift, atol=1e-9)
    assert 0.15 < np.abs(shift).max() < 2.5


@pytest.mark.parametrize(
    ("number", "vertex", "axis", "sign"),
    [
        (1, 107, 1, 1),  # inner brow up
        (2, 63, 1, 1),  # outer brow up
        (4, 107, 1, -1),  # brow down
        (4, 107, 0, 1),  # and, on the subject's right (x < 0), inwards
        (5, 159, 1, 1),  # upper lid up
        (6, 118, 1, 1),  # cheek up
        (7, 145, 1, 1),  # lower lid up
        (9, 129, 1, 1),  # nose wing up
        (10, 37, 1, 1),  # upper lip up
        (12, RIGHT_CORNER, 1, 1),  # lip corner up
        (12, RIGHT_CORNER, 0, -1),  # and outwards
        (15, RIGHT_CORNER, 1, -1),  # lip corner down
        (17, 18, 1, 1),  # chin boss up
        (20, RIGHT_CORNER, 0, -1),  # lip corner outwards
        (23, RIGHT_CORNER, 0, 1),  # lip corner inwards
        (24, 17, 1, 1),  # lower lip's edge towards the lip line
        (25, 14, 1, -1),  # lower lip down
        (26, CHIN, 1, -1),  # chin down
    ],
)
def test_units_move_what_facs_says(number, vertex, axis, sign):
    assert sign * moved_vertices([number])[vertex, axis] > 0.15


def test_units_leave_the_rest_of_the_face_alone():
    assert np.abs(moved_vertices([26])[[107, 159, 10, 4]]).max() < 0.02
    assert np.abs(moved_vertices([1])[[RIGHT_CORNER, CHIN, 4]]).max() < 0.02
    assert np.abs(moved_vertices([26])[13, 1]) < 0.35 < np.abs(moved_vertices([26])[14, 1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16), st.integers(0, 30), st.floats(-0.2, 0.2))
@example([1.0] * 16, 0, 0.0)
@example([0.0] * 12 + [1.0, 1.0, 0.0, 0.0], 0, 0.0)
def test_lips_and_lids_never_cross(values, index, asymmetry):
    neutral = faces.make_character(index).vertices
    face = action_units.deform(neutral, np.array(values), asymmetry)
    pairs = list(zip(mesh.UPPER_LIP_RINGS[3], mesh.LOWER_LIP_RINGS[3], strict=True))
    pairs += list(zip(mesh.RIGHT_EYE_UPPER, mesh.RIGHT_EYE_LOWER, strict=True))
    for upper, lower in pairs:
        assert face[upper, 1] >= face[lower, 1] + min(0.0, neutral[upper, 1] - neutral[lower, 1]) - 1e-9


def test_deform_is_continuous_at_neutral(person):
    vector = np.full(len(faces.ACTION_UNITS), 1e-6)
    np.testing.assert_allclose(action_units.deform(person.vertices, vector), person.vertices, atol=1e-4)


def test_asymmetry_moves_one_side_more():
    vector = action_units.to_vector({12: 1.0})
    shift = action_units.deform(mesh.rest_vertices(), vector, asymmetry=0.2) - mesh.rest_vertices()
    assert shift[LEFT_CORNER, 1] > 1.2 * shift[RIGHT_CORNER, 1]


@pytest.mark.parametrize("bad", [{3: 0.5}, {12: 1.2}, {12: -0.1}, {12: float("nan")}, {"12": 0.5}])
def test_bad_action_units_are_refused(person, bad):
    with pytest.raises(ValueError, match="action unit"):
        faces.render_face(person, bad, size=48)


# --- characters -------------------------------------------------------------------------------------------------------


def test_characters_are_deterministic_symmetric_and_different():
    first, again, other = faces.make_character(4, 1), faces.make_character(4, 1), faces.make_character(5, 1)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_allclose(first.vertices[mesh.mirror()] * (-1, 1, 1), first.vertices, atol=1e-9)
    assert first.name == "c04"
    assert np.abs(first.vertices - other.vertices).max() > 0.1
    assert first.skin == again.skin != other.skin
    with pytest.raises(ValueError, match="0 or more"):
        faces.make_character(-1)


def test_characters_cover_styles_and_skins():
    people = [faces.make_character(index) for index in range(30)]
    assert {person.hair_style for person in people} == set(faces.HAIR_STYLES)
    assert {person.beard for person in people} == set(faces.BEARDS)
    assert {person.glasses for person in people} == {"none", "round", "square"}
    brightness = [np.mean(person.skin) for person in people]
    assert min(brightness) < 90
    assert max(brightness) > 200


# --- one picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [48, 64, 224])
def test_sample_shapes_and_types(person, size):
    sample = faces.render_face(person, Emotion.HAPPY, size=size)
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.uint8
    assert sample.landmarks.shape == (468, 2)
    assert sample.landmarks.dtype == np.float32
    assert sample.regions.shape == sample.moved.shape == (size, size)
    assert (sample.regions.dtype, sample.moved.dtype) == (np.uint8, np.bool_)
    assert (sample.label, sample.character) == (Emotion.HAPPY, person.name)


def test_landmarks_are_the_projected_vertices(person):
    sample = faces.render_face(person, {12: 0.7, 1: 0.4}, size=96, scene=TILTED, asymmetry=0.1)
    vertices = action_units.deform(person.vertices, action_units.to_vector({12: 0.7, 1: 0.4}), 0.1)
    turned = (vertices - (0, -1, -3)) @ scene.rotation(TILTED.pose).T + (0, -1, -3)
    depth = 60 / (60 - turned[:, 2])
    pixels_per_cm = 96 / scene.VIEW_HEIGHT * 1.03
    x = 48 + pixels_per_cm * (turned[:, 0] * depth + 0.3)
    y = 48 - pixels_per_cm * (turned[:, 1] * depth + 0.1 - scene.CENTRE_HEIGHT)
    np.testing.assert_allclose(sample.landmarks, np.stack([x, y], axis=1), atol=1e-3)


def test_pose_signs(person):
    def nose(pose):
        return faces.render_face(person, {}, size=100, scene=faces.Scene(pose=pose), masks=False).landmarks

    front = nose((0, 0, 0))
    assert nose((10, 0, 0))[1, 0] > front[1, 0] + 2
    assert nose((0, 10, 0))[1, 1] < front[1, 1] - 2
    assert nose((0, 0, 10))[10, 0] > front[10, 0] + 2
    rotation = scene.rotation((10, 5, -7))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_happy_raises_lip_corners_in_the_picture(person):
    neutral = faces.render_face(person, Emotion.NEUTRAL, size=96).landmarks
    happy = faces.render_face(person, Emotion.HAPPY, size=96).landmarks
    for corner, outwards in ((RIGHT_CORNER, -1), (LEFT_CORNER, 1)):
        assert happy[corner, 1] < neutral[corner, 1] - 2  # y points down
        assert outwards * (happy[corner, 0] - neutral[corner, 0]) > 1.5


def test_the_drawing_sits_on_the_landmarks():
    """Teeth are bright where the open mouth is, the iris dark where the eye is."""
    person = faces.make_character(1)
    happy = faces.render_face(person, Emotion.HAPPY, size=160, masks=False)
    grey = happy.image.mean(axis=2)

    def at(points):
        x, y = np.mean(points, axis=0).astype(int)
        return grey[y - 1 : y + 2, x - 1 : x + 2].mean()

    teeth = at(happy.landmarks[[13, 14]])
    cheek = at(happy.landmarks[[50]])
    assert teeth > cheek + 40
    neutral = faces.render_face(person, {5: 1.0}, size=160, masks=False)
    grey = neutral.image.mean(axis=2)
    assert at(neutral.landmarks[[33, 133]]) < 60


def test_region_mask_matches_the_landmarks(person):
    for pose in ((0, 0, 0), (10, 5, -5)):
        sample = faces.render_face(person, Emotion.SURPRISE, size=96, scene=faces.Scene(pose=pose))
        assert set(np.unique(sample.regions)) == set(range(8))
        for name, ring in (
            ("mouth", mesh.LOWER_LIP_RINGS[0] + mesh.UPPER_LIP_RINGS[0]),
            ("chin", (199, 200, 175)),
        ):
            x, y = sample.landmarks[list(ring)].mean(axis=0).astype(int)
            assert faces.REGIONS[sample.regions[y, x] - 1] == name
        x, y = sample.landmarks[[159, 145]].mean(axis=0).astype(int)
        assert faces.REGIONS[sample.regions[y, x] - 1] == "eyes"
        assert sample.regions[0, 0] == 0
        oval = paint.mask_of(96, [sample.landmarks[list(mesh.FACE_OVAL)].astype(np.float64)]) > 127
        assert np.mean(oval == (sample.regions > 0)) > 0.98


# --- moved pixels -----------------------------------------------------------------------------------------------------


def test_neutral_moves_nothing(person, dataset):
    assert not faces.render_face(person, Emotion.NEUTRAL, size=48, scene=TILTED).moved.any()
    neutral = dataset.labels == Emotion.NEUTRAL
    assert not dataset.extras["moved"][neutral].any()
    assert dataset.extras["moved"][~neutral].any(axis=(1, 2)).all()
    assert not dataset.extras["action_units"][neutral].any()


def test_moved_mask_is_the_difference_of_the_two_pictures(person):
    noisy = faces.Scene(pose=TILTED.pose, noise=5.0, blobs=11)
    sample = faces.render_face(person, Emotion.FEAR, size=64, scene=noisy)
    clean = faces.Scene(pose=TILTED.pose, noise=0.0, blobs=11)
    fear = faces.render_face(person, Emotion.FEAR, size=64, scene=clean, masks=False).image.astype(int)
    neutral = faces.render_face(person, {}, size=64, scene=clean, masks=False).image.astype(int)
    np.testing.assert_array_equal(sample.moved, np.abs(fear - neutral).max(axis=2) > 8)
    assert np.abs(sample.image.astype(int) - fear).max() > 5


@pytest.mark.parametrize(
    ("emotion", "expected", "unexpected"),
    [
        (Emotion.HAPPY, ("mouth", "cheeks", "eyes"), ("forehead", "chin")),
        (Emotion.SURPRISE, ("brows", "eyes", "mouth"), ("nose",)),
        (Emotion.ANGRY, ("brows", "eyes", "mouth"), ("chin",)),
    ],
)
def test_moved_pixels_lie_where_facs_expects_them(emotion, expected, unexpected):
    density = np.zeros((4, 7))
    share = np.zeros((4, 8))
    for index in range(4):
        sample = faces.render_face(faces.make_character(3 * index + 1), emotion, size=96)
        for region in range(8):
            inside = sample.regions == region
            share[index, region] = sample.moved[inside].sum() / sample.moved.sum()
            if region:
                density[index, region - 1] = sample.moved[inside].mean()
    mean = dict(zip(faces.REGIONS, density.mean(axis=0), strict=True))
    for low in unexpected:
        assert all(mean[high] > mean[low] for high in expected if high != "cheeks")
    covered = sum(share[:, 1 + faces.REGIONS.index(name)].mean() for name in expected)
    assert covered > 0.5


# --- the data set -----------------------------------------------------------------------------------------------------


def test_dataset_is_balanced(dataset):
    assert len(dataset) == 2 * 7 * 2
    np.testing.assert_array_equal(dataset.counts(), np.full(7, 4))
    assert dataset.name == "faces"
    assert sorted(set(dataset.subjects)) == ["c00", "c01"]
    for subject in ("c00", "c01"):
        np.testing.assert_array_equal(np.bincount(dataset.labels[dataset.subjects == subject]), np.full(7, 2))


def test_dataset_shapes(dataset):
    assert dataset.images.shape == (28, 48, 48, 3)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64
    assert dataset.extras["landmarks"].shape == (28, 468, 2)
    assert dataset.extras["action_units"].shape == (28, len(faces.ACTION_UNITS))
    assert dataset.extras["regions"].shape == dataset.extras["moved"].shape == (28, 48, 48)
    values = dataset.extras["action_units"]
    assert values.dtype == np.float32
    assert values.min() == 0.0
    assert 0.5 < values.max() <= 1.0


def test_landmarks_stay_inside_the_picture():
    for index in range(40):
        person = faces.make_character(index)
        for emotion in EMOTIONS:
            rng = np.random.default_rng([9, index, emotion])
            vector, setting = faces.sample_expression(emotion, rng), faces.sample_scene(rng)
            points = render.project(person, vector, scene.View.of(setting, 48), 0.15)[1]
            assert points.min() >= 0.0
            assert points.max() <= 48.0


def test_dataset_is_deterministic_and_ignores_global_state(dataset):
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = faces.load(size=48, characters=2, variants=2, seed=3, masks=True, progress=False)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.testing.assert_array_equal(again.images, dataset.images)
    for name, column in dataset.extras.items():
        np.testing.assert_array_equal(again.extras[name], column)
    assert again.checksum == dataset.checksum
    assert dataset.checksum.startswith("sha256:")


def test_samples_do_not_depend_on_the_count_or_the_masks(dataset):
    fewer = faces.load(size=48, characters=1, variants=1, seed=3, progress=False)
    chosen = [2 * emotion for emotion in range(7)]  # character 0, variant 0
    np.testing.assert_array_equal(fewer.images, dataset.images[chosen])
    np.testing.assert_array_equal(fewer.extras["landmarks"], dataset.extras["landmarks"][chosen])
    assert "moved" not in fewer.extras


def test_samples_vary(dataset):
    other = faces.load(size=48, characters=2, variants=2, seed=4, progress=False)
    assert other.checksum != dataset.checksum
    assert len({image.tobytes() for image in dataset.images}) == len(dataset)
    lit = dataset.images.reshape(28, -1).mean(axis=1)
    assert lit.std() > 5


def test_optional_units_are_sometimes_missing_and_the_others_never():
    draws = np.array([faces.sample_expression(Emotion.ANGRY, np.random.default_rng(i)) for i in range(200)])
    present = dict(zip(faces.ACTION_UNITS, (draws > 0).mean(axis=0), strict=True))
    assert present[4] == present[7] == 1.0
    assert 0.8 < present[23] < 1.0
    assert present[12] == 0.0
    assert draws[draws > 0].min() >= 0.6 * 0.8


@pytest.mark.parametrize("bad", [{"size": 31}, {"size": 513}, {"characters": 0}, {"variants": 0}])
def test_bad_arguments_are_refused(bad):
    with pytest.raises(ValueError, match=r"must lie in 32\.\.512|At least one"):
        faces.load(progress=False, **bad)


@pytest.mark.parametrize("intensity", [-0.1, 1.1, float("nan")])
def test_bad_intensity_is_refused(person, intensity):
    with pytest.raises(ValueError, match="intensity"):
        faces.render_face(person, Emotion.SAD, intensity, size=48)


def test_an_action_unit_vector_of_the_wrong_length_is_refused(person):
    with pytest.raises(ValueError, match="entries"):
        faces.render_face(person, np.zeros(3), size=48)


# --- clips and sheets -------------------------------------------------------------------------------------------------


def test_clip_rises_from_neutral_to_the_peak(person):
    film = faces.clip(person, Emotion.HAPPY, frames=6, size=48, scene=TILTED)
    assert film.images.shape == (6, 48, 48, 3)
    assert film.landmarks.shape == (6, 468, 2)
    neutral = faces.render_face(person, Emotion.NEUTRAL, size=48, scene=TILTED)
    peak = faces.render_face(person, Emotion.HAPPY, size=48, scene=TILTED)
    np.testing.assert_array_equal(film.images[0], neutral.image)
    np.testing.assert_array_equal(film.landmarks[0], neutral.landmarks)
    np.testing.assert_allclose(film.landmarks[-1], peak.landmarks, atol=1e-4)
    travel = np.linalg.norm(film.landmarks[:, LEFT_CORNER] - film.landmarks[0, LEFT_CORNER], axis=1)
    assert (np.diff(travel) > 0).all()
    assert (np.diff(film.au[:, faces.ACTION_UNITS.index(12)]) > 0).all()
    with pytest.raises(ValueError, match="at least 2"):
        faces.clip(person, Emotion.HAPPY, frames=1)


@pytest.mark.parametrize("varied", [False, True])
def test_contact_sheet(varied):
    sheet = faces.contact_sheet(characters=2, size=32, gap=3, varied=varied)
    assert sheet.shape == (2 * 35 - 3, 7 * 35 - 3, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[32:35] == 255).all()
    with pytest.raises(ValueError, match="At least one"):
        faces.contact_sheet(characters=0)


def test_the_emotions_package_does_not_pull_in_opencv():
    code = "import sys, fercore.emotions, fercore.datasets.base; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
