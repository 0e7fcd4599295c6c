"""Every explainer behind the one call: the contract, closed forms, brute force, and a network left as it was."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from ferlab import explainers
from ferlab.explainers import CONTROLS, METHODS, Settings, explain, regions, store
from ferlab.explainers.gradients import last_layer
from torch import nn
from torch.nn import functional as F
from toy_linear import LinearProbability

from fercore import models
from fercore.errors import ModelOutputError, UnknownNameError
from fercore.shapley import PaperDnCShap, ReleasedDnCShap, build_tree, exact_owen, exact_shapley

for package in ("shap", "captum", "lime"):
    pytest.importorskip(package)

SIZE, TARGETS = 16, np.array([2, 0, 5])
IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
BACKGROUND = torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
FEW = {"lime_samples": 60, "lime_size": 64, "gradient_samples": 20, "steps": 40}
SETTINGS = Settings(depth=4, evaluations=100, background=BACKGROUND, **FEW)
EFFICIENT = [name for name, method in METHODS.items() if method.efficient]
DIFFERENTIATE = ("gradient_shap", "integrated_gradients", "grad_cam")


class SmallNet(nn.Module):
    """Two convolutions, with all that has a mode or a buffer."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*first, nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(384, 7))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(1)
    return SmallNet().eval()


@pytest.mark.parametrize("name", METHODS)
def test_every_explainer_keeps_the_contract(name, net):
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    maps = explain(name, net, IMAGES, TARGETS, SETTINGS)
    alone = explain(name, net, IMAGES[1:2], torch.from_numpy(TARGETS[1:2]), SETTINGS).values
    assert alone[0] == pytest.approx(maps.values[1], abs=1e-6)  # whatever else is explained
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert maps.values.shape == (3, SIZE, SIZE)
    assert maps.values.dtype == np.float64
    assert (np.ptp(maps.values, axis=(1, 2)) > 0).any()  # of some images Grad-CAM rectifies everything
    assert (maps.evaluations > 0).all() == (name not in CONTROLS)
    assert (maps.gradients > 0).all() == (name in DIFFERENTIATE)
    assert (maps.seconds > 0).all()
    if METHODS[name].efficient or name == "integrated_gradients":
        with torch.no_grad():
            whole, black = (net(x).softmax(dim=1)[range(3), TARGETS].numpy() for x in (IMAGES, 0 * IMAGES))
        error = 1e-5 if METHODS[name].efficient else 1e-4  # of its steps
        assert maps.values.sum(axis=(1, 2)) == pytest.approx(whole - black, abs=error)
    wide = IMAGES[:1, :, :12].repeat(1, 1, 1, 2)[..., :20]
    chosen = Settings(depth=3, background=wide, lime_samples=40, lime_size=48, gradient_samples=5)
    assert explain(name, net, wide, [1], chosen).values.shape == (1, 12, 20)
    assert explain(name, net, IMAGES[:0], [], SETTINGS).values.shape == (0, SIZE, SIZE)


