"""One training step against closed forms: loss, update, averaged weights, and memory that runs out."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from toy_training import SHORT, STRONG, batch, fit, numbers, same_weights, small_network, trainer

from fercore.errors import FercoreError
from fercore.training import augmentation
from fercore.training import trainer as training

PLAIN = replace(SHORT, optimizer="sgd", lr=0.01)


def update(state, images, labels, weight=1.0):
    """One step on a batch that is blended with itself in reverse order."""
    blended = weight * images + (1 - weight) * images.flip(0)
    return state._update(blended, labels, None if weight == 1 else torch.tensor(weight))


def loss_of(model, images, labels, smoothing=0.0, weight=1.0):
    """The summed cross-entropy, in double precision, of blended images to evenly smoothed and blended targets."""
    scores = model(weight * images + (1 - weight) * images.flip(0)).double()
    smooth = (1 - smoothing) * torch.nn.functional.one_hot(labels, 7).double() + smoothing / 7
    wanted = weight * smooth + (1 - weight) * smooth.flip(0)
    return -(wanted * torch.log_softmax(scores, 1)).sum(), scores


def assert_close(one, other):
    """Compare two networks that took the same step in other parts: float32 sums in another order."""
    for (name, mine), yours in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize(("smoothing", "weight"), [(0, 1), (0.1, 1), (0, 0.7), (0.2, 0.6), (1, 0.5)])
def test_the_loss_is_the_cross_entropy_to_smoothed_and_mixed_targets(smoothing, weight):
    state = trainer(replace(PLAIN, label_smoothing=smoothing))
    images, labels = batch(9)
    expected, scores = loss_of(copy.deepcopy(state.model), images, labels, smoothing, weight)
    loss, hits = update(state, images, labels, weight).tolist()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert hits == (scores.argmax(1) == labels).sum().item()


@pytest.mark.parametrize("decay", [0, 0.1])
def test_a_step_of_sgd_goes_down_the_mean_gradient(decay):
    state = trainer(replace(PLAIN, label_smoothing=0.1, weight_decay=decay))
    images, labels = batch(9)
    before = copy.deepcopy(state.model)
    (loss_of(before, images, labels, 0.1, 0.7)[0] / 9).backward()
    update(state, images, labels, 0.7)
    for old, new in zip(before.parameters(), state.model.parameters(), strict=True):
        slope = old.grad + decay * old.detach()
        # Nesterov momentum of 0.9 looks one step ahead: the first update is 1 + 0.9 times the gradient.
        torch.testing.assert_close(new.detach(), old.detach() - 0.01 * 1.9 * slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("decay", [0.15, 0.998])
def test_averaged_weights_follow_the_recursion(decay):
    state, expected = trainer(replace(STRONG, averaging=decay, lr=0.05)), None
    for step in range(6):
        state._advance(1, step)
        update(state, *batch(8, seed=step))
        now = {n: t.clone() for n, t in state.model.state_dict().items() if t.is_floating_point()}
        # The average starts at the first weights that were trained; it holds what batch normalisation counts, too.
        share = min(decay, (1 + step) / (10 + step)) if step else 0
        expected = {name: share * (expected or now)[name] + (1 - share) * now[name] for name in now}
    found = state.kept.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.equal(found[name], now[name])
    plain = trainer(PLAIN)
    assert plain.kept is plain.model


def limited(monkeypatch, model, fits):
    """Let a network run out of memory unless ``fits(asked)``; return that list: how many images, call by call."""
    real, asked = model.forward, []

    def forward(images):
        asked.append(len(images))
        if not fits(asked):
            raise torch.OutOfMemoryError
        return real(images)

    monkeypatch.setattr(model, "forward", forward)
    return asked


@pytest.mark.parametrize("weight", [1.0, 0.7])
@pytest.mark.parametrize(("most", "parts"), [(8, [5, 4]), (4, [3, 3, 3]), (1, [1] * 9)])
def test_a_batch_that_does_not_fit_is_computed_in_parts(monkeypatch, capsys, most, parts, weight):
    recipe = replace(PLAIN, batch_size=9, label_smoothing=0.1)
    whole, state = trainer(recipe), trainer(recipe)
    expected = update(whole, *batch(9), weight)
    asked = limited(monkeypatch, state.model, lambda asked: asked[-1] <= most)
    found = update(state, *batch(9), weight)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)  # sums of float32
    assert_close(state.model, whole.model)
    said = capsys.readouterr().out
    assert "does not hold 9 images at once: computing 5 at a time" in said
    assert "a step still takes 9" in said
    assert asked[-len(parts) :] == parts  # halved until it fitted
    asked.clear()
    update(state, *batch(9, seed=1), weight)
    assert asked == parts  # remembered: the next step does not fail again
    assert capsys.readouterr().out == ""


def test_a_part_that_fails_late_leaves_no_gradients_behind(monkeypatch):
    recipe = replace(PLAIN, batch_size=8)
    whole, state = trainer(recipe), trainer(recipe)
    update(whole, *batch(8))
    state.at_once = 4
    # It is the second half that fails, when the first has its gradients already.
    asked = limited(monkeypatch, state.model, lambda asked: len(asked) != 2)
    update(state, *batch(8))
    assert asked == [4, 4, 2, 2, 2, 2]
    assert_close(state.model, whole.model)


def test_a_single_image_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    state = trainer(PLAIN)
    before = copy.deepcopy(state.model)
    limited(monkeypatch, state.model, lambda asked: False)
    with pytest.raises(FercoreError, match="not hold one training image: lower width, or train on another"):
        update(state, *batch(8))
    assert same_weights(before, state.model)


def test_an_epoch_takes_every_image_once_in_the_order_of_its_plan(monkeypatch):
    state, seen = trainer(replace(STRONG, mixup=0.4)), []
    monkeypatch.setattr(state, "_update", lambda *given: seen.append(given) or torch.ones(2))
    state.epoch(2, progress=False)
    plan = augmentation.draw(state.recipe, len(state.labels), (32, 32), 2, torch.device("cpu"))
    assert torch.equal(torch.cat([labels for _, labels, _ in seen]), state.labels[plan.order])
    whole = augmentation.batch(state.images, plan, slice(0, len(state.labels)))
    mixed = [augmentation.mix(images, plan, step) for step, images in enumerate(whole.split(8))]
    torch.testing.assert_close(torch.cat([images for images, _, _ in seen]), torch.cat(mixed))
    assert [weight.item() for _, _, weight in seen] == plan.blends.tolist()
    assert [len(images) for images, _, _ in seen] == [8] * 6 + [1]


@pytest.mark.parametrize(("share", "warm"), [(1.0, 1.0), (0.3, 4.0)])
def test_a_student_learns_the_softened_answers_of_its_teacher(share, warm):
    teacher = small_network(seed=5).eval()
    recipe = replace(PLAIN, distillation=share, temperature=warm, label_smoothing=0.1)
    state = trainer(recipe, teacher=teacher)
    images, labels = batch(9)
    plain, scores = loss_of(copy.deepcopy(state.model), images, labels, 0.1)
    wanted = torch.softmax(teacher(images).double() / warm, 1)
    soft = -(wanted * torch.log_softmax(scores / warm, 1)).sum() * warm**2
    loss, _ = update(state, images, labels).tolist()
    assert loss == pytest.approx(((1 - share) * plain + share * soft).item(), rel=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_dropped_units_depend_on_seed_and_epoch_alone():
    def losses(seed, noise):
        torch.manual_seed(noise)
        recipe = replace(PLAIN, seed=seed, dropout=0.5)
        state = trainer(recipe, small_network(dropout=0.5))
        return [state.epoch(epoch, progress=False)[0] for epoch in (1, 2)]

    assert losses(1, 0) == losses(1, 7) != losses(2, 0)
    before = torch.get_rng_state()
    trainer(PLAIN).epoch(1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_recipe_that_distils_wants_a_teacher(tmp_path):
    with pytest.raises(ValueError, match=r"distillation=0.5 needs a teacher"):
        fit(tmp_path, replace(PLAIN, distillation=0.5))
    with pytest.raises(ValueError, match=r"distillation=0.0 has no teacher"):
        fit(tmp_path, PLAIN, teacher=small_network())


def test_checkpoints_can_be_written_less_often(tmp_path, monkeypatch):
    written, real = [], training.checkpoints.save_training
    monkeypatch.setattr(training.checkpoints, "save_training", lambda *a: written.append(a[0]) or real(*a))
    model, history = fit(tmp_path / "often", STRONG)
    assert len(written) == STRONG.epochs
    other, again = fit(tmp_path / "once", STRONG, every=1e6)
    assert len(written) == STRONG.epochs + 1
    assert numbers(history) == numbers(again)
    assert same_weights(model, other)
