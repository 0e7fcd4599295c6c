"""The proposed network against the published parameter counts, and its shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fercore import models
from fercore.errors import UnknownNameError


@pytest.mark.parametrize(
    ("size", "fusion", "millions"),
    [(48, "concatenate", 28.60), (48, "add", 24.40), (224, "concatenate", 280.25), (224, "add", 74.73)],
)
def test_parameter_counts_match_the_paper(size, fusion, millions):
    with torch.device("meta"):  # counts need no memory
        model = models.ProposedNet(fusion, size=(size, size))
    assert round(models.count_parameters(model) / 1e6, 2) == millions


def test_trunk_and_branches_have_the_published_size():
    with torch.device("meta"):
        model = models.ProposedNet()
    assert models.count_parameters(model.blocks) == 14_714_688  # VGG-16's convolutions
    assert models.count_parameters(model.branches) == 4_425_728  # four 3 x 3 convolutions to 512 channels


@pytest.mark.parametrize("fusion", ["concatenate", "add"])
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (50, 71)])
def test_any_size_gives_seven_logits(fusion, size):
    model = models.build("proposed", fusion, width=0.05, size=size)
    assert model(torch.rand(3, 3, *size)).shape == (3, 7)


def test_every_branch_reaches_the_output():
    model = models.build("proposed", width=0.1)
    image = torch.rand(1, 3, 48, 48)
    whole = model(image)
    for branch in model.branches:
        kept = branch[-3].weight.detach().clone()
        with torch.no_grad():
            branch[-3].weight.zero_()
            assert not torch.allclose(model(image), whole)
            branch[-3].weight.copy_(kept)


def test_addition_is_the_sum_of_trunk_and_branches():
    model = models.build("proposed", "add", width=0.1).eval()
    image = torch.rand(2, 3, 48, 48)
    maps, x = [], image
    for block, branch in zip(model.blocks[:4], model.branches, strict=True):
        x = block(x)
        maps.append(branch(x))
    fused = model.blocks[4](x) + maps[0] + maps[1] + maps[2] + maps[3]
    torch.testing.assert_close(model(image), model.classifier(fused))


def test_initial_weights_are_seeded():
    one, same, other = (models.build("proposed", width=0.05, seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_grey_and_colour_bytes_become_the_same_input():
    grey = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 1), dtype=np.uint8)
    tensor = models.to_input(grey)
    assert tensor.shape == (2, 3, 5, 4)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(tensor, models.to_input(np.repeat(grey, 3, axis=3)))
    assert tensor[1, 2, 4, 3].item() == pytest.approx(grey[1, 4, 3, 0] / 255)


def test_errors_name_the_argument():
    with pytest.raises(UnknownNameError, match="choose one of proposed"):
        models.build("propsed")
    with pytest.raises(ValueError, match="fusion='sum'"):
        models.build("proposed", "sum")
    with pytest.raises(ValueError, match=r"width=0 must lie"):
        models.build("proposed", width=0)
    with pytest.raises(ValueError, match="at least 32 x 32"):
        models.build("proposed", size=(31, 48))
