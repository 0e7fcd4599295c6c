"""The numbers of a data card, on tiny sets whose answers are known, and on the real FER2013."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import brightness_faces
from ferlab.figures import charts, panels
from ferlab.studies import data_card

from fercore.datasets import FaceDataset, fer2013
from fercore.emotions import Emotion
from fercore.errors import DatasetError


def small() -> FaceDataset:
    """Ten images in three parts; pictures: 0 = 1 = 6 (labels 0, 0, 1), 2 = 5 (2, 2), 3 = 8 (3, 3), 9 blank."""
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1)).astype(np.uint8)
    for copy, original in [(1, 0), (6, 0), (5, 2), (8, 3)]:
        images[copy] = images[original]
    images[9] = 77
    usage = np.repeat(["Training", "PublicTest", "PrivateTest"], [5, 2, 3])
    labels = np.array([0, 0, 2, 3, 3, 2, 1, 3, 3, 6])
    subjects = np.array(list("aabbbccddd"))
    return FaceDataset("small", "Small", images, labels, "", usage=usage, subjects=subjects)


def voted(labels: list[int], votes: list[dict[str, int]]) -> FaceDataset:
    """Blank images with labels and votes, given by the names of FER+'s columns."""
    rows = [[given.get(name, 0) for name in fer2013.VOTE_COLUMNS] for given in votes]
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    extras = {"votes": np.array(rows, np.uint8)}
    return FaceDataset("voted", "Voted", images, np.array(labels), "", extras=extras)


def test_counts_are_those_of_the_labels_and_majority_names_what_a_guesser_reaches():
    table = data_card.counts(small())
    assert list(table) == ["Training", "PublicTest", "PrivateTest", "all"]
    assert table.Training.tolist() == [2, 0, 1, 2, 0, 0, 0]
    assert table["all"].tolist() == [2, 1, 2, 4, 0, 0, 1]
    assert data_card.majority(table).loc["all"].tolist() == ["Happy", 0.4, "Disgust", 4.0]
    toy = brightness_faces(14)
    assert data_card.counts(toy).to_dict("list") == {"all": [2] * 7}
    contempt = replace(toy, labels=np.array([Emotion.CONTEMPT, *toy.labels[1:]]))
    assert data_card.counts(contempt).loc["Contempt", "all"] == 1


def test_copies_and_conflicts():
    assert data_card.copies(small()) == data_card.Copies(
        images=10, distinct=6, surplus=4, groups=3, largest=3, conflicting=1, conflicting_images=3
    )
    assert data_card.conflicts(small()).to_dict() == {"pictures": {"Angry, Disgust": 1}}
    assert data_card.conflicts(brightness_faces(14)).empty


def test_copies_across_parts_are_counted_in_both_directions():
    table = data_card.copies_across(small()).set_index(["part", "also in"])
    assert len(table) == 6
    assert table.loc["Training", "PublicTest"].tolist() == [3, 0.6, 1]
    assert table.loc["PublicTest", "Training"].tolist() == [2, 1.0, 1]
    assert table.loc["PrivateTest", "Training"].tolist() == [1, 1 / 3, 1]
    assert data_card.copies_across(brightness_faces(14)).empty


def test_blank_images_have_one_value_in_each_channel():
    assert data_card.blanks(small()).to_dict() == {"Training": 0, "PublicTest": 0, "PrivateTest": 1}
    coloured = np.zeros((2, 3, 3, 3), np.uint8) + np.array([1, 2, 3], np.uint8)
    coloured[1, 2, 2, 0] = 9
    assert data_card.blank(FaceDataset("c", "C", coloured, np.array([0, 1]), "")).tolist() == [True, False]


def test_people():
    table = data_card.people(small())
    assert table["all"].to_dict() == {"a": 2, "b": 3, "c": 2, "d": 3}
    assert table.loc["b", ["Fear", "Happy"]].tolist() == [1, 2]


