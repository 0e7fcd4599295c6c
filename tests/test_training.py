"""Training: it learns, it is deterministic, it resumes after a kill, and it refuses damaged checkpoints."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import brightness_faces
from toy_training import SHORT, STRONG, fit, numbers, parts_of_toy, same_weights, small_network

from fercore import checkpoints
from fercore.datasets import splits
from fercore.errors import CheckpointError
from fercore.training import evaluation, trainer

RECIPES = {"short": SHORT, "strong": STRONG}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return *fit(folder), folder


@pytest.fixture(scope="module")
def undisturbed_strong(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("strong"), STRONG)


def test_it_learns_an_easy_task(tmp_path):
    _, history = fit(tmp_path, replace(SHORT, epochs=25))
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert trainer.best_epoch(history)["validation_accuracy"] > 3 / 7


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_numbers_and_another_seed_others(undisturbed, undisturbed_strong, tmp_path, name):
    model, history = {"short": undisturbed[:2], "strong": undisturbed_strong}[name]
    again, repeated = fit(tmp_path / "again", RECIPES[name])
    assert numbers(repeated) == numbers(history)
    assert same_weights(model, again)
    assert numbers(fit(tmp_path / "other", replace(RECIPES[name], seed=2))[1]) != numbers(history)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_run_resumes_to_the_same_numbers(undisturbed, tmp_path, monkeypatch, epoch):
    model, history, _ = undisturbed
    real, calls = trainer._Trainer.epoch, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) > epoch:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer._Trainer, "epoch", killed)
        fit(tmp_path)
    resumed, whole = fit(tmp_path)
    assert numbers(whole) == numbers(history)
    assert same_weights(model, resumed)
    assert len(calls) == epoch + 1  # nothing was lost but the epoch under way


STEPS = -(-len(parts_of_toy()[0]) // SHORT.batch_size)  # of an epoch
# After how many calls of which function a run is killed: each time after two whole epochs, "within" an epoch three
# steps later.
KILLS = {
    "between": ("checkpoints", "save_training", 2, "SHORT"),
    "within": ("training._Trainer", "step", 2 * STEPS + 3, "SHORT"),
    "within, strong": ("training._Trainer", "step", 2 * STEPS + 3, "STRONG"),
}
# Each run has a process of its own that kills itself without warning; the first one only spares the others the imports.
KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import toy_training
from fercore import checkpoints
from fercore.training import trainer as training

def train(place, name, count, recipe, folder):
    real, calls = getattr(place, name), []
    def counted(*arguments):
        calls.append(real(*arguments))
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return calls[-1]
    setattr(place, name, counted)
    toy_training.fit(folder, recipe)

for place, name, count, recipe, folder in {runs!r}:
    process = os.fork()
    if not process:
        train(eval(place), name, count, getattr(toy_training, recipe), folder)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folders of the killed runs, by their name in KILLS."""
    folders = {name: tmp_path_factory.mktemp("killed") for name in KILLS}
    runs = [(*how, str(folders[name])) for name, how in KILLS.items()]
    code = KILLED.format(tests=str(Path(__file__).parent), runs=runs)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [int(line) for line in done.stdout.split()] == [-signal.SIGKILL] * len(KILLS)
    return folders


@pytest.mark.parametrize("name", KILLS)
def test_a_process_killed_without_warning_resumes_to_the_same_numbers(
    undisturbed, undisturbed_strong, killed, name
):
    assert STEPS > 4
    with open(killed[name] / "log.csv") as file:
        assert len(list(csv.DictReader(file))) == 2
    strong = KILLS[name][-1] == "STRONG"
    model, history = undisturbed_strong if strong else undisturbed[:2]
    resumed, whole = fit(killed[name], STRONG if strong else SHORT)
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


def test_a_resumed_run_waits_and_falls_on_its_plateau_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(
        evaluation, "score", lambda *_: {"loss": 1.0, "accuracy": 0.5}
    )  # never better than at first
    recipe = replace(SHORT, epochs=6, patience=1, min_lr=1e-4)
    model, history = fit(tmp_path / "undisturbed", recipe)
    assert [row["lr"] for row in history] == [1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4]
    for epochs in (2, 4):  # one of two idle epochs over, before and after the first fall
        folder = tmp_path / str(epochs)
        fit(folder, replace(recipe, epochs=epochs))
        resumed, whole = fit(folder, recipe)
        assert numbers(whole) == numbers(history)
        assert same_weights(model, resumed)


