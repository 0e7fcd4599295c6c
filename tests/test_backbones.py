"""VGG-16 and ResNet-50 against torchvision's own, narrowed and whole, and where their first weights come from."""

from __future__ import annotations

import functools
from urllib.error import URLError

import pytest
import torch
from ferlab import networks
from torchvision import models as torchvision_models
from torchvision.models import ResNet50_Weights, VGG16_Weights, WeightsEnum
from torchvision.transforms.v2 import functional as transforms

from fercore import models

WHOLE = {"vgg16": 33.63, "resnet50": 23.52}  # million weights for 48 x 48 pixels and seven classes


def shapes(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def on_meta(build, *arguments, **options):
    """Build a network that takes neither memory nor time."""
    with torch.device("meta"):
        return build(*arguments, **options)


def fill(model, seed=0):
    """Give a network on the meta device random weights that keep the size of its signals."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, tensor in model.state_dict().items():
        # Repeating a few thousand numbers is much faster than drawing a hundred million.
        few = torch.randn(4099, generator=generator)
        values = few.repeat(-(-max(1, tensor.numel()) // 4099))[: tensor.numel()].view(tensor.shape)
        if name.endswith("num_batches_tracked"):
            values = torch.tensor(1)
        elif tensor.dim() == 1:  # biases, and all of batch normalisation, where variances must be positive
            values = values.abs() * 0.1 + 0.5
        else:
            values = values * (2 / tensor[0].numel()) ** 0.5
        tensors[name] = values
    model.load_state_dict(tensors, assign=True)
    return tensors


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_vgg16_for_224_pixels_has_torchvision_s_weights(name):
    own = on_meta(models.vgg16, size=(224, 224), batch_norm=name == "vgg16_bn")
    theirs = on_meta(getattr(torchvision_models, name), num_classes=7)
    assert shapes(own.network) == shapes(theirs)
    assert list(shapes(own)) == [f"network.{name}" for name in shapes(theirs)]


@pytest.mark.parametrize("size", [(32, 32), (48, 48), (224, 224)])
def test_resnet50_has_torchvision_s_weights(size):
    own = on_meta(models.resnet50, size=size)
    theirs = on_meta(torchvision_models.resnet50, num_classes=7)
    assert shapes(own.network) == shapes(theirs)


@pytest.mark.parametrize(("name", "side"), [("vgg16", 224), ("resnet50", 64)])
def test_whole_networks_compute_what_torchvision_s_compute(name, side):
    own = on_meta(getattr(models, name), size=(side, side)).network.eval()
    theirs = on_meta(getattr(torchvision_models, name), num_classes=7).eval()
    theirs.load_state_dict(fill(own), assign=True)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    preset = {"vgg16": VGG16_Weights.IMAGENET1K_V1, "resnet50": ResNet50_Weights.IMAGENET1K_V2}[
        name
    ].transforms()
    with torch.inference_mode():
        expected = theirs(transforms.normalize(image, preset.mean, preset.std))
        torch.testing.assert_close(models.Normalised(own)(image), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-3
        assert not torch.allclose(theirs(image), expected, rtol=0.01)  # the normalisation counts


def test_small_images_are_not_pooled_up_to_seven_by_seven():
    for size, side in {(32, 32): (1, 1), (48, 48): (1, 1), (70, 100): (2, 3), (500, 224): (7, 7)}.items():
        model = on_meta(models.vgg16, size=size).network
        assert model.avgpool.output_size == side
        assert model.classifier[0].in_features == 512 * side[0] * side[1]


@pytest.mark.parametrize("name", WHOLE)
def test_narrower_networks_have_fewer_weights(name):
    counts = [
        models.count_parameters(on_meta(getattr(models, name), width))
        for width in (0.05, 0.25, 0.5, 1.0, 1.5)
    ]
    assert counts == sorted(set(counts))
    assert round(counts[3] / 1e6, 2) == WHOLE[name]
    # Both layers of a product of widths shrink, so a quarter of the width has about a sixteenth of the weights.
    assert 1 / 17 < counts[1] / counts[3] < 1 / 12


@functools.cache  # torchvision takes its time over a VGG-16, however narrow
def narrow(name, size=32, seed=3, copy=0):
    """Build the narrowest network; every ``copy`` of it anew."""
    return models.build(name, width=0.05, size=(size, size), seed=seed).eval()


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [32, 48])
def test_narrow_networks_give_seven_logits(name, size):
    model = narrow(name, size)
    assert model(torch.rand(3, 3, size, size)).shape == (3, 7)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.dim() == 4)


@pytest.mark.parametrize("name", WHOLE)
def test_first_weights_are_seeded(name):
    one, same, other = narrow(name), narrow(name, copy=1), narrow(name, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs if a.dim() > 1)


def test_vgg16_with_batch_normalisation_learns_from_two_images():
    model = models.build("vgg16", width=0.05, size=(32, 32), batch_norm=True).train()
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules()) == 13
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def unreachable(*_, **__):
    raise URLError("no network")


@pytest.mark.parametrize("name", WHOLE)
def test_weights_that_cannot_be_had_are_told(name, monkeypatch, capsys):
    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    assert models.imagenet_weights(name, 1.0) is None
    said = capsys.readouterr().out
    assert said.startswith(f"pretrained=False: the ImageNet weights of {name} cannot be had")
    assert "no network" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", WHOLE)
def test_narrow_networks_have_no_imagenet_weights(name, monkeypatch, capsys):
    monkeypatch.setattr(WeightsEnum, "get_state_dict", None)  # any download would fail
    assert models.imagenet_weights(name, 0.25) is None
    assert capsys.readouterr().out == (
        f"pretrained=False: there are ImageNet weights of {name} for width 1 only, not for 0.25.\n"
    )


def test_the_paper_s_networks_have_no_imagenet_weights(monkeypatch):
    monkeypatch.setattr(WeightsEnum, "get_state_dict", None)
    assert models.imagenet_weights("proposed", 1.0) is None
    assert models.imagenet_weights("baseline", 1.0) is None


MADE = {  # what torchvision would fetch: each tensor is its own constant and takes no memory
    name: {
        n: torch.tensor(k, dtype=t.dtype).expand(t.shape)
        for k, (n, t) in enumerate(on_meta(getattr(torchvision_models, name)).state_dict().items())
    }
    for name in ("vgg16", "vgg16_bn", "resnet50")
}


@pytest.fixture
def reachable(monkeypatch):
    """Let torchvision fetch what is made here."""
    monkeypatch.setattr(
        WeightsEnum,
        "get_state_dict",
        lambda kind, **_: MADE[type(kind).__name__.removesuffix("_Weights").lower()],
    )


def copied(model, weights):
    """Name the weights of a network that are the given ones."""
    found = model.network.state_dict()
    return {
        n
        for n, t in found.items()
        if n in weights and t.shape == weights[n].shape and (t == weights[n]).all()
    }


@pytest.mark.parametrize(("name", "new"), [("resnet50", {"fc"}), ("vgg16", {"classifier.0", "classifier.6"})])
def test_fetched_weights_fill_all_layers_that_fit(name, new, reachable):
    """All but the last layer; for 48 pixels VGG-16's first hidden layer has other inputs, too."""
    weights = models.imagenet_weights(name, 1.0)
    model = models.build(name, pretrained=weights)
    others = set(model.network.state_dict()) - copied(model, weights)
    assert {n.rpartition(".")[0] for n in others} == new
    drawn = [model.network.state_dict()[n] for n in others]
    assert all(tensor.abs().max() < 1 for tensor in drawn)  # torchvision's first weights are small
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_vgg16_with_batch_normalisation_starts_from_weights_of_its_own(reachable):
    """torchvision numbers the layers of VGG-16 with and without it differently."""
    chosen = networks.setting("faces", "vgg16", recipe="strong", pretrained=True)
    assert chosen.pretrained
    trunk = {n for n in MADE["vgg16_bn"] if n.startswith("features.")}
    assert trunk <= copied(networks.build(chosen, (48, 48)), MADE["vgg16_bn"])