VOTED = voted(
    [3, 3, 2, 2, 0, 0, 5, 6, 3],
    [
        {"happiness": 9, "fear": 1},
        {"neutral": 6, "happiness": 4},
        {"fear": 8, "unknown": 2},
        {"surprise": 7, "fear": 3},
        {"anger": 5, "neutral": 5},  # tied; the first in the order of the columns is neutral
        {"contempt": 6, "anger": 4},
        {"NF": 10},
        {"unknown": 6, "neutral": 4},
        {"happiness": 5, "surprise": 5},  # tied; the first is happiness
    ],
)


def test_verdicts_add_up():
    found = data_card.verdicts(VOTED).to_dict()
    assert found == {"basic emotion": 4, "contempt": 1, "unknown": 1, "no face": 1, "tied": 2}


def test_agreement_by_label():
    table = data_card.agreement(VOTED)
    assert table["images"].to_dict() == {"Fear": 2, "Happy": 2, "all": 4}
    assert table["agree"].tolist() == [0.5] * 3
    with_ties = data_card.agreement(VOTED, ties=True)
    assert with_ties["images"].to_dict() == {"Angry": 1, "Fear": 2, "Happy": 3, "all": 6}
    assert with_ties["agree"].tolist() == pytest.approx([0, 0.5, 2 / 3, 0.5])
    assert with_ties.loc["Angry", "plurality says"] == "Neutral"
    parts = replace(VOTED, usage=np.repeat(["Training", "PrivateTest"], [3, 6]))
    assert data_card.agreement(parts, "Training").loc["all", "agree"] == pytest.approx(2 / 3)
    assert json.dumps(table.to_dict(orient="index"), allow_nan=False)


def test_what_a_dataset_lacks_is_said():
    with pytest.raises(DatasetError, match=r"fer2013new.csv"):
        data_card.verdicts(small())
    with pytest.raises(DatasetError, match="names no subjects"):
        data_card.people(VOTED)


def test_figure_shows_every_count():
    table = data_card.counts(small()).drop(columns="all")
    (axes,) = charts.part_counts(table).axes
    assert sorted(bar.get_height() for bar in axes.patches) == sorted(table.to_numpy().ravel())
    assert [label.get_text() for label in axes.get_xticklabels()] == list(table.index)


def test_face_rows_put_each_face_in_its_row():
    toy = brightness_faces(21)
    figure = panels.face_rows(toy.images[:20], toy.labels[:20], 3)
    shown = [axes for axes in figure.axes if axes.images]
    rows = [axes.get_subplotspec().rowspan.start for axes in shown]
    assert len(shown) == 20
    assert [
        np.mean(axes.images[0].get_array()) // 34 for axes in shown
    ] == rows  # its brightness is its class


@pytest.mark.real_data
def test_real_fer2013(real_fer2013):
    found = data_card.copies(real_fer2013)
    assert (found.distinct, found.surplus) == (34034, 1853)
    assert (found.conflicting, found.conflicting_images) == (57, 160)
    across = data_card.copies_across(real_fer2013).set_index(["part", "also in"])[["images", "same label"]]
    assert across.loc["PrivateTest", "Training"].tolist() == [288, 279]
    assert across.loc["PublicTest", "Training"].tolist() == [280, 273]
    assert across.loc[("PrivateTest", "PublicTest"), "images"] == 44
    assert data_card.blanks(real_fer2013).to_dict() == {"Training": 11, "PublicTest": 1, "PrivateTest": 0}


@pytest.mark.real_data
def test_real_ferplus(real_fer2013):
    if "votes" not in real_fer2013.extras:
        pytest.skip("FER+ is not here: put fer2013new.csv beside fer2013.csv")
    assert data_card.verdicts(real_fer2013)[["unknown", "no face"]].tolist() == [222, 177]
    table = data_card.agreement(real_fer2013, ties=True).agree
    expected = [0.49, 0.33, 0.13, 0.92, 0.41, 0.80, 0.88, 0.634]  # counted independently
    assert np.allclose(table, expected, atol=0.005)
    assert data_card.agreement(real_fer2013).loc["all", "agree"] == pytest.approx(0.657, abs=5e-4)
    private = data_card.agreement(real_fer2013, "PrivateTest", ties=True)
    assert private.loc["all", "agree"] == pytest.approx(0.634, abs=5e-4)
