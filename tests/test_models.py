"""The paper's own networks against the published parameter counts, their shape, and how networks are built by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fercore import models
from fercore.errors import UnknownNameError

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]  # VGG-16's convolutions
TRUNK = sum(9 * a * b + b for a, b in zip([3, *CHANNELS], CHANNELS, strict=False))


def weights_of(kind, *arguments, **options):
    """Count the weights of a network that takes no memory."""
    with torch.device("meta"):
        return models.count_parameters(kind(*arguments, **options))


@pytest.mark.parametrize(
    ("size", "fusion", "millions"),
    [(48, "concatenate", 28.60), (48, "add", 24.40), (224, "concatenate", 280.25), (224, "add", 74.73)],
)
def test_parameter_counts_match_the_paper(size, fusion, millions):
    assert round(weights_of(models.ProposedNet, fusion, size=(size, size)) / 1e6, 2) == millions


def test_trunk_and_branches_have_the_published_size():
    with torch.device("meta"):
        model = models.ProposedNet()
    assert models.count_parameters(model.blocks) == TRUNK == 14_714_688
    assert models.count_parameters(model.branches) == 4_425_728  # four 3 x 3 convolutions to 512 channels


@pytest.mark.parametrize(("fusion", "maps"), [("concatenate", 3), ("add", 1)])
@pytest.mark.parametrize("size", [48, 224])
def test_the_baseline_has_two_branches_and_hidden_layers_of_4096(fusion, maps, size):
    features = maps * 512 * (size // 32) ** 2
    branches = (256 * 512 * 9 + 512) + (512 * 512 * 9 + 512)
    hidden = (features * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 7 + 7)
    assert weights_of(models.BaselineNet, fusion, size=(size, size)) == TRUNK + branches + hidden


@pytest.mark.parametrize("kind", [models.ProposedNet, models.BaselineNet])
def test_batch_normalisation_swaps_each_bias_for_a_scale_and_a_shift(kind):
    extra = weights_of(kind, batch_norm=True) - weights_of(kind)
    channels = sum(CHANNELS) + len(kind.LEVELS) * 512
    assert extra == 2 * channels - channels
    with torch.device("meta"):
        layers = list(kind(batch_norm=True).modules())
    norms = [place for place, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == len(CHANNELS) + len(kind.LEVELS)
    for place in norms:  # between its convolution and the rectifier
        assert isinstance(layers[place - 1], nn.Conv2d)
        assert layers[place - 1].bias is None
        assert isinstance(layers[place + 1], nn.ReLU)


@pytest.mark.parametrize("name", ["proposed", "baseline"])
@pytest.mark.parametrize("fusion", ["concatenate", "add"])
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (50, 71)])
def test_any_size_gives_seven_logits(name, fusion, size):
    model = models.build(name, fusion, width=0.05, size=size)
    assert model(torch.rand(3, 3, *size)).shape == (3, 7)


@pytest.mark.parametrize(("name", "count"), [("proposed", 4), ("baseline", 2)])
@pytest.mark.parametrize("fusion", ["concatenate", "add"])
def test_every_branch_reaches_the_output(name, count, fusion):
    model = models.build(name, fusion, width=0.1)
    assert len(model.branches) == count
    image = torch.rand(1, 3, 48, 48)
    whole = model(image)
    for branch in model.branches:
        kept = branch[-3].weight.detach().clone()
        with torch.no_grad():
            branch[-3].weight.zero_()
            assert not torch.allclose(model(image), whole)
            branch[-3].weight.copy_(kept)


@pytest.mark.parametrize(("name", "levels"), [("proposed", (0, 1, 2, 3)), ("baseline", (2, 3))])
def test_fusion_joins_the_branches_of_these_blocks_and_the_trunk(name, levels):
    model, both = models.build(name, "add", width=0.1), models.build(name, width=0.1)
    image = torch.rand(2, 3, 48, 48)
    for network in (model, both):
        outputs, x = [], image
        for block in network.blocks:
            x = block(x)
            outputs.append(x)
        maps = [branch(outputs[k]) for branch, k in zip(network.branches, levels, strict=True)]
        maps.append(outputs[4])
        fused = sum(maps) if network is model else torch.cat(maps, dim=1)
        torch.testing.assert_close(network(image), network.classifier(fused))


@pytest.mark.parametrize("name", ["proposed", "baseline", "resnet50"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_initial_weights_are_seeded(name, batch_norm):
    options = {"width": 0.05, "size": (32, 32), "batch_norm": batch_norm}
    one, same, other = (models.build(name, seed=seed, **options).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert any(not torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("name", models.MODELS)
def test_building_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    models.build(name, width=0.05, size=(32, 32), seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_first_weights_are_he_normal_and_biases_zero():
    for name, layer in models.build("proposed", width=0.25).named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inputs = layer.weight[0].numel()
            spread = layer.weight.std().item() / (2 / inputs) ** 0.5
            assert spread == pytest.approx(1, abs=4 / layer.weight.numel() ** 0.5), name
            assert layer.bias.abs().max() == 0


def test_grey_and_colour_bytes_become_the_same_input():
    grey = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 1), dtype=np.uint8)
    tensor = models.to_input(grey)
    assert tensor.shape == (2, 3, 5, 4)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(tensor, models.to_input(np.repeat(grey, 3, axis=3)))
    assert tensor[1, 2, 4, 3].item() == pytest.approx(grey[1, 4, 3, 0] / 255)


def test_only_networks_with_branches_have_a_fusion():
    assert [models.has_fusion(name) for name in models.MODELS] == [True, True, False, False]


def test_errors_name_the_argument():
    with pytest.raises(
        UnknownNameError, match=r"'propsed'; choose one of proposed, baseline, vgg16, resnet50"
    ):
        models.build("propsed")
    with pytest.raises(ValueError, match="fusion='sum'"):
        models.build("proposed", "sum")
    for name in models.MODELS:
        with pytest.raises(ValueError, match=r"width=0 must lie"):
            models.build(name, width=0)
        with pytest.raises(ValueError, match="at least 32 x 32"):
            models.build(name, size=(31, 48))
