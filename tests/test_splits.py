"""Protocols: frozen folds, guarantees, copies, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import brightness_faces

from fercore.datasets import FaceDataset, splits
from fercore.errors import DatasetError, UnknownNameError

# Committed weights depend on these: a protocol, once published, gives the same images for ever. Of all folds together.
FROZEN = {
    ("subject", 0): "d5233014af1b3d285432c1e1a5af1ff8401cd0f103f1c566383b09977cf0d2aa",
    ("subject", 3): "f438adcb22449ccc9cac3e449c67c645c6f183094a9f6b6260620a25405ce951",
    ("paper", 0): "5f2864bec321a6de0f3fbb174d4de9a31fe412a90d79e721d6d0b1a719babe6c",
    ("paper", 3): "6e5e94f8c475d3ad397d59a6b88424036f566eb1fc14f4cde87498d9308b0eed",
    ("loso", 0): "5117a0665f12d48ea7299ce7bc9a9941bbe4c8523081ff78a85eb8daf541018b",
    ("official", 0): "2d6e2b981248415a64520d1014ebe5cd270edb6636d750d649e12c0fe08c3022",
    ("official-dedup", 0): "2d6e2b981248415a64520d1014ebe5cd270edb6636d750d649e12c0fe08c3022",
}


def with_usage(toy: FaceDataset) -> FaceDataset:
    """Half of the images in Training, a quarter each in the two test parts."""
    usage = np.array(["Training", "PublicTest", "Training", "PrivateTest"])[np.arange(len(toy)) % 4]
    return replace(toy, usage=usage)


@pytest.mark.parametrize(("protocol", "seed"), FROZEN)
def test_published_folds_never_change(protocol, seed):
    toy = with_usage(brightness_faces(140))
    folds = [
        splits.split(toy, protocol, fold, seed).checksum() for fold in range(splits.folds(toy, protocol))
    ]
    assert hashlib.sha256(" ".join(folds).encode()).hexdigest() == FROZEN[protocol, seed]


@pytest.mark.parametrize(("protocol", "count"), [("subject", 5), ("paper", 5), ("loso", 6)])
def test_folds_are_disjoint_and_cover_everything_once(protocol, count):
    toy = brightness_faces(140, subjects=6)
    assert splits.folds(toy, protocol) == count
    tests = []
    for fold in range(count):
        parts = splits.split(toy, protocol, fold)
        assert sorted(np.concatenate(parts.sides)) == list(range(len(toy)))
        tests.append(parts.test)
        if protocol == "paper":
            assert np.bincount(toy.labels[parts.test], minlength=7).tolist() == [4] * 7
        else:
            sides = [set(toy.subjects[part]) for part in parts.sides]
            assert len(set.union(*sides)) == sum(map(len, sides)) == 6
    assert sorted(np.concatenate(tests)) == list(range(len(toy)))


def test_leaving_one_out_goes_by_sorted_subjects_and_draws_nothing():
    toy = brightness_faces(140, subjects=4)
    for fold, (tested, validated) in enumerate([("s0", "s1"), ("s1", "s2"), ("s2", "s3"), ("s3", "s0")]):
        parts = splits.split(toy, "loso", fold, seed=fold)
        assert set(toy.subjects[parts.test]) == {tested}
        assert set(toy.subjects[parts.validation]) == {validated}


def test_without_subjects_folds_go_by_sequence():
    toy = brightness_faces(140)
    by_subject = splits.split(toy, "subject", 2)
    sequences = replace(toy, subjects=None, groups=np.array([f"q{n // 3}" for n in range(140)]))
    parts = splits.split(sequences, "subject", 2)
    assert parts.checksum() != by_subject.checksum()
    sides = [set(sequences.groups[part]) for part in parts.sides]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 47


@pytest.mark.parametrize("protocol", ["subject", "loso"])
def test_a_sequence_of_two_subjects_is_refused(protocol):
    toy = replace(brightness_faces(140), groups=np.array([f"q{n % 2}" for n in range(140)]))
    with pytest.raises(DatasetError, match=r"sequences on two sides of the split: q0, q1"):
        splits.split(toy, protocol)


def test_deduplicated_split_keeps_training_and_drops_copies_from_the_others():
    toy = with_usage(
        brightness_faces(140)
    )  # 0 in Training; 1, 5 and 9 in PublicTest; 3, 7 and 11 in PrivateTest
    for copy, original in [(1, 0), (3, 0), (5, 7), (9, 5), (11, 7)]:
        toy.images[copy] = toy.images[original]
    whole, parts = splits.split(toy, "official"), splits.split(toy, "official-dedup")
    assert (parts.train == whole.train).all()
    assert set(whole.validation) - set(parts.validation) == {1, 5, 9}  # in Training; in PrivateTest, twice
    assert set(whole.test) - set(parts.test) == {3}  # 7 and 11 are copies of one another, on one side
    assert parts.names == whole.names
    assert np.flatnonzero(splits.duplicates(toy, whole)).tolist() == [0]
    assert not splits.duplicates(toy, parts).any()


def test_identical_numbers_distinct_images_in_order(tmp_path):
    images = np.zeros((6, 4, 4, 1), np.uint8)
    images[2:4] = 1
    images[4, 3, 3] = 1
    assert splits.identical(images).tolist() == [0, 0, 1, 1, 2, 0]
    np.save(tmp_path / "images.npy", images)
    on_disk = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert splits.identical(on_disk).tolist() == [0, 0, 1, 1, 2, 0]
    assert splits.identical(images.transpose(0, 2, 1, 3)).tolist() == [0, 0, 1, 1, 2, 0]
    assert splits.identical(images[:0]).shape == (0,)


TOY = brightness_faces(70)
BARE = replace(TOY, subjects=None)


@pytest.mark.parametrize(
    ("dataset", "protocol", "fold", "error", "message"),
    [
        (TOY, "random", 0, UnknownNameError, "official, official-dedup, subject, loso, paper"),
        (TOY, "official-dedup", 0, DatasetError, "no official split"),
        (TOY, "loso", 10, ValueError, "fold=10 does not exist: protocol 'loso' has folds 0 to 9"),
        (BARE, None, 0, DatasetError, "0 subjects or sequences"),
        (replace(BARE, groups=np.arange(70) % 4), "subject", 0, DatasetError, "4 subjects or sequences"),
        (
            brightness_faces(70, subjects=2),
            "loso",
            0,
            DatasetError,
            "2 subjects; leaving one out takes three",
        ),
        (brightness_faces(35), "paper", 0, DatasetError, "too few images of Angry"),
    ],
)
def test_what_a_protocol_cannot_do_is_said(dataset, protocol, fold, error, message):
    with pytest.raises(error, match=message):
        splits.split(dataset, protocol, fold)
