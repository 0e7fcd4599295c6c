"""Training: it learns, it is deterministic, it resumes after a kill, and it refuses damaged checkpoints."""

from __future__ import annotations

import csv
import itertools
import math
import multiprocessing
import os
import pkgutil
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from toy_training import SHORT, STRONG, fit, numbers, parts_of_toy, same_weights, small_network

from fercore import checkpoints, models
from fercore.errors import CheckpointError
from fercore.training import evaluation, trainer

RECIPES = {"short": SHORT, "strong": STRONG}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Network, history and folder of a training by each recipe."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RECIPES}
    return {name: (*fit(folder, RECIPES[name]), folder) for name, folder in folders.items()}


def assert_same(found, expected):
    """Two pairs of network and history agree to the last bit."""
    assert numbers(found[1]) == numbers(expected[1])
    assert same_weights(found[0], expected[0])


def test_it_learns_an_easy_task(tmp_path):
    _, history = fit(tmp_path, replace(SHORT, epochs=25))
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    assert trainer.best_epoch(history)["validation_accuracy"] > 3 / 7


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_numbers_and_another_seed_others(undisturbed, tmp_path, name):
    assert_same(fit(tmp_path / "again", RECIPES[name]), undisturbed[name])
    other = fit(tmp_path / "other", replace(RECIPES[name], seed=2))
    assert numbers(other[1]) != numbers(undisturbed[name][1])


STEPS = -(-len(parts_of_toy()[0]) // SHORT.batch_size)  # of an epoch
# After how many calls of which function a run is killed, and how many epochs its log then has.
KILLS = {
    "between epochs": ("checkpoints", "save_training", 2, "short", 2),
    "between the two checkpoints": ("training.trainer", "asdict", 1, "short", 1),
    "within": ("training.trainer:_Trainer", "step", 2 * STEPS + 3, "short", 2),
    "within, strong": ("training.trainer:_Trainer", "step", 2 * STEPS + 3, "strong", 2),
}


def die(place, name, count, recipe, folder):
    """Train, and be gone without warning after that many calls of a function."""
    place = pkgutil.resolve_name(f"fercore.{place}")
    real, calls = getattr(place, name), itertools.count(1)

    def counted(*arguments):
        found = real(*arguments)
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, name, counted)
    fit(folder, RECIPES[recipe])


def test_a_process_killed_without_warning_resumes_to_the_same_numbers(undisturbed, tmp_path):
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["test_training"])  # spares each process the imports
    assert STEPS > 4
    for name, (*how, recipe, epochs) in KILLS.items():
        process = server.Process(target=die, args=(*how, recipe, tmp_path / name))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with open(tmp_path / name / "log.csv") as file:
            assert len(list(csv.DictReader(file))) == epochs
        assert_same(fit(tmp_path / name, RECIPES[recipe]), undisturbed[recipe])


@pytest.mark.parametrize("on_device", [False, True])
def test_a_resumed_run_waits_and_falls_on_its_plateau_as_before(tmp_path, monkeypatch, on_device):
    """Also where the learning rate is a tensor, as on a GPU."""
    if on_device:
        monkeypatch.setattr(trainer, "_rate", lambda value, device: torch.tensor(value, dtype=torch.float64))
    recipe = replace(SHORT, epochs=9, patience=1, lr=1e-3, min_lr=2e-4, optimizer="sgd")
    accuracy = dict(enumerate([0.2, 0.3, 0.3, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1], start=1))
    real = trainer._Trainer.epoch

    def epoch(self, number, progress):
        monkeypatch.setattr(evaluation, "score", lambda *_: {"loss": 1.0, "accuracy": accuracy[number]})
        return real(self, number, progress)

    monkeypatch.setattr(trainer._Trainer, "epoch", epoch)
    expected = fit(tmp_path / "undisturbed", recipe)
    # The fourth epoch is the second without progress, the seventh and the ninth the second since then.
    assert [row["lr"] for row in expected[1]] == pytest.approx([1e-3] * 4 + [5e-4] * 3 + [2.5e-4] * 2)
    for epochs in (3, 5, 6):  # one of two idle epochs over, and after the first fall
        fit(tmp_path / str(epochs), replace(recipe, epochs=epochs))
        assert_same(fit(tmp_path / str(epochs), recipe), expected)


