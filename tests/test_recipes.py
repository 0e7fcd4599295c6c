"""Recipes: what they hold and what they refuse."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from fercore.errors import UnknownNameError
from fercore.training import recipes


def test_the_paper_s_recipe_has_the_paper_s_values_and_nothing_else():
    paper = asdict(recipes.recipe("paper"))
    stated = {"epochs": 100, "batch_size": 32, "optimizer": "adam", "lr": 8e-4, "min_lr": 8e-5}  # Section 4.1
    ours = {"name": "paper", "schedule": "plateau", "factor": 0.5, "patience": 2, "flip": True}
    neutral = {"temperature": 1.0, "precision": "float32"}
    assert paper == dict.fromkeys(paper, 0) | stated | ours | neutral  # False is 0
    assert [recipes.batch_size(name) for name in ("fer2013", "faces", "jaffe")] == [32, 16, 16]


def test_recipes_are_found_by_name_and_changed_by_value():
    changed = recipes.recipe("strong", epochs=5, mixup=0.2)
    assert asdict(changed) == {**asdict(recipes.STRONG), "epochs": 5, "mixup": 0.2}
    with pytest.raises(UnknownNameError, match=r"no recipe 'weak'; choose one of paper, strong"):
        recipes.recipe("weak")
    with pytest.raises(ValueError, match=r"no droput; it has name, epochs, "):
        recipes.recipe("strong", droput=1)


REFUSED = {
    **dict.fromkeys(("epochs", "batch_size"), (0, 1.5, True)),
    **dict.fromkeys(("seed", "patience", "crop", "stop", "warmup"), (-1, 0.5)),
    **dict.fromkeys(("zoom", "mixup", "cutmix", "weight_decay", "rotation"), (-0.1, float("nan"))),
    **dict.fromkeys(("shift", "erase", "averaging", "distillation", "label_smoothing"), (-0.1, 1.1, "a")),
    **dict.fromkeys(("dropout", "factor"), (-0.1, 1.0)),
    **dict.fromkeys(("optimizer", "schedule", "precision"), ("x", 1)),
    **{"batch_norm": (1,), "temperature": (0.0,), "lr": (1e-5, float("inf")), "min_lr": (0.0, 1.0)},
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_train_nothing_are_refused_by_name(name):
    for value in REFUSED[name]:
        with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
            recipes.recipe("paper", **{name: value})


@pytest.mark.parametrize("values", [{"warmup": 4, "epochs": 4}, {"mixup": 0.1, "cutmix": 0.1}], ids=str)
def test_values_that_exclude_each_other_are_refused(values):
    with pytest.raises(ValueError, match="{}={}".format(*next(iter(values.items())))):
        recipes.recipe("strong", **values)
