"""Recipes: what they hold, what they refuse, and the learning rate they lead to."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace

import pytest
from toy_training import SHORT, fit, trainer

from fercore.errors import UnknownNameError
from fercore.training import evaluation, recipes
from fercore.training import trainer as training


def test_the_paper_s_recipe_has_the_paper_s_values():
    paper = recipes.recipe("paper")
    assert paper == recipes.Recipe()
    assert (paper.epochs, paper.optimizer, paper.batch_size) == (100, "adam", 32)  # Section 4.1
    assert (paper.lr, paper.min_lr) == (8e-4, 8e-5)
    assert (paper.schedule, paper.precision, paper.flip) == ("plateau", "float32", True)
    off = (
        "warmup",
        "weight_decay",
        "label_smoothing",
        "shift",
        "rotation",
        "zoom",
        "erase",
        "mixup",
        "averaging",
    )
    assert {name: getattr(paper, name) for name in off} == dict.fromkeys(off, 0)
    assert not paper.batch_norm
    assert not paper.mirror
    assert not paper.moves


def test_the_strong_recipe_turns_everything_on_but_mixup():
    strong = recipes.recipe("strong")
    assert (strong.optimizer, strong.schedule, strong.batch_size, strong.warmup) == ("sgd", "cosine", 128, 2)
    assert (strong.lr, strong.min_lr, strong.weight_decay, strong.averaging) == (0.1, 1e-4, 5e-4, 0.998)
    assert (strong.shift, strong.rotation, strong.zoom, strong.erase) == (0.1, 10, 0.1, 0.25)
    assert (strong.label_smoothing, strong.mixup) == (0.1, 0)
    assert strong.flip
    assert strong.batch_norm
    assert strong.mirror
    assert strong.moves


def test_recipes_are_found_by_name_and_changed_by_value():
    assert {name: recipes.recipe(name).name for name in recipes.RECIPES} == {
        "paper": "paper",
        "strong": "strong",
    }
    changed = recipes.recipe("strong", epochs=5, mixup=0.2)
    assert asdict(changed) == {**asdict(recipes.STRONG), "epochs": 5, "mixup": 0.2}
    assert recipes.STRONG.epochs == 60
    with pytest.raises(UnknownNameError, match=r"no recipe 'weak'; choose one of paper, strong"):
        recipes.recipe("weak")


@pytest.mark.parametrize("name", ["shift", "rotation", "zoom"])
def test_any_motion_moves_images(name):
    assert recipes.Recipe(**{name: 0.1}).moves


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"lr": 1e-5}, "min_lr <= lr"),
        ({"min_lr": 0.0}, "min_lr=0.0 must satisfy"),
        ({"optimizer": "lion"}, "optimizer='lion': choose one of adam, adamw, sgd"),
        ({"schedule": "step"}, "schedule='step': choose one of plateau, cosine"),
        ({"precision": "half"}, "precision='half': choose one of float32, tf32, bfloat16"),
        ({"warmup": 4, "epochs": 4}, r"warmup=4 must lie in 0 ... epochs - 1 = 3"),
        ({"warmup": -1}, "warmup=-1"),
        ({"label_smoothing": 1.1}, r"label_smoothing=1.1 must lie in \[0, 1\]"),
        ({"shift": -0.1}, "shift=-0.1"),
        ({"erase": 2.0}, "erase=2.0"),
        ({"averaging": float("nan")}, "averaging=nan"),
        ({"rotation": -1.0}, "rotation=-1.0 must not be negative"),
        ({"zoom": -0.1}, "zoom=-0.1"),
        ({"mixup": -0.1}, "mixup=-0.1"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
    ],
)
def test_recipes_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        recipes.Recipe(**wrong)


def test_every_value_is_documented():
    described = recipes.Recipe.__doc__.split("Attributes:")[1]
    assert all(f"\n        {field.name}: " in described for field in fields(recipes.Recipe))


def rates(recipe):
    """Return the learning rate of every step of all epochs in a list."""
    state = trainer(recipe)
    epochs = range(1, recipe.epochs + 1)
    return [state.learning_rate(epoch, step) for epoch in epochs for step in range(state.steps)]


def test_the_warm_up_is_a_straight_line_to_the_full_rate():
    recipe = replace(SHORT, schedule="cosine", warmup=2, lr=0.5, min_lr=1e-3, epochs=5)
    steps = trainer(recipe).steps
    found = rates(recipe)
    assert found[: 2 * steps] == pytest.approx([0.5 * k / (2 * steps) for k in range(1, 2 * steps + 1)])
    assert max(found) == found[2 * steps - 1] == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_cosine_falls_along_half_a_wave_to_the_last_rate(warmup):
    recipe = replace(SHORT, schedule="cosine", warmup=warmup, lr=0.5, min_lr=1e-3, epochs=4)
    steps = trainer(recipe).steps
    falling = rates(recipe)[warmup * steps :]
    count = len(falling)
    mean, swing = (0.5 + 1e-3) / 2, (0.5 - 1e-3) / 2
    assert falling == pytest.approx(
        [mean + swing * math.cos(math.pi * k / count) for k in range(1, count + 1)]
    )
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(recipe.min_lr)


def test_every_step_takes_the_rate_of_the_schedule(tmp_path, monkeypatch):
    recipe = replace(SHORT, schedule="cosine", warmup=1, epochs=2)
    used, real = [], training._Trainer.step

    def spy(self, *arguments):
        used.append(self.optimizer.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(training._Trainer, "step", spy)
    _, history = fit(tmp_path, recipe)
    assert used == rates(recipe)
    assert [row["lr"] for row in history] == used[:: len(used) // 2]


def test_a_plateau_lowers_the_rate_down_to_the_last_one(tmp_path, monkeypatch):
    recipe = replace(SHORT, epochs=9, patience=1, factor=0.1, lr=1e-3, min_lr=2e-5)
    accuracies = iter([0.2, 0.3, 0.3, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1])
    monkeypatch.setattr(evaluation, "score", lambda *_: {"loss": 1.0, "accuracy": next(accuracies)})
    _, history = fit(tmp_path, recipe)
    # The fourth epoch is the second without progress, the seventh and the ninth the second since then.
    expected = [1e-3] * 4 + [1e-4] * 3 + [2e-5] * 2
    assert [row["lr"] for row in history] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rotation": float("nan")}, "rotation=nan must be a finite float"),
        ({"zoom": float("inf")}, "zoom=inf"),
        ({"epochs": 1.5}, "epochs=1.5 must be a finite int"),
        ({"label_smoothing": "a"}, "label_smoothing='a'"),
        ({"batch_norm": 1}, "batch_norm=1 must be a finite bool"),
        ({"droput": 1}, "A recipe has no droput"),
    ],
)
def test_odd_values_and_unknown_names_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        recipes.recipe("strong", **wrong)