def test_a_finished_run_is_only_read(undisturbed, monkeypatch):
    model, history, folder = undisturbed
    monkeypatch.setattr(trainer._Trainer, "epoch", None)  # any further epoch would fail
    again, whole = fit(folder)
    assert whole == history
    assert same_weights(model, again)


@pytest.mark.parametrize("name", RECIPES)
def test_the_weights_left_are_those_of_the_best_epoch(undisturbed, undisturbed_strong, name):
    """Of the strong recipe: the averaged ones."""
    model, history = {"short": undisturbed[:2], "strong": undisturbed_strong}[name]
    best, found = trainer.best_epoch(history), evaluation.score(model, parts_of_toy()[1])
    assert found["accuracy"] == best["validation_accuracy"]
    assert found["loss"] == pytest.approx(best["validation_loss"], rel=1e-5)
    losses = [row["validation_loss"] for row in history]
    assert len(set(losses)) == len(losses)


def test_the_log_holds_the_history(undisturbed):
    _, history, folder = undisturbed
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history


def test_best_epoch_is_the_first_of_equals():
    history = [{"epoch": e, "validation_accuracy": a} for e, a in enumerate([0.1, 0.5, 0.3, 0.5], start=1)]
    assert trainer.best_epoch(history)["epoch"] == 2


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_refused(tmp_path):
    recipe = replace(SHORT, epochs=1)
    fit(tmp_path, recipe)
    with pytest.raises(CheckpointError, match="other settings"):
        fit(tmp_path, key="another")
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"last.safetensors is not a whole checkpoint"):
        fit(tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused(undisturbed):
    folder = undisturbed[2]
    for other in (small_network(width=0.06), small_network(batch_norm=True)):
        with pytest.raises(CheckpointError, match=r"last.safetensors holds the weights of another network"):
            fit(folder, model=other)
    with pytest.raises(CheckpointError, match="another network"):  # it has no averaged weights
        fit(folder, replace(SHORT, averaging=0.9))


def test_weights_of_another_network_are_refused(tmp_path):
    checkpoints.save(tmp_path / "w.safetensors", small_network().state_dict(), {})
    tensors, _ = checkpoints.read(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="another network"):
        checkpoints.restore("w", small_network(width=0.06), tensors)


def test_a_diverging_loss_is_an_error_and_leaves_no_checkpoint(tmp_path):
    model = small_network()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower lr"):
        fit(tmp_path, model=model)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_larger_than_the_training_part_is_an_error(tmp_path):
    count = len(parts_of_toy()[0])
    with pytest.raises(ValueError, match=rf"batch_size=512 is larger .*choose at most {count}"):
        fit(tmp_path, replace(SHORT, batch_size=512))
    assert list(tmp_path.iterdir()) == []
    whole = replace(SHORT, epochs=1, batch_size=count)
    assert len(fit(tmp_path, whole)[1]) == 1


def test_a_fold_that_does_not_exist_is_an_error_that_names_the_folds():
    for fold in (5, -1):
        with pytest.raises(ValueError, match=rf"fold={fold} .* has folds 0 to 4"):
            splits.split(brightness_faces(70), "paper", fold)


@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_trains_and_is_deterministic(tmp_path, name):
    recipe = replace(RECIPES[name], epochs=2, precision="bfloat16")
    model, history = fit(tmp_path / "one", recipe)
    again, repeated = fit(tmp_path / "two", recipe)
    assert numbers(history) == numbers(repeated)
    assert same_weights(model, again)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_computes_the_same_loss_up_to_its_rounding(tmp_path, name):
    # Weights that hardly move: in training that moves, rounding grows differently on every processor.
    still = replace(RECIPES[name], epochs=1, lr=1e-7, min_lr=1e-8, warmup=0)
    rounded, exact = (
        fit(tmp_path / precision, replace(still, precision=precision))[1][0]["train_loss"]
        for precision in ("bfloat16", "float32")
    )
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
