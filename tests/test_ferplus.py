"""The votes of FER+ beside FER2013."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import fer2013_rows, write_fer2013

from fercore import datasets
from fercore.datasets import fer2013
from fercore.emotions import Emotion
from fercore.errors import DatasetError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def lines(rows, seed=0):
    votes = np.random.default_rng(seed).multinomial(10, [0.1] * 10, size=len(rows))
    return [
        HEADER,
        *(
            f"{usage},fer{number:07d}.png,{','.join(map(str, v))}"
            for number, ((*_, usage), v) in enumerate(zip(rows, votes, strict=True))
        ),
    ]


def write(root, content, folder="fer2013", end="\n"):
    path = root / folder / fer2013.VOTES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(content) + end).encode())
    return path


def load(root):
    return datasets.load("fer2013", root=root, verify=False, progress=False)


@pytest.mark.parametrize("folder", ["fer2013", "ferplus"])
def test_votes_come_with_the_images(tmp_path, folder):
    rows = fer2013_rows()
    write_fer2013(tmp_path, rows)
    assert "votes" not in load(tmp_path).extras
    content = lines(rows)
    write(tmp_path, content, folder)
    for _ in range(2):  # read, then from the cache
        votes = load(tmp_path).extras["votes"]
        assert votes.shape == (42, 10)
        assert votes[7].tolist() == [int(v) for v in content[8].split(",")[2:]]
    assert load(tmp_path).subset(np.array([7])).extras["votes"].tolist() == [votes[7].tolist()]


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    rows = fer2013_rows()
    path = write_fer2013(tmp_path, rows)
    write(tmp_path, lines(rows))
    plain = load(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    write(tmp_path, ["\ufeff" + HEADER, *lines(rows)[1:]], end="\r\n")
    data = load(tmp_path)
    assert data.checksum == plain.checksum
    assert (data.extras["votes"] == plain.extras["votes"]).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-1], "41 rows for 42 images"),
        (lambda c: [*c[:3], c[3].replace("Training", "PublicTest"), *c[4:]], "line 4: Usage is 'PublicTest'"),
        (lambda c: [*c[:3], c[3].rsplit(",", 1)[0], *c[4:]], "line 4: 11 fields instead of 12"),
        (lambda c: [*c[:3], c[3].rsplit(",", 1)[0] + ",11", *c[4:]], "line 4: votes are whole numbers"),
        (lambda c: [*c[:3], c[3].rsplit(",", 1)[0] + ",-1", *c[4:]], "line 4: votes are whole numbers"),
        (lambda c: [c[0].replace("fear", "dread"), *c[1:]], "line 1: no column fear"),
        (lambda c: [], "line 1: no column Usage"),
    ],
)
def test_damaged_votes_name_line_and_remedy(tmp_path, damage, message):
    rows = fer2013_rows()
    write_fer2013(tmp_path, rows)
    path = write(tmp_path, damage(lines(rows)))
    with pytest.raises(DatasetError) as error:
        load(tmp_path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "FERPlus" in str(error.value)


def test_plurality():
    votes = np.zeros((5, 10), dtype=np.uint8)
    votes[0, 1] = 6  # happiness
    votes[1, 7] = 6  # contempt
    votes[2, 8] = 6  # unknown
    votes[3, 9] = 6  # no face
    votes[4, [0, 3]] = 5  # two lead together
    assert fer2013.plurality(votes).tolist() == [Emotion.HAPPY, Emotion.CONTEMPT, -1, -1, -1]
