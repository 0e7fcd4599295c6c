"""What a network says of images: logits, the mean over mirror images, and its score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import brightness_faces
from toy_training import small_network

from fercore import models
from fercore.training import evaluation


def pictures(count=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_predict_is_independent_of_the_batch_size_and_restores_the_mode(mirror, training):
    model, images = small_network(batch_norm=True).train(training), pictures()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one, many = (evaluation.predict(model, images, size, mirror=mirror) for size in (3, 20))
    torch.testing.assert_close(one, many)
    assert one.dtype == torch.float32
    assert model.training == training
    assert not one.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_predict_gives_the_network_s_own_logits():
    model, images = small_network().eval(), pictures()
    torch.testing.assert_close(evaluation.predict(model, images), model(models.to_input(images)).detach())


def test_mirrored_predictions_are_the_log_of_the_mean_probability():
    model, images = small_network(), pictures()
    found = evaluation.predict(model, images, batch_size=7, mirror=True).double().numpy()
    straight, mirrored = (
        evaluation.predict(model, x).double().numpy()
        for x in (images, np.ascontiguousarray(images[:, :, ::-1]))
    )
    odds = [np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) for scores in (straight, mirrored)]
    np.testing.assert_allclose(found, np.log((odds[0] + odds[1]) / 2), atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    assert abs(odds[0] - odds[1]).max() > 1e-3  # the network does tell an image from its mirror image


def test_mirrored_predictions_do_not_tell_left_from_right():
    model, images = small_network(), pictures()
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    one, other = (evaluation.predict(model, x, mirror=True) for x in (images, mirrored))
    torch.testing.assert_close(one, other)


def test_score_is_the_cross_entropy_and_the_share_of_hits():
    toy = brightness_faces(30)
    model = small_network()
    scores = evaluation.predict(model, toy.images).double().numpy()
    odds = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    found = evaluation.score(model, toy)
    assert found["loss"] == pytest.approx(-np.log(odds[np.arange(30), toy.labels]).mean(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((scores.argmax(axis=1) == toy.labels).mean())


def test_a_network_that_is_certain_still_has_finite_mirrored_answers():
    class Certain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return torch.tensor([[300.0, 0.0, 0.0]]).repeat(len(images), 1)

    found = evaluation.predict(Certain(), np.zeros((2, 8, 8, 1), dtype=np.uint8), mirror=True)
    torch.testing.assert_close(found, torch.tensor([[0.0, -300.0, -300.0]] * 2))
