"""Protocols: frozen folds, guarantees, copies, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import brightness_faces

from fercore.datasets import FaceDataset, splits
from fercore.errors import DatasetError, UnknownNameError

# Committed weights depend on these: a protocol, once published, gives the same images for ever.
FROZEN = {
    ("subject", 0, 0): "a2b2ce6883f9b1fa481657efb842902ec4ee2557d8b72b9c6c4bd4c2d91e1a26",
    ("subject", 1, 0): "b5bbd69b2fb61ba11704c632491402505db261c84cb037ac2344b62a059f335b",
    ("subject", 2, 0): "3ead4b88d5f90d80ab782a9ca6d4a9c8a884bdc25ad92b7b9147759145dfecdf",
    ("subject", 3, 0): "66e9f15dab591e5aa0acc5e0611275e11bcd018f36c084d45796b3e4e058a4bb",
    ("subject", 4, 0): "39429f6f27fe7a20393ad386b53539277b74018e08f9e8760e2ec691b00dfbb0",
    ("subject", 0, 3): "5f1a65d54c179995ca7b9da10e087496e6961c71b92a6d069b89b55112c265af",
    ("subject", 1, 3): "adc0d1da612005127e816026ffec4e586fd4ff104030f7723ecaa6394dafdf53",
    ("subject", 2, 3): "0001e6f8ee275654fb62fe31ffcdc481b7cf99f68a41823ae7d9dcd0c2f38748",
    ("subject", 3, 3): "80b1749430e4cba8d5bd39961721778e0b1724e6a2d817df2e4da18fc8cf5347",
    ("subject", 4, 3): "bc555a2a4b3efbb713bf865bcbe4921512c8b35f140b1b0d7c7a7850498f7b4c",
    ("paper", 0, 0): "135639d66f8a36cb5cb4b4d089d7ce86be0cc5ea828a423306be31d577fb3ffd",
    ("paper", 1, 0): "cbe2342a0f017225ab13953e4ad5a8e0335443a230d8068a9331774004d67b3c",
    ("paper", 2, 0): "22fc97684785edf6f32f488699d5217db0b2e7bb3ae9171f0d443d2fb126dc46",
    ("paper", 3, 0): "052e24fd35367bdb5e8d3125572847b8b5e2975abc324a48d3ca104be96bb1c4",
    ("paper", 4, 0): "b974210ceac0f211394caaba25863a0fdda662b0857371611336cc1de3fc98de",
    ("paper", 0, 3): "d047839813b6e649b33b27ce93fb44bd97b387c72fa481af2b968c697ae13c44",
    ("paper", 1, 3): "140506124beaf2f16073381077e90fbfa15f7ddbe69081ff6dbf7df63ee1f8ad",
    ("paper", 2, 3): "2f324addcb823eebfce2ffd8ed6954a965462f6c01ec231e9bdfd3faaa7b37e1",
    ("paper", 3, 3): "71c7ef8de9a87424b0d6455a5a97f233c4b76b6c1d3c47b47848be2165f13b77",
    ("paper", 4, 3): "ed13387d9c3279046d98070291d90cf1c173fe4e550e83492439b18ccef8d5d9",
    ("official", 0, 0): "a7879ddb31fcf484925ebdc72b3c029a94e9bf4f467bf8f0491c19d36a762e98",
}


def with_usage(toy: FaceDataset) -> FaceDataset:
    """Half of the images in Training, a quarter each in the two test parts."""
    return replace(
        toy, usage=np.array(["Training", "PublicTest", "Training", "PrivateTest"])[np.arange(len(toy)) % 4]
    )


@pytest.mark.parametrize(("protocol", "fold", "seed"), FROZEN, ids=lambda value: str(value))
def test_published_folds_never_change(protocol, fold, seed):
    parts = splits.split(with_usage(brightness_faces(140)), protocol, fold, seed)
    assert parts.checksum() == "sha256:" + FROZEN[protocol, fold, seed]


@pytest.mark.parametrize("protocol", ["subject", "paper", "loso"])
def test_folds_are_disjoint_and_cover_everything_once(protocol):
    toy = brightness_faces(140)
    tests = []
    for fold in range(splits.folds(toy, protocol)):
        parts = splits.split(toy, protocol, fold)
        assert sorted(np.concatenate(parts.sides)) == list(range(len(toy)))
        tests.append(parts.test)
        if protocol == "paper":
            assert np.bincount(toy.labels[parts.test], minlength=7).tolist() == [4] * 7
        else:
            sides = [set(toy.subjects[part]) for part in parts.sides]
            assert len(set.union(*sides)) == sum(map(len, sides))
    assert sorted(np.concatenate(tests)) == list(range(len(toy)))


def test_number_of_folds():
    toy = with_usage(brightness_faces(140, subjects=7))
    numbers = {protocol: splits.folds(toy, protocol) for protocol in splits.PROTOCOLS}
    assert numbers == {"official": 1, "official-dedup": 1, "subject": 5, "loso": 7, "paper": 5}


def test_leaving_one_out_goes_by_sorted_subjects():
    toy = brightness_faces(140, subjects=4)
    for fold, (tested, validated) in enumerate(
        [("s0", "s1"), ("s1", "s2"), ("s2", "s3"), ("s3", "s0")],
    ):
        parts = splits.split(toy, "loso", fold)
        assert set(toy.subjects[parts.test]) == {tested}
        assert set(toy.subjects[parts.validation]) == {validated}
    assert splits.split(toy, "loso", 1, seed=9).checksum() == splits.split(toy, "loso", 1).checksum()


def test_splits_are_seeded():
    toy = brightness_faces(140)
    one, same, other = (splits.split(toy, "paper", 0, seed).checksum() for seed in (0, 0, 1))
    assert one == same != other


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


@pytest.mark.parametrize(
    ("protocol", "function", "message"),
    [("official", "_official", "overlap or leave"), ("subject", "_by_subject", "subjects on two sides")],
)
def test_a_protocol_that_breaks_its_promise_is_noticed(monkeypatch, protocol, function, message):
    toy = with_usage(brightness_faces(140))
    every = np.arange(140)
    wrong = {
        "official": (every[:60], every[50:70], every[70:]),
        "subject": (every[:60], every[60:70], every[70:]),
    }
    monkeypatch.setattr(splits, function, lambda *_: splits.Split(protocol, *wrong[protocol]))
    with pytest.raises(DatasetError, match=message):
        splits.split(toy, protocol)


def test_indices_outside_the_dataset_are_noticed(monkeypatch):
    toy = with_usage(brightness_faces(140))
    bad = splits.Split("official", np.array([0]), np.array([-1]), np.array([140]))
    monkeypatch.setattr(splits, "_official", lambda _: bad)
    with pytest.raises(DatasetError, match="leave the dataset"):
        splits.split(toy, "official")


def copied_faces() -> FaceDataset:
    """Images 0, 4, … of Training; copies: 1 and 3 of 0, 5 of 7, 9 of 5, 11 of 7."""
    toy = with_usage(brightness_faces(140))
    for copy, original in [(1, 0), (3, 0), (5, 7), (9, 5), (11, 7)]:
        toy.images[copy] = toy.images[original]
    return toy


def test_deduplicated_split_keeps_training_and_drops_copies_from_the_others():
    toy = copied_faces()
    assert toy.usage[[0, 1, 3, 5, 7, 9, 11]].tolist() == [
        "Training", "PublicTest", "PrivateTest", "PublicTest", "PrivateTest", "PublicTest", "PrivateTest",
    ]  # fmt: skip
    whole, parts = splits.split(toy, "official"), splits.split(toy, "official-dedup")
    assert (parts.train == whole.train).all()
    assert set(whole.validation) - set(parts.validation) == {1, 5, 9}  # in Training; in PrivateTest, twice
    assert set(whole.test) - set(parts.test) == {3}  # 7 and 11 are copies of one another, on one side
    assert parts.names == whole.names
    assert not splits.duplicates(toy, parts).any()


def test_deduplication_asserts_its_promise(monkeypatch):
    toy = copied_faces()
    whole = splits.split(toy, "official")
    monkeypatch.setattr(splits, "_without_copies", lambda _: replace(whole, protocol="official-dedup"))
    with pytest.raises(DatasetError, match="identical images on two sides"):
        splits.split(toy, "official-dedup")


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


def test_duplicates_are_exact_copies_of_training_images():
    toy = brightness_faces(70)
    parts = splits.split(toy, "paper")
    toy.images[parts.test[3]] = toy.images[parts.train[0]]
    assert np.flatnonzero(splits.duplicates(toy, parts)).tolist() == [3]


def test_split_errors_name_the_argument():
    toy = brightness_faces(70)
    bare = replace(toy, subjects=None)
    with pytest.raises(UnknownNameError, match="official, official-dedup, subject, loso, paper"):
        splits.split(toy, "random")
    for protocol in ("official", "official-dedup"):
        with pytest.raises(DatasetError, match="no official split"):
            splits.split(toy, protocol)
    with pytest.raises(ValueError, match="fold=5 does not exist"):
        splits.split(toy, "paper", 5)
    with pytest.raises(ValueError, match=r"fold=10 does not exist: protocol 'loso' has folds 0 to 9"):
        splits.split(toy, "loso", 10)
    with pytest.raises(DatasetError, match="neither subjects nor sequences"):
        splits.split(bare, "subject")
    with pytest.raises(DatasetError, match="names no subjects"):
        splits.split(bare, "loso")
    with pytest.raises(DatasetError, match="has 2 subjects; leaving one out takes three"):
        splits.folds(brightness_faces(70, subjects=2), "loso")
    with pytest.raises(DatasetError, match="fewer than 5 subjects"):
        splits.split(brightness_faces(70, subjects=4), "subject")
    with pytest.raises(DatasetError, match="fewer than 5 sequences"):
        splits.split(replace(bare, groups=np.arange(70) % 4), "subject")
    with pytest.raises(DatasetError, match="too few images of Angry"):
        splits.split(brightness_faces(35), "paper")


def test_six_characters_make_five_folds():
    toy = brightness_faces(84, subjects=6)
    sizes = [len(set(toy.subjects[splits.split(toy, "subject", fold).test])) for fold in range(5)]
    assert sorted(sizes) == [1, 1, 1, 1, 2]


@pytest.mark.real_data
def test_real_fer2013_without_copies(real_fer2013):
    parts = splits.split(real_fer2013, "official-dedup")
    assert [len(part) for part in parts.sides] == [28709, 3283, 3301]
