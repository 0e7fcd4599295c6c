"""Where and how precisely to compute, and how much of the machine training uses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ferlab import networks
from torch import nn
from toy_training import SHORT, fit, numbers

from fercore.errors import FercoreError
from fercore.training import device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(monkeypatch, there, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device.choose_device().type == kind
    assert device.choose_device("cpu").type == "cpu"
    assert device.choose_device("cuda:1") == torch.device("cuda", 1)


def rounding(*wanted):
    """Set, if asked, and return whether matrix products and convolutions of a GPU may round."""
    if wanted:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = wanted
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def restored():
    before = rounding()
    yield
    rounding(*before)


@pytest.mark.parametrize("before", [(False, True), (True, False)])
@pytest.mark.parametrize(("precision", "inside"), [("float32", False), ("tf32", True), ("bfloat16", True)])
def test_rounding_is_let_inside_the_block_only(restored, before, precision, inside):
    rounding(*before)
    with device.matrix_products(precision):
        assert rounding() == (inside, inside)
    assert rounding() == before
    with pytest.raises(KeyError), device.matrix_products(precision):
        raise KeyError
    assert rounding() == before


@pytest.mark.parametrize(
    ("precision", "kind"), [("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_layers_compute_in_half_precision_if_asked(precision, kind):
    layer = nn.Linear(3, 2)
    with device.layers(CPU, precision):
        found = layer(torch.ones(1, 3))
    assert found.dtype == kind
    assert layer.weight.dtype == torch.float32
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_images_at_once_are_halved_and_told(capsys):
    found = [33]
    while found[-1] > 1:
        found.append(device.smaller(found[-1], 64))
    assert found == [33, 17, 9, 5, 3, 2, 1]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("The device's memory does not hold 33 images at once: computing 17 at a time")
    assert all("a step still takes 64" in line for line in said)
    with pytest.raises(FercoreError, match="does not hold one training image: lower width"):
        device.smaller(1, 64)


def test_a_compiled_network_trains_to_nearly_the_same_numbers(tmp_path, monkeypatch):
    """Traced and differentiated as ever, but not turned into machine code, which takes a compiler and a minute."""
    recipe, real, asked = replace(SHORT, epochs=2), torch.compile, []

    def traced(model):
        asked.append(model)
        return real(model, backend="aot_eager")

    def tiny():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 7)
            )

    plain, expected = fit(tmp_path / "plain", recipe, model=tiny())
    monkeypatch.setattr(torch, "compile", traced)
    model, found = fit(tmp_path / "compiled", recipe, model=tiny(), compiled=True)
    assert asked == [model]
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert found[-1]["train_loss"] < found[0]["train_loss"]
    for name, tensor in plain.state_dict().items():  # by the names of the network itself
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


def two_layers(height=6, width=5):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * height * width, 7))


def test_operations_of_a_training_image_are_counted_as_in_a_closed_form():
    convolution = 2 * (3 * 3 * 3) * 4 * (6 * 5)  # a product and a sum per weight and pixel
    linear = 2 * (4 * 6 * 5) * 7
    # Backwards the weights take as much again, and so do the inputs, except those of the first layer.
    assert networks.flops_per_image(two_layers(), (6, 5)) == 2 * convolution + 3 * linear


@pytest.mark.parametrize("training", [False, True])
def test_counting_operations_leaves_the_network_as_it_was(training):
    model = nn.Sequential(two_layers(), nn.BatchNorm1d(7)).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    networks.flops_per_image(model, (6, 5))
    assert model.training == training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_counting_operations_leaves_gradients_untouched():
    model = two_layers()
    model(torch.ones(1, 3, 6, 5)).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    networks.flops_per_image(model, (6, 5))
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_ceiling_is_what_the_fastest_product_reached(monkeypatch, precision):
    monkeypatch.setitem(networks.SIDE, "cpu", 64)
    kinds, real = set(), torch.mm
    monkeypatch.setattr(torch, "mm", lambda one, other: kinds.add(one.dtype) or real(one, other))
    clock = iter([0.0, 1.0, 3.0, 3.0, 4.0, 5.0, 6.0])  # two products, of two and of one second
    monkeypatch.setattr(networks.time, "perf_counter", lambda: next(clock))
    assert networks.ceiling(CPU, precision, seconds=5.5) == 2 * 64**3 / 1.0
    assert kinds == {getattr(torch, precision)}


def test_the_ceiling_of_this_machine_is_positive(monkeypatch):
    monkeypatch.setitem(networks.SIDE, "cpu", 64)
    assert networks.ceiling(CPU, "float32", seconds=0.01) > 0
