"""Training: it learns, it is deterministic, it resumes after a kill, and it refuses damaged checkpoints."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import brightness_faces

from fercore import checkpoints, experiments, models, training
from fercore.datasets import splits
from fercore.errors import CheckpointError

RECIPE = training.Recipe(epochs=4, batch_size=8, lr=1e-3, seed=1)


def small_network():
    return models.build("proposed", width=0.05, size=(32, 32), seed=1)


def fit(folder, recipe=RECIPE, key="k", model=None):
    toy = brightness_faces(70)
    parts = splits.split(toy, "paper")
    model = model or small_network()
    history = training.fit(
        model, toy.subset(parts.train), toy.subset(parts.validation), recipe, folder, key, progress=False
    )
    return model, history


def numbers(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def same_weights(one, other):
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return *fit(folder), folder


def test_it_learns_an_easy_task(tmp_path):
    _, history = fit(tmp_path, training.Recipe(epochs=25, batch_size=8, lr=1e-3, seed=1))
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert training.best_epoch(history)["validation_accuracy"] > 3 / 7


def test_same_seed_same_numbers_and_another_seed_others(undisturbed, tmp_path):
    model, history, _ = undisturbed
    again, repeated = fit(tmp_path / "again")
    assert numbers(repeated) == numbers(history)
    assert same_weights(model, again)
    other = training.Recipe(epochs=4, batch_size=8, lr=1e-3, seed=2)
    assert numbers(fit(tmp_path / "other", other)[1]) != numbers(history)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_resumes_to_the_same_numbers(undisturbed, tmp_path, monkeypatch, epoch):
    model, history, _ = undisturbed
    real, calls = training._train_epoch, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > epoch:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_train_epoch", killed)
        fit(tmp_path)
    resumed, whole = fit(tmp_path)
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)
    assert len(calls) == epoch + 1  # nothing was lost but the epoch under way


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_training
from fercore import checkpoints
real, calls = checkpoints.save_training, []
def once(*arguments):
    calls.append(real(*arguments))
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.save_training = once
test_training.fit({folder!r})
"""


def test_a_process_killed_without_warning_resumes_to_the_same_numbers(undisturbed, tmp_path):
    model, history, _ = undisturbed
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with open(tmp_path / "log.csv") as file:
        assert len(list(csv.DictReader(file))) == 2
    resumed, whole = fit(tmp_path)
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)


def test_a_kill_between_the_two_checkpoints_changes_nothing(undisturbed, tmp_path, monkeypatch):
    model, history, _ = undisturbed

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "save_training", killed)
        fit(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    resumed, whole = fit(tmp_path)
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)


def test_the_weights_left_are_those_of_the_best_epoch(undisturbed):
    model, history, folder = undisturbed
    toy = brightness_faces(70)
    validation = toy.subset(splits.split(toy, "paper").validation)
    best = training.best_epoch(history)
    assert training.score(model, validation)["accuracy"] == best["validation_accuracy"]
    assert training.score(model, validation)["loss"] == pytest.approx(best["validation_loss"], abs=1e-6)
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_accuracy"]) for row in rows] == [
        row["validation_accuracy"] for row in history
    ]


def test_best_epoch_is_the_first_of_equals():
    history = [{"epoch": e, "validation_accuracy": a} for e, a in enumerate([0.1, 0.5, 0.3, 0.5], start=1)]
    assert training.best_epoch(history)["epoch"] == 2


def test_flips_mirror_the_image_and_nothing_else(tmp_path, monkeypatch):
    seen = []
    real = training.to_input
    monkeypatch.setattr(
        training, "to_input", lambda images, device: seen.append(images.copy()) or real(images, device)
    )
    toy = brightness_faces(70)
    before = toy.images.copy()
    model = small_network()
    optimizer = torch.optim.Adam(model.parameters())
    training._train_epoch(model, optimizer, toy, training.Recipe(batch_size=70), 1, False)
    order = np.random.default_rng([0, 1]).permutation(70)
    straight = [(seen[0][i] == before[n]).all() for i, n in enumerate(order)]
    mirrored = [(seen[0][i] == before[n][:, ::-1]).all() for i, n in enumerate(order)]
    assert all(s != m for s, m in zip(straight, mirrored, strict=True))
    assert 20 < sum(mirrored) < 50
    assert (toy.images == before).all()


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_refused(tmp_path):
    fit(tmp_path, training.Recipe(epochs=1, batch_size=8))
    with pytest.raises(CheckpointError, match="other settings"):
        fit(tmp_path, key="another")
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"last.safetensors is not a whole checkpoint"):
        fit(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    checkpoints.save(tmp_path / "w.safetensors", small_network().state_dict(), {})
    tensors, _ = checkpoints.read(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="another network"):
        checkpoints.restore("w", models.build("proposed", width=0.06, size=(32, 32)), tensors)


def test_a_diverging_loss_is_an_error_and_leaves_no_checkpoint(tmp_path):
    model = small_network()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower lr"):
        fit(tmp_path, model=model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"epochs": 0}, "epochs=0"), ({"lr": 1e-5}, "min_lr <= lr"), ({"augment": "mixup"}, "augment='mixup'")],
)
def test_recipes_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        training.Recipe(**wrong)


