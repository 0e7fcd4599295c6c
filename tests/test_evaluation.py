"""What a network says of images: logits, their means over several views, and scores, also against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import brightness_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torchvision.transforms.v2 import functional as oracle
from toy_training import small_network

from fercore import models
from fercore.training import evaluation


def pictures(count=20, side=32):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 1), dtype=np.uint8)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_predict_is_independent_of_the_batch_size_and_restores_the_mode(mirror, training):
    model, images = small_network(batch_norm=True).train(training), pictures()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, many = (evaluation.predict(model, images, size, mirror=mirror) for size in (3, 20))
    torch.testing.assert_close(one, many)
    assert (one.dtype, one.requires_grad, model.training) == (torch.float32, False, training)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    if not mirror:
        torch.testing.assert_close(one, model.eval()(models.to_input(images)).detach())


@pytest.mark.parametrize("crop", [0, 32])
@pytest.mark.parametrize("mirror", [False, True])
def test_several_views_are_averaged_as_probabilities(mirror, crop):
    """Windows are those of torchvision's five and ten crops."""
    model, images = small_network(), pictures(3, 42)
    whole = models.to_input(images)
    views = [whole, whole.flip(-1)][: 1 + mirror]
    if crop:
        views = (oracle.ten_crop if mirror else oracle.five_crop)(whole, crop)
    odds = torch.stack([model(view) for view in views]).softmax(-1)
    found = evaluation.predict(model, images, batch_size=2, mirror=mirror, crop=crop)
    torch.testing.assert_close(found.softmax(-1), odds.mean(0))
    assert len(views) == 1 or (odds[0] - odds[-1]).abs().max() > 1e-3  # the network tells views apart


def test_rules_leave_windows_out_that_would_change_the_last_map():
    every = {"": {}, "mirrored": {"mirror": True}}
    assert evaluation.rules((48, 48)) == evaluation.rules((48, 48), 40)
    assert evaluation.rules((48, 48)) == every | {"ten-crop": {"mirror": True, "crop": 40}}
    assert evaluation.rules((32, 32)) == every


def test_a_network_that_is_certain_still_has_finite_mirrored_answers():
    class Certain(torch.nn.Linear):
        def forward(self, images):
            return torch.tensor([[300.0, 0.0, 0.0]]).repeat(len(images), 1)

    found = evaluation.predict(Certain(1, 1), np.zeros((2, 8, 8, 1), dtype=np.uint8), mirror=True)
    torch.testing.assert_close(found, torch.tensor([[0.0, -300.0, -300.0]] * 2))


def test_score_is_the_cross_entropy_and_the_share_of_hits():
    toy, model = brightness_faces(30), small_network()
    odds = evaluation.predict(model, toy.images).double().softmax(1).numpy()
    found = evaluation.score(model, toy)
    assert found["loss"] == pytest.approx(-np.log(odds[np.arange(30), toy.labels]).mean(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((odds.argmax(axis=1) == toy.labels).mean())


@settings(max_examples=30)
@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60))
def test_classification_agrees_with_scikit_learn(pairs):
    labels, predictions = np.array(pairs).T
    found, present = evaluation.classification(labels, predictions), np.unique(labels)
    options = {"labels": present, "zero_division": 0}
    recall = recall_score(labels, predictions, average=None, **options)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro", **options))
    assert found["balanced_accuracy"] == pytest.approx(recall.mean())
    assert [share for share in found["recall"].values() if share is not None] == pytest.approx(recall)
    assert np.sum(found["confusion"]) == found["images"] == len(labels)


def test_a_case_by_hand_with_absent_classes():
    scores = evaluation.classification(np.array([3, 3, 3, 4]), np.array([3, 3, 6, 4]))
    assert (scores["recall"]["Happy"], scores["recall"]["Fear"]) == (pytest.approx(2 / 3), None)
    assert scores["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert scores["confusion"][3] == [0, 0, 0, 2, 0, 0, 1]
    json.dumps(scores, allow_nan=False)
