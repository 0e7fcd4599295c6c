"""Settings, and networks and their answers that are trained once and found again by what they depend on."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from conftest import brightness_faces
from ferlab import networks
from toy_training import SIZE, parts_of_toy, same_weights

from fercore import checkpoints, models
from fercore.datasets import splits
from fercore.errors import CheckpointError
from fercore.training import evaluation, recipes, trainer

TOY = brightness_faces(70)
PARTS = splits.split(TOY, "paper")
SMALL = networks.Setting(width=0.05, recipe=recipes.Recipe(epochs=2, batch_size=8))
NAME = "proposed-concatenate-w0.05-paper-e2-paper-0.safetensors"
WEIGHTS = Path("runs/weights/toy", NAME)
PUBLISHED, PRIVATE = Path("results/outcomes/toy", NAME), Path("runs/results/outcomes/toy", NAME)
ORIGIN = ("history", "key", "hardware", "ceiling")


def trained(folder, setting=SMALL, **options):
    return networks.trained(setting, TOY, PARTS, "cpu", folder, progress=False, **options)


def outcome(folder, setting=SMALL):
    return networks.outcome(setting, TOY, PARTS, "cpu", folder, progress=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(networks, "ceiling", lambda *_: 1e9)
    monkeypatch.delenv("FERCORE_PUBLISH", raising=False)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder in which the small network was trained and asked, and what that returned."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        quick.__wrapped__(patch)
        return folder, trained(folder), outcome(folder)


@pytest.fixture
def project(once, tmp_path):
    """A copy of that folder for a test of its own."""
    return shutil.copytree(once[0], tmp_path / "project")


def never(monkeypatch):
    """Let any further training fail."""
    monkeypatch.setattr(trainer, "fit", None)


# Networks


def test_trained_networks_are_found_again(once, project, monkeypatch):
    first, wide = once[1], replace(SMALL, width=0.06)
    other = trained(project, wide)  # which shares the folder
    never(monkeypatch)
    monkeypatch.setenv("FERCORE_PUBLISH", "1")  # weights are never published
    second = trained(project)
    assert (second.weights, second.model.training) == (project / WEIGHTS, False)
    assert same_weights(first.model, second.model)
    assert all(getattr(second, name) == getattr(first, name) for name in ORIGIN)
    assert same_weights(trained(project, wide).model, other.model)
    assert not (project / "results").exists()


def test_weights_are_those_of_the_best_epoch_in_half_precision(once):
    folder, network, _ = once
    (run,) = (folder / "runs" / "toy").iterdir()
    best, _ = checkpoints.read(run / "best.safetensors")
    kept, _ = checkpoints.read(network.weights)
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16}
    assert all(torch.equal(t, best[n].half().float()) for n, t in network.model.state_dict().items())


def test_what_belongs_to_another_setting_is_told_and_replaced(once, project, capsys):
    other = replace(SMALL, recipe=replace(SMALL.recipe, lr=0.02))
    found = outcome(project, other)
    assert capsys.readouterr().out.count(f"{NAME} belongs to other settings, data or code: not used.") == 2
    assert found.key == key(other) != once[1].key
    assert {checkpoints.read(project / file)[1]["key"] for file in (PRIVATE, WEIGHTS)} == {found.key}


def test_weights_that_are_damaged_are_an_error_and_not_made_again(project, monkeypatch):
    never(monkeypatch)
    (project / WEIGHTS).write_bytes(cut := (project / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=rf"{NAME} is not a whole checkpoint"):
        trained(project)
    assert (project / WEIGHTS).read_bytes() == cut


def test_a_student_has_a_key_of_its_own_and_wants_that_teacher(once, tmp_path):
    teacher = once[1]
    setting = replace(SMALL, recipe=replace(SMALL.recipe, distillation=0.5), teacher=teacher.key)
    assert key(setting) != key(replace(setting, teacher="another"))
    with pytest.raises(ValueError, match=f"names the teacher {teacher.key[:12]}; another one was given"):
        trained(tmp_path, setting)
    student = trained(tmp_path, setting, teacher=lambda: teacher)
    assert student.weights.name == NAME.replace("concatenate", "concatenate-taught")
    assert student.key == key(setting)


# Answers


def test_answers_are_those_of_the_rounded_weights(once):
    _, network, answers = once
    for part, rows in (("validation", PARTS.validation), ("test", PARTS.test)):
        for rule, views in evaluation.rules(SIZE).items():
            expected = evaluation.predict(network.model, TOY.images[rows], **views).half().float()
            assert torch.equal(answers.logits[f"{part} {rule}".strip()], expected)
    for mirror, rule in ((None, "test"), (True, "test mirrored")):
        assert answers.predicted("test", mirror).tolist() == answers.logits[rule].argmax(1).tolist()
    assert all(getattr(answers, name) == getattr(network, name) for name in ORIGIN)


@pytest.mark.parametrize("published", [False, True])
def test_answers_are_published_if_asked_and_found_again_without_network(tmp_path, monkeypatch, published):
    monkeypatch.setenv("FERCORE_PUBLISH", str(int(published)))
    first = outcome(tmp_path)
    assert (tmp_path / PUBLISHED).is_file() == published != (tmp_path / PRIVATE).is_file()
    # What one folder holds is copied to the other when it is wanted there, without any training.
    for folder in ("weights", "toy"):
        shutil.rmtree(tmp_path / "runs" / folder)
    never(monkeypatch)
    monkeypatch.setattr(models, "build", None)
    monkeypatch.setenv("FERCORE_PUBLISH", str(int(not published)))
    second = outcome(tmp_path)
    assert all(torch.equal(first.logits[name], tensor) for name, tensor in second.logits.items())
    assert all(getattr(first, name) == getattr(second, name) for name in ("mirror", *ORIGIN))
    assert (tmp_path / PUBLISHED).read_bytes() == (tmp_path / PRIVATE).read_bytes()


def test_the_recipe_reaches_the_network_and_its_answers(tmp_path):
    strong = recipes.recipe("strong", epochs=2, warmup=1, batch_size=8, lr=0.01, averaging=0.9)
    setting = networks.Setting("baseline", "add", 0.05, recipe=strong)
    network, answers = trained(tmp_path, setting), outcome(tmp_path, setting)
    assert isinstance(network.model, models.BaselineNet)
    best, found = trainer.best_epoch(network.history), evaluation.score(network.model, parts_of_toy()[1])
    margin = 1 / len(PARTS.validation) + 1e-6  # of an image, by rounding
    assert found["accuracy"] == pytest.approx(best["validation_accuracy"], abs=margin)
    assert answers.predicted("test").tolist() == answers.logits["test mirrored"].argmax(1).tolist()


# Settings


WRONG = {"fold": True, "batch_size": "many", "width": -1, "epochs": 1.5, "lr": "a"}


@pytest.mark.parametrize("name", WRONG)
def test_notebook_parameters_are_checked_by_name(name):
    with pytest.raises(ValueError, match=f"{name}={WRONG[name]!r}"):
        networks.setting("faces", "proposed", "add", **{"width": 0.25, "epochs": 2} | {name: WRONG[name]})


def test_a_setting_lists_its_fields_and_takes_the_paper_s_batch_size_unless_told_otherwise():
    own = {"model": "proposed", "fusion": "add", "width": 0.25, "fold": 0, "pretrained": False, "teacher": ""}
    recipe = {**asdict(recipes.Recipe()), "epochs": 2, "batch_size": 16}
    found = networks.setting("faces", "", "add", 0.25, 0, epochs=2).parameters()
    assert found == own | {"recipe": recipe.pop("name")} | recipe
    for recipe, given, expected in (("paper", 5, 5), ("strong", 5, 5), ("strong", 0, 128)):
        assert networks.setting("faces", recipe=recipe, batch_size=given).recipe.batch_size == expected


def test_a_setting_builds_its_network_and_names_what_distinguishes_it():
    for name, begins in (("baseline", "baseline-concatenate"), ("resnet50", "resnet50")):
        setting = replace(SMALL, model=name, fold=3, recipe=replace(SMALL.recipe, seed=4))
        expected = models.build(name, width=0.05, size=SIZE, seed=4)
        assert same_weights(networks.build(setting, SIZE), expected)
        assert setting.name(splits.split(TOY, "subject", 3)) == f"{begins}-w0.05-paper-e2-s4-subject-3"


# Keys


def key(setting=SMALL, dataset=TOY, parts=PARTS):
    return networks.training_key(setting, dataset, parts)


def test_the_key_changes_with_what_decides_the_weights(monkeypatch):
    changes = [{"width": 0.5}, {"model": "baseline"}, {"fusion": "add"}, {"fold": 1}, {"pretrained": True}]
    keys = [key(), *(key(replace(SMALL, **change)) for change in changes)]
    keys += [key(parts=splits.split(TOY, "subject")), key(dataset=replace(TOY, checksum="sha256:0"))]
    assert keys[0] == key()
    monkeypatch.setattr(trainer, "PROCEDURE", trainer.PROCEDURE + 1)
    assert len({*keys, key()}) == len(keys) + 1


@pytest.mark.parametrize("field", fields(recipes.Recipe), ids=lambda field: field.name)
def test_the_key_changes_with_every_value_of_a_recipe_that_decides_them(field):
    odd = {"optimizer": "sgd", "schedule": "cosine", "precision": "bfloat16", "min_lr": 1e-5, "flip": False}
    other = {"str": "mine", "int": 1, "float": 0.25, "bool": True}.get(field.type)
    changed = replace(SMALL.recipe, **{field.name: odd.get(field.name, other)})
    assert changed != SMALL.recipe
    assert (key(replace(SMALL, recipe=changed)) == key()) == (field.name in ("name", "mirror"))


def test_an_option_that_is_added_later_and_left_off_changes_no_key(monkeypatch):
    @dataclass(frozen=True)
    class Longer(recipes.Recipe):
        later: float = 0.0

    longer, before = Longer(**asdict(SMALL.recipe)), key()
    monkeypatch.setattr(networks, "Setting", lambda: replace(SMALL, width=1.0, recipe=Longer()))
    assert key(replace(SMALL, recipe=longer)) == before
    assert key(replace(SMALL, recipe=replace(longer, later=0.5))) != before


def test_whole_numbers_are_as_good_as_floats():
    keys = {key(replace(SMALL, width=n, recipe=replace(SMALL.recipe, lr=n))) for n in (1, 1.0)}
    assert len(keys) == 1
