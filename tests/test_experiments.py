"""Settings, and networks and their answers that are trained once and found again by what they depend on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from conftest import brightness_faces
from ferlab import networks
from torchvision.models import WeightsEnum
from toy_training import SIZE, parts_of_toy, same_weights

from fercore import checkpoints, models
from fercore.datasets import splits
from fercore.errors import CheckpointError, UnknownNameError
from fercore.training import evaluation, recipes, trainer

TOY = brightness_faces(70)
PARTS = splits.split(TOY, "paper")
SMALL = networks.Setting(width=0.05, recipe=recipes.Recipe(epochs=2, batch_size=8))
NAME = "proposed-concatenate-w0.05-paper-e2-paper-0.safetensors"


@pytest.fixture(autouse=True)
def quick_ceiling(monkeypatch):
    monkeypatch.setattr(networks, "ceiling", lambda *_: 1e9)


@pytest.fixture(autouse=True)
def unpublished(monkeypatch):
    monkeypatch.delenv("FERCORE_PUBLISH", raising=False)


def trained(folder, setting=SMALL, **options):
    return networks.trained(setting, TOY, PARTS, "cpu", folder, progress=False, **options)


def outcome(folder, setting=SMALL):
    return networks.outcome(setting, TOY, PARTS, "cpu", folder, progress=False)


def never(monkeypatch):
    """Let any further training fail."""
    monkeypatch.setattr(trainer, "fit", None)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder in which the small network was trained and asked, and what that returned."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "ceiling", lambda *_: 1e9)
        patch.delenv("FERCORE_PUBLISH", raising=False)
        return folder, trained(folder), outcome(folder)


@pytest.fixture
def project(once, tmp_path):
    """A copy of that folder for a test of its own."""
    return shutil.copytree(once[0], tmp_path / "project")


def test_trained_networks_are_found_again(once, project, monkeypatch):
    _, first, _ = once
    never(monkeypatch)
    second = trained(project)
    assert second.weights == project / "runs" / "weights" / "toy" / NAME
    assert same_weights(first.model, second.model)
    assert not second.model.training
    assert (second.history, second.key, second.hardware) == (first.history, first.key, first.hardware)
    assert second.ceiling == first.ceiling == 1e9
    monkeypatch.setenv("FERCORE_PUBLISH", "1")
    assert trained(project).weights == second.weights  # weights are never published
    assert not (project / "results").exists()


def test_weights_are_kept_in_half_precision(once):
    folder, first, _ = once
    tensors, _ = checkpoints.read(first.weights)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    (run,) = (folder / "runs" / "toy").iterdir()
    best, _ = checkpoints.read(run / "best.safetensors")
    for name, tensor in first.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, best[name].half().float())


def test_networks_of_other_settings_share_a_folder(project, monkeypatch):
    wide = replace(SMALL, width=0.06)
    other = trained(project, wide)
    never(monkeypatch)
    assert trained(project).model.width == 0.05
    assert same_weights(trained(project, wide).model, other.model)


def test_weights_of_another_seed_are_not_taken(project, capsys):
    first = trained(project).key
    other = trained(project, replace(SMALL, recipe=replace(SMALL.recipe, seed=1)))
    assert f"{NAME} belongs to other settings, data or code: not used." in capsys.readouterr().out
    assert other.key != first


def test_a_killed_training_goes_on_under_its_setting(tmp_path, monkeypatch):
    whole, real, seen = trained(tmp_path / "whole"), trainer._Trainer.epoch, []

    def killed(self, number, progress):
        seen.append(number)
        if seen == [1, 2]:
            raise KeyboardInterrupt
        return real(self, number, progress)

    monkeypatch.setattr(trainer._Trainer, "epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed")
    assert same_weights(trained(tmp_path / "killed").model, whole.model)
    assert seen == [1, 2, 2]


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another run", "of another epoch"])
def test_checkpoints_that_do_not_belong_together_are_refused(project, damage):
    (project / "runs" / "weights" / "toy" / NAME).unlink()
    (run,) = (project / "runs" / "toy").iterdir()
    tensors, about = checkpoints.read(run / "best.safetensors")
    (run / "best.safetensors").unlink()
    if damage == "damaged":
        (run / "best.safetensors").write_bytes(b"x" * 100)
    elif damage != "missing":
        wrong = {"key": "other"} if damage == "of another run" else {"epoch": 9}
        checkpoints.save(run / "best.safetensors", tensors, about | wrong)
    with pytest.raises(CheckpointError, match=r"Delete the folder .* and train again"):
        trained(project)


def test_answers_are_those_of_the_rounded_weights(once):
    _, network, answers = once
    rules = evaluation.rules(SIZE)
    assert set(answers.logits) == {
        f"{part} {rule}".strip() for part in ("validation", "test") for rule in rules
    }
    for part, rows in (("validation", PARTS.validation), ("test", PARTS.test)):
        for name, mirror in ((part, False), (f"{part} mirrored", True)):
            expected = evaluation.predict(network.model, TOY.images[rows], mirror=mirror)
            assert torch.equal(answers.logits[name], expected.half().float())
            assert answers.logits[name].dtype == torch.float32
    assert (answers.key, answers.history, answers.ceiling) == (network.key, network.history, network.ceiling)
    assert answers.hardware == network.hardware


def test_answers_are_found_again_without_network_and_training(once, project, monkeypatch):
    first = once[2]
    shutil.rmtree(project / "runs" / "weights")
    shutil.rmtree(project / "runs" / "toy")
    never(monkeypatch)
    monkeypatch.setattr(models, "build", None)
    second = outcome(project)
    assert all(torch.equal(first.logits[name], tensor) for name, tensor in second.logits.items())
    assert all(getattr(first, f.name) == getattr(second, f.name) for f in fields(first) if f.name != "logits")


def test_predictions_follow_the_recipe_unless_told_otherwise():
    straight, mirrored = torch.eye(7)[[0, 1, 2]], torch.eye(7)[[0, 1, 5]]
    both = {"test": straight, "test mirrored": mirrored}
    for mirror, usual in ((False, [0, 1, 2]), (True, [0, 1, 5])):
        answers = networks.Outcome(both, mirror, [], "", "", 1.0)
        assert answers.predicted("test").tolist() == usual
        assert answers.predicted("test", mirror=False).tolist() == [0, 1, 2]
        assert answers.predicted("test", mirror=True).tolist() == [0, 1, 5]


@pytest.mark.parametrize("published", [False, True])
def test_answers_are_published_only_if_asked(tmp_path, monkeypatch, published):
    place = Path("outcomes", "toy", NAME)
    folders = {True: tmp_path / "results" / place, False: tmp_path / "runs" / "results" / place}
    if published:
        monkeypatch.setenv("FERCORE_PUBLISH", "1")
    first = outcome(tmp_path)
    assert folders[published].is_file()
    assert not folders[not published].exists()
    # What one folder holds is copied to the other when it is wanted there, without any training.
    shutil.rmtree(tmp_path / "runs" / "weights")
    never(monkeypatch)
    monkeypatch.setenv("FERCORE_PUBLISH", "0" if published else "1")
    second = outcome(tmp_path)
    assert second.key == first.key
    assert folders[True].read_bytes() == folders[False].read_bytes()


def test_answers_of_other_settings_are_replaced(project, capsys):
    other = replace(SMALL, recipe=replace(SMALL.recipe, lr=5e-4))
    found = outcome(project, other)
    assert "not used" in capsys.readouterr().out
    path = project / "runs" / "results" / "outcomes" / "toy" / NAME
    assert checkpoints.read(path)[1]["key"] == found.key == networks.training_key(other, TOY, PARTS)


def test_the_recipe_reaches_the_network_and_its_answers(tmp_path):
    strong = recipes.recipe("strong", epochs=2, warmup=1, batch_size=8, lr=0.01, averaging=0.9)
    setting = networks.Setting("baseline", "add", 0.05, 0, False, strong)
    network, answers = trained(tmp_path, setting), outcome(tmp_path, setting)
    assert isinstance(network.model, models.BaselineNet)
    assert network.model.batch_norm
    assert network.weights.name == "baseline-add-w0.05-strong-e2-paper-0.safetensors"
    tensors, _ = checkpoints.read(network.weights)
    assert {name.rpartition(".")[2]: tensor.dtype for name, tensor in tensors.items()} == {
        **dict.fromkeys(("weight", "bias", "running_mean", "running_var"), torch.float16),
        "num_batches_tracked": torch.int64,
    }
    assert answers.mirror
    assert (answers.predicted("test") == answers.logits["test mirrored"].argmax(1).numpy()).all()
    best = trainer.best_epoch(network.history)
    score = evaluation.score(network.model, parts_of_toy()[1])
    assert score["accuracy"] == pytest.approx(
        best["validation_accuracy"], abs=1 / len(PARTS.validation) + 1e-6
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number"),
        ({"seed": -1}, "seed=-1"),
        ({"fold": True}, "fold=True must be a whole number"),
        ({"batch_size": "many"}, "batch_size='many'"),
        ({"lr": "a"}, "lr='a' must be a number above zero"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"width": -1}, "width=-1"),
        ({"epochs": 0}, "epochs=0"),
        ({"warmup": 2}, "warmup=2 must lie in"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"shift": 2.0}, "shift=2.0 must lie in"),
    ],
)
def test_notebook_parameters_are_checked_by_name(wrong, message):
    given = {"width": 0.25, "fold": 0, "batch_size": 0, "epochs": 2, "lr": 1e-3, "seed": 0} | wrong
    with pytest.raises(ValueError, match=message):
        networks.setting("faces", "proposed", "add", **given)


def test_a_setting_takes_the_paper_s_batch_size_unless_told_otherwise():
    def size(dataset, **given):
        return networks.setting(dataset, "proposed", **given).recipe.batch_size

    assert [size(name) for name in ("fer2013", "faces", "jaffe")] == [32, 16, 16]
    assert size("faces", batch_size=5) == 5
    assert size("faces", recipe="strong") == size("fer2013", recipe="strong") == recipes.STRONG.batch_size
    assert size("faces", recipe="strong", batch_size=5) == 5


def test_a_setting_lists_its_fields_once():
    faces = networks.setting("faces", "", "add", 0.25, 0, epochs=2)
    assert faces.parameters() == {
        **{"model": "proposed", "fusion": "add", "width": 0.25, "fold": 0, "pretrained": False},
        **{"recipe": "paper", "epochs": 2, "batch_size": 16, "optimizer": "adam", "lr": 8e-4, "min_lr": 8e-5},
        **{"schedule": "plateau", "factor": 0.5, "patience": 2, "stop": 0, "warmup": 0, "weight_decay": 0.0},
        **{"label_smoothing": 0.0, "flip": True, "shift": 0.0, "rotation": 0.0, "zoom": 0.0, "erase": 0.0},
        **{
            **{
                "mixup": 0.0,
                "crop": 0,
                "cutmix": 0.0,
                "dropout": 0.0,
                "distillation": 0.0,
                "temperature": 1.0,
            },
            "batch_norm": False,
            "averaging": 0.0,
            "mirror": False,
            "precision": "float32",
            "seed": 0,
        },
        "teacher": "",
    }


def test_a_setting_names_what_it_does_not_know():
    with pytest.raises(UnknownNameError, match="no recipe 'weak'"):
        networks.setting("faces", recipe="weak")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("proposed", "proposed-concatenate-w0.25-paper-e20-subject-3"),
        ("baseline", "baseline-concatenate-w0.25-paper-e20-subject-3"),
        ("vgg16", "vgg16-w0.25-paper-e20-subject-3"),
        ("resnet50", "resnet50-w0.25-paper-e20-subject-3"),
    ],
)
def test_names_say_what_distinguishes_networks(model, name):
    split = splits.split(TOY, "subject", 3)
    recipe = recipes.recipe("paper", epochs=20)
    assert networks.Setting(model, width=0.25, fold=3, recipe=recipe).name(split) == name


def test_imagenet_weights_that_cannot_be_had_are_not_claimed(monkeypatch, capsys):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    assert not networks.setting("faces", "vgg16", pretrained=True).pretrained
    assert not networks.setting("faces", "resnet50", width=0.5, pretrained=True).pretrained
    assert capsys.readouterr().out.count("pretrained=False: ") == 2


def key(setting=SMALL, dataset=TOY, parts=PARTS):
    return networks.training_key(setting, dataset, parts)


def test_the_key_changes_with_what_decides_the_weights_only():
    others = [
        key(replace(SMALL, width=0.5)),
        key(replace(SMALL, model="baseline")),
        key(replace(SMALL, fusion="add")),
        key(replace(SMALL, model="vgg16", pretrained=True)),
        key(replace(SMALL, model="vgg16")),
        key(parts=splits.split(TOY, "subject")),
        key(dataset=replace(TOY, checksum="sha256:0")),
    ]
    assert key() == key()
    assert len({key(), *others}) == len(others) + 1


# Another value for each field of a recipe.
OTHER = {
    **{"name": "mine", "epochs": 3, "batch_size": 9, "optimizer": "sgd", "lr": 1e-3, "min_lr": 1e-5},
    **{"schedule": "cosine", "factor": 0.1, "patience": 5, "warmup": 1, "weight_decay": 0.1},
    **{"label_smoothing": 0.1, "flip": False, "shift": 0.1, "rotation": 5.0, "zoom": 0.1, "erase": 0.1},
    **{"mixup": 0.1, "crop": 40, "cutmix": 0.1, "batch_norm": True, "dropout": 0.1, "distillation": 0.1},
    **{"temperature": 2.0, "stop": 3, "averaging": 0.9, "mirror": True, "precision": "bfloat16", "seed": 1},
}


@pytest.mark.parametrize("field", [field.name for field in fields(recipes.Recipe)])
def test_the_key_changes_with_every_value_that_decides_the_weights(field):
    assert getattr(SMALL.recipe, field) != OTHER[field]
    other = key(replace(SMALL, recipe=replace(SMALL.recipe, **{field: OTHER[field]})))
    assert (other == key()) == (field in ("name", "mirror"))


def test_an_option_that_is_added_later_and_left_off_changes_no_key(monkeypatch):
    @dataclass(frozen=True)
    class Longer(recipes.Recipe):
        later: float = 0.0

    longer = Longer(**{f.name: getattr(SMALL.recipe, f.name) for f in fields(recipes.Recipe)})
    before = key()
    monkeypatch.setattr(recipes, "Recipe", Longer)
    monkeypatch.setattr(networks, "Setting", lambda: replace(SMALL, width=1.0, recipe=Longer()))
    assert key(replace(SMALL, recipe=longer)) == before
    assert key(replace(SMALL, recipe=replace(longer, later=0.5))) != before


def test_whole_numbers_are_as_good_as_floats():
    whole = replace(SMALL, width=1, recipe=replace(SMALL.recipe, lr=1, weight_decay=0))
    assert key(whole) == key(
        replace(whole, width=1.0, recipe=replace(whole.recipe, lr=1.0, weight_decay=0.0))
    )


def test_the_key_changes_with_the_version_of_the_procedure(monkeypatch):
    before = key()
    monkeypatch.setattr(trainer, "PROCEDURE", trainer.PROCEDURE + 1)
    assert key() != before


def test_a_student_has_a_key_of_its_own_and_wants_that_teacher(once, tmp_path):
    _, teacher, _ = once
    recipe = replace(SMALL.recipe, distillation=0.5)
    setting = replace(SMALL, recipe=recipe, teacher=teacher.key)
    assert key(setting) != key(replace(setting, teacher="another"))
    with pytest.raises(ValueError, match=f"names the teacher {teacher.key[:12]}; another one was given"):
        trained(tmp_path, setting)
    student = trained(tmp_path, setting, teacher=teacher)
    assert student.weights.name == NAME.replace("concatenate", "concatenate-taught")
    assert student.key == key(setting)


def test_a_setting_builds_its_network():
    for name in ("proposed", "baseline", "resnet50"):
        setting = replace(SMALL, model=name, recipe=replace(SMALL.recipe, seed=4))
        expected = models.build(name, width=0.05, size=SIZE, seed=4)
        assert same_weights(networks.build(setting, SIZE), expected)
