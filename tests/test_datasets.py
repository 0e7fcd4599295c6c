"""Loaders in the official layouts, and damaged files."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import brightness_faces, fer2013_rows, write_fer2013
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fercore import datasets
from fercore.datasets import FaceDataset, fer2013, splits
from fercore.errors import DatasetError, DatasetNotFoundError, UnknownNameError


def load(root, **options):
    return datasets.load("fer2013", root=root, verify=False, progress=False, **options)


def test_official_table_is_read_in_order(tmp_path):
    rows = fer2013_rows()
    write_fer2013(tmp_path, rows)
    data = load(tmp_path)
    assert data.images.shape == (42, 48, 48, 1)
    assert data.labels.tolist() == [label for label, _, _ in rows]
    assert data.usage.tolist() == [usage for _, _, usage in rows]
    assert data.images[5].ravel().tolist() == [int(p) for p in rows[5][1].split()]
    assert "md5" in data.source
    assert "official" not in data.source


def test_kaggle_table_with_leading_spaces_gives_the_same(tmp_path):
    rows = fer2013_rows()
    write_fer2013(tmp_path / "a", rows)
    path = tmp_path / "b" / "fer2013" / "icml_face_data.csv"
    path.parent.mkdir(parents=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", " Usage", " pixels"])
        writer.writerows([label, usage, pixels] for label, pixels, usage in rows)
    one, other = load(tmp_path / "a"), load(tmp_path / "b")
    assert one.checksum == other.checksum
    assert (one.usage == other.usage).all()


def write_folders(root, rows):
    numbers = {}
    for label, pixels, usage in rows:
        part = "train" if usage == "Training" else "test"
        folder = root / "fer2013" / part / fer2013.NAMES[label].lower()
        folder.mkdir(parents=True, exist_ok=True)
        number = numbers[usage] = numbers.get(usage, 0) + 1
        image = np.array(pixels.split(), dtype=np.uint8).reshape(48, 48)
        Image.fromarray(image).save(folder / f"{usage}_{number}.png")


def test_image_folders_carry_the_split_in_their_names(tmp_path):
    rows = fer2013_rows()
    write_folders(tmp_path / "folders", rows)
    (tmp_path / "folders" / "fer2013" / "train" / "happy" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "folders" / "fer2013" / "test" / ".DS_Store").write_bytes(b"x")
    write_fer2013(tmp_path / "table", rows)
    assert load(tmp_path / "folders").checksum == load(tmp_path / "table").checksum
    assert load(tmp_path / "folders").usage.tolist() == [usage for *_, usage in rows]


def test_foreign_files_in_folders_are_counted(tmp_path):
    write_folders(tmp_path, fer2013_rows(1))
    assert load(tmp_path).skipped == ()
    train = tmp_path / "fer2013" / "train"
    (train / "happy" / "notes.txt").write_text("x")
    (train / "stray.jpg").write_bytes(b"x")
    (train / "sad" / "more").mkdir()
    (said,) = load(tmp_path).skipped
    assert said == "3 files that are no images of FER2013: stray.jpg, notes.txt, more"
    (train / "happy" / "Training_5.jpg").symlink_to("nowhere")
    with pytest.raises(DatasetError, match=r"Training_5\.jpg is no file"):
        load(tmp_path)


def test_folder_faults_name_the_file(tmp_path):
    write_folders(tmp_path, fer2013_rows(1))
    happy = tmp_path / "fer2013" / "train" / "happy"
    for name, content, message in [
        ("Training_99.jpg", b"not an image", "not a readable image"),
        ("holiday.jpg", b"", "does not carry the split"),
        ("PrivateTest_9.jpg", b"", "lies in train/"),
    ]:
        (happy / name).write_bytes(content)
        with pytest.raises(DatasetError, match=message) as error:
            load(tmp_path)
        assert name in str(error.value)
        (happy / name).unlink()
    Image.new("L", (50, 48)).save(happy / "Training_77.png")
    with pytest.raises(DatasetError, match=r"Training_77.png has 50 x 48 pixels"):
        load(tmp_path)


def test_absent_dataset_says_what_where_and_how(tmp_path):
    with pytest.raises(DatasetNotFoundError) as error:
        datasets.load("fer2013", root=tmp_path)
    message = str(error.value)
    assert str(tmp_path / "fer2013") in message
    assert "Kaggle" in message
    assert "FERCORE_DATA" in message


def test_unknown_dataset_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="choose one of ck48, ckplus, faces, fer2013, ferg, jaffe"):
        datasets.load("fer2031")


def test_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path))
    assert datasets.data_root() == tmp_path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:500]], "line 43: "),
        (lambda lines: [*lines[:3], lines[3].replace(" ", "", 1), *lines[4:]], "2303 pixels instead of 2304"),
        (lambda lines: [*lines[:2], "7" + lines[2][1:], *lines[3:]], "line 3: the label is '7'"),
        (lambda lines: [*lines[:2], "x" + lines[2][1:], *lines[3:]], "the label is 'x'"),
        (lambda lines: [*lines[:2], lines[2].replace("Training", "Testing")], "Usage is 'Testing'"),
        (lambda lines: [lines[0], lines[1].replace(" ", " 999 ", 1).replace(" ", "", 1)], "line 2: "),
        (lambda lines: [lines[0], "0," + "256 " * 2304 + ",Training"], "outside 0..255"),
        (lambda lines: [lines[0], "0," + "-1 " * 2304 + ",Training"], "outside 0..255"),
        (lambda lines: [lines[0], "0," + "1.5 " * 2304 + ",Training"], "not a whole number"),
        (lambda lines: lines[:1], "holds no rows"),
        (lambda lines: ["emotion,pixels", *lines[1:]], "no column usage"),
        (lambda lines: [], "no column emotion, pixels, usage"),
    ],
)
def test_damaged_table_names_line_and_remedy(tmp_path, damage, message):
    path = write_fer2013(tmp_path, fer2013_rows())
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(DatasetError) as error:
        load(tmp_path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_wrong_counts_are_refused_unless_asked(tmp_path):
    write_fer2013(tmp_path, fer2013_rows())
    with pytest.raises(DatasetError, match="Training has 14 images instead of 28709"):
        datasets.load("fer2013", root=tmp_path, progress=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=400), st.text(alphabet='emotion,pixlsUg "\n01289\0', max_size=400).map(str.encode)
    )
)
def test_any_bytes_load_or_raise_the_documented_error(tmp_path, content):
    path = tmp_path / "fer2013" / "fer2013.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"emotion,pixels,Usage\n" + content)
    with pytest.raises(DatasetError):  # 400 bytes can never hold a row of 2,304 pixels
        load(tmp_path)


def test_face_dataset_checks_its_own_columns():
    toy = brightness_faces(14)
    with pytest.raises(DatasetError, match="13 labels for 14 images"):
        FaceDataset("x", "X", toy.images, toy.labels[:13], "")
    with pytest.raises(DatasetError, match=r"labels outside 0..7: \[9\]"):
        FaceDataset("x", "X", toy.images, np.where(toy.labels == 6, 9, toy.labels), "")
    with pytest.raises(DatasetError, match="uint8"):
        FaceDataset("x", "X", toy.images.astype(float), toy.labels, "")


def test_subset_keeps_rows_together():
    toy = brightness_faces(70)
    part = toy.subset(np.array([3, 60, 9]))
    assert part.labels.tolist() == [3, 4, 2]
    assert part.subjects.tolist() == [toy.subjects[3], toy.subjects[60], toy.subjects[9]]
    assert (part.images[1] == toy.images[60]).all()
    assert toy.subset(toy.labels == 2).counts().tolist() == [0, 0, 10, 0, 0, 0, 0]


@pytest.mark.real_data
def test_real_fer2013(real_fer2013):
    data = real_fer2013
    assert data.source.endswith("(the official file)")
    assert len(data) == 35887
    assert data.counts().tolist() == [4953, 547, 5121, 8989, 6077, 4002, 6198]
    parts = splits.split(data)
    assert parts.protocol == "official"
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [28709, 3589, 3589]
    assert splits.duplicates(data, parts).sum() == 288  # counted independently on the official file