def test_predict_is_independent_of_the_batch_size_and_restores_the_mode():
    model, images = small_network().train(), brightness_faces(20).images
    one, many = training.predict(model, images, 3), training.predict(model, images, 20)
    torch.testing.assert_close(one, many)
    assert model.training
    assert not one.requires_grad


def test_trained_networks_are_found_again(tmp_path, monkeypatch):
    toy = brightness_faces(70)
    parts = splits.split(toy, "paper")
    setting = experiments.Setting(width=0.05, recipe=training.Recipe(epochs=2, batch_size=8))
    first = experiments.trained(setting, toy, parts, "cpu", tmp_path, progress=False)
    assert (
        first.weights
        == tmp_path / "runs" / "results" / "toy" / "proposed-concatenate-w0.05-paper-0.safetensors"
    )
    tensors, _ = checkpoints.read(first.weights)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    monkeypatch.setattr(training, "fit", None)  # any further training would fail
    second = experiments.trained(setting, toy, parts, "cpu", tmp_path, progress=False)
    assert same_weights(first.model, second.model)
    assert second.history == first.history
    assert second.key == first.key
    monkeypatch.setenv("FERCORE_PUBLISH", "1")
    third = experiments.trained(setting, toy, parts, "cpu", tmp_path, progress=False)
    published = tmp_path / "results" / "toy" / first.weights.name
    assert published.is_file()
    assert same_weights(first.model, third.model)


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another run", "of another epoch"])
def test_checkpoints_that_do_not_belong_together_are_refused(tmp_path, damage):
    toy = brightness_faces(70)
    parts = splits.split(toy, "paper")
    setting = experiments.Setting(width=0.05, recipe=training.Recipe(epochs=2, batch_size=8))
    first = experiments.trained(setting, toy, parts, "cpu", tmp_path, progress=False)
    first.weights.unlink()
    (run,) = (tmp_path / "runs" / "toy").iterdir()
    tensors, about = checkpoints.read(run / "best.safetensors")
    (run / "best.safetensors").unlink()
    if damage == "damaged":
        (run / "best.safetensors").write_bytes(b"x" * 100)
    elif damage != "missing":
        wrong = {"key": "other"} if damage == "of another run" else {"epoch": 9}
        checkpoints.save(run / "best.safetensors", tensors, about | wrong)
    with pytest.raises(CheckpointError, match=r"Delete the folder .* and train again"):
        experiments.trained(setting, toy, parts, "cpu", tmp_path, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"seed": -1}, "seed=-1"),
        ({"batch_size": "many"}, "batch_size='many'"),
        ({"lr": "a"}, "lr='a' must be a number above zero"),
        ({"width": -1}, "width=-1"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_notebook_parameters_are_checked_by_name(wrong, message):
    given = {"width": 0.25, "fold": 0, "batch_size": 0, "epochs": 2, "lr": 1e-3, "seed": 0} | wrong
    with pytest.raises(ValueError, match=message):
        experiments.setting("faces", "proposed", "add", **given)


def test_a_setting_takes_the_paper_s_batch_size_and_lists_its_fields_once():
    faces = experiments.setting("faces", "proposed", "add", 0.25, 0, 0, epochs=2)
    assert faces.recipe.batch_size == 16
    assert experiments.setting("fer2013", "proposed", "add", 0.25, 0, 0).recipe.batch_size == 32
    assert faces.parameters() == {
        **{"model": "proposed", "fusion": "add", "width": 0.25, "fold": 0, "epochs": 2, "batch_size": 16},
        **{"lr": 8e-4, "min_lr": 8e-5, "factor": 0.5, "patience": 2, "augment": "flip", "seed": 0},
    }


def test_the_key_changes_with_what_decides_the_weights_only():
    toy = brightness_faces(70)
    parts, other = splits.split(toy, "paper"), splits.split(toy, "subject")
    key = experiments.training_key(experiments.Setting(), toy, parts)
    assert experiments.training_key(experiments.Setting(), toy, parts) == key
    assert experiments.training_key(experiments.Setting(width=0.5), toy, parts) != key
    assert experiments.training_key(experiments.Setting(), toy, other) != key
    assert experiments.training_key(experiments.Setting(), replace(toy, checksum="sha256:0"), parts) != key
