"""The numbers of a data card, on tiny sets whose answers are known, and on the real FER2013; and the model card."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import brightness_faces
from ferlab.figures import panels
from ferlab.studies import data_card, shipping
from torch import nn

from fercore import models, pretrained
from fercore.datasets import FaceDataset, fer2013
from fercore.emotions import Emotion
from fercore.errors import DatasetError
from fercore.training import evaluation


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


def voted() -> FaceDataset:
    """Nine blank images with labels and votes, given by the names of FER+'s columns."""
    given = {
        3: [{"happiness": 9, "fear": 1}, {"neutral": 6, "happiness": 4}, {"happiness": 5, "surprise": 5}],
        2: [{"fear": 8, "unknown": 2}, {"surprise": 7, "fear": 3}],
        # The first is tied; neutral comes first in the columns.
        0: [{"anger": 5, "neutral": 5}, {"contempt": 6, "anger": 4}],
        5: [{"NF": 10}],
        6: [{"unknown": 6, "neutral": 4}],
    }
    labels = np.repeat(list(given), [len(votes) for votes in given.values()])
    rows = [[one.get(name, 0) for name in fer2013.VOTE_COLUMNS] for votes in given.values() for one in votes]
    extras = {"votes": np.array(rows, np.uint8)}
    return FaceDataset("voted", "Voted", np.zeros((9, 2, 2, 1), np.uint8), labels, "", extras=extras)


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


def test_facts_say_where_a_set_comes_from():
    toy = brightness_faces(14)
    for name, paper in (("faces", "none for this set"), ("fer2013", "62.62%")):
        said = data_card.facts(replace(toy, name=name)).iloc[:, 0]
        assert said["images"] == "14 of 32 x 32 pixels, grey"
        assert said["paper, Table 1"] == paper
        assert said["terms"]


def test_copies_conflicts_and_blank_images():
    assert data_card.copies(small()) == data_card.Copies(10, 6, 4, 3, 3, 1, 3)
    assert data_card.conflicts(small()).to_dict() == {"pictures": {"Angry, Disgust": 1}}
    assert data_card.blanks(small()).to_dict() == {"Training": 0, "PublicTest": 0, "PrivateTest": 1}
    table = data_card.copies_across(small()).set_index(["part", "also in"])
    assert len(table) == 6
    assert table.loc["Training", "PublicTest"].tolist() == [3, 0.6, 1]
    assert table.loc["PublicTest", "Training"].tolist() == [2, 1.0, 1]
    assert table.loc["PrivateTest", "Training"].tolist() == [1, 1 / 3, 1]
    across = data_card.by_pair(data_card.copies_across(small()))
    assert across["PublicTest_in_Training"] == {"images": 2, "share": 1.0, "same_label": 1}
    coloured = np.zeros((2, 3, 3, 3), np.uint8) + np.array([1, 2, 3], np.uint8)
    coloured[1, 2, 2, 0] = 9
    assert data_card.blank(FaceDataset("c", "C", coloured, np.array([0, 1]), "")).tolist() == [True, False]


def test_people_and_what_a_dataset_lacks():
    table = data_card.people(small())
    assert table["all"].to_dict() == {"a": 2, "b": 3, "c": 2, "d": 3}
    assert table.loc["b", ["Fear", "Happy"]].tolist() == [1, 2]
    with pytest.raises(DatasetError, match="names no subjects"):
        data_card.people(voted())
    with pytest.raises(DatasetError, match=r"fer2013new.csv"):
        data_card.verdicts(small())


def test_votes_and_how_far_they_agree_with_the_labels():
    found = data_card.verdicts(voted()).to_dict()
    assert found == {"basic emotion": 4, "contempt": 1, "unknown": 1, "no face": 1, "tied": 2}
    table = data_card.agreement(voted())
    assert table["images"].to_dict() == {"Fear": 2, "Happy": 2, "all": 4}
    assert table["agree"].tolist() == [0.5] * 3
    assert json.dumps(table.to_dict(orient="index"), allow_nan=False)
    with_ties = data_card.agreement(voted(), ties=True)
    assert with_ties["images"].to_dict() == {"Angry": 1, "Fear": 2, "Happy": 3, "all": 6}
    assert with_ties["agree"].tolist() == pytest.approx([0, 0.5, 2 / 3, 0.5])
    assert with_ties.loc["Angry", "plurality says"] == "Neutral"
    parts = replace(voted(), usage=np.repeat(["Training", "PrivateTest"], [4, 5]))
    assert data_card.agreement(parts, "Training").loc["all", "agree"] == pytest.approx(2 / 3)


def test_face_rows_put_each_face_in_its_row():
    toy = brightness_faces(21)
    figure = panels.face_rows(toy.images[:20], toy.labels[:20], 3)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 20
    rows = [axes.get_subplotspec().rowspan.start for axes in shown]
    assert rows == [np.mean(axes.images[0].get_array()) // 34 for axes in shown]  # brightness is the class


def test_the_model_card_reports_every_rule_with_and_without_copies():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(48, momentum=None), nn.Linear(48, 7)
        )
    images = np.random.default_rng(0).integers(0, 256, (60, 48, 48, 1)).astype(np.uint8)
    images[50:55] = images[:5]
    network(models.to_input(images))  # so that means of noise are told apart
    said = evaluation.predict(network, images).argmax(1).numpy()  # by a single pass
    usage = np.repeat(["Training", "PublicTest", "PrivateTest"], [40, 5, 15])
    data = FaceDataset("fer2013", "FER2013", images, said, "sum", usage=usage)
    history = [{"epoch": 1, "validation_accuracy": 0.5, "validation_loss": 1.0, "seconds": 7200.0}]
    about = {"weights": pretrained.WEIGHTS, "history": history, "hardware": "it", "key": "k"}
    found = SimpleNamespace(model=network, **about)
    card = shipping.card_text(shipping.setting(), data, found)
    rows = dict(re.findall(r"^\| (PrivateTest[^|]*) \| \d+ \| ([\d.]+)", card, re.MULTILINE))
    own = np.arange(15) >= 10
    own[:5], accuracies = True, set()  # of 15 images the sixth to the tenth are copies
    views = {"": {}, ", mirrored": {"mirror": True}, ", ten-crop": {"mirror": True, "crop": 40}}
    for rule, options in views.items():
        right = evaluation.predict(network, images[45:], **options).argmax(1).numpy() == data.labels[45:]
        accuracies.add(right.mean())
        assert rows.pop(f"PrivateTest{rule}") == f"{right.mean():.4f}"
        assert rows.pop(f"PrivateTest{rule}, without copies") == f"{right[own].mean():.4f}"
    assert rows == {}
    assert len(accuracies) == 3
    assert "1 epochs in 2.0 hours on it" in card


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
    if "votes" not in real_fer2013.extras:
        pytest.skip("FER+ is not here: put fer2013new.csv beside fer2013.csv")
    assert data_card.verdicts(real_fer2013)[["unknown", "no face"]].tolist() == [222, 177]
    table = data_card.agreement(real_fer2013, ties=True).agree
    expected = [0.49, 0.33, 0.13, 0.92, 0.41, 0.80, 0.88, 0.634]  # counted independently
    assert np.allclose(table, expected, atol=0.005)
    assert data_card.agreement(real_fer2013).loc["all", "agree"] == pytest.approx(0.657, abs=5e-4)
    private = data_card.agreement(real_fer2013, "PrivateTest", ties=True)
    assert private.loc["all", "agree"] == pytest.approx(0.634, abs=5e-4)