@pytest.mark.parametrize("warmup", [0, 2])
def test_every_step_climbs_a_line_then_falls_along_half_a_cosine(tmp_path, monkeypatch, warmup):
    recipe = replace(SHORT, schedule="cosine", warmup=warmup, lr=0.01, min_lr=1e-3)
    used, real = [], trainer._Trainer.step

    def spy(self, *arguments):
        used.append(self.optimizer.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(trainer._Trainer, "step", spy)
    _, history = fit(tmp_path, recipe)
    climb, fall = warmup * STEPS, (4 - warmup) * STEPS
    line = [0.01 * k / climb for k in range(1, climb + 1)]
    curve = [0.0055 + 0.0045 * math.cos(math.pi * k / fall) for k in range(1, fall + 1)]
    assert used == pytest.approx(line + curve)
    assert [row["lr"] for row in history] == used[::STEPS]


@pytest.mark.parametrize("name", RECIPES)
def test_a_finished_run_is_read_and_leaves_the_weights_of_its_best_epoch(undisturbed, monkeypatch, name):
    """Of the strong recipe: the averaged ones."""
    model, history, folder = undisturbed[name]
    monkeypatch.setattr(trainer._Trainer, "epoch", None)  # any further epoch would fail
    again, whole = fit(folder, RECIPES[name])
    assert whole == history
    assert same_weights(model, again)
    best, found = trainer.best_epoch(history), evaluation.score(model, parts_of_toy()[1])
    assert found["accuracy"] == best["validation_accuracy"]
    assert found["loss"] == pytest.approx(best["validation_loss"], rel=1e-5)
    assert len({row["validation_loss"] for row in history}) == len(history)
    with open(folder / "log.csv") as file:
        assert [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)] == history


def test_best_epoch_is_the_first_of_equals_and_ends_a_training_without_progress(tmp_path, monkeypatch):
    accuracies = iter([0.1, 0.5, 0.3, 0.5, 0.9])
    monkeypatch.setattr(evaluation, "score", lambda *_: {"loss": 1.0, "accuracy": next(accuracies)})
    _, history = fit(tmp_path, replace(SHORT, epochs=5, stop=2))
    assert len(history) == 4
    assert trainer.best_epoch(history)["epoch"] == 2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"key": "another"}, "other settings"),
        ({"model": small_network(width=0.06)}, r"last\.safetensors holds the weights of another network"),
        ({"model": small_network(batch_norm=True)}, "another network"),
        ({"recipe": replace(SHORT, averaging=0.9)}, "another network"),  # it has no averaged weights
    ],
)
def test_checkpoints_of_other_settings_or_networks_are_refused(undisturbed, changes, match):
    with pytest.raises(CheckpointError, match=match):
        fit(undisturbed["short"][2], **changes)


@pytest.mark.parametrize("damage", ["missing", "cut", "of another run", "of another epoch"])
def test_checkpoints_that_do_not_belong_together_are_refused(undisturbed, tmp_path, damage):
    run = shutil.copytree(undisturbed["short"][2], tmp_path / "run")
    best = run / "best.safetensors"
    tensors, about = checkpoints.read(best)
    if damage == "missing":
        best.unlink()
    elif damage == "cut":
        best.write_bytes(best.read_bytes()[:-100])
    else:
        wrong = {"key": "other"} if damage == "of another run" else {"epoch": about["epoch"] % 4 + 1}
        checkpoints.save(best, tensors, about | wrong)
    with pytest.raises(CheckpointError, match=r"Delete the folder .* and train again"):
        fit(run)


def test_a_resumed_optimiser_s_states_lie_in_memory_as_their_weights_do(tmp_path):
    """As the fused steps of a GPU demand."""
    model = models.build("proposed", width=0.05, size=(32, 32)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    before = {weight: state["momentum_buffer"].clone() for weight, state in optimizer.state.items()}
    checkpoints.save_training(tmp_path / "last.safetensors", model, optimizer, {"key": "k"})
    checkpoints.load_training(tmp_path / "last.safetensors", model, optimizer, "k")
    for weight, state in optimizer.state.items():
        assert state["momentum_buffer"].stride() == weight.stride()
        assert torch.equal(state["momentum_buffer"], before[weight])
    assert len(before) == len(optimizer.state) > 20


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
    assert len(fit(tmp_path, replace(SHORT, epochs=1, batch_size=count))[1]) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_trains_deterministically_to_the_same_loss_up_to_its_rounding(tmp_path, name):
    # Weights that hardly move: in training that moves, rounding grows differently on every processor.
    still = replace(RECIPES[name], epochs=1, lr=1e-7, min_lr=1e-8, warmup=0)
    rounded = replace(still, precision="bfloat16")
    found, again = fit(tmp_path / "one", rounded), fit(tmp_path / "two", rounded)
    assert_same(found, again)
    assert {tensor.dtype for tensor in found[0].parameters()} == {torch.float32}
    loss, exact = (run[1][0]["train_loss"] for run in (found, fit(tmp_path / "exact", still)))
    assert loss != exact
    assert loss == pytest.approx(exact, rel=0.02)