@pytest.mark.parametrize("name", METHODS)
def test_the_network_is_left_as_it_was(name):
    torch.manual_seed(1)
    model, own = SmallNet().train(), IMAGES.clone()
    model.features[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    model.head[3].bias.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = explain(name, model, own, TARGETS, SETTINGS).values
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all((p.grad == 3).all() for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not own.requires_grad
    assert torch.equal(own, IMAGES)
    assert explain(name, model.eval(), own, TARGETS, SETTINGS).values == pytest.approx(found, abs=1e-7)
    nn.init.zeros_(model.head[3].weight)  # one answer for all: there is nothing to explain
    found = explain(name, model, IMAGES, TARGETS, SETTINGS).values
    assert np.isfinite(found).all()
    assert (np.abs(found).max() < 1e-6) == (name not in CONTROLS)


@pytest.mark.parametrize(("name", "exact"), [("kernel", exact_shapley), ("partition", exact_owen)])
def test_with_all_evaluations_shap_finds_what_enumeration_finds(name, exact, net):
    tree = build_tree(SIZE, SIZE, 3)

    def game(coalitions: np.ndarray) -> np.ndarray:
        shown = torch.from_numpy(np.asarray(coalitions)[:, tree.labels()])[:, None]
        with torch.no_grad():
            return net(IMAGES[:1] * shown).softmax(dim=1)[:, 2].double().numpy()

    truth = exact(game, 8)
    found = explain(name, net, IMAGES[:1], [2], Settings(depth=3, evaluations=400)).values[0]
    assert np.bincount(tree.labels().ravel(), found.ravel()) == pytest.approx(truth, abs=1e-5)
    if name == "partition":
        own = explain("dnc_exact", net, IMAGES[:1], [2], Settings(depth=3)).values[0]
        assert own == pytest.approx(found, abs=1e-6)


def test_budgets_are_kept_and_the_published_cut_as_often_as_the_image_allows(net):
    def spent(name: str) -> list[int]:
        return explain(name, net, IMAGES, TARGETS, SETTINGS).evaluations.tolist()

    for name in ("dnc", "partition", "kernel"):
        assert max(spent(name)) <= 100
    assert spent("dnc_exact") == [2 * (16**2 - 1) // 3 + 2] * 3
    assert spent("dnc_both") == [4 * 16 - 4] * 3
    assert spent("lime") == [60] * 3
    gradients = explain("gradient_shap", net, IMAGES, TARGETS, SETTINGS)
    assert gradients.evaluations.tolist() == gradients.gradients.tolist() == [20] * 3
    assert Settings(depth=5).budget == 256
    for name, variant in (("dnc_printed", PaperDnCShap), ("dnc_released", ReleasedDnCShap)):
        direct = (
            variant(net, times=8).attribute(IMAGES, TARGETS).region_map()[..., 0]
        )  # all that 16 x 16 allow
        assert explain(name, net, IMAGES, TARGETS, SETTINGS).values == pytest.approx(direct, abs=1e-6)


class TestLinearProbability:
    """Where the probability is linear, what each method must find is known: w x, summed as the method sums."""

    @pytest.fixture(scope="class")
    def model(self) -> nn.Module:
        return LinearProbability(
            1e-3 * torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
        )

    @pytest.mark.parametrize("name", EFFICIENT)
    def test_regions_get_their_sums(self, name, model):
        labels = build_tree(SIZE, SIZE, 4).labels()
        products = (IMAGES * model.weights).sum(dim=1).detach().double().numpy()
        enough = Settings(depth=4, evaluations=2 * (16**2 - 1) // 3 + 2)  # what the exact values need
        found = explain(name, model, IMAGES, [0, 1, 0], enough).values
        for values, product, sign in zip(found, products, (1, -1, 1), strict=True):
            means = np.bincount(labels.ravel(), product.ravel()) / np.bincount(labels.ravel())
            assert values == pytest.approx(sign * means[labels], abs=1e-5)

    def test_gradients_times_input_and_from_one_baseline(self, model):
        one = Settings(background=SETTINGS.background[:1], gradient_samples=7)
        for name, inputs in (("integrated_gradients", IMAGES), ("gradient_shap", IMAGES - one.background)):
            expected = (inputs * model.weights).sum(dim=1).detach().numpy()
            assert explain(name, model, IMAGES, [0, 0, 0], one).values == pytest.approx(expected, abs=1e-5)

    def test_occlusion_averages_the_windows_over_a_pixel(self, model):
        found = explain("occlusion", model, IMAGES, [0, 0, 0], SETTINGS).values
        product = (IMAGES * model.weights).sum(dim=1, keepdim=True).detach()
        windows = F.avg_pool2d(product, 2, stride=1) * 4  # side 16 // 6, moved by half of it
        inner = F.avg_pool2d(windows, 2, stride=1)[:, 0].numpy()  # four windows over each inner pixel
        # Every channel carries the window's whole value.
        assert found[:, 1:-1, 1:-1] == pytest.approx(3 * inner, abs=1e-5)

    def test_lime_weighs_segments(self, monkeypatch):
        # Halves of the image as segments; the coefficients are what each half adds over its mean.
        weights, image = torch.zeros(3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
        weights[:, :4], weights[:, 8:12] = 1e-3, -2e-3
        image[:, :, :4], image[:, :, 8:12] = 1.0, 0.5
        halves = np.repeat(np.arange(SIZE) // 8, SIZE).reshape(SIZE, SIZE)
        monkeypatch.setattr(regions, "segments", lambda *_: halves)
        about = (LinearProbability(weights), image, [0], Settings(lime_samples=500))
        found = explain("lime", *about).values[0]
        count = 3 * 4 * SIZE  # values that count in each half
        assert found[:8].sum() == pytest.approx(1e-3 * count * (1 - 0.5), rel=0.05)
        assert found[8:].sum() == pytest.approx(-2e-3 * count * (0.5 - 0.25), rel=0.05)
        assert np.ptp(found[:8]) == np.ptp(found[8:]) == 0


def test_grad_cam_is_the_rectified_weighted_sum_of_the_layer(net):
    activations = net.features(IMAGES).detach().requires_grad_()
    chosen = net.head(activations).softmax(dim=1)[range(3), TARGETS].sum()
    (gradient,) = torch.autograd.grad(chosen, activations)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1, keepdim=True).clamp_min(0)
    cam = F.interpolate(cam, (SIZE, SIZE), mode="bilinear").detach()[:, 0].numpy()
    frozen = SmallNet().eval().requires_grad_(False)
    frozen.load_state_dict(net.state_dict())
    for network in (net, frozen):
        given = Settings(layer=network.features[5])
        assert explain("grad_cam", network, IMAGES, TARGETS, given).values == pytest.approx(cam, abs=1e-6)


def test_grad_cam_looks_where_things_still_have_a_place():
    network = models.ProposedNet(width=0.05)
    assert last_layer(network, torch.zeros(1, 3, 48, 48)) is network.blocks[3][5]  # 6 x 6, before B4's pool
    coarse = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AvgPool2d(4), nn.Conv2d(2, 2, 1), nn.Flatten())
    assert last_layer(coarse, torch.zeros(1, 3, 4, 4)) is coarse[0]  # the finest, where none has six cells
    shared = nn.ReLU()  # one layer in two places: captum could not tell them apart
    twice = nn.Sequential(nn.Conv2d(3, 2, 1), shared, nn.Conv2d(2, 2, 1), shared, nn.Flatten())
    assert last_layer(twice, torch.zeros(1, 3, 8, 8)) is twice[2]
    with pytest.raises(ModelOutputError, match="Grad-CAM needs a layer"):
        last_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))


def test_controls_know_nothing_of_the_network(net):
    random, centre = (explain(name, net, IMAGES, TARGETS, SETTINGS).values for name in CONTROLS)
    again = [explain(name, SmallNet().eval(), IMAGES, TARGETS, SETTINGS).values for name in CONTROLS]
    assert np.array_equal([random, centre], again)
    assert np.abs(np.corrcoef(random.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.3
    assert (centre == centre[0].T).all()
    assert (centre[0, 7:9, 7:9] == centre.max()).all()


def test_wrong_requests_are_named(net):
    with pytest.raises(UnknownNameError, match="no explainer 'shap'; choose one of dnc, "):
        explain("shap", net, IMAGES, TARGETS)
    with pytest.raises(ValueError, match="a class for each"):
        explain("dnc", net, IMAGES, [0, 1])
    with pytest.raises(ValueError, match=r"Settings\(background"):
        explain("gradient_shap", net, IMAGES, TARGETS)
    broken = LinearProbability(torch.full((3, SIZE, SIZE), 1.0))  # log of a negative number
    with pytest.raises(ModelOutputError, match=r"images \[0, 1, 2\] hold NaN"):
        explain("integrated_gradients", broken, IMAGES, [0, 0, 0], SETTINGS)
    assert explainers.installed() == list(METHODS)


def test_a_stopped_run_goes_on_with_the_next_method(net, tmp_path, monkeypatch):
    made, names = [], ["dnc_both", "centre"]

    @functools.wraps(explain)
    def watched(name, *more):
        made.append(name)
        if made == names:
            raise KeyboardInterrupt
        return explain(name, *more)

    monkeypatch.setattr(store, "explain", watched)

    def run(model=net, inputs=IMAGES, targets=TARGETS, chosen=SETTINGS):
        return store.explain_all(names, model, inputs, targets, chosen, tmp_path, progress=False)

    with pytest.raises(KeyboardInterrupt):
        run()
    first, again = run(), run()
    assert made == [*names, "centre"]
    for name in names:
        assert np.array_equal(again[name].values, explain(name, net, IMAGES, TARGETS, SETTINGS).values)
        assert np.array_equal(again[name].seconds, first[name].seconds)
        assert again[name].hardware
    changes = [{"model": SmallNet().eval()}, {"inputs": IMAGES + 0.01}, {"targets": TARGETS - [0, 0, 1]}]
    changes += [{"chosen": Settings(depth=3, layer=layer)} for layer in (None, net.features[5])]
    for count, change in enumerate(changes):
        run(**change)
        assert made[3:] == names * (count + 1)
