"""The four networks: the published parameter counts, torchvision's own VGG-16 and ResNet-50, first weights, names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ferlab import networks
from torch import nn
from torchvision import models as torchvision_models
from torchvision.models import WeightsEnum
from torchvision.transforms.v2 import functional as transforms
from toy_training import same_weights

from fercore import models
from fercore.errors import UnknownNameError

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]  # VGG-16's convolutions
TRUNK = sum(9 * a * b + b for a, b in zip([3, *CHANNELS], CHANNELS, strict=False))
SMALL = {"width": 0.05, "size": (32, 32)}


def on_meta(build, *arguments, **options):
    """Build a network that takes neither memory nor time."""
    with torch.device("meta"):
        return build(*arguments, **options)


def count(*arguments, **options):
    return models.count_parameters(on_meta(*arguments, **options))


# The paper's two


@pytest.mark.parametrize(
    ("size", "fusion", "millions"),
    [(48, "concatenate", 28.60), (48, "add", 24.40), (224, "concatenate", 280.25), (224, "add", 74.73)],
)
def test_parameter_counts_match_the_paper(size, fusion, millions):
    assert round(count(models.ProposedNet, fusion, size=(size, size)) / 1e6, 2) == millions


@pytest.mark.parametrize(("fusion", "size", "maps"), [("concatenate", 48, 3), ("add", 224, 1)])
def test_the_baseline_has_two_branches_and_hidden_layers_of_4096(fusion, size, maps):
    features = maps * 512 * (size // 32) ** 2
    branches = (256 * 512 * 9 + 512) + (512 * 512 * 9 + 512)
    hidden = (features * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 7 + 7)
    assert count(models.BaselineNet, fusion, size=(size, size)) == TRUNK + branches + hidden


@pytest.mark.parametrize("fusion", ["concatenate", "add"])
@pytest.mark.parametrize(("name", "levels"), [("proposed", (0, 1, 2, 3)), ("baseline", (2, 3))])
@pytest.mark.parametrize("size", [(32, 32), (50, 71)])
def test_fusion_joins_the_branches_of_these_blocks_and_the_trunk(name, levels, fusion, size):
    model = models.build(name, fusion, width=0.1, size=size)
    outputs, x = [], (image := torch.rand(3, 3, *size))
    for block in model.blocks:
        outputs.append(x := block(x))
    maps = [branch(outputs[k]) for branch, k in zip(model.branches, levels, strict=True)] + [x]
    fused = sum(maps) if fusion == "add" else torch.cat(maps, dim=1)
    torch.testing.assert_close(whole := model(image), model.classifier(fused))
    for branch in model.branches:  # each of which says something
        branch[-3].weight.data.zero_()
        before, whole = whole, model(image)
        assert not torch.allclose(before, whole)


def test_first_weights_are_he_normal_and_biases_zero():
    for name, layer in models.build("proposed", width=0.25).named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spread = layer.weight.std().item() / (2 / layer.weight[0].numel()) ** 0.5
            assert spread == pytest.approx(1, abs=4 / layer.weight.numel() ** 0.5), name
            assert layer.bias.abs().max() == 0


# torchvision's two


def fill(model):
    """Give a network on the meta device random weights that keep the size of its signals."""
    few, tensors = torch.randn(4099, generator=torch.Generator().manual_seed(0)), {}
    for name, tensor in model.state_dict().items():
        # Repeating a few thousand numbers is much faster than drawing a hundred million.
        values = few.repeat(-(-max(1, tensor.numel()) // 4099))[: tensor.numel()].view(tensor.shape)
        few_inputs = (
            tensor.dim() < 2
        )  # biases, and all of batch normalisation, where variances must be positive
        scaled = values.abs() * 0.1 + 0.5 if few_inputs else values * (2 / tensor[0].numel()) ** 0.5
        tensors[name] = scaled.to(tensor.dtype)
    model.load_state_dict(tensors, assign=True)
    return tensors


@pytest.mark.parametrize(("name", "side"), [("vgg16", 224), ("vgg16_bn", 224), ("resnet50", 64)])
def test_whole_networks_compute_what_torchvision_s_compute(name, side):
    norm = {"batch_norm": True} if name == "vgg16_bn" else {}
    own = on_meta(getattr(models, name.removesuffix("_bn")), size=(side, side), **norm).network.eval()
    theirs = on_meta(getattr(torchvision_models, name), num_classes=7).eval()
    theirs.load_state_dict(fill(own), assign=True)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    preset = torchvision_models.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        expected = theirs(transforms.normalize(image, preset.mean, preset.std))
        torch.testing.assert_close(models.Normalised(own)(image), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-3
        assert not torch.allclose(theirs(image), expected, rtol=0.01)  # the normalisation counts


@pytest.mark.parametrize(("size", "side"), [((48, 48), (1, 1)), ((70, 100), (2, 3)), ((500, 224), (7, 7))])
def test_small_images_are_not_pooled_up_to_seven_by_seven(size, side):
    model = on_meta(models.vgg16, size=size).network
    assert model.avgpool.output_size == side
    assert model.classifier[0].in_features == 512 * side[0] * side[1]


# ImageNet's weights


@pytest.fixture
def fetched(monkeypatch):
    """Let torchvision fetch what is made here: each tensor is its own constant and takes no memory."""
    made = {}
    for name in ("vgg16", "vgg16_bn", "resnet50"):
        layers = on_meta(getattr(torchvision_models, name)).state_dict().items()
        made[name] = {n: torch.tensor(k, dtype=t.dtype).expand(t.shape) for k, (n, t) in enumerate(layers)}
    kind = lambda weights: made[type(weights).__name__.removesuffix("_Weights").lower()]  # noqa: E731
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda weights, **_: kind(weights))
    return made


# At 48 pixels VGG's first hidden layer has other inputs; torchvision numbers the layers with normalisation differently.
@pytest.mark.parametrize(
    ("name", "norm", "new"),
    [("resnet50", "", {"fc"}), *(("vgg16", norm, {"classifier.0", "classifier.6"}) for norm in ("", "_bn"))],
)
def test_fetched_weights_fill_all_layers_that_fit(fetched, name, norm, new):
    chosen = networks.setting("faces", name, recipe="strong", batch_norm=bool(norm), pretrained=True)
    assert chosen.pretrained
    found, weights = networks.build(chosen, (48, 48)).network.state_dict(), fetched[name + norm]
    others = {n for n, t in found.items() if t.shape != weights[n].shape or (t != weights[n]).any()}
    assert {n.rpartition(".")[0] for n in others} == new
    assert all(found[n].abs().max() < 1 for n in others)  # torchvision's first weights are small


@pytest.mark.parametrize(
    ("name", "width", "reason"),
    [
        ("vgg16", 1.0, "cannot be had (no network)"),
        ("resnet50", 0.25, "for width 1 only"),
        ("proposed", 1.0, ""),
    ],
)
def test_weights_that_cannot_be_had_are_told_and_not_claimed(monkeypatch, capsys, name, width, reason):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    assert not networks.setting("faces", name, width=width, pretrained=True).pretrained
    assert reason in (said := capsys.readouterr().out)
    assert said.startswith("pretrained=False: ") == bool(reason)


# By name


@pytest.mark.parametrize("name", models.MODELS)
def test_networks_are_seeded_and_leave_the_global_generator_alone(name):
    before = torch.get_rng_state()
    one, same, other = (models.build(name, seed=seed, **SMALL).eval() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(one, same)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs if a.dim() > 1)
    assert one(torch.rand(3, 3, 32, 32)).shape == (3, 7)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in one.parameters() if p.dim() == 4)


def test_grey_and_colour_bytes_become_the_same_input():
    grey = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 1), dtype=np.uint8)
    tensor = models.to_input(grey)
    torch.testing.assert_close(tensor, models.to_input(np.repeat(grey, 3, axis=3)))
    torch.testing.assert_close(tensor[:, 2], torch.from_numpy(grey[..., 0] / np.float32(255)))
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_errors_name_the_argument():
    with pytest.raises(
        UnknownNameError, match=r"'propsed'; choose one of proposed, baseline, vgg16, resnet50"
    ):
        models.build("propsed")
    for name, wrong in {"proposed": {"fusion": "sum"}, "vgg16": {"dropout": 0.5}}.items():
        with pytest.raises(ValueError, match=r"fusion='sum'|dropout=0\.5"):
            models.build(name, **wrong)
    for name in models.MODELS:
        for wrong in ({"width": 0}, {"size": (31, 48)}):
            with pytest.raises(ValueError, match=r"width=0|size=\(31, 48\)"):
                models.build(name, **wrong)
